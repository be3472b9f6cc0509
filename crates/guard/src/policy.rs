//! The Cedar policy: embedded, strictly validated at construction, and asked here only.
//!
//! Cedar skips a rule that fails to evaluate, so a `forbid` that fails would fail open. Therefore any error in a
//! response's diagnostics is a denial.

use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, Response, RestrictedExpression, Schema, ValidationMode, Validator,
};

use crate::decision::Reason;
use crate::{Act, Purpose, Role, Sensitivity, Target};

const SCHEMA: &str = include_str!("policy/holdfast.cedarschema");
const POLICY: &str = include_str!("policy/holdfast.cedar");

/// The policy that is built in does not hold together: a defect of this program.
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
}

/// A question, whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) role: Role,
    pub(crate) act: Act,
    pub(crate) target: Target,
    pub(crate) sensitivity: Sensitivity,
    pub(crate) purpose: Purpose,
}

pub(crate) struct Policy {
    schema: Schema,
    rules: PolicySet,
    /// The acts and their groups.
    entities: Entities,
    authorizer: Authorizer,
    types: Types,
}

struct Types {
    role: EntityTypeName,
    act: EntityTypeName,
    centre: EntityTypeName,
    patient: EntityTypeName,
    sensitivity: EntityTypeName,
    purpose: EntityTypeName,
}

impl Policy {
    pub(crate) fn embedded() -> Result<Self, PolicyError> {
        Self::new(SCHEMA, POLICY)
    }

    fn new(schema: &str, rules: &str) -> Result<Self, PolicyError> {
        let schema = Schema::from_str(schema).map_err(|e| PolicyError::Schema(e.to_string()))?;
        let rules = named(PolicySet::from_str(rules).map_err(|e| PolicyError::Syntax(e.to_string()))?)?;
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
        };
        Ok(Self { schema, rules, entities, authorizer: Authorizer::new(), types })
    }

    /// The rules that allow, or the reason why not.
    pub(crate) fn decide(&self, question: Question) -> Result<String, Reason> {
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

/// Renames each rule to its `@id`, so that decisions name rules as a person does.
fn named(rules: PolicySet) -> Result<PolicySet, PolicyError> {
    let mut out = PolicySet::new();
    for rule in rules.policies() {
        let unnamed = || PolicyError::Unnamed(rule.id().to_string());
        let id = rule.annotation("id").filter(|id| !id.is_empty()).ok_or_else(unnamed)?;
        out.add(rule.new_id(PolicyId::new(id))).map_err(|_| unnamed())?;
    }
    Ok(out)
}

fn judge(response: &Response) -> Result<String, Reason> {
    let joined = |mut names: Vec<String>| {
        names.sort_unstable();
        names.join(", ")
    };
    let diagnostics = response.diagnostics();
    let failed: Vec<String> =
        diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(e)| e.policy_id().to_string()).collect();
    if !failed.is_empty() {
        return Err(Reason::PolicyFailed { rules: joined(failed) });
    }
    let rules = joined(diagnostics.reason().map(ToString::to_string).collect());
    match response.decision() {
        Decision::Allow => Ok(rules),
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
        target: Target::Centre,
        sensitivity: Sensitivity::Clinical,
        purpose: Purpose::Treatment,
    };
    const ALLOW: &str = r#"@id("allow") permit (principal, action, resource);"#;

    fn with(rule: &str) -> Result<Policy, PolicyError> {
        Policy::new(SCHEMA, &format!("{ALLOW}\n{rule}"))
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
    }
}
