//! What is said where servers are lost: how far it is to the custodians, and why a centre doesn't open.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Site, get};

fn server(site: &Site, number: u8) -> PathBuf {
    site.data().join(format!("servers/server-{number:02}"))
}

/// Every file in a folder, of the same length and nothing but zeros.
fn fill_with_zeros(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fill_with_zeros(&path);
        } else {
            fs::write(&path, vec![0; usize::try_from(fs::metadata(&path).unwrap().len()).unwrap()]).unwrap();
        }
    }
}

#[test]
fn lost_holders_are_counted_wherever_an_operator_looks() {
    let site = Site::new();
    site.done(&["init", "--servers", "14"]);
    site.done(&["person", "new", "--name", "C", "--role", "physicist", "--key", &site.path("c.pem")]);
    assert!(site.done(&["verify"]).out.contains("14 of 14 holders answer; 2 more may be lost"));
    for number in [1, 2] {
        fs::remove_dir_all(server(&site, number)).unwrap();
    }
    let said = site.run(&["scrub"]);
    assert_eq!(said.exit, 3, "{}", said.out);
    let line = "12 of 14 holders answer; 0 more may be lost before custodians are needed";
    assert!(said.out.contains(line) && said.out.contains("holdfast recover"), "{}", said.out);
    let said = site.run(&["verify", "--json"]);
    assert_eq!(said.exit, 4, "the shards are back, the holders aren't");
    let said = said.json();
    assert_eq!((&said["clean"], &said["damage"]["total"]), (&json!(false), &json!(0)), "{said}");
    assert_eq!((&said["holders"]["up"], &said["holders"]["may_be_lost"]), (&json!(12), &json!(0)), "{said}");
    assert_eq!(said["holders"]["unusable"][1]["server"], "server-02");

    let running = site.serve(&[]);
    let operations = running.ready["operations"].as_str().unwrap();
    let (status, _, ready) = get(operations, "/readyz", "");
    assert_eq!(status, 200, "{ready}");
    assert!(ready.contains("14 of 14 locations up; 11 more may be lost"), "{ready}");
    assert!(ready.contains(line) && ready.contains("server-01: its holder can't be used"), "{ready}");
    let (_, _, numbers) = get(operations, "/metrics", "");
    for number in [
        "holdfast_holders_up 12",
        "holdfast_holders_may_be_lost 0",
        "holdfast_locations_up 14",
        "holdfast_locations_may_be_lost 11",
        "holdfast_segments_missing 0",
        "holdfast_receipt_survives 11",
    ] {
        assert!(numbers.lines().any(|line| line == number), "{number} in {numbers}");
    }
    assert!(numbers.contains("\nholdfast_entries ") && numbers.contains("\nholdfast_notes_waiting "), "{numbers}");

    // While it runs, the third one's disk goes: it answers from memory, and the next start would fail.
    fs::remove_dir_all(server(&site, 3).join("holder")).unwrap();
    let (status, _, ready) = get(operations, "/readyz", "");
    assert_eq!(status, 200, "{ready}");
    assert!(ready.contains("ONLY 11 of 14 holders answer, 12 open a key"), "{ready}");
    let (out, _) = running.stop();
    assert!(out.contains(line), "{out}");

    // And it does fail, by integrity, with every reason.
    let said = site.run(&["verify", "--json"]);
    assert_eq!(said.exit, 4, "{}", said.err);
    let error = &said.json()["error"];
    assert_eq!((&error["code"], &error["blame"]), (&json!("keys.not-enough-holders"), &json!("integrity")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("no answer from holders 1, 2 and 3"), "{message}");
    for number in 1..=3 {
        assert!(message.contains(&format!("holder of {}: ", server(&site, number).display())), "{message}");
    }
}

#[test]
fn every_kind_of_damage_to_a_holder_is_damage() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let (place, neighbour) = (server(&site, 2).join("holder"), server(&site, 3).join("holder"));
    let whole = |name: &str| fs::read(place.join(name)).unwrap();
    let flipped = |name: &str, at: usize| {
        let mut bytes = whole(name);
        bytes[at] ^= 1;
        bytes
    };
    let key_length = whole("holder.key").len();
    let kinds: [(&str, Option<Vec<u8>>); 9] = [
        ("holder.key", None),
        ("holder.key", Some(Vec::new())),
        ("holder.key", Some(vec![0; key_length])),
        ("holder.key", Some(whole("holder.key")[..key_length - 1].to_vec())),
        // Another seed: a sound key, to which nothing was dealt.
        ("holder.key", Some(flipped("holder.key", key_length - 1))),
        ("holder.key", Some(fs::read(neighbour.join("holder.key")).unwrap())),
        ("refused.log", None),
        ("refused.log", Some(flipped("refused.log", 0))),
        ("opened.count", Some(vec![0; 1024])),
    ];
    for (name, damaged) in kinds {
        let before = whole(name);
        match &damaged {
            Some(bytes) => fs::write(place.join(name), bytes).unwrap(),
            None => fs::remove_file(place.join(name)).unwrap(),
        }
        let said = site.run(&["verify"]);
        assert_eq!(said.exit, 4, "{name} {damaged:?}: {}", said.out);
        assert!(said.out.starts_with("DAMAGED") && said.out.contains("server-02: its holder"), "{}", said.out);
        fs::write(place.join(name), before).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(site.done(&["verify"]).out.starts_with("whole"));
}

#[test]
fn a_centre_that_cannot_open_says_why_at_each_server() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    for number in 1..=3 {
        fill_with_zeros(&server(&site, number));
    }
    fs::remove_dir_all(server(&site, 4)).unwrap();
    for command in [["verify", "--json"], ["scrub", "--json"]] {
        let said = site.run(&command);
        assert_eq!(said.exit, 4, "{}", said.err);
        let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
        for number in 1..=4 {
            for part in ["shards", "holder"] {
                let place = server(&site, number).display().to_string();
                assert!(message.contains(&format!("{part} of {place}: ")), "{message}");
            }
        }
        assert!(!message.contains('['), "plain words: {message}");
    }

    let site = Site::new();
    site.done(&["init"]);
    fs::remove_file(server(&site, 1).join("holder/holder.key")).unwrap();
    let said = site.run(&["verify"]);
    assert_eq!(said.exit, 4);
    assert!(said.err.contains("0 of the 1 shares needed to open a key: no answer from holder 1"), "{}", said.err);
    assert!(said.err.contains("holder.key") && said.out.is_empty(), "{}", said.err);

    // A command that reports without a centre answers in JSON as well.
    let text = site.file("text.dcm", b"this is no plan");
    let said = site.run(&["plan", "diff", &text, &text, "--json"]);
    assert_eq!(said.exit, 1);
    assert!(said.json()["error"]["code"].is_string());
}

/// A centre of 14 with something on its disks.
fn filled() -> Site {
    let site = Site::new();
    site.done(&["init", "--servers", "14"]);
    for number in 0..12 {
        let (name, key) = (format!("P. Physicist {number}"), site.path(&format!("{number}.pem")));
        site.done(&["person", "new", "--name", &name, "--role", "physicist", "--key", &key]);
    }
    site
}

fn cut_short(site: &Site, server: u32, keep: f64) {
    let volume = site.data().join(format!("servers/server-{server:02}/shards/volumes/000001.vol"));
    let file = std::fs::File::options().write(true).open(volume).unwrap();
    let len = file.metadata().unwrap().len();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a few kilobytes
    file.set_len((len as f64 * keep) as u64).unwrap();
}

/// Looking heals nothing: what is damaged is found as often as it is asked for, on however many servers.
#[test]
fn a_verify_changes_nothing_and_names_each_server() {
    let site = filled();
    cut_short(&site, 3, 0.5);
    for _ in 0..3 {
        let said = site.run(&["verify", "--json"]);
        assert_eq!(said.exit, 4);
        let damaged = said.json()["damage"]["by_location"].clone();
        assert!(damaged["server-03"].as_u64().unwrap() > 1 && damaged.as_object().unwrap().len() == 1, "{damaged}");
    }
    // Half of the log is gone on eleven servers: too few answer to write, and enough to look.
    for server in 4..=13 {
        cut_short(&site, server, 0.5);
    }
    let said = site.run(&["verify", "--json"]);
    assert_eq!(said.exit, 4, "{} {}", said.out, said.err);
    let damaged = said.json()["damage"]["by_location"].clone();
    assert_eq!(damaged.as_object().unwrap().len(), 11, "{damaged}");
}

#[test]
fn an_emptied_disk_a_flipped_hash_and_a_broken_index_are_healed() {
    let site = filled();
    let gateway = site.data().join("gateway");
    let harm: [(&str, &dyn Fn()); 4] = [
        ("volumes", &|| std::fs::remove_dir_all(site.data().join("servers/server-03/shards/volumes")).unwrap()),
        ("a hash", &|| {
            let mut bytes = std::fs::read(gateway.join("hashes")).unwrap();
            let at = bytes.len() / 3;
            bytes[at] ^= 1;
            std::fs::write(gateway.join("hashes"), bytes).unwrap();
        }),
        ("pages", &|| {
            // All that the write-ahead log holds goes into the file first.
            let path = gateway.join("index.sqlite");
            let mut bytes = std::fs::read(&path).unwrap();
            let whole = bytes.len();
            bytes[whole / 2..].fill(0);
            std::fs::write(&path, bytes).unwrap();
        }),
        ("a table", &|| {
            let path = gateway.join("index.sqlite");
            let bytes = std::fs::read(&path).unwrap();
            let text = b"CREATE TABLE listed";
            let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
            let mut renamed = bytes.clone();
            renamed[at + 13..at + 19].copy_from_slice(b"lissed");
            std::fs::write(&path, renamed).unwrap();
        }),
    ];
    for (what, harm) in harm {
        harm();
        let found = site.run(&["verify"]);
        assert!([0, 4].contains(&found.exit), "{what}: {} {}", found.out, found.err);
        assert!(found.exit == 4 || what.contains("a table") || what == "pages", "{what}: {}", found.out);
        site.done(&["scrub"]);
        site.done(&["verify"]);
        assert!(site.done(&["person", "list"]).out.contains("P. Physicist 11"), "{what}");
    }
}

#[test]
fn a_running_server_says_which_marker_is_damaged() {
    let site = filled();
    let running = site.serve(&[]);
    assert_eq!(site.run(&["verify"]).exit, 0);
    fs::write(server(&site, 9).join("shards/location.cbor"), b"paid").unwrap();
    let said = site.run(&["verify", "--json"]);
    assert_eq!((said.exit, &said.json()["damaged_markers"]), (4, &json!(["server-09"])), "{}", said.out);
    running.stop();
    site.done(&["scrub"]);
    site.done(&["verify"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap().path(), to.to_owned());
        let name = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &name);
        } else {
            fs::copy(&entry, &name).unwrap();
        }
    }
}

/// More servers than may be lost were set back to an older state, and the gateway with them: what the one that wasn't shows is
/// enough to say so.
#[test]
fn servers_that_were_set_back_are_no_whole_centre() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let old = site.0.path().join("old");
    copy(&site.data(), &old);
    for name in ["A", "B"] {
        site.done(&[
            "person",
            "new",
            "--name",
            name,
            "--role",
            "physicist",
            "--key",
            &site.path(&format!("{name}.pem")),
        ]);
    }
    let new = site.0.path().join("new");
    copy(&server(&site, 5), &new);
    fs::remove_dir_all(site.data()).unwrap();
    copy(&old, &site.data());
    assert_eq!(site.run(&["verify"]).exit, 0, "an older copy by itself can't be told from the centre");
    fs::remove_dir_all(server(&site, 5)).unwrap();
    copy(&new, &server(&site, 5));
    let said = site.run(&["verify"]);
    assert!(said.exit == 4 && said.out.contains("servers may have been set back"), "{}", said.out);
    let said = site.run(&["person", "list"]);
    assert!(
        said.exit != 0 && said.err.contains("server-01, server-02, server-03, server-04 are there"),
        "{}",
        said.err
    );
}
