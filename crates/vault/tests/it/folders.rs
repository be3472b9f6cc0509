//! Whose folders they are: damaged, foreign and forged markers cost their own folder at most.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use kit::Id16;
use vault::location::{FolderLocation, Location, Marker};
use vault::{Folder, Mode, Scope, VaultError};

use crate::centre::{Centre, noise, open_unknown, parcel, server};

fn filled(n: u8) -> Centre {
    let centre = if n == 14 { Centre::of_fourteen() } else { Centre::new(1, n, n, 1) };
    let vault = centre.found();
    for seed in 0..3 {
        vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(5_000, seed))])).unwrap();
    }
    drop(vault);
    centre
}

fn dirs(centre: &mut Centre) -> Vec<PathBuf> {
    centre.locations.clear();
    (1..=centre.shape.n() as u8).map(|number| server(&centre.dir.path().join("servers"), number)).collect()
}

fn marker(dir: &std::path::Path) -> PathBuf {
    dir.join("location.cbor")
}

#[test]
fn each_flipped_byte_of_each_marker_costs_its_own_folder_only() {
    let mut centre = filled(14);
    let dirs = dirs(&mut centre);
    let len = fs::read(marker(&dirs[0])).unwrap().len();
    for at in 0..14 {
        let whole = fs::read(marker(&dirs[at])).unwrap();
        // Each byte at the first server, which nothing hangs on any more; at the others a few.
        for byte in (0..len).filter(|byte| at == 0 || byte % 14 == at) {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1;
            fs::write(marker(&dirs[at]), &flipped).unwrap();
            let (locations, ours) = open_unknown(&dirs, None);
            assert_eq!(locations.len(), 14, "server {at}, byte {byte}: its shards are still ours");
            assert_eq!(ours, (0..14).filter(|one| *one != at).collect::<Vec<_>>(), "server {at}, byte {byte}");
        }
        fs::write(marker(&dirs[at]), &whole).unwrap();
    }
    // Three survivors, all with damaged markers, are still three survivors.
    for dir in &dirs[..3] {
        let mut bytes = fs::read(marker(dir)).unwrap();
        bytes[20] ^= 1;
        fs::write(marker(dir), bytes).unwrap();
    }
    centre.locations = open_unknown(&dirs[..3], None).0;
    let (recovery, _) = centre.recovery(&[0, 1, 2], "new");
    assert_eq!(vault::recover(recovery).unwrap().1.entries, 3);
}

#[test]
fn a_damaged_marker_is_told_by_verify_and_healed() {
    let mut centre = filled(14);
    let dirs = dirs(&mut centre);
    fs::write(marker(&dirs[0]), b"pay").unwrap();
    let opened = vault::open_folders(&dirs, None).unwrap();
    let ours = |folder| match folder {
        Folder::Ours(location) => Some(Arc::new(location) as Arc<dyn Location>),
        _ => None,
    };
    let mut opening = centre.opening(Mode::Write);
    opening.locations = opened.folders.into_iter().filter_map(ours).collect();
    let vault = vault::open(opening).unwrap();
    let damage = vault.verify().unwrap().damage;
    assert_eq!(damage.listed[0].to_string(), "server-01 is unreachable");
    drop(vault);
    let Folder::Unmarked(location, _) = vault::open_folders(&dirs, None).unwrap().folders.remove(0) else {
        panic!("its centre record says whose it is");
    };
    drop(location.mark(Marker::new("server-01", centre.id, 1)).unwrap());
    assert_eq!(fs::read(dirs[0].join("location.cbor.replaced")).unwrap(), b"pay", "evidence stays");
    centre.restart();
    assert!(centre.open().unwrap().verify().unwrap().is_clean());
}

#[test]
fn another_centres_folder_decides_nothing() {
    let mut centre = filled(14);
    let mut dirs = dirs(&mut centre);
    let mut other = filled(2);
    let foreign = self::dirs(&mut other)[0].clone();
    // A true server of another centre, in the first place; and an empty folder that claims to be of a third.
    let third = centre.dir.path().join("third");
    drop(FolderLocation::init(&third, Marker::new("server-02", Id16([3; 16]), 2)).unwrap());
    dirs[0] = foreign;
    dirs[1] = third;
    let vkey = vault::remembered_vkey(&centre.gateway()).unwrap();
    let (locations, ours) = open_unknown(&dirs, vkey.as_ref());
    assert_eq!((locations.len(), ours), (12, (2..14).collect::<Vec<_>>()));
    drop(locations);
    // Whoever remembers no log key is not led by a vote: the operator has to say.
    let refused = vault::open_folders(&dirs, None).map(|_| ()).unwrap_err();
    assert!(matches!(refused, VaultError::ManyCentres { found: 2 }), "{refused}");
}

/// Two locations that say the same name, or one that nobody knows, are no reason to open nothing.
#[test]
fn a_location_given_twice_costs_itself_only() {
    let mut centre = filled(14);
    let dirs = dirs(&mut centre);
    for (at, id) in [(0, "server-09"), (1, "nobody")] {
        let location = FolderLocation::open(&dirs[at], centre.id).unwrap();
        drop(location.mark(Marker::new(id, centre.id, 9)).unwrap());
    }
    centre.restart();
    let vault = centre.open().unwrap();
    assert_eq!((vault.size(), vault.health().up), (3, 12));
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 1, 2], "new");
    assert_eq!(vault::recover(recovery).unwrap().1.entries, 3, "for a reader the hashes tell what stands where");
}
