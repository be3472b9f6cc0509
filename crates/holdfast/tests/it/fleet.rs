//! A centre on fourteen holders, each a process of its own: founded by the plan, and what it bears.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kit::{Entropy as _, OsEntropy};
use serde_json::Value;

use super::{Server, Site, exchange, get};

pub(crate) const SERVERS: usize = 14;
const JSON: &str = "Content-Type: application/fhir+json\r\n";

/// The holders' processes; they go with the test.
pub(crate) struct Fleet {
    pub(crate) site: Site,
    plan: &'static str,
    pub(crate) addresses: Vec<String>,
    processes: Mutex<Vec<Option<Child>>>,
}

impl Fleet {
    /// Planned, each holder initialised and running, the centre founded.
    pub(crate) fn found() -> Self {
        let fleet = Self::planned(SERVERS, &[]);
        let said = fleet.site.done(&["init", "--plan", &fleet.site.path("plan")]);
        assert!(said.out.contains("any 11 may be lost"), "{}", said.out);
        fleet
    }

    /// Planned, each holder initialised and running.
    pub(crate) fn planned(servers: usize, more: &[&str]) -> Self {
        let site = Site::new();
        // At an address of its own in the loopback network: at 127.0.0.1 another fleet may take a port first.
        let [a, b, c, ..] = OsEntropy.id();
        let own = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
        let free: Vec<TcpListener> = (0..servers).map(|_| TcpListener::bind((own, 0)).unwrap()).collect();
        let addresses: Vec<String> = free.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
        drop(free);
        let plan = site.path("plan");
        let (joined, count) = (addresses.join(","), servers.to_string());
        let arguments = ["centre", "plan", "--servers", &count, "--name", "Test centre", "--addresses", &joined];
        site.done(&[&arguments[..], &["--out", &plan], more].concat());
        let fleet = Self { site, plan: "plan", addresses, processes: Mutex::new((0..servers).map(|_| None).collect()) };
        for at in 0..servers {
            fleet.site.done(&["holder", "init", "--dir", &fleet.folder(at).display().to_string()]);
            fleet.start(at);
        }
        fleet.wait_for_all();
        fleet
    }

    /// So many more machines are prepared and running, at addresses of their own; gives the folder that was written for them.
    pub(crate) fn extend(&mut self, count: usize) -> String {
        self.extend_from(self.addresses.len(), count)
    }

    /// The same, in the place of those behind the first so many, which go.
    pub(crate) fn extend_from(&mut self, there: usize, count: usize) -> String {
        for at in there..self.addresses.len() {
            self.kill(at);
            fs::remove_dir_all(self.folder(at)).unwrap();
        }
        self.addresses.truncate(there);
        self.processes.lock().unwrap().truncate(there);
        let ip: std::net::SocketAddr = self.addresses[0].parse().unwrap();
        let free: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind((ip.ip(), 0)).unwrap()).collect();
        let addresses: Vec<String> = free.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
        drop(free);
        let [a, b, ..] = OsEntropy.id();
        let out = self.site.path(&format!("extension-{there}-{a:02x}{b:02x}"));
        self.site.done(&["centre", "extend", "--addresses", &addresses.join(","), "--out", &out]);
        self.addresses.extend(addresses);
        self.processes.lock().unwrap().extend((0..count).map(|_| None));
        for at in there..there + count {
            // To the machine, as the instructions say; where it was written, only what the gateway needs stays of use.
            let (from, to) = (PathBuf::from(&out).join(format!("server-{:02}", at + 1)), self.folder(at));
            fs::create_dir(&to).unwrap();
            for file in fs::read_dir(&from).unwrap().map(Result::unwrap) {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
            self.site.done(&["holder", "init", "--dir", &to.display().to_string()]);
            self.start(at);
        }
        self.wait_for_all();
        out
    }

    /// Other machines for what is left of the centre: a plan, each holder initialised and running; what ran before has ended.
    pub(crate) fn anew(&mut self, arguments: &[&str]) -> String {
        (0..self.addresses.len()).for_each(|at| self.kill(at));
        let (plan, joined) = (self.site.path("plan-anew"), self.addresses.join(","));
        self.site.done(&[&["centre", "plan", "--addresses", &joined, "--out", &plan], arguments].concat());
        self.plan = "plan-anew";
        for at in 0..self.addresses.len() {
            self.site.done(&["holder", "init", "--dir", &self.folder(at).display().to_string()]);
            self.start(at);
        }
        self.wait_for_all();
        plan
    }

    pub(crate) fn folder(&self, at: usize) -> PathBuf {
        self.site.0.path().join(self.plan).join(format!("server-{:02}", at + 1))
    }

    pub(crate) fn start(&self, at: usize) {
        let (folder, name) = (self.folder(at), |what: &str| self.site.path(&format!("holder-{at}.{what}")));
        let process = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["holder", "run", "--dir"])
            .arg(folder)
            .args(["--listen", &self.addresses[at]])
            .stdout(File::create(name("out")).unwrap())
            .stderr(File::options().create(true).append(true).open(name("err")).unwrap())
            .spawn()
            .unwrap();
        self.processes.lock().unwrap()[at] = Some(process);
    }

    pub(crate) fn kill(&self, at: usize) {
        if let Some(mut process) = self.processes.lock().unwrap()[at].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It keeps its connections, and answers nothing: as a machine does that hangs, or was unplugged.
    fn signal(&self, at: usize, signal: rustix::process::Signal) {
        let id = self.processes.lock().unwrap()[at].as_ref().unwrap().id();
        let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    pub(crate) fn wait_for_all(&self) {
        self.wait_for(&(0..self.addresses.len()).collect::<Vec<_>>());
    }

    fn wait_for(&self, servers: &[usize]) {
        for address in servers.iter().map(|at| &self.addresses[*at]) {
            let begun = Instant::now();
            while std::net::TcpStream::connect(address).is_err() {
                assert!(begun.elapsed() < Duration::from_secs(60), "{address} does not answer");
                thread::sleep(Duration::from_millis(20));
            }
        }
        // A gateway that was refused meanwhile leaves it alone for a moment.
        thread::sleep(Duration::from_millis(300));
    }

    pub(crate) fn token(&self) -> String {
        self.token_of("t")
    }

    pub(crate) fn token_of(&self, subject: &str) -> String {
        let officer = self.site.path("plan/officer-MOVE-OFFLINE/officer.key");
        let new = ["token", "new", "--role", "oncologist", "--subject", subject, "--json", "--officer-key", &officer];
        let said = self.site.done(&new).json();
        format!("Authorization: Bearer {}\r\n", said["token"].as_str().unwrap())
    }
}

/// Of somebody whom the officer certified.
pub(super) fn token_of(site: &Site) -> String {
    let officer = site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json", "--officer-key", &officer];
    let said = site.done(&new).json();
    format!("Authorization: Bearer {}\r\n", said["token"].as_str().unwrap())
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for at in 0..self.addresses.len() {
            self.kill(at);
        }
    }
}

fn patient(number: usize) -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:example:number","value":"F-{number}"}}],"birthDate":"1961-04-{:02}"}}"#,
        number % 28 + 1
    )
}

/// Keeps one patient; her address where it was acknowledged.
pub(crate) fn keep(server: &Server, token: &str, number: usize) -> Option<String> {
    let headers = format!("{JSON}{token}");
    let (status, _, body) =
        exchange("POST", server.ready["http"].as_str().unwrap(), "/fhir/Patient", &headers, &patient(number));
    if status != 201 {
        return None;
    }
    let kept: Value = serde_json::from_str(&body).unwrap();
    Some(format!("/fhir/Patient/{}", kept["id"].as_str().unwrap()))
}

pub(crate) fn is_there(server: &Server, token: &str, address: &str, number: usize) -> bool {
    let (status, _, body) = get(server.ready["http"].as_str().unwrap(), address, token);
    status == 200 && body.contains(&format!("\"F-{number}\"")) && body.contains(&format!("-{:02}\"", number % 28 + 1))
}

fn copy(from: &str, into: &str) {
    assert!(Command::new("cp").args(["-r", from, into]).status().unwrap().success());
}

/// Eleven machines and the gateway are gone, and no holder is left that anybody trusts: from three disks and two custodians
/// fourteen other machines have everything, and whom the officer had certified goes on.
#[test]
fn a_centre_is_recovered_onto_other_machines() {
    let mut fleet = Fleet::found();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let mut kept: Vec<_> = (0..10).map(|number| keep(&server, &token, number).unwrap()).collect();
    let disk = |at: usize| fleet.folder(at).display().to_string();
    let from = [disk(3), disk(8), disk(13)];
    // The shards of these three as they are now, for whoever sets them back.
    let older: Vec<String> = (0..3).map(|at| fleet.site.path(&format!("older-{at}"))).collect();
    for (disk, older) in from.iter().zip(&older) {
        fs::create_dir(older).unwrap();
        copy(&format!("{disk}/shards"), older);
    }
    kept.extend((10..20).map(|number| keep(&server, &token, number).unwrap()));
    drop(server);
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let secrets = fleet.site.data().join("custodians-MOVE-OFFLINE");
    let secret = |number: u8| secrets.join(format!("custodian-{number}.txt")).display().to_string();
    let (a, c) = (secret(1), secret(3));
    // The gateway's certificate opens nothing at machines that never heard of it.
    let survivors: Vec<&str> = from.iter().flat_map(|disk| ["--from", disk.as_str()]).collect();
    let into = fleet.site.path("recovered");
    let recover = |plan: &str| {
        let to = ["--custodian", &a, "--custodian", &c, "--into", &into, "--plan", plan];
        [&["recover"], survivors.as_slice(), &to].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    (0..SERVERS).for_each(|at| fleet.kill(at));
    let said =
        fleet.site.run(&["centre", "plan", "--servers", "5", "--survivor", &from[0], "--addresses", "127.0.0.1"]);
    assert!(said.exit == 2 && said.err.contains("had 14"), "{}", said.err);
    // Their shards say nothing of what is gone; what their witnesses cosigned does.
    from.iter().zip(&older).for_each(|(disk, older)| copy(&format!("{disk}/witness"), older));
    let back: Vec<&str> = older.iter().flat_map(|disk| ["--from", disk.as_str()]).collect();
    let onto = fleet.site.path("from-older");
    let said = fleet
        .site
        .run(&[&["recover"], back.as_slice(), &["--custodian", &a, "--custodian", &c, "--into", &onto]].concat());
    assert!(said.exit == 3 && said.out.matches("cosigned a log of").count() == 3, "{} {}", said.out, said.err);
    let plan = fleet.anew(&["--survivor", &from[0], "--officer-key", &officer]);
    let with = |plan: &str| {
        let arguments = recover(plan);
        fleet.site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // A plan of another centre: said before anything is copied.
    let other = fleet.site.path("other");
    let addresses = (1..=14).map(|n| format!("127.9.9.{n}")).collect::<Vec<_>>().join(",");
    fleet.site.done(&["centre", "plan", "--addresses", &addresses, "--out", &other]);
    assert_eq!(with(&other).exit, 1);
    // One machine isn't there yet.
    fleet.kill(4);
    let said = with(&plan);
    assert!(said.exit == 1 && said.err.contains("server-05"), "{}", said.err);
    fleet.start(4);
    fleet.wait_for_all();
    let said = with(&plan);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(said.out.contains("3 of the survivors' witnesses cosigned a head of what is here"), "{}", said.out);

    let server = fleet.site.serve(&["--data", &into]);
    for (number, address) in kept.iter().enumerate() {
        assert!(is_there(&server, &token, address, number), "{number}: with the token of before");
    }
    assert!(keep(&server, &token, 30).is_some());
    let ready = get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    assert!(
        ready.starts_with("14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more"),
        "{ready}"
    );
    // It is one like any other: its keys turn, and two servers may be down.
    fleet.site.done(&["keys", "turn", "--officer-key", &officer, "--data", &into]);
    fleet.kill(0);
    fleet.kill(9);
    assert!(is_there(&server, &token, &kept[0], 0) && keep(&server, &token, 31).is_some());
}

/// What began on folders gets onto machines by a recovery from its own folders.
#[test]
fn a_centre_on_folders_gets_onto_machines() {
    let mut fleet = Fleet::planned(3, &[]);
    fleet.site.done(&["init", "--servers", "3"]);
    let server = fleet.site.serve(&[]);
    let new = ["token", "new", "--role", "oncologist", "--subject", "t", "--json"];
    let token = format!("Authorization: Bearer {}\r\n", fleet.site.done(&new).json()["token"].as_str().unwrap());
    let kept = keep(&server, &token, 1).unwrap();
    drop(server);
    let folder = |number: u8| fleet.site.data().join(format!("servers/server-{number:02}")).display().to_string();
    let secrets = fleet.site.data().join("custodians-MOVE-OFFLINE");
    let secret = |number: u8| secrets.join(format!("custodian-{number}.txt")).display().to_string();
    let (one, two, three, a, b) = (folder(1), folder(2), folder(3), secret(1), secret(2));
    let plan = fleet.anew(&["--servers", "3", "--survivor", &one]);
    let into = fleet.site.path("onto-machines");
    let from = ["recover", "--from", &one, "--from", &two, "--from", &three, "--custodian", &a, "--custodian", &b];
    fleet.site.done(&[&from[..], &["--plan", &plan, "--into", &into]].concat());
    let server = fleet.site.serve(&["--data", &into]);
    let officer = format!("{plan}/officer-MOVE-OFFLINE/officer.key");
    let said = fleet.site.done(&[&new[..], &["--officer-key", &officer, "--data", &into]].concat()).json();
    let token = format!("Authorization: Bearer {}\r\n", said["token"].as_str().unwrap());
    assert!(is_there(&server, &token, &kept, 1));
    assert!(keep(&server, &token, 2).is_some());
}

#[test]
fn two_servers_may_be_down_for_everything_and_five_for_writing() {
    let fleet = Fleet::found();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let first = keep(&server, &token, 1).unwrap();
    // A write's receipt, as it leaves the centre: how many have cosigned it, and the proof by their keys alone.
    let keys = fleet.site.done(&["ledger", "keys", "--json"]).json();
    let keys_of = |list: &Value| list.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    let (log, witnesses): (_, Vec<String>) = (keys["log"].as_str().unwrap().to_owned(), keys_of(&keys["witnesses"]));
    assert_eq!(witnesses.len(), SERVERS);
    let receipt = |number: usize| {
        let http = server.ready["http"].as_str().unwrap();
        let (status, head, _) = exchange("POST", http, "/fhir/Patient", &format!("{JSON}{token}"), &patient(number));
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("{name}: {head}")).to_owned()
        };
        let proof = fleet.site.done(&["ledger", "proof", "--entry", &header("x-holdfast-entry")]).out;
        (status, header("x-holdfast-witnesses"), fleet.site.file("receipt.tlog-proof", proof.as_bytes()))
    };
    let check = |file: &str| {
        let mut asked = vec!["ledger", "check", file, "--log", &log];
        witnesses.iter().for_each(|key| asked.extend(["--witness", key]));
        fleet.site.run(&asked)
    };
    let (status, cosigned, whole) = receipt(10);
    let said = check(&whole);
    assert_eq!((status, said.exit), (201, 0), "{}", said.out);
    // A receipt waits for twelve; who comes a moment later isn't in it.
    let is_quorum = |count: usize| (12..=SERVERS).contains(&count);
    assert!(is_quorum(cosigned.parse().unwrap()), "{cosigned}");
    assert!(said.out.contains("of 14 witnesses have cosigned it, 12 are needed"), "{}", said.out);
    let note = fleet.site.done(&["ledger", "checkpoint"]).out;
    assert!(is_quorum(note.lines().filter(|line| line.starts_with("— ")).count() - 1), "{note}");
    // The same by what `ledger keys` printed, and the checkpoint that went to the auditor.
    let (keys, head) = (fleet.site.done(&["ledger", "keys"]).out, fleet.site.file("head", note.as_bytes()));
    let printed = fleet.site.file("keys.txt", keys.as_bytes());
    for (file, what) in [(&whole, "entry "), (&head, "the log holdfast/")] {
        let said = fleet.site.run(&["ledger", "check", file, "--keys", &printed]);
        assert!(said.exit == 0 && said.out.starts_with(what), "{} {}", said.out, said.err);
    }
    let another = fleet.site.file("another", note.replacen('\n', "\n1", 1).as_bytes());
    assert_eq!(fleet.site.run(&["ledger", "check", &another, "--keys", &printed]).exit, 4);
    let none = fleet.site.file("none.txt", keys.replacen("log", "lag", 1).as_bytes());
    assert_eq!(fleet.site.run(&["ledger", "check", &head, "--keys", &none]).exit, 1);
    let altered = std::fs::read_to_string(&whole).unwrap().replacen("index ", "index 1", 1);
    let altered = check(&fleet.site.file("altered.tlog-proof", altered.as_bytes()));
    assert!(altered.exit == 4 && altered.out.contains("PROVES NOTHING"), "{}", altered.out);
    for at in [3, 9] {
        fleet.kill(at);
    }
    let (_, cosigned, file) = receipt(11);
    assert_eq!((cosigned.as_str(), check(&file).exit), ("12", 0));
    let second = keep(&server, &token, 2).unwrap();
    assert!(is_there(&server, &token, &first, 1) && is_there(&server, &token, &second, 2));
    let (status, _, ready) = get(server.ready["operations"].as_str().unwrap(), "/readyz", "");
    assert_eq!(status, 200, "{ready}");
    for line in
        ["12 of 14 locations up; 9 more may be lost", "12 of 14 holders answer; 0 more", "server-04: its shards"]
    {
        assert!(ready.contains(line), "{line}: {ready}");
    }
    for at in [0, 1, 2] {
        fleet.kill(at);
    }
    // Keys are opened by twelve, and nine are left; a new patient's key is dealt with public keys alone.
    assert!(keep(&server, &token, 3).is_some(), "nine locations are the floor");
    let (status, cosigned, file) = receipt(12);
    let said = check(&file);
    assert_eq!((status, cosigned.as_str(), said.exit), (201, "9", 4), "it is kept, and its receipt says what it lacks");
    assert!(said.out.contains("TOO FEW WITNESSES: 9 of 14"), "{}", said.out);
    fleet.kill(4);
    assert!(keep(&server, &token, 4).is_none(), "eight are below it");
    drop(server);
    let said =
        fleet.site.run(&["serve", "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0", "--operations", "127.0.0.1:0"]);
    assert_eq!(said.exit, 1, "{}", said.out);
    assert!(said.err.contains("server-01: "), "who is missing is said: {}", said.err);

    let wait_for = |at: &[usize]| {
        at.iter().for_each(|at| fleet.start(*at));
        fleet.wait_for(at);
    };
    wait_for(&[0, 1, 2, 4]);
    let server = fleet.site.serve(&[]);
    let (_, _, ready) = get(server.ready["operations"].as_str().unwrap(), "/readyz", "");
    assert!(ready.contains("12 of 14 holders answer; 0 more"), "{ready}");
    wait_for(&[3, 9]);
    // They were asked for a share at the start, and by nobody since.
    let begun = Instant::now();
    loop {
        let (_, _, ready) = get(server.ready["operations"].as_str().unwrap(), "/readyz", "");
        if ready.starts_with("14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "what was missed is healed when they are back: {ready}");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(is_there(&server, &token, &first, 1) && is_there(&server, &token, &second, 2));
    drop(server);
    assert!(fleet.site.done(&["verify"]).out.starts_with("whole"));
}

/// Nobody writes or reads, and machines fall silent: the probe says so all the same, and doesn't say the contrary now and then.
#[test]
fn a_gateway_at_rest_says_which_servers_are_silent() {
    use rustix::process::Signal;

    let fleet = Fleet::found();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let known = keep(&server, &token, 1).unwrap();
    let operations = server.ready["operations"].as_str().unwrap();
    let probe = || {
        let (status, _, said) = get(operations, "/readyz", "");
        (status, said)
    };
    let until = |what: &str, status: u16| {
        let begun = Instant::now();
        loop {
            let (found, said) = probe();
            if found == status && said.contains(what) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{what}: {found} {said}");
            thread::sleep(Duration::from_millis(200));
        }
    };
    assert!(is_there(&server, &token, &known, 1));
    until("14 of 14 locations up", 200);
    (0..3).for_each(|at| fleet.signal(at, Signal::STOP));
    until("11 of 14 locations up", 503);
    for _ in 0..8 {
        let (status, said) = probe();
        let is_so = |line: &str| said.contains(line);
        assert!(status == 503 && is_so("11 of 14 locations up") && is_so("ONLY 11 of 14 holders answer"), "{said}");
        assert!(is_so("11 of 14 witnesses"), "{said}");
        let metrics = get(operations, "/metrics", "").2;
        assert!(
            metrics.contains("holdfast_locations_up 11") && metrics.contains("holdfast_holders_up 11"),
            "{metrics}"
        );
    }
    // What was read before is read again, and verify says who is away, and that the rest is good.
    assert!(is_there(&server, &token, &known, 1));
    let said = fleet.site.run(&["verify"]);
    assert_eq!(said.exit, 3, "{}", said.out);
    assert!(said.out.starts_with("AWAY: server-01, server-02, server-03;"), "{}", said.out);
    // Gone altogether: one that refuses connections.
    fleet.kill(3);
    until("10 of 14 locations up", 503);
    (0..3).for_each(|at| fleet.signal(at, Signal::CONT));
    fleet.start(3);
    until("14 of 14 locations up; 11 more may be lost", 200);
    assert!(fleet.site.done(&["verify"]).out.starts_with("whole"));
}

/// The keys of fourteen machines turn on the officer's word; one that was captured is replaced by another machine, at another
/// address, while the gateway goes on.
#[test]
fn keys_turn_on_machines_and_a_captured_one_is_replaced() {
    let fleet = Fleet::found();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    let kept: Vec<String> = (1..=4).map(|number| keep(&server, &token, number).unwrap()).collect();
    let all_there = || (1..).zip(&kept).all(|(number, address)| is_there(&server, &token, address, number));
    let ready = || get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;

    let said = fleet.site.run(&["keys", "turn"]);
    assert!(said.exit == 2 && said.err.contains("nothing was destroyed"), "{}", said.err);
    assert!(all_there());
    // In the middle of a turn: a restart keeps both keys.
    fleet.kill(7);
    fleet.start(7);
    fleet.wait_for_all();
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let turn = ["keys", "turn", "--json", "--officer-key", &officer];
    let said = fleet.site.done(&turn).json();
    assert_eq!((&said["epoch"], &said["patients"]), (&2.into(), &4.into()));
    assert!(all_there());
    fleet.kill(3);
    fleet.start(3);
    fleet.wait_for_all();
    assert!(all_there());
    // A stranger's word destroys nothing.
    let stranger = fleet.site.file("stranger.key", "07".repeat(32).as_bytes());
    let said = fleet.site.run(&["keys", "turn", "--officer-key", &stranger]);
    assert!(said.exit == 1 && said.err.contains("did not sign"), "{}", said.err);
    assert!(all_there());

    fleet.kill(4);
    let (out, address) = (fleet.site.path("new-05"), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr());
    let address = address.unwrap().to_string();
    let said = fleet.site.run(&["holder", "prepare", "--number", "5", "--address", &address, "--out", &out]);
    assert_eq!(said.exit, 0, "{}", said.err);
    let custodians = fleet.site.data().join("custodians-MOVE-OFFLINE");
    let (a, b) = (custodians.join("custodian-1.txt"), custodians.join("custodian-3.txt"));
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let replace = ["holder", "replace", "--number", "5", "--prepared", &out, "--officer-key", &officer];
    let replace = [replace.as_slice(), &["--custodian", &a, "--custodian", &b]].concat();
    let said = fleet.site.run(&replace);
    assert!(said.exit == 1 && said.err.contains("server-05 at"), "{}", said.err);
    fleet.site.done(&["holder", "init", "--dir", &out]);
    let process = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["holder", "run", "--dir", &out, "--listen", &address])
        .stdout(File::create(fleet.site.path("new.out")).unwrap())
        .stderr(File::create(fleet.site.path("new.err")).unwrap())
        .spawn()
        .unwrap();
    fleet.processes.lock().unwrap()[4] = Some(process);
    let begun = Instant::now();
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    // The turn whose end a stranger had signed is still under way, and needs all fourteen.
    let said = fleet.site.run(&turn);
    assert!(said.exit == 1 && said.err.contains("holder 5"), "{}", said.err);
    assert!(all_there());
    let said = fleet.site.done(&replace).out;
    assert!(!said.contains("NOT TOLD") && said.contains("made again in the background"), "{said}");
    assert!(all_there());
    let begun = Instant::now();
    while !ready().starts_with("14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", ready());
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(fleet.site.done(&turn).json()["epoch"], 3);
    // The others look at each other every ten seconds: that the new one begins with small numbers is no rollback.
    thread::sleep(Duration::from_secs(12));
    for at in [0, 6, 13] {
        let journal = fs::read_to_string(fleet.folder(at).join("journal.log")).unwrap();
        assert!(!journal.contains("rolled-back"), "{journal}");
    }
    // The new one counts: with two others down, a key takes it.
    for at in [0, 1] {
        fleet.kill(at);
    }
    let fifth = keep(&server, &token, 5).unwrap();
    drop(server);
    for at in [0, 1] {
        fleet.start(at);
    }
    let server = fleet.site.serve(&[]);
    assert!(is_there(&server, &token, &fifth, 5) && is_there(&server, &token, &kept[0], 1));
    let begun = Instant::now();
    // What the two missed is healed.
    while !get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2.starts_with("14 of 14 locations up; 11") {
        assert!(begun.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(200));
    }
    drop(server);
    assert!(fleet.site.done(&["verify"]).out.starts_with("whole"));
    assert!(fs::read_to_string(PathBuf::from(&out).join("journal.log")).unwrap().contains("holder.turned"));
}

/// Its holders open nothing for somebody whom only the gateway knows, and no more charts than a budget has.
#[test]
fn a_chart_takes_the_persons_own_proof_and_a_budget() {
    let fleet = Fleet::found();
    for at in 0..SERVERS {
        fleet.kill(at);
        let file = fleet.folder(at).join("holder.toml");
        let text = fs::read_to_string(&file).unwrap().replace("person_hour = 600", "person_hour = 7");
        fs::write(&file, text).unwrap();
        fleet.start(at);
    }
    fleet.wait_for_all();
    let token = fleet.token();
    let invented = fleet.site.done(&["token", "new", "--role", "oncologist", "--subject", "nobody", "--json"]).json();
    let invented = format!("Authorization: Bearer {}\r\n", invented["token"].as_str().unwrap());
    let kept: Vec<String> = {
        let server = fleet.site.serve(&[]);
        (0..8).map(|number| keep(&server, &token, number).unwrap()).collect()
    };
    // Another process: no key is remembered.
    let server = fleet.site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    let (status, _, body) = get(http, &kept[0], &invented);
    assert!(status == 403 && body.contains("keys.unproven"), "{status} {body}");
    // Six of seven are each holder's part; the seventh chart is opened where the six left the right holders room.
    for (number, address) in kept.iter().enumerate().take(6) {
        assert!(is_there(&server, &token, address, number), "{number}");
    }
    let seventh = is_there(&server, &token, &kept[6], 6);
    let (status, _, body) = get(http, &kept[7], &token);
    assert!(status == 403 && body.contains("keys.over-budget"), "{status} {body}");
    assert!(is_there(&server, &token, &kept[2], 2), "who was seen is seen");
    // A start gives nothing back: neither the gateway's nor a holder's.
    drop(server);
    for at in 0..SERVERS {
        fleet.kill(at);
        fleet.start(at);
    }
    fleet.wait_for_all();
    let server = fleet.site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    let (status, _, body) = get(http, &kept[if seventh { 7 } else { 6 }], &token);
    assert!(status == 403 && body.contains("keys.over-budget"), "{status} {body}");
    // Each holder noted it, and told the others.
    let journal = |at: usize| fs::read_to_string(fleet.folder(at).join("journal.log")).unwrap();
    let begun = Instant::now();
    while !(0..SERVERS).all(|at| {
        journal(at).contains("holder.heard") && journal(at).contains("t: this holder's part of the budget, 6 charts")
    }) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", journal(0));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_plan_is_founded_once_all_servers_answer_and_not_by_a_foreign_one() {
    let site = Site::new();
    let plan = site.path("plan");
    let said =
        site.run(&["centre", "plan", "--servers", "3", "--addresses", "127.0.0.1,127.0.0.1,10.0.0.1", "--out", &plan]);
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(said.err.contains("127.0.0.1:7414 is the address of two servers"), "{}", said.err);
    let said = site.run(&["centre", "plan", "--servers", "3", "--addresses", "127.0.0.1", "--out", &plan]);
    assert!(said.exit == 2 && said.err.contains("1 addresses for 3 servers"), "{}", said.err);
    assert!(!fs::exists(&plan).unwrap(), "nothing was written");
    site.done(&["centre", "plan", "--servers", "1", "--addresses", "127.0.0.1:1", "--out", &plan]);
    let said = site.run(&["init", "--plan", &plan]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("server-01 at 127.0.0.1:1") && said.err.contains("nothing was founded"), "{}", said.err);
    assert!(!fs::exists(site.data()).unwrap(), "nothing is left");
}

/// A disk that was set back shows the past and believes it; the other servers remember what it said.
#[test]
fn a_server_whose_disk_was_set_back_is_noticed_by_the_others() {
    const BACK: usize = 4;
    let fleet = Fleet::found();
    let older = fleet.site.0.path().join("older");
    fleet.kill(BACK);
    let copied = Command::new("cp").arg("-a").arg(fleet.folder(BACK)).arg(&older).status().unwrap();
    assert!(copied.success());
    fleet.start(BACK);
    fleet.wait_for_all();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    for number in 0..5 {
        keep(&server, &token, number).unwrap();
    }
    let officer = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    fleet.site.done(&["keys", "turn", "--officer-key", &officer]);
    let ready = || get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    assert!(ready().contains("14 of 14 holders answer"), "{}", ready());
    let journals = || -> Vec<String> {
        let of = |at| fs::read_to_string(fleet.folder(at).join("journal.log")).unwrap();
        (0..SERVERS).filter(|at| *at != BACK).map(of).collect()
    };
    // Each has looked once more since: what it saw then is what it compares with.
    thread::sleep(Duration::from_secs(12));
    assert!(!journals().iter().any(|journal| journal.contains("holder.rolled-back")), "nobody was set back so far");
    fleet.kill(BACK);
    fs::remove_dir_all(fleet.folder(BACK)).unwrap();
    fs::rename(&older, fleet.folder(BACK)).unwrap();
    fleet.start(BACK);
    let begun = Instant::now();
    while !journals().iter().all(|journal| journal.contains("holder.rolled-back server 5 was set back")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", journals()[0]);
        thread::sleep(Duration::from_millis(200));
    }
    // It answers and opens nothing: it is none of the holders that may be counted on.
    let said = ready();
    for words in [
        "13 of 14 holders answer; 1 more may be lost",
        "server-05: its holder can't be used: its disk was set back: its key is of epoch 1, keys are dealt in epoch 2",
        "server 5 was set back",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains(" ALARM"), "{said}");
    // What its disk lacks is seen, and brought to it, though its process was never missed; as a witness it counts no more, for
    // it would believe a second history.
    let begun = Instant::now();
    let whole = || {
        let said = fleet.site.run(&["verify", "--json"]).json();
        (said["shards_good"].clone(), said["shards_expected"].clone(), said)
    };
    loop {
        ready();
        let (good, all, said) = whole();
        assert!(good.as_u64().is_some(), "{said}");
        if good == all {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
        thread::sleep(Duration::from_millis(500));
    }
    keep(&server, &token, 77).unwrap();
    let said = ready();
    assert!(said.contains("13 of 14 witnesses cosign the log, 12 are a quorum"), "{said}");
    assert!(said.contains("it was set back, and counts no more"), "{said}");

    // An alarm outlives a restart, and is off the page once somebody at each console has seen it.
    let alarms = |at: usize, more: &[&str]| {
        let folder = fleet.folder(at).display().to_string();
        fleet.site.done(&[&["holder", "alarms", "--dir", &folder], more].concat()).out
    };
    fleet.kill(1);
    fleet.start(1);
    fleet.wait_for_all();
    assert!(alarms(1, &[]).contains("server 5 was set back"));
    // The last of them may still be on their way.
    let begun = Instant::now();
    while ready().contains(" ALARM") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", ready());
        (0..SERVERS).for_each(|at| drop(alarms(at, &["--seen"])));
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(alarms(1, &[]), "no alarm that nobody has seen\n");
}

/// Objects rot on one server's disk: its own scrubbing finds them, the page says one thing of it, and the gateway brings them anew.
#[test]
fn what_rots_on_a_server_is_brought_to_it_anew() {
    const AT: usize = 6;
    let fleet = Fleet::found();
    let server = fleet.site.serve(&[]);
    let token = fleet.token();
    for number in 0..20 {
        keep(&server, &token, number).unwrap();
    }
    let verify = || fleet.site.run(&["verify", "--json"]).json();
    assert_eq!(verify()["clean"], true);
    fleet.kill(AT);
    let volume = fleet.folder(AT).join("shards/volumes/000001.vol");
    let mut bytes = fs::read(&volume).unwrap();
    // Behind the centre record, which a scrub brings.
    for at in (bytes.len() / 2..bytes.len()).step_by(1_500) {
        bytes[at] ^= 1;
    }
    fs::write(&volume, &bytes).unwrap();
    fleet.start(AT);
    fleet.wait_for_all();
    let ready = || get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    let begun = Instant::now();
    while !ready().contains("holder.rotten") && !ready().contains("objects are not as they were put") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", ready());
        thread::sleep(Duration::from_millis(300));
    }
    let begun = Instant::now();
    loop {
        let said = (ready(), verify());
        if said.1["clean"] == true || said.1["shards_good"] == said.1["shards_expected"] {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{} {}", said.0, said.1);
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(
        ready().matches("objects are not as they were put").count(),
        1,
        "one line, however many there were: {}",
        ready()
    );
}

/// Each drill on machines of their own holds, and rings where it was built to fail.
#[test]
fn drills_on_machines_hold_and_their_twins_ring() {
    let site = Site::new();
    for (drill, broken) in [
        ("stolen-server", "P2"),
        ("lying-holders", "P1"),
        ("captured-admin", "P1"),
        ("stolen-gateway", "P5"),
        ("forked-log", "P6"),
    ] {
        let root = site.path(drill);
        let arguments = ["drill", drill, "--patients", "12", "--seed", "11", "--json", "--root", &root];
        let said = site.run(&arguments);
        assert_eq!(said.exit, 0, "{drill}: {} {}", said.out, said.err);
        let checks = said.json()["checks"].as_array().unwrap().len();
        assert!(checks >= 2 && !fs::exists(&root).unwrap(), "{drill}: {checks} checks");
        let said = site.run(&[arguments.as_slice(), &["--must-fail"]].concat());
        assert_eq!(said.exit, 4, "{drill}: {} {}", said.out, said.err);
        let checks = said.json()["checks"].as_array().unwrap().clone();
        let rang = checks.iter().filter(|check| check["held"] == false).map(|check| check["promise"].clone());
        assert!(rang.clone().count() > 0 && rang.clone().all(|promise| promise == broken), "{drill}: {rang:?}");
    }
}
