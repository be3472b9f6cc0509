//! A ward's key: an age identity, and beside it the keys by which packs are checked. One file, kept apart from the packs.
//!
//! The centre's keys stand in it as comments, so that `age -i` takes the very file.

use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use kit::{Blame, Fault, write_private};
use zeroize::Zeroizing;

use super::archive::Trusted;

/// A line of a key for each of 32 servers.
const FILE_BYTES_MAX: u64 = 16 * 1024;

fn failed(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "pack.ward-key", format!("{}: {why}", file.display()))
}

/// Writes a new key; gives the recipient that packs are to be sealed to.
pub fn write(file: &Path, identity: &Identity, log: &str, witnesses: &[String]) -> Result<String, Fault> {
    if file.exists() {
        return Err(failed(file, "it is there already, and packs may be sealed to it"));
    }
    let recipient = identity.to_public().to_string();
    let witnesses: String = witnesses.iter().map(|key| format!("# witness {key}\n")).collect();
    let text = Zeroizing::new(format!(
        "# Holdfast, a ward's key: it opens downtime packs. Keep it apart from them, and a copy on paper in the safe.\n\
         # recipient {recipient}\n# log {log}\n{witnesses}{}\n",
        identity.to_string().expose_secret()
    ));
    write_private(file, text.as_bytes()).map_err(|e| failed(file, e))?;
    Ok(recipient)
}

/// The identity, and by which keys packs are checked; none where the file has no log's key (a plain age identity).
pub fn read(file: &Path) -> Result<(Identity, Option<Trusted>), Fault> {
    let length = fs::metadata(file).map_err(|e| failed(file, e))?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(file, format!("{length} bytes, the maximum is {FILE_BYTES_MAX}")));
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|e| failed(file, e))?);
    let of = |word: &'static str| text.lines().filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(word));
    let log = of("log ").next().map(|key| key.trim().parse()).transpose()?;
    let witnesses = of("witness ").map(|key| key.trim().parse()).collect::<Result<Vec<_>, _>>()?;
    let mut identities = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(identity), None) = (identities.next(), identities.next()) else {
        return Err(failed(file, "one line AGE-SECRET-KEY-1… is needed, and no other"));
    };
    // The parser's words might repeat what it was given.
    let identity = Identity::from_str(identity).map_err(|_| failed(file, "its key is no age X25519 identity"))?;
    Ok((identity, log.map(|log| Trusted { log, witnesses })))
}
