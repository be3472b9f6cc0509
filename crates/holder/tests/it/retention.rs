//! Nothing ends by itself; and what its administrator may end on a holder's own console.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use holder::wire::{self, Message as _, Status};
use holder::{Config, Node, Peer};
use keys::Budgets;
use kit::{Clock as _, SystemClock, Timestamp};

use crate::faults::free;
use crate::solo::{Process, STRANGER, Solo, code};

const DAY: i64 = 86_400_000;

/// Three volumes: the first closed by 400 days ago, the second by ten.
fn of_three_volumes(dir: &std::path::Path) -> Solo {
    let solo = Solo::new(dir, Budgets::default());
    for (volume, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let node = Node::open(&solo.folder).unwrap();
        solo.put(&node, name, &[volume; 100]).unwrap();
        drop(node);
        if volume < 3 {
            // Behind a torn tail the next volume begins.
            let path = solo.folder.join(format!("shards/volumes/00000{volume}.vol"));
            File::options().append(true).open(path).unwrap().write_all(b"\x89").unwrap();
        }
    }
    noted(&solo, &[(400, 2), (10, 3)]);
    set(&solo, Some(365));
    solo
}

fn ago(days: i64) -> Timestamp {
    SystemClock.now().plus_ms(-days * DAY)
}

fn date(at: Timestamp) -> String {
    at.to_string().split('T').next().unwrap().to_owned()
}

fn noted(solo: &Solo, newest: &[(i64, u32)]) {
    let lines = newest.iter().map(|(days, volume)| format!("newest {} {volume}\n", ago(*days).0));
    fs::write(solo.folder.join("retention.log"), lines.collect::<String>()).unwrap();
}

fn set(solo: &Solo, days: Option<u32>) {
    let mut config = Config::load(&solo.folder).unwrap();
    config.shards.retention_days = days;
    config.save(&solo.folder).unwrap();
}

/// Whether it went through, and what it said.
fn console(solo: &Solo, options: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-holder"));
    let done = command.args(["retention", "--dir"]).arg(&solo.folder).args(options).output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (done.status.success(), said)
}

fn objects(solo: &Solo) -> Vec<&'static str> {
    let node = Node::open(&solo.folder).unwrap();
    ["a", "b", "c"].into_iter().filter(|name| solo.get(&node, name).is_ok()).collect()
}

#[test]
fn only_old_volumes_end_and_only_by_the_servers_number() {
    let dir = tempfile::tempdir().unwrap();
    let solo = of_three_volumes(dir.path());
    let (good, said) = console(&solo, &["--show"]);
    assert!(good && said.contains("server-01: 3 volumes; kept for 365 days"), "{said}");
    assert!(said.contains("volume 3: 1 objects, 100 bytes, open"), "{said}");
    let (old, young) = (date(ago(370)), date(ago(5)));
    // What it would take is said, and nothing happens without the number, or with another one.
    let (good, said) = console(&solo, &["--end-before", &old]);
    assert!(good && said.contains("1 volumes with 1 objects, 100 bytes") && said.contains("--confirm 1"), "{said}");
    assert!(said.contains("A VAULT NEEDS EVERY ONE OF THEM"), "{said}");
    for (options, why) in [
        (["--end-before", &old, "--confirm", "2"], "holder.retention-number"),
        (["--end-before", &young, "--confirm", "1"], "holder.retention-young"),
        (["--end-before", "tomorrow", "--confirm", "1"], "usage.retention"),
        (["--end-before", "2020-02-30", "--confirm", "1"], "usage.retention"),
    ] {
        let (good, said) = console(&solo, &options);
        assert!(!good && said.contains(why) && said.contains("nothing was removed"), "{why}: {said}");
    }
    set(&solo, None);
    let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
    assert!(!good && said.contains("holder.retention-never"), "{said}");
    set(&solo, Some(365));
    let address = free();
    let process = Process::start(&solo.folder, &address);
    while TcpStream::connect(&address).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
    assert!(!good && said.contains("another process has it open"), "{said}");
    process.kill();
    assert_eq!(objects(&solo), ["a", "b", "c"]);

    let node = Node::open(&solo.folder).unwrap();
    let before = solo.status(&node);
    drop(node);
    let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
    assert!(good && said.contains("removed: volume 1, 1 objects, 100 bytes"), "{said}");
    assert_eq!(objects(&solo), ["b", "c"]);
    assert!(solo.journal().contains("holder.retention-ended volume 1"));
    // It is no disk that was set back; the others see what it is.
    let node = Node::open(&solo.folder).unwrap();
    let after = solo.status(&node);
    assert_eq!((after.fell_since(&before), after.ended, after.objects), (None, 1, 3));
    // No call can do the same, and the name is free again for who heals it.
    assert_eq!(code(solo.ask(&node, "/v1/retention", Vec::new())).0, 403);
    solo.put(&node, "a", &[1; 100]).unwrap();
    drop(node);
    let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
    assert!(good && said.contains("0 volumes with 0 objects"), "{said}");
    assert_eq!(objects(&solo), ["a", "b", "c"]);
}

/// Nobody ends anything by setting this machine's clock.
#[test]
fn a_clock_that_was_set_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let solo = of_three_volumes(dir.path());
    let old = date(ago(370));
    let refused = |why: &str| {
        let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
        assert!(!good && said.contains("holder.clock") && said.contains(why), "{why}: {said}");
        assert_eq!(objects(&solo), ["a", "b", "c"]);
    };
    let file = solo.folder.join("journal.log");
    let journal = solo.journal();
    let line = |at: Timestamp| format!("{} {at} holder.start by hand\n", at.0);
    // Set back: what is noted here is still to come.
    fs::write(&file, line(ago(-1))).unwrap();
    refused("was set back, or was ahead");
    // Set forward: nothing was noted for long.
    fs::write(&file, line(ago(8))).unwrap();
    refused("8 days after the last line of its journal");
    fs::write(&file, &journal).unwrap();

    // With others, it is they who say what time it is: half of them at least.
    let node = Node::open(&solo.folder).unwrap();
    let list = solo.members_with(&node, 2, &[2, 3, 4, 5]);
    node.call(Peer::Stranger(STRANGER), wire::MEMBERS, list.into()).unwrap();
    drop(node);
    refused("of 4 other servers 0 have said");
    let say = |times: &[i64]| {
        let status = |days: &i64| Status { at: ago(*days), ..Status::default() };
        let seen: BTreeMap<u8, Status> = (2..).zip(times.iter().map(status)).collect();
        // As a holder keeps it: an array of that map, and an empty one of whose they are.
        let bytes = [&[0x82], kit::format::encode(&seen).as_slice(), &[0xa0]].concat();
        assert!(Status::default().to_bytes().len() > 10);
        fs::write(solo.folder.join("peers.cbor"), bytes).unwrap();
    };
    say(&[0]);
    refused("of 4 other servers 1 have said");
    for times in [&[9, 9, 9, 0][..], &[0, 900, 900, 900], &[-9, -9, -9, 0]] {
        say(times);
        refused("days from the other servers'");
    }
    // One that lies moves nothing.
    say(&[0, 0, 900, 0]);
    let (good, said) = console(&solo, &["--end-before", &old, "--confirm", "1"]);
    assert!(good && said.contains("removed: volume 1"), "{said}");
    assert_eq!(objects(&solo), ["b", "c"]);
}

/// A daemon notes what is the newest volume; what nobody saw is young.
#[test]
fn a_volume_is_as_old_as_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let solo = of_three_volumes(dir.path());
    let file = solo.folder.join("retention.log");
    fs::remove_file(&file).unwrap();
    let (good, said) = console(&solo, &["--end-before", &date(ago(370)), "--confirm", "1"]);
    assert!(good && said.contains("0 volumes with 0 objects") && said.contains("not known since when"), "{said}");
    let process = Process::start(&solo.folder, "127.0.0.1:0");
    let newest = |line: &str| line.starts_with("newest ") && line.ends_with(" 3");
    while !fs::read_to_string(&file).is_ok_and(|text| text.lines().any(newest)) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    process.kill();
    assert_eq!(objects(&solo), ["a", "b", "c"]);
    // Its own last line cut: that one says nothing. Another one that is none stops the holder.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(objects(&solo), ["a", "b", "c"]);
    fs::write(&file, b"newest today 3\n").unwrap();
    let error = Node::open(&solo.folder).err().unwrap().to_string();
    assert!(error.contains("retention.log: byte 0: damaged"), "{error}");
}
