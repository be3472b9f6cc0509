//! One resource: the client's bytes, checked once, and read through without changing them.

use fhirkit::Json;
use kit::Timestamp;
use kit::limits::FHIR_BODY_BYTES_MAX;

use super::issue::{Code, Issue};
use super::json::{escaped_key, members, quoted, spliced, within_limits};
use super::search::{Field, identifiers_of};
use super::table::table;
use super::{check, reference};

/// `[A-Za-z0-9\-\.]{1,64}`: HL7 FHIR R4, datatypes.html#id.
pub fn is_id(text: &str) -> bool {
    fhirkit::primitive::is_id(text)
}

/// The name of one of R4's 146 resource types, where it is one.
pub fn resource_type(name: &str) -> Option<&'static str> {
    table().resource_type(name)
}

/// The type of the account, which the server writes and nobody else.
pub const AUDIT_EVENT: &str = "AuditEvent";

/// The names of all of them.
pub fn resource_types() -> Vec<&'static str> {
    table().resource_types()
}

pub(crate) fn is_resource_type(name: &str) -> bool {
    resource_type(name).is_some()
}

/// A resource and the bytes that it came in.
#[derive(Clone)]
pub struct Resource {
    text: String,
    json: Json,
    kind: &'static str,
}

/// Its content is a patient's; only the type is shown.
impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resource({}, {} bytes)", self.kind, self.text.len())
    }
}

impl Resource {
    /// What a client sent, checked against all of R4 that `check` knows.
    pub fn parse(bytes: &[u8], expected_type: Option<&str>) -> Result<Self, Vec<Issue>> {
        let resource = Self::received(bytes).map_err(|issue| vec![issue])?;
        if let Some(expected) = expected_type
            && expected != resource.kind
        {
            let text = format!("{} where {} is expected", resource.kind, printable_type(expected));
            return Err(vec![Issue::error(Code::Value, text).at(format!("{}.resourceType", resource.kind))]);
        }
        match check::issues(&resource.json) {
            issues if issues.is_empty() => Ok(resource),
            issues => Err(issues),
        }
    }

    /// What a client sent, and whose rules are still to be checked.
    pub(crate) fn received(bytes: &[u8]) -> Result<Self, Issue> {
        let resource = Self::opened(bytes)?;
        match escaped_key(&resource.text) {
            None => Ok(resource),
            Some(path) => {
                let place = check::printable(&format!("{}.{path}", resource.kind));
                Err(Issue::error(Code::Structure, "a key is written with an escape; element names need none").at(place))
            }
        }
    }

    /// With the references to this server's own `base` written as it keeps them, `Type/id`: whose record it is, and what
    /// finds it, then doesn't hang on the name that the server was called by.
    pub fn parse_at(base: &str, bytes: &[u8], expected_type: Option<&str>) -> Result<Self, Vec<Issue>> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::parse(bytes, expected_type) };
        match within_limits(text) {
            Ok(()) => Self::parse(reference::localised(base, text).as_bytes(), expected_type),
            Err(issue) => Err(vec![issue]),
        }
    }

    /// What comes out of the vault: it was checked when it went in, and later rules must not make it unreadable.
    pub fn opened(bytes: &[u8]) -> Result<Self, Issue> {
        let syntax = |text: String| Issue::error(Code::Syntax, text);
        if bytes.len() > FHIR_BODY_BYTES_MAX {
            let text = format!("{} bytes, the maximum is {FHIR_BODY_BYTES_MAX}", bytes.len());
            return Err(Issue::error(Code::TooLong, text));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| syntax(format!("no UTF-8 from byte {} on", error.valid_up_to())))?;
        if text.starts_with('\u{feff}') {
            return Err(syntax("a byte order mark stands before the JSON (RFC 8259, section 8.1)".into()));
        }
        within_limits(text)?;
        let json = Json::parse(text).map_err(|error| syntax(format!("no JSON: {error}")))?;
        if json.as_object().is_none() {
            return Err(syntax(format!("expected an object, found {}", json.kind())));
        }
        if json.as_object().into_iter().flatten().filter(|(key, _)| key == "resourceType").count() > 1 {
            return Err(Issue::error(Code::Structure, "the key appears more than once").at("resourceType"));
        }
        let kind = match json.get("resourceType") {
            None => return Err(Issue::error(Code::Required, "required element missing").at("resourceType")),
            Some(name) => name.as_str().and_then(|name| table().resource_type(name)),
        };
        let Some(kind) = kind else {
            return Err(Issue::error(Code::Structure, "no resource type of FHIR R4").at("resourceType"));
        };
        Ok(Self { text: text.to_owned(), json, kind })
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn id(&self) -> Option<&str> {
        self.json.get("id")?.as_str()
    }

    pub fn version_id(&self) -> Option<&str> {
        self.json.get("meta")?.get("versionId")?.as_str()
    }

    pub fn last_updated(&self) -> Option<Timestamp> {
        super::instant::parse_date_time(self.json.get("meta")?.get("lastUpdated")?.as_str()?).map(|span| span.start)
    }

    /// The bytes that came in.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn json(&self) -> &Json {
        &self.json
    }

    /// The bytes to keep: `id`, `meta.versionId` and `meta.lastUpdated` are the server's, all else is the client's, to
    /// the last digit and blank.
    pub fn stored(&self, id: &str, version: u32, last_updated: Timestamp) -> Result<Vec<u8>, Issue> {
        let meta_parts =
            [("versionId", quoted(&version.to_string())), ("lastUpdated", quoted(&last_updated.to_string()))];
        let own = members(&self.text, 0).unwrap_or_default();
        let mut edits = Vec::new();
        let mut fresh = String::new();
        match own.iter().find(|member| member.key == "id") {
            Some(member) => edits.push((member.value.clone(), quoted(id))),
            None => fresh = format!(",\"id\":{}", quoted(id)),
        }
        match own.iter().find(|member| member.key == "meta") {
            Some(meta) => {
                let inside = members(&self.text, meta.value.start).unwrap_or_default();
                let mut missing = String::new();
                for (key, value) in meta_parts {
                    match inside.iter().find(|member| member.key == key) {
                        Some(member) => edits.push((member.value.clone(), value)),
                        // A meta always holds something else then: an empty one was refused.
                        None => missing.push_str(&format!("\"{key}\":{value},")),
                    }
                }
                edits.push((meta.value.start + 1..meta.value.start + 1, missing));
            }
            None => {
                let [(version, n), (updated, at)] = meta_parts;
                fresh.push_str(&format!(",\"meta\":{{\"{version}\":{n},\"{updated}\":{at}}}"));
            }
        }
        let Some(kind) = own.iter().find(|member| member.key == "resourceType") else {
            return Err(Issue::error(Code::Required, "required element missing").at("resourceType"));
        };
        edits.push((kind.value.end..kind.value.end, fresh));
        edits.sort_by_key(|(place, _)| place.start);
        Ok(spliced(&self.text, &edits).into_bytes())
    }

    /// Types of the resources inside it.
    pub(crate) fn contained_types(&self) -> Vec<&str> {
        find(&self.json, "contained")
            .iter()
            .map(|inside| inside.get("resourceType").and_then(Json::as_str).unwrap_or_default())
            .collect()
    }

    /// What it is known by, as searches find it.
    pub(crate) fn identifiers(&self) -> Vec<Field> {
        identifiers_of(self.kind, &self.json).into_iter().map(|value| Field::new("identifier", value)).collect()
    }
}

/// The value at `path` below `json`, every repetition of it.
pub(crate) fn find<'a>(json: &'a Json, path: &str) -> Vec<&'a Json> {
    path.split('.').fold(vec![json], |at, name| {
        at.into_iter()
            .filter_map(|json| json.get(name))
            .flat_map(|found| match found {
                Json::Array(items) => items.iter().collect(),
                one => vec![one],
            })
            .collect()
    })
}

/// A type's name from an address, shown only where it is one.
fn printable_type(name: &str) -> &str {
    if is_resource_type(name) { name } else { "resource of another type" }
}
