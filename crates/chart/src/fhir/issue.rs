//! What is wrong with a request, in FHIR's terms: OperationOutcome, its issue codes, and the HTTP status that goes along.
//! Diagnostics name the place, the number and the bound; they never repeat a value that came in.

use kit::{Blame, Fault};
use serde_json::{Value, json};

/// Issues in one outcome: more would help nobody, and an attacker could ask for millions.
pub(crate) const ISSUES_MAX: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Fatal,
    Error,
    Warning,
    Information,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }
}

/// HL7 FHIR R4 value set `issue-type`, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No JSON that could be read; printed as `structure`.
    Syntax,
    Structure,
    Required,
    Value,
    Invariant,
    CodeInvalid,
    /// A `modifierExtension` that isn't known.
    Extension,
    Duplicate,
    BusinessRule,
    NotSupported,
    NotFound,
    Deleted,
    Conflict,
    /// `If-Match` names another version; printed as `conflict`.
    Precondition,
    /// A condition that finds more than one.
    MultipleMatches,
    /// The address and the body don't agree; printed as `value`.
    Mismatch,
    TooLong,
    TooCostly,
    Login,
    Forbidden,
    Transient,
    Exception,
    Informational,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax | Self::Structure => "structure",
            Self::Required => "required",
            Self::Value | Self::Mismatch => "value",
            Self::Invariant => "invariant",
            Self::CodeInvalid => "code-invalid",
            Self::Extension => "extension",
            Self::Duplicate => "duplicate",
            Self::BusinessRule => "business-rule",
            Self::NotSupported => "not-supported",
            Self::NotFound => "not-found",
            Self::Deleted => "deleted",
            Self::Conflict | Self::Precondition => "conflict",
            Self::MultipleMatches => "multiple-matches",
            Self::TooLong => "too-long",
            Self::TooCostly => "too-costly",
            Self::Login => "login",
            Self::Forbidden => "forbidden",
            Self::Transient => "transient",
            Self::Exception => "exception",
            Self::Informational => "informational",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Syntax | Self::NotSupported | Self::Mismatch => 400,
            Self::Login => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Deleted => 410,
            Self::Conflict => 409,
            Self::Precondition | Self::MultipleMatches => 412,
            Self::TooLong | Self::TooCostly => 413,
            Self::Transient => 503,
            Self::Exception => 500,
            Self::Informational => 200,
            _ => 422,
        }
    }
}

/// One issue of an OperationOutcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub severity: Severity,
    pub code: Code,
    pub diagnostics: String,
    /// Where, as a path through the JSON: `Patient.name[0].family`.
    pub expression: Option<String>,
}

impl Issue {
    pub fn error(code: Code, diagnostics: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, diagnostics: diagnostics.into(), expression: None }
    }

    pub fn at(mut self, expression: impl Into<String>) -> Self {
        self.expression = Some(expression.into());
        self
    }
}

/// An OperationOutcome that holds at least one issue.
pub fn operation_outcome(issues: &[Issue]) -> Value {
    let mut listed: Vec<Value> = issues
        .iter()
        .take(ISSUES_MAX)
        .map(|issue| {
            let mut entry = json!({
                "severity": issue.severity.as_str(), "code": issue.code.as_str(), "diagnostics": issue.diagnostics,
            });
            if let (Some(entry), Some(place)) = (entry.as_object_mut(), &issue.expression) {
                entry.insert("expression".into(), json!([place]));
            }
            entry
        })
        .collect();
    if issues.len() > ISSUES_MAX {
        listed.push(json!({
            "severity": "information", "code": "informational",
            "diagnostics": format!("{} more issues are not listed, at most {ISSUES_MAX} are", issues.len() - ISSUES_MAX),
        }));
    }
    if listed.is_empty() {
        listed.push(json!({ "severity": "information", "code": "informational", "diagnostics": "done" }));
    }
    json!({ "resourceType": "OperationOutcome", "issue": listed })
}

/// The HTTP status of a refusal: the first issue's.
pub fn status_of_issues(issues: &[Issue]) -> u16 {
    issues.first().map_or(422, |issue| issue.code.status())
}

/// A room's error in FHIR's terms. A message that blames us or the store stays in the log: it may tell an attacker more
/// than it helps the caller, who has the operation id.
pub fn fault_outcome(fault: &Fault) -> Value {
    let code = code_of_fault(fault);
    let inside = matches!(fault.blame, Blame::Integrity | Blame::Ours);
    let mut text = match inside {
        true => format!("the server failed [{}]", fault.code),
        false => format!("{} [{}]", fault.message, fault.code),
    };
    if let (Some(guidance), false) = (&fault.guidance, inside) {
        text.push_str("; what to do: ");
        text.push_str(guidance);
    }
    if let Some(operation) = &fault.operation {
        text.push_str(&format!("; operation {operation}"));
    }
    operation_outcome(&[Issue::error(code, text)])
}

/// The HTTP status of a room's error.
pub fn status_of_fault(fault: &Fault) -> u16 {
    code_of_fault(fault).status()
}

fn code_of_fault(fault: &Fault) -> Code {
    match fault.blame {
        Blame::Peer => Code::BusinessRule,
        Blame::Forbidden => Code::Forbidden,
        Blame::Absent => Code::NotFound,
        Blame::Conflict => Code::Conflict,
        Blame::Configuration => Code::Transient,
        Blame::Integrity | Blame::Ours => Code::Exception,
    }
}
