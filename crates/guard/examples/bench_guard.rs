//! Decisions of a centre's size: 2,000 people, 2,000,000 patients. For `cargo xtask bench guard`; a line of JSON for each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a measurement may stop at the first surprise

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use guard::{
    Act, Ask, Caller, Decision, DecisionLog, Event, EventLog, Guard, Purpose, Relation, Role, Sensitivity, Target,
};
use kit::{Fault, OperationId, OsEntropy, PatientId, SystemClock};

const STAFF: usize = 2_000;
const PATIENTS: u64 = 2_000_000;
const TOKEN_MS: i64 = 3_600_000;

/// A log that keeps nothing: what is measured is guard, and the log's disk beside it is the vault's.
struct Nowhere;

impl DecisionLog for Nowhere {
    fn note(&self, decision: &Decision) -> Result<(), Fault> {
        black_box(decision.to_bytes());
        Ok(())
    }
}

impl EventLog for Nowhere {
    fn keep(&self, _: &Event) -> Result<(), Fault> {
        Ok(())
    }
}

fn ask(
    act: Act,
    target: Target,
    sensitivity: Sensitivity,
    purpose: Purpose,
    relation: Option<Relation>,
) -> Ask<'static> {
    Ask { act, target, sensitivity, purpose, relation, operation: OperationId([7; 16]), what: "Condition/x" }
}

/// The same draws in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let (clock, entropy, log) = (Arc::new(SystemClock), Arc::new(OsEntropy), Arc::new(Nowhere));
    let guard = Guard::new("holdfast/bench".into(), clock, entropy, Arc::clone(&log) as _, log, Vec::new()).unwrap();
    let console = guard.console();
    let manage = ask(Act::ManageAccess, Target::Centre, Sensitivity::Clinical, Purpose::Operations, None);
    let roles = [Role::Oncologist, Role::Nurse, Role::Therapist, Role::Physicist, Role::Pathologist];
    let staff: Vec<Caller> = (0..STAFF)
        .map(|n| {
            let permit = guard.admit(&console, manage).unwrap();
            let (_, token) =
                guard.issue_token(&permit, roles[n % roles.len()], &format!("person-{n}"), TOKEN_MS).unwrap();
            guard.authenticate_bearer(&token).unwrap()
        })
        .collect();
    let mut draws = Draws(7);
    for kind in ["decision", "decision and count"] {
        let mut nanos = Vec::with_capacity(rounds);
        let began = Instant::now();
        for _ in 0..rounds {
            let caller = &staff[draws.below(STAFF as u64) as usize];
            // Each has some hundred patients of the two million: as many as a day's budget lets her open.
            let own = draws.below(50) * 39_997 + staff.len() as u64;
            let patient = PatientId((u128::from(own % PATIENTS)).to_be_bytes());
            let relation = Some(Relation::CareTeam);
            let asked =
                ask(Act::ReadRecord, Target::Patient(patient), Sensitivity::Clinical, Purpose::Treatment, relation);
            let at = Instant::now();
            let permit = guard.admit(caller, asked).unwrap();
            if kind != "decision" {
                let _ = black_box(guard.spend(&permit, patient, Sensitivity::Clinical, Relation::CareTeam));
            }
            nanos.push(at.elapsed().as_nanos() as u64);
            black_box(permit.digest());
        }
        let seconds = began.elapsed().as_secs_f64();
        nanos.sort_unstable();
        let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1e3;
        println!(
            r#"{{"kind":"{kind}","rounds":{rounds},"seconds":{seconds},"p50_us":{},"p99_us":{},"p999_us":{}}}"#,
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
}
