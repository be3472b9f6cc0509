//! A centre whose holders stand in network namespaces of their own: one is unplugged, another is heard and can't answer,
//! while records are kept. It takes root and `ip`, `unshare` and `nsenter`; where they are missing it says so, and is skipped.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::fleet::{is_there, keep, token_of};
use super::{Site, get};

const SERVERS: usize = 5;
/// Tells the test that it runs within a network of its own.
const WITHIN: &str = "HOLDFAST_TEST_NETWORK";
const NAME: &str = "partition::a_server_that_is_cut_off_comes_back_and_nothing_is_lost";

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

fn ip(words: &str) {
    assert!(run("ip", &words.split(' ').collect::<Vec<_>>()), "ip {words}");
}

/// A holder in its own network, on the cable `cableN`; it goes with the test.
struct Holder(Child);

impl Holder {
    fn start(site: &Site, number: usize) -> Self {
        let folder = site.path(&format!("plan/server-{number:02}"));
        let log = File::create(site.path(&format!("holder-{number}.log"))).unwrap();
        // `unshare` becomes the holder: its process is the namespace.
        let process = Command::new("unshare")
            .args(["--net", env!("CARGO_BIN_EXE_holdfast"), "holder", "run", "--dir", &folder])
            .stderr(log)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (id, begun) = (process.id(), Instant::now());
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        while fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|its| its == own) {
            assert!(begun.elapsed() < Duration::from_secs(10), "no network of its own");
            thread::sleep(Duration::from_millis(5));
        }
        ip(&format!("link add cable{number} type veth peer name wire netns {id}"));
        ip(&format!("link set cable{number} master switch up"));
        let holder = Self(process);
        for words in
            [format!("addr add {}/24 dev wire", address(number)), "link set wire up".into(), "link set lo up".into()]
        {
            holder.ip(&words);
        }
        while std::net::TcpStream::connect((address(number), 7414)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "server {number} does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        holder
    }

    /// In its network.
    fn ip(&self, words: &str) {
        let net = format!("--net=/proc/{}/ns/net", self.0.id());
        let all: Vec<&str> = [net.as_str(), "ip"].into_iter().chain(words.split(' ')).collect();
        assert!(run("nsenter", &all), "ip {words}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address(number: usize) -> &'static str {
    ["10.77.0.11", "10.77.0.12", "10.77.0.13", "10.77.0.14", "10.77.0.15"][number - 1]
}

#[test]
fn a_server_that_is_cut_off_comes_back_and_nothing_is_lost() {
    if std::env::var_os(WITHIN).is_some() {
        return in_networks();
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok() || run(program, &["-V"]);
    let may = || run("unshare", &["--net", "true"]);
    if !is_root || !["ip", "unshare", "nsenter"].into_iter().all(has) || !may() {
        // Past the test's own capture: a skipped test must not look like one that ran.
        let text = format!("SKIPPED {NAME}: it takes root, ip, unshare, nsenter, and a network of its own\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    }
    let done = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(WITHIN, "1")
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

fn in_networks() {
    ip("link set lo up");
    ip("link add switch type bridge");
    ip("addr add 10.77.0.1/24 dev switch");
    ip("link set switch up");
    let site = Site::new();
    let addresses: Vec<&str> = (1..=SERVERS).map(address).collect();
    let plan = site.path("plan");
    site.done(&["centre", "plan", "--servers", "5", "--addresses", &addresses.join(","), "--out", &plan]);
    let holders: Vec<Holder> = (1..=SERVERS)
        .map(|number| {
            let folder = site.path(&format!("plan/server-{number:02}"));
            // A hundred thousand charts and more, instead of hundreds: all that was kept is read again.
            let file = format!("{folder}/holder.toml");
            let text =
                fs::read_to_string(&file).unwrap().replace("_hour = ", "_hour = 100").replace("_day = ", "_day = 100");
            fs::write(&file, text).unwrap();
            site.done(&["holder", "init", "--dir", &folder]);
            Holder::start(&site, number)
        })
        .collect();
    site.done(&["init", "--plan", &plan]);
    let server = site.serve(&[]);
    let token = token_of(&site);
    let (is_over, kept) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let count = || kept.lock().unwrap().len();
    let ready = || get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    let wait_for = |what: &str| {
        let begun = Instant::now();
        while !ready().contains(what) {
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}: {}", ready());
            thread::sleep(Duration::from_millis(200));
        }
    };
    // So many more, however long it takes.
    let more = |what: &str, by: usize| {
        let (from, begun) = (count(), Instant::now());
        while count() < from + by {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: nothing is kept any more");
            thread::sleep(Duration::from_millis(20));
        }
    };
    thread::scope(|scope| {
        for writer in 0..2 {
            let (is_over, kept, server, token) = (&is_over, &kept, &server, &token);
            scope.spawn(move || {
                for number in 100_000 * writer.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Some(address) = keep(server, token, number) {
                        kept.lock().unwrap().push((number, address));
                    }
                }
            });
        }
        // Whatever fails, the writers end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            more("at first", 10);
            ip("link set cable2 down");
            wait_for("4 of 5 holders answer");
            more("a server is unplugged", 10);
            ip("link set cable2 up");
            wait_for("5 of 5 holders answer");
            // It hears everything, and its answers go to nobody.
            holders[3].ip("neigh replace 10.77.0.1 lladdr 02:00:00:00:00:01 dev wire nud permanent");
            wait_for("4 of 5 holders answer");
            more("a server can't answer", 10);
            holders[3].ip("neigh del 10.77.0.1 dev wire");
            more("all are back", 10);
        }));
        is_over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    // All are back, and what they missed is healed.
    wait_for("5 of 5 locations up; 2 more may be lost\n5 of 5 holders answer; 2 more");
    // By a gateway that remembers nothing of it.
    server.stop();
    let server = site.serve(&[]);
    let kept = kept.into_inner().unwrap();
    for (number, address) in &kept {
        let answer = || get(server.ready["http"].as_str().unwrap(), address, &token);
        assert!(is_there(&server, &token, address, *number), "{address} was acknowledged: {:?}", answer());
    }
    drop(server);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    println!("{} records acknowledged while servers were cut off", kept.len());
}
