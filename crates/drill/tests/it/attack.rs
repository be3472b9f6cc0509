//! Attacks: each does what it says, and none leaves the drill's own root.

use std::fs;
use std::path::Path;

use drill::attack::{self, Attack, AttackError, Blow, DrillRoot, Reach};

fn server(root: &DrillRoot, name: &str) -> std::path::PathBuf {
    let folder = root.path().join(name);
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("volume"), vec![7; 300_000]).unwrap();
    fs::write(folder.join("deep/small"), b"small but not empty").unwrap();
    folder
}

fn content(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
    (read("volume"), read("deep/small"))
}

#[test]
fn each_attack_leaves_nothing_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = DrillRoot::create(&dir.path().join("drill")).unwrap();
    for attack in Attack::ALL {
        let blow = Blow::thorough(attack);
        let folder = server(&root, blow.what());
        let older = root.path().join("older");
        attack::copy(&folder, &older).unwrap();
        fs::write(folder.join("volume"), vec![8; 400_000]).unwrap();
        fs::write(folder.join("deep/new"), b"came later").unwrap();
        let before = content(&folder);
        let damage = blow.strike(&root, &folder, Some(&older), 3).unwrap();
        assert_eq!(damage.files, 3);
        let after = content(&folder);
        assert_ne!(after.0, before.0, "{attack:?}");
        match attack {
            Attack::Wiped => assert!(fs::read_dir(&folder).unwrap().next().is_none()),
            Attack::Encrypted => {
                assert!(folder.join("volume.locked").exists() && !folder.join("volume").exists());
                let locked = fs::read(folder.join("volume.locked")).unwrap();
                assert!(locked.windows(8).all(|bytes| bytes != [8; 8]));
            }
            Attack::BitFlipped => {
                let differing = after.0.iter().zip(&before.0).filter(|(a, b)| a != b).count();
                assert!((1..=20).contains(&differing), "{differing}");
                let bits: u32 = after.1.iter().zip(&before.1).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!(bits, 1, "a small file says something wrong that may look right");
            }
            Attack::Truncated => assert!(after.0.len() < before.0.len() && after.1.len() < before.1.len()),
            Attack::RolledBack => {
                assert_eq!(after.0, vec![7; 300_000]);
                assert!(!folder.join("deep/new").exists());
            }
        }
        fs::remove_dir_all(&older).unwrap();
    }
}

#[test]
fn an_attack_on_large_files_leaves_the_small_ones_and_the_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = DrillRoot::create(&dir.path().join("drill")).unwrap();
    for attack in [Attack::Wiped, Attack::Encrypted, Attack::BitFlipped, Attack::Truncated] {
        let blow = Blow { attack, reach: Reach::LargeFiles };
        let folder = server(&root, blow.what());
        let before = content(&folder);
        assert_eq!(blow.strike(&root, &folder, None, 3).unwrap().files, 1);
        let after = content(&folder);
        assert_ne!(after.0, before.0, "{attack:?}");
        assert_eq!(after.1, before.1, "{attack:?}");
        assert_eq!(folder.join("volume").exists(), attack != Attack::Wiped);
    }
}

#[test]
fn nothing_outside_the_drills_root_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("hospital");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("records"), b"irreplaceable").unwrap();
    let root = DrillRoot::create(&dir.path().join("drill")).unwrap();
    let link = root.path().join("innocent");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let through_dots = root.path().join("../hospital");
    for folder in [&outside, &link, &through_dots] {
        let refused = Blow::thorough(Attack::Wiped).strike(&root, folder, None, 0);
        assert!(matches!(refused, Err(AttackError::Outside { .. })), "{refused:?}");
    }
    assert!(matches!(
        Blow::thorough(Attack::Wiped).strike(&root, root.path(), None, 0),
        Err(AttackError::Outside { .. })
    ));
    assert!(matches!(DrillRoot::open(&outside), Err(AttackError::Unmarked(_))));
    assert!(matches!(DrillRoot::create(&outside), Err(AttackError::NotEmpty(_))));
    // A link inside an attacked folder is removed, never followed.
    let folder = server(&root, "a");
    std::os::unix::fs::symlink(&outside, folder.join("deep/link")).unwrap();
    Blow::thorough(Attack::Encrypted).strike(&root, &folder, None, 0).unwrap();
    Blow::thorough(Attack::Wiped).strike(&root, &folder, None, 0).unwrap();
    assert_eq!(fs::read(outside.join("records")).unwrap(), b"irreplaceable");
    // A root whose marker is gone is nobody's any more.
    let folder = server(&root, "b");
    fs::remove_file(root.path().join("HOLDFAST-DRILL-ROOT")).unwrap();
    assert!(matches!(Blow::thorough(Attack::Wiped).strike(&root, &folder, None, 0), Err(AttackError::Unmarked(_))));
}

#[test]
fn the_choice_follows_the_seed_and_has_every_kind() {
    for seed in 0..50 {
        let chosen = attack::choose(seed, 14, 11);
        assert_eq!(chosen, attack::choose(seed, 14, 11));
        assert_eq!(chosen.len(), 11);
        assert!(chosen.windows(2).all(|pair| pair[0].0 < pair[1].0) && chosen[10].0 < 14);
        for attack in Attack::ALL {
            for reach in [Reach::Everything, Reach::LargeFiles] {
                assert!(chosen.iter().any(|(_, blow)| *blow == Blow { attack, reach }), "{attack:?} {reach:?}");
            }
        }
    }
    assert_ne!(attack::choose(1, 14, 11), attack::choose(2, 14, 11));
    assert_eq!(attack::choose(1, 14, 14).len(), 14);
}

#[test]
fn a_roll_back_needs_an_older_copy() {
    let dir = tempfile::tempdir().unwrap();
    let root = DrillRoot::create(dir.path()).unwrap();
    let folder = server(&root, "a");
    assert!(matches!(
        Blow::thorough(Attack::RolledBack).strike(&root, &folder, None, 0),
        Err(AttackError::NoOlderCopy(_))
    ));
}
