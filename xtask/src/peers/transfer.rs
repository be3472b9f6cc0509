//! A transfer, opened by the programs that another centre has: age, tar, sha256sum; and read by pydicom, fhirclient and pdftotext.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::gateway;
use crate::report::Counted;
use crate::shell;

const LIMIT: Duration = Duration::from_secs(240);

/// Where it is unpacked, in the work folder: the script looks there.
const OPENED: &str = "transfer";

pub(crate) fn run(data: &Path, work: &Path) -> Result<Counted> {
    let at = |name: &str| work.join(name).to_string_lossy().into_owned();
    let patient = std::fs::read_to_string(data.join("example/patient.txt"))?;
    let data = data.to_string_lossy();
    let words = ["token", "new", "--data", &data, "--role", "physicist", "--subject", "peer-physicist", "--json"];
    let made: Value = serde_json::from_str(&holdfast(&words, 0, work)?)?;
    std::fs::write(at("token"), made.get("token").and_then(Value::as_str).context("no token")?)?;
    std::fs::write(at("keys.txt"), holdfast(&["ledger", "keys", "--data", &data], 0, work)?)?;
    shell::capture(shell::command("age-keygen").args(["-o", &at("receiver.key")]))?;
    let recipient = shell::capture(shell::command("age-keygen").args(["-y", &at("receiver.key")]))?;
    let (bundle, opened) = (at("bundle.age"), at(OPENED));
    let make = [
        "transfer",
        "make",
        "--data",
        &data,
        "--patient",
        patient.trim(),
        "--to",
        "Second centre",
        "--reason",
        "no beam here",
        "--token",
        &at("token"),
        "--recipient",
        recipient.trim(),
        "--out",
        &bundle,
    ];
    let verify = ["transfer", "verify", &bundle, "--key", &at("receiver.key"), "--keys", &at("keys.txt")];
    let mut counted = Counted::default();
    counted.check("made while the gateway runs", holdfast(&make, 0, work).map(drop));
    counted.check("verified, asking nobody", holdfast(&verify, 0, work).map(drop));
    let open = format!("mkdir {opened} && age -d -i {} {bundle} | tar x -C {opened}", at("receiver.key"));
    counted.check("opened by Debian's age and tar", sh(&open));
    let check = format!("cd {opened} && sha256sum --check --strict --quiet MANIFEST.sha256");
    counted.check("sha256sum finds every file as the manifest has it", sh(&check));
    // The twin: one bit, sealed again by age.
    let altered = at("altered.age");
    let twin = format!(
        "cp -r {opened} {opened}-twin && cd {opened}-twin && printf x >> summary.html && ! sha256sum --check --quiet --status \
         MANIFEST.sha256 && tar c --format=ustar $(ls) | age -r {} > {altered}",
        recipient.trim()
    );
    counted.check("sha256sum finds what was altered", sh(&twin));
    let verify = ["transfer", "verify", &altered, "--key", &at("receiver.key"), "--keys", &at("keys.txt")];
    counted.check("verify finds what was altered", holdfast(&verify, 4, work).map(drop));
    Ok(counted)
}

fn holdfast(words: &[&str], code: i32, work: &Path) -> Result<String> {
    let ended = shell::bounded(gateway::holdfast().args(words), &work.join("transfer.log"), LIMIT)?;
    ensure!(ended.code == Some(code), "exit code {:?} instead of {code}: {}", ended.code, ended.output);
    Ok(ended.output)
}

fn sh(line: &str) -> Result<()> {
    shell::capture(shell::command("bash").args(["-o", "pipefail", "-c", line])).map(drop)
}
