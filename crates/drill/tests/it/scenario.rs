//! The whole drill, over a small centre of this test's own: a sound one passes; each kind of failure rings the promise
//! that it breaks, and no other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use drill::eleven_of_fourteen::{Options, run};
use drill::report::Report;
use serde_json::Value;

use crate::TODAY;
use crate::small::{Flaw, SmallBuilder};

fn drill(flaw: Flaw, change: impl FnOnce(&mut Options)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { on_treatment: 6, ..Options::new(5, TODAY, 6, dir.path().join("drill")) };
    change(&mut options);
    run(&options, &SmallBuilder(flaw), &|_| {}).unwrap()
}

/// Promises that were broken.
fn broken(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.exit_code(), if report.held { 0 } else { 4 });
    let mut broken: Vec<_> = report.checks.iter().filter(|check| !check.held).map(|check| check.promise).collect();
    broken.dedup();
    broken
}

#[test]
fn a_sound_centre_holds_every_promise() {
    let report = drill(Flaw::None, |_| {});
    assert!(report.held, "{report}");
    assert_eq!(report.attacks.len(), 12);
    assert_eq!(report.centre.on_treatment, 6);
    assert!(report.centre.acknowledged > 6 * 11);
    let text = report.to_string();
    assert!(text.contains("RESULT: Every promise held."), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["held"], &json["checks"][0]["promise"]), (&Value::Bool(true), &Value::from("P1")));
    let gate = report.check("P3").next().unwrap();
    assert!(gate.looked_at.starts_with("2") && gate.findings_total == 0, "{}", gate.looked_at);
}

fn ring(flaws: &[(Flaw, &str)]) {
    for (flaw, promise) in flaws {
        let report = drill(*flaw, |_| {});
        assert_eq!(broken(&report), [*promise], "{report}");
        assert!(report.to_string().contains("NOT EVERY PROMISE HELD"));
    }
}

#[test]
fn each_flaw_in_what_is_kept_rings_its_own_promise() {
    ring(&[
        (Flaw::LosesOne, "P1"),
        (Flaw::AltersOne, "P1"),
        (Flaw::IndexInTheClear, "P2"),
        (Flaw::KeyOnDisk, "P2"),
        (Flaw::OpensAlone, "P2"),
        (Flaw::StuckForAnotherReason, "P2"),
        (Flaw::LosesAHolder, "P2"),
    ]);
}

#[test]
fn each_flaw_in_what_is_noticed_rings_its_own_promise() {
    ring(&[
        (Flaw::TrustsDamaged, "P1"),
        (Flaw::StumblesOverDamaged, "P1"),
        (Flaw::SeesNoDamage, "P1"),
        (Flaw::BlamesTheInnocent, "P1"),
        (Flaw::ForgetsApprovals, "P1"),
    ]);
}

#[test]
fn each_flaw_in_what_is_done_rings_its_own_promise() {
    ring(&[
        (Flaw::ForgetsRefusals, "P6"),
        (Flaw::RewritesAccounts, "P6"),
        (Flaw::GateReleasesAll, "P3"),
        (Flaw::GateVetoesAll, "P3"),
        (Flaw::ListLacksOne, "P4"),
    ]);
    assert_eq!(broken(&drill(Flaw::ForgetsLastFraction, |_| {})), ["P3", "P4"]);
}

#[test]
fn the_drills_built_to_fail_do() {
    let twelve = drill(Flaw::None, |options| options.servers_lost = 12);
    assert_eq!(broken(&twelve), ["P1", "P2", "P3", "P4", "P6"], "{twelve}");
    assert_eq!(twelve.seconds.to_treatment_list, None);
    // With twelve keyholders the thief opens what he likes; nothing of it stands in the clear.
    let stolen: Vec<_> = twelve.check("P2").map(|check| (check.question, check.findings.join("\n"))).collect();
    assert_eq!(stolen[0], ("Can anything of a patient be read on the stolen disks?", String::new()));
    assert_eq!(stolen[1].0, "Do the stolen servers open nothing by themselves?");
    assert!(stolen[1].1.contains("he read 25 of the 25 records"), "{}", stolen[1].1);
    let planted = drill(Flaw::None, |options| options.plant_plaintext = true);
    assert_eq!(broken(&planted), ["P2"], "{planted}");
    assert!(
        planted
            .check("P2")
            .any(|check| check.findings.iter().any(|f| f.contains("UTF-16LE") && f.contains("debug.log")))
    );
}

/// Whatever a hospital's folder may hold: what is kept, and what is refused, each with its reason.
fn junk(folder: &Path) -> (usize, Vec<(&'static str, &'static str)>) {
    let stranger = crate::centre(3, 1).patient(0);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let plan = stranger.course.unwrap().plan;
    fs::create_dir_all(folder.join("deep/deeper")).unwrap();
    write("deep/patient.JSON", &stranger.fhir[0]);
    write("plan.dcm", &plan);
    // Scanners write files without an extension, and some systems begin a text with a byte order mark.
    write("deep/deeper/IM000001", &plan);
    write("patient", &stranger.fhir[0]);
    write("broken.dcm", b"no DICOM");
    write("empty.json", b"");
    write("list.json", b"[1, 2]");
    write("nested.json", "[".repeat(1_000_000).as_bytes());
    write("notes.txt", b"a letter to the director");
    write("package.json", br#"{"name": "no-fhir", "version": "1.0.0"}"#);
    // Sparse: they take no room on the disk.
    let sparse = |name: &str, start: &[u8], bytes: u64| {
        write(name, start);
        fs::File::options().write(true).open(folder.join(name)).unwrap().set_len(bytes).unwrap();
    };
    sparse("huge.json", br#"{"resourceType":"Patient""#, 40_000_000_000);
    sparse("huge.dcm", &plan[..132], 40_000_000_000);
    symlink(folder, folder.join("deep/loop")).unwrap();
    symlink(folder.join("b.json"), folder.join("a.json")).unwrap();
    symlink(folder.join("a.json"), folder.join("b.json")).unwrap();
    symlink("nowhere", folder.join("gone.dcm")).unwrap();
    symlink("/dev/zero", folder.join("zero.json")).unwrap();
    let refused = vec![
        ("a.json", "it can't be read"),
        ("b.json", "it can't be read"),
        ("broken.dcm", "DICM"),
        ("deep/loop", "a link to a folder"),
        ("empty.json", "EOF"),
        ("gone.dcm", "it can't be read: No such file"),
        ("huge.dcm", "larger than a DICOM object may be: 40 GB, the maximum is 268 MB"),
        ("huge.json", "larger than a FHIR resource may be: 40 GB, the maximum is 16 MB"),
        ("list.json", "no resource"),
        ("nested.json", "recursion limit"),
        ("notes.txt", "neither FHIR JSON nor DICOM"),
        ("package.json", "no resource"),
        ("zero.json", "neither a file nor a folder"),
    ];
    (4, refused)
}

#[test]
fn the_users_own_files_are_loaded_or_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, expected) = junk(dir.path());
    let report = drill(Flaw::None, |options| options.input = Some(dir.path().to_owned()));
    assert!(report.held, "{report}");
    assert_eq!(report.centre.own_files, kept);
    let refused: Vec<_> = report.refused.iter().map(|refused| refused.file.as_str()).collect();
    assert_eq!(refused, expected.iter().map(|(file, _)| *file).collect::<Vec<_>>());
    for (refused, (file, reason)) in report.refused.iter().zip(&expected) {
        assert!(refused.reason.contains(reason), "{file}: {}", refused.reason);
    }
    // The director reads reasons with counts; the list is for programs.
    let text = report.to_string();
    assert!(text.contains("YOUR OWN FILES: 4 kept, 13 refused"), "{text}");
    assert!(text.contains("- 3 files: it can't be read (a.json, b.json, gone.dcm)"), "{text}");
    assert!(text.contains("--json"), "{text}");
    assert_eq!(serde_json::to_value(&report).unwrap()["refused"].as_array().unwrap().len(), 13);
    let missing = dir.path().join("missing");
    let options = Options { input: Some(missing), ..Options::new(1, TODAY, 4, dir.path().join("drill")) };
    assert_eq!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap_err().code, "drill.input");
}

#[test]
fn every_seed_holds_and_its_twins_fail() {
    for seed in [0, 42, u64::MAX] {
        let tiny = |change: fn(&mut Options)| {
            drill(Flaw::None, |options| {
                (options.seed, options.patients, options.on_treatment) = (seed, 4, 2);
                change(options);
            })
        };
        let report = tiny(|_| {});
        assert!(report.held, "seed {seed}: {report}");
        assert_eq!(report.check("P1").count(), 3);
        assert_eq!(broken(&tiny(|options| options.servers_lost = 12)), ["P1", "P2", "P3", "P4", "P6"], "seed {seed}");
        assert_eq!(broken(&tiny(|options| options.plant_plaintext = true)), ["P2"], "seed {seed}");
    }
}

#[test]
fn the_report_is_plain_sentences() {
    let held = drill(Flaw::None, |_| {}).to_string();
    assert!(held.contains("12 of the servers' keyholders are needed, and he has 11."), "{held}");
    let twelve = drill(Flaw::None, |options| options.servers_lost = 12).to_string();
    assert!(twelve.contains("NOT EVERY PROMISE HELD: P1, P2, P3, P4, P6."), "{twelve}");
    for text in [held, twelve, drill(Flaw::StuckForAnotherReason, |_| {}).to_string()] {
        // No debug forms: no lists in brackets, no quoted strings, no codes, no bare bytes.
        assert!(!text.contains(['[', ']', '{', '}', '"', '_']), "{text}");
        assert!(!text.contains(" 1 files") && !text.contains("000 bytes"), "{text}");
    }
}

#[test]
fn chosen_victims_are_taken_and_unknown_ones_refused() {
    let report = drill(Flaw::None, |options| options.victims = Some((3..14).collect()));
    assert!(report.held, "{report}");
    assert_eq!(report.attacks[0].place, "server 04");
    let dir = tempfile::tempdir().unwrap();
    let options = Options { victims: Some(vec![14]), ..Options::new(1, TODAY, 4, dir.path().into()) };
    assert_eq!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap_err().code, "drill.victims");
    assert!(!dir.path().exists(), "a drill leaves nothing behind");
}

#[test]
fn a_folder_that_is_not_empty_is_neither_used_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("records"), "irreplaceable").unwrap();
    let options = Options::new(1, TODAY, 4, dir.path().into());
    assert_eq!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap_err().code, "drill.not-empty");
    assert_eq!(fs::read_to_string(dir.path().join("records")).unwrap(), "irreplaceable");
    // With `keep`, what the drill made stays: the marker, the lost servers, the recovered centre.
    let kept = dir.path().join("kept");
    let options = Options { keep: true, ..Options::new(1, TODAY, 4, kept.clone()) };
    assert!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap().held);
    assert!(kept.join("centre").is_dir());
}
