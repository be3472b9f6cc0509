//! A centre on twelve holders and two buckets of a real store, SeaweedFS: what it bears, and what it says.
//!
//! HOLDFAST_WEED names the store's program, or `cargo xtask peers` has installed one. Without either there is nothing to
//! test with, and the tests say so; `cargo xtask test` names it, so that there they can't be missed.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bucket::Credentials;
use bucket::rig::{Hand, Store};
use kit::{Entropy as _, OsEntropy};

use super::fleet::{Fleet, is_there, keep};
use super::{Server, Site, get};

const SERVERS: usize = 12;
const BUCKETS: [&str; 2] = ["bucket-13", "bucket-14"];
const PREFIX: &str = "vault/1";

fn program() -> Option<PathBuf> {
    let made = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/venv/bin/weed"));
    let named = std::env::var_os("HOLDFAST_WEED").map(PathBuf::from);
    let found = named.or_else(|| made.is_file().then(|| made.to_path_buf()));
    if found.is_none() {
        println!("no SeaweedFS (HOLDFAST_WEED, or `cargo xtask peers`): not tested against a real store");
    }
    found
}

fn who(access_key_id: &str) -> Credentials {
    Credentials {
        access_key_id: access_key_id.into(),
        secret: zeroize::Zeroizing::new(format!("{access_key_id}-hush")),
    }
}

struct Shop {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Shop {
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c, ..] = OsEntropy.id();
        let address = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
        let identities = [&who("GATEWAY"), &who("RENEWER")];
        let mut store = Store::new(program, folder.path(), address, identities, &BUCKETS, None).unwrap();
        store.start().unwrap();
        Self { store, _folder: folder }
    }

    fn hand(&self, bucket: &str, name: &str) -> Hand {
        self.store.hand(bucket, &who(name)).unwrap()
    }
}

/// Fills in what a person fills in; `gateway`: whose access key id the renewer may not have.
fn fill_in(file: &Path, name: &str, gateway: &str) {
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .replace("\naccess_key_id = \"\"", &format!("\naccess_key_id = \"{name}\""))
        .replace("\nsecret = \"\"", &format!("\nsecret = \"{name}-hush\""))
        .replace("\ngateway_access_key_id = \"\"", &format!("\ngateway_access_key_id = \"{gateway}\""));
    kit::write_private(file, text.as_bytes()).unwrap();
}

/// Twelve servers that run and two buckets that are planned; the files are filled in.
fn planned(shop: &Shop) -> Fleet {
    let places = BUCKETS.map(|bucket| format!("{}/{bucket}/{PREFIX}", shop.store.endpoint()));
    let teams = (1..=SERVERS).map(|n| format!("team {n}")).chain(["Cloud".to_owned(), "cloud ".to_owned()]);
    let teams = teams.collect::<Vec<_>>().join(",");
    let more = ["--bucket", &places[0], "--bucket", &places[1], "--administrators", &teams];
    let fleet = Fleet::planned(SERVERS, &more);
    for bucket in BUCKETS {
        fill_in(&gateway_file(&fleet, bucket), "GATEWAY", "");
        fill_in(&renewer_file(&fleet, bucket), "RENEWER", "GATEWAY");
    }
    fleet
}

fn gateway_file(fleet: &Fleet, bucket: &str) -> PathBuf {
    fleet.site.0.path().join(format!("plan/gateway/{bucket}.toml"))
}

fn renewer_file(fleet: &Fleet, bucket: &str) -> PathBuf {
    fleet.site.0.path().join(format!("plan/renewer-{bucket}/{bucket}.toml"))
}

/// What /readyz says, once it begins so.
fn ready(server: &Server, start: &str) -> String {
    let begun = Instant::now();
    loop {
        let (_, _, ready) = get(server.ready["operations"].as_str().unwrap(), "/readyz", "");
        if ready.starts_with(start) {
            return ready;
        }
        assert!(begun.elapsed() < Duration::from_secs(420), "{start:?} is expected: {ready}");
        thread::sleep(Duration::from_millis(300));
    }
}

fn metric(server: &Server, line: &str) -> bool {
    get(server.ready["operations"].as_str().unwrap(), "/metrics", "").2.lines().any(|one| one == line)
}

/// The posture page, as somebody who is signed in sees it.
fn posture(site: &Site, server: &Server) -> String {
    let http = server.ready["http"].as_str().unwrap();
    let (status, _, page) = get(http, "/posture", &site.session(server, "it-administrator"));
    assert_eq!(status, 200);
    page
}

/// Fourteen machines in a network of their own need no list.
#[test]
fn a_plan_without_addresses_says_which_it_gives() {
    let site = Site::new();
    let (plan, other) = (site.path("plan"), site.path("other"));
    let said = site.done(&["centre", "plan", "--servers", "14", "--out", &plan]);
    assert!(said.out.contains("10.74.14.1 to 10.74.14.14"), "{}", said.out);
    let runbook = fs::read_to_string(format!("{plan}/server-14/RUNBOOK.md")).unwrap();
    assert!(runbook.contains("10.74.14.14"), "{runbook}");
    let said = site.done(&["centre", "plan", "--servers", "3", "--network", "192.168.7.0", "--out", &other]);
    assert!(said.out.contains("192.168.7.1 to 192.168.7.3"), "{}", said.out);
    let both = ["centre", "plan", "--servers", "1", "--network", "10.0.0.0", "--addresses", "10.0.0.1"];
    assert_eq!(site.run(&both).exit, 2);
}

#[test]
fn a_plan_with_buckets_says_what_it_is_and_has_no_place_for_a_secret() {
    let site = Site::new();
    let plan = site.path("plan");
    let run = |more: &[&str]| {
        let addresses: Vec<String> = (1..=12).map(|n| format!("10.0.0.{n}")).collect();
        let addresses = addresses.join(",");
        let arguments = ["centre", "plan", "--servers", "12", "--addresses", &addresses, "--out", &plan];
        site.run(&[&arguments[..], more].concat())
    };
    let two = ["--bucket", "s3.example:9000/holdfast/a", "--bucket", "s4.example/holdfast"];
    for (more, why) in [
        (vec!["--bucket", "s3.example"], "a host and a bucket"),
        (
            vec!["--bucket", "s3.example/holdfast/a", "--bucket", "https://s3.example/holdfast/a"],
            "the place of two buckets",
        ),
        ([&two[..], &["--administrators", "a,b"]].concat(), "2 administrators for 14 servers and buckets"),
        ([&two[..], &["--shards-needed", "15"]].concat(), "shards needed: 15, it must be 1 to 14"),
        ([&two[..], &["--keys-needed", "13"]].concat(), "keys needed: 13, it must be 1 to 12, the number of servers"),
    ] {
        let said = run(&more);
        assert!(said.exit == 2 && said.err.contains(why), "{why}: {} {}", said.exit, said.err);
        assert!(!fs::exists(&plan).unwrap());
    }
    let said = run(&[&two[..], &["--administrators", ",,,,,,,,,,,,Cloud,Cloud"]].concat());
    assert!(said.out.contains("(Cloud); nobody has said who administers 12 of them"), "{} {}", said.out, said.err);
    fs::remove_dir_all(&plan).unwrap();
    let team = |n: usize| if n >= 12 { "Cloud".to_owned() } else { format!("team {n}") };
    let teams = (0..14).map(team).collect::<Vec<_>>().join(",");
    let said = run(&[&two[..], &["--administrators", &teams]].concat());
    for words in [
        "12 servers and 2 buckets: any 11 may be lost",
        "the disks of any 9 servers together open nothing; with fewer than 10 holders",
        "14 locations are 13 independent domains: 2 buckets share an administrator (Cloud)",
    ] {
        assert!(said.exit == 0 && said.out.contains(words), "{words}: {} {}", said.out, said.err);
    }
    let read = |file: &str| fs::read_to_string(site.0.path().join("plan").join(file)).unwrap();
    let text = read("plan.toml");
    assert!(text.contains("bucket-13") && !text.contains("secret") && !text.contains("access_key"), "{text}");
    assert!(read("gateway/bucket-14.toml").contains("endpoint = \"https://s4.example\""));
    assert!(read("gateway/RUNBOOK.md").contains("only S3 may be reachable"));
    assert!(read("renewer-bucket-13/holdfast-renew-bucket-13.timer").contains("OnCalendar=monthly"));
    assert!(read("renewer-bucket-13/holdfast-renew-bucket-13.service").contains("bucket renew --config"));
    assert!(read("renewer-bucket-13/RUNBOOK.md").contains("/etc/holdfast/bucket-13.toml"));
    // Nobody has filled anything in; found out before any server is asked.
    let said = site.run(&["init", "--plan", &plan]);
    assert!(said.exit == 1 && said.err.contains("bucket-13.toml: access_key_id and secret are not"), "{}", said.err);
    assert!(!fs::exists(site.data()).unwrap(), "nothing is left");
}

#[test]
fn with_a_real_store_a_centre_of_servers_and_buckets() {
    let Some(program) = program() else { return };
    let mut shop = Shop::start(&program);
    let fleet = planned(&shop);
    let site = &fleet.site;
    let plan = site.path("plan");

    // A bucket that lacks something is refused by its name, and nothing is founded.
    shop.hand(BUCKETS[0], "RENEWER").make_good_bucket(90).unwrap();
    shop.hand(BUCKETS[1], "RENEWER").make_bucket().unwrap();
    shop.hand(BUCKETS[1], "RENEWER").set_versioning("Enabled").unwrap();
    let said = site.run(&["init", "--plan", &plan]);
    assert_eq!(said.exit, 1, "{}", said.out);
    for words in ["1 of 2 buckets", "bucket-14 refuses", "object-lock", "no Object Lock", "nothing was founded"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains("hush") && !fs::exists(site.data()).unwrap());
    let probe = |bucket| site.run(&["bucket", "probe", "--config", gateway_file(&fleet, bucket).to_str().unwrap()]);
    assert!(probe(BUCKETS[0]).out.contains("the default retention is 90 days"));
    assert!(probe(BUCKETS[1]).err.contains("object-lock"));
    shop.hand(BUCKETS[1], "RENEWER").set_lock("COMPLIANCE", 90).unwrap();
    let said = site.done(&["init", "--plan", &plan]);
    assert!(said.out.contains("12 servers and 2 buckets: any 11 may be lost"), "{}", said.out);

    // Records go to servers and buckets.
    let server = site.serve(&[]);
    let token = fleet.token();
    let first = keep(&server, &token, 1).unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n12 of 12 holders answer; 2 more");
    let page = posture(site, &server);
    for words in ["bucket-13", "90 days", "14 locations are 2 independent domains", "2 buckets share an administrator"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(metric(&server, "holdfast_domains 2") && metric(&server, "holdfast_bucket_sound{bucket=\"bucket-13\"} 1"));

    // The store falls; the centre goes on, and its next receipt says by how much less.
    shop.store.stop();
    let second = keep(&server, &token, 2).unwrap();
    assert!(is_there(&server, &token, &first, 1) && is_there(&server, &token, &second, 2));
    let said = ready(&server, "12 of 14 locations up; 9 more may be lost");
    assert!(said.contains("bucket-13: its shards can't be used") && said.contains("bucket-14: its"), "{said}");
    assert!(metric(&server, "holdfast_receipt_survives 9") && metric(&server, "holdfast_writable 1"));
    assert!(metric(&server, "holdfast_bucket_sound{bucket=\"bucket-14\"} 0"));
    // Also from the start.
    server.stop();
    let server = site.serve(&[]);
    let third = keep(&server, &token, 3).unwrap();
    ready(&server, "12 of 14 locations up; 9 more may be lost");
    // It comes back, and has everything.
    shop.store.start().unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n");
    for (number, address) in (1..).zip([&first, &second, &third]) {
        assert!(is_there(&server, &token, address, number));
    }
    site.done(&["scrub"]);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    // A gateway that lost its memory of it reads the same.
    let versions = |bucket: &str| shop.hand(bucket, "RENEWER").versions(&format!("{PREFIX}/o/")).unwrap();
    // What was read a moment ago is being noted: one of the two may have it, and the other not yet.
    let begun = std::time::Instant::now();
    loop {
        let found = BUCKETS.map(|bucket| versions(bucket).len());
        if found[0] > 5 && found[0] == found[1] {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{found:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }

    a_thief_and_a_renewal(&shop, &fleet, &server);
    a_bucket_that_loses_its_lock(&shop, &fleet, server);

    // Nothing is left of eleven servers and the gateway: one server and both buckets give all of it back.
    for at in 0..SERVERS {
        fleet.kill(at);
    }
    let (into, data) = (site.path("recovered"), site.data());
    let custodian = |n: usize| data.join(format!("custodians-MOVE-OFFLINE/custodian-{n}.txt")).display().to_string();
    let (custodians, survivor) = ([custodian(1), custodian(3)], fleet.folder(4).display().to_string());
    let files = BUCKETS.map(|bucket| gateway_file(&fleet, bucket).display().to_string());
    let mut arguments = vec!["recover", "--from", &survivor, "--into", &into];
    custodians.iter().for_each(|file| arguments.extend(["--custodian", file]));
    let short = [&arguments[..], &["--bucket", &files[0]]].concat();
    assert_ne!(site.run(&short).exit, 0, "two of fourteen are too few");
    files.iter().for_each(|file| arguments.extend(["--bucket", file]));
    let said = site.done(&arguments);
    assert!(said.out.contains("from 3 survivors"), "{}", said.out);
    let server = site.serve(&["--data", &into]);
    let token =
        site.done(&["token", "new", "--role", "oncologist", "--subject", "t", "--json", "--data", &into]).json();
    let token = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    for (number, address) in (1..).zip([&first, &second, &third]) {
        assert!(is_there(&server, &token, address, number), "{address} was acknowledged");
    }
    drop(server);
    assert!(site.done(&["verify", "--data", &into]).out.starts_with("whole"));
}

/// Somebody has the gateway's credentials at the store: it is seen by whoever renews, and by the gateway.
fn a_thief_and_a_renewal(shop: &Shop, fleet: &Fleet, server: &Server) {
    let site = &fleet.site;
    let renew = |bucket| site.run(&["bucket", "renew", "--config", renewer_file(fleet, bucket).to_str().unwrap()]);
    let said = renew(BUCKETS[0]);
    assert!(said.exit == 0 && said.out.contains("bucket-13: "), "{} {}", said.out, said.err);
    let said = site.run(&["bucket", "renew", "--config", gateway_file(fleet, BUCKETS[0]).to_str().unwrap()]);
    assert!(said.exit == 1 && said.err.contains("gateway_access_key_id"), "{}", said.err);
    let own = site.file("own.toml", b"");
    fs::copy(renewer_file(fleet, BUCKETS[0]), &own).unwrap();
    let text = fs::read_to_string(&own).unwrap().replace("\"RENEWER", "\"GATEWAY");
    kit::write_private(Path::new(&own), text.as_bytes()).unwrap();
    let said = site.run(&["bucket", "renew", "--config", &own]);
    assert!(said.exit == 1 && said.err.contains("bucket.renewer"), "{}", said.err);

    let thief = shop.hand(BUCKETS[0], "GATEWAY");
    let versions = thief.versions(&format!("{PREFIX}/o/s.s")).unwrap();
    assert!(versions.len() >= 2 && thief.delete(&versions[0].key, &versions[0].version).is_err());
    thief.hide(&versions[0].key).unwrap();
    thief.put(&versions[1].key, "ransom").unwrap();
    let said = renew(BUCKETS[0]);
    assert_eq!(said.exit, 4, "{} {}", said.out, said.err);
    assert!(said.out.contains("1 objects are HIDDEN") && said.out.contains("1 are OVERWRITTEN"), "{}", said.out);
    assert_eq!(renew(BUCKETS[1]).exit, 0);
    assert_eq!(site.run(&["verify"]).exit, 4, "what is in sight there is the thief's");
    let said = site.done(&["scrub"]);
    assert!(said.out.contains("2 objects made again"), "{}", said.out);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    // What was hidden is put again, and so stands there twice.
    let said = ready(server, "14 of 14 locations up");
    assert!(said.contains("bucket-13: 0 objects are HIDDEN by a delete marker, 2 are OVERWRITTEN"), "{said}");
    assert!(posture(site, server).contains("2 OVERWRITTEN"));
    assert!(metric(server, "holdfast_bucket_overwritten{bucket=\"bucket-13\"} 2"));
}

/// Somebody changes the bucket's settings: the next start goes on without it, says so, and takes it back once it is mended.
fn a_bucket_that_loses_its_lock(shop: &Shop, fleet: &Fleet, server: Server) {
    let site = &fleet.site;
    server.stop();
    let file = site.data().join("gateway/holdfast.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("probe_minutes = 60") && text.contains("bucket-13 = \"Cloud\""), "{text}");
    fs::write(&file, text.replace("probe_minutes = 60", "probe_minutes = 1")).unwrap();
    shop.hand(BUCKETS[1], "RENEWER").set_lock("COMPLIANCE", 7).unwrap();
    let server = site.serve(&[]);
    let said = ready(&server, "13 of 14 locations up; 10 more may be lost");
    assert!(said.contains("bucket-14") && said.contains("the default retention is 7 days"), "{said}");
    let page = posture(site, &server);
    assert!(page.contains("it fails the probe object-lock"), "{page}");
    assert!(metric(&server, "holdfast_bucket_sound{bucket=\"bucket-14\"} 0"));
    let token = fleet.token();
    assert!(keep(&server, &token, 4).is_some(), "within the floor");
    shop.hand(BUCKETS[1], "RENEWER").set_lock("COMPLIANCE", 90).unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n");
    // While it runs, by the schedule.
    shop.hand(BUCKETS[1], "RENEWER").set_lock("GOVERNANCE", 90).unwrap();
    assert!(ready(&server, "13 of 14 locations up").contains("mode is GOVERNANCE, not COMPLIANCE"));
    shop.hand(BUCKETS[1], "RENEWER").set_lock("COMPLIANCE", 90).unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n");
    let (out, log) = server.stop();
    assert!(log.contains("bucket-14") && log.contains("a bucket is refused"), "{log}");
    assert!(out.contains("bucket-14: its shards can't be used") && !(log + &out).contains("hush"), "{out}");
}

/// The drill at a real store holds, and rings where the filer was open from the beginning.
#[test]
fn with_a_real_store_the_drill_of_the_open_filer() {
    let Some(program) = program() else { return };
    let site = Site::new();
    let (root, weed) = (site.path("drill"), program.display().to_string());
    let arguments =
        ["drill", "open-filer", "--weed", &weed, "--patients", "6", "--seed", "11", "--json", "--root", &root];
    let said = site.run(&arguments);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert_eq!(said.json()["checks"].as_array().unwrap().len(), 4);
    assert!(!fs::exists(&root).unwrap());
    let said = site.run(&[&arguments[..], &["--must-fail"]].concat());
    assert_eq!(said.exit, 4, "{} {}", said.out, said.err);
    let checks = said.json()["checks"].as_array().unwrap().clone();
    let first = &checks[0];
    assert!(first["held"] == false && first["promise"] == "P1", "{first}");
    assert!(checks[2]["held"] == true, "the records are back all the same: {}", checks[2]);
}

/// Twelve folders and two buckets: as on machines, without any.
#[test]
fn with_a_real_store_buckets_stand_beside_folders() {
    let Some(program) = program() else { return };
    let mut shop = Shop::start(&program);
    let (site, out) = (Site::new(), Site::new().path("buckets"));
    let file = |bucket: &str| format!("{out}/gateway/{bucket}.toml");
    for (bucket, number) in BUCKETS.into_iter().zip(["13", "14"]) {
        shop.hand(bucket, "RENEWER").make_good_bucket(90).unwrap();
        let place = format!("{}/{bucket}/{PREFIX}", shop.store.endpoint());
        site.done(&["bucket", "form", "--place", &place, "--number", number, "--out", &out]);
        fill_in(Path::new(&file(bucket)), "GATEWAY", "");
    }
    let (one, two) = (file(BUCKETS[0]), file(BUCKETS[1]));
    let said = site.run(&["init", "--servers", "12", "--bucket", &two, "--bucket", &one]);
    assert!(said.exit == 1 && said.err.contains("this one is bucket-13"), "{}", said.err);
    let init = ["init", "--servers", "12", "--bucket", &one, "--bucket", &two];
    let said = site.done(&init);
    assert!(said.out.contains("12 servers and 2 buckets: any 11 may be lost"), "{}", said.out);

    let server = site.serve(&[]);
    let token = site.done(&["token", "new", "--role", "oncologist", "--subject", "t", "--json"]).json();
    let token = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    let first = keep(&server, &token, 1).unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n12 of 12 holders answer; 2 more");
    let page = posture(&site, &server);
    assert!(page.contains("bucket-13") && page.contains("90 days") && page.contains("1 independent domain"), "{page}");
    shop.store.stop();
    let second = keep(&server, &token, 2).unwrap();
    let said = ready(&server, "12 of 14 locations up; 9 more may be lost");
    assert!(said.contains("bucket-14: its shards can't be used"), "{said}");
    shop.store.start().unwrap();
    ready(&server, "14 of 14 locations up; 11 more may be lost\n");
    server.stop();
    assert!(site.done(&["verify"]).out.starts_with("whole"));

    // The gateway is lost, and with it the buckets' files: their owner has them.
    fs::remove_dir_all(site.data().join("gateway")).unwrap();
    let said = site.run(&["init"]);
    assert!(said.exit == 2 && said.err.contains("0 buckets are given, the centre has 2"), "{}", said.err);
    let said = site.done(&init);
    assert!(said.out.contains("12 of 12 servers are there, 2 buckets beside them"), "{}", said.out);
    let server = site.serve(&[]);
    ready(&server, "14 of 14 locations up; 11 more may be lost\n12 of 12");
    let token = site.done(&["token", "new", "--role", "oncologist", "--subject", "t", "--json"]).json();
    let token = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    assert!(is_there(&server, &token, &first, 1) && is_there(&server, &token, &second, 2));
    drop(server);

    // One folder and both buckets give it back.
    let custodian = |n: usize| site.data().join(format!("custodians-MOVE-OFFLINE/custodian-{n}.txt"));
    let (a, b) = (custodian(1).display().to_string(), custodian(3).display().to_string());
    let (survivor, into) = (site.data().join("servers/server-05").display().to_string(), site.path("recovered"));
    let from = ["recover", "--from", &survivor, "--bucket", &one, "--bucket", &two];
    let said = site.done(&[&from[..], &["--custodian", &a, "--custodian", &b, "--into", &into]].concat());
    assert!(said.out.contains("from 3 survivors"), "{}", said.out);
    assert!(site.done(&["verify", "--data", &into]).out.starts_with("whole"));
}
