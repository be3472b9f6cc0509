//! The forms that `Reference.reference` takes. HL7 FHIR R4, references.html#literal.

use super::json::{quoted, spliced, tokens};
use super::resource::{is_id, is_resource_type};
use super::table::table;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// `#id`, or `#` for the resource that contains this one.
    Contained(&'a str),
    /// `Type/id`, with or without a version: a resource on this server.
    Local { kind: &'static str, id: &'a str },
    /// A URL of another server; its type where the URL has the RESTful form.
    Absolute { kind: Option<&'static str> },
    /// `urn:uuid:…`, `urn:oid:…`: an entry of the same Bundle.
    Urn,
    /// `Type?search`: to be resolved by the server, in transactions only.
    Conditional,
}

/// `Type/id` of an address below `base`, this server's own; anything else as it is.
pub(crate) fn local<'a>(base: &str, address: &'a str) -> &'a str {
    let rest = address.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    match rest.filter(|_| !base.is_empty()) {
        Some(rest) if matches!(parse(rest), Some(Reference::Local { .. })) => rest,
        _ => address,
    }
}

/// `text`, its references to `base` written as `Type/id`.
pub(crate) fn localised(base: &str, text: &str) -> String {
    let (mut edits, mut all) = (Vec::new(), tokens(text).peekable());
    let mut key = false;
    while let Some((kind, place)) = all.next() {
        let raw = text.get(place.clone()).unwrap_or_default();
        if kind == b'"' && all.peek().is_some_and(|(next, _)| *next == b':') {
            key = raw == "\"reference\"";
        } else if kind == b'"' && key {
            let Ok(address) = serde_json::from_str::<String>(raw) else { continue };
            let found = local(base, &address);
            if found.len() < address.len() {
                edits.push((place, quoted(found)));
            }
        }
    }
    spliced(text, &edits)
}

pub(crate) fn parse(text: &str) -> Option<Reference<'_>> {
    if let Some(id) = text.strip_prefix('#') {
        return (id.is_empty() || is_id(id)).then_some(Reference::Contained(id));
    }
    if text.starts_with("urn:") {
        let good = fhirkit::primitive::is_oid(text) || fhirkit::primitive::is_uuid(&text.to_ascii_lowercase());
        return good.then_some(Reference::Urn);
    }
    if let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
        let good =
            !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
        let mut parts: Vec<&str> = rest.split('/').collect();
        if let [.., "_history", _] = parts.as_slice() {
            parts.truncate(parts.len() - 2);
        }
        let kind = match parts.as_slice() {
            [_, .., kind, id] if is_id(id) => table().resource_type(kind),
            _ => None,
        };
        return good.then_some(Reference::Absolute { kind });
    }
    if let Some((kind, _)) = text.split_once('?') {
        return is_resource_type(kind).then_some(Reference::Conditional);
    }
    let mut parts = text.split('/');
    let kind = table().resource_type(parts.next()?)?;
    let id = parts.next().filter(|id| is_id(id))?;
    let good = match parts.next() {
        None => true,
        Some("_history") => parts.next().is_some_and(is_id) && parts.next().is_none(),
        Some(_) => false,
    };
    good.then_some(Reference::Local { kind, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        let local = Reference::Local { kind: "Patient", id: "a-1.b" };
        assert_eq!(parse("Patient/a-1.b"), Some(local));
        assert_eq!(parse("Patient/a-1.b/_history/3"), Some(local));
        assert_eq!(parse("#"), Some(Reference::Contained("")));
        assert_eq!(parse("#p"), Some(Reference::Contained("p")));
        assert_eq!(parse("urn:uuid:C757873D-EC9A-4326-A141-556F43239520"), Some(Reference::Urn));
        assert_eq!(parse("https://a.example/fhir/Patient/1"), Some(Reference::Absolute { kind: Some("Patient") }));
        assert_eq!(
            parse("https://a.example/fhir/Patient/1/_history/2"),
            Some(Reference::Absolute { kind: Some("Patient") })
        );
        assert_eq!(parse("http://a.example/x"), Some(Reference::Absolute { kind: None }));
        assert_eq!(parse("Patient?identifier=1"), Some(Reference::Conditional));
    }

    #[test]
    fn this_servers_own_addresses_are_written_as_it_keeps_them() {
        let base = "http://a.example/fhir";
        let text = r#"{"subject" : {"reference": "http:\/\/a.example/fhir/Patient/1"}, "url":"http://a.example/fhir/Patient/1",
            "x":[{"reference":"http://a.example/fhir/Patient/2/_history/3"},{"reference":"http://b.example/fhir/Patient/1"},
            {"reference":"http://a.example/fhirs/Patient/1"},{"reference":"http://a.example/fhir/Patience/1"}]}"#;
        let expected = text
            .replace("http:\\/\\/a.example/fhir/Patient/1\"}, ", "Patient/1\"}, ")
            .replace("http://a.example/fhir/Patient/2", "Patient/2");
        assert_eq!(localised(base, text), expected);
        assert_eq!(localised("", text), text);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for wrong in [
            "",
            "/",
            "Patient",
            "Patient/",
            "Patient/a b",
            "Patient/a_b",
            "Patience/1",
            "patient/1",
            "Patient/1/2",
            "../Patient/1",
            "Patient/1/_history",
            "Patient/1/_history/2/3",
            "urn:uuid:1",
            "urn:x:1",
            "http://",
            "http://a b/c",
            "#a b",
            "javascript:alert(1)",
            "HumanName/1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&format!("Patient/{}", "a".repeat(65))), None);
    }
}
