//! The account in the field's own forms: FHIR AuditEvent (IHE BALP), DICOM audit messages, syslog. No I/O here.
//!
//! HL7 FHIR R4 (4.0.1), auditevent.html; IHE ITI Basic Audit Log Patterns (BALP) 1.1.4; DICOM PS3.15 2025a, A.5; RFC 5424, 5425.

pub mod asked;
pub mod event;
pub mod message;
pub mod syslog;

use chart::{AccessRow, Account, EventKind, EventRow};
use guard::{Act, Purpose};

/// A code of DICOM's own (PS3.16, CID 400 to 402), and its meaning.
pub(crate) type Dcm = (&'static str, &'static str);

const AUDIT_LOG_USED: Dcm = ("110101", "Audit Log Used");
const ACCESSED: Dcm = ("110103", "DICOM Instances Accessed");
const TRANSFERRED: Dcm = ("110104", "DICOM Instances Transferred");
const EXPORT: Dcm = ("110106", "Export");
const PATIENT_RECORD: Dcm = ("110110", "Patient Record");
const QUERY: Dcm = ("110112", "Query");
const SECURITY_ALERT: Dcm = ("110113", "Security Alert");
const USER_AUTHENTICATION: Dcm = ("110114", "User Authentication");
const LOGIN: Dcm = ("110122", "Login");
const LOGOUT: Dcm = ("110123", "Logout");
const SECURITY_CONFIGURATION: Dcm = ("110129", "Security Configuration");
const RESTRICTED_FUNCTION: Dcm = ("110132", "Use of Restricted Function");
const ROLES_CHANGED: Dcm = ("110136", "Security Roles Changed");
const OVERRIDE_STARTED: Dcm = ("110127", "Emergency Override Started");
const USER_CHANGED: Dcm = ("110137", "User Security Attributes Changed");

/// What is said of a line, whatever the form.
pub(crate) struct Said {
    pub(crate) event: Dcm,
    pub(crate) of_kind: Option<Dcm>,
    pub(crate) action: &'static str,
    /// It was refused.
    pub(crate) is_refused: bool,
}

/// What a line is about.
pub(crate) enum About<'a> {
    /// `Observation/1/_history/2`
    Resource { kind: &'static str, id: &'a str, version: Option<&'a str> },
    /// A DICOM instance, by its UID.
    Instance(&'a str),
    /// A search, by its parameters' names.
    Search(&'a str),
    /// Anything else, or several at once; empty where the act says all.
    Other(&'a str),
}

/// What was found, by the words of the row.
pub(crate) fn about(row: &AccessRow) -> About<'_> {
    // A list of the centre's own has no parameters to name.
    if row.act == Act::SearchRecords && !row.what.is_empty() && matches!(row.outcome, "allowed" | "denied") {
        return About::Search(&row.what);
    }
    let parts: Vec<&str> = row.what.split('/').collect();
    let version = |parts: &[&'_ str]| parts.len() == 4 && parts.get(2) == Some(&"_history");
    match parts.as_slice() {
        [kind, id, rest @ ..] if rest.is_empty() || version(&parts) => {
            let number = rest.get(1).copied();
            match (chart::fhir::resource_type(kind), *kind) {
                (Some(kind), _) if chart::fhir::is_id(id) => About::Resource { kind, id, version: number },
                (None, "dicom") => About::Instance(id),
                _ => About::Other(&row.what),
            }
        }
        _ => About::Other(&row.what),
    }
}

pub(crate) fn said(account: &Account) -> Said {
    match account {
        Account::Access(row) => said_of_access(row),
        Account::Event(row) => said_of_event(row),
    }
}

fn said_of_access(row: &AccessRow) -> Said {
    let done = |event, action| Said { event, of_kind: None, action, is_refused: false };
    let about = about(row);
    let exports = row.act == Act::ExportRecord;
    match (row.outcome, about) {
        ("allowed", _) if row.act == Act::SearchRecords => done(QUERY, "E"),
        ("allowed", _) if row.act == Act::ReadAccessLog => done(AUDIT_LOG_USED, "R"),
        ("allowed", _) => Said { of_kind: Some(RESTRICTED_FUNCTION), ..done(SECURITY_ALERT, "E") },
        ("denied", _) => Said { of_kind: Some(RESTRICTED_FUNCTION), is_refused: true, ..done(SECURITY_ALERT, "E") },
        ("deleted", _) => done(PATIENT_RECORD, "D"),
        ("written", About::Instance(_)) => done(TRANSFERRED, "C"),
        ("written", About::Resource { version: Some("1"), .. } | About::Other(_)) => done(PATIENT_RECORD, "C"),
        ("written", _) => done(PATIENT_RECORD, "U"),
        (_, _) if exports => done(EXPORT, "R"),
        (_, About::Instance(_)) => done(ACCESSED, "R"),
        (_, _) => done(PATIENT_RECORD, "R"),
    }
}

fn said_of_event(row: &EventRow) -> Said {
    let (event, of_kind) = match row.kind {
        EventKind::SignedIn => (USER_AUTHENTICATION, LOGIN),
        EventKind::Ended => (USER_AUTHENTICATION, LOGOUT),
        EventKind::Issued => (SECURITY_ALERT, USER_CHANGED),
        EventKind::Contained | EventKind::Lifted => (SECURITY_ALERT, SECURITY_CONFIGURATION),
        EventKind::Policy => (SECURITY_ALERT, ROLES_CHANGED),
        EventKind::Emergency => (SECURITY_ALERT, OVERRIDE_STARTED),
        EventKind::Alarm => (SECURITY_ALERT, RESTRICTED_FUNCTION),
    };
    Said { event, of_kind: Some(of_kind), action: "E", is_refused: false }
}

/// HL7 v3 ActReason, PurposeOfUse.
pub(crate) fn reason_code(purpose: Purpose) -> (&'static str, &'static str) {
    match purpose {
        Purpose::Treatment => ("TREAT", "treatment"),
        Purpose::Emergency => ("ETREAT", "Emergency Treatment"),
        Purpose::Operations => ("HOPERAT", "healthcare operations"),
        Purpose::Audit => ("HCOMPL", "health compliance"),
        Purpose::PatientRequest => ("PATRQT", "patient requested"),
    }
}
