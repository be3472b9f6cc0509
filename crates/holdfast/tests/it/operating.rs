//! What surrounds a command: pipes, the environment, usage.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::Site;

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let site = Site::new();
    site.done(&["init"]);
    for arguments in [&["verify"][..], &["verify", "--json"], &["token", "list"], &["access", "--patient", "nobody"]] {
        let expected = site.run(arguments).exit;
        let run = |stdout: std::process::Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
            command.args(arguments).env("HOLDFAST_DATA", site.data()).stdout(stdout).output().unwrap()
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}: {output:?}");
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}");
        // A report that can't be written is one: a full disk.
        if expected == 0 {
            let output = run(fs::File::options().write(true).open("/dev/full").unwrap().into());
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        }
    }
}

#[test]
fn only_our_own_variables_have_to_be_text() {
    let site = Site::new();
    site.done(&["init"]);
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["token", "list"]).env("HOLDFAST_DATA", site.data());
        command.env(name, OsStr::from_bytes(b"caf\xe9")).output().unwrap()
    };
    assert_eq!(run("LEGACY_NAME").status.code(), Some(0));
    let output = run("HOLDFAST__HTTP__LISTEN");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HOLDFAST__HTTP__LISTEN"), "{output:?}");
}

#[test]
fn what_cannot_be_meant_is_usage() {
    let site = Site::new();
    assert_eq!(site.run(&["init", "--servers", "5", "--shards-needed", "9"]).exit, 2);
    assert_eq!(site.run(&["init", "--servers", "5", "--keys-needed", "0"]).exit, 2);
    site.done(&["init"]);
    let said = site.run(&["token", "new", "--role", "king", "--subject", "x", "--json"]);
    assert_eq!(said.exit, 2);
    assert_eq!(said.json()["error"]["code"], "usage.role");
    let said = site.run(&["sign-in", "--role", "therapist", "--subject", "Dr Rev"]);
    assert!(said.err.contains("ASCII letters, digits and . _ @ -") && said.err.contains("dr.rev"), "{}", said.err);
    // Whom nobody knows is not erased, dry or not.
    for more in [&["--dry-run"][..], &["--confirm", "Patient/nobody"]] {
        let said = site.run(&[&["patient", "erase", "--patient", "Patient/nobody", "--json"], more].concat());
        assert_eq!((said.exit, said.json()["error"]["code"].as_str()), (1, Some("patient.unknown")));
    }
}
