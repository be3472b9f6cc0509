//! What must stand on no stolen disk: what identifies the synthetic patients, the centre's keys, the custodians'
//! identities.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kit::{Blame, Fault};
use zeroize::Zeroizing;

use crate::check::plaintext::Planted;
use crate::synthetic;
use crate::system::Secret;

/// An age identity is an X25519 key.
const IDENTITY_BYTES: usize = 32;

/// Everything about the synthetic patients that identifies one, each value once.
pub(crate) fn patients(centre: &synthetic::Centre) -> impl Iterator<Item = Planted> {
    let mut values = BTreeMap::new();
    for patient in centre.generate() {
        let number = &patient.number;
        let name = &patient.name;
        // The national number: it stands in the international one as well.
        let phone = patient.phone.trim_start_matches("+91").to_owned();
        for (what, value) in [
            ("name", name.given.clone()),
            ("name", name.family.clone()),
            ("name", name.given_latin.clone()),
            ("name", name.family_latin.clone()),
            ("phone", phone),
            ("number", number.clone()),
            ("diagnosis", patient.diagnosis.text.to_owned()),
        ] {
            values.entry(value).or_insert_with(|| format!("{what} of {number}"));
        }
    }
    values.into_iter().map(|(value, what)| Planted::text(what, &value))
}

pub(crate) fn secrets(secrets: &[Secret]) -> impl Iterator<Item = Planted> {
    secrets.iter().map(|secret| Planted::secret(&secret.what, &secret.bytes))
}

/// Each custodian's identity, as she types it, and as the 32 bytes that it stands for.
pub(crate) fn identities(custodians: &[Zeroizing<String>]) -> impl Iterator<Item = Planted> {
    (1..).zip(custodians).flat_map(|(number, identity)| {
        let what = format!("custodian {number}'s identity");
        let bytes = from_bech32(identity).filter(|bytes| bytes.len() == IDENTITY_BYTES);
        let bytes = bytes.map(|bytes| Planted::secret(format!("{what}, its bytes"), &bytes));
        [Some(Planted::text(what, identity)), bytes].into_iter().flatten()
    })
}

/// The data part of a Bech32 text (BIP 173) without its checksum of six characters; age identities are written so.
fn from_bech32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const CHECKSUM_CHARACTERS: usize = 6;
    let (_, data) = text.trim().rsplit_once('1')?;
    let data = data.as_bytes().get(..data.len().checked_sub(CHECKSUM_CHARACTERS)?)?;
    let (mut out, mut bits, mut held) = (Zeroizing::new(Vec::new()), 0_u32, 0);
    for character in data {
        let five = ALPHABET.iter().position(|letter| *letter == character.to_ascii_lowercase())?;
        bits = (bits << 5 | u32::try_from(five).ok()?) & 0xFFF;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    Some(out)
}

/// For the twin that must fail: a patient's name, in the clear, on a server.
pub(crate) fn plant(centre: &synthetic::Centre, server: &Path) -> Result<(), Fault> {
    let patient = centre.patient(0);
    let text: Vec<u8> = patient.name.text().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("{}: {e}", server.display()));
    fs::write(server.join("debug.log"), text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_searched_for_as_text_and_as_bytes() {
        // BIP 173's own example of a Bech32 text with 32 values, 00 to 1f.
        let example = "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw";
        let values: Vec<u8> = (0..32).collect();
        let bytes = from_bech32(example).unwrap();
        let bits = |bytes: &[u8], width: usize| -> String { bytes.iter().map(|b| format!("{b:0width$b}")).collect() };
        assert_eq!(bits(&bytes, 8), bits(&values, 5));
        let identity = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
        let planted: Vec<_> = identities(&[Zeroizing::new(identity.clone())]).map(|planted| planted.value).collect();
        assert_eq!(planted, [identity.into_bytes(), vec![0; IDENTITY_BYTES]]);
        assert_eq!(identities(&[Zeroizing::new("no Bech32 at all".to_owned())]).count(), 1);
    }
}
