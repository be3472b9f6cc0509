//! The Bundles that answer: pages of searches and histories, and how each entry of a transaction or batch went.
//! HL7 FHIR R4, bundle.html.

use std::fmt::Write as _;

use kit::Timestamp;
use serde_json::Value;

use super::bundle::BundleKind;
use super::json::quoted;

/// A link of a Bundle: `self`, `next`.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    pub relation: &'a str,
    pub url: &'a str,
}

/// One version of a resource in a searchset or a history.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    pub kind: &'a str,
    pub id: &'a str,
    pub version: u32,
    pub updated: Timestamp,
    pub change: Change,
    /// None: this version deleted it.
    pub bytes: Option<&'a [u8]>,
}

/// How a version came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// POST, under an id of the server's.
    Created,
    /// PUT where there was none, or no longer one.
    PutAnew,
    Put,
    Deleted,
}

impl Change {
    pub fn status(self) -> u16 {
        match self {
            Self::Created | Self::PutAnew => 201,
            Self::Put => 200,
            Self::Deleted => 204,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Created => "POST",
            Self::PutAnew | Self::Put => "PUT",
            Self::Deleted => "DELETE",
        }
    }
}

/// How one entry of a transaction or batch went.
#[derive(Clone, Debug, Default)]
pub struct ResponseEntry {
    pub status: u16,
    /// `Type/id/_history/n`.
    pub location: Option<String>,
    pub version: Option<u32>,
    pub updated: Option<Timestamp>,
    pub resource: Option<Vec<u8>>,
    pub outcome: Option<Value>,
}

fn bundle(kind: &str, links: &[Link<'_>], entries: impl Iterator<Item = String>) -> Vec<u8> {
    let mut out = format!("{{\"resourceType\":\"Bundle\",\"type\":{}", quoted(kind));
    for (number, link) in links.iter().enumerate() {
        out.push_str(if number == 0 { ",\"link\":[" } else { "," });
        let _ = write!(out, "{{\"relation\":{},\"url\":{}}}", quoted(link.relation), quoted(link.url));
    }
    if !links.is_empty() {
        out.push(']');
    }
    let mut any = false;
    for entry in entries {
        out.push_str(if any { "," } else { ",\"entry\":[" });
        out.push_str(&entry);
        any = true;
    }
    out.push_str(if any { "]}" } else { "}" });
    out.into_bytes()
}

fn resource(bytes: Option<&[u8]>) -> String {
    match bytes.map(String::from_utf8_lossy) {
        Some(text) => format!("\"resource\":{text},"),
        None => String::new(),
    }
}

/// A page of what a search found; resources stand in it byte for byte.
pub fn searchset(base: &str, links: &[Link<'_>], found: &[Version<'_>]) -> Vec<u8> {
    bundle(
        "searchset",
        links,
        found.iter().map(|v| {
            let url = quoted(&format!("{base}/{}/{}", v.kind, v.id));
            format!("{{\"fullUrl\":{url},{}\"search\":{{\"mode\":\"match\"}}}}", resource(v.bytes))
        }),
    )
}

/// Versions of one resource, newest first.
pub fn history(base: &str, links: &[Link<'_>], versions: &[Version<'_>]) -> Vec<u8> {
    bundle("history", links, versions.iter().map(|v| {
        let (method, status) = (v.change.method(), v.change.status());
        let url = if method == "POST" { v.kind.to_owned() } else { format!("{}/{}", v.kind, v.id) };
        format!(
            "{{\"fullUrl\":{},{}\"request\":{{\"method\":\"{method}\",\"url\":{}}},\"response\":{{\"status\":{},\"etag\":{},\
             \"lastModified\":\"{}\"}}}}",
            quoted(&format!("{base}/{}/{}", v.kind, v.id)),
            resource(v.bytes),
            quoted(&url),
            quoted(&status_line(status)),
            quoted(&format!("W/\"{}\"", v.version)),
            v.updated,
        )
    }))
}

/// The answer to a transaction or batch, its entries in the order of the question's.
pub fn response_bundle(kind: BundleKind, entries: &[ResponseEntry]) -> Vec<u8> {
    let name = match kind {
        BundleKind::Transaction => "transaction-response",
        BundleKind::Batch => "batch-response",
    };
    bundle(
        name,
        &[],
        entries.iter().map(|entry| {
            let mut out = format!(
                "{{{}\"response\":{{\"status\":{}",
                resource(entry.resource.as_deref()),
                quoted(&status_line(entry.status))
            );
            let mut part = |key: &str, value: Option<String>| {
                if let Some(value) = value {
                    let _ = write!(out, ",\"{key}\":{value}");
                }
            };
            part("location", entry.location.as_deref().map(quoted));
            part("etag", entry.version.map(|version| quoted(&format!("W/\"{version}\""))));
            part("lastModified", entry.updated.map(|at| quoted(&at.to_string())));
            part("outcome", entry.outcome.as_ref().map(Value::to_string));
            out.push_str("}}");
            out
        }),
    )
}

fn status_line(status: u16) -> String {
    let reason = match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        503 => "Service Unavailable",
        _ => return status.to_string(),
    };
    format!("{status} {reason}")
}
