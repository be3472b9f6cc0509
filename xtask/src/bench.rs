//! `cargo xtask bench vault`: our vault, Tahoe-LAFS and the machine itself, side by side in one run.
//!
//! Both stores cut into 3 of 14, write to the same disk, and are measured in turns, round by round, so that whatever
//! else the machine does falls on both; while one is measured, the other one's processes are stopped. It measures what a client waits for. What it doesn't: a network (all on
//! loopback), disks of their own for the fourteen, cold caches (what is fetched was just kept; how fast ours comes back from its disks
//! later is printed beside it). Tahoe-LAFS 1.20 never
//! syncs what it stores and answers all the same; we sync before we answer. Its nodes speak HTTP, as it comes, or with
//! `--foolscap` its older protocol, which was the faster of the two for small records, and no slower for large objects.
//! Since only we wait for the disk, its speed is half of the ratio: `--folder /dev/shm` leaves it out for both.

mod digest;
mod guard;
mod keys;
mod tahoe;
mod vault;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;
use tahoe::Protocol;

/// A CT series or a dose grid, as the issue sets it.
const LARGE_BYTES: usize = 50_000_000;

/// A FHIR resource of the larger kind.
const SMALL_BYTES: usize = 8 * 1024;

const WRITERS: usize = 16;

/// About as long as one another: a round is some seconds of each.
const SMALL_RECORDS_TAHOE: usize = 64;
const SMALL_RECORDS_VAULT: usize = 4_096;

const ROUNDS: usize = 3;

/// Nobody waits longer than for this.
const ROUNDS_MAX: usize = 20;

const AIM_LARGE: f64 = 20.0;
const AIM_SMALL: f64 = 100.0;
const AIM_MACHINE: f64 = 0.5;

/// A store under measurement. Each call returns the seconds it took, after what came back was compared.
trait Store {
    /// While the other one is measured, this one stands still: sixteen idle processes of Tahoe-LAFS keep a core busy.
    fn pause(&self, paused: bool) -> Result<()>;

    /// Keeps one object of `bytes`, then fetches it.
    fn large(&mut self, bytes: usize) -> Result<(f64, f64)>;

    /// Keeps `records` of `bytes` each from `writers` threads, then fetches them all from as many.
    fn small(&mut self, bytes: usize, records: usize, writers: usize) -> Result<(f64, f64)>;
}

/// One line of the table: a rate per round for each side.
struct Row {
    what: &'static str,
    unit: &'static str,
    aim: f64,
    tahoe: Vec<f64>,
    vault: Vec<f64>,
}

impl Row {
    fn new(what: &'static str, unit: &'static str, aim: f64) -> Self {
        Self { what, unit, aim, tahoe: Vec::new(), vault: Vec::new() }
    }

    fn ratio(&self) -> f64 {
        median(&self.vault) / median(&self.tahoe)
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "tahoe": self.tahoe, "vault": self.vault,
            "tahoe_median": median(&self.tahoe), "vault_median": median(&self.vault),
            "ratio": self.ratio(), "aim": self.aim, "met": self.ratio() >= self.aim,
        })
    }
}

/// `cargo xtask bench digest`
pub(crate) fn digest() -> Result<()> {
    digest::run()
}

/// `cargo xtask bench guard`
pub(crate) fn guard() -> Result<()> {
    guard::run()
}

/// `cargo xtask bench keys`
pub(crate) fn keys() -> Result<()> {
    keys::run()
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (mut as_json, mut rounds, mut protocol) = (false, ROUNDS, Protocol::Http);
    let mut folder = shell::root().join("target/bench");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--json" => as_json = true,
            "--foolscap" => protocol = Protocol::Foolscap,
            "--folder" => folder = words.next().context("--folder takes a folder")?.into(),
            "--rounds" => rounds = words.next().and_then(|n| n.parse().ok()).context("--rounds takes a number")?,
            other => bail!("bench vault [--json] [--rounds N] [--foolscap] [--folder DIR]: what is {other}?"),
        }
    }
    if !(1..=ROUNDS_MAX).contains(&rounds) {
        bail!("{rounds} rounds: 1 to {ROUNDS_MAX} can be asked for");
    }

    let scratch = Scratch::new(&folder)?;
    let mut ours = vault::Driver::start(&scratch.0.join("vault"))?;
    let mut theirs = tahoe::Grid::start(&shell::root().join("target/bench"), &scratch.0.join("tahoe"), protocol)?;

    let mut keep_large = Row::new("keep 50 MB", "MB/s", AIM_LARGE);
    let mut fetch_large = Row::new("fetch 50 MB", "MB/s", AIM_LARGE);
    let mut keep_small = Row::new("keep 8 KiB, 16 writers", "records/s", AIM_SMALL);
    let mut fetch_small = Row::new("fetch 8 KiB, 16 readers", "records/s", AIM_SMALL);
    let mut limits = Limits::default();
    // What is kept later takes the place of what was kept before in any memory of ours.
    let (mut seeds, mut from_disks) = (Vec::new(), Vec::new());
    ours.pause(true)?;
    theirs.pause(true)?;
    for round in 1..=rounds {
        let start = Instant::now();
        let mb = LARGE_BYTES as f64 / 1e6;
        seeds.push(ours.next_seed());
        let mut measure = |store: &mut dyn Store, records: usize, side: fn(&mut Row) -> &mut Vec<f64>| -> Result<()> {
            store.pause(false)?;
            settle()?;
            let (keep, fetch) = store.large(LARGE_BYTES)?;
            side(&mut keep_large).push(mb / keep);
            side(&mut fetch_large).push(mb / fetch);
            settle()?;
            let (keep, fetch) = store.small(SMALL_BYTES, records, WRITERS)?;
            side(&mut keep_small).push(records as f64 / keep);
            side(&mut fetch_small).push(records as f64 / fetch);
            store.pause(true)
        };
        // Who goes first changes with every round.
        if round % 2 == 1 {
            measure(&mut theirs, SMALL_RECORDS_TAHOE, |row| &mut row.tahoe)?;
            measure(&mut ours, SMALL_RECORDS_VAULT, |row| &mut row.vault)?;
        } else {
            measure(&mut ours, SMALL_RECORDS_VAULT, |row| &mut row.vault)?;
            measure(&mut theirs, SMALL_RECORDS_TAHOE, |row| &mut row.tahoe)?;
        }
        settle()?;
        ours.pause(false)?;
        limits.push(ours.limits(LARGE_BYTES)?, mb);
        if let Some(older) = round.checked_sub(3).and_then(|older| seeds.get(older)) {
            from_disks.push(mb / ours.fetch_again(*older)?);
        }
        ours.pause(true)?;
        eprintln!("round {round} of {rounds}: {:.0} s", start.elapsed().as_secs_f64());
    }
    drop(theirs);

    let rows = [keep_large, fetch_large, keep_small, fetch_small];
    let of_the_machine = rows.first().map_or(0.0, |keep| median(&keep.vault)) / limits.slowest();
    if as_json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let report = json!({
            "rounds": rounds, "tahoe_protocol": protocol.name(), "rows": rows, "machine_mb_per_s": limits.json(),
            "fetch_from_disks_mb_per_s": from_disks,
            "keep_of_the_machine": { "ratio": of_the_machine, "aim": AIM_MACHINE, "met": of_the_machine >= AIM_MACHINE },
        });
        println!("{report:#}");
        return Ok(());
    }
    println!("\nmedians of {rounds} rounds, 3 of 14, one machine; Tahoe-LAFS over {}", protocol.name());
    println!("{:<26} {:>12} {:>12} {:>10} {:>7} {:>7}", "", "Tahoe-LAFS", "vault", "unit", "ratio", "aim");
    for row in &rows {
        let (tahoe, vault) = (median(&row.tahoe), median(&row.vault));
        let aim = verdict(row.ratio(), row.aim);
        println!("{:<26} {tahoe:>12.1} {vault:>12.1} {:>10} {:>7.1} {aim}", row.what, row.unit, row.ratio());
    }
    if !from_disks.is_empty() {
        let (what, rate) = ("fetch 50 MB, kept two rounds ago", median(&from_disks));
        let ratio = rate / rows.get(1).map_or(f64::NAN, |fetch| median(&fetch.tahoe));
        println!("{what:<39} {rate:>12.1} {:>10} {ratio:>7.1}, Tahoe-LAFS as above", "MB/s");
    }
    println!("\nthe machine's own limits, MB/s of payload, all cores");
    for (what, rates) in limits.named() {
        println!("{what:<39} {:>12.1}", median(rates));
    }
    let aim = verdict(of_the_machine, AIM_MACHINE);
    println!("keep 50 MB, of the slowest of them {of_the_machine:>35.2} {aim}");
    Ok(())
}

/// Has the disk finish what the last one left unsynced, so that the next one doesn't wait for it.
fn settle() -> Result<()> {
    shell::capture(&mut shell::command("sync")).map(drop)
}

fn verdict(ratio: f64, aim: f64) -> String {
    format!("≥ {aim:>4} {}", if ratio >= aim { "met" } else { "MISSED" })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(sorted.len().saturating_sub(1) / 2) + at(sorted.len() / 2)) / 2.0
}

/// What nobody on this machine can be faster than, per round.
#[derive(Default)]
struct Limits {
    aes_gcm: Vec<f64>,
    reed_solomon: Vec<f64>,
    write: Vec<f64>,
}

impl Limits {
    fn push(&mut self, seconds: vault::LimitSeconds, mb: f64) {
        self.aes_gcm.push(mb / seconds.aes_gcm);
        self.reed_solomon.push(mb / seconds.reed_solomon);
        self.write.push(mb / seconds.write);
    }

    fn named(&self) -> [(&'static str, &[f64]); 3] {
        [
            ("AES-256-GCM", &self.aes_gcm),
            ("Reed-Solomon 3 of 14, encode", &self.reed_solomon),
            ("write 4.67 times as much, one fsync", &self.write),
        ]
    }

    fn slowest(&self) -> f64 {
        self.named().iter().map(|(_, rates)| median(rates)).fold(f64::INFINITY, f64::min)
    }

    fn json(&self) -> Value {
        json!({ "aes_256_gcm": self.aes_gcm, "reed_solomon_encode": self.reed_solomon, "write_fsync": self.write })
    }
}

/// A folder of this run's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
