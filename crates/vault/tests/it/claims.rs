//! Names that nobody signed: one server can't end the writing for the others, nor carry that into a recovered centre.

use vault::location::{Location, Name, Object};
use vault::{Scope, Vault, VaultError};

use crate::centre::{Centre, noise, parcel};

fn keep(centre: &Centre, vault: &Vault, seed: u64) -> Result<u64, VaultError> {
    let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(500, seed))]);
    Ok(vault.keep(group)?[0].index)
}

/// What the server that an attacker owns lists from now on.
const NAMES: [&str; 3] = ["w/ffffffff", "s/0000000000000000-ffffffff00000000", "s/ffffffffffffffff-ffffffffffffffff"];

#[test]
fn an_unsigned_name_takes_nobody_the_right_to_write() {
    for name in NAMES {
        let mut centre = Centre::of_fourteen();
        let vault = centre.found();
        keep(&centre, &vault, 0).unwrap();
        drop(vault);
        let name = Name::new(name).unwrap();
        let claim = centre.locations[0].raw(&centre.locations[0].objects("w/")[0]);
        for (body, session) in [(claim, 1), (b"junk".to_vec(), 2), (vec![], 3)] {
            centre.locations[session].put_if_absent(&[Object { name: &name, parts: &[&body] }]).unwrap();
            centre.restart();
            let vault = centre.open().unwrap();
            assert_eq!(keep(&centre, &vault, session as u64).unwrap(), session as u64, "{name}");
            vault.scrub().unwrap();
            drop(vault);
            for at in (0..14).filter(|at| *at == 0 || *at > session) {
                assert!(!centre.locations[at].objects("").contains(&name), "{name}: a scrub must not spread it");
            }
        }
        // The survivors that list it recover a centre that doesn't.
        let (recovery, fresh) = centre.recovery(&[1, 2, 3], "new");
        let (vault, report) = vault::recover(recovery).unwrap();
        assert_eq!(report.entries, 4, "{name}");
        keep(&centre, &vault, 4).unwrap();
        assert!(fresh.iter().all(|location| !location.objects("").contains(&name)));
    }
}
