//! Does the centre name the servers that were damaged, and no others?
//!
//! Verifies: each server that the drill attacked is among those that the centre's own verification names, and no server
//! that it left alone is. Does not verify: that the words which the centre has for the damage are the right ones.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::system::Blamed;

/// `attacked`: server (from 0) and what was done to it.
pub fn judge(attacked: &BTreeMap<usize, String>, blamed: &Result<Vec<Blamed>, String>) -> Findings {
    let mut findings = Findings::default();
    let blamed = match blamed {
        Ok(blamed) => blamed,
        Err(why) => {
            findings.add(format!("the servers' folders could not be examined: {why}"));
            return findings;
        }
    };
    let named: BTreeSet<usize> = blamed.iter().map(|one| one.server).collect();
    for (server, what) in attacked {
        if !named.contains(server) {
            findings.add(format!("server {:02} passes for sound: {what}", server + 1));
        }
    }
    for Blamed { server, what } in blamed {
        if !attacked.contains_key(server) {
            findings.add(format!("server {:02} is said to be damaged ({what}), and nobody touched it", server + 1));
        }
    }
    findings
}
