//! Changes of many patients' records: what ransomware does by a login that may write. Held until somebody else has looked.
//!
//! What is there already is replaced or deleted: that counts, by different patients within an hour and a day, and more where it looks like no
//! person's work: the same content for one patient after another, or content that is as good as random. Nothing that a beam needs comes this way.

use std::collections::{HashMap, VecDeque};
use std::sync::PoisonError;

use kit::{Digest, PatientId, Timestamp};

use crate::normal::Signalled;
use crate::policy::bundle::{DAY_MS, HOUR_MS};
use crate::{Budget, Budgets, Decision, Denied, Guard, OverBudget, Permit, Reason, Role, Signal, Target};

/// What a change counts for that no person would make for one patient after another.
const SUSPECT: u32 = 4;
/// Subjects that are followed; beyond, the one that changed nothing for longest is forgotten.
const SUBJECTS_MAX: usize = 10_000;
/// Bits per byte from which text is none: FHIR's JSON has about five, base64 of random bytes six.
const DENSE_BITS: f64 = 5.7;
/// Shorter ones say nothing about it.
const DENSE_BYTES_MIN: usize = 512;

/// One patient's record is about to be replaced or deleted.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    pub patient: PatientId,
    /// What it becomes, without whose it is; none of a deletion.
    pub like: Option<Digest>,
    /// It becomes what can't be compressed ([`is_dense`]).
    pub is_dense: bool,
}

/// Whether bytes are as good as random, by the entropy of their frequencies.
pub fn is_dense(bytes: &[u8]) -> bool {
    if bytes.len() < DENSE_BYTES_MIN {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = bytes.len() as f64;
    let share = |count: u32| f64::from(count) / length;
    let bits: f64 =
        counts.into_iter().filter(|count| *count > 0).map(|count| -share(count) * share(count).log2()).sum();
    bits > DENSE_BITS
}

struct Changed {
    at: Timestamp,
    patient: PatientId,
    like: Option<Digest>,
    counts: u32,
}

/// Of one login or machine, within a day.
#[derive(Default)]
struct Changes {
    all: VecDeque<Changed>,
    /// More was asked for, and nobody has looked at it.
    held: bool,
}

impl Changes {
    fn counted(&self, since: Timestamp) -> u32 {
        self.all.iter().filter(|one| one.at > since).map(|one| one.counts).sum()
    }

    fn change(&mut self, edit: Edit, budget: Budget, at: Timestamp) -> Result<(), (u32, &'static str)> {
        let day = at.plus_ms(-DAY_MS);
        while self.all.pop_front_if(|one| one.at <= day || one.at > at).is_some() {}
        if self.held {
            return Err((budget.hour, "an hour"));
        }
        let is_again = |one: &Changed| one.like.is_some() && one.like == edit.like && one.patient != edit.patient;
        let counts = if edit.is_dense || self.all.iter().any(is_again) { SUSPECT } else { 1 };
        let before = self.all.iter().position(|one| one.patient == edit.patient);
        let known = before.and_then(|at| self.all.get(at)).map_or(0, |one| one.counts);
        let more = counts.saturating_sub(known);
        for (since, limit, name) in [(at.plus_ms(-HOUR_MS), budget.hour, "an hour"), (day, budget.day, "a day")] {
            if more > 0 && self.counted(since) + more > limit {
                self.held = true;
                return Err((limit, name));
            }
        }
        if let Some(before) = before {
            self.all.remove(before);
        }
        self.all.push_back(Changed { at, patient: edit.patient, like: edit.like, counts: counts.max(known) });
        Ok(())
    }
}

/// Everybody's.
#[derive(Default)]
pub(crate) struct Mass(HashMap<String, Changes>);

impl Mass {
    fn change(
        &mut self,
        budgets: &Budgets,
        (subject, role): (&str, Role),
        edit: Edit,
        at: Timestamp,
    ) -> Result<(), OverBudget> {
        if self.0.len() >= SUBJECTS_MAX && !self.0.contains_key(subject) {
            let last = |changes: &Changes| (changes.held, changes.all.back().map(|one| one.at));
            let gone = self.0.iter().min_by_key(|(_, changes)| last(changes)).map(|(subject, _)| subject.clone());
            gone.map(|gone| self.0.remove(&gone));
        }
        let budget = if role.is_machine() { budgets.machine_change } else { budgets.change };
        let whose = if role.is_machine() { "the machine's" } else { "the person's" };
        let hers = self.0.entry(subject.to_owned()).or_default();
        hers.change(edit, budget, at).map_err(|(limit, window)| OverBudget {
            whose,
            what: "patients' records to change",
            limit,
            window,
            wants_passkey: false,
        })
    }

    /// Somebody has looked at it: what she changed so far counts no more.
    pub(crate) fn release(&mut self, subject: &str) {
        self.0.remove(subject);
    }
}

impl Guard {
    /// Records of these patients are about to be replaced or deleted under this permit. More than is usual is held for somebody else, who
    /// closes the alarm; nothing of it is kept until then, and whoever wanted it repeats it.
    pub fn change(&self, permit: &Permit, edits: &[Edit]) -> Result<(), Denied> {
        let (budgets, subject, role) = (self.rules().budgets(), permit.subject(), permit.role());
        let at = self.counted_at();
        let mut mass = self.mass.lock().unwrap_or_else(PoisonError::into_inner);
        let over = edits
            .iter()
            .find_map(|edit| mass.change(&budgets, (subject, role), *edit, at).err().map(|over| (edit.patient, over)));
        drop(mass);
        let Some((patient, over)) = over else { return Ok(()) };
        tracing::warn!(operation = %permit.operation(), %role, %over, "many patients' records would be changed");
        self.ring(Signalled::of(Signal::MassChange, subject, over.to_string()));
        let reason = Reason::MassChange(over);
        let (allowed, target) = (false, Target::Patient(patient));
        let decision =
            Decision { allowed, at: self.clock.now(), target, reason: reason.to_string(), ..permit.decision().clone() };
        let noted = self.decisions.note(&decision).map_err(|fault| Reason::NotRecorded(Box::new(fault)));
        let reason = noted.err().unwrap_or(reason);
        Err(Denied { role, act: permit.act(), reason, operation: permit.operation() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use kit::{Entropy as _, SeededEntropy};

    use super::is_dense;

    #[test]
    fn what_is_encrypted_is_dense_and_text_is_not() {
        let mut random = vec![0; 3_000];
        SeededEntropy::new(1).fill(&mut random);
        let base64 = STANDARD.encode(&random);
        assert!(is_dense(&random) && is_dense(base64.as_bytes()));
        let note =
            r#"{"resourceType":"Condition","code":{"text":"Carcinoma of the left breast, upper outer quadrant"}}"#
                .repeat(20);
        assert!(!is_dense(note.as_bytes()) && !is_dense(&random[..500]));
        // A note that was encrypted within its resource.
        let inside = format!(r#"{{"resourceType":"Condition","note":[{{"text":"{base64}"}}]}}"#);
        assert!(is_dense(inside.as_bytes()));
    }
}
