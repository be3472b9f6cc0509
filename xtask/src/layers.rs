//! Compares what each room depends on with the table of rooms: dependencies run downwards only.
//!
//! Checks the manifests (`cargo metadata --no-deps`), so an arrow counts even before code uses it. Normal and build
//! dependencies must stand in the table. A test may reach further down, to set up what its room stands on, but never
//! up or sideways. It doesn't see a crate that is re-exported: what a room re-exports is its own answer to review.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

enum MayUse {
    These(&'static [&'static str]),
    Anything,
}
use MayUse::{Anything, These};

struct Room {
    name: &'static str,
    may_use: MayUse,
    /// Why no more than that.
    why: &'static str,
    /// Crates from outside whose absence carries the reason; a name that ends in `*` stands for its family.
    never: &'static [&'static str],
}

const TRANSPORT: &[&str] = &["axum", "tokio", "hyper", "dicom-ul", "reqwest"];

/// Lowest first. A room that isn't created yet may be missing from the workspace.
const ROOMS: &[Room] = &[
    Room { name: "kit", may_use: These(&[]), why: "everyone stands on it, so it stands on nobody", never: TRANSPORT },
    Room {
        name: "archive",
        may_use: These(&["kit"]),
        why: "it reads what strangers bring, and knows neither keys nor records",
        never: &["hpke", "age", "zstd", "rusqlite", "dicom-*", "fhirkit", "axum"],
    },
    Room {
        name: "ledger",
        may_use: These(&["kit"]),
        why: "it sees no plaintext and holds no keys, so a leak of it tells nothing",
        never: &["hpke", "age", "vsss-rs", "aes*", "zstd", "rusqlite", "dicom-*", "fhirkit"],
    },
    Room {
        name: "keys",
        may_use: These(&["kit"]),
        why: "the code that touches key shares must be small enough to audit",
        never: &[
            "zstd",
            "reed-solomon-simd",
            "rusqlite",
            "dicom-*",
            "fhirkit",
            "cedar-policy",
            "object_store",
            "reqwest",
        ],
    },
    Room {
        name: "location",
        may_use: These(&["kit"]),
        why: "a server's daemon keeps shards with it, and needs nothing else of the vault",
        never: &["reed-solomon-simd", "zstd", "hpke", "rusqlite", "dicom-*", "fhirkit", "object_store", "reqwest"],
    },
    Room {
        name: "bucket",
        may_use: These(&["kit", "location"]),
        why: "a store's client is large: it is one location among others, and nobody below the wiring knows of it",
        never: &["hpke", "age", "vsss-rs", "reed-solomon-simd", "zstd", "rusqlite", "axum", "dicom-*", "fhirkit"],
    },
    Room {
        name: "vault",
        may_use: These(&["kit", "ledger", "keys", "location"]),
        why: "it knows neither FHIR nor DICOM, so a format's fault can't reach the store",
        never: &["dicom-*", "fhirkit", "cedar-policy", "rusqlite", "axum"],
    },
    Room {
        name: "guard",
        may_use: These(&["kit"]),
        why: "it decides beside the vault, never through it: a decision needs no stored data",
        never: &["dicom-*", "fhirkit", "rusqlite", "axum"],
    },
    Room {
        name: "chart",
        may_use: These(&["kit", "guard", "vault"]),
        why: "it asks the vault; with the keys or the ledger in hand it could go round it",
        never: &["hpke", "age", "vsss-rs", "reed-solomon-simd", "tlog_tiles", "axum", "dicom-ul"],
    },
    Room {
        name: "treatment",
        may_use: These(&["kit", "guard", "chart"]),
        why: "plans and verdicts are records: they go through the chart's permit like all others",
        never: &["rusqlite", "hpke", "age", "axum", "dicom-ul"],
    },
    Room {
        name: "incident",
        may_use: These(&["kit", "guard", "ledger", "vault", "chart"]),
        why: "it works while the edge is shut",
        never: &["axum", "dicom-ul"],
    },
    Room {
        name: "edge",
        may_use: These(&["kit", "guard", "chart", "treatment", "incident"]),
        why: "bytes in, bytes out: it never names vault, keys or ledger, so a fault in a parser can't open a key",
        never: &["hpke", "age", "vsss-rs", "reed-solomon-simd", "zstd", "rusqlite", "cedar-policy"],
    },
    Room {
        name: "holder",
        may_use: These(&["kit", "ledger", "keys", "location"]),
        why: "the daemon on each server is small enough to audit",
        never: &["fhirkit", "dicom-*", "rusqlite", "cedar-policy", "object_store", "reqwest"],
    },
    Room { name: "drill", may_use: Anything, why: "an attack may touch every room", never: &[] },
    Room { name: "holdfast", may_use: Anything, why: "the wiring", never: &[] },
    Room {
        name: "browser-test",
        may_use: These(&[]),
        why: "it drives the binary from outside, like a clinician",
        never: &[],
    },
    Room { name: "holdfast-fuzz", may_use: Anything, why: "whatever parses foreign bytes", never: &[] },
    Room { name: "xtask", may_use: These(&[]), why: "tools build the rooms; they don't use them", never: &[] },
];

/// Only the wiring may use the attacks.
const USED_BY_THE_BINARY_ONLY: &[&str] = &["drill"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Normal or build.
    Shipped,
    Test,
}

struct Edge {
    from: String,
    to: String,
    kind: Kind,
}

pub(crate) fn run() -> Result<()> {
    let metadata = shell::capture(shell::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    one_to_run(&metadata)?;
    let (crates, edges) = read(&metadata)?;
    let wrong = judge(&crates, &edges);
    if !wrong.is_empty() {
        bail!("{} arrows that the table of rooms does not have:\n  {}", wrong.len(), wrong.join("\n  "));
    }
    println!("  {} rooms, {} arrows between them, all downwards", crates.len(), between(&crates, &edges));
    Ok(())
}

/// The README's first command is `cargo run`: of the binaries of the default members one has to say that it is meant.
fn one_to_run(metadata: &Value) -> Result<()> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let defaults = list(metadata, "workspace_default_members");
    let is_default = |package: &&Value| package.get("id").is_some_and(|id| defaults.contains(id));
    let packages = list(metadata, "packages");
    let mut meant: Vec<String> = Vec::new();
    let mut binaries = 0;
    for package in packages.iter().filter(is_default) {
        let is_binary = |target: &&Value| list(target, "kind").iter().any(|kind| kind == "bin");
        binaries += list(package, "targets").iter().filter(is_binary).count();
        meant.extend(package.get("default_run").and_then(Value::as_str).map(str::to_owned));
    }
    if binaries > 1 && meant != ["holdfast"] {
        bail!("`cargo run` has {binaries} binaries, and the default-run of {meant:?} to tell which is meant");
    }
    Ok(())
}

fn read(metadata: &Value) -> Result<(BTreeSet<String>, Vec<Edge>)> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata names no packages")?;
    let mut crates = BTreeSet::new();
    let mut edges = Vec::new();
    for package in packages {
        let from = text(package, "name").context("a package without a name")?;
        let dependencies = package.get("dependencies").and_then(Value::as_array).context("no dependencies")?;
        for dependency in dependencies {
            let kind = if text(dependency, "kind").as_deref() == Some("dev") { Kind::Test } else { Kind::Shipped };
            let to = text(dependency, "name").context("a dependency without a name")?;
            edges.push(Edge { from: from.clone(), to, kind });
        }
        crates.insert(from);
    }
    Ok((crates, edges))
}

fn between(crates: &BTreeSet<String>, edges: &[Edge]) -> usize {
    edges.iter().filter(|edge| crates.contains(&edge.to)).count()
}

/// What is wrong, a line each.
fn judge(crates: &BTreeSet<String>, edges: &[Edge]) -> Vec<String> {
    let rooms: BTreeMap<&str, &Room> = ROOMS.iter().map(|room| (room.name, room)).collect();
    let strangers = crates.iter().filter(|name| !rooms.contains_key(name.as_str()));
    let mut wrong: Vec<String> = strangers.map(|name| format!("{name} stands in no row of the table")).collect();
    for Edge { from, to, kind } in edges {
        let Some(room) = rooms.get(from.as_str()) else { continue };
        let why = room.why;
        if !crates.contains(to) {
            if *kind == Kind::Shipped && room.never.iter().any(|pattern| matches(pattern, to)) {
                wrong.push(format!("{from} -> {to}: {why}"));
            }
            continue;
        }
        let allowed = match (&room.may_use, kind) {
            (Anything, _) => true,
            (These(these), Kind::Shipped) => these.contains(&to.as_str()),
            (These(_), Kind::Test) => below(&rooms, from).contains(to.as_str()),
        };
        let hidden = USED_BY_THE_BINARY_ONLY.contains(&to.as_str()) && from != "holdfast";
        if !allowed || hidden {
            let kind = if *kind == Kind::Test { " (in its tests)" } else { "" };
            wrong.push(format!("{from} -> {to}{kind}: {why}"));
        }
    }
    wrong
}

/// Every room that can be reached downwards from `name`.
fn below<'a>(rooms: &BTreeMap<&str, &'a Room>, name: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        if let Some(Room { may_use: These(these), .. }) = rooms.get(name) {
            open.extend(these.iter().filter(|name| found.insert(**name)));
        }
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(from: &str, to: &str, kind: Kind) -> Vec<String> {
        let crates = ROOMS.iter().map(|room| room.name.to_owned()).collect();
        judge(&crates, &[Edge { from: from.into(), to: to.into(), kind }])
    }

    #[test]
    fn the_tables_arrows_pass_and_others_are_named() {
        assert_eq!(judged("chart", "vault", Kind::Shipped), Vec::<String>::new());
        assert_eq!(judged("holdfast", "drill", Kind::Shipped), Vec::<String>::new());
        for (from, to) in [
            ("chart", "keys"),
            ("edge", "vault"),
            ("edge", "ledger"),
            ("guard", "vault"),
            ("ledger", "keys"),
            ("vault", "chart"),
            ("drill", "drill"),
            ("kit", "keys"),
            ("holder", "bucket"),
            ("vault", "bucket"),
            ("xtask", "kit"),
        ] {
            let wrong = judged(from, to, Kind::Shipped);
            assert!(wrong.iter().any(|line| line.starts_with(&format!("{from} -> {to}:"))), "{from} -> {to}");
        }
    }

    #[test]
    fn a_test_reaches_down_but_never_up_or_sideways() {
        assert!(judged("edge", "vault", Kind::Test).is_empty());
        assert!(judged("chart", "keys", Kind::Test).is_empty());
        assert!(!judged("guard", "vault", Kind::Test).is_empty());
        assert!(!judged("vault", "chart", Kind::Test).is_empty());
        assert!(!judged("edge", "drill", Kind::Test).is_empty());
    }

    #[test]
    fn absences_hold_for_what_ships() {
        assert!(!judged("vault", "dicom-object", Kind::Shipped).is_empty());
        assert!(!judged("ledger", "aes-gcm", Kind::Shipped).is_empty());
        assert!(judged("vault", "dicom-object", Kind::Test).is_empty());
        assert!(judged("ledger", "sha2", Kind::Shipped).is_empty());
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let crates = BTreeSet::from(["annexe".to_owned()]);
        assert_eq!(judge(&crates, &[]), ["annexe stands in no row of the table"]);
    }
}
