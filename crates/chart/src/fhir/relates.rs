//! Whom a record relates to its patient, how, and from when until when: an appointment relates the physician who is to see her.
//!
//! Named are people and the small groups that they belong to (PractitionerRole, HealthcareService, CareTeam), never an Organization: a whole
//! hospital explains nothing.

use guard::Relation;
use kit::Timestamp;

use super::instant::{Span, parse_date_time};
use super::reference::{self, Reference};
use super::resource::{Resource, find};
use super::search::token;

const DAY_MS: i64 = 86_400_000;
/// One resource's: a tumour board's list is shorter.
pub const RELATED_MAX: usize = 64;

/// By what a record names somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// `Type/id` of this centre.
    Reference(String),
    /// An identifier, as searches compare it.
    Identifier(String),
}

/// Somebody, why, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    pub who: Named,
    pub relation: Relation,
    pub from: Option<Timestamp>,
    /// None: for as long as the record says so.
    pub until: Option<Timestamp>,
}

/// How one type of record relates people.
struct Rule {
    kind: &'static str,
    relation: Relation,
    who: &'static [&'static str],
    /// Where it begins and ends, the first that is there.
    start: &'static [&'static str],
    end: &'static [&'static str],
    /// Days in which she gets ready for it, and in which she writes it up.
    before: i64,
    after: i64,
    /// `status` of one that doesn't take place.
    dead: &'static [&'static str],
    /// `status` in which it goes on without an end.
    goes_on: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        kind: "Appointment",
        relation: Relation::Appointment,
        who: &["participant.actor"],
        start: &["start", "requestedPeriod.start"],
        end: &["end", "requestedPeriod.end"],
        before: 7,
        after: 30,
        dead: &["cancelled", "noshow", "entered-in-error"],
        goes_on: &[],
    },
    Rule {
        kind: "Encounter",
        relation: Relation::Encounter,
        who: &["participant.individual"],
        start: &["period.start"],
        end: &["period.end"],
        before: 1,
        after: 30,
        dead: &["cancelled", "entered-in-error", "unknown"],
        goes_on: &["arrived", "triaged", "in-progress", "onleave"],
    },
    Rule {
        kind: "Procedure",
        relation: Relation::Encounter,
        who: &["performer.actor"],
        start: &["performedDateTime", "performedPeriod.start"],
        end: &["performedPeriod.end"],
        before: 7,
        after: 30,
        dead: &["not-done", "entered-in-error"],
        goes_on: &["in-progress"],
    },
    Rule {
        kind: "CareTeam",
        relation: Relation::CareTeam,
        who: &["participant.member"],
        start: &["period.start"],
        end: &["period.end"],
        before: 7,
        after: 30,
        dead: &["inactive", "entered-in-error"],
        goes_on: &["", "active", "proposed", "suspended"],
    },
    Rule {
        kind: "EpisodeOfCare",
        relation: Relation::CareTeam,
        who: &["careManager"],
        start: &["period.start"],
        end: &["period.end"],
        before: 7,
        after: 30,
        dead: &["cancelled", "entered-in-error"],
        goes_on: &["planned", "waitlist", "active", "onhold"],
    },
    Rule {
        kind: "ServiceRequest",
        relation: Relation::Order,
        // Not who orders it: whoever has her login orders something for everybody, and another program writes it.
        who: &["performer"],
        start: &["authoredOn", "occurrenceDateTime", "occurrencePeriod.start"],
        end: &["occurrencePeriod.end", "occurrenceDateTime"],
        before: 1,
        after: 60,
        dead: &["draft", "revoked", "entered-in-error", "unknown"],
        goes_on: &[],
    },
    Rule {
        kind: "Task",
        relation: Relation::Order,
        who: &["owner"],
        start: &["authoredOn", "executionPeriod.start"],
        end: &["executionPeriod.end", "lastModified"],
        before: 1,
        after: 60,
        dead: &["draft", "rejected", "cancelled", "failed", "entered-in-error"],
        goes_on: &[],
    },
    Rule {
        kind: "DiagnosticReport",
        relation: Relation::Order,
        who: &["performer", "resultsInterpreter"],
        start: &["effectiveDateTime", "effectivePeriod.start", "issued"],
        end: &["issued", "effectivePeriod.end"],
        before: 7,
        after: 30,
        dead: &["cancelled", "entered-in-error", "unknown"],
        goes_on: &[],
    },
];

impl Resource {
    /// Whom this record relates to its patient; the first [`RELATED_MAX`].
    pub fn relates(&self) -> Vec<Related> {
        let rules = RULES.iter().filter(|rule| rule.kind == self.kind());
        rules.flat_map(|rule| self.relates_by(rule)).take(RELATED_MAX).collect()
    }

    fn text_at(&self, path: &str) -> Option<&str> {
        find(self.json(), path).first()?.as_str()
    }

    fn span(&self, paths: &[&str]) -> Option<Span> {
        paths.iter().find_map(|path| self.text_at(path)).and_then(parse_date_time)
    }

    fn relates_by(&self, rule: &Rule) -> Vec<Related> {
        let status = self.text_at("status").unwrap_or_default();
        if rule.dead.contains(&status) {
            return Vec::new();
        }
        let (start, end) = (self.span(rule.start), self.span(rule.end));
        let goes_on = end.is_none() && rule.goes_on.contains(&status);
        // What says neither when nor that it goes on explains no time.
        let Some(last) = end.or(start).filter(|_| start.is_some() || end.is_some() || goes_on) else {
            return if goes_on { self.named(rule, None, None) } else { Vec::new() };
        };
        let from = start.map(|start| start.start.plus_ms(-rule.before * DAY_MS));
        let until = (!goes_on).then(|| last.end.plus_ms(rule.after * DAY_MS));
        self.named(rule, from, until)
    }

    fn named(&self, rule: &Rule, from: Option<Timestamp>, until: Option<Timestamp>) -> Vec<Related> {
        let names = rule.who.iter().flat_map(|path| find(self.json(), path)).flat_map(names);
        names.map(|who| Related { who, relation: rule.relation, from, until }).collect()
    }

    /// Of a PractitionerRole: whose it is, and by which other names she is meant as well.
    pub fn roles(&self) -> Option<(Named, Vec<Named>)> {
        let is_over = matches!(self.json().get("active"), Some(fhirkit::Json::Bool(false)));
        if self.kind() != "PractitionerRole" || is_over {
            return None;
        }
        let whose = find(self.json(), "practitioner").into_iter().flat_map(names).next()?;
        Some((whose, find(self.json(), "healthcareService").into_iter().flat_map(names).collect()))
    }
}

/// What a Reference names.
fn names(at: &fhirkit::Json) -> Vec<Named> {
    let part = |of: &fhirkit::Json, key: &str| of.get(key).and_then(fhirkit::Json::as_str).map(str::to_owned);
    let literal = part(at, "reference");
    let by_reference = literal.as_deref().and_then(reference::parse).and_then(|reference| match reference {
        Reference::Local { kind: kind @ ("Practitioner" | "PractitionerRole" | "HealthcareService"), id } => {
            Some(Named::Reference(format!("{kind}/{id}")))
        }
        _ => None,
    });
    let identifier = at.get("identifier").and_then(|identifier| {
        let (system, value) = (part(identifier, "system"), part(identifier, "value")?);
        Some(Named::Identifier(token(system.as_deref(), &value)))
    });
    by_reference.into_iter().chain(identifier).collect()
}
