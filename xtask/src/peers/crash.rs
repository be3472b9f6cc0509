//! A gateway whose plug is pulled in the middle of a load: what it acknowledged must be there, and whole.
//!
//! SIGKILL, not power loss: what the kernel holds survives. That writes reach the disk is the vault's own test.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::gateway::{self, Gateway};
use super::http;
use crate::report::Counted;
use crate::shell;

/// Enough to keep several group commits under way at once.
const WRITERS: usize = 8;
/// The plug is pulled after so many acknowledgements, a different number in each round, so that it falls elsewhere.
const ROUNDS: &[usize] = &[7, 60, 150];
const LOAD_LIMIT: Duration = Duration::from_secs(120);
const VERIFY_LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run(work: &Path) -> Result<Counted> {
    let data = work.join("crash");
    let mut counted = Counted::default();
    let mut kept = Vec::new();
    for (round, &wanted) in ROUNDS.iter().enumerate() {
        let centre = Gateway::demo(&data)?;
        if round > 0 {
            counted
                .check(&format!("the {} ids acknowledged so far are readable", kept.len()), readable(&centre, &kept));
        }
        let fresh = load_and_kill(centre, round, wanted)?;
        println!("  killed in the middle of the load, {} acknowledged", fresh.len());
        kept.extend(fresh);
        counted.check(&format!("round {}: verify finds no damage", round + 1), verify(&data, work));
    }
    let centre = Gateway::demo(&data)?;
    counted.check(&format!("all {} acknowledged ids are readable", kept.len()), readable(&centre, &kept));
    Ok(counted)
}

/// Registers patients from several threads until `wanted` are acknowledged, then pulls the plug under them.
fn load_and_kill(centre: Gateway, round: usize, wanted: usize) -> Result<Vec<Value>> {
    let url = format!("{}/Patient", centre.ready("/fhir")?);
    let token = centre.token("registrar")?.to_owned();
    let (acknowledged, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (url, token, acknowledged, stop) = (&url, &token, &acknowledged, &stop);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let patient = patient(&format!("CRASH-{round}-{writer}-{number}"));
                    match http::send("POST", url, token, Some(&patient)) {
                        Ok(answer) if answer.status == 201 => {
                            let Ok(stored) = answer.json() else { break };
                            acknowledged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(stored);
                        }
                        // Refused, or the plug is pulled: nothing was acknowledged.
                        _ => break,
                    }
                }
            });
        }
        let count = || acknowledged.lock().map_or(0, |list| list.len());
        let deadline = Instant::now() + LOAD_LIMIT;
        while count() < wanted && Instant::now() < deadline {
            sleep(Duration::from_millis(2));
        }
        let killed = centre.kill();
        stop.store(true, Ordering::Relaxed);
        killed
    })?;
    let acknowledged = acknowledged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(acknowledged.len() >= wanted, "{} acknowledged, {wanted} wanted before the kill", acknowledged.len());
    Ok(acknowledged)
}

/// A synthetic registration; her name is in a script of its own, which must survive as well.
fn patient(number: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:holdfast:crash-test", "value": number }],
        "name": [{ "family": "പരീക്ഷണം", "given": [number] }],
        "birthDate": "1970-01-01",
    })
}

/// `holdfast verify` on the folder of a dead gateway.
fn verify(data: &Path, work: &Path) -> Result<()> {
    let mut command = gateway::holdfast();
    command.arg("verify").arg("--data").arg(data);
    let ended = shell::bounded(&mut command, &work.join("verify.log"), VERIFY_LIMIT)?;
    ensure!(ended.code == Some(0), "exit code {:?}\n{}", ended.code, ended.output);
    Ok(())
}

/// Reads each acknowledged record back, and compares.
fn readable(centre: &Gateway, kept: &[Value]) -> Result<()> {
    let token = centre.token("registrar")?;
    for stored in kept {
        let id = stored.get("id").and_then(Value::as_str).context("an acknowledged record has no id")?;
        let answer = http::send("GET", &format!("{}/Patient/{id}", centre.ready("/fhir")?), token, None)?;
        if answer.status != 200 {
            bail!("Patient/{id}, which was acknowledged: {} {}", answer.status, answer.body);
        }
        let read = answer.json()?;
        ensure!(read.get("identifier") == stored.get("identifier"), "Patient/{id} came back with another identifier");
        ensure!(read.get("name") == stored.get("name"), "Patient/{id} came back with another name");
    }
    Ok(())
}
