//! What a crash leaves behind, at every interesting point; rollback; wrong projections.

use std::fs;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use vault::location::{Listed, Location, LocationError, Name, Object, Put, Stats};
use vault::{Mode, Opening, Scope, Vault, VaultError};

use crate::centre::{Centre, copy_tree, noise, parcel};

const LEN: usize = 20_000;

fn keep(centre: &Centre, vault: &Vault, seed: u64) -> Result<u64, VaultError> {
    let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(LEN, seed))]);
    Ok(vault.keep(group)?[0].index)
}

fn check(vault: &Vault, seeds: &[u64]) {
    assert_eq!(vault.size(), seeds.len() as u64);
    for (index, seed) in (0..).zip(seeds) {
        assert!(*vault.fetch(index, "a", "b").unwrap().1 == noise(LEN, *seed), "entry {index}");
    }
}

/// The last segment reached j locations, then the writer died.
#[test]
fn a_tail_on_k_locations_is_adopted_and_on_fewer_abandoned() {
    for reached in 0..=14usize {
        let mut centre = Centre::of_fourteen();
        let vault = centre.found();
        keep(&centre, &vault, 0).unwrap();
        // Which ones is different each time, and not the first ones only.
        for at in 0..14 {
            if (at * 5 + reached) % 14 >= reached {
                centre.locations[at].down_after(0);
            }
        }
        let last = keep(&centre, &vault, 1);
        drop(vault);
        centre.restart();
        let vault = centre.open().unwrap();
        let opened = vault.health().opened;
        if reached >= 11 {
            assert_eq!(last.unwrap(), 1);
            assert_eq!((opened.adopted_segments, opened.abandoned_segments), (0, 0), "remembered");
            check(&vault, &[0, 1]);
        } else {
            assert!(matches!(last, Err(VaultError::NotDurable { durable, floor: 11 }) if durable == reached));
            let adopted = reached >= 3;
            let abandoned = u64::from(reached > 0 && !adopted);
            assert_eq!((opened.adopted_segments, opened.abandoned_segments), (u64::from(adopted), abandoned));
            check(&vault, if adopted { &[0, 1] } else { &[0] });
        }
        // Either way it goes on, and what it adopted stands at all locations now.
        keep(&centre, &vault, 2).unwrap();
        let seeds: &[u64] = if reached >= 3 { &[0, 1, 2] } else { &[0, 2] };
        check(&vault, seeds);
        let report = vault.scrub().unwrap();
        assert!(report.is_whole() && (reached >= 11 || report.healed == 0), "{reached}: {report:?}");
        assert!(vault.verify().unwrap().is_clean());
        drop(vault);
        centre.restart();
        check(&centre.open().unwrap(), seeds);
    }
}

/// A tail of an earlier writer that turns up again can't push out what a later one wrote.
#[test]
fn an_abandoned_tail_that_comes_back_stays_abandoned() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    // Segment 1 of the first writer reaches the first three only; then these three are away.
    centre.locations.iter().skip(3).for_each(|location| location.down_after(0));
    assert!(keep(&centre, &vault, 1).is_err());
    drop(vault);
    centre.restart();
    centre.locations[..3].iter().for_each(|location| location.set_down(true));
    let vault = centre.open().unwrap();
    check(&vault, &[0]);
    keep(&centre, &vault, 2).unwrap();
    drop(vault);
    // They are back: both segments number 1 stand on k locations or more.
    centre.restart();
    let vault = centre.open().unwrap();
    assert_eq!(vault.health().opened.abandoned_segments, 1);
    check(&vault, &[0, 2]);
    keep(&centre, &vault, 3).unwrap();
    assert!(vault.scrub().unwrap().is_whole());
    assert!(vault.verify().unwrap().is_clean());
}

/// The last record of a volume cut at every interesting byte: at eleven servers nothing is lost, at all of them the
/// gateway notices, and where nobody remembers, the start isn't blocked.
#[test]
fn a_half_written_tail_blocks_no_start() {
    for cut in [1, 31, 32, 33, 5_000, 6_700, 7_000, 7_600] {
        let mut centre = Centre::of_fourteen();
        let vault = centre.found();
        keep(&centre, &vault, 0).unwrap();
        keep(&centre, &vault, 1).unwrap();
        drop(vault);
        // The seal behind it goes as a whole: magic, name, object, checksum.
        let seal = centre.locations[0].objects("s/").pop().unwrap();
        let cut = cut + (24 + seal.as_str().len() + centre.locations[0].raw(&seal).len() + 32) as u64;
        let truncate = |centre: &Centre, servers: std::ops::RangeInclusive<u8>| {
            for n in servers {
                let path = centre.dir.path().join(format!("servers/server-{n:02}/volumes/000001.vol"));
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() - cut).unwrap();
            }
        };
        truncate(&centre, 1..=11);
        centre.restart();
        let vault = centre.open().unwrap();
        check(&vault, &[0, 1]);
        drop(vault);
        truncate(&centre, 12..=14);
        for n in 1..=11 {
            // What opening has healed is cut away, too.
            let path = centre.dir.path().join(format!("servers/server-{n:02}/volumes/000002.vol"));
            let _ = fs::remove_file(path);
        }
        centre.restart();
        let refused = centre.open();
        assert!(matches!(refused, Err(VaultError::RolledBack { remembered: 2, found: 1 })), "{cut}: {refused:?}");
        fs::remove_dir_all(centre.gateway()).unwrap();
        let vault = centre.open().unwrap();
        check(&vault, &[0]);
        keep(&centre, &vault, 2).unwrap();
        check(&vault, &[0, 2]);
        assert!(vault.scrub().unwrap().is_whole());
        assert!(vault.verify().unwrap().is_clean());
    }
}

#[test]
fn a_rollback_of_everything_is_noticed() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    keep(&centre, &vault, 1).unwrap();
    drop(vault);
    let (servers, backup) = (centre.dir.path().join("servers"), centre.dir.path().join("backup"));
    copy_tree(&servers, &backup);
    let vault = centre.open().unwrap();
    keep(&centre, &vault, 2).unwrap();
    drop(vault);
    centre.locations.clear();
    fs::remove_dir_all(&servers).unwrap();
    copy_tree(&backup, &servers);
    centre.restart();
    for mode in [Mode::Write, Mode::Read] {
        let refused = vault::open(centre.opening(mode));
        assert!(matches!(refused, Err(VaultError::RolledBack { remembered: 3, found: 2 })), "{refused:?}");
    }
    // And a history that was rewritten behind the rollback, as long as before and longer.
    let mut forger = centre.opening(Mode::Write);
    forger.gateway = Some(centre.dir.path().join("forger"));
    let vault = vault::open(forger).unwrap();
    for seed in [7, 8] {
        keep(&centre, &vault, seed).unwrap();
    }
    drop(vault);
    let refused = centre.open();
    assert!(matches!(refused, Err(VaultError::Root { size: 3, .. })), "{refused:?}");
}

#[test]
fn another_centre_is_not_taken_for_this_one() {
    let centre = Centre::new(1, 2, 2, 1);
    drop(centre.found());
    let other = Centre::new(1, 3, 2, 1);
    fs::write(centre.gateway().join("log.vkey"), other.found().vkey().to_string()).unwrap();
    let refused = centre.open();
    assert!(matches!(refused, Err(VaultError::OtherCentre { .. })), "{refused:?}");
}

#[test]
fn wrong_projections_are_noticed_and_made_anew() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patients: Vec<_> = (0..5).map(|_| centre.patient(&vault)).collect();
    let keep = |vault: &Vault, patient| {
        let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", noise(LEN, 1))]);
        vault.keep(group).unwrap()[0].index
    };
    let entries: Vec<u64> = patients.iter().map(|patient| keep(&vault, *patient)).collect();
    let size = vault.size();
    drop(vault);
    for file in ["keymap", "hashes"] {
        let path = centre.gateway().join(file);
        let good = fs::read(&path).unwrap();
        let flipped: Vec<u8> = good.iter().map(|byte| !byte).collect();
        for wrong in [flipped, good[..good.len() / 2].to_vec(), vec![]] {
            fs::write(&path, wrong).unwrap();
            let vault = centre.open().unwrap();
            let opened = vault.health().opened;
            assert_eq!((opened.keymap_remembered, opened.hashes_remembered), (file != "keymap", file != "hashes"));
            assert_eq!(vault.size(), size);
            for index in &entries {
                assert!(*vault.fetch(*index, "a", "b").unwrap().1 == noise(LEN, 1));
            }
            assert!(vault.verify().unwrap().is_clean());
        }
    }
}

/// A location whose first listing waits until all of them are being listed.
struct Meeting {
    own: Arc<dyn Location>,
    met: Arc<(Mutex<usize>, Condvar)>,
    of: usize,
}

impl Location for Meeting {
    fn id(&self) -> &str {
        self.own.id()
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        self.own.put_if_absent(objects)
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.own.get(name, range)
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        let (here, came) = &*self.met;
        let mut here = here.lock().unwrap();
        *here += 1;
        came.notify_all();
        let late =
            came.wait_timeout_while(here, Duration::from_secs(20), |here| *here < self.of).unwrap().1.timed_out();
        assert!(!late, "{} is listed before the others are asked", self.id());
        self.own.list(after, limit)
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        self.own.stats()
    }
}

/// Readers ask another one instead of waiting, and the next ones ask it last.
#[test]
fn who_lets_readers_wait_holds_no_read_up() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = [7, 8].map(|byte| {
        let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", vec![byte; 100])]);
        vault.keep(group).unwrap().remove(0).index
    });
    drop(vault);
    let vault = vault::open(centre.opening(Mode::Write)).unwrap();
    let silent = centre.locations.iter().take(3);
    silent.clone().for_each(|location| location.fall_silent());
    let unanswered = || silent.clone().map(|location| location.unanswered()).sum::<usize>();
    assert_eq!(**vault.fetch(kept[0], "p", "treatment").unwrap().1, [7; 100]);
    assert_eq!(unanswered(), 3);
    assert_eq!(**vault.fetch(kept[1], "p", "treatment").unwrap().1, [8; 100]);
    assert_eq!(unanswered(), 3, "asked last, they were not asked");
    assert!(vault.verify().unwrap().is_clean(), "silence is no damage");
}

/// One that takes long to answer holds a start up once, not each in its turn.
#[test]
fn a_start_asks_all_locations_at_once() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", vec![7; 100])])).unwrap();
    drop(vault);
    let (of, met) = (centre.shape.n(), Arc::default());
    let meeting = |own| Arc::new(Meeting { own, met: Arc::clone(&met), of }) as Arc<dyn Location>;
    let locations = centre.given().into_iter().map(meeting).collect();
    let vault = vault::open(Opening { locations, ..centre.opening(Mode::Write) }).unwrap();
    assert_eq!(vault.health().up, of);
}
