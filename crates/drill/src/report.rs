//! What a drill found, for the hospital's director as text, and for programs as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use crate::attack::Blow;
use crate::check::{FINDINGS_MAX, Findings};

/// Exit codes of a drill: every promise held, or one did not.
pub const HELD: u8 = 0;
pub const BROKEN: u8 = 4;

/// Findings of one check that a person reads.
const FINDINGS_TOLD: usize = 10;

/// The whole drill.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub drill: &'static str,
    /// In a few words, for the head of the page.
    pub title: String,
    /// What happened, in sentences.
    pub story: String,
    /// The same seed makes the same centre and the same attack.
    pub seed: u64,
    pub held: bool,
    pub centre: Centre,
    pub attacks: Vec<Struck>,
    /// What else was done to it, a line each.
    pub deeds: Vec<String>,
    /// Numbers for programs, where a drill has some beside its sentences; times end in their unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<&'static str, u64>,
    pub checks: Vec<Check>,
    pub seconds: Seconds,
    /// Files of the user's own that the centre did not take, each with its reason.
    pub refused: Vec<Refused>,
}

/// What was attacked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Centre {
    pub servers: usize,
    pub servers_lost: usize,
    pub patients: usize,
    pub on_treatment: usize,
    /// Records that the centre acknowledged, and their bytes.
    pub acknowledged: usize,
    pub acknowledged_bytes: u64,
    /// Of the user's own files.
    pub own_files: usize,
}

impl Centre {
    pub(crate) fn sentence(&self) -> String {
        format!(
            "A synthetic centre of {} patients, {} of them on radiotherapy, kept {} entries ({}) on {} servers.",
            grouped(self.patients),
            grouped(self.on_treatment),
            grouped(self.acknowledged),
            size(self.acknowledged_bytes),
            self.servers,
        )
    }
}

/// One server, or the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Struck {
    pub place: String,
    #[serde(flatten)]
    pub blow: Blow,
    pub files: usize,
    pub bytes: u64,
}

/// One question, judged by an independent checker.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `P1` to `P8` of the design.
    pub promise: &'static str,
    pub question: &'static str,
    pub held: bool,
    /// What was looked at, with numbers.
    pub looked_at: String,
    /// What is wrong; the first ones in words.
    pub findings: Vec<String>,
    /// All of them.
    pub findings_total: usize,
    /// What this check can't tell.
    pub limits: &'static str,
}

impl Check {
    pub fn new(
        promise: &'static str,
        question: &'static str,
        looked_at: String,
        findings: Findings,
        limits: &'static str,
    ) -> Self {
        Self {
            promise,
            question,
            held: findings.none(),
            looked_at,
            findings_total: findings.total,
            findings: findings.spelled_out,
            limits,
        }
    }
}

/// How long things took, measured on this machine.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    pub loading: f64,
    /// From the first survivor to a treatment list; nothing where it never came.
    pub to_treatment_list: Option<f64>,
    /// Until every record stood on fourteen servers again, and every key was dealt anew.
    pub recovering: f64,
    /// Reading every acknowledged record back.
    pub reading_back: f64,
    pub whole_drill: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    pub file: String,
    pub reason: String,
}

impl Report {
    /// 0 where every promise held, 4 where one did not.
    pub fn exit_code(&self) -> u8 {
        if self.held { HELD } else { BROKEN }
    }

    /// The reasons why files were refused, the most frequent first. Where a reason names a detail behind a colon, files
    /// with other details stand under the same reason.
    fn refusals(&self, out: &mut String) -> fmt::Result {
        const REASONS: usize = 8;
        const EXAMPLES: usize = 3;
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for refused in &self.refused {
            let reason = refused.reason.split(": ").next().unwrap_or_default();
            by_reason.entry(reason).or_default().push(&refused.file);
        }
        let mut by_reason: Vec<_> = by_reason.into_iter().collect();
        by_reason.sort_by_key(|(_, files)| std::cmp::Reverse(files.len()));
        for (reason, files) in by_reason.iter().take(REASONS) {
            let examples: Vec<&str> = files.iter().take(EXAMPLES).copied().collect();
            let such_as = if files.len() > EXAMPLES { "such as " } else { "" };
            let count = counted(files.len(), "file", "files");
            wrapped(out, "  - ", &format!("{count}: {reason} ({such_as}{})", examples.join(", ")))?;
        }
        let (others, reasons) =
            by_reason.iter().skip(REASONS).fold((0, 0), |(f, r), (_, files)| (f + files.len(), r + 1));
        if reasons > 0 {
            let (files, reasons) =
                (counted(others, "file", "files"), counted(reasons, "other reason", "other reasons"));
            writeln!(out, "  - {files} for {reasons}")?;
        }
        if self.refused.is_empty() { Ok(()) } else { writeln!(out, "  Every file with its reason: --json") }
    }

    pub fn check(&self, promise: &str) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.promise == promise)
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `1,234 files`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// Three digits or so, in the largest unit that leaves one before the point.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} bytes"),
        Some((unit, name)) if bytes < 10 * unit => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        Some((unit, name)) => format!("{} {name}", bytes / unit),
    }
}

/// `text` in lines of a page's width, the first one behind `lead`, the others as far in.
fn wrapped(out: &mut String, lead: &str, text: &str) -> fmt::Result {
    const WIDTH: usize = 96;
    let mut line = lead.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(lead.chars().count());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{line}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        let centre = &self.centre;
        writeln!(out, "ATTACK DRILL: {}", self.title)?;
        writeln!(out)?;
        let verdict = if self.held {
            "Every promise held.".to_owned()
        } else {
            let mut broken: Vec<&str> = self.checks.iter().filter(|c| !c.held).map(|c| c.promise).collect();
            broken.dedup();
            format!("NOT EVERY PROMISE HELD: {}. Do not rely on this centre until it is mended.", broken.join(", "))
        };
        writeln!(out, "RESULT: {verdict}")?;
        writeln!(out)?;
        wrapped(&mut out, "", &self.story)?;
        writeln!(out)?;
        writeln!(out, "WHAT WAS DONE")?;
        for struck in &self.attacks {
            let what = struck.blow.what();
            let (files, bytes) = (counted(struck.files, "file", "files"), size(struck.bytes));
            writeln!(out, "  {:<12} {what} ({files}, {bytes})", struck.place)?;
        }
        for deed in &self.deeds {
            wrapped(&mut out, "  ", deed)?;
        }
        writeln!(out)?;
        writeln!(out, "WHAT WAS FOUND")?;
        for check in &self.checks {
            let mark = if check.held { "held   " } else { "BROKEN " };
            writeln!(out, "  {mark} {}: {}", check.promise, check.question)?;
            wrapped(&mut out, "            ", &check.looked_at)?;
            for finding in check.findings.iter().take(FINDINGS_TOLD) {
                wrapped(&mut out, "          ! ", finding)?;
            }
            let silent = check.findings_total.saturating_sub(FINDINGS_TOLD);
            if silent > 0 {
                writeln!(out, "          ! and {} more; --json names the first {FINDINGS_MAX}", grouped(silent))?;
            }
            wrapped(&mut out, "            ", &format!("Not shown by this: {}", check.limits))?;
        }
        if centre.own_files > 0 || !self.refused.is_empty() {
            writeln!(out)?;
            let refused = self.refused.len();
            writeln!(out, "YOUR OWN FILES: {} kept, {} refused", grouped(centre.own_files), grouped(refused))?;
            self.refusals(&mut out)?;
        }
        writeln!(out)?;
        let Seconds { loading, recovering, reading_back, whole_drill, .. } = self.seconds;
        let recovering = if recovering > 0.0 { format!(" recovering {recovering:.0} s,") } else { String::new() };
        writeln!(
            out,
            "Seed {}. Loading {loading:.0} s,{recovering} reading everything back {reading_back:.0} s, the whole drill {whole_drill:.0} s.",
            self.seed
        )?;
        f.write_str(&out)
    }
}
