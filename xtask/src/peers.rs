//! Real peers against a real gateway: other people's clients, real files, hostile bytes, a pulled plug, a browser.
//!
//! The gateway is the binary that ships, started on loopback with ports of the system's choice. Every process started
//! here is ended by its id, on failure too. Each peer says what it checked in TAP (testanything.org, version 12).

mod browser;
mod commands;
mod crash;
mod dcmtk;
mod gateway;
mod http;
mod install;
mod siem;
mod synthetic;
mod tap;
mod transfer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::report::{Counted, Report};
use crate::shell;
use gateway::Gateway;
use siem::Siem;

/// The slowest script sends a few hundred requests; this is for one that hangs.
const SCRIPT_LIMIT: Duration = Duration::from_secs(300);

/// Two centres' worth of sealing, on a busy machine.
const DRILL_LIMIT: Duration = Duration::from_secs(600);

/// The scripts in xtask/peers, and whom each stands for.
const SCRIPTS: &[(&str, &str)] = &[
    ("fhir_clients.py", "FHIR: fhirpy, fhirclient"),
    ("dimse_pynetdicom.py", "DIMSE: pynetdicom, pydicom"),
    ("quality_check.py", "QAPV: pynetdicom as requester"),
    ("gate_doors.py", "DICOMweb: dicomweb-client; a watched folder"),
    ("hostile_http.py", "hostile HTTP and JSON"),
    ("hostile_dimse.py", "hostile PDUs and DICOM"),
];

/// Everything the peers need and leave behind; ignored by git, kept between runs.
fn folder() -> PathBuf {
    shell::root().join("target/peers")
}

/// `cargo xtask peers test`
pub(crate) fn run() -> Result<()> {
    let mut report = Report::default();
    if let Some(ready) = install(&mut report) {
        report.step("the programs", || {
            // As the tests build them: with other features, half of the workspace would be built once more.
            shell::run(shell::cargo().args(["test", "--workspace", "--quiet", "--no-run"]))
        });
        report.step("S3: SeaweedFS", || {
            // The location by itself, then a centre with buckets.
            for which in [&["--lib", "a_real_store"][..], &["--test", "it", "with_a_real_store"]] {
                let arguments = ["test", "--workspace", "--quiet"];
                shell::run(shell::cargo().args(arguments).args(which).env(STORE, store()))?;
            }
            Ok(())
        });
        talk(&mut report, ready);
    }
    report.close()
}

/// `cargo xtask peers`
pub(crate) fn fetch() -> Result<()> {
    let _held = lock()?;
    println!("real files: {}", data()?.display());
    Ok(())
}

/// One run at a time has the folder; another waits. The lock ends with the value.
fn lock() -> Result<File> {
    std::fs::create_dir_all(folder())?;
    let file = File::create(folder().join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// The Python that the scripts run under; there once [`data`] is.
pub(crate) fn interpreter() -> PathBuf {
    install::interpreter(&folder())
}

/// The folder of real files, fetched where it isn't there yet.
pub(crate) fn data() -> Result<PathBuf> {
    install::programs()?;
    install::python(&folder())?;
    install::data(&folder())
}

/// Names the object store's program to the tests that need one.
pub(crate) const STORE: &str = "HOLDFAST_WEED";

pub(crate) fn store() -> PathBuf {
    install::weed(&folder())
}

/// Everything that peers need is there; nobody else has their folder.
pub(crate) struct Ready {
    work: PathBuf,
    _held: File,
}

/// Installs what is missing.
pub(crate) fn install(report: &mut Report) -> Option<Ready> {
    let mut ready = None;
    report.step("peers: install", || {
        let held = lock()?;
        data()?;
        ready = Some(Ready { work: fresh(&folder().join("run"))?, _held: held });
        Ok(())
    });
    ready
}

/// Lets every peer at the programs, as the tests were built with them.
pub(crate) fn talk(report: &mut Report, ready: Ready) {
    let work = &ready.work;

    report.step("FHIR: HL7's own examples", || {
        // The whole workspace with a filter, so that nothing is built again with other features.
        let arguments = ["test", "--workspace", "--quiet", "--test", "it", "official_examples_pass"];
        shell::run(shell::cargo().args(arguments).env("HOLDFAST_FHIR_EXAMPLES", folder().join("data/fhir")))
    });

    report.step("custodians: age-plugin-xwing", || {
        let plugin = install::age_plugin(&folder())?;
        let arguments = ["test", "--workspace", "--quiet", "--test", "it", "by_a_real_plugin"];
        shell::run(shell::cargo().args(arguments).env("HOLDFAST_AGE_PLUGIN", plugin))
    });

    report.counted("synthetic courses: dciodvfy, pydicom", || synthetic::run(work));

    let data = work.join("demo");
    let (mut siem, mut demo) = (None, None);
    report.step("peers: rsyslog starts", || {
        siem = Some(Siem::start(work)?);
        Ok(())
    });
    let settings = siem.as_ref().map(|siem| siem.settings().to_vec()).unwrap_or_default();
    report.step("peers: the demo starts", || {
        demo = Some(Gateway::demo_with(&data, &settings)?);
        Ok(())
    });
    if let Some(demo) = &demo {
        report.counted("command line", || commands::run(demo, &data, work));
        report.counted("transfer: age, tar, sha256sum", || transfer::run(&data, work));
        report.counted("transfer: pydicom, fhirclient, pdf", || python("transfer.py", demo, work));
        // First, while the list holds the demo's own patients only: the screenshot is for people.
        report.counted("console: headers and sign-in", || python("console_pages.py", demo, work));
        report.counted("browser: today's treatment list", || browser::run(demo, work));
        report.counted("DIMSE: dcmtk", || dcmtk::run(demo, &data, work));
        for (script, name) in SCRIPTS {
            report.counted(name, || python(script, demo, work));
        }
        report.counted("after all of them", || dcmtk::still_well(demo, work));
        if let Some(siem) = siem {
            report.counted("SIEM: rsyslog over TLS", || siem.judge(demo, work));
        }
    }
    drop(demo);
    report.counted("kill -9 in the middle of a load", || crash::run(work));
    report.step("drill: eleven of fourteen, real files", || {
        drill(work, &["eleven-of-fourteen", "--seed", "14", "--patients", "40"], "")
    });
    report.step("drill: no wrong dose, real plans", || {
        for package in ["pydicom", "pymedphys"] {
            drill(work, &["wrong-dose", "--seed", "14", "--courses", "200", "--stored", "0"], package)?;
        }
        Ok(())
    });
}

/// A drill on real files: thousands that its authors never saw, broken ones among them.
fn drill(work: &Path, words: &[&str], package: &str) -> Result<()> {
    let mut command = gateway::holdfast();
    command.arg("drill").args(words).arg("--input");
    command.arg(folder().join("data").join(package));
    let ended = shell::bounded(&mut command, &work.join("drill.log"), DRILL_LIMIT)?;
    println!("{}", ended.output);
    ensure!(ended.code == Some(0), "exit code {:?}", ended.code);
    Ok(())
}

/// Runs one script of xtask/peers against `gateway`.
fn python(script: &str, gateway: &Gateway, work: &Path) -> Result<Counted> {
    let mut command = shell::command(install::interpreter(&folder()));
    command
        .arg(shell::root().join("xtask/peers").join(script))
        // No bytecode beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOLDFAST_READY", gateway.ready_file())
        .env("HOLDFAST_EXAMPLE", gateway.data().join("example"))
        .env("HOLDFAST_GATE_FOLDER", gateway.gate_folder())
        .env("HOLDFAST_EVENTS_PORT", gateway.events_port().to_string())
        .env("HOLDFAST_PEER_DATA", folder().join("data"))
        .env("HOLDFAST_PEER_WORK", work);
    tap::judge(shell::bounded(&mut command, &work.join(script).with_extension("log"), SCRIPT_LIMIT)?)
}

/// An empty folder: what an earlier run left must not help this one.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_path_buf())
}
