//! A centre gets more servers while people work: from 1 to 3 to 14, as folders and as machines.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holder::wire::{Member, Split};
use keys::{Holder as _, LocalHolder};
use kit::OsEntropy;
use serde_json::{Value, json};

use super::fleet::{Fleet, is_there, keep};
use super::members::{newest, officer};
use super::{Server, Site, get};

/// What a command says to the running server, and what that answers.
fn command(gateway: &Path, act: &Value) -> String {
    let address: Value = serde_json::from_slice(&std::fs::read(gateway.join("control.json")).unwrap()).unwrap();
    let mut stream = TcpStream::connect(address["listen"].as_str().unwrap()).unwrap();
    let frame = json!({ "secret": address["secret"], "act": act }).to_string();
    stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(frame.as_bytes()).unwrap();
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn secrets(site: &Site) -> (String, String) {
    let folder = site.data().join("custodians-MOVE-OFFLINE");
    let file = |number: u8| folder.join(format!("custodian-{number}.txt")).display().to_string();
    (file(1), file(3))
}

fn ready(server: &Server) -> String {
    get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2
}

/// Keeps patients all the while: whoever is refused or lost is one too many. Gives where each of them is, by number.
fn while_people_work(server: &Server, token: &str, first: usize, act: impl FnOnce()) -> Vec<(usize, String)> {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let ends = &ends;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    while !ends.load(Ordering::SeqCst) || kept.len() < 3 {
                        let number = first + 10_000 * writer + kept.len();
                        let address = keep(server, token, number).expect("a record was refused while the centre grew");
                        let said = get(server.ready["http"].as_str().unwrap(), &address, token);
                        assert!(is_there(server, token, &address, number), "{said:?}");
                        kept.push((number, address));
                        thread::sleep(Duration::from_millis(100));
                    }
                    kept
                })
            })
            .collect();
        act();
        ends.store(true, Ordering::SeqCst);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

/// Both the command and the server are killed then; true where the command was done by itself.
fn done_before(site: &Site, server: &mut Server, command: &[&str], moment: u64) -> bool {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let mut spawned = Command::new(program);
    spawned.args(command).env("HOLDFAST_DATA", site.data());
    let spawned = spawned.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut command = spawned.unwrap();
    thread::sleep(Duration::from_millis(moment));
    server.process.kill().unwrap();
    let is_done = command.try_wait().unwrap().is_some_and(|status| status.success());
    drop(command.kill());
    command.wait().unwrap();
    server.process.wait().unwrap();
    is_done
}

fn all_there(server: &Server, token: &str, kept: &[(usize, String)]) {
    for (number, address) in kept {
        assert!(is_there(server, token, address, *number), "{number} at {address}");
    }
}

#[test]
fn one_folder_becomes_fourteen_while_the_server_runs() {
    let site = Site::new();
    site.done(&["init"]);
    let server = site.serve(&[]);
    let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json"];
    let token = format!("Authorization: Bearer {}\r\n", site.done(&new).json()["token"].as_str().unwrap());
    let mut kept: Vec<_> = (1..=5).map(|number| (number, keep(&server, &token, number).unwrap())).collect();
    let (a, b) = secrets(&site);
    let grow = |servers: &str| {
        let both = ["centre", "grow", "--servers", servers, "--custodian", &a, "--custodian", &b];
        site.run(&both)
    };

    let one = site.run(&["centre", "grow", "--servers", "3", "--custodian", &a]);
    assert!(one.exit == 1 && one.err.contains("1 of the 2 custodians needed"), "{}", one.err);
    assert!(!site.data().join("servers/server-02").exists(), "nothing was changed");
    for fewer in ["1", "0", "65"] {
        assert_eq!(grow(fewer).exit, 2, "{fewer}");
    }
    kept.extend(while_people_work(&server, &token, 100, || {
        let said = grow("3");
        assert!(said.exit == 0 && said.out.contains("any 1 may be lost"), "{} {}", said.out, said.err);
    }));
    assert!(
        ready(&server).starts_with("3 of 3 locations up; 1 more may be lost\n3 of 3 holders answer"),
        "{}",
        ready(&server)
    );
    all_there(&server, &token, &kept);
    kept.extend(while_people_work(&server, &token, 200, || {
        let said = grow("14");
        assert!(said.exit == 0 && said.out.contains("any 11 may be lost"), "{} {}", said.out, said.err);
    }));
    let grown = "14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more";
    assert!(ready(&server).starts_with(grown), "{}", ready(&server));
    all_there(&server, &token, &kept);
    drop(server);

    let server = site.serve(&[]);
    assert!(ready(&server).starts_with(grown), "{}", ready(&server));
    all_there(&server, &token, &kept);
    drop(server);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    assert!(grow("14").err.contains("14 servers, there are 14"));

    // Eleven of them and the gateway are gone.
    let from = |number: u8| site.data().join(format!("servers/server-{number:02}")).display().to_string();
    let (x, y, z, into) = (from(2), from(7), from(14), site.path("recovered"));
    site.done(&[
        "recover",
        "--from",
        &x,
        "--from",
        &y,
        "--from",
        &z,
        "--custodian",
        &a,
        "--custodian",
        &b,
        "--into",
        &into,
    ]);
    let server = site.serve(&["--data", &into]);
    let said = site.done(&[new.as_slice(), &["--data", &into]].concat()).json();
    let token = format!("Authorization: Bearer {}\r\n", said["token"].as_str().unwrap());
    all_there(&server, &token, &kept);
}

/// Killed at some moment of it, and repeated: nothing that was acknowledged is lost, whatever it had come to.
#[test]
fn a_growth_that_was_killed_is_repeated() {
    let site = Site::new();
    site.done(&["init"]);
    let (a, b) = secrets(&site);
    let grow = ["centre", "grow", "--servers", "5", "--custodian", &a, "--custodian", &b];
    let mut kept: Vec<(usize, String)> = Vec::new();
    let (mut done, mut cut) = (false, 0);
    for (round, moment) in [10, 20, 30, 40, 50, 60, 70, 80, 100, 130, 200, 500, 1_200].into_iter().enumerate() {
        let mut server = site.serve(&[]);
        let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json"];
        let token = format!("Authorization: Bearer {}\r\n", site.done(&new).json()["token"].as_str().unwrap());
        all_there(&server, &token, &kept);
        kept.extend((0..4).map(|n| (round * 10 + n, keep(&server, &token, round * 10 + n).unwrap())));
        done = done_before(&site, &mut server, &grow, moment);
        if done {
            break;
        }
        cut += 1;
    }
    assert!(cut > 1, "it was never cut short");
    if !done {
        let said = site.run(&grow);
        // The last one may have ended as it was killed: then there is nothing left to do.
        assert!(said.exit == 0 || said.err.contains("5 servers, there are 5"), "{} {}", said.out, said.err);
    }
    // Which fails where a key is left that wasn't dealt to all of them.
    site.done(&["keys", "turn"]);
    let server = site.serve(&[]);
    let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json"];
    let token = format!("Authorization: Bearer {}\r\n", site.done(&new).json()["token"].as_str().unwrap());
    all_there(&server, &token, &kept);
    assert!(
        ready(&server).starts_with("5 of 5 locations up; 2 more may be lost\n5 of 5 holders answer"),
        "{}",
        ready(&server)
    );
    drop(server);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
}

/// What an earlier growth has left is in nobody's way: to more servers than this one, and with keys of an epoch that has passed.
#[test]
fn what_a_growth_has_left_is_no_dead_end() {
    let site = Site::new();
    site.done(&["init"]);
    let (a, b) = secrets(&site);
    let grow =
        |servers: &str| site.run(&["centre", "grow", "--servers", servers, "--custodian", &a, "--custodian", &b]);
    let folder = |number: u8| site.data().join(format!("servers/server-{number:02}"));
    let mut server = site.serve(&[]);
    let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json"];
    let token = format!("Authorization: Bearer {}\r\n", site.done(&new).json()["token"].as_str().unwrap());
    let mut kept: Vec<_> = (1..=3).map(|number| (number, keep(&server, &token, number).unwrap())).collect();
    std::fs::write(folder(5), "in the way").unwrap();
    let said = grow("5");
    assert!(said.exit == 1 && said.err.contains("server-05"), "{}", said.err);
    assert!(folder(2).join("holder").is_dir(), "nothing was left");
    site.done(&["keys", "turn"]);

    let said = grow("3");
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(folder(2).join("holder-set-aside-1").is_dir(), "the holder whose keys nobody was dealt");
    all_there(&server, &token, &kept);
    drop(server);

    // One of the old ones is away: said before anything is made.
    std::fs::rename(folder(2).join("shards"), folder(2).join("away")).unwrap();
    server = site.serve(&[]);
    std::fs::remove_file(folder(5)).unwrap();
    let said = grow("5");
    assert!(said.exit == 2 && said.err.contains("server-02") && said.err.contains("holder replace"), "{}", said.err);
    assert!(!folder(5).exists());
    drop(server);
    std::fs::rename(folder(2).join("away"), folder(2).join("shards")).unwrap();
    server = site.serve(&[]);
    let said = grow("5");
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    kept.push((9, keep(&server, &token, 9).unwrap()));
    all_there(&server, &token, &kept);
    drop(server);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
}

/// The gateway is killed at some moment of it, and what the operator gave is given again: nothing that was acknowledged is lost,
/// and the machines open every chart afterwards, be the list of members as it was or the next one.
#[test]
fn a_growth_of_machines_that_was_killed_is_repeated() {
    let mut fleet = Fleet::planned(1, &[]);
    fleet.site.done(&["init", "--plan", &fleet.site.path("plan")]);
    let (a, b) = secrets(&fleet.site);
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let mut server = fleet.site.serve(&[]);
    let prepared = fleet.extend(2);
    let grow = ["centre", "grow", "--prepared", &prepared, "--officer-key", &officer];
    let grow = [grow.as_slice(), &["--custodian", &a, "--custodian", &b]].concat();
    let mut kept: Vec<(usize, String)> = Vec::new();
    let (mut done, mut cut) = (false, 0);
    for (round, moment) in [10, 25, 35, 45, 55, 65, 75, 90, 110, 150, 250, 500, 1_200].into_iter().enumerate() {
        let token = fleet.token();
        all_there(&server, &token, &kept);
        kept.extend((0..3).map(|n| (round * 10 + n, keep(&server, &token, round * 10 + n).unwrap())));
        done = done_before(&fleet.site, &mut server, &grow, moment);
        server = fleet.site.serve(&[]);
        if done {
            break;
        }
        cut += 1;
    }
    assert!(cut > 1, "it was never cut short");
    if !done {
        let said = fleet.site.run(&grow);
        assert!(said.exit == 0 || said.err.contains("3 servers, there are 3"), "{} {}", said.out, said.err);
    }
    let token = fleet.token();
    all_there(&server, &token, &kept);
    fleet.site.done(&["keys", "turn", "--officer-key", &officer]);
    all_there(&server, &token, &kept);
    // A list that would shut every chart away, by a console of another age: the centre knows what is dealt how.
    let gateway = fleet.site.data().join("gateway");
    let mut list = newest(&gateway);
    list.splits = Some(vec![Split { needed: 12, holders: 14 }]);
    list.version += 1;
    let said = command(
        &gateway,
        &json!({ "members-take": { "members": STANDARD.encode(list.sign(&self::officer(&officer))) } }),
    );
    assert!(said.contains("patients' keys are split in a way that this list ends"), "{said}");
    all_there(&server, &token, &kept);
    drop(server);
    assert!(fleet.site.done(&["verify"]).out.starts_with("whole"));
}

/// Machines that were prepared for a growth and don't come into it: their keys are of an epoch that has passed, or they are gone
/// when the list that names them is taken. Others take their places; meanwhile nothing hangs on them.
#[test]
fn machines_that_do_not_come_into_it_are_prepared_anew() {
    let mut fleet = Fleet::planned(1, &[]);
    fleet.site.done(&["init", "--plan", &fleet.site.path("plan")]);
    let (a, b) = secrets(&fleet.site);
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let mut kept: Vec<_> = (1..=3).map(|number| (number, keep(&server, &token, number).unwrap())).collect();
    let grow = |fleet: &Fleet, prepared: &str| {
        let grow = ["centre", "grow", "--prepared", prepared, "--officer-key", &officer];
        fleet.site.run(&[grow.as_slice(), &["--custodian", &a, "--custodian", &b]].concat())
    };
    let listed = |fleet: &Fleet| newest(&fleet.site.data().join("gateway")).servers.len();

    let prepared = fleet.extend(2);
    fleet.site.done(&["keys", "turn", "--officer-key", &officer]);
    let said = grow(&fleet, &prepared);
    assert!(
        said.exit == 2 && said.err.contains("server-02's key is of epoch 2") && said.err.contains("extend"),
        "{}",
        said.err
    );
    assert_eq!(listed(&fleet), 1, "the list that names them is taken");
    let said = fleet.site.run(&["holder", "prepare", "--number", "2", "--address", "127.0.0.9:1", "--out", &prepared]);
    assert!(said.exit == 2 && said.err.contains("server 2, there are 1"), "{}", said.err);

    // The officer has signed for two that are gone since. Others take their places.
    let gateway = fleet.site.data().join("gateway");
    let ghosts = |fleet: &Fleet, first: u8| {
        let mut list = newest(&gateway);
        let ghost = |number: u8| {
            let folder = fleet.site.path(&format!("ghost-{number}"));
            let key = LocalHolder::init(folder.as_ref(), number, &OsEntropy).unwrap().public_key().to_bytes();
            Member { number, address: format!("127.9.9.9:{number}"), key: key.into(), ..list.servers[0].clone() }
        };
        let gone = [ghost(first), ghost(first + 1)];
        list.servers.extend(gone);
        list.version += 1;
        let signed = STANDARD.encode(list.sign(&self::officer(&officer)));
        command(&gateway, &json!({ "members-take": { "members": signed } }))
    };
    let said = ghosts(&fleet, 2);
    assert!(said.contains("server-02") && listed(&fleet) == 3, "{said}");
    all_there(&server, &token, &kept);
    drop(server);
    let server = fleet.site.serve(&[]);
    kept.push((5, keep(&server, &token, 5).unwrap()));
    all_there(&server, &token, &kept);
    let prepared = fleet.extend_from(1, 2);
    let said = grow(&fleet, &prepared);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    kept.push((7, keep(&server, &token, 7).unwrap()));
    all_there(&server, &token, &kept);

    // With two that are none of it on the list, another gateway takes this one's place all the same.
    assert!(ghosts(&fleet, 4).contains("server-05") && listed(&fleet) == 5);
    drop(server);
    let (other, at) = (fleet.site.path("another"), fleet.addresses[1].clone());
    let said = fleet.site.run(&["gateway", "new", "--server", &at, "--officer-key", &officer, "--data", &other]);
    assert!(
        said.out.contains("this machine is its gateway") && said.out.contains("server-04"),
        "{} {}",
        said.out,
        said.err
    );
    let server = fleet.site.serve(&["--data", &other]);
    all_there(&server, &token, &kept);
    assert!(keep(&server, &token, 8).is_some());
}

/// Machines of their own: one, then three, then fourteen, by the officer's list and the custodians.
#[test]
fn one_machine_becomes_fourteen_while_the_gateway_runs() {
    let mut fleet = Fleet::planned(1, &[]);
    fleet.site.done(&["init", "--plan", &fleet.site.path("plan")]);
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let mut kept: Vec<_> = (1..=3).map(|number| (number, keep(&server, &token, number).unwrap())).collect();
    let (a, b) = secrets(&fleet.site);
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    for (count, first, said) in [
        (2, 100, "3 of 3 locations up; 1 more may be lost\n3 of 3 holders answer; 0 more"),
        (11, 200, "14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more"),
    ] {
        let prepared = fleet.extend(count);
        let grow = ["centre", "grow", "--prepared", &prepared, "--officer-key", &officer];
        let grow = [grow.as_slice(), &["--custodian", &a, "--custodian", &b]].concat();
        if count == 2 {
            // One of the new machines isn't there yet.
            fleet.kill(2);
            let said = fleet.site.run(&grow);
            assert!(said.exit == 1 && said.err.contains("server-03"), "{}", said.err);
            fleet.start(2);
            fleet.wait_for_all();
        }
        kept.extend(while_people_work(&server, &token, first, || {
            let said = fleet.site.run(&grow);
            assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
        }));
        let begun = Instant::now();
        while !ready(&server).starts_with(said) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", ready(&server));
            thread::sleep(Duration::from_millis(200));
        }
        all_there(&server, &token, &kept);
    }
    // The new ones count: with two others down a key takes them, and the first one alone isn't asked.
    for at in [0, 1] {
        fleet.kill(at);
    }
    kept.push((900, keep(&server, &token, 900).unwrap()));
    all_there(&server, &token, &kept[..3]);
    drop(server);
    for at in [0, 1] {
        fleet.start(at);
    }
    fleet.wait_for_all();
    let server = fleet.site.serve(&[]);
    let begun = Instant::now();
    while !ready(&server).starts_with("14 of 14 locations up; 11") {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", ready(&server));
        thread::sleep(Duration::from_millis(200));
    }
    all_there(&server, &token, &kept);
    drop(server);
    assert!(fleet.site.done(&["verify"]).out.starts_with("whole"));
}
