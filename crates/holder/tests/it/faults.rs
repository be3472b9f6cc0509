//! Full disks, clocks that jump, writes that were cut, kill -9: what was acknowledged stays, and what can't be kept is
//! refused by its number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use holder::wire::{self, *};
use holder::{Link, Network, Node, RemoteHolder};
use keys::{Budgets, Keyring};
use kit::{Clock as _, SystemClock, Timestamp};

use crate::solo::{PERSON, Process, Solo, code};

const NOW: Timestamp = Timestamp(1_795_392_000_000);
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;

fn wide() -> Budgets {
    Budgets {
        person_hour: 100_000,
        person_day: 100_000,
        all_hour: 100_000,
        gateway_hour: 100_000,
        gateway_day: 100_000,
        all_day: 100_000,
        erasures_day: 100_000,
        ..Budgets::default()
    }
}

fn shown_before(answer: Result<Bytes, holder::Refused>) -> bool {
    answer.is_err_and(|refused| refused.refusal.message.contains("shown before"))
}

// ---- A full disk

/// Names the folder of the small disk to the test that runs within it.
const DISK: &str = "HOLDFAST_TEST_DISK";

/// On a small disk of its own, in a mount namespace of its own.
#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    if let Some(disk) = std::env::var_os(DISK) {
        return on_a_small_disk(Path::new(&disk));
    }
    let dir = tempfile::tempdir().unwrap();
    // Somebody who isn't root may mount in a user namespace, where the kernel lets people have one.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let apart = || {
        let mut unshare = Command::new("unshare");
        unshare.args(if is_root { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
        unshare
    };
    if !apart().arg("true").status().is_ok_and(|status| status.success()) {
        // Past the test's own capture: a skipped test must not look like one that ran.
        let text = b"SKIPPED faults::a_full_disk: this machine gives nobody a mount namespace\n";
        return std::io::stderr().write_all(text).unwrap();
    }
    let done = apart()
        .args(["sh", "-c", r#"mount -t tmpfs -o size=1m,mode=700 none "$1" && shift && exec "$@""#, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_full_disk_refuses_and_goes_on_when_there_is_room", "--nocapture"])
        .env(DISK, dir.path())
        .output()
        .expect("`unshare` of util-linux is needed");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success(), "no small disk, or not as it has to be on one: {said}");
    assert!(said.contains("tried on a full disk") && said.contains("1 passed"), "{said}");
}

fn fill(disk: &Path) -> PathBuf {
    let filler = disk.join("filler");
    let mut file = File::create(&filler).unwrap();
    for piece in [4096, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
    filler
}

fn on_a_small_disk(disk: &Path) {
    let solo = Solo::new(disk, wide());
    let node = Node::open(&solo.folder).unwrap();
    let now = SystemClock.now();
    solo.put(&node, "kept", &[7; 1_000]).unwrap();
    let proof = solo.opening(1, now);
    solo.ask(&node, wire::OPEN, proof.clone()).unwrap();
    solo.refuse(&node, 2).unwrap();
    solo.cosign(&node, 0, 3).unwrap();

    let filler = fill(disk);
    // A file's last page may still have room; then there is none.
    let (mut opened, mut refused) = (1, vec![2]);
    let full = loop {
        match solo.open(&node, 1_000 + opened, now) {
            Ok(_) => opened += 1,
            Err(full) => break full,
        }
        assert!(opened < 1_000, "it is not full");
    };
    assert_eq!((full.status, full.refusal.code.as_str()), (507, "holder.meter"), "{full}");
    let full = loop {
        let number = 2_000 + refused.len() as u64;
        match solo.refuse(&node, number) {
            Ok(_) => refused.push(number),
            Err(full) => break full,
        }
        assert!(refused.len() < 1_000, "it is not full");
    };
    assert_eq!((full.status, full.refusal.code.as_str()), (507, "holder.meter"), "{full}");
    assert_eq!(code(solo.put(&node, "large", &[8; 9_000])), (507, FULL.into()));
    assert_eq!(code(solo.cosign(&node, 3, 4)), (500, "holder.witness".into()));
    assert_eq!(code(solo.ask(&node, wire::MEMBERS, solo.members(&node, 2))), (500, "holder.folder".into()));
    assert_eq!(node.members().unwrap().version, 1);
    // More refusals than the journal's last page has room for; then what needs no room.
    for _ in 0..100 {
        assert_eq!(code(solo.get(&node, "not a name")).0, 400);
    }
    assert_eq!(solo.get(&node, "kept").unwrap(), [7; 1_000].as_slice());
    assert_eq!(code(solo.get(&node, "large")), (404, ABSENT.into()));
    let before = solo.status(&node);
    drop(node);
    let error = Node::open(&solo.folder).err().unwrap();
    assert_eq!(error.code, "holder.folder", "{error}");

    fs::remove_file(filler).unwrap();
    let node = Node::open(&solo.folder).unwrap();
    let after = solo.status(&node);
    assert_eq!(after.fell_since(&before), None);
    assert_eq!((after.charts_hour, after.opened, after.witnessed), (opened, opened, 3));
    assert_eq!(after.refused_subjects, refused.len() as u64);
    for number in refused {
        assert_eq!(code(solo.open(&node, number, now)), (410, "keys.holder-erased".into()), "{number}");
    }
    assert!(shown_before(solo.ask(&node, wire::OPEN, proof)));
    assert_eq!(solo.get(&node, "kept").unwrap(), [7; 1_000].as_slice());
    solo.put(&node, "large", &[8; 9_000]).unwrap();
    solo.open(&node, 9_999, now).unwrap();
    solo.refuse(&node, 9_998).unwrap();
    solo.cosign(&node, 3, 4).unwrap();
    solo.ask(&node, wire::MEMBERS, solo.members(&node, 2)).unwrap();
    drop(node);

    // Full on the day when the meter's file is put aside: what it holds of the last day still counts.
    let (late, day_later) = (now.plus_ms(23 * HOUR), now.plus_ms(25 * HOUR));
    let node = Node::open_at(&solo.folder, late).unwrap();
    (1..=3).for_each(|number| drop(solo.open(&node, 20_000 + number, late).unwrap()));
    drop(node);
    let node = Node::open_at(&solo.folder, day_later).unwrap();
    let filler = fill(disk);
    for _ in 0..3 {
        assert_eq!(code(solo.open(&node, 30_000, day_later)), (507, "holder.meter".into()));
        assert_eq!(code(solo.refuse(&node, 30_001)), (507, "holder.meter".into()));
    }
    drop(node);
    fs::remove_file(filler).unwrap();
    let node = Node::open_at(&solo.folder, day_later).unwrap();
    assert_eq!(solo.status(&node).charts_day, 3);
    solo.open(&node, 30_000, day_later).unwrap();
    drop(node);
    let node = Node::open_at(&solo.folder, day_later).unwrap();
    assert_eq!(solo.status(&node).charts_day, 4);
    let journal = solo.journal();
    assert!(journal.ends_with('\n') && journal.contains("holder.members version 2"), "{journal}");
    println!("tried on a full disk: {opened} charts");
}

// ---- Clocks

#[test]
fn a_clock_that_jumps_gives_no_budget_back() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), Budgets { person_hour: 3, person_day: 3, ..Budgets::default() });
    let at = |machine: Timestamp| Node::open_at(&solo.folder, machine).unwrap();
    let over = (429, OVER_BUDGET.to_owned());
    let off = (403, CLOCK.to_owned());
    let node = at(NOW);
    (1..=3).for_each(|number| drop(solo.open(&node, number, NOW).unwrap()));
    assert_eq!(code(solo.open(&node, 4, NOW)), over);
    drop(node);
    for back in [HOUR, 25 * HOUR, 3 * YEAR] {
        let node = at(NOW.plus_ms(-back));
        assert!(solo.journal().contains(&format!("{CLOCK} the machine's clock says {}", NOW.plus_ms(-back))));
        // Its own time goes on from the newest proof: the gateway that was not set back is heard, and bounded.
        assert_eq!(code(solo.open(&node, 4, NOW.plus_ms(SECOND))), over, "{back}");
        // Nor does it help to set the gateway back as well.
        assert_eq!(code(solo.open(&node, 4, NOW.plus_ms(-back))), off, "{back}");
        solo.open(&node, 3, NOW.plus_ms(SECOND)).unwrap();
    }
    for ahead in [HOUR, 25 * HOUR, 3 * YEAR] {
        let node = at(NOW.plus_ms(ahead));
        let refused = solo.open(&node, 4, NOW.plus_ms(2 * SECOND)).unwrap_err();
        assert_eq!((refused.status, refused.refusal.code.as_str()), (403, CLOCK), "{ahead}");
        let text = format!("its time is {} s from the holder's", (ahead - 2 * SECOND) / SECOND);
        assert!(refused.refusal.message.contains(&text) && solo.journal().contains(&text), "{refused}");
        drop(node);
        // Set right again, it is as if nothing had been: nothing that it noted meanwhile keeps it in the future.
        let node = at(NOW.plus_ms(3 * SECOND));
        solo.open(&node, 2, NOW.plus_ms(3 * SECOND)).unwrap();
        assert_eq!(code(solo.open(&node, 4, NOW.plus_ms(3 * SECOND))), over, "{ahead}");
    }
    // A day that has truly gone by.
    let node = at(NOW.plus_ms(25 * HOUR));
    solo.open(&node, 4, NOW.plus_ms(25 * HOUR)).unwrap();
}

/// A proof that was shown is shown, whatever restarts; and who makes a new one is served at once.
#[test]
fn a_restart_takes_no_proof_twice_and_costs_no_chart() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), wide());
    let address = free();
    let process = Process::start(&solo.folder, &address);
    let (network, link) = linked(&solo, &address);
    let record = solo.record(1);
    let holder = RemoteHolder::new(solo.key.clone(), network.clone(), Arc::clone(&link), Arc::default());
    let keyring = Keyring::new(vec![Arc::new(holder)], 1, 0, Arc::new(SystemClock)).unwrap();
    let keyring = keyring.with_prover(Some(Arc::clone(&solo.signer) as _));
    keyring.open(&record, &solo.batch, PERSON, "treatment").unwrap();
    // By a gateway whose clock is ahead, as far as it may be.
    let proofs: Vec<Bytes> = [0, 100 * SECOND].map(|ahead| solo.opening(7, SystemClock.now().plus_ms(ahead))).into();
    let show = |proof: &Bytes| {
        network.wait(link.call(wire::OPEN, vec![proof.clone()], Duration::from_secs(10), ANSWER_BYTES_MAX))
    };
    proofs.iter().for_each(|proof| drop(show(proof).unwrap()));
    process.kill();
    let _process = Process::start(&solo.folder, &address);
    wait_for(&network, &link);
    for proof in &proofs {
        let said = show(proof).unwrap_err().to_string();
        assert!(said.contains("shown before"), "{said}");
    }
    keyring.open(&record, &solo.batch, PERSON, "treatment").unwrap();
}

pub(crate) fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn linked(solo: &Solo, address: &str) -> (Network, Arc<Link>) {
    let network = Network::start().unwrap();
    let link = Link::new(address.parse().unwrap(), &solo.gateway, Some(solo.pin()), Arc::new(SystemClock)).unwrap();
    let link = Arc::new(link);
    wait_for(&network, &link);
    (network, link)
}

fn wait_for(network: &Network, link: &Link) {
    let answers =
        |_| network.wait(link.call(wire::STATUS, Vec::new(), Duration::from_secs(5), ANSWER_BYTES_MAX)).is_ok();
    let came = (0..600).any(|turn| {
        thread::sleep(Duration::from_millis(if turn == 0 { 0 } else { 100 }));
        answers(())
    });
    assert!(came, "the holder does not answer");
}

// ---- Writes that were cut

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(folder: &Path, into: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, into),
            false => drop(into.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
}

fn snapshot(folder: &Path) -> Files {
    let mut out = Files::new();
    files(folder, &mut out);
    out
}

fn restore(folder: &Path, snapshot: &Files) {
    let mut now = Files::new();
    files(folder, &mut now);
    for path in now.keys().filter(|path| !snapshot.contains_key(*path)) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in snapshot.iter().filter(|(path, bytes)| now.get(*path) != Some(*bytes)) {
        fs::write(path, bytes).unwrap();
    }
}

/// A holder that did everything, and did it once more; its folder after the first time and after the second.
fn twice(dir: &Path) -> (Solo, Vec<Bytes>, Files, Files) {
    let solo = Solo::new(dir, wide());
    let mut shown = Vec::new();
    let mut act = |turn: u64| {
        let node = Node::open_at(&solo.folder, NOW).unwrap();
        solo.put(&node, &format!("object-{turn}"), &[turn as u8; 100]).unwrap();
        shown.push(solo.opening(turn, NOW));
        solo.ask(&node, wire::OPEN, shown[turn as usize].clone()).unwrap();
        solo.refuse(&node, 100 + turn).unwrap();
        solo.cosign(&node, turn, turn + 1).unwrap();
        drop(node);
        snapshot(&solo.folder)
    };
    // The first two times fill both slots of what is written in turn.
    drop((act(0), act(1)));
    let (before, after) = (act(2), act(3));
    (solo, shown, before, after)
}

/// That what was acknowledged up to the third time is there, and that it goes on.
fn is_kept(solo: &Solo, shown: &[Bytes], what: &str) {
    let node = Node::open_at(&solo.folder, NOW).unwrap_or_else(|error| panic!("{what}: {error}"));
    let status = solo.status(&node);
    assert!(status.charts_hour >= 3 && status.opened >= 3 && status.witnessed >= 3, "{what}: {status:?}");
    assert!(status.refused_subjects >= 3 && status.objects >= 3 && status.starts >= 4, "{what}: {status:?}");
    for turn in 0..3 {
        assert_eq!(solo.get(&node, &format!("object-{turn}")).unwrap(), [turn as u8; 100].as_slice(), "{what}");
        assert_eq!(code(solo.open(&node, 100 + turn, NOW)).0, 410, "{what}: {turn}");
        assert!(shown_before(solo.ask(&node, wire::OPEN, shown[turn as usize].clone())), "{what}: {turn}");
    }
    solo.put(&node, "another", &[9; 100]).unwrap();
    solo.open(&node, 50, NOW).unwrap();
    solo.refuse(&node, 51).unwrap();
    let size = status.witnessed;
    solo.cosign(&node, size, size + 1).unwrap();
}

#[test]
fn a_write_that_was_cut_at_any_byte_loses_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (solo, shown, before, after) = twice(dir.path());
    let mut cut_files = Vec::new();
    for (path, new) in &after {
        let old = before.get(path).cloned().unwrap_or_default();
        // Renamed into its place: whole, or not there.
        let is_renamed = path.ends_with("starts.count");
        let Some(first) = (0..new.len()).find(|at| old.get(*at) != new.get(*at)).filter(|_| !is_renamed) else {
            continue;
        };
        let last = (0..new.len()).rfind(|at| old.get(*at) != new.get(*at)).unwrap();
        for cut in first..=last {
            let mut torn = new[..cut].to_vec();
            torn.extend_from_slice(old.get(cut..).unwrap_or_default());
            restore(&solo.folder, &after);
            fs::write(path, &torn).unwrap();
            is_kept(&solo, &shown, &format!("{}, byte {cut}", path.display()));
        }
        cut_files.push(path.strip_prefix(&solo.folder).unwrap().display().to_string());
    }
    let written = [
        "holder/opened.count",
        "holder/refused.log",
        "journal.log",
        "meter/meter.log",
        "meter/proofs.log",
        "shards/volumes/000001.vol",
        "witness/seen",
    ];
    assert_eq!(cut_files, written);
    // What a rename did not come to is passed over.
    restore(&solo.folder, &after);
    for name in ["starts.count.partial", "members.cbor.partial", "peers.cbor.partial"] {
        fs::write(solo.folder.join(name), b"\xff").unwrap();
    }
    is_kept(&solo, &shown, "partial files");
}

/// The first of everything, cut: nothing was acknowledged yet.
#[test]
fn a_first_write_that_was_cut_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), wide());
    let fresh = snapshot(&solo.folder);
    let node = Node::open_at(&solo.folder, NOW).unwrap();
    solo.open(&node, 1, NOW).unwrap();
    solo.cosign(&node, 0, 1).unwrap();
    drop(node);
    let used = snapshot(&solo.folder);
    for name in ["witness/seen", "meter/meter.log", "meter/proofs.log"] {
        let path = solo.folder.join(name);
        for cut in 0..used[&path].len() {
            restore(&solo.folder, &fresh);
            fs::write(&path, &used[&path][..cut]).unwrap();
            let node = Node::open_at(&solo.folder, NOW).unwrap_or_else(|error| panic!("{name}, byte {cut}: {error}"));
            solo.open(&node, 1, NOW).unwrap();
            solo.cosign(&node, 0, 1).unwrap();
        }
    }
}

/// What was acknowledged and is altered: where going on would open an erased patient, give a budget back, take a proof twice
/// or cosign two histories, the holder doesn't start, and says which byte of what.
#[test]
fn damage_in_the_middle_stops_a_holder_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (solo, _, _, after) = twice(dir.path());
    for (name, at, offset) in [
        ("holder/refused.log", 0, 0),
        ("holder/refused.log", 40, 32),
        ("meter/meter.log", 0, 0),
        ("meter/meter.log", 130, 128),
        ("meter/proofs.log", 0, 0),
        ("meter/proofs.log", 70, 64),
        ("holder/opened.count", 3, 0),
        ("witness/seen", 50, 0),
    ] {
        restore(&solo.folder, &after);
        let path = solo.folder.join(name);
        let mut bytes = after[&path].clone();
        bytes[at] ^= 1;
        // What stands twice is damaged twice.
        if name == "holder/opened.count" {
            bytes[512 + at] ^= 1;
        }
        if name == "witness/seen" {
            bytes[36 + 32_768 + at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        let error = Node::open_at(&solo.folder, NOW).err().unwrap_or_else(|| panic!("{name} {at}")).to_string();
        let file = name.rsplit('/').next().unwrap();
        assert!(error.contains(&format!("{file}, byte {offset}: damaged")), "{name}: {error}");
    }
    // A shard is judged by who reads it: the holder starts, and says which one it can't give.
    restore(&solo.folder, &after);
    let path = solo.folder.join("shards/volumes/000001.vol");
    let mut bytes = after[&path].clone();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let node = Node::open_at(&solo.folder, NOW).unwrap();
    assert_eq!(code(solo.get(&node, "object-0")), (500, "vault.location.damaged".into()));
    assert_eq!(solo.get(&node, "object-1").unwrap(), [1; 100].as_slice());
}

// ---- kill -9

/// Killed in the middle of a load, again and again: what it said is so afterwards.
#[test]
fn what_a_killed_holder_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), wide());
    let address = free();
    let (put, opened, refused) = (Mutex::new(Vec::new()), AtomicU64::new(0), Mutex::new(Vec::new()));
    let (cosigned, shown) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    for round in 0..4_u64 {
        let process = Mutex::new(Some(Process::start(&solo.folder, &address)));
        let (network, link) = linked(&solo, &address);
        let call = |path: &'static str, body: Bytes| {
            network.wait(link.call(path, vec![body], Duration::from_secs(10), ANSWER_BYTES_MAX))
        };
        let done = AtomicU64::new(0);
        let first = 1_000_000 * round;
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in first.. {
                    let (name, body) = (format!("o-{number}"), number.to_be_bytes().repeat(500));
                    let head = put_head(&location::Name::new(name.as_str()).unwrap(), body.len());
                    if call(wire::PUT, [head, body].concat().into()).is_err() {
                        return;
                    }
                    put.lock().unwrap().push(number);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                for number in first.. {
                    let opening = solo.opening(number, SystemClock.now());
                    if call(wire::OPEN, opening.clone()).is_err() {
                        return;
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                    shown.lock().unwrap().push(opening);
                }
            });
            scope.spawn(|| {
                for number in first + 500_000.. {
                    let subject = crate::solo::patient(number);
                    if call(wire::REFUSE, RefuseSubject { subject }.to_bytes().into()).is_err() {
                        return;
                    }
                    refused.lock().unwrap().push(number);
                }
            });
            scope.spawn(|| {
                loop {
                    let seen = cosigned.load(Ordering::Relaxed);
                    match call(wire::ADD_CHECKPOINT, solo.head(seen, seen + 1).into()) {
                        Ok(_) => drop(cosigned.fetch_add(1, Ordering::Relaxed)),
                        // The last one before the kill may have been remembered, and its answer lost.
                        Err(holder::CallError::Refused(refused)) if refused.refusal.code == OLD_SIZE => {
                            cosigned.store(refused.refusal.number.unwrap(), Ordering::Relaxed);
                        }
                        Err(_) => return,
                    }
                }
            });
            while done.load(Ordering::Relaxed) < 20 + 7 * round {
                thread::sleep(Duration::from_millis(1));
            }
            process.lock().unwrap().take().unwrap().kill();
        });
    }
    let node = Node::open(&solo.folder).unwrap();
    let status = solo.status(&node);
    let opened = opened.into_inner();
    println!(
        "{} objects, {opened} shares, {} refusals, {} heads",
        put.lock().unwrap().len(),
        refused.lock().unwrap().len(),
        cosigned.load(Ordering::Relaxed)
    );
    assert!(opened > 0 && status.opened >= opened && status.charts_hour >= opened, "{opened}: {status:?}");
    assert!(status.witnessed >= cosigned.into_inner() && status.starts >= 6, "{status:?}");
    for number in put.into_inner().unwrap() {
        assert_eq!(solo.get(&node, &format!("o-{number}")).unwrap(), number.to_be_bytes().repeat(500), "{number}");
    }
    for number in refused.into_inner().unwrap() {
        assert_eq!(code(solo.open(&node, number, SystemClock.now())).0, 410, "{number}");
    }
    assert!(shown.into_inner().unwrap().into_iter().all(|proof| shown_before(solo.ask(&node, wire::OPEN, proof))));
}

/// How keys are split is the officer's word: what needs fewer holders than she says isn't opened, since by it a gateway in a
/// thief's hands would get more charts than a budget has. While a centre grows, both ways are opened, and counted by the newer.
#[test]
fn only_keys_that_are_split_as_the_officer_says_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), Budgets { person_hour: 14, person_day: 14, ..Budgets::default() });
    let node = Node::open_at(&solo.folder, NOW).unwrap();
    let bring = |node: &Node, version, splits: &[(u8, u8)]| {
        let list = solo.members_split(node, version, splits);
        node.call(solo.peer(), wire::MEMBERS, list.into())
    };
    for wrong in [&[][..], &[(0, 3)], &[(4, 3)], &[(2, 65)], &[(1, 1); 5]] {
        assert_eq!(code(bring(&node, 2, wrong)), (400, "holder.splits".to_owned()), "{wrong:?}");
    }
    solo.open(&node, 1, NOW).unwrap();
    bring(&node, 2, &[(12, 14)]).unwrap();
    let refused = solo.open(&node, 2, NOW).unwrap_err();
    assert_eq!(refused.refusal.code, "holder.other-shape");
    assert!(refused.refusal.message.contains("1 of 1 open this key, budgets reckon with 12 of 14"), "{refused}");

    bring(&node, 3, &[(1, 1), (12, 14)]).unwrap();
    // Its part is 12 of 14; one chart is counted already.
    (2..=12).for_each(|number| drop(solo.open(&node, number, NOW).unwrap()));
    assert_eq!(code(solo.open(&node, 13, NOW)), (429, OVER_BUDGET.to_owned()));
    drop(node);
    let node = Node::open_at(&solo.folder, NOW).unwrap();
    assert_eq!(code(solo.open(&node, 13, NOW)), (429, OVER_BUDGET.to_owned()), "a restart goes by the list, too");
    bring(&node, 4, &[(1, 1)]).unwrap();
    solo.open(&node, 13, NOW).unwrap();
}
