//! A vault grows from 1 server to 3, to 14, while records are read and kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keys::{Holder, HolderPublicKey, LocalHolder, TurnOrder};
use kit::{Explain, PatientId};
use vault::location::Location;
use vault::{Access, Mode, Move, Opening, Recovery, Scope, Shape, Vault, VaultError};

use crate::centre::{Centre, Moody, copy_tree, make_locations, noise, parcel};

struct Kept {
    patient: PatientId,
    index: u64,
    payload: Vec<u8>,
}

fn keep(centre: &Centre, vault: &Vault, seed: u64, len: usize) -> Kept {
    let (patient, payload) = (centre.patient(vault), noise(len, seed));
    let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
    Kept { patient, index: vault.keep(group).unwrap()[0].index, payload }
}

fn opens(vault: &Vault, one: &Kept) {
    assert!(*vault.fetch(one.index, "dr-a", "treatment").unwrap().1 == *one.payload, "entry {}", one.index);
}

/// More servers, as those that there are number on.
struct Added {
    locations: Vec<Arc<Moody>>,
    holders: Vec<Arc<dyn Holder>>,
    shape: Shape,
    t: u8,
}

fn more(centre: &Centre, name: &str, (k, n, floor): (u8, u8, u8), t: u8, epoch: u32) -> Added {
    let (dir, held) = (centre.dir.path().join(name), centre.locations.len());
    let locations = make_locations(&dir.join("servers"), centre.id, n).split_off(held);
    let first = u8::try_from(held + 1).unwrap();
    let holder = |number: u8| {
        let folder = dir.join("holders").join(number.to_string());
        Arc::new(LocalHolder::init_in(&folder, number, epoch, &*centre.entropy).unwrap()) as Arc<dyn Holder>
    };
    Added { locations, holders: (first..=n).map(holder).collect(), shape: Shape::new(k, n, floor).unwrap(), t }
}

fn to(vault: &Vault, added: &Added) -> Move {
    let own: Vec<HolderPublicKey> = vault.turn_keys().unwrap();
    let new = added.locations.iter().map(|location| location.clone() as Arc<dyn Location>);
    let holders: Vec<Arc<dyn Holder>> = vault.holders().into_iter().chain(added.holders.iter().cloned()).collect();
    Move {
        shape: added.shape,
        locations: vault.locations().into_iter().chain(new).collect(),
        public: own.into_iter().chain(added.holders.iter().map(|holder| holder.public_key())).collect(),
        holders,
        t: added.t,
    }
}

/// All of it: the segments, the keys, the end of the old ones.
fn grow(centre: &mut Centre, vault: &Vault, added: Added) {
    vault.move_to(to(vault, &added), &mut |_, _| {}).unwrap();
    settle(centre, vault, added);
}

fn settle(centre: &mut Centre, vault: &Vault, added: Added) {
    vault.deal_anew(&centre.recovery_key(), &mut |_, _| {}).unwrap();
    let turn = vault.reseal(&mut |_, _| {}).unwrap();
    vault.finish_turn(&TurnOrder { turn, signature: Vec::new() }).unwrap();
    centre.locations.extend(added.locations);
    centre.holders.extend(added.holders);
    (centre.shape, centre.t) = (added.shape, added.t);
}

/// Whether somebody who has this one server's shards and holder, as they are in a copy, can open the vault.
fn one_opens(centre: &Centre, server: &Arc<Moody>, holder: &Path) -> bool {
    let holders: Vec<Arc<dyn Holder>> = vec![Arc::new(LocalHolder::open(holder).unwrap())];
    let access = Access::Holders { holders, cache_ms: 0, prover: None };
    let locations = vec![server.clone() as Arc<dyn Location>];
    vault::open(Opening { locations, access, gateway: None, ..centre.opening(Mode::Read) }).is_ok()
}

#[test]
fn a_centre_grows_from_one_to_three_to_fourteen_under_load() {
    let mut centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let mut kept: Vec<Kept> = (0..60).map(|n| keep(&centre, &vault, n, 3_000)).collect();
    // Several segments of the smallest shape.
    kept.push(keep(&centre, &vault, 60, 3 << 20));
    let erased = keep(&centre, &vault, 61, 100);
    vault.erase(erased.patient, None, centre.operation()).unwrap();
    let (size, checkpoint, vkey) = (vault.size(), vault.checkpoint().unwrap(), vault.vkey());
    assert!(vault.health().survives == 0);

    let alone = centre.dir.path().join("alone");
    copy_tree(&centre.dir.path().join("holders/1"), &alone.join("before"));
    for (step, shape, t) in [(1, (2, 3, 3), 3), (2, (3, 14, 11), 12)] {
        let added = more(&centre, &format!("step-{step}"), shape, t, 1 + step);
        let ends = AtomicBool::new(false);
        let meanwhile: Vec<Kept> = thread::scope(|scope| {
            let (centre, vault, ends) = (&centre, &vault, &ends);
            let writers: Vec<_> = (0..4u64)
                .map(|writer| {
                    scope.spawn(move || {
                        let mut kept = Vec::new();
                        while !ends.load(Ordering::SeqCst) || kept.len() < 5 {
                            let seed = 1_000_000 * u64::from(step) + 1_000 * writer + kept.len() as u64;
                            kept.push(keep(centre, vault, seed, 2_000));
                        }
                        kept
                    })
                })
                .collect();
            let before = &kept;
            let reader = scope.spawn(move || {
                while !ends.load(Ordering::SeqCst) {
                    before.iter().for_each(|one| opens(vault, one));
                }
            });
            let moved = vault.move_to(to(vault, &added), &mut |_, _| {});
            ends.store(true, Ordering::SeqCst);
            let kept = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
            reader.join().unwrap();
            moved.unwrap();
            kept
        });
        assert!(meanwhile.len() >= 20);
        settle(&mut centre, &vault, added);
        kept.extend(meanwhile);
        kept.iter().for_each(|one| opens(&vault, one));
        let health = vault.health();
        assert_eq!((health.up, health.survives), (usize::from(shape.1), shape.1 - shape.0), "{:?}", health.locations);
        assert_eq!((vault.turning(), vault.quorum_of_holders()), (None, (t, shape.1)));
        let report = vault.verify().unwrap();
        assert!(report.is_clean() && report.abandoned_segments == 0, "{report:?}");
        kept.push(keep(&centre, &vault, 70 + u64::from(step), 5_000));
    }
    assert!(matches!(vault.fetch(erased.index, "dr-a", "treatment"), Err(VaultError::Erased)));
    assert!(!vault.danger_opens(erased.patient, erased.index), "nobody dealt hers again");
    let path = vault.prove_consistency(checkpoint.size, vault.size()).unwrap();
    ledger::check_growth(&checkpoint, &vault.checkpoint().unwrap(), &path).unwrap();
    assert!(vault.size() > size && vault.vkey() == vkey);
    drop(vault);

    // It is one centre like any other: it starts, survives eleven losses, and is recovered.
    let vault = centre.open().unwrap();
    assert!(vault.health().opened.hashes_remembered && vault.health().opened.keymap_remembered);
    kept.iter().for_each(|one| opens(&vault, one));
    kept.push(keep(&centre, &vault, 90, 5_000));
    centre.wait_until_whole(&vault);
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 6, 13], "recovered");
    let (recovered, report) = vault::recover(recovery).unwrap();
    assert_eq!(report.abandoned_segments, 0);
    kept.iter().for_each(|one| opens(&recovered, one));
    assert!(recovered.verify().unwrap().is_clean());
    drop(recovered);

    // The first server alone opened everything, once. What it has now opens nothing, of now or of then.
    drop(std::mem::take(&mut centre.holders));
    let first = &centre.locations[0];
    assert!(!first.objects("s/").is_empty(), "what stood there then stands there still");
    copy_tree(&centre.dir.path().join("holders/1"), &alone.join("after"));
    assert!(!one_opens(&centre, first, &alone.join("after")));
    for name in first.objects("centre/").iter().skip(1).chain(&first.objects("s1/")).chain(&first.objects("s2/")) {
        first.forge(name, None);
    }
    for name in first.objects("centre/").iter().filter(|name| !name.as_str().ends_with("00000001")) {
        first.forge(name, None);
    }
    assert!(one_opens(&centre, first, &alone.join("before")), "the check itself sees nothing");
    assert!(!one_opens(&centre, first, &alone.join("after")));
}

/// A location fails in the middle, then more than the floor allows: the vault stays where it is. Done again, it goes on with
/// what was copied.
#[test]
fn a_move_that_was_cut_short_is_gone_on_from() {
    let mut centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let mut kept: Vec<Kept> = (0..40).map(|n| keep(&centre, &vault, n, 400_000)).collect();
    let added = more(&centre, "more", (2, 5, 4), 4, 2);
    let rounds = |vault: &Vault, added: &Added| {
        let mut rounds = Vec::new();
        let moved = vault.move_to(to(vault, added), &mut |done, of| rounds.push((done, of)));
        (moved, rounds)
    };
    // The centre record and each one's first segments go through, then two of four new ones are gone.
    added.locations[0].down_after(2);
    added.locations[3].down_after(2);
    let (moved, first) = rounds(&vault, &added);
    assert!(matches!(moved, Err(VaultError::NotDurable { durable: 3, floor: 4 })), "{moved:?}");
    let copied = first.last().map_or(0, |(done, _)| *done);
    kept.iter().for_each(|one| opens(&vault, one));
    kept.push(keep(&centre, &vault, 50, 1_000));
    assert_eq!(vault.shape(), centre.shape, "it stays where it is");
    // One that isn't there at all: said before anything is copied.
    let (moved, none) = rounds(&vault, &added);
    assert!(matches!(moved, Err(VaultError::NotEnoughLocations { have: 3, need: 5, .. })), "{moved:?}");
    assert!(none.is_empty());
    drop(vault);

    // A start in between opens what there is, also where the new servers are named already.
    let vault = centre.open().unwrap();
    kept.iter().for_each(|one| opens(&vault, one));
    drop(vault);
    added.locations.iter().for_each(|location| location.set_down(false));
    let mut opening = centre.opening(Mode::Write);
    opening.locations.extend(added.locations.iter().map(|location| location.clone() as Arc<dyn Location>));
    let vault = vault::open(opening).unwrap();
    kept.push(keep(&centre, &vault, 51, 1_000));

    let objects = added.locations[1].objects("s1/").len();
    assert!(copied > 0 && objects as u64 >= copied, "nothing was copied before it failed: {first:?}");
    let (moved, second) = rounds(&vault, &added);
    moved.unwrap();
    assert!(second.first().is_none_or(|(done, _)| *done > copied), "{first:?}, then {second:?}");
    settle(&mut centre, &vault, added);
    kept.iter().for_each(|one| opens(&vault, one));
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);

    // The old server alone knows where the vault has gone, and doesn't open as if nothing had been.
    let alone = Opening { locations: centre.given()[..1].to_vec(), ..centre.opening(Mode::Write) };
    let error = vault::open(alone).unwrap_err();
    assert!(matches!(error, VaultError::NotEnoughLocations { have: 1, need: 3, .. }), "{error}");
    let vault = centre.open().unwrap();
    kept.iter().for_each(|one| opens(&vault, one));
}

/// One new server is lost while the vault moves; the others carry it, and it is healed when it is back.
#[test]
fn one_that_fails_meanwhile_is_healed_afterwards() {
    let mut centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let kept: Vec<Kept> = (0..30).map(|n| keep(&centre, &vault, n, 400_000)).collect();
    let added = more(&centre, "more", (2, 5, 4), 4, 2);
    added.locations[2].down_after(2);
    let failed = Arc::clone(&added.locations[2]);
    grow(&mut centre, &vault, added);
    assert_eq!(vault.health().up, 4);
    kept.iter().for_each(|one| opens(&vault, one));
    failed.set_down(false);
    // It shows the record from before the move, so that it isn't taken for one that was emptied.
    centre.wait_until_whole(&vault);
    assert!(vault.verify().unwrap().is_clean());
    assert_eq!(centre.patient(&vault).0.len(), 16);
}

/// One hangs in the middle of the pause: nobody waits for it longer than for a write.
#[test]
fn one_that_hangs_holds_no_move_up() {
    let mut centre = Centre::new(1, 3, 2, 2);
    let vault = centre.found();
    let kept: Vec<Kept> = (0..5).map(|n| keep(&centre, &vault, n, 1_000)).collect();
    let added = more(&centre, "more", (1, 5, 3), 4, 2);
    let to = to(&vault, &added);
    added.locations[1].hang_after(1);
    let since = Instant::now();
    vault.move_to(to, &mut |_, _| {}).unwrap();
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    added.locations[1].hang(false);
    settle(&mut centre, &vault, added);
    kept.iter().for_each(|one| opens(&vault, one));
    centre.wait_until_whole(&vault);
    assert!(vault.verify().unwrap().is_clean());
}

/// What became of the one who moved the vault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Killed. At the next start these of the old locations are away.
    Killed { away: &'static [usize], remembers: bool },
    /// Its locations failed, and it goes on when they are back.
    GoesOn,
}

/// What was seen of it.
#[derive(Default)]
struct Seen {
    moved: usize,
    /// A record stands there of a move that never was.
    voided: usize,
    /// A start that couldn't tell.
    unsettled: usize,
}

/// The writer ends after one put after the other, and what showed the centre record is away at the next start: whatever is
/// acknowledged by whom is there when all are back.
#[test]
fn a_move_that_ends_at_any_put_loses_and_forks_nothing() {
    let base = Centre::new(1, 3, 2, 2);
    let vault = base.found();
    let kept: Vec<Kept> = (0..3).map(|n| keep(&base, &vault, n, 1_000)).collect();
    drop(vault);
    let mut seen = Seen::default();
    for put in 0.. {
        let killed = [[].as_slice(), &[0], &[1], &[2], &[0, 1]].into_iter().enumerate();
        let killed = killed.map(|(at, away)| End::Killed { away, remembers: (put + at).is_multiple_of(2) });
        let is_done = thread::scope(|scope| {
            let (base, kept) = (&base, &kept);
            let ends = killed.chain([End::GoesOn]);
            let threads: Vec<_> = ends.map(|end| scope.spawn(move || move_that_ends(base, kept, put, end))).collect();
            threads.into_iter().fold(false, |done, thread| {
                let (is_done, one) = thread.join().unwrap();
                seen.moved += one.moved;
                seen.voided += one.voided;
                seen.unsettled += one.unsettled;
                done | is_done
            })
        });
        if is_done {
            break;
        }
    }
    // Each of them was seen: or the test would prove nothing.
    let Seen { moved, voided, unsettled } = seen;
    assert!(moved > 10 && voided > 0 && unsettled > 0, "{moved} moved, {voided} voided, {unsettled} unsettled");
}

/// True where the puts were enough for the move.
fn move_that_ends(base: &Centre, kept: &[Kept], put: usize, end: End) -> (bool, Seen) {
    let mut seen = Seen::default();
    let mut centre = base.copied(&format!("{put}-"));
    let vault = centre.open().unwrap();
    let added = more(&centre, "more", (1, 5, 3), 4, 2);
    let to = to(&vault, &added);
    let fuse = Arc::new(AtomicUsize::new(put));
    let all: Vec<Arc<Moody>> = centre.locations.iter().chain(&added.locations).cloned().collect();
    all.iter().for_each(|location| location.burn(Some(&fuse)));
    let is_done = vault.move_to(to, &mut |_, _| {}).is_ok();
    all.iter().for_each(|location| location.burn(None));

    let given: Vec<Arc<dyn Location>> = all.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
    let holders: Vec<Arc<dyn Holder>> = centre.holders.iter().chain(&added.holders).cloned().collect();
    let open = |centre: &Centre, gateway: &str| {
        let access = Access::Holders { holders: holders.clone(), cache_ms: 0, prover: None };
        let gateway = Some(centre.dir.path().join(gateway));
        vault::open(Opening { locations: given.clone(), access, gateway, ..centre.opening(Mode::Write) })
    };
    let work = |centre: &Centre, vault: &Vault| -> Vec<Kept> {
        centre.wait_until_writable(vault);
        (0..2).map(|n| keep(centre, vault, 100 + n, 1_000)).collect()
    };
    let mut here: Vec<Kept> = Vec::new();
    match end {
        End::GoesOn => {
            here.extend(work(&centre, &vault));
            drop(vault);
        }
        End::Killed { away, remembers } => {
            drop(vault);
            away.iter().for_each(|at| centre.locations[*at].set_down(true));
            match open(&centre, if remembers { "gateway" } else { "another" }) {
                Ok(vault) => here.extend(work(&centre, &vault)),
                Err(VaultError::MoveUnsettled { have: 1, need: 2, .. }) if away.len() == 2 => seen.unsettled += 1,
                // One that was given the newest claim before the others is away: a start waits for it.
                Err(VaultError::NotEnoughLocations { .. }) if !away.is_empty() => {}
                Err(error) => panic!("put {put}, {end:?}: {error}"),
            }
            away.iter().for_each(|at| centre.locations[*at].set_down(false));
        }
    }
    // A gateway that remembers nothing is shown all of them.
    let vault = open(&centre, "new").unwrap_or_else(|error| panic!("put {put}, {end:?}: {error}"));
    kept.iter().chain(&here).for_each(|one| opens(&vault, one));
    if vault.shape() == centre.shape {
        assert!(!is_done, "put {put}, {end:?}");
        seen.voided += usize::from(all.iter().any(|location| location.objects("centre/").len() > 1));
        // Who was away is healed first.
        centre.wait_until_writable(&vault);
        grow(&mut centre, &vault, added);
    } else {
        seen.moved += 1;
        // Whoever asks is told what is to be done yet.
        vault.settle().unwrap();
        let is_dealt = |vault: &Vault| vault.split_otherwise(|t, n| (t, n) == (4, 5)).unwrap() == 0;
        assert!(vault.turning().is_some() && !is_dealt(&vault), "put {put}, {end:?}");
        settle(&mut centre, &vault, added);
        assert!(vault.turning().is_none() && is_dealt(&vault), "put {put}, {end:?}");
    }
    here.push(keep(&centre, &vault, 200, 1_000));
    centre.wait_until_whole(&vault);
    kept.iter().chain(&here).for_each(|one| opens(&vault, one));
    let report = vault.verify().unwrap();
    assert!(report.is_clean(), "put {put}, {end:?}: {report:?}");
    (is_done, seen)
}

/// Servers that were to be some of the vault's have its record, and nothing to recover it from.
#[test]
fn servers_of_a_growth_that_was_not_done_recover_nothing() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 1, 1_000);
    let added = more(&centre, "more", (1, 3, 2), 2, 2);
    let to = to(&vault, &added);
    let fuse = Arc::new(AtomicUsize::new(9));
    let all = || centre.locations.iter().chain(&added.locations);
    all().for_each(|location| location.burn(Some(&fuse)));
    assert!(vault.move_to(to, &mut |_, _| {}).is_err());
    all().for_each(|location| location.burn(None));
    drop(vault);
    assert!(added.locations.iter().all(|one| !one.objects("s1/").is_empty()), "nothing was copied");
    assert!(added.locations.iter().all(|one| one.objects("centre/").len() == 1), "the record of the move is there");
    let recovery = |survivors: &[Arc<Moody>], name: &str| {
        let survivors = survivors.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
        Recovery { survivors, ..centre.recovery(&[0], name).0 }
    };
    let error = vault::recover(recovery(&added.locations, "new")).map(drop).unwrap_err();
    assert_eq!(error.code(), "vault.none-of-its", "{error}");
    let error = vault::packages(&[added.locations[1].clone() as Arc<dyn Location>], None).map(drop).unwrap_err();
    assert_eq!(error.code(), "vault.none-of-its", "{error}");
    // With the old one among them it is the old one's.
    let both = [added.locations[0].clone(), centre.locations[0].clone()];
    opens(&vault::recover(recovery(&both, "both")).unwrap().0, &kept);
}

/// Keys that were dealt to one holder can't be sealed again by five; who needs them dealt anew is told.
#[test]
fn a_turn_between_the_move_and_the_custodians_is_refused() {
    let mut centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 1, 1_000);
    let added = more(&centre, "more", (2, 5, 4), 4, 2);
    let fewer = Move { shape: Shape::new(1, 5, 4).unwrap(), locations: Vec::new(), ..to(&vault, &added) };
    assert!(matches!(vault.move_to(fewer, &mut |_, _| {}), Err(VaultError::LocationCount { found: 0, n: 5 })));
    vault.move_to(to(&vault, &added), &mut |_, _| {}).unwrap();
    let error = vault.reseal(&mut |_, _| {}).unwrap_err();
    assert_eq!(error.code(), "vault.dealt-to-fewer", "{error}");
    opens(&vault, &kept);
    settle(&mut centre, &vault, added);
    opens(&vault, &kept);
    assert_eq!(vault.turning(), None);
    // A segment of two shards' worth doesn't fit in one.
    let (public, holders) = (vault.turn_keys().unwrap(), vault.holders());
    let back = Move { shape: Shape::new(1, 5, 4).unwrap(), locations: vault.locations(), public, holders, t: 4 };
    let error = vault.move_to(back, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, VaultError::FewerShards { k: 1, before: 2 }), "{error}");
}
