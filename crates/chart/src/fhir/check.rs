//! Is it valid R4? Judged along FHIR's own table of elements: unknown elements, types, cardinalities, formats, closed
//! codes, ids, references, days that no calendar has, narrative, empty elements. Invariants in FHIRPath, open value sets
//! and profiles are not checked.
//!
//! `fhirkit` reads the JSON and knows the primitives' formats. Its typed reader is the tests' independent judge and not
//! used here: a typed element takes up to 16 KiB, so that a body of 300 KB (`{},{},…`) could claim a gigabyte; its
//! messages repeat values; and it knows neither closed codes nor references.

use std::collections::BTreeSet;

use fhirkit::{Json, Kind as Primitive};

use super::instant::parse_date_time;
use super::issue::{Code, ISSUES_MAX, Issue};
use super::narrative;
use super::reference::{self, Reference};
use super::table::{Element, Kind, table};

/// Characters of a string: HL7 FHIR R4, datatypes.html#string.
const STRING_CHARS_MAX: usize = 1024 * 1024;

/// A path as it may be shown: its keys come from the client, so anything but an element's name is left out.
pub(super) fn printable(path: &str) -> String {
    let plain = |part: &str| {
        let name = part.split('[').next().unwrap_or_default();
        name.len() <= 64 && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-[]".contains(c))
    };
    let shown: Vec<&str> = path.split('.').map(|part| if plain(part) { part } else { "(no element name)" }).collect();
    shown.join(".")
}

/// Every text in `json` that is no key. Its depth is bounded where it is read.
fn each_text<'j>(json: &'j Json, f: &mut impl FnMut(&'j str)) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| each_text(item, f)),
        Json::Object(members) => members.iter().for_each(|(_, value)| each_text(value, f)),
        other => other.as_str().into_iter().for_each(f),
    }
}

/// What is wrong with the resource `json`, one more than a page of it at most.
pub(crate) fn issues(json: &Json) -> Vec<Issue> {
    let kind = json.get("resourceType").and_then(Json::as_str).unwrap_or_default();
    let mut walk = Walk { path: kind.to_owned(), issues: Vec::new() };
    walk.resource(json, None);
    walk.issues
}

/// What is wrong with the entry `number` of a Bundle, around its resource.
pub(crate) fn entry_issues(json: &Json, number: usize) -> Vec<Issue> {
    let mut walk = Walk { path: format!("Bundle.entry[{number}]"), issues: Vec::new() };
    match json.as_object() {
        Some(members) => {
            let around: Vec<_> = members.iter().filter(|(key, _)| key != "resource").cloned().collect();
            if members.len() > around.len() + 1 {
                walk.at(format_args!(".resource"), |walk| {
                    walk.wrong(Code::Structure, "the key appears more than once")
                });
            }
            if !around.is_empty() {
                walk.object(&Json::Object(around), "Bundle.entry", &[]);
            }
        }
        None => walk.expected("an object", json),
    }
    walk.issues
}

struct Walk {
    path: String,
    issues: Vec<Issue>,
}

impl Walk {
    fn wrong(&mut self, code: Code, text: impl Into<String>) {
        if self.issues.len() <= ISSUES_MAX {
            self.issues.push(Issue::error(code, text).at(printable(&self.path)));
        }
    }

    /// Goes one element deeper for as long as `f` runs.
    fn at(&mut self, part: std::fmt::Arguments<'_>, f: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        let _ = std::fmt::Write::write_fmt(&mut self.path, part);
        f(self);
        self.path.truncate(length);
    }

    fn empty(&mut self) {
        self.wrong(Code::Invariant, "ele-1: an element holds a value or other elements");
    }

    /// What a primitive carries beside its value: an id and extensions; without a value, an id alone is not enough.
    fn beside(&mut self, json: &Json, has_value: bool, contained: &[&str]) {
        match json.as_object() {
            Some([(key, id)]) if key == "id" && has_value => {
                self.at(format_args!(".id"), |walk| walk.primitive(id, Primitive::String));
            }
            _ => self.object(json, "Element", contained),
        }
    }

    fn expected(&mut self, what: &str, found: &Json) {
        self.wrong(Code::Structure, format!("expected {what}, found {}", found.kind()));
    }

    /// `container`: ids that `#id` may name, where this resource is contained in another.
    fn resource(&mut self, json: &Json, container: Option<&[&str]>) {
        let Some(kind) = json.get("resourceType").and_then(Json::as_str).and_then(|name| table().resource_type(name))
        else {
            return self
                .at(format_args!(".resourceType"), |walk| walk.wrong(Code::Structure, "no resource type of FHIR R4"));
        };
        let contained: Vec<&str> = match json.get("contained") {
            Some(Json::Array(inside)) => inside.iter().filter_map(|c| c.get("id")?.as_str()).collect(),
            _ => Vec::new(),
        };
        for (number, id) in contained.iter().enumerate() {
            if contained.iter().take(number).any(|earlier| earlier == id) {
                self.at(format_args!(".contained"), |walk| {
                    walk.wrong(Code::Duplicate, "two contained resources have the same id");
                });
            }
        }
        if container.is_none() {
            self.contained_are_referred_to(json);
        }
        if container.is_some() {
            for part in ["versionId", "lastUpdated", "security"] {
                if json.get("meta").is_some_and(|meta| meta.get(part).is_some()) {
                    self.at(format_args!(".meta.{part}"), |walk| {
                        walk.wrong(
                            Code::Invariant,
                            "dom-4, dom-5: a contained resource has no version, time or label of its own",
                        );
                    });
                }
            }
        }
        if json.get("implicitRules").is_some() {
            self.at(format_args!(".implicitRules"), |walk| {
                walk.wrong(Code::NotSupported, "rules that would change what the resource says are not known here");
            });
        }
        if container.is_some() && json.get("contained").is_some() {
            self.at(format_args!(".contained"), |walk| {
                walk.wrong(Code::Invariant, "dom-2: a contained resource contains no other");
            });
        }
        self.object(json, kind, container.unwrap_or(&contained));
    }

    /// dom-3: somebody refers to each contained resource by its id, or it refers to what contains it.
    fn contained_are_referred_to(&mut self, json: &Json) {
        let Some(Json::Array(inside)) = json.get("contained") else { return };
        let mut named = BTreeSet::new();
        each_text(json, &mut |text| named.extend(text.strip_prefix('#')));
        for (number, resource) in inside.iter().enumerate() {
            let is_named = resource.get("id").and_then(Json::as_str).is_some_and(|id| named.contains(id));
            let mut names_container = false;
            each_text(resource, &mut |text| names_container |= text == "#");
            if !is_named && !names_container {
                self.at(format_args!(".contained[{number}]"), |walk| {
                    walk.wrong(Code::Invariant, "dom-3: nothing refers to the contained resource by its id");
                });
            }
        }
    }

    fn object(&mut self, json: &Json, of: &str, contained: &[&str]) {
        let Some(members) = json.as_object() else { return self.expected("an object", json) };
        let is_resource = table().resource_type(of).is_some();
        if members.iter().all(|(key, _)| key == "id") && !is_resource {
            self.empty();
        }
        let mut choices: Vec<(&str, &str)> = Vec::new();
        for (at, (key, value)) in members.iter().enumerate() {
            if members.iter().take(at).any(|(earlier, _)| earlier == key) {
                self.at(format_args!(".{key}"), |walk| walk.wrong(Code::Structure, "the key appears more than once"));
            }
            if key == "resourceType" && is_resource {
                continue;
            }
            let bare = key.strip_prefix('_');
            let element = table().element(of, bare.unwrap_or(key)).filter(|e| bare.is_none() || e.kind.is_primitive());
            self.at(format_args!(".{key}"), |walk| match element {
                None => walk.wrong(Code::Structure, "unknown element"),
                Some(element) => {
                    if key == "modifierExtension" {
                        walk.modifiers(value);
                    }
                    walk.element(value, element, bare, json, contained);
                }
            });
            if let Some(choice) = element.and_then(|element| element.choice) {
                let form = bare.unwrap_or(key);
                if choices.iter().any(|(other, known)| *other == choice && *known != form) {
                    self.at(format_args!(".{choice}"), |walk| {
                        walk.wrong(Code::Structure, "only one type may be given")
                    });
                }
                choices.push((choice, form));
            }
        }
        if of == "Extension"
            && choices.iter().any(|(choice, _)| *choice == "value[x]") == json.get("extension").is_some()
        {
            self.wrong(Code::Invariant, "ext-1: an extension holds a value or other extensions, and not both");
        }
        for (name, least) in table().lineage(of).flat_map(|of| &of.required) {
            let there = |(key, value): &(String, Json)| match key.strip_prefix('_').unwrap_or(key) == *name {
                true => value_count(value),
                false => 0,
            };
            let count = members.iter().map(there).max().unwrap_or_default();
            if count < *least && !choices.iter().any(|(choice, _)| choice == name) {
                let text = match count {
                    0 => "required element missing".to_owned(),
                    _ => format!("{count} entries, the minimum is {least}"),
                };
                self.at(format_args!(".{name}"), |walk| walk.wrong(Code::Required, text));
            }
        }
    }

    /// A modifier may turn what it stands in into its opposite ("not this medicine"), so who doesn't know it must not
    /// process the resource: HL7 FHIR R4, extensibility.html#modifierExtension. None is known here, and to keep one
    /// would be to process it: the record would be searched, counted and handed on as if it said what it seems to say.
    fn modifiers(&mut self, json: &Json) {
        let Json::Array(items) = json else { return };
        for (number, item) in items.iter().enumerate() {
            let name = item.get("url").and_then(Json::as_str).filter(|url| is_definition(url));
            self.at(format_args!("[{number}]"), |walk| {
                let name = name.unwrap_or("(no address of a definition)");
                walk.wrong(Code::Extension, format!("{name} may change what the resource says, and is not known here"));
            });
        }
    }

    /// The value of one member; with `bare`, it is what a primitive of that name carries beside it.
    fn element(
        &mut self,
        value: &Json,
        element: &'static Element,
        bare: Option<&str>,
        owner: &Json,
        contained: &[&str],
    ) {
        if !element.repeats {
            return match value {
                Json::Null => self.wrong(Code::Structure, "null is no value; leave the element out"),
                Json::Array(_) => self.expected("a single value", value),
                _ if bare.is_some() => {
                    let has_value = bare.and_then(|bare| owner.get(bare)).is_some();
                    self.beside(value, has_value, contained);
                }
                _ => self.one(value, element, contained),
            };
        }
        let Json::Array(items) = value else { return self.expected("an array", value) };
        if items.is_empty() {
            self.wrong(Code::Structure, "an empty array is not allowed; leave the element out");
        }
        // Values and what they carry stand in two arrays that line up; null fills the gaps of either.
        let twin = match (bare, element.kind.is_primitive()) {
            (Some(bare), _) => owner.get(bare),
            (None, true) => self.path.rsplit_once('.').and_then(|(_, key)| owner.get(&format!("_{key}"))),
            (None, false) => None,
        };
        let beside = match twin {
            Some(Json::Array(beside)) => beside.as_slice(),
            _ => &[],
        };
        if !beside.is_empty() && beside.len() != items.len() {
            let text =
                format!("{} entries, and {} beside them; the two arrays must line up", items.len(), beside.len());
            self.wrong(Code::Structure, text);
        }
        for (number, item) in items.iter().enumerate() {
            let filled = beside.get(number).is_some_and(|other| !matches!(other, Json::Null));
            self.at(format_args!("[{number}]"), |walk| match item {
                Json::Null if filled => {}
                Json::Null => walk.wrong(Code::Structure, "null with nothing in its place"),
                Json::Array(_) => walk.expected("a single value", item),
                _ if bare.is_some() => walk.beside(item, filled, contained),
                _ => walk.one(item, element, contained),
            });
        }
    }

    fn one(&mut self, json: &Json, element: &'static Element, contained: &[&str]) {
        match &element.kind {
            Kind::Resource => {
                let inside = self.path.rsplit('.').next().is_some_and(|part| part.starts_with("contained"));
                self.resource(json, inside.then_some(contained));
            }
            Kind::Complex(of) => self.object(json, of, contained),
            Kind::Concept(of, codes, systems) => {
                self.concept(json, of, *codes, systems);
                self.object(json, of, contained);
            }
            Kind::Reference(targets) => {
                self.reference(json, *targets, contained);
                self.object(json, "Reference", contained);
            }
            Kind::Code(number) => match json {
                Json::String(text) => {
                    let codes = table().codes(*number);
                    if !codes.contains(&text.as_str()) {
                        self.wrong(Code::CodeInvalid, not_one_of(codes));
                    }
                }
                _ => self.expected("a string", json),
            },
            Kind::Primitive(primitive) => self.primitive(json, *primitive),
        }
    }

    fn primitive(&mut self, json: &Json, primitive: Primitive) {
        match (primitive, json) {
            (Primitive::Boolean, Json::Bool(_)) | (Primitive::Decimal, Json::Number(_)) => {}
            (Primitive::Boolean, _) => self.expected("true or false", json),
            (Primitive::Decimal, _) => self.expected("a number", json),
            (Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt, Json::Number(number)) => {
                let least = match primitive {
                    Primitive::PositiveInt => 1,
                    Primitive::UnsignedInt => 0,
                    _ => i32::MIN,
                };
                // R4 writes whole numbers without fraction and exponent.
                let plain = fhirkit::primitive::is_integer(number);
                if !plain || number.parse::<i32>().ok().is_none_or(|number| number < least) {
                    self.wrong(Code::Value, format!("is no whole number from {least} to {}", i32::MAX));
                }
            }
            (Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt, _) => {
                self.expected("a whole number", json);
            }
            (_, Json::String(text)) => self.text(text, primitive),
            _ => self.expected("a string", json),
        }
    }

    fn text(&mut self, text: &str, primitive: Primitive) {
        // HL7 FHIR R4, datatypes.html#string.
        if text.chars().any(|c| c < ' ' && !matches!(c, '\t' | '\r' | '\n')) {
            return self.wrong(Code::Value, "holds a control character");
        }
        // No type has an empty value (json.html#null). White space alone is worse: XML's readers take it away, and what is
        // then left is no value ("Strings SHOULD always contain non-whitespace content").
        if text.trim().is_empty() {
            let what = if text.is_empty() { "an empty string" } else { "a string of nothing but white space" };
            return self.wrong(Code::Value, format!("{what} is not allowed; leave the element out"));
        }
        if primitive == Primitive::String && text.len() > STRING_CHARS_MAX && text.chars().count() > STRING_CHARS_MAX {
            return self.wrong(Code::TooLong, format!("a string of more than {STRING_CHARS_MAX} characters"));
        }
        let good = match primitive {
            Primitive::Date => !text.contains('T') && parse_date_time(text).is_some(),
            Primitive::DateTime => parse_date_time(text).is_some(),
            Primitive::Instant => text.contains('T') && parse_date_time(text).is_some(),
            Primitive::Base64Binary => is_base64(text),
            _ => primitive.check(text).is_ok(),
        };
        match (good, primitive) {
            (false, _) => self.wrong(Code::Value, format!("is not a valid {}", primitive.name())),
            (true, Primitive::Xhtml) => {
                if let Err(why) = narrative::check(text) {
                    self.wrong(Code::Invariant, format!("narrative: {why}"));
                }
            }
            (true, _) => {}
        }
    }

    /// A concept with closed codes: one of its codings must be from the value set. HL7 FHIR R4,
    /// terminologies.html#required.
    fn concept(&mut self, json: &Json, of: &str, codes: usize, systems: &[&str]) {
        let codes = table().codes(codes);
        let fits = |coding: &Json| {
            let has =
                |key: &str, among: &[&str]| coding.get(key).and_then(Json::as_str).is_some_and(|c| among.contains(&c));
            has("code", codes) && has("system", systems)
        };
        let good = match (of, json.get("coding")) {
            ("CodeableConcept", Some(Json::Array(codings))) => codings.iter().any(fits),
            // Nothing to choose from but words or an extension that says why.
            ("CodeableConcept", _) => false,
            _ => fits(json),
        };
        if !good {
            self.wrong(Code::CodeInvalid, format!("{} of {}", not_one_of(codes), systems.join(" or ")));
        }
    }

    fn reference(&mut self, json: &Json, targets: Option<usize>, contained: &[&str]) {
        let Some(Json::String(text)) = json.get("reference") else { return };
        let said = json.get("type").and_then(Json::as_str).and_then(|said| {
            table().resource_type(said.strip_prefix("http://hl7.org/fhir/StructureDefinition/").unwrap_or(said))
        });
        if let (Some(said), Some(Reference::Local { kind, .. } | Reference::Absolute { kind: Some(kind) })) =
            (said, reference::parse(text))
            && said != kind
        {
            self.at(format_args!(".type"), |walk| {
                walk.wrong(Code::Value, format!("says {said}, the reference {kind}"))
            });
        }
        self.at(format_args!(".reference"), |walk| match reference::parse(text) {
            None => walk.wrong(Code::Value, "is no reference: Type/id, #id, urn:uuid:… or a URL"),
            Some(Reference::Conditional) => {
                walk.wrong(Code::NotSupported, "a reference by search is not supported; name the resource as Type/id");
            }
            Some(Reference::Contained(id)) if !id.is_empty() && !contained.contains(&id) => {
                walk.wrong(Code::Invariant, "ref-1: no contained resource has this id");
            }
            Some(Reference::Local { kind, .. } | Reference::Absolute { kind: Some(kind) }) => {
                let allowed = targets.map(|number| table().targets(number)).unwrap_or_default();
                if !allowed.is_empty() && !allowed.contains(&kind) {
                    walk.wrong(Code::Value, format!("refers to a {kind}; allowed: {}", allowed.join(", ")));
                }
            }
            Some(_) => {}
        });
    }
}

/// The address of an extension's definition, as it may be shown: it came from the client, and has no room for more than a
/// name has.
fn is_definition(url: &str) -> bool {
    const CHARS_MAX: usize = 200;
    let scheme = ["http://", "https://", "urn:"].iter().any(|scheme| url.starts_with(scheme));
    scheme && url.len() <= CHARS_MAX && url.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/#".contains(&b))
}

fn value_count(value: &Json) -> usize {
    match value {
        Json::Array(items) => items.len(),
        _ => 1,
    }
}

fn not_one_of(codes: &[&str]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<&str> = codes.iter().take(SHOWN).copied().collect();
    let more = if codes.len() > SHOWN { format!(" and {} more", codes.len() - SHOWN) } else { String::new() };
    format!("is not one of the codes {}{more}", shown.join(", "))
}

/// RFC 4648, section 4, with the white space that R4 allows.
fn is_base64(text: &str) -> bool {
    let mut digits = 0_usize;
    let mut padding = 0;
    for byte in text.bytes().filter(|b| !b.is_ascii_whitespace()) {
        match byte {
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return false,
        }
    }
    digits > 0 && padding <= 2 && (digits + padding).is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_names_are_not_repeated() {
        assert_eq!(printable("Patient.name[0].Lakshmi Kurian"), "Patient.name[0].(no element name)");
    }

    #[test]
    fn base64_is_whole_quartets() {
        for good in ["AAAA", "AAA=", "AA==", "AA\r\nAA"] {
            assert!(is_base64(good), "{good}");
        }
        for bad in ["", "=", "A", "AA=A", "A===", "AA-A", "AAAAA"] {
            assert!(!is_base64(bad), "{bad}");
        }
    }
}
