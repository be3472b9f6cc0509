//! Bundles: what a transaction or batch asks for, in the order in which it happens, and the Bundles that answer.
//! HL7 FHIR R4, http.html#transaction, bundle.html.
//!
//! A transaction's life: `Draft::parse` reads and checks it; its `conditions` (ifNoneExist) are looked up by whoever has
//! the index; `Draft::plan` gives new resources their ids, rewrites the references between entries, and orders it all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

use kit::Timestamp;
use kit::limits::GROUP_PARCELS_MAX;
use serde_json::Value;

use super::check;
use super::issue::{Code, Issue};
use super::json::{elements, members, quoted, spliced, tokens};
use super::query::Query;
use super::reference::{self, Reference};
use super::resource::{Resource, is_id};
use super::table::table;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// All or nothing.
    Transaction,
    /// Each entry for itself.
    Batch,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    Delete {
        kind: &'static str,
        id: String,
        if_match: Option<u32>,
    },
    Create {
        resource: Resource,
        id: String,
    },
    /// An `ifNoneExist` that found one: nothing is created.
    Exists {
        kind: &'static str,
        id: String,
    },
    Update {
        resource: Resource,
        id: String,
        if_match: Option<u32>,
    },
    Read {
        kind: &'static str,
        id: String,
        version: Option<String>,
    },
    Search(Query),
}

/// An action and the number of its entry in the Bundle; answers stand in the order of entries.
#[derive(Clone, Debug)]
pub struct Operation<T> {
    pub entry: usize,
    pub action: T,
}

/// What to do, in the order in which to do it: DELETE, POST, PUT, GET.
#[derive(Clone, Debug)]
pub enum Plan {
    Transaction(Vec<Operation<Action>>),
    Batch(Vec<Operation<Result<Action, Vec<Issue>>>>),
}

/// Create this entry only where nothing is found: to be looked up before planning.
#[derive(Clone, Debug)]
pub struct Condition {
    pub entry: usize,
    pub query: Query,
}

#[derive(Clone, Debug)]
enum Ask {
    Delete { kind: &'static str, id: String, if_match: Option<u32> },
    Create { kind: &'static str, condition: Option<Query> },
    Update { kind: &'static str, id: String, if_match: Option<u32> },
    Read { kind: &'static str, id: String, version: Option<String> },
    Search(Query),
}

impl Ask {
    fn rank(&self) -> u8 {
        match self {
            Self::Delete { .. } => 0,
            Self::Create { .. } => 1,
            Self::Update { .. } => 2,
            Self::Read { .. } | Self::Search(_) => 3,
        }
    }
}

struct Entry {
    full_url: Option<String>,
    resource: Option<Range<usize>>,
    ask: Result<Ask, Vec<Issue>>,
}

/// A Bundle that was read and checked, and is not yet planned.
pub struct Draft {
    kind: BundleKind,
    text: String,
    entries: Vec<Entry>,
}

impl Draft {
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Issue>> {
        let bundle = Resource::opened(bytes).map_err(|issue| vec![issue])?;
        let kind = match (bundle.kind(), bundle.json().get("type").and_then(fhirkit::Json::as_str)) {
            ("Bundle", Some("transaction")) => BundleKind::Transaction,
            ("Bundle", Some("batch")) => BundleKind::Batch,
            _ => {
                let text = "only a Bundle of type transaction or batch is taken here";
                return Err(vec![Issue::error(Code::NotSupported, text).at("Bundle.type")]);
            }
        };
        let mut found = check::issues(bundle.json());
        if kind == BundleKind::Batch {
            // An entry's own faults are its own answer.
            found.retain(|issue| {
                !issue.expression.as_deref().unwrap_or_default().starts_with("Bundle.entry[")
                    || issue.expression.as_deref().unwrap_or_default().ends_with(".resourceType")
            });
        }
        if !found.is_empty() {
            return Err(found);
        }
        let text = bundle.text().to_owned();
        let places = members(&text, 0)
            .unwrap_or_default()
            .iter()
            .find(|member| member.key == "entry")
            .and_then(|member| elements(&text, member.value.start))
            .unwrap_or_default();
        if places.len() > GROUP_PARCELS_MAX {
            let text = format!("{} entries, the maximum is {GROUP_PARCELS_MAX}", places.len());
            return Err(vec![Issue::error(Code::TooCostly, text).at("Bundle.entry")]);
        }
        let json: Vec<&fhirkit::Json> = super::resource::find(bundle.json(), "entry");
        let mut entries: Vec<Entry> = places
            .iter()
            .zip(json)
            .enumerate()
            .map(|(number, (place, json))| entry(number, &text, place, json))
            .collect();
        let faults = conflicts(kind, &mut entries);
        match faults.is_empty() {
            true => Ok(Self { kind, text, entries }),
            false => Err(faults),
        }
    }

    pub fn kind(&self) -> BundleKind {
        self.kind
    }

    /// Searches to be done before planning; `existing` then says, for each that found exactly one, which.
    pub fn conditions(&self) -> Vec<Condition> {
        let condition = |(entry, found): (usize, &Entry)| match &found.ask {
            Ok(Ask::Create { condition: Some(query), .. }) => Some(Condition { entry, query: query.clone() }),
            _ => None,
        };
        self.entries.iter().enumerate().filter_map(condition).collect()
    }

    pub fn plan(
        self,
        existing: &BTreeMap<usize, String>,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Plan, Vec<Issue>> {
        let mut ids: Vec<String> = Vec::with_capacity(self.entries.len());
        let mut targets: HashMap<&str, String> = HashMap::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let (kind, id) = match &entry.ask {
                Ok(Ask::Create { kind, .. }) => (*kind, existing.get(&number).cloned().unwrap_or_else(&mut *new_id)),
                Ok(Ask::Update { kind, id, .. }) => (*kind, id.clone()),
                _ => ("", String::new()),
            };
            if let (Some(url), false) = (&entry.full_url, id.is_empty()) {
                targets.insert(url, format!("{kind}/{id}"));
            }
            ids.push(id);
        }
        let mut planned = Vec::with_capacity(self.entries.len());
        for (number, (entry, id)) in self.entries.iter().zip(ids).enumerate() {
            let rank = entry.ask.as_ref().map_or(3, Ask::rank);
            let action = match &entry.ask {
                Err(issues) => Err(issues.clone()),
                Ok(Ask::Create { kind, .. }) if existing.contains_key(&number) => Ok(Action::Exists { kind, id }),
                Ok(Ask::Create { kind, .. }) => {
                    self.resource(number, entry, kind, &targets).map(|resource| Action::Create { resource, id })
                }
                Ok(Ask::Update { kind, if_match, .. }) => self
                    .resource(number, entry, kind, &targets)
                    .and_then(|resource| same_id(number, resource, &id))
                    .map(|resource| Action::Update { resource, id, if_match: *if_match }),
                Ok(Ask::Delete { kind, id, if_match }) => {
                    Ok(Action::Delete { kind, id: id.clone(), if_match: *if_match })
                }
                Ok(Ask::Read { kind, id, version }) => {
                    Ok(Action::Read { kind, id: id.clone(), version: version.clone() })
                }
                Ok(Ask::Search(query)) => Ok(Action::Search(query.clone())),
            };
            planned.push((rank, Operation { entry: number, action }));
        }
        planned.sort_by_key(|(rank, _)| *rank);
        let operations = planned.into_iter().map(|(_, operation)| operation);
        if self.kind == BundleKind::Batch {
            return Ok(Plan::Batch(operations.collect()));
        }
        let (mut good, mut faults) = (Vec::new(), Vec::new());
        for Operation { entry, action } in operations {
            match action {
                Ok(action) => good.push(Operation { entry, action }),
                Err(issues) => faults.extend(issues),
            }
        }
        if faults.is_empty() { Ok(Plan::Transaction(good)) } else { Err(faults) }
    }

    /// The entry's resource, its references to other entries rewritten to the ids that these now have.
    fn resource(
        &self,
        number: usize,
        entry: &Entry,
        kind: &str,
        targets: &HashMap<&str, String>,
    ) -> Result<Resource, Vec<Issue>> {
        let place = format!("Bundle.entry[{number}].resource");
        let Some(text) = entry.resource.clone().and_then(|place| self.text.get(place)) else {
            return Err(vec![Issue::error(Code::Required, "required element missing").at(place)]);
        };
        let base = entry.full_url.as_deref().and_then(service_base);
        let text = rewritten(text, base, targets).map_err(|issue| vec![issue.at(place.clone())])?;
        Resource::parse(text.as_bytes(), Some(kind)).map_err(|issues| {
            let moved = |issue: Issue| {
                let rest = issue.expression.as_deref().and_then(|path| path.split_once('.')).map(|(_, rest)| rest);
                let at = rest.map_or_else(|| place.clone(), |rest| format!("{place}.{rest}"));
                issue.at(at)
            };
            issues.into_iter().map(moved).collect()
        })
    }
}

fn same_id(number: usize, resource: Resource, id: &str) -> Result<Resource, Vec<Issue>> {
    if resource.id() == Some(id) {
        return Ok(resource);
    }
    let text = "must be there, and be the id in request.url";
    Err(vec![Issue::error(Code::Value, text).at(format!("Bundle.entry[{number}].resource.id"))])
}

/// Entries that stand in each other's way.
fn conflicts(kind: BundleKind, entries: &mut [Entry]) -> Vec<Issue> {
    let (mut urls, mut targets) = (BTreeSet::new(), BTreeSet::new());
    let mut faults = Vec::new();
    for (number, entry) in entries.iter_mut().enumerate() {
        let mut own = Vec::new();
        if let Some(url) = &entry.full_url
            && !urls.insert(url.clone())
        {
            let text = "another entry has the same fullUrl";
            own.push(Issue::error(Code::Duplicate, text).at(format!("Bundle.entry[{number}].fullUrl")));
        }
        if let Ok(Ask::Update { kind, id, .. } | Ask::Delete { kind, id, .. }) = &entry.ask
            && !targets.insert((*kind, id.clone()))
        {
            let text = "another entry changes the same resource";
            own.push(Issue::error(Code::Duplicate, text).at(format!("Bundle.entry[{number}].request.url")));
        }
        if kind == BundleKind::Transaction {
            own.extend(entry.ask.as_ref().err().cloned().into_iter().flatten());
            faults.extend(own);
        } else if !own.is_empty() {
            entry.ask = Err(own);
        }
    }
    faults
}

fn entry(number: usize, text: &str, place: &Range<usize>, json: &fhirkit::Json) -> Entry {
    let resource = members(text, place.start)
        .unwrap_or_default()
        .into_iter()
        .find(|member| member.key == "resource")
        .map(|member| member.value);
    let full_url = json.get("fullUrl").and_then(fhirkit::Json::as_str).map(str::to_owned);
    let ask = ask(json, resource.is_some())
        .map_err(|(element, issue)| vec![issue.at(format!("Bundle.entry[{number}].{element}"))]);
    Entry { full_url, resource, ask }
}

fn ask(json: &fhirkit::Json, has_resource: bool) -> Result<Ask, (&'static str, Issue)> {
    let request = |key: &str| json.get("request").and_then(|r| r.get(key)).and_then(fhirkit::Json::as_str);
    let missing = |element| (element, Issue::error(Code::Required, "required element missing"));
    let (Some(method), Some(url)) = (request("method"), request("url")) else { return Err(missing("request")) };
    let unsupported = |element, text: &str| Err((element, Issue::error(Code::NotSupported, text)));
    for (key, element) in [("ifNoneMatch", "request.ifNoneMatch"), ("ifModifiedSince", "request.ifModifiedSince")] {
        if request(key).is_some() {
            return unsupported(element, "is not supported");
        }
    }
    let if_match = match request("ifMatch").map(|etag| parse_etag(etag).ok_or(())) {
        Some(Err(())) => {
            return Err(("request.ifMatch", Issue::error(Code::Value, "is no version of this server: W/\"number\"")));
        }
        Some(Ok(version)) => Some(version),
        None => None,
    };
    let (path, search) = match url.split_once('?') {
        Some((path, search)) => (path, Some(search)),
        None => (url, None),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let Some(kind) = parts.first().and_then(|name| table().resource_type(name)) else {
        return Err(("request.url", Issue::error(Code::Value, "must begin with a resource type: Type or Type/id")));
    };
    let wrong = || Err(("request.url", Issue::error(Code::Value, "does not fit its method")));
    let needs_resource = matches!(method, "POST" | "PUT");
    if needs_resource != has_resource {
        return if needs_resource {
            Err(missing("resource"))
        } else {
            unsupported("resource", "goes with POST and PUT only")
        };
    }
    match (method, parts.as_slice(), search) {
        ("POST", [_], None) => {
            let condition = match request("ifNoneExist") {
                None => None,
                Some(search) => {
                    let search = search.strip_prefix(kind).unwrap_or(search);
                    let query = Query::parse_encoded(kind, search.strip_prefix('?').unwrap_or(search))
                        .map_err(|issue| ("request.ifNoneExist", issue))?;
                    if !query.is_by_identifier() {
                        return unsupported("request.ifNoneExist", "only a search by identifier is supported here");
                    }
                    Some(query)
                }
            };
            Ok(Ask::Create { kind, condition })
        }
        ("PUT", [_, id], None) if is_id(id) => Ok(Ask::Update { kind, id: (*id).to_owned(), if_match }),
        ("DELETE", [_, id], None) if is_id(id) => Ok(Ask::Delete { kind, id: (*id).to_owned(), if_match }),
        ("PUT" | "DELETE", [_], Some(_)) => unsupported(
            "request.url",
            "conditional updates and deletes are not supported: name the resource as Type/id",
        ),
        ("GET", [_, id], None) if is_id(id) => Ok(Ask::Read { kind, id: (*id).to_owned(), version: None }),
        ("GET", [_, id, "_history", version], None) if is_id(id) && is_id(version) => {
            Ok(Ask::Read { kind, id: (*id).to_owned(), version: Some((*version).to_owned()) })
        }
        ("GET", [_], search) => Query::parse_encoded(kind, search.unwrap_or_default())
            .map(Ask::Search)
            .map_err(|issue| ("request.url", issue)),
        ("POST" | "PUT" | "DELETE" | "GET", ..) => wrong(),
        _ => unsupported("request.method", "is not supported: POST, PUT, DELETE and GET are"),
    }
}

/// `W/"3"` or `"3"`: version 3.
pub fn parse_etag(text: &str) -> Option<u32> {
    let text = text.trim();
    let number = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    let plain = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

/// `http://a/fhir` of the fullUrl `http://a/fhir/Patient/1`.
fn service_base(full_url: &str) -> Option<&str> {
    match reference::parse(full_url)? {
        Reference::Absolute { kind: Some(_) } => full_url.rsplitn(3, '/').nth(2),
        _ => None,
    }
}

/// Elements that hold addresses of resources. HL7 FHIR R4, http.html#trules names references, uri, url, oid, uuid, and
/// links in narrative; a system or a number that happens to be a URN stays as it is.
const ADDRESSES: &[&str] = &["reference", "url", "uri", "valueUri", "valueUrl", "valueUuid", "valueOid"];

fn rewritten(text: &str, base: Option<&str>, targets: &HashMap<&str, String>) -> Result<String, Issue> {
    let all: Vec<super::json::Token> = tokens(text).collect();
    let (mut key, mut edits) = (String::new(), Vec::new());
    for (at, (kind, place)) in all.iter().enumerate() {
        if *kind != b'"' {
            continue;
        }
        let raw = text.get(place.clone()).unwrap_or_default();
        let Ok(value) = serde_json::from_str::<String>(raw) else { continue };
        if all.get(at + 1).is_some_and(|(next, _)| *next == b':') {
            key = value;
            continue;
        }
        if key == "div" {
            let changed: String = value
                .split_inclusive(['"', '\''])
                .map(|part| {
                    let bare = part.trim_end_matches(['"', '\'']);
                    targets.get(bare).map_or_else(|| part.to_owned(), |target| part.replacen(bare, target, 1))
                })
                .collect();
            if changed != value {
                edits.push((place.clone(), quoted(&changed)));
            }
        } else if ADDRESSES.contains(&key.as_str()) {
            let relative = || base.and_then(|base| targets.get(format!("{base}/{value}").as_str()));
            if let Some(target) = targets.get(value.as_str()).or_else(relative) {
                edits.push((place.clone(), quoted(target)));
            } else if key == "reference" && reference::parse(&value) == Some(Reference::Urn) {
                return Err(Issue::error(Code::Value, "a reference by URN names no fullUrl of this Bundle"));
            }
        }
    }
    Ok(spliced(text, &edits))
}

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
    /// None: this version deleted it.
    pub bytes: Option<&'a [u8]>,
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
        let (method, status) = match (v.bytes, v.version) {
            (None, _) => ("DELETE", 204),
            (Some(_), 1) => ("POST", 201),
            (Some(_), _) => ("PUT", 200),
        };
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
