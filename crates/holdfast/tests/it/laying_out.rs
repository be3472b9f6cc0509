//! Laying out, adopting, recovering: each may be cut short and repeated, and none touches what it didn't make.

use std::fs;
use std::path::Path;

use super::{Said, Site};

/// What a killed command leaves: its file, whatever it made until then, and no configuration.
fn cut_short(folder: &Path, command: &str) {
    fs::remove_file(folder.join("gateway/holdfast.toml")).unwrap();
    fs::write(folder.join("holdfast-unfinished"), format!("holdfast unfinished v1: {command}\n")).unwrap();
}

/// The bytes of every file on the servers, but for the locks.
fn on_servers(site: &Site) -> Vec<(String, Vec<u8>)> {
    fn walk(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&site.data().join("servers"), &mut found);
    found.sort();
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_lost_gateway_is_made_again_around_the_servers() {
    let site = Site::new();
    site.done(&["init", "--servers", "5", "--name", "Test centre"]);
    site.done(&["person", "new", "--name", "C", "--role", "physicist", "--key", &site.path("c.pem")]);
    let config = site.data().join("gateway/holdfast.toml");
    let lose: [(&str, &dyn Fn()); 4] = [
        ("the gateway's folder", &|| fs::remove_dir_all(site.data().join("gateway")).unwrap()),
        ("the configuration", &|| fs::remove_file(&config).unwrap()),
        ("an empty configuration", &|| fs::write(&config, b"").unwrap()),
        ("zeros", &|| fs::write(&config, [0; 300]).unwrap()),
    ];
    for (what, lose) in lose {
        lose();
        let said = site.run(&["verify"]);
        assert_eq!(said.exit, 1, "{what}: {}", said.out);
        assert!(said.err.contains(&format!("holdfast init --data {}", site.data().display())), "{what}: {}", said.err);
        let before = on_servers(&site);
        let said = site.done(&["init"]);
        assert!(said.out.contains("adopted") && said.out.contains("3 of 5 shards"), "{what}: {}", said.out);
        assert_eq!(on_servers(&site), before, "{what}: the servers are left as they were");
        assert!(site.done(&["verify"]).out.starts_with("whole"), "{what}");
        assert!(site.done(&["person", "list"]).out.contains('C'), "{what}");
    }
    let said = site.run(&["init"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("holds a centre"), "{}", said.err);
}

#[test]
fn servers_of_two_centres_are_not_adopted() {
    let (site, other) = (Site::new(), Site::new());
    for one in [&site, &other] {
        one.done(&["init", "--servers", "2"]);
    }
    fs::remove_dir_all(site.data().join("gateway")).unwrap();
    fs::remove_dir_all(site.data().join("servers/server-02")).unwrap();
    fs::rename(other.data().join("servers/server-02"), site.data().join("servers/server-02")).unwrap();
    let said = site.run(&["init"]);
    assert_eq!(said.exit, 4);
    assert!(said.err.contains("only one centre's servers"), "{}", said.err);
    assert!(!site.data().join("gateway").exists(), "nothing was changed");
}

#[test]
fn an_init_that_was_killed_is_repeated() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    cut_short(&site.data(), "init");
    let said = site.run(&["verify"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("isn't finished") && said.err.contains("repeat `holdfast init`"), "{}", said.err);
    // Another command's leavings are not its to clear away.
    let into = site.data().display().to_string();
    let said = site.run(&["serve", "--demo", "--data", &into]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("begun by `holdfast init`"), "{}", said.err);
    site.done(&["init", "--servers", "3"]);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    assert_eq!(names(&site.data()), ["custodians-MOVE-OFFLINE", "gateway", "servers"]);
}

#[test]
fn only_what_was_begun_is_cleared_away() {
    let site = Site::new();
    site.done(&["init", "--servers", "2"]);
    cut_short(&site.data(), "init");
    fs::write(site.data().join("servers/server-01/notes.txt"), b"mine").unwrap();
    let said = site.run(&["init"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("servers/server-01/notes.txt"), "{}", said.err);
    assert_eq!(fs::read(site.data().join("servers/server-01/notes.txt")).unwrap(), b"mine");
}

#[test]
fn init_takes_empty_disks_and_refuses_a_folder_in_use_by_name() {
    let site = Site::new();
    fs::create_dir_all(site.data().join("servers/server-02/lost+found")).unwrap();
    site.done(&["init", "--servers", "2"]);
    assert!(site.done(&["verify"]).out.starts_with("whole"));

    let site = Site::new();
    fs::create_dir_all(site.data()).unwrap();
    fs::write(site.data().join("diary.txt"), b"dear diary").unwrap();
    let said = site.run(&["init", "--servers", "2"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("diary.txt"), "{}", said.err);
    assert_eq!(names(&site.data()), ["diary.txt"]);
}

/// `recover` of a centre of five from three servers.
fn recover(site: &Site, custodians: [u8; 2], into: &str) -> Said {
    let server = |n: u8| site.data().join(format!("servers/server-0{n}")).display().to_string();
    let secret = |n: u8| site.path(&format!("data/custodians-MOVE-OFFLINE/custodian-{n}.txt"));
    let (servers, secrets) = ([1, 3, 5].map(server), custodians.map(secret));
    let mut arguments = vec!["recover", "--into", into];
    servers.iter().for_each(|server| arguments.extend(["--from", server]));
    secrets.iter().for_each(|secret| arguments.extend(["--custodian", secret]));
    site.run(&arguments)
}

#[test]
fn a_recovery_may_be_repeated_and_takes_only_an_empty_folder() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let into = site.path("new");

    let said = recover(&site, [1, 1], &into);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("secrets of 1 different custodians are given, 2 of the 3 are needed"), "{}", said.err);
    assert!(!Path::new(&into).exists(), "given up, it leaves nothing");

    // A custodian of somewhere else is found out late: what was made until then is taken away again.
    let (other, secret) = (Site::new(), site.data().join("custodians-MOVE-OFFLINE/custodian-3.txt"));
    other.done(&["init"]);
    fs::copy(other.data().join("custodians-MOVE-OFFLINE/custodian-1.txt"), &secret).unwrap();
    assert_eq!(recover(&site, [1, 3], &into).exit, 1);
    assert!(!Path::new(&into).exists(), "given up, it leaves nothing");

    fs::create_dir_all(site.path("new/servers/keep")).unwrap();
    fs::write(site.path("new/diary.txt"), b"dear diary").unwrap();
    let said = recover(&site, [1, 2], &into);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("diary.txt") || said.err.contains("servers/keep"), "{}", said.err);
    assert_eq!(names(Path::new(&into)), ["diary.txt", "servers"]);
    fs::remove_dir_all(&into).unwrap();

    assert_eq!(recover(&site, [1, 2], &into).exit, 0);
    cut_short(Path::new(&into), "recover");
    let said = recover(&site, [1, 2], &into);
    assert_eq!(said.exit, 0, "what a killed one left is taken away: {}", said.err);
    assert!(site.done(&["verify", "--data", &into]).out.starts_with("whole"));
    let said = recover(&site, [1, 2], &into);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("holds a centre"), "{}", said.err);
}

#[test]
fn the_demo_leaves_its_neighbours_and_other_folders_alone() {
    let site = Site::new();
    let data = site.data();
    let neighbour = site.path("data.partial");
    fs::create_dir_all(&neighbour).unwrap();
    fs::write(format!("{neighbour}/thesis.txt"), b"years of work").unwrap();
    // A folder in use is refused before anything is laid out.
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("diary.txt"), b"dear diary").unwrap();
    let said = site.run(&["serve", "--demo"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("diary.txt") && !said.err.contains("laying out"), "{}", said.err);
    assert_eq!(names(&data), ["diary.txt"]);
    fs::remove_dir_all(&data).unwrap();

    let demo = site.serve(&["--demo", "--data", &format!("{}/", data.display())]);
    assert!(demo.ready["tokens"]["therapist"].is_string(), "{}", demo.ready);
    demo.stop();
    assert_eq!(fs::read(format!("{neighbour}/thesis.txt")).unwrap(), b"years of work");
    assert!(!data.join("holdfast-unfinished").exists());

    // A demo whose gateway is lost goes on with its servers.
    let patient = fs::read_to_string(data.join("example/patient.txt")).unwrap();
    fs::remove_dir_all(data.join("gateway")).unwrap();
    let demo = site.serve(&["--demo"]);
    let plan = data.join("example/plan.dcm").display().to_string();
    assert_eq!(site.run(&["gate", "check", "--patient", patient.trim(), &plan]).exit, 0);
    demo.stop();
}

#[test]
fn the_demo_gives_no_tokens_of_a_real_centre() {
    let site = Site::new();
    site.done(&["init", "--name", "Test centre"]);
    let said = site.run(&["serve", "--demo"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("no demo"), "{}", said.err);
    assert_eq!(site.done(&["token", "list"]).out.trim(), "no tokens");
}

#[test]
fn a_changed_setting_is_named_and_a_recovered_centre_has_it() {
    let site = Site::new();
    site.done(&["init", "--servers", "5", "--name", "Test centre"]);
    let file = site.data().join("gateway/holdfast.toml");
    let set = |text: &str| {
        let config = fs::read_to_string(&file).unwrap();
        let kept: String =
            config.lines().filter(|line| !line.contains("number_system")).map(|l| format!("{l}\n")).collect();
        let (before, after) = kept.split_once("[patients]").unwrap();
        fs::write(&file, format!("{before}[patients]\n{text}{after}")).unwrap();
    };
    let complaints = || site.serve(&[]).stop().1;
    assert!(!complaints().contains("a setting is not"));
    set("number_system = 'https://hospital.example/number'\n");
    let said = complaints();
    let named = "patients.number_system: \"https://hospital.example/number\", was none";
    assert!(said.contains(named), "{said}");
    assert!(!complaints().contains("a setting is not"), "it is said once");

    let mut arguments = vec!["recover".to_owned(), "--into".to_owned(), site.path("new")];
    for n in [2, 4, 5] {
        let server = site.data().join(format!("servers/server-0{n}"));
        arguments.extend(["--from".to_owned(), server.display().to_string()]);
    }
    for n in [1, 3] {
        let sheet = site.data().join(format!("custodians-MOVE-OFFLINE/custodian-{n}.txt"));
        arguments.extend(["--custodian".to_owned(), sheet.display().to_string()]);
    }
    site.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let recovered = fs::read_to_string(Path::new(&site.path("new")).join("gateway/holdfast.toml")).unwrap();
    assert!(recovered.contains("number_system = \"https://hospital.example/number\""), "{recovered}");
    assert!(recovered.contains("server-05"), "{recovered}");
}

/// What root writes into a service's folder, the service can't read: the next start would fail.
#[test]
fn root_writes_into_nobodys_folder() {
    let site = Site::new();
    site.done(&["init"]);
    let own = |folder: &Path, user: u32| std::os::unix::fs::chown(folder, Some(user), None).is_ok();
    if !own(&site.data().join("gateway"), 65_534) {
        return; // this isn't root, who alone could do such harm
    }
    let before = names(&site.data().join("gateway"));
    for command in [["verify", "--json"], ["ledger", "checkpoint"], ["token", "list"]] {
        let said = site.run(&command);
        assert!(
            said.exit == 1 && format!("{}{}", said.out, said.err).contains("user 65534's"),
            "{command:?}: {}",
            said.err
        );
    }
    assert_eq!(names(&site.data().join("gateway")), before, "nothing was written");
    assert!(own(&site.data().join("gateway"), 0));
    site.done(&["verify"]);
    // Nor beside what is his, where nothing is yet.
    let home = site.0.path().join("home");
    fs::create_dir(&home).unwrap();
    assert!(own(&home, 65_534));
    let said = site.run(&["init", "--data", &home.join("data").display().to_string()]);
    assert!(said.exit == 1 && said.err.contains("runuser"), "{}", said.err);
    let said = site.run(&["holder", "init", "--dir", &home.display().to_string()]);
    assert!(said.exit == 1 && said.err.contains("runuser"), "{}", said.err);
    assert_eq!(names(&home), [""; 0], "nothing was written");
}
