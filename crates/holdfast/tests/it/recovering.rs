//! What a recovery says first: its list and its sheets agree, whatever is missing, damaged, in the way, or told a wrong time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::custodians::enrolled;
use super::gating::{SIGNERS, approve};
use super::{Said, Site, signed};

/// What gives licence on a sheet.
const FORMS: &str = "To fill in by hand";
const READY: &str = "Ready: signed by two people";

/// A centre of five, with somebody on treatment whose plan two have signed.
struct Lost {
    site: Site,
    number: String,
    custodians: Vec<String>,
}

impl Lost {
    fn new() -> Self {
        let site = Site::new();
        let (plan, _, number) = signed(&site);
        approve(&site, &number, &plan, &SIGNERS);
        Self { custodians: super::renewing::secrets(&site), site, number }
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let mut all = vec!["recover".to_owned()];
        for secret in &self.custodians[..2] {
            all.extend(["--custodian".to_owned(), secret.clone()]);
        }
        for number in 1..=3 {
            all.extend(["--from".to_owned(), self.server(number).display().to_string()]);
        }
        all.extend(more.iter().map(|&one| one.to_owned()));
        all
    }

    fn server(&self, number: u8) -> PathBuf {
        self.site.data().join(format!("servers/server-{number:02}"))
    }

    fn run(&self, more: &[&str]) -> Said {
        self.site.run(&self.words(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Into an empty folder, with sheets.
    fn recover(&self, more: &[&str]) -> Said {
        let _ = fs::remove_dir_all(self.site.path("again"));
        let (into, out) = (self.site.path("again"), self.site.path("sheets"));
        self.run(&[&["--into", &into, "--sheets", &out], more].concat())
    }

    fn out(&self) -> PathBuf {
        PathBuf::from(self.site.path("sheets"))
    }

    fn hers(&self) -> PathBuf {
        let mut all = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path());
        all.find(|path| path.is_dir()).unwrap()
    }

    fn index(&self) -> String {
        fs::read_to_string(self.out().join("index.html")).unwrap()
    }

    fn sheet(&self) -> String {
        fs::read_to_string(self.hers().join("sheet.html")).unwrap()
    }

    /// Has a gateway keep a roster.
    fn with_roster(self) -> Self {
        for _ in 0..30 {
            let server = self.site.serve(&[]);
            sleep(Duration::from_secs(1));
            server.stop();
            if !self.recover(&["--json"]).json()["treatment_list_by_roster"].is_null() {
                return self;
            }
        }
        panic!("no roster was kept");
    }

    /// How she stands on the first list, and the whole of what was said.
    fn first(&self) -> (String, Value) {
        let said = self.recover(&["--json"]).json();
        let row = &said["treatment_list_by_roster"]["rows"][0];
        (format!("{}: {}", row["standing"].as_str().unwrap(), row["why"].as_str().unwrap()), said)
    }
}

#[test]
fn a_sheet_from_damaged_survivors_is_held_as_the_list_is() {
    let lost = Lost::new();
    assert_eq!(lost.recover(&[]).exit, 0);
    assert!(lost.sheet().contains(FORMS) && lost.index().contains(READY), "{} {}", lost.sheet(), lost.index());
    // Something is kept, and one of them forgets it.
    lost.site.done(&["person", "new", "--name", "C", "--role", "physicist", "--key", &lost.site.path("c.pem")]);
    let volume = lost.server(2).join("shards/volumes/000001.vol");
    let file = fs::File::options().write(true).open(&volume).unwrap();
    file.set_len(file.metadata().unwrap().len() - 500).unwrap();
    let said = lost.recover(&[]);
    assert!(said.out.contains("INCOMPLETE: ") && said.exit == 3, "{} {}", said.out, said.err);
    let (sheet, index) = (lost.sheet(), lost.index());
    for page in [&sheet, &index] {
        assert!(page.contains("INCOMPLETE: ") && !page.contains("Ready"), "{page}");
        assert!(page.contains("her newest records may be missing"), "{page}");
    }
    assert!(sheet.contains("HELD") && !sheet.contains(FORMS), "{sheet}");
}

#[test]
fn whose_erasure_is_taken_back_has_a_sheet_that_is_held() {
    let lost = Lost::new();
    let who = ["patient", "erase", "--patient", &lost.number];
    let said = lost.site.run(&[&who[..], &["--dry-run", "--json"]].concat());
    let id = said.out.split(['"', ' ', '\n', ',']).find(|word| word.starts_with("Patient/")).unwrap().to_owned();
    lost.site.done(&[&who[..], &["--confirm", &id]].concat());
    let erasures = lost.run(&["--list-erased", "--json"]).json();
    let entry = erasures[0]["entry"].as_u64().unwrap().to_string();
    let said = lost.recover(&["--restore-erased-from", &entry]);
    let why = "her erasure was taken back";
    assert!(said.exit == 0 && said.out.contains(&format!("Hold: {why}")), "{} {}", said.out, said.err);
    assert!(lost.index().contains(&format!("Hold: {why}")), "{}", lost.index());
    assert!(lost.sheet().contains(&format!("HELD – {why}")) && !lost.sheet().contains(FORMS), "{}", lost.sheet());
}

#[test]
fn what_changes_nothing_of_her_holds_nobody_and_what_does_holds() {
    let mut lost = Lost::new().with_roster();
    let ready = "ready: signed by two people";
    assert_eq!(lost.first().0, ready);

    // Her key is dealt anew, to the same holders and to other custodians: nothing else of her is another.
    let new: Vec<_> = (1..=3).map(|number| enrolled(&lost.site, number)).collect();
    let old = lost.custodians.clone();
    let mut renew = vec!["custodian", "renew", "--custodian", &old[0], "--custodian", &old[1]];
    new.iter().for_each(|(recipient, ..)| renew.extend(["--recipient", recipient]));
    for (what, custodians) in [(vec!["keys", "turn"], None), (renew, Some(&new))] {
        lost.site.done(&what);
        if let Some(new) = custodians {
            lost.custodians = new.iter().map(|(_, secret, ..)| secret.clone()).collect();
        }
        let (first, said) = lost.first();
        let list = &said["treatment_list"];
        assert_eq!((first.as_str(), &list["not_as_listed"]), (ready, &json!([])), "{what:?}: {said}");
        assert_eq!(list["sheets"]["changed"], json!([]), "{what:?}: {said}");
    }
    let site = &lost.site;

    // Somebody who signed it had no right to.
    let people = site.done(&["person", "list", "--json"]).json();
    let her = people.as_array().unwrap().iter().find(|person| person["name"] == SIGNERS[1].0).unwrap();
    site.done(&["person", "end", "--key", her["key"].as_str().unwrap(), "--compromised"]);
    let (first, said) = lost.first();
    assert!(first.starts_with("hold: ") && said["treatment_list"]["rows"][0]["standing"] == "hold", "{said}");
}

#[test]
fn a_folder_that_a_recovery_began_is_used_again_and_another_one_left_alone() {
    let lost = Lost::new();
    assert_eq!(lost.recover(&[]).exit, 0);
    let whole = lost.sheet();

    // As one that was killed leaves it: half a sheet, a patient who isn't on the list any more, no index.
    fs::remove_file(lost.out().join("index.html")).unwrap();
    fs::write(lost.hers().join("sheet.html.partial"), &whole[..500]).unwrap();
    fs::remove_file(lost.hers().join("sheet.html")).unwrap();
    let other = lost.out().join("0123456789abcdef");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("sheet.html"), "of another day").unwrap();
    let said = lost.recover(&[]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(lost.index().contains(READY) && lost.sheet().contains(FORMS) && !other.exists());
    assert!(!lost.hers().join("sheet.html.partial").exists());

    // And one that is killed.
    let _ = (fs::remove_dir_all(lost.site.path("again")), fs::remove_dir_all(lost.out()));
    let words = lost.words(&["--into", &lost.site.path("again"), "--sheets", &lost.site.path("sheets")]);
    let mut killed = Command::new(env!("CARGO_BIN_EXE_holdfast")).args(&words).spawn().unwrap();
    while !lost.out().exists() && killed.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let said = lost.run(&["--into", &lost.site.path("again"), "--sheets", &lost.site.path("sheets")]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(lost.index().contains(READY) && lost.sheet().contains(FORMS));

    let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
    for place in [lost.out().join("notes.txt"), lost.hers().join("notes.txt")] {
        fs::write(&place, "mine").unwrap();
        let (before, said) = (names(&lost.out()), lost.recover(&[]));
        assert!(said.exit == 1 && said.err.contains("notes.txt"), "{} {}", said.out, said.err);
        assert_eq!((names(&lost.out()), fs::read_to_string(&place).unwrap()), (before, "mine".to_owned()));
        assert!(!Path::new(&lost.site.path("again")).exists());
        fs::remove_file(&place).unwrap();
    }
    fs::write(lost.out().join("holdfast-sheets"), "of another centre").unwrap();
    let said = lost.recover(&[]);
    assert!(said.exit == 3 && said.err.contains("recover.sheets.another-centre"), "{} {}", said.out, said.err);
    assert!(lost.index().contains(READY));
}

#[test]
fn sheets_that_cant_be_written_are_said_and_the_recovery_goes_on() {
    let lost = Lost::new();
    fs::write(lost.out(), "a file in the way").unwrap();
    let said = lost.recover(&[]);
    assert_eq!(said.exit, 3, "{} {}", said.out, said.err);
    let out = lost.out().display().to_string();
    assert!(said.err.contains("recover.sheets.place") && said.err.contains(&out), "{}", said.err);
    assert!(said.out.contains("DEGRADED: not all the sheets"), "{}", said.out);
    assert!(lost.site.done(&["verify", "--data", &lost.site.path("again")]).out.starts_with("whole"));
    let said = lost.recover(&["--json"]);
    assert_eq!(
        (said.exit, &said.json()["treatment_list"]["sheets"]["error"]["code"]),
        (3, &"recover.sheets.place".into())
    );
    assert_eq!(fs::read_to_string(lost.out()).unwrap(), "a file in the way");
}

/// Where a clock can be set for one program; what follows from it is tested without, too.
#[test]
fn a_clock_that_is_behind_is_said_with_both_times_and_exit_3() {
    if Command::new("faketime").arg("--version").output().is_err() {
        return;
    }
    let lost = Lost::new();
    let words = lost.words(&["--into", &lost.site.path("again"), "--sheets", &lost.site.path("sheets")]);
    let by = |offset: &str| {
        let _ = (fs::remove_dir_all(lost.site.path("again")), fs::remove_dir_all(lost.out()));
        let mut command = Command::new("faketime");
        lost.site.said(command.args(["-f", offset, env!("CARGO_BIN_EXE_holdfast")]).args(&words))
    };
    let said = by("-200d");
    assert_eq!(said.exit, 3, "{} {}", said.out, said.err);
    assert!(said.err.contains("THE CLOCK: ") && said.err.contains("log's newest entry is of"), "{}", said.err);
    assert!(!said.out.contains("Ready") && said.out.contains("Hold: this machine's clock is behind"), "{}", said.out);
    assert!(!lost.sheet().contains(FORMS), "{}", lost.sheet());
    let said = by("+200d");
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(said.out.contains("On treatment: 1 patients") && said.out.contains("200 days old"), "{}", said.out);
    assert!(lost.sheet().contains("200 days old"), "{}", lost.sheet());
}
