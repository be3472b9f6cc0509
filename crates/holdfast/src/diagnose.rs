//! Why a centre doesn't open: what is wrong at each server, in the fault's own text.
//!
//! The folders are looked at once more after the failure, so that nothing has to be gathered where all goes well.

use std::io::ErrorKind;
use std::path::PathBuf;

use keys::{HolderError, LocalHolder};
use kit::{Blame, Fault};
use vault::location::{FolderLocation, LocationError, Marker, Refusal};

use crate::site::{NO_SERVER, holder, shards};

/// Faults that say: too little of this centre is there.
const TOO_LITTLE: [&str; 4] =
    [NO_SERVER, "keys.not-enough-holders", "vault.not-enough-locations", "vault.no-centre-record"];

struct Trouble {
    what: String,
    /// Gone or altered; not merely in use by somebody else, or not to be read by this account.
    is_damage: bool,
}

/// Adds to a fault of opening what is wrong with the servers. Where so much is damaged that the centre can't open, that
/// is a matter of integrity and not of configuration.
pub fn explained(fault: Fault, servers: &[PathBuf]) -> Fault {
    if !TOO_LITTLE.contains(&fault.code.as_str()) {
        return fault;
    }
    let troubles: Vec<Trouble> =
        servers.iter().flat_map(|server| [of_shards(server), of_holder(server)]).flatten().collect();
    let blame = if troubles.iter().any(|trouble| trouble.is_damage) { Blame::Integrity } else { fault.blame };
    let message = troubles.iter().fold(fault.message, |text, trouble| format!("{text}\n  {}", trouble.what));
    Fault { blame, message, ..fault }
}

fn of_shards(server: &std::path::Path) -> Option<Trouble> {
    let place = shards(server);
    let opened = Marker::read(&place).and_then(|marker| FolderLocation::open(&place, marker.vault()));
    let (why, is_damage) = match opened {
        Ok(location) if location.opened().skipped_bytes > 0 => {
            (format!("{} bytes of its volumes are no records any more", location.opened().skipped_bytes), true)
        }
        Ok(location) if location.opened().objects == 0 => ("it is empty".to_owned(), true),
        Ok(_) => return None,
        Err(error) => {
            let is_damage = match &error {
                LocationError::Refused { reason, .. } => *reason != Refusal::InUse,
                LocationError::Io { source, .. } => source.kind() != ErrorKind::PermissionDenied,
                _ => true,
            };
            (error.to_string(), is_damage)
        }
    };
    Some(Trouble { what: format!("shards of {}: {why}", server.display()), is_damage })
}

fn of_holder(server: &std::path::Path) -> Option<Trouble> {
    let error = LocalHolder::open(&holder(server)).err()?;
    let is_damage = match &error {
        HolderError::Locked | HolderError::Readable { .. } => false,
        HolderError::Storage { source, .. } => source.kind() != ErrorKind::PermissionDenied,
        _ => true,
    };
    Some(Trouble { what: format!("holder of {}: {error}", server.display()), is_damage })
}
