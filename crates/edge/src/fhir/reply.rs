//! Answers: status, headers and body, and nothing that a cache may keep.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use chart::fhir::{Code, Issue, Severity, fault_outcome, operation_outcome, status_of_fault, status_of_issues};
use kit::{OperationId, Timestamp};

use super::negotiate::{Prefer, Refused};
use super::{Receipt, Record, Refusal};

/// What is to be said, before it is HTTP.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Vec<u8>>,
    pub(super) headers: Vec<(HeaderName, String)>,
}

/// How many losses what was kept survives: what the centre's receipt says.
const SURVIVES: HeaderName = HeaderName::from_static("x-holdfast-survives");
/// How many witnesses have cosigned the log's head with it, and its number there.
const WITNESSES: HeaderName = HeaderName::from_static("x-holdfast-witnesses");
const ENTRY: HeaderName = HeaderName::from_static("x-holdfast-entry");

impl Reply {
    pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: Some(body.into()), headers: Vec::new() }
    }

    pub(super) fn issues(status: u16, issues: &[Issue]) -> Self {
        Self::json(status, operation_outcome(issues).to_string())
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn unauthorized(token_given: bool) -> Self {
        let (text, challenge) = match token_given {
            true => ("this token is unknown, revoked or expired", "Bearer realm=\"holdfast\", error=\"invalid_token\""),
            false => ("a bearer token is needed", "Bearer realm=\"holdfast\""),
        };
        Self::issues(401, &[Issue::error(Code::Login, text)]).header(header::WWW_AUTHENTICATE, challenge)
    }

    pub(super) fn broken() -> Self {
        Self::issues(500, &[Issue::error(Code::Exception, "the server failed")])
    }

    /// A record that was read: 410 where it is deleted.
    pub(super) fn record(record: Record) -> Self {
        let versioned = |reply: Self| {
            reply.header(header::ETAG, etag(record.version)).header(header::LAST_MODIFIED, http_date(record.updated))
        };
        match record.bytes {
            Some(ref bytes) => versioned(Self::json(200, bytes.clone())),
            None => versioned(Self::issues(
                410,
                &[Issue::error(Code::Deleted, "this record is deleted; its history stays")],
            )),
        }
    }

    /// A record that was written.
    pub(super) fn written(record: Record, prefer: Prefer, base: &str) -> Self {
        let (version, updated, status) = (record.version, record.updated, record.change.status());
        let location = format!("{base}/{}/{}/_history/{version}", record.kind, record.id);
        let done = |text: &str| Issue {
            severity: Severity::Information,
            ..Issue::error(Code::Informational, text.to_owned())
        };
        let body = match prefer {
            Prefer::Representation => record.bytes,
            Prefer::Minimal => None,
            Prefer::Outcome => {
                let text = format!("version {version} is kept");
                Some(operation_outcome(&[done(&text)]).to_string().into_bytes())
            }
        };
        let reply = Self { status, body, headers: Vec::new() }
            .header(header::ETAG, etag(version))
            .header(header::LAST_MODIFIED, http_date(updated));
        let reply = match record.receipt {
            Some(Receipt { survives, witnesses, entry }) => {
                let numbers = [(SURVIVES, u64::from(survives)), (WITNESSES, u64::from(witnesses)), (ENTRY, entry)];
                numbers.into_iter().fold(reply, |reply, (name, number)| reply.header(name, number.to_string()))
            }
            None => reply,
        };
        match status {
            201 => reply.header(header::LOCATION, location),
            _ => reply.header(header::CONTENT_LOCATION, location),
        }
    }

    /// A record that is now, or already was, deleted.
    pub(super) fn deleted(version: Option<u32>, prefer: Prefer) -> Self {
        let reply = match prefer {
            Prefer::Outcome => {
                let issue = Issue {
                    severity: Severity::Information,
                    ..Issue::error(Code::Informational, "it is deleted; its history stays")
                };
                Self::issues(200, &[issue])
            }
            _ => Self { status: 204, ..Self::default() },
        };
        match version {
            Some(version) => reply.header(header::ETAG, etag(version)),
            None => reply,
        }
    }

    pub(super) fn into_response(self, operation: OperationId) -> Response {
        let mut response = Response::new(self.body.map_or_else(Body::empty, Body::from));
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.status_mut() = status;
        let fixed = [
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (HeaderName::from_static("x-request-id"), operation.to_string()),
        ];
        let content = (!matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
            .then(|| (header::CONTENT_TYPE, "application/fhir+json; charset=utf-8".to_owned()));
        for (name, value) in self.headers.into_iter().chain(fixed).chain(content) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<Refused> for Reply {
    fn from((status, issue): Refused) -> Self {
        Self::issues(status, &[issue])
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => {
                Self::issues(404, &[Issue::error(Code::NotFound, "there is no such record or version")])
            }
            Refusal::VersionConflict { current } => {
                let text = match current {
                    Some(current) => {
                        format!("If-Match names another version than the current one, {current}: read it, then repeat")
                    }
                    None => "If-Match names a version, and there is no such record".to_owned(),
                };
                let reply = Self::issues(412, &[Issue::error(Code::Precondition, text)]);
                match current {
                    Some(current) => reply.header(header::ETAG, etag(current)),
                    None => reply,
                }
            }
            Refusal::Invalid(issues) => Self::issues(status_of_issues(&issues), &issues),
            Refusal::Fault(fault) => Self::json(status_of_fault(&fault), fault_outcome(&fault).to_string()),
        }
    }
}

pub(super) fn etag(version: u32) -> String {
    format!("W/\"{version}\"")
}

/// IMF-fixdate of RFC 9110, section 5.6.7.
fn http_date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let pick = |names: &[&'static str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
    };
    let (year, month, day) = at.civil_date();
    let (hour, minute, second, _) = at.time_of_day();
    let weekday = pick(&DAYS, at.0.div_euclid(86_400_000).rem_euclid(7));
    let month = pick(&MONTHS, i64::from(month) - 1);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_imf_fixdate() {
        // The example of RFC 9110, section 5.6.7.
        assert_eq!(http_date(Timestamp(784_111_777_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(Timestamp(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(Timestamp(-1)), "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
