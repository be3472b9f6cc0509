//! Signing on a page, by a passkey: what somebody is about to say is a text that she reads, and what her authenticator signs is its hash.

use chart::Context;
use guard::{Act, Assertion, Permit, Role, Sensitivity, Target};
use kit::{Blame, Fault, PatientId};

use super::list::{birth_date, display_name};
use super::{Approved, Result, Treatment};
use crate::gate::{context, facts};
use crate::plan::Plan;
use crate::signing::approval::{Approval, SignerRole, Statement};

/// A page that is older is read anew before it is signed.
const STATEMENT_LIFE_MS: i64 = 15 * 60_000;

/// A plan, and what is said of it by signing.
#[derive(Clone, Debug)]
pub struct ToSign {
    pub name: String,
    pub number: String,
    pub birth_date: String,
    /// RT Plan Label (300A,0002).
    pub label: String,
    pub statement: Statement,
}

impl Treatment {
    /// As whom, and under which name, this login signs by its passkeys; none where it doesn't.
    pub fn signs_as(&self, login: &str) -> Result<Option<(SignerRole, String)>> {
        let people = self.people()?;
        let mut counting = people.counting(u64::MAX);
        let hers = counting.find(|one| one.passkey().is_some_and(|passkey| passkey.login == login));
        Ok(hers.map(|one| (one.role, one.signer.clone())))
    }

    /// What she who asks would sign of the newest plan under this SOP Instance UID. `patient`: hospital number or FHIR id.
    pub fn to_sign(&self, context: &Context, patient: &str, uid: &str) -> Result<ToSign> {
        let (permit, patient, who) = self.signing_permit(context, patient)?;
        let (plan, _, record) = self.newest_plan(&permit, patient, uid)?;
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        let with = context::of_plan(&self.chart, &facts, &plan, Some(&permit)).map_err(|e| e.fault())?;
        let statement = self.statement_of(patient, plan.digest(), who.0, &who.1);
        let (name, number, birth_date) = record;
        let statement = Statement { context: Some(with), ..statement };
        Ok(ToSign { name, number, birth_date, label: plan.label.clone().unwrap_or_default(), statement })
    }

    /// Takes in what she has signed by her passkey.
    pub fn sign_by_passkey(
        &self,
        context: &Context,
        (patient, uid): (&str, &str),
        statement: &[u8],
        assertion: Assertion,
    ) -> Result<Approved> {
        let wrong = |code: &str, text: &str| Fault::new(Blame::Peer, code, text.to_owned());
        let (permit, patient, who) = self.signing_permit(context, patient)?;
        let statement = Statement::decode(statement)?;
        let age_ms = self.chart.now().0.saturating_sub(statement.at.0);
        if !(0..STATEMENT_LIFE_MS).contains(&age_ms) {
            let text = "the page was shown more than 15 minutes ago: read it anew, then sign";
            return Err(wrong("treatment.signing.late", text));
        }
        if (statement.role, statement.signer.as_str()) != (who.0, who.1.as_str()) {
            return Err(wrong("treatment.signing.another", "what was signed is somebody else's to sign"));
        }
        let (_, file, _) = self.newest_plan(&permit, patient, uid)?;
        self.approve(context, patient, file, &Approval::by_passkey(statement, assertion)?)
    }

    fn signing_permit(&self, context: &Context, patient: &str) -> Result<(Permit, PatientId, (SignerRole, String))> {
        let found = self.chart.find_patient(patient).map_err(|e| e.fault())?;
        let target = found.map_or(Target::Centre, Target::Patient);
        let permit =
            self.chart.admit(context, Act::ApprovePlan, target, Sensitivity::Clinical).map_err(|e| e.fault())?;
        let absent = || Fault::new(Blame::Absent, "patient.unknown", "no patient has this id or identifier");
        let who = self.signs_as(context.caller.subject())?;
        let fits = |role: SignerRole| match role {
            SignerRole::Oncologist => context.caller.role() == Role::Oncologist,
            SignerRole::Physicist => context.caller.role() == Role::Physicist,
        };
        let who = who.filter(|(role, _)| fits(*role)).ok_or_else(|| {
            let text = "this login signs nothing by its passkeys";
            Fault::new(Blame::Forbidden, "treatment.signing.not-enrolled", text)
                .guidance("`holdfast person new --name … --role … --login …` enrols it at the server's terminal")
        })?;
        Ok((permit, found.ok_or_else(absent)?, who))
    }

    /// With its file, and her name, number and birth date.
    #[allow(clippy::type_complexity)] // two callers, which take it apart at once
    fn newest_plan(
        &self,
        permit: &Permit,
        patient: PatientId,
        uid: &str,
    ) -> Result<(Plan, Vec<u8>, (String, String, String))> {
        let people = self.people()?;
        let facts = facts::read_one(&self.chart, permit, patient, self.signers(&people))?;
        let files = facts.files(&self.chart).map_err(|e| e.fault())?;
        let unknown = || Fault::new(Blame::Absent, "plan.unknown", "she has no plan with this UID");
        let file = files.iter().rev().find(|file| file.uid == uid).ok_or_else(unknown)?;
        let released = self.chart.release(permit, &[file.entry]).map_err(|e| e.fault())?;
        let bytes = released.into_iter().next().map(|one| one.bytes.to_vec()).unwrap_or_default();
        let number = facts.identifiers.first().cloned().unwrap_or_default();
        Ok((Plan::parse(&bytes)?, bytes, (display_name(&facts.record), number, birth_date(&facts.record))))
    }
}
