//! Address and method, read as one of FHIR's interactions. HL7 FHIR R4, http.html.

use axum::http::Method;
use chart::fhir::{AUDIT_EVENT, Code, Issue, is_id, resource_type};

use crate::account::event::parse_id;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interaction {
    Capabilities,
    Bundle,
    Search {
        kind: &'static str,
        form: bool,
    },
    Create {
        kind: &'static str,
    },
    Read {
        kind: &'static str,
        id: String,
    },
    Vread {
        kind: &'static str,
        id: String,
        version: u32,
    },
    Update {
        kind: &'static str,
        id: String,
    },
    Delete {
        kind: &'static str,
        id: String,
    },
    History {
        kind: &'static str,
        id: String,
    },
    /// Of AuditEvents, which the server alone writes.
    AuditSearch,
    AuditRead {
        entry: u64,
        line: usize,
    },
}

/// No interaction of this server: status, the methods that the address has, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) status: u16,
    pub(super) allow: &'static str,
    pub(super) issue: Issue,
}

fn absent(text: &str) -> Unknown {
    Unknown { status: 404, allow: "", issue: Issue::error(Code::NotFound, text) }
}

/// What can't be an id stands for no record that ever was or could be. So it is told from one that isn't here without a
/// look at what is here, and the same to everybody.
fn no_id(text: &str) -> Unknown {
    let found = text.chars().count();
    let text = format!("no id: an id is [A-Za-z0-9\\-\\.]{{1,64}}, in the address are {found} characters");
    Unknown { status: 400, allow: "", issue: Issue::error(Code::Value, text) }
}

fn method(allow: &'static str) -> Unknown {
    let text = format!("this method is not supported here; {allow} are");
    Unknown { status: 405, allow, issue: Issue::error(Code::NotSupported, text) }
}

impl Interaction {
    /// `path` is what follows `/fhir`.
    pub(super) fn of(http: &Method, path: &str) -> Result<Self, Unknown> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let get = *http == Method::GET || *http == Method::HEAD;
        let (name, rest) = match parts.as_slice() {
            [""] if *http == Method::POST => return Ok(Self::Bundle),
            [""] => return Err(method("POST")),
            ["metadata"] if get => return Ok(Self::Capabilities),
            ["metadata"] => return Err(method("GET, HEAD")),
            [name, rest @ ..] => (*name, rest),
            [] => return Err(absent("no address of this server")),
        };
        let Some(kind) = resource_type(name) else {
            return Err(absent("no resource type of FHIR R4, and no other address of this server"));
        };
        if kind == AUDIT_EVENT {
            return match rest {
                [] if get => Ok(Self::AuditSearch),
                [id] if get => match parse_id(id) {
                    Some((entry, line)) => Ok(Self::AuditRead { entry, line }),
                    None if is_id(id) => {
                        Err(absent("there is no such AuditEvent: an id is a ledger's entry, and a line of it"))
                    }
                    None => Err(no_id(id)),
                },
                [] | [_] => Err(method("GET, HEAD")),
                _ => Err(absent("no address of this server")),
            };
        }
        let id = |id: &str| match is_id(id) {
            true => Ok(id.to_owned()),
            // Addresses that R4 has, and this server hasn't.
            false if id == "_history" || id.starts_with('$') => {
                Err(absent("neither operations nor the history of a type are offered here"))
            }
            false => Err(no_id(id)),
        };
        match (rest, http) {
            ([], _) if get => Ok(Self::Search { kind, form: false }),
            ([], &Method::POST) => Ok(Self::Create { kind }),
            ([], _) => Err(method("GET, HEAD, POST")),
            (["_search"], _) if get => Ok(Self::Search { kind, form: false }),
            (["_search"], &Method::POST) => Ok(Self::Search { kind, form: true }),
            (["_search"], _) => Err(method("GET, HEAD, POST")),
            ([one], _) if get => Ok(Self::Read { kind, id: id(one)? }),
            ([one], &Method::PUT) => Ok(Self::Update { kind, id: id(one)? }),
            ([one], &Method::DELETE) => Ok(Self::Delete { kind, id: id(one)? }),
            ([_], _) => Err(method("DELETE, GET, HEAD, PUT")),
            ([one, "_history"], _) if get => Ok(Self::History { kind, id: id(one)? }),
            ([one, "_history", version], _) if get => {
                let number = version.parse().ok().filter(|n: &u32| n.to_string() == *version);
                // Another server's versions may be called by any id; here none ever was.
                let unknown = || if is_id(version) { absent("no version: a number from 1 on") } else { no_id(version) };
                Ok(Self::Vread { kind, id: id(one)?, version: number.ok_or_else(unknown)? })
            }
            ([_, "_history"] | [_, "_history", _], _) => Err(method("GET, HEAD")),
            _ => Err(absent("no address of this server")),
        }
    }

    /// For the log: what was done, and to what type; never to whom.
    pub(super) fn name(&self) -> (&'static str, &'static str) {
        match self {
            Self::Capabilities => ("capabilities", ""),
            Self::Bundle => ("bundle", "Bundle"),
            Self::Search { kind, .. } => ("search", kind),
            Self::Create { kind } => ("create", kind),
            Self::Read { kind, .. } => ("read", kind),
            Self::Vread { kind, .. } => ("vread", kind),
            Self::Update { kind, .. } => ("update", kind),
            Self::Delete { kind, .. } => ("delete", kind),
            Self::History { kind, .. } => ("history", kind),
            Self::AuditSearch => ("search", AUDIT_EVENT),
            Self::AuditRead { .. } => ("read", AUDIT_EVENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Result<Interaction, u16> {
        Interaction::of(&Method::from_bytes(method.as_bytes()).unwrap(), path).map_err(|unknown| unknown.status)
    }

    #[test]
    fn addresses_and_methods_are_told_apart() {
        let (kind, id) = ("Patient", "1".to_owned());
        assert_eq!(of("GET", "/metadata"), Ok(Interaction::Capabilities));
        assert_eq!(of("POST", ""), Ok(Interaction::Bundle));
        assert_eq!(of("POST", "/"), Ok(Interaction::Bundle));
        assert_eq!(of("GET", "/Patient"), Ok(Interaction::Search { kind, form: false }));
        assert_eq!(of("GET", "/Patient/"), Ok(Interaction::Search { kind, form: false }));
        assert_eq!(of("POST", "/Patient/_search"), Ok(Interaction::Search { kind, form: true }));
        assert_eq!(of("POST", "/Patient"), Ok(Interaction::Create { kind }));
        assert_eq!(of("HEAD", "/Patient/1"), Ok(Interaction::Read { kind, id: id.clone() }));
        assert_eq!(of("PUT", "/Patient/1"), Ok(Interaction::Update { kind, id: id.clone() }));
        assert_eq!(of("DELETE", "/Patient/1"), Ok(Interaction::Delete { kind, id: id.clone() }));
        assert_eq!(of("GET", "/Patient/1/_history"), Ok(Interaction::History { kind, id: id.clone() }));
        assert_eq!(of("GET", "/Patient/1/_history/3"), Ok(Interaction::Vread { kind, id, version: 3 }));
    }

    #[test]
    fn the_account_is_read_and_never_written() {
        assert_eq!(of("GET", "/AuditEvent/"), Ok(Interaction::AuditSearch));
        assert_eq!(of("HEAD", "/AuditEvent/12-0"), Ok(Interaction::AuditRead { entry: 12, line: 0 }));
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            for path in ["/AuditEvent", "/AuditEvent/12-0", "/AuditEvent/mine"] {
                assert_eq!(of(method, path), Err(405), "{method} {path}");
            }
        }
        for (path, status) in
            [("012-0", 404), ("12", 404), ("12-0/_history", 404), ("99999999999999999999-0", 404), ("a_b", 400)]
        {
            assert_eq!(of("GET", &format!("/AuditEvent/{path}")), Err(status), "{path}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for path in [
            "/Patience",
            "/patient/1",
            "/Patient/1/2",
            "/Patient/1/_history/x",
            "/metadata/x",
            "/Patient/1/_history/03",
            "//Patient",
            "/_history",
            "/Patient/_history",
            "/Patient/$everything",
            "/Patient/1/$everything",
            "/HumanName/1",
            "/Patient/..",
        ] {
            let found = of("GET", path);
            // `..` is a well-formed id; there is no file behind it.
            assert!(found == Err(404) || path.ends_with(".."), "{path}: {found:?}");
        }
        let (long, longest) = ("a".repeat(65), "a".repeat(64));
        for path in ["a_b", "a%2Fb", "%20", "%00", "a%20b", "\u{e4}", "", long.as_str()] {
            for method in ["GET", "HEAD", "PUT", "DELETE"] {
                assert_eq!(of(method, &format!("/Patient/{path}/")), Err(400), "{method} {path}");
            }
            assert_eq!(of("GET", &format!("/Patient/{path}/_history")), Err(400), "{path}");
            assert_eq!(of("GET", &format!("/Patient/{path}/_history/1")), Err(400), "{path}");
            assert_eq!(of("GET", &format!("/Patient/1/_history/{path}/")), Err(400), "{path}");
        }
        assert_eq!(of("GET", &format!("/Patient/{longest}")), Ok(Interaction::Read { kind: "Patient", id: longest }));
        for (method, path) in [
            ("PATCH", "/Patient/1"),
            ("PUT", "/Patient"),
            ("GET", ""),
            ("POST", "/metadata"),
            ("DELETE", "/Patient/1/_history"),
            ("BREW", "/Patient/1"),
        ] {
            assert_eq!(of(method, path), Err(405), "{method} {path}");
        }
    }
}
