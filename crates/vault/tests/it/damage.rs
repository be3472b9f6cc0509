//! Every kind of damage × reading, verify, scrub; locations that fail and come back.

use std::fs;
use std::os::unix::fs::FileExt;
use std::slice::from_ref;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vault::location::Name;
use vault::{Damage, Mode, Scope, Vault, VaultError, What};

use crate::centre::{Centre, make_locations, noise, parcel};

const LEN: usize = 50_000;

/// Six segments or so of noise in the centre's scope; the entries' numbers.
fn fill(centre: &Centre, vault: &Vault, from: u64) -> Vec<u64> {
    (from..from + 6)
        .map(|seed| {
            let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(LEN, seed))]);
            vault.keep(group).unwrap()[0].index
        })
        .collect()
}

fn read_all(vault: &Vault, entries: &[u64]) {
    for (seed, &index) in (0..).zip(entries) {
        assert!(*vault.fetch(index, "a", "b").unwrap().1 == noise(LEN, seed));
    }
}

fn flip(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x40;
    bytes
}

fn header_len(object: &[u8]) -> usize {
    4 + u32::from_be_bytes(object[..4].try_into().unwrap()) as usize
}

/// A way to damage segment 3 at the first location, given its name.
type Attack = fn(&Centre, &Name, &[Vec<u8>]) -> Option<Vec<u8>>;

#[test]
fn every_kind_of_damage_is_survived_told_and_healed() {
    let attacks: [(&str, What, Attack); 11] = [
        ("taken away", What::Missing, |_, _, _| None),
        ("emptied", What::Truncated, |_, _, _| Some(vec![])),
        ("cut in the header", What::Truncated, |c, n, _| Some(c.locations[0].raw(n)[..100].to_vec())),
        ("cut before the shard", What::Truncated, |c, n, _| {
            let raw = c.locations[0].raw(n);
            Some(raw[..header_len(&raw) + 64].to_vec())
        }),
        ("cut by a byte", What::Truncated, |c, n, _| {
            let raw = c.locations[0].raw(n);
            Some(raw[..raw.len() - 1].to_vec())
        }),
        ("flipped in the header", What::Altered, |c, n, _| Some(flip(c.locations[0].raw(n), 200))),
        ("flipped in the shard", What::Altered, |c, n, _| {
            let raw = c.locations[0].raw(n);
            let at = raw.len() - 5;
            Some(flip(raw, at))
        }),
        ("encrypted", What::Altered, |c, n, _| Some(noise(c.locations[0].raw(n).len(), 99))),
        ("another segment's", What::Swapped, |c, _, _| {
            Some(c.locations[0].raw(c.locations[0].objects("s/").get(1).unwrap()))
        }),
        ("another location's", What::Swapped, |c, n, _| Some(c.locations[5].raw(n))),
        ("of another history", What::Stale, |_, _, stale| Some(stale[3].clone())),
    ];
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let entries = fill(&centre, &vault, 0);
    drop(vault);
    let stale = other_history(&centre);
    let name = centre.locations[0].objects("s/")[3].clone();
    for (text, what, attack) in attacks {
        centre.locations[0].forge(&name, attack(&centre, &name, &stale));
        let expected = Damage { location: "server-01".to_owned(), segment: Some(3), what };

        // For reading: nobody heals while it is looked at.
        let vault = vault::open(centre.opening(Mode::Read)).unwrap();
        read_all(&vault, &entries);
        assert_eq!(vault.health().damage.listed, from_ref(&expected), "reading: {text}");
        let report = vault.verify().unwrap();
        assert_eq!(report.damage.listed, from_ref(&expected), "verify: {text}");
        assert_eq!((report.lost_segments, report.contradictions_total), (0, 0), "{text}");
        assert_eq!((report.shards_good, report.shards_expected), (report.segments * 14 - 1, report.segments * 14));
        assert!(!report.is_clean());
        drop(vault);

        let vault = centre.open().unwrap();
        if what == What::Missing {
            // What a location doesn't even list, it is brought without a scrub.
            centre.wait_until_whole(&vault);
            let report = vault.scrub().unwrap();
            assert_eq!((report.healed, report.healed_since_opening), (0, 1), "scrub: {text}");
        } else {
            let report = vault.scrub().unwrap();
            assert_eq!((report.damage.listed.as_slice(), report.healed), (from_ref(&expected), 1), "scrub: {text}");
            assert!(report.is_whole(), "{text}");
        }
        assert!(vault.verify().unwrap().is_clean(), "{text}");
        drop(vault);
        let vault = centre.open().unwrap();
        read_all(&vault, &entries);
        assert!(vault.health().damage.is_empty(), "healed for readers: {text}");
        drop(vault);
        // The next attack is on the healed object, too.
        centre.locations[0].objects("s/").iter().filter(|one| one.as_str().contains(".r")).for_each(|one| {
            centre.locations[0].forge(one, None);
        });
    }
}

/// Segments that the same centre's key signed, and that are none of its log: from a copy that went another way.
fn other_history(centre: &Centre) -> Vec<Vec<u8>> {
    let gateway = centre.dir.path().join("other-gateway");
    let (mut recovery, fresh) = centre.recovery(&[0, 1, 2], "other");
    recovery.gateway = Some(gateway);
    // Cut the copy's history to its first three segments: what comes then has other numbers' place.
    for location in &centre.locations[..3] {
        for name in location.objects("s/").iter().skip(3) {
            location.forge(name, None);
        }
    }
    let (vault, _) = vault::recover(recovery).unwrap();
    fill(centre, &vault, 100);
    drop(vault);
    centre.locations[..3].iter().for_each(|location| location.restore());
    fresh[0].objects("s/").iter().map(|name| fresh[0].raw(name)).collect()
}

#[test]
fn twelve_altered_shards_are_one_too_many() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let entries = fill(&centre, &vault, 0);
    drop(vault);
    let name = centre.locations[0].objects("s/")[2].clone();
    let spoil = |at: usize| {
        let raw = centre.locations[at].raw(&name);
        let end = raw.len() - 1;
        centre.locations[at].forge(&name, Some(flip(raw, end)));
    };
    (0..11).for_each(spoil);
    let vault = centre.open().unwrap();
    read_all(&vault, &entries);
    drop(vault);
    spoil(11);
    let vault = centre.open().unwrap();
    let refused = vault.fetch(entries[2], "a", "b");
    assert!(matches!(refused, Err(VaultError::Unreadable { segment: 2, good: 2, need: 3 })), "{refused:?}");
    let report = vault.verify().unwrap();
    assert_eq!((report.lost_segments, report.damage.total), (1, 12));
    assert!(!report.is_clean());
    let report = vault.scrub().unwrap();
    assert_eq!((report.lost_segments, report.healed, report.unhealed.total), (1, 0, 12));
    assert!(!report.is_whole());
    // The rest of the log is not held hostage, not even where nothing is remembered of it.
    drop(vault);
    fs::remove_dir_all(centre.gateway()).unwrap();
    let vault = centre.open().unwrap();
    assert_eq!(vault.health().opened.unreadable_segments, 1);
    assert!(*vault.fetch(entries[3], "a", "b").unwrap().1 == noise(LEN, 3));
    let stopped = vault.scan(0, &mut |_| Ok(())).unwrap_err();
    assert_eq!(stopped.code, "vault.unreadable");
    assert_eq!(vault.scan(vault.behind_segment(2).unwrap(), &mut |_| Ok(())).unwrap(), vault.size());
}

#[test]
fn a_location_that_hangs_holds_nobody_up_for_long() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let keep = |seed: u64| {
        let start = Instant::now();
        let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(LEN, seed))]);
        (vault.keep(group).unwrap().remove(0), start.elapsed())
    };
    keep(0);
    centre.locations[6].hang(true);
    let (receipt, waited) = keep(1);
    assert_eq!((receipt.durable, receipt.survives), (13, 10));
    assert!(waited >= Duration::from_secs(2), "{waited:?}: the others are waited for, within reason");
    let (receipt, waited) = keep(2);
    assert_eq!(receipt.durable, 13);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert!(!vault.health().locations[6].up);
    centre.locations[6].hang(false);
    let start = Instant::now();
    while vault.health().locations.iter().any(|location| !location.up || location.missing > 0) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", vault.health().locations);
        sleep(Duration::from_millis(50));
    }
    assert_eq!(keep(3).0.durable, 14);
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn a_rolled_back_location_is_stale_and_a_flipped_volume_altered() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    let entries = fill(&centre, &vault, 0);
    drop(vault);
    let volume = |n: u8| centre.dir.path().join(format!("servers/server-{n:02}/volumes/000001.vol"));
    // Server 2 shows its state from before: what came last was cut off.
    let last = centre.locations[1].raw(centre.locations[1].objects("s/").last().unwrap());
    let file = fs::File::options().write(true).open(volume(2)).unwrap();
    file.set_len(file.metadata().unwrap().len() - last.len() as u64).unwrap();
    // Server 3 is encrypted with a lost key; server 4's first shards have rotted; server 5 is wiped.
    let len = fs::metadata(volume(3)).unwrap().len();
    fs::write(volume(3), noise(len as usize, 5)).unwrap();
    let object = centre.locations[3].raw(&centre.locations[3].objects("s/")[0]);
    let bytes = fs::read(volume(4)).unwrap();
    let at = bytes.windows(object.len()).position(|window| window == object).unwrap() + object.len() - 3;
    let file = fs::File::options().write(true).open(volume(4)).unwrap();
    file.write_all_at(&[!bytes[at]], at as u64).unwrap();
    fs::remove_file(volume(5)).unwrap();
    centre.restart();

    let vault = vault::open(centre.opening(Mode::Read)).unwrap();
    read_all(&vault, &entries);
    let report = vault.verify().unwrap();
    let by = |n: u8, what: What| {
        let id = format!("server-{n:02}");
        report.damage.listed.iter().filter(|damage| damage.location == id && damage.what == what).count() as u64
    };
    assert_eq!(by(2, What::Stale), 1);
    assert_eq!(by(3, What::Missing), report.segments + 1, "the centre record, too");
    assert_eq!(by(4, What::Altered), 1);
    assert_eq!(by(5, What::Missing), report.segments + 1);
    assert_eq!(report.damage.total, 2 * report.segments + 4);
    assert_eq!(report.damage.by_location.len(), 4);
    drop(vault);
    let vault = centre.open().unwrap();
    // What server 2 lacks it is brought meanwhile; the others wait for the scrub.
    let healed = vault.scrub().unwrap();
    assert!(healed.is_whole() && healed.healed >= report.damage.total - 1, "{healed:?}");
    centre.wait_until_whole(&vault);
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);
    centre.restart();
    assert!(centre.open().unwrap().verify().unwrap().is_clean());
}

#[test]
fn a_fresh_empty_location_is_filled() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    let entries = fill(&centre, &vault, 0);
    drop(vault);
    let fresh = make_locations(&centre.dir.path().join("fresh"), centre.id, 14);
    // n − quorum of them: with more, nobody could tell what was acknowledged.
    centre.locations[..8].clone_from_slice(&fresh[..8]);
    let vault = centre.open().unwrap();
    assert!(vault.scrub().unwrap().is_whole());
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);
    // The new ones alone, now.
    let key = centre.recovery_key();
    read_all(&centre.read_by_custodians([1, 5, 7], &key).unwrap(), &entries);
}

#[test]
fn below_the_floor_it_refuses_and_then_heals() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let keep = |seed: u64| vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(LEN, seed))]));
    keep(0).unwrap();
    for location in &centre.locations[..3] {
        location.set_down(true);
    }
    let receipt = keep(1).unwrap().remove(0);
    assert_eq!((receipt.durable, receipt.survives), (11, 8));
    centre.locations[3].set_down(true);
    let refused = keep(2);
    assert!(matches!(refused, Err(VaultError::NotDurable { durable: 10, floor: 11 })), "{refused:?}");
    let refused = keep(3);
    assert!(matches!(refused, Err(VaultError::BelowFloor { up: 10, floor: 11 })), "{refused:?}");
    let health = vault.health();
    assert_eq!((health.up, health.writable, health.survives), (10, false, 7));
    assert!(health.locations[0].missing > 0 && health.locations[0].last_error.is_some());
    let size = vault.size();
    // Reading goes on.
    assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == noise(LEN, 1));
    centre.locations.iter().for_each(|location| location.set_down(false));
    let start = Instant::now();
    while vault.health().locations.iter().any(|location| !location.up || location.missing > 1) {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", vault.health().locations);
        sleep(Duration::from_millis(50));
    }
    let receipt = keep(4).unwrap().remove(0);
    assert_eq!((receipt.index, receipt.durable), (size, 14));
    let report = vault.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.abandoned_segments, 1);
    drop(vault);
    let vault = centre.open().unwrap();
    assert_eq!(vault.size(), size + 1);
    assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == noise(LEN, 4));
}
