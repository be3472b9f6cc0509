//! The Cedar policy: rules of a centre, or those that are built in, and beside them what none of them can allow; strictly validated at
//! construction, and asked here only.
//!
//! Cedar skips a rule that fails to evaluate, so a `forbid` that fails would fail open. Therefore any error in a
//! response's diagnostics is a denial.

pub(crate) mod bundle;
pub(crate) mod chain;
mod shape;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::thread;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, Response, RestrictedExpression, Schema, ValidationMode, Validator,
};

use kit::{Blame, Digest, Explain, PatientId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::decision::Reason;
use crate::{Act, Purpose, Relation, Role, Sensitivity, Target};

const SCHEMA: &str = include_str!("policy/holdfast.cedarschema");
const RULES: &str = include_str!("policy/rules.cedar");
const NEVER: &str = include_str!("policy/never.cedar");

/// Bytes of a centre's rules: those that are built in are under 5,000.
pub const RULES_BYTES_MAX: usize = 64 * 1024;

/// A rule's name stands in each decision that it makes: a short sentence.
const ID_CHARACTERS_MAX: usize = 64;
/// Of the rules that decided: many may allow one thing.
const NAMED_BYTES_MAX: usize = 512;
/// For Cedar's parser and validator, which recurse: whoever's thread asks.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Rules that don't hold together. Of those that are built in it is a defect of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy's schema: {0}")]
    Schema(String),
    #[error("the policy: {0}")]
    Syntax(String),
    #[error("the policy does not fit its schema: {0}")]
    Invalid(String),
    #[error("rule {0} of the policy has no @id, or one that another rule has")]
    Unnamed(String),
    #[error("a word of the policy: {0}")]
    Word(String),
    #[error("the rules are {found} bytes, maximum is {RULES_BYTES_MAX}")]
    TooLong { found: usize },
    #[error("a rule is called {0}, as one that is always in force")]
    Reserved(String),
    #[error("{0} is a template: rules here are whole")]
    Template(String),
    #[error("rule {0} names a patient: rules are for all of them")]
    NamesPatient(String),
    #[error("rule {rule} nests deeper than {maximum}")]
    TooDeep { rule: usize, maximum: usize },
    #[error("rule {rule} has more than {maximum} operators")]
    TooManySteps { rule: usize, maximum: usize },
    #[error("there are {found} rules, maximum is {maximum}")]
    TooManyRules { found: usize, maximum: usize },
    #[error("the @id of a rule is 1 to {ID_CHARACTERS_MAX} small letters, digits and -; one has {0} characters")]
    BadId(usize),
}

impl Explain for PolicyError {
    /// Whoever brought the rules.
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Schema(_) | Self::Word(_) => "guard.policy.schema",
            Self::Syntax(_) => "guard.policy.syntax",
            Self::Invalid(_) => "guard.policy.invalid",
            Self::Unnamed(_) => "guard.policy.unnamed",
            Self::TooLong { .. } => "guard.policy.too-long",
            Self::Reserved(_) => "guard.policy.reserved",
            Self::Template(_) => "guard.policy.template",
            Self::NamesPatient(_) => "guard.policy.names-patient",
            Self::TooDeep { .. } | Self::TooManySteps { .. } | Self::TooManyRules { .. } => "guard.policy.too-deep",
            Self::BadId(_) => "guard.policy.bad-id",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(
            "begin with what `holdfast policy show` prints, and look at docs/policy.md for the words that rules can speak of",
        )
    }
}

/// A question, whole.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub role: Role,
    pub act: Act,
    pub target: Target,
    pub sensitivity: Sensitivity,
    pub purpose: Purpose,
    pub relation: Relation,
}

impl Question {
    /// All that there are; of patients, one, to whom nothing relates whoever asks.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let targets = [Target::Centre, Target::Patient(PatientId([0; 16]))];
        let of_role = |role: &'static Role| Act::ALL.iter().map(move |act| (*role, *act));
        let of_act = |(role, act)| Sensitivity::ALL.iter().map(move |sensitivity| (role, act, *sensitivity));
        let of_data =
            |(role, act, sensitivity)| Purpose::ALL.iter().map(move |purpose| (role, act, sensitivity, *purpose));
        let all = Role::ALL.iter().flat_map(of_role).flat_map(of_act).flat_map(of_data);
        all.flat_map(move |(role, act, sensitivity, purpose)| {
            targets.map(|target| Self { role, act, target, sensitivity, purpose, relation: Relation::Unexplained })
        })
    }

    /// The same of somebody who is related to the patient in each way that there is.
    pub(crate) fn of_each_relation(self) -> impl Iterator<Item = Self> {
        Relation::ALL.iter().map(move |relation| Self { relation: *relation, ..self })
    }

    const COUNT: usize =
        Role::ALL.len() * Act::ALL.len() * Sensitivity::ALL.len() * Purpose::ALL.len() * 2 * Relation::ALL.len();

    /// Its place among all that can be asked. Rules can't tell one patient from another.
    fn number(&self) -> usize {
        let Self { role, act, target, sensitivity, purpose, relation } = *self;
        let places = [
            (role as usize, Role::ALL.len()),
            (act as usize, Act::ALL.len()),
            (sensitivity as usize, Sensitivity::ALL.len()),
            (purpose as usize, Purpose::ALL.len()),
            (usize::from(target != Target::Centre), 2),
            (relation as usize, Relation::ALL.len()),
        ];
        places.into_iter().fold(0, |number, (place, of)| number * of + place)
    }
}

/// What one policy allows and another one doesn't: of one role and act, on one kind of data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub role: Role,
    pub act: Act,
    pub sensitivity: Sensitivity,
    /// About one patient; else about the centre, or a search over it.
    pub of_patient: bool,
    pub purposes: Vec<Purpose>,
    /// For whoever is related to her so; none: whatever the relation.
    pub relation: Option<Relation>,
    /// Else, it may no longer.
    pub may_now: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, act, sensitivity, of_patient, purposes, relation, may_now } = self;
        let may = if *may_now { "may now" } else { "may no longer" };
        let whose = if *of_patient { "one patient" } else { "the centre" };
        let purposes = purposes.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>().join(", ");
        write!(f, "{role} {may} {act}: {sensitivity} data of {whose}, for {purposes}")?;
        match relation {
            None => Ok(()),
            Some(Relation::Unexplained) => f.write_str(", where nothing relates them"),
            Some(relation) => write!(f, ", where {relation} relates them"),
        }
    }
}

/// The rules that allow, or why none do.
type Answer = Result<Arc<str>, Reason>;

/// Rules, and what is never allowed.
pub struct Policy {
    text: String,
    digest: Digest,
    /// Where they don't, all relations are one question.
    speaks_of_relations: bool,
    schema: Schema,
    rules: PolicySet,
    /// The acts and their groups.
    entities: Entities,
    authorizer: Authorizer,
    types: Types,
    /// What was answered before: a question is all that rules can see.
    answers: Box<[OnceLock<Answer>]>,
}

struct Types {
    role: EntityTypeName,
    act: EntityTypeName,
    centre: EntityTypeName,
    patient: EntityTypeName,
    sensitivity: EntityTypeName,
    purpose: EntityTypeName,
    relation: EntityTypeName,
}

impl Policy {
    /// The rules that are built in.
    pub fn built_in() -> Result<Arc<Self>, PolicyError> {
        static BUILT_IN: OnceLock<Result<Arc<Policy>, PolicyError>> = OnceLock::new();
        BUILT_IN.get_or_init(|| Self::of_centre(RULES).map(Arc::new)).clone()
    }

    /// Rules in Cedar's language, each with an `@id` of its own, and beside them what is never allowed.
    pub fn of_centre(rules: &str) -> Result<Self, PolicyError> {
        if rules.len() > RULES_BYTES_MAX {
            return Err(PolicyError::TooLong { found: rules.len() });
        }
        shape::check(rules)?;
        let read = || Self::read(rules);
        let failed = |why: String| PolicyError::Syntax(format!("the rules could not be read: {why}"));
        thread::scope(|scope| {
            let reader = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
            let done = reader.map_err(|e| failed(e.to_string()))?.join();
            done.unwrap_or_else(|_| Err(failed("the parser gave up".to_owned())))
        })
    }

    fn read(rules: &str) -> Result<Self, PolicyError> {
        let text = rules.to_owned();
        let schema = Schema::from_str(SCHEMA).map_err(|e| PolicyError::Schema(e.to_string()))?;
        let mut rules = named(rules)?;
        for rule in named(NEVER)?.policies() {
            rules.add(rule.clone()).map_err(|_| PolicyError::Reserved(rule.id().to_string()))?;
        }
        let result = Validator::new(schema.clone()).validate(&rules, ValidationMode::Strict);
        // A warning (a rule that can never apply, a name that looks like another) is a mistake as well.
        if !result.validation_passed_without_warnings() {
            return Err(PolicyError::Invalid(result.to_string()));
        }
        let entities = Entities::from_entities([], Some(&schema)).map_err(|e| PolicyError::Schema(e.to_string()))?;
        let name = |text| EntityTypeName::from_str(text).map_err(|e| PolicyError::Word(e.to_string()));
        let types = Types {
            role: name("Role")?,
            act: name("Action")?,
            centre: name("Centre")?,
            patient: name("Patient")?,
            sensitivity: name("Sensitivity")?,
            purpose: name("Purpose")?,
            relation: name("Relation")?,
        };
        for rule in rules.policies() {
            if rule.entity_literals().iter().any(|one| *one.type_name() == types.patient) {
                return Err(PolicyError::NamesPatient(rule.id().to_string()));
            }
        }
        let answers = (0..Question::COUNT).map(|_| OnceLock::new()).collect();
        let hash = Sha256::new().chain_update((text.len() as u64).to_be_bytes());
        let digest = Digest(hash.chain_update(&text).chain_update(NEVER).finalize().into());
        let (speaks_of_relations, authorizer) = (text.contains("relation"), Authorizer::new());
        Ok(Self { text, digest, speaks_of_relations, schema, rules, entities, authorizer, types, answers })
    }

    /// What no centre's rules can allow: the names of these rules, which are sentences.
    pub fn never() -> Vec<String> {
        let rules = named(NEVER).unwrap_or_default();
        let mut names: Vec<String> = rules.policies().map(|rule| rule.id().to_string()).collect();
        names.sort_unstable();
        names
    }

    /// The rules, without what is never allowed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the rules, and of what is never allowed: what is in force, by one name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn allows(&self, question: Question) -> bool {
        self.decide(question).is_ok()
    }

    /// What `after` allows and these rules don't, and the other way round, over every question that there is.
    pub fn differences(&self, after: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        for (&role, &act) in Role::ALL.iter().flat_map(|role| Act::ALL.iter().map(move |act| (role, act))) {
            for &sensitivity in Sensitivity::ALL {
                for (of_patient, target) in [(true, Target::Patient(PatientId([0; 16]))), (false, Target::Centre)] {
                    for may_now in [true, false] {
                        let differing = |relation| {
                            let of = |purpose| Question { role, act, target, sensitivity, purpose, relation };
                            let differs = |purpose: &Purpose| {
                                after.allows(of(*purpose)) == may_now && self.allows(of(*purpose)) != may_now
                            };
                            Purpose::ALL.iter().copied().filter(differs).collect::<Vec<Purpose>>()
                        };
                        let differs = |purposes, relation| {
                            let differs =
                                Difference { role, act, sensitivity, of_patient, purposes, relation, may_now };
                            Some(differs).filter(|differs| !differs.purposes.is_empty())
                        };
                        let unexplained = differing(Relation::Unexplained);
                        let speaks = of_patient && (self.speaks_of_relations || after.speaks_of_relations);
                        if !speaks || Relation::ALL.iter().all(|relation| differing(*relation) == unexplained) {
                            all.extend(differs(unexplained, None));
                        } else {
                            let each =
                                Relation::ALL.iter().map(|relation| differs(differing(*relation), Some(*relation)));
                            all.extend(each.flatten());
                        }
                    }
                }
            }
        }
        all
    }

    /// Whether it allows this to whoever asks, however she is related to the patient.
    pub(crate) fn allows_all(&self, question: Question) -> bool {
        match self.speaks_of_relations {
            true => question.of_each_relation().all(|question| self.allows(question)),
            false => self.allows(question),
        }
    }

    pub(crate) fn decide(&self, question: Question) -> Answer {
        match self.answers.get(question.number()) {
            Some(answer) => answer.get_or_init(|| self.evaluate(question)).clone(),
            None => self.evaluate(question),
        }
    }

    fn evaluate(&self, question: Question) -> Answer {
        let request = self.request(question).ok_or(Reason::NotApplicable)?;
        let response = self.authorizer.is_authorized(&request, &self.rules, &self.entities);
        judge(&response)
    }

    /// None where the schema has no such question.
    fn request(&self, question: Question) -> Option<Request> {
        let uid = |of: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id));
        let types = &self.types;
        let resource = match question.target {
            Target::Centre => uid(&types.centre, "centre"),
            Target::Patient(id) => uid(&types.patient, &id.to_string()),
        };
        let word = |of, id| RestrictedExpression::new_entity_uid(uid(of, id));
        let context = Context::from_pairs([
            ("sensitivity".to_owned(), word(&types.sensitivity, question.sensitivity.as_str())),
            ("purpose".to_owned(), word(&types.purpose, question.purpose.as_str())),
            ("relation".to_owned(), word(&types.relation, question.relation.as_str())),
        ]);
        Request::new(
            uid(&types.role, question.role.as_str()),
            uid(&types.act, question.act.as_str()),
            resource,
            context.ok()?,
            Some(&self.schema),
        )
        .ok()
    }
}

/// Names each rule by its `@id`, so that decisions name rules as a person does.
fn named(rules: &str) -> Result<PolicySet, PolicyError> {
    let rules = PolicySet::from_str(rules).map_err(|e| PolicyError::Syntax(e.to_string()))?;
    // Nobody would fill it in: what it forbids would be allowed.
    if let Some(template) = rules.templates().next() {
        return Err(PolicyError::Template(template.id().to_string()));
    }
    let mut out = PolicySet::new();
    for rule in rules.policies() {
        let unnamed = || PolicyError::Unnamed(rule.id().to_string());
        let id = rule.annotation("id").filter(|id| !id.is_empty()).ok_or_else(unnamed)?;
        let is_word = id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !is_word || id.len() > ID_CHARACTERS_MAX {
            return Err(PolicyError::BadId(id.chars().count()));
        }
        out.add(rule.new_id(PolicyId::new(id))).map_err(|_| unnamed())?;
    }
    Ok(out)
}

fn judge(response: &Response) -> Answer {
    let joined = |mut names: Vec<String>| {
        names.sort_unstable();
        let mut all = names.join(", ");
        if all.len() > NAMED_BYTES_MAX {
            all.truncate(all.floor_char_boundary(NAMED_BYTES_MAX));
            all.push('…');
        }
        all
    };
    let diagnostics = response.diagnostics();
    let failed: Vec<String> =
        diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(e)| e.policy_id().to_string()).collect();
    if !failed.is_empty() {
        return Err(Reason::PolicyFailed { rules: joined(failed) });
    }
    let rules = joined(diagnostics.reason().map(ToString::to_string).collect());
    match response.decision() {
        Decision::Allow => Ok(rules.into()),
        Decision::Deny if rules.is_empty() => Err(Reason::NoRule),
        Decision::Deny => Err(Reason::Forbidden { rules }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question = Question {
        role: Role::Oncologist,
        act: Act::ReadRecord,
        target: Target::Patient(PatientId([9; 16])),
        sensitivity: Sensitivity::Clinical,
        purpose: Purpose::Treatment,
        relation: Relation::Unexplained,
    };
    const ALLOW: &str = r#"@id("allow") permit (principal, action, resource);"#;

    fn with(rule: &str) -> Result<Policy, PolicyError> {
        Policy::of_centre(&format!("{ALLOW}\n{rule}"))
    }

    #[test]
    fn a_rule_that_fails_to_evaluate_denies() {
        assert_eq!(with("").unwrap().decide(QUESTION), Ok("allow".into()));
        // 9223372036854775807 + 1 overflows, so Cedar alone would skip this `forbid` and allow.
        let rule = r#"@id("overflow") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };"#;
        let failed = Reason::PolicyFailed { rules: "overflow".into() };
        assert_eq!(with(rule).unwrap().decide(QUESTION), Err(failed));
    }

    #[test]
    fn a_policy_that_does_not_fit_its_schema_is_refused() {
        let refused = [
            r#"@id("x") permit (principal == Role::"oncolgist", action, resource);"#,
            r#"@id("x") permit (principal, action == Action::"read-recrod", resource);"#,
            r#"@id("x") permit (principal, action, resource) when { context.purpose == "treatment" };"#,
            r#"@id("x") permit (principal, action, resource) when { context.urgent };"#,
            r#"@id("x") permit (principal == Patient::"p", action, resource);"#,
        ];
        for rule in refused {
            assert!(matches!(with(rule), Err(PolicyError::Invalid(_))), "{rule}");
        }
        assert!(matches!(with("permit (principal, action, resource);"), Err(PolicyError::Unnamed(_))));
        assert!(matches!(with(ALLOW), Err(PolicyError::Unnamed(_))));
        assert!(matches!(with("permit (principal"), Err(PolicyError::Syntax(_))));
        let template = r#"@id("x") forbid (principal == ?principal, action, resource);"#;
        assert!(matches!(with(template), Err(PolicyError::Template(_))));
        for named in [r#"resource == Patient::"p""#, "resource"] {
            let when = if named == "resource" { r#"when { resource == Patient::"p" }"# } else { "" };
            let rule = format!(r#"@id("x") forbid (principal, action == Action::"read-object", {named}) {when};"#);
            assert!(matches!(with(&rule), Err(PolicyError::NamesPatient(_))), "{rule}");
        }
        let reserved = r#"@id("it-and-auditors-open-nothing") permit (principal, action, resource);"#;
        assert!(matches!(with(reserved), Err(PolicyError::Reserved(_))));
        assert!(matches!(with(&"//".repeat(RULES_BYTES_MAX)), Err(PolicyError::TooLong { .. })));
    }
}
