//! Bundles: what a transaction or batch asks for, in the order in which it happens.
//! HL7 FHIR R4, http.html#transaction, bundle.html.
//!
//! A transaction's life: `Draft::parse` reads and checks it; its `conditions` (ifNoneExist) are looked up by whoever has
//! the index; `Draft::plan` gives new resources their ids, rewrites the references between entries, and orders it all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use kit::limits::BUNDLE_ENTRIES_MAX;

use super::check;
use super::issue::{Code, Issue};
use super::json::{elements, members, path_to, quoted, spliced, tokens};
use super::query::Query;
use super::reference::{self, Reference};
use super::resource::{AUDIT_EVENT, Resource, is_id};
use super::search::identifiers_of;
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
        /// In a batch: only where this finds none. In a transaction that was found out before.
        condition: Option<Query>,
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
    /// What it would be found by.
    identifiers: BTreeSet<String>,
}

impl Entry {
    fn is(&self, of: &str) -> bool {
        matches!(&self.ask, Ok(Ask::Create { kind, .. } | Ask::Update { kind, .. }) if *kind == of)
    }
}

/// A Bundle that was read and checked, and is not yet planned.
pub struct Draft {
    kind: BundleKind,
    base: String,
    text: String,
    entries: Vec<Entry>,
}

impl Draft {
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Issue>> {
        Self::parse_at("", bytes)
    }

    /// The same, sent to the server whose address is `base`: addresses below it are this server's own.
    pub fn parse_at(base: &str, bytes: &[u8]) -> Result<Self, Vec<Issue>> {
        let bundle = Resource::received(bytes).map_err(|issue| vec![issue])?;
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
            // An entry's own faults are its own answer: those around its resource are looked for again below, those in
            // it when it is planned.
            found.retain(|issue| !issue.expression.as_deref().unwrap_or_default().starts_with("Bundle.entry["));
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
        if places.len() > BUNDLE_ENTRIES_MAX {
            let text = format!("{} entries, the maximum is {BUNDLE_ENTRIES_MAX}", places.len());
            return Err(vec![Issue::error(Code::TooCostly, text).at("Bundle.entry")]);
        }
        let json: Vec<&fhirkit::Json> = super::resource::find(bundle.json(), "entry");
        let mut entries: Vec<Entry> = places
            .iter()
            .zip(json.iter().copied())
            .enumerate()
            .map(|(number, (place, json))| entry(base, number, &text, place, json))
            .collect();
        if kind == BundleKind::Batch {
            for (number, (entry, json)) in entries.iter_mut().zip(&json).enumerate() {
                let around = check::entry_issues(json, number);
                match &mut entry.ask {
                    _ if around.is_empty() => {}
                    Err(issues) => issues.extend(around),
                    ask => *ask = Err(around),
                }
            }
        }
        let faults = conflicts(kind, &mut entries);
        match faults.is_empty() {
            true => Ok(Self { kind, base: base.to_owned(), text, entries }),
            false => Err(faults),
        }
    }

    pub fn kind(&self) -> BundleKind {
        self.kind
    }

    /// The address of the server that it was sent to; empty where nobody said.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Searches to be done before a transaction is planned; `existing` then says, for each that found exactly one, which.
    /// The entries of a batch each look for themselves, when it is their turn.
    pub fn conditions(&self) -> Vec<Condition> {
        if self.kind == BundleKind::Batch {
            return Vec::new();
        }
        let condition = |(entry, found): (usize, &Entry)| match &found.ask {
            Ok(Ask::Create { condition: Some(query), .. }) => Some(Condition { entry, query: query.clone() }),
            _ => None,
        };
        self.entries.iter().enumerate().filter_map(condition).collect()
    }

    pub fn plan(
        &self,
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
            // What a batch's entry may find instead is not known yet: nothing can refer to it.
            let open =
                self.kind == BundleKind::Batch && matches!(&entry.ask, Ok(Ask::Create { condition: Some(_), .. }));
            if let (Some(url), false, false) = (&entry.full_url, id.is_empty(), open) {
                targets.insert(url, format!("{kind}/{id}"));
            }
            ids.push(id);
        }
        let changed: BTreeSet<(&str, &str)> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.ask {
                Ok(Ask::Update { kind, id, .. } | Ask::Delete { kind, id, .. }) => Some((*kind, id.as_str())),
                _ => None,
            })
            .collect();
        let mut planned = Vec::with_capacity(self.entries.len());
        for (number, (entry, id)) in self.entries.iter().zip(ids).enumerate() {
            let rank = entry.ask.as_ref().map_or(3, Ask::rank);
            let action = match &entry.ask {
                Err(issues) => Err(issues.clone()),
                Ok(Ask::Create { kind, .. }) if existing.contains_key(&number) => {
                    match changed.contains(&(*kind, id.as_str())) {
                        false => Ok(Action::Exists { kind, id }),
                        true => {
                            let text = "finds what another entry changes";
                            let place = format!("Bundle.entry[{number}].request.ifNoneExist");
                            Err(vec![Issue::error(Code::Duplicate, text).at(place)])
                        }
                    }
                }
                Ok(Ask::Create { kind, condition }) => {
                    let condition = condition.clone().filter(|_| self.kind == BundleKind::Batch);
                    self.resource(number, entry, kind, &targets).map(|resource| Action::Create {
                        resource,
                        id,
                        condition,
                    })
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
        let text = rewritten(text, base, targets)
            .map_err(|(path, issue)| vec![issue.at(check::printable(&format!("{place}.{path}")))])?;
        Resource::parse_at(&self.base, text.as_bytes(), Some(kind)).map_err(|issues| {
            let moved = |issue: Issue| {
                let path = issue.expression.as_deref().unwrap_or_default();
                let at = match (path, path.split_once('.')) {
                    ("resourceType", _) => format!("{place}.resourceType"),
                    (_, Some((_, rest))) => format!("{place}.{rest}"),
                    _ => place.clone(),
                };
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
    Err(vec![Issue::error(Code::Mismatch, text).at(format!("Bundle.entry[{number}].resource.id"))])
}

/// Entries that stand in each other's way.
fn conflicts(kind: BundleKind, entries: &mut [Entry]) -> Vec<Issue> {
    let (mut urls, mut targets) = (BTreeSet::new(), BTreeSet::new());
    let mut faults = if kind == BundleKind::Transaction { meeting_conditions(entries) } else { Vec::new() };
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

/// What one entry looks for in vain, another one brings: both would be created.
fn meeting_conditions(entries: &[Entry]) -> Vec<Issue> {
    let asked = |entry: &Entry| match &entry.ask {
        Ok(Ask::Create { condition: Some(query), .. }) => Some(query.clone()),
        _ => None,
    };
    let conditions: Vec<(usize, Query)> =
        entries.iter().enumerate().filter_map(|(number, entry)| Some((number, asked(entry)?))).collect();
    let mut brought: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate().filter(|_| !conditions.is_empty()) {
        for identifier in &entry.identifiers {
            brought.entry(identifier).or_default().push(number);
        }
    }
    let mut faults = Vec::new();
    for (at, (number, query)) in conditions.iter().enumerate() {
        let same = conditions.iter().take(at).any(|(_, earlier)| earlier.same_as(query));
        let met =
            query.identifiers().iter().filter_map(|field| brought.get(field.value.as_str())).flatten().any(|other| {
                let other = entries.get(*other).filter(|_| other != number);
                other.is_some_and(|other| other.is(query.kind()) && query.finds_identifiers(&other.identifiers))
            });
        if same || met {
            let text = "another entry has the same condition, or creates what this one looks for";
            let place = format!("Bundle.entry[{number}].request.ifNoneExist");
            faults.push(Issue::error(Code::Duplicate, text).at(place));
        }
    }
    faults
}

fn entry(base: &str, number: usize, text: &str, place: &Range<usize>, json: &fhirkit::Json) -> Entry {
    let resource = members(text, place.start)
        .unwrap_or_default()
        .into_iter()
        .find(|member| member.key == "resource")
        .map(|member| member.value);
    let full_url = json.get("fullUrl").and_then(fhirkit::Json::as_str).map(str::to_owned);
    let ask = ask(base, json, resource.is_some())
        .map_err(|(element, issue)| vec![issue.at(format!("Bundle.entry[{number}].{element}"))]);
    let identifiers = match &ask {
        Ok(Ask::Create { kind, .. } | Ask::Update { kind, .. }) => {
            json.get("resource").map(|resource| identifiers_of(kind, resource)).unwrap_or_default()
        }
        _ => BTreeSet::new(),
    };
    Entry { full_url, resource, ask, identifiers }
}

fn ask(base: &str, json: &fhirkit::Json, has_resource: bool) -> Result<Ask, (&'static str, Issue)> {
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
    for (key, element, methods) in [
        ("ifMatch", "request.ifMatch", ["PUT", "DELETE"].as_slice()),
        ("ifNoneExist", "request.ifNoneExist", ["POST"].as_slice()),
    ] {
        if request(key).is_some() && !methods.contains(&method) {
            return unsupported(element, &format!("goes with {} only", methods.join(" and ")));
        }
    }
    // Relative to this server, or with its address before it.
    let own = url.strip_prefix(base).filter(|rest| !base.is_empty() && rest.starts_with('/')).unwrap_or(url);
    let url = own.strip_prefix('/').unwrap_or(own);
    let (path, search) = match url.split_once('?') {
        Some((path, search)) => (path, Some(search)),
        None => (url, None),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let Some(kind) = parts.first().and_then(|name| table().resource_type(name)) else {
        return Err(("request.url", Issue::error(Code::Value, "must begin with a resource type: Type or Type/id")));
    };
    if kind == AUDIT_EVENT {
        let text = "the account is written by the server alone, and is read at an address of its own";
        return Err(("request.url", Issue::error(Code::NotSupported, text)));
    }
    let wrong = || {
        let text = match parts.get(1) {
            Some(id) if !is_id(id) => "names no id: an id is [A-Za-z0-9\\-\\.]{1,64}",
            _ => "does not fit its method",
        };
        Err(("request.url", Issue::error(Code::Value, text)))
    };
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
                    let query = Query::parse_at(base, kind, search.strip_prefix('?').unwrap_or(search))
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
        ("GET", [_], search) => Query::parse_at(base, kind, search.unwrap_or_default())
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

/// A refusal comes with the path below the resource.
fn rewritten(text: &str, base: Option<&str>, targets: &HashMap<&str, String>) -> Result<String, (String, Issue)> {
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
                let issue = Issue::error(Code::Value, "a reference by URN names no fullUrl of this Bundle");
                return Err((path_to(text, place.start), issue));
            }
        }
    }
    Ok(spliced(text, &edits))
}
