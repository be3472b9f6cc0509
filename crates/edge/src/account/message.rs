//! One line of the account as a DICOM audit message. DICOM PS3.15 2025a, A.5.1; the schema's order and names.
//!
//! A patient is named by the centre's opaque id and by nothing else: a reference to a Patient resource, whose id a client may have
//! chosen, is cut to its type. The policy, the purpose and the reason stand as details of the request, in base64 as the schema has it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chart::{AccessRow, Account, EventRow, via_text};
use guard::Via;

use super::{About, about, reason_code, said};

const XREQUEST: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";

/// Text as it stands between tags and in attributes. What XML 1.0 can't hold at all (section 2.2) becomes U+FFFD; white space
/// other than blanks is written as a reference, so that no reader folds it.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn coded(name: &str, code: &str, system: &str, text: &str) -> String {
    let [code, system, text] = [code, system, text].map(escaped);
    format!("<{name} csd-code=\"{code}\" codeSystemName=\"{system}\" originalText=\"{text}\"/>")
}

/// The message, without an XML declaration: a syslog message says by its mark that it is UTF-8.
pub fn audit_message(centre: &str, account: &Account) -> String {
    let said = said(account);
    let (code, text) = said.event;
    let mut out = format!(
        "<AuditMessage><EventIdentification EventActionCode=\"{}\" EventDateTime=\"{}\" EventOutcomeIndicator=\"{}\">{}",
        said.action,
        account.at(),
        if said.is_refused { "8" } else { "0" },
        coded("EventID", code, "DCM", text)
    );
    if let Some((code, text)) = said.of_kind {
        out.push_str(&coded("EventTypeCode", code, "DCM", text));
    }
    if let Account::Access(AccessRow { reason: Some(reason), .. }) = account
        && said.is_refused
    {
        let _ = write!(out, "<EventOutcomeDescription>{}</EventOutcomeDescription>", escaped(reason));
    }
    out.push_str("</EventIdentification>");
    out.push_str(&person(account, said.action));
    let _ = write!(
        out,
        "<ActiveParticipant UserID=\"holdfast\" UserIsRequestor=\"false\">{}</ActiveParticipant>\
         <AuditSourceIdentification AuditEnterpriseSiteID=\"{}\" AuditSourceID=\"holdfast\">\
         <AuditSourceTypeCode csd-code=\"4\"/></AuditSourceIdentification>",
        match said.action {
            "R" => coded("RoleIDCode", "110153", "DCM", "Source Role ID"),
            _ => coded("RoleIDCode", "110152", "DCM", "Destination Role ID"),
        },
        escaped(centre)
    );
    match account {
        Account::Access(row) => objects_of_access(&mut out, row),
        Account::Event(row) => objects_of_event(&mut out, row),
    }
    out.push_str("</AuditMessage>");
    out
}

fn person(account: &Account, action: &str) -> String {
    let (who, role, via) = match account {
        Account::Access(row) => (&row.who, Some(row.role), row.via),
        Account::Event(row) => (&row.who, row.role.filter(|_| row.subject.is_none()), None),
    };
    let mut out = format!("<ActiveParticipant UserID=\"{}\"", escaped(who));
    if let Some(via) = via {
        let _ = write!(out, " AlternativeUserID=\"{}\"", escaped(&via_text(via)));
    }
    out.push_str(" UserIsRequestor=\"true\"");
    if let Some(Via::AeTitle(address)) = via {
        let _ = write!(out, " NetworkAccessPointID=\"{address}\" NetworkAccessPointTypeCode=\"2\"");
    }
    out.push('>');
    out.push_str(&match action {
        "R" => coded("RoleIDCode", "110152", "DCM", "Destination Role ID"),
        _ => coded("RoleIDCode", "110153", "DCM", "Source Role ID"),
    });
    if let Some(role) = role {
        out.push_str(&coded("RoleIDCode", role.as_str(), "holdfast", role.as_str()));
    }
    out.push_str("</ActiveParticipant>");
    out
}

/// One object: its id, type and role, what the id is, and how it is called.
struct Object<'a> {
    id: &'a str,
    of_type: (&'a str, &'a str),
    id_type: (&'a str, &'a str, &'a str),
    /// A name, or a query.
    named: Result<&'a str, &'a str>,
    details: Vec<(&'static str, String)>,
}

impl Object<'_> {
    fn write(&self, out: &mut String) {
        let ((kind, role), (code, system, text)) = (self.of_type, self.id_type);
        let _ = write!(
            out,
            "<ParticipantObjectIdentification ParticipantObjectID=\"{}\" ParticipantObjectTypeCode=\"{kind}\" \
             ParticipantObjectTypeCodeRole=\"{role}\">{}",
            escaped(self.id),
            coded("ParticipantObjectIDTypeCode", code, system, text)
        );
        let _ = match self.named {
            Ok(name) => write!(out, "<ParticipantObjectName>{}</ParticipantObjectName>", escaped(name)),
            Err(query) => write!(out, "<ParticipantObjectQuery>{}</ParticipantObjectQuery>", STANDARD.encode(query)),
        };
        for (kind, value) in &self.details {
            let _ = write!(out, "<ParticipantObjectDetail type=\"{kind}\" value=\"{}\"/>", STANDARD.encode(value));
        }
        out.push_str("</ParticipantObjectIdentification>");
    }
}

const URI: (&str, &str, &str) = ("12", "RFC-3881", "URI");

fn objects_of_access(out: &mut String, row: &AccessRow) {
    if let Some(patient) = row.patient {
        let id = patient.to_string();
        let id_type = ("2", "RFC-3881", "Patient Number");
        Object { id: &id, of_type: ("1", "1"), id_type, named: Ok(&id), details: Vec::new() }.write(out);
    }
    let about = about(row);
    let what = without_patients(&row.what);
    if !what.is_empty() {
        let instance = if let About::Instance(uid) = about { Some(format!("urn:oid:{uid}")) } else { None };
        let id = instance.as_deref().unwrap_or(&what);
        match about {
            About::Search(_) => {
                let id_type = ("10", "RFC-3881", "Search Criteria");
                Object { id, of_type: ("2", "24"), id_type, named: Err(&what), details: Vec::new() }.write(out);
            }
            _ => Object { id, of_type: ("2", "3"), id_type: URI, named: Ok(id), details: Vec::new() }.write(out),
        }
    }
    let mut details = vec![("entry", row.entry.to_string()), ("act", row.act.to_string())];
    details.push(("outcome", row.outcome.to_owned()));
    details.push(("purpose", reason_code(row.why).0.to_owned()));
    details.extend(row.policy.map(|policy| ("policy", policy.to_string())));
    details.extend(row.reason.clone().map(|reason| ("reason", reason)));
    request(out, &row.operation, details);
}

fn objects_of_event(out: &mut String, row: &EventRow) {
    if let Some(subject) = &row.subject {
        let id_type = ("11", "RFC-3881", "User Identifier");
        Object { id: subject, of_type: ("1", "11"), id_type, named: Ok(subject), details: Vec::new() }.write(out);
    }
    request(out, &row.operation, vec![("entry", row.entry.to_string()), ("what", row.what.clone())]);
}

fn request(out: &mut String, operation: &str, details: Vec<(&'static str, String)>) {
    let id_type = ("XrequestId", XREQUEST, "X-Request-Id");
    Object { id: operation, of_type: ("2", "20"), id_type, named: Ok(operation), details }.write(out);
}

/// References to Patient resources, each without its id.
fn without_patients(what: &str) -> String {
    let each = what.split(", ").map(|one| match one.strip_prefix("Patient/") {
        Some(rest) => match rest.split_once(" and ") {
            Some((_, more)) => format!("Patient and {more}"),
            None => "Patient".to_owned(),
        },
        None => one.to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}
