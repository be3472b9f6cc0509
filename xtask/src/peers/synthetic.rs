//! The synthetic courses, one of each technique, before other people's eyes: dciodvfy on every file, pydicom on what they say of
//! each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{SCRIPT_LIMIT, fresh, install, tap};
use crate::report::Counted;
use crate::shell;

const LIMIT: Duration = Duration::from_secs(60);

/// What dciodvfy (dicom3tools 1.00~20220618) gets wrong: parts of its line, and why.
const TOLERATED: &[(&[&str], &str)] = &[
    // PS3.3 C.8.8.21: VERIFIED is one of the three enumerated values.
    (&["<VERIFIED> for value 1 of attribute <Treatment Verification Status>"], "it looks for VERIFED"),
    // PS3.5 6.2: 64 characters for each component group.
    (&["PN Patient's Name", "Length invalid for this VR"], "it counts the bytes of a name's groups together"),
    // Each of those values has a line of its own.
    (&["Dicom dataset contains invalid data values for Value Representations"], "it sums up the lines before"),
];

pub(super) fn run(work: &Path) -> Result<Counted> {
    let folder = fresh(&work.join("synthetic"))?;
    shell::run(shell::command(shell::built("examples/synthetic")).arg(&folder))?;
    let mut counted = Counted::default();
    let mut tolerated = BTreeMap::new();
    for ((technique, kind), files) in of_each_kind(&folder)? {
        let outcome = files.iter().try_for_each(|file| conforms(file, work, &mut tolerated));
        counted.check(&format!("dciodvfy: {technique}, {kind} ({} files)", files.len()), outcome);
    }
    for (why, times) in &tolerated {
        println!("  tolerated {times} times: {why}");
    }
    counted.check("the twin that must fail: dciodvfy finds a plan of another status", misspelt(&folder, work));

    let mut script = shell::command(install::interpreter(&super::folder()));
    script
        .arg(shell::root().join("xtask/peers/synthetic_courses.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOLDFAST_SYNTHETIC", &folder);
    let told = tap::judge(shell::bounded(&mut script, &work.join("synthetic_courses.log"), SCRIPT_LIMIT)?)?;
    counted.passed += told.passed;
    counted.failures.extend(told.failures);
    Ok(counted)
}

/// By technique and kind: `arc`, `ct`.
fn of_each_kind(folder: &Path) -> Result<BTreeMap<(String, String), Vec<PathBuf>>> {
    let mut kinds: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    for technique in std::fs::read_dir(folder)? {
        let technique = technique?;
        for file in std::fs::read_dir(technique.path())? {
            let file = file?.path();
            let name = file.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
            let kind = name.split('-').next().unwrap_or_default().to_owned();
            kinds.entry((technique.file_name().to_string_lossy().into_owned(), kind)).or_default().push(file);
        }
    }
    ensure!(kinds.len() == 5 * 5, "{} kinds of objects instead of five of five techniques", kinds.len());
    Ok(kinds)
}

/// No error, but for what is [`TOLERATED`], which is counted.
pub(super) fn conforms(file: &Path, work: &Path, tolerated: &mut BTreeMap<&'static str, u64>) -> Result<()> {
    let ended = shell::bounded(shell::command("dciodvfy").arg(file), &work.join("dciodvfy.log"), LIMIT)?;
    let mut errors = Vec::new();
    for line in ended.output.lines().filter(|line| line.starts_with("Error")) {
        match TOLERATED.iter().find(|(parts, _)| parts.iter().all(|part| line.contains(part))) {
            Some((_, why)) => *tolerated.entry(why).or_default() += 1,
            None => errors.push(line),
        }
    }
    // The name of the IOD comes first: a file that isn't understood has no errors either.
    let known = ended.output.lines().any(|line| line.starts_with("RT") || line.starts_with("CTImage"));
    ensure!(known && errors.is_empty(), "{}: {}", file.display(), ended.output);
    Ok(())
}

fn misspelt(folder: &Path, work: &Path) -> Result<()> {
    let (right, wrong) = (b"APPROVED", b"APPR0VED");
    let mut plan = std::fs::read(folder.join("arc/plan.dcm"))?;
    let place = plan.windows(right.len()).position(|here| here == right).context("no status")?;
    plan.splice(place..place + right.len(), wrong.iter().copied());
    let file = work.join("misspelt.dcm");
    std::fs::write(&file, plan)?;
    ensure!(conforms(&file, work, &mut BTreeMap::new()).is_err(), "it goes unnoticed");
    Ok(())
}
