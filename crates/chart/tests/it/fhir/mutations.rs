//! Good resources broken at random places, and noise: refused where they are broken, and never a panic.

use chart::fhir::{Draft, Query, Resource};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::{OBSERVATION, PATIENT};

/// Every place in `value`: as a path in FHIR's style, and as a JSON pointer.
fn places(value: &Value, path: &str, pointer: &str, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (key, inside) in members {
                let (path, pointer) = (format!("{path}.{key}"), format!("{pointer}/{key}"));
                out.push((path.clone(), pointer.clone()));
                places(inside, &path, &pointer, out);
            }
        }
        Value::Array(items) => {
            for (number, inside) in items.iter().enumerate() {
                let (path, pointer) = (format!("{path}[{number}]"), format!("{pointer}/{number}"));
                out.push((path.clone(), pointer.clone()));
                places(inside, &path, &pointer, out);
            }
        }
        _ => {}
    }
}

/// Root names of contained resources don't start a path of their own, so all paths begin with the outer type.
fn chosen(text: &str, pick: &Index, fits: impl Fn(&str, &Value) -> bool) -> (Value, String, String) {
    let value: Value = serde_json::from_str(text).unwrap();
    let kind = value["resourceType"].as_str().unwrap().to_owned();
    let mut all = vec![(kind.clone(), String::new())];
    places(&value, &kind, "", &mut all);
    all.retain(|(path, pointer)| !path.ends_with(".resourceType") && fits(path, value.pointer(pointer).unwrap()));
    let (path, pointer) = pick.get(&all).clone();
    (value, path, pointer)
}

/// Refused, with an issue at `place` or inside it.
fn refused_near(value: &Value, place: &str) {
    let text = value.to_string();
    let issues = Resource::parse(text.as_bytes(), None).expect_err(&text);
    let near = |at: &str| at == place || at.strip_prefix(place).is_some_and(|rest| rest.starts_with(['.', '[']));
    assert!(issues.iter().filter_map(|i| i.expression.as_deref()).any(near), "{place} is not among {issues:#?}");
}

fn documents() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(PATIENT), Just(OBSERVATION)]
}

proptest! {
    #[test]
    fn an_unknown_element_is_named(text in documents(), pick: Index) {
        let (mut value, path, pointer) = chosen(text, &pick, |_, value| value.is_object());
        value.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().insert("zzUnknown".into(), Value::Bool(true));
        refused_near(&value, &format!("{path}.zzUnknown"));
    }

    #[test]
    fn a_wrong_type_is_named(text in documents(), pick: Index, which in 0..4_usize) {
        let wrong = [serde_json::json!(-7.5), serde_json::json!({"zz": 1}), serde_json::json!([["x"]]), Value::Null];
        let (mut value, path, pointer) = chosen(text, &pick, |path, old| {
            // A decimal may be any number, a resource's root is no member, and of a value and what stands beside it,
            // either may be null.
            path.contains('.') && !(which == 3 && path.contains("given[")) && !(which == 0 && old.is_number() && path.to_lowercase().ends_with("value"))
                && !(which == 0 && path.ends_with("valueDecimal"))
        });
        *value.pointer_mut(&pointer).unwrap() = wrong[which].clone();
        refused_near(&value, &path);
    }

    #[test]
    fn a_wrong_code_is_named(text in documents(), pick: Index) {
        let codes = ["gender", "status", "use", "system", "comparator"];
        let (mut value, path, pointer) = chosen(text, &pick, |path, value| {
            let name = path.rsplit('.').next().unwrap_or_default();
            let url = value.as_str().is_some_and(|text| text.contains(':'));
            codes.contains(&name) && value.is_string() && !url
        });
        *value.pointer_mut(&pointer).unwrap() = Value::from("zz");
        refused_near(&value, &path);
    }

    #[test]
    fn a_bad_id_is_named(id in "[a-z]{0,3}[_ /#é%]{1,2}[a-z]{0,3}|[a-z]{65,70}") {
        let mut value: Value = serde_json::from_str(PATIENT).unwrap();
        value["id"] = Value::from(id);
        refused_near(&value, "Patient.id");
    }

    /// fhirkit's typed reader was made from the same definitions by other hands: what it refuses, we refuse.
    #[test]
    fn we_are_as_strict_as_another_reader(text in documents(), pick: Index, other: Index, drop: bool) {
        let (mut value, path, pointer) = chosen(text, &pick, |path, _| path.contains('.'));
        let (_, _, from) = chosen(text, &other, |_, _| true);
        let moved = value.pointer(&from).unwrap().clone();
        match (pointer.rsplit_once('/'), drop) {
            (Some((parent, key)), true) => {
                if let Some(Value::Object(members)) = value.pointer_mut(parent) {
                    members.shift_remove(key);
                }
            }
            _ => *value.pointer_mut(&pointer).unwrap() = moved,
        }
        let text = value.to_string();
        if fhirkit::from_json_strict::<fhirkit::r4::Resource>(&text).is_err() {
            prop_assert!(Resource::parse(text.as_bytes(), None).is_err(), "{path}: {text}");
        }
    }

    #[test]
    fn a_cut_off_text_is_refused(text in documents(), cut: Index) {
        let length = text.trim_end().len();
        prop_assert!(Resource::parse(&text.as_bytes()[..cut.index(length)], None).is_err());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), words in "[\\[\\]{}:,\" \\\\a1]{0,60}") {
        for noise in [bytes.as_slice(), words.as_bytes()] {
            let _ = Resource::parse(noise, None);
            let _ = Draft::parse(noise);
            let _ = Query::parse_encoded("Patient", &String::from_utf8_lossy(noise));
        }
        let _ = Query::parse_encoded("Patient", &format!("name={words}&identifier={words}&phone={words}"));
    }

    #[test]
    fn names_of_any_script_are_kept_and_found(family in "\\PC{1,20}") {
        let value = serde_json::json!({ "resourceType": "Patient", "name": [{ "family": family }] });
        let text = value.to_string();
        let Ok(resource) = Resource::parse(text.as_bytes(), None) else { return Ok(()) };
        let stored: Value = serde_json::from_slice(&resource.stored("x", 1, kit::Timestamp(0)).unwrap()).unwrap();
        prop_assert_eq!(stored["name"][0]["family"].as_str(), Some(family.as_str()));
        let pairs = [("family".to_owned(), family.replace('\\', "\\\\").replace(',', "\\,"))];
        if let Ok(query) = Query::parse("Patient", &pairs) {
            prop_assert!(query.matches(&resource));
            let facts = resource.search_fields().unwrap();
            prop_assert!(query.groups().iter().all(|group| group.iter().any(|field| facts.contains(field))));
        }
    }
}
