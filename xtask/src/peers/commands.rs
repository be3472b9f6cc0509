//! The command line beside a running gateway, as the README shows it, with the exit codes that scripts rely on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::gateway::{self, Gateway};
use super::http;
use crate::report::Counted;
use crate::shell;

/// `verify` reads all that is stored.
const LIMIT: Duration = Duration::from_secs(240);

/// Where the packs are opened, in the work folder.
pub(crate) const OPENED: &str = "packs";
/// The codes that let two administrators in, in the work folder.
pub(crate) const CODES: &str = "codes.json";

/// Stands for the data folder among a command's words.
const DATA: &str = "{data}";

struct Line<'a> {
    data: &'a Path,
    work: &'a Path,
}

pub(crate) fn run(gateway: &Gateway, data: &Path, work: &Path) -> Result<Counted> {
    let line = Line { data, work };
    let (signed, tampered) = examples(data);
    let (signed, tampered) = (&*signed.to_string_lossy(), &*tampered.to_string_lossy());
    let patient = std::fs::read_to_string(data.join("example/patient.txt"))?;
    let patient = patient.trim();
    let mut counted = Counted::default();
    let mut exits = |name: &str, code: i32, words: &[&str], says: &[&str]| {
        counted.check(name, line.exits(code, words, says));
    };
    exits("plan digest", 0, &["plan", "digest", signed], &[]);
    exits("plan diff of a plan with itself", 0, &["plan", "diff", signed, signed], &[]);
    exits("plan diff names what was tampered with", 4, &["plan", "diff", signed, tampered], &["(300"]);
    exits("plan diff of what is no plan", 1, &["plan", "diff", signed, "Cargo.toml"], &[]);
    let gate = ["gate", "check", "--data", DATA, "--patient", patient];
    exits("gate check releases the signed plan", 0, &[&gate[..], &[signed]].concat(), &[]);
    exits("gate check vetoes the tampered plan, and says where", 4, &[&gate[..], &[tampered]].concat(), &["(300"]);
    let access = ["access", "--data", DATA, "--patient", patient];
    exits("access lists who asked the gate", 0, &access, &["check-gate"]);
    exits("verify finds no damage while the gateway runs", 0, &["verify", "--data", DATA], &[]);
    // The demo's ward: what the browser opens after this, from the disk.
    let (packs, key) = (data.join("ward-pc/packs"), data.join("ward-pc/ward.key"));
    let out = work.join(OPENED);
    let (packs, key, out) = (packs.to_string_lossy(), key.to_string_lossy(), out.to_string_lossy());
    let ward = [&*packs, "--key", &*key];
    exits("downtime packs are made", 0, &["pack", "make", "--data", DATA], &["packs, in 1 folder"]);
    exits("pack verify finds all of them good", 0, &[&["pack", "verify"], &ward[..]].concat(), &[", 0 damaged"]);
    let open = [&["pack", "open"], &ward[..], &["--out", &*out]].concat();
    exits("pack open writes a list for a browser", 0, &open, &["index.html"]);
    counted.check("a sign-in link works once, and its session stays in this browser", sign_in(&line));
    counted.check("a token made here opens FHIR, and not after it is revoked", token(gateway, &line));
    counted.check("two administrators are invited to their first passkeys", invited(&line));
    Ok(counted)
}

/// The browser enrols them after this.
fn invited(line: &Line<'_>) -> Result<()> {
    let mut codes = serde_json::Map::new();
    for login in ["it-one", "it-two"] {
        let words = ["invite", "--data", DATA, "--role", "it-administrator", "--subject", login, "--json"];
        let made = line.json(&words)?;
        codes.insert(login.to_owned(), made.get("code").with_context(|| format!("no code in {made}"))?.clone());
    }
    Ok(std::fs::write(line.work.join(CODES), Value::Object(codes).to_string())?)
}

/// What a link's button posts: the code. The cookie that comes back must be of no use to a script or another site.
fn sign_in(line: &Line<'_>) -> Result<()> {
    let words = ["sign-in", "--data", DATA, "--role", "therapist", "--subject", "peer-test", "--json"];
    let made = line.json(&words)?;
    let link = made.get("sign_in").and_then(Value::as_str).with_context(|| format!("no link in {made}"))?;
    let (page, code) = link.split_once("?code=").with_context(|| link.to_owned())?;
    let first = http::submit(page, &format!("code={code}"))?;
    let cookie = first.header("set-cookie").with_context(|| format!("{}: no cookie", first.status))?;
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        ensure!(cookie.split("; ").any(|part| part == attribute), "the cookie is not {attribute}");
    }
    let second = http::submit(page, &format!("code={code}"))?;
    ensure!(second.status == 401 && second.header("set-cookie").is_none(), "used twice: {}", second.status);
    Ok(())
}

/// The demo's signed plan, and the same with something changed that moves dose.
pub(crate) fn examples(data: &Path) -> (PathBuf, PathBuf) {
    (data.join("example/plan.dcm"), data.join("example/tampered.dcm"))
}

impl Line<'_> {
    /// Runs `holdfast` with these words.
    fn holdfast(&self, words: &[&str]) -> Result<shell::Ended> {
        let mut command = gateway::holdfast();
        command.args(words.iter().map(|word| if *word == DATA { self.data.as_os_str() } else { word.as_ref() }));
        shell::bounded(&mut command, &self.work.join("command.log"), LIMIT)
    }

    /// What `holdfast … --json` printed.
    fn json(&self, words: &[&str]) -> Result<Value> {
        let ended = self.holdfast(words)?;
        ensure!(ended.code == Some(0), "{words:?}: exit code {:?}: {}", ended.code, ended.output);
        serde_json::from_str(&ended.output).with_context(|| format!("no JSON: {}", ended.output))
    }

    fn exits(&self, code: i32, words: &[&str], says: &[&str]) -> Result<()> {
        let ended = self.holdfast(words)?;
        ensure!(ended.code == Some(code), "exit code {:?} instead of {code}: {}", ended.code, ended.output);
        for word in says {
            ensure!(ended.output.contains(word), "does not say {word:?}: {}", ended.output);
        }
        Ok(())
    }
}

fn token(gateway: &Gateway, line: &Line<'_>) -> Result<()> {
    let words = ["token", "new", "--data", DATA, "--role", "registrar", "--subject", "peer-test", "--json"];
    let made = line.json(&words)?;
    let text = |key| made.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {made}"));
    let url = format!("{}/Patient?identifier=nobody", gateway.ready("/fhir")?);
    let answer = http::send("GET", &url, text("token")?, None)?;
    ensure!(answer.status == 200, "a fresh token: {} {}", answer.status, answer.body);
    line.exits(0, &["token", "revoke", "--data", DATA, text("id")?], &[])?;
    let answer = http::send("GET", &url, text("token")?, None)?;
    ensure!(answer.status == 401, "a revoked token: {} {}", answer.status, answer.body);
    Ok(())
}
