//! Who has signed a plan of hers, whether it counts, and what has taken its force: for people who look at it. The gate itself goes
//! by [`super::facts`] alone.

use std::collections::BTreeSet;
use std::fmt;

use chart::{Chart, ChartError, Released};
use guard::{Permit, PublicKey};
use kit::{Digest, Timestamp};
use serde::Serialize;

use super::facts::{Facts, Signers};
use super::places::{APPROVALS, LIST_MAX, approvals_of_file};
use crate::plan::Plan;
use crate::signing::approval::{Approval, SignerRole, Statement};
use crate::signing::context::{ContextPart, PlanContext};
use crate::signing::people::Reach;

/// A file of a plan that is here.
#[derive(Clone, Debug)]
pub(crate) struct PlanFile {
    pub(crate) entry: u64,
    pub(crate) uid: String,
    /// None where it can't be read without a doubt.
    pub(crate) delivery: Option<Digest>,
    pub(crate) is_for_qa: bool,
    /// Approvals were handed in with this very file.
    pub(crate) is_signed: bool,
}

/// One person's signature over a delivery.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    entry: u64,
    pub(crate) statement: Statement,
    /// None where nobody's key has made it.
    pub(crate) key: Option<PublicKey>,
    pub(crate) void: Vec<Void>,
}

/// What has taken a signature its force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Void {
    /// No key that was ever enrolled for this person and role has made it.
    Unverified {
        why: String,
    },
    /// The key's signatures count no longer: none of them, or none that came since.
    KeyEnded {
        at: Timestamp,
        all: bool,
    },
    Withdrawn {
        role: SignerRole,
        at: Timestamp,
        reason: String,
    },
    /// The planning system has marked the plan as rejected since.
    Rejected,
    /// The same person has signed it again since.
    SignedAgain,
    /// It is over what another plan delivers than the one that is here now.
    AnotherDelivery,
    /// Something else stands beside the plan now.
    ContextDiffers {
        parts: Vec<ContextPart>,
    },
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unverified { why } => write!(f, "it proves nothing: {why}"),
            Self::KeyEnded { all: true, .. } => f.write_str("all signatures of this key were ended"),
            Self::KeyEnded { all: false, .. } => f.write_str("this key was ended before"),
            Self::Withdrawn { role, reason, .. } => write!(f, "the {role} took the plan’s approval back: {reason}"),
            Self::Rejected => f.write_str("the planning system has marked the plan as rejected since"),
            Self::SignedAgain => f.write_str("the same person has signed again since"),
            Self::AnotherDelivery => f.write_str("the plan that is here now delivers something else"),
            Self::ContextDiffers { parts } => {
                let parts = parts.iter().map(ContextPart::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "another one stands beside the plan now: {parts}")
            }
        }
    }
}

impl Void {
    /// When, where that is said.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::KeyEnded { at, .. } | Self::Withdrawn { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// It has no force over what it was signed for, either.
    pub(crate) fn is_for_good(&self) -> bool {
        !matches!(self, Self::AnotherDelivery | Self::ContextDiffers { .. })
    }
}

impl Facts {
    /// Files of her plans that are here, in the order in which they came.
    pub(crate) fn files(&self, chart: &Chart) -> Result<Vec<PlanFile>, ChartError> {
        let mut files = Vec::new();
        for (uid, came) in &self.known {
            for one in came.iter().filter(|one| one.is_stored) {
                files.push(PlanFile {
                    entry: one.entry,
                    uid: uid.clone(),
                    delivery: one.digest,
                    is_for_qa: one.is_for_qa,
                    is_signed: chart.newest(&approvals_of_file(chart, one.entry))?.is_some(),
                });
            }
        }
        files.sort_by_key(|file| file.entry);
        Ok(files)
    }

    /// Everybody's approvals of any delivery of hers, in the order in which they came, with what holds of each whatever is here now.
    pub(crate) fn signings(
        &self,
        chart: &Chart,
        permit: &Permit,
        signers: Signers<'_>,
    ) -> Result<Vec<Signing>, ChartError> {
        let entries = chart.listed(&chart.list_tag(APPROVALS, &self.patient.0), LIST_MAX)?;
        let mut seen = BTreeSet::new();
        let mut signings = Vec::new();
        for Released { entry, bytes, .. } in chart.release(permit, &entries)? {
            // What was handed in before says nothing new, whoever hands it in again.
            let Ok(approval) = Approval::decode(&bytes) else { continue };
            if !seen.insert(approval.encode()) || !approval.statement().approves() {
                continue;
            }
            signings.push(self.signing(entry, &approval, signers));
        }
        Ok(signings)
    }

    fn signing(&self, entry: u64, approval: &Approval, signers: Signers<'_>) -> Signing {
        let (statement, people) = (approval.statement().clone(), signers.people);
        let mut void = Vec::new();
        let key = match approval.verify(signers.origin, people.enrolments()) {
            Ok(verified) => Some(verified.key()),
            Err(error) => {
                void.push(Void::Unverified { why: error.to_string() });
                None
            }
        };
        if key.is_some()
            && approval.verify(signers.origin, people.counting(entry)).is_err()
            && let Some(ended) = key.and_then(|key| people.ended(key))
        {
            void.push(Void::KeyEnded { at: ended.at, all: ended.reach == Reach::All });
        }
        if let Some((since, withdrawn)) = self.withdrawn.get(&statement.delivery)
            && *since > entry
        {
            let (role, at, reason) = (withdrawn.role, withdrawn.at, withdrawn.reason.clone());
            void.push(Void::Withdrawn { role, at, reason });
        }
        Signing { entry, statement, key, void }
    }

    /// Of signatures over what was signed or is here now, what holds beside the plan that is here. `now`: with what stands beside it.
    pub(crate) fn hold_against(
        &self,
        chart: &Chart,
        signings: &mut [Signing],
        (now, context): (&Plan, &PlanContext),
    ) -> Result<(), ChartError> {
        let rejected = self.rejected_in(chart, now)?;
        let newest: Vec<bool> = (signings.iter().enumerate())
            .map(|(at, one)| {
                let is_same = |later: &Signing| {
                    let (one, later) = (&one.statement, &later.statement);
                    (one.role, &one.signer, one.delivery) == (later.role, &later.signer, later.delivery)
                };
                !signings.iter().skip(at + 1).any(|later| later.void.is_empty() && is_same(later))
            })
            .collect();
        for (one, is_newest) in signings.iter_mut().zip(newest) {
            if !is_newest {
                one.void.push(Void::SignedAgain);
            } else if one.statement.delivery != now.digest() {
                one.void.push(Void::AnotherDelivery);
            } else {
                one.void.extend(rejected.filter(|rejected| *rejected > one.entry).map(|_| Void::Rejected));
                let parts = context.changed_since(one.statement.context.as_ref());
                one.void.extend((!parts.is_empty()).then_some(Void::ContextDiffers { parts }));
            }
        }
        Ok(())
    }
}
