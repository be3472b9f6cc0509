//! An outage, and everybody on treatment: who is hit, who first, what can be done, and what a physician has chosen.

use std::collections::BTreeSet;

use chart::{ChartError, Context};
use guard::{Act, Permit, Sensitivity, Target};
use kit::{Blame, Digest, Fault, PatientId, Timestamp, UtcOffset};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::list::{as_text, birth_date, display_name};
use super::{Result, Treatment};
use crate::gate::facts::{self, CHOICES, Facts};
use crate::given::Given;
use crate::interruption::calendar::Day;
use crate::interruption::rules::{FORM, Rules};
use crate::interruption::triage::{Case, Chosen, Outage, Places, Weighing, urgency, weigh};
use crate::plan::{FractionGroup, Plan};
use crate::signing::approval::{Approval, SignerRole, Statement};
use crate::signing::people::People;
use crate::signing::site_rules::{RulesStatement, SignedRules};

/// The list of signed rules.
const RULES: &str = "rules";
/// The same of one signed file.
const RULES_AS: &str = "rules-as";
/// Files that are looked at, the newest ones; a centre signs a few a year.
const RULES_MAX: usize = 1_000;
/// Diagnoses of one patient that are looked at.
const CONDITIONS_MAX: usize = 50;
const ICD10: &str = "http://hl7.org/fhir/sid/icd-10";

/// By what was weighed.
#[derive(Clone, Debug, Serialize)]
pub struct RulesInForce {
    /// SHA-256 of the file.
    pub digest: Option<Digest>,
    /// The physicist who has signed it; none where nobody has, and figures of common use stand in.
    pub signer: Option<String>,
    pub at: Option<Timestamp>,
}

/// Everybody whose course an outage hits, those who are to be seen to first at the top.
#[derive(Clone, Debug, Serialize)]
pub struct Triage {
    pub as_of: Timestamp,
    #[serde(serialize_with = "as_text")]
    pub utc_offset: UtcOffset,
    pub outage: Outage,
    pub rules: RulesInForce,
    pub rows: Vec<TriageRow>,
    /// Whose records can't be opened, or are too many: how many, and why.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TriageRow {
    pub name: String,
    pub number: String,
    pub birth_date: String,
    pub phone: Option<String>,
    pub plan: String,
    pub delivery: Digest,
    pub fraction_group: u32,
    pub machine: String,
    /// Treatment Machine Names of all its beams that treat.
    #[serde(skip)]
    machines: BTreeSet<String>,
    pub icd10: Vec<String>,
    #[serde(flatten)]
    pub weighing: Weighing,
    /// What a physician has signed for this outage, the newest.
    pub chosen: Option<Chosen>,
}

impl Treatment {
    /// Courses of patients on treatment, as an outage of these days leaves them.
    pub fn triage(&self, context: &Context, outage: Outage) -> Result<Triage> {
        let (permit, as_of, living) = self.admit_to_list(context)?;
        let people = self.people()?;
        let (rules, in_force) = self.rules_by(&people)?;
        let (mut rows, mut unread) = (Vec::new(), Vec::new());
        for facts in facts::read(&self.chart, &permit, &living, self.signers(&people)) {
            match facts {
                Ok(facts) => rows.extend(self.hit(&permit, &facts, &rules, outage)?),
                Err(fault) if matches!(fault.blame, Blame::Integrity | Blame::Conflict) => unread.push(fault.message),
                Err(fault) => return Err(fault),
            }
        }
        rows.sort_by_cached_key(|row| (urgency(&row.weighing), row.number.clone()));
        let mut places = Places::new(&rules);
        // What somebody has signed goes first.
        for is_chosen in [true, false] {
            for row in rows.iter_mut().filter(|row| row.chosen.is_some() == is_chosen) {
                places.give(&mut row.weighing, &row.machines, row.chosen.as_ref());
            }
        }
        Ok(Triage { as_of, utc_offset: self.utc_offset, outage, rules: in_force, rows, unread })
    }

    fn hit(&self, permit: &Permit, facts: &Facts, rules: &Rules, outage: Outage) -> Result<Vec<TriageRow>> {
        let codes = self.icd10_of(permit, facts.patient).map_err(|e| e.fault())?;
        let (mut seen, mut uids) = (BTreeSet::new(), BTreeSet::new());
        let mut rows = Vec::new();
        // What stands under one SOP Instance UID is one plan, the newest; the same delivery under another one is no other.
        let mut is_new = |plan: &&Plan| uids.insert(plan.instance.sop_instance.clone()) && seen.insert(plan.digest());
        for plan in facts.ever_signed_files().rev().filter(|plan| is_new(plan)) {
            for group in &plan.groups {
                let case = Case {
                    is_palliative: plan.is_palliative(),
                    tumour: rules.tumour(codes.iter().map(String::as_str)),
                    dose_gy: plan.target_dose(group).map(|dose| dose.gy()),
                    planned: group.fractions_planned,
                    last_treated: facts.last_treated().and_then(Day::of_dicom),
                    is_withdrawn: facts.withdrawn(plan.digest()).is_some(),
                    per_day: u32::try_from(plan.most_a_day(group)).unwrap_or(u32::MAX),
                    machines: (plan.beams.iter())
                        .filter(|beam| beam.treats && group.beams.contains(&beam.number))
                        .map(|beam| beam.machine.as_str())
                        .collect(),
                    given: self.days_given(facts, plan, group)?,
                };
                let Some(weighing) = weigh(&case, rules, outage) else { continue };
                let machines = case.machines.iter().map(|&name| name.to_owned()).collect();
                rows.push(TriageRow {
                    name: display_name(&facts.record),
                    number: facts.identifiers.first().cloned().unwrap_or_default(),
                    birth_date: birth_date(&facts.record),
                    phone: phones(&facts.record).next().map(str::to_owned),
                    plan: plan.label.clone().unwrap_or_default(),
                    delivery: plan.digest(),
                    fraction_group: group.number,
                    machine: plan.beams.first().map(|beam| beam.machine.clone()).unwrap_or_default(),
                    machines,
                    icd10: codes.clone(),
                    chosen: facts.chosen(plan.digest(), outage),
                    weighing,
                });
            }
        }
        Ok(rows)
    }

    /// On which days fractions of a plan were given; why that isn't known.
    fn days_given(
        &self,
        facts: &Facts,
        plan: &Plan,
        group: &FractionGroup,
    ) -> Result<std::result::Result<Vec<Day>, String>> {
        let given = facts.given(&self.chart, plan, Some(group.number)).map_err(|e| e.fault())?;
        let count = match &given {
            Given::Known { .. } => given.fractions().unwrap_or(0),
            Given::Unknown { why } => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                return Ok(Err(why.join("; ")));
            }
        };
        let days = facts.fraction_days(plan, group);
        let known: Option<Vec<Day>> = days.iter().map(|day| Day::of_dicom(day)).collect();
        Ok(match known {
            Some(days) if u32::try_from(days.len()) == Ok(count) => Ok(days),
            _ => Err(format!("{count} fractions count as given, and the records tell the days of {}", days.len())),
        })
    }

    /// Beginnings of her living diagnoses' ICD-10 codes.
    fn icd10_of(&self, permit: &Permit, patient: PatientId) -> std::result::Result<Vec<String>, ChartError> {
        let mut codes = BTreeSet::new();
        for condition in self.diagnoses_of(permit, patient)? {
            let codings = condition.pointer("/code/coding").and_then(Value::as_array).into_iter().flatten();
            let icd10 = codings.filter(|coding| {
                coding.get("system").and_then(Value::as_str).is_some_and(|system| system.starts_with(ICD10))
            });
            codes.extend(icd10.filter_map(|coding| coding.get("code")?.as_str().map(str::to_owned)));
        }
        Ok(codes.into_iter().collect())
    }

    /// Her diagnoses that stand: FHIR Conditions that nobody has refuted.
    pub(super) fn diagnoses_of(
        &self,
        permit: &Permit,
        patient: PatientId,
    ) -> std::result::Result<Vec<Value>, ChartError> {
        let entries = self.chart.current_of(patient, "Condition", CONDITIONS_MAX)?;
        let all = self.chart.release(permit, &entries)?;
        let all = all.iter().filter_map(|released| serde_json::from_slice::<Value>(&released.bytes).ok());
        let stands = |condition: &Value| {
            let status = condition.pointer("/verificationStatus/coding/0/code").and_then(Value::as_str);
            !matches!(status, Some("refuted" | "entered-in-error"))
        };
        Ok(all.filter(stands).collect())
    }

    /// The rules that a physicist signed last, and whose signature still counts; else those of common use.
    pub fn rules(&self) -> Result<(Rules, RulesInForce)> {
        self.rules_by(&self.people()?)
    }

    pub(super) fn rules_by(&self, people: &People) -> Result<(Rules, RulesInForce)> {
        let list = self.chart.list_tag(RULES, &[]);
        let mut entries = self.chart.listed_back(&list, u64::MAX, RULES_MAX).map_err(|e| e.fault())?;
        entries.reverse();
        let (mut newest, mut seen) = (None, BTreeSet::new());
        for entry in entries {
            let (_, meta) = self.chart.note_of(entry).map_err(|e| e.fault())?;
            // The ledger's order, not the signer's clock; and what is handed in once more is no newer for that.
            if !seen.insert(Digest(Sha256::digest(&meta.note[..]).into())) {
                continue;
            }
            let signed = SignedRules::decode(&meta.note)?;
            // Of somebody whose key counts no longer, the ones before count again.
            let Ok(file) = signed.verify(&self.origin, people.counting(entry)) else { continue };
            let RulesStatement { signer, at, rules, .. } = signed.statement().clone();
            let in_force = RulesInForce { digest: Some(rules), signer: Some(signer), at: Some(at) };
            newest = Some((Rules::parse(file)?, in_force));
        }
        if let Some(newest) = newest {
            return Ok(newest);
        }
        Ok((Rules::parse(FORM.as_bytes())?, RulesInForce { digest: None, signer: None, at: None }))
    }

    /// What a physicist is about to sign: that the centre weighs by this file.
    pub fn rules_statement(&self, file: &[u8], signer: &str) -> Result<RulesStatement> {
        Rules::parse(file)?;
        let (centre, at) = (self.origin.clone(), self.chart.now());
        Ok(RulesStatement::of(file, centre, SignerRole::Physicist, signer.to_owned(), at))
    }

    /// Takes in a file that a physicist has signed. It counts from now on.
    pub fn take_rules(&self, context: &Context, signed: &SignedRules) -> Result<()> {
        let people = self.people()?;
        if signed.statement().role != SignerRole::Physicist {
            return Err(Fault::new(Blame::Peer, "treatment.rules.role", "rules are a physicist's to sign"));
        }
        Rules::parse(signed.verify(&self.origin, people.counting(u64::MAX))?)?;
        let permit = self
            .chart
            .admit(context, Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
            .map_err(|e| e.fault())?;
        // However often it is handed in, it stands there once: others aren't pushed out of sight.
        let bytes = signed.encode();
        let as_this = self.chart.list_tag(RULES_AS, &Sha256::digest(&bytes));
        if self.chart.newest(&as_this).map_err(|e| e.fault())?.is_none() {
            let lists = vec![self.chart.list_tag(RULES, &[]), as_this];
            self.chart.append_note(&permit, "treatment.rules", lists, bytes).map_err(|e| e.fault())?;
        }
        Ok(())
    }

    /// Takes in what a physician has chosen for one course.
    pub fn choose(&self, context: &Context, approval: &Approval) -> Result<Digest> {
        let Statement { patient, delivery, role, chooses, .. } = approval.statement().clone();
        let days = chooses.filter(|_| role == SignerRole::Oncologist).and_then(|chooses| {
            let (first, last) = (chooses.first.parse::<Day>().ok()?, chooses.last.parse::<Day>().ok()?);
            Some((first, last))
        });
        if days.is_none_or(|(first, last)| first > last) {
            let text = "what was signed is no oncologist's choice for an interruption";
            return Err(Fault::new(Blame::Peer, "treatment.choice.mismatch", text));
        }
        let (people, permit) = self.signed_now(context, approval)?;
        let facts = facts::read_one(&self.chart, &permit, patient, self.signers(&people))?;
        if !facts.approvals.iter().any(|one| one.statement().delivery == delivery) {
            let text = "nobody's approval of this delivery for this patient is in force";
            return Err(Fault::new(Blame::Peer, "treatment.choice.not-approved", text));
        }
        self.keep_word(&permit, CHOICES, "treatment.choice", approval)?;
        Ok(delivery)
    }
}

/// Where she can be reached.
pub(super) fn phones(record: &Value) -> impl Iterator<Item = &str> {
    let telecom = record.get("telecom").and_then(Value::as_array).into_iter().flatten();
    let is_phone = |one: &&Value| matches!(one.get("system").and_then(Value::as_str), Some("phone" | "sms"));
    telecom.filter(is_phone).filter_map(|one| one.get("value")?.as_str())
}
