//! Queries: what finds what, and what is refused by name.

use chart::fhir::{COUNT_MAX, Code, PREFIX_CHARS, Query, Reach, Resource};
use kit::Timestamp;

use super::{OBSERVATION, PATIENT, parse};

/// Does the query find it: by the index's facts, and then by opening it? Both must agree.
fn finds(resource: &Resource, query: &str) -> bool {
    let query = Query::parse_encoded(resource.kind(), query).unwrap_or_else(|issue| panic!("{query}: {issue:?}"));
    let facts = resource.search_fields().unwrap();
    let candidate = query.groups().iter().all(|group| group.iter().any(|field| facts.contains(field)));
    let matches = query.matches(resource);
    assert!(candidate || !matches, "the index would miss it");
    matches
}

#[test]
fn a_patient_is_found_by_what_names_her() {
    let patient = parse(PATIENT);
    for query in [
        "_id=p-1",
        "identifier=urn:holdfast:mrn|KL-0042",
        "identifier=KL-0042",
        "identifier=|loose",
        "identifier=loose",
        "name=%E0%B4%B2%E0%B4%95%E0%B5%8D%E0%B4%B7%E0%B5%8D%E0%B4%AE%E0%B4%BF",
        "name=ല",
        "name=മാതൃക",
        "family=മാതൃ",
        "given=ലക്ഷ്മി",
        "name=नमूना",
        "given=लक्ष्",
        "family=மாதிரி",
        "name=angstrom",
        "name=ÅNGSTRÖM-n",
        "family=nayte",
        "given=maria",
        "given=Elsa%20Mar",
        "name=nobody,elsa",
        "name=elsa&family=मनू,नमू",
        "birthdate=1961-02-03",
        "birthdate=eq1961-02-03",
        "birthdate=1961-02",
        "birthdate=1961",
        "birthdate=1950,eq1961",
        "phone=phone|9846012345",
        "phone=|9846012345",
        "email=email|elsa@naeyte.example",
        "phone=9846012345",
        "phone=%2B919846012345",
        "phone=098460 12345",
        "email=elsa@naeyte.example",
        "telecom=ELSA@naeyte.example",
        "telecom=98460-12345",
        "",
        "_count=5",
        "_format=json",
    ] {
        assert!(finds(&patient, query), "{query}");
    }
    for query in [
        "_id=p-2",
        "identifier=KL-004",
        "identifier=urn:other|KL-0042",
        "identifier=|KL-0042",
        "identifier=urn:holdfast:mrn|loose",
        "name=laksmi",
        "family=ലക്ഷ്മി",
        "given=മാതൃക",
        "name=aria",
        "name=elsa marianne",
        "birthdate=1961-02-04",
        "birthdate=1961-03",
        "birthdate=1960",
        "birthdate=1962,1961-01",
        "phone=phone|9846012346",
        "phone=9846012346",
        "email=9846012345",
        "name=elsa&name=nobody",
    ] {
        assert!(!finds(&patient, query), "{query}");
    }
}

#[test]
fn a_birth_date_of_which_only_a_part_is_known_is_found_by_it() {
    let born = |date: &str| parse(&format!(r#"{{"resourceType":"Patient","birthDate":"{date}"}}"#));
    for (stored, found, not) in [
        ("1961", ["1961", "eq1961"], ["1961-02", "1961-02-03"]),
        ("1961-05", ["1961-05", "1961"], ["1961-04", "1961-05-01"]),
        ("1964-02-29", ["1964-02", "1964"], ["1964-03", "1964-02-28"]),
    ] {
        for date in found {
            assert!(finds(&born(stored), &format!("birthdate={date}")), "{stored} by {date}");
        }
        for date in not {
            assert!(!finds(&born(stored), &format!("birthdate={date}")), "{stored} by {date}");
        }
    }
    // A year that many share gets no tag of its own.
    let facts = born("1961-02-03").search_fields().unwrap();
    assert_eq!(facts.iter().map(|fact| fact.value.as_str()).collect::<Vec<_>>(), ["1961-02-03"]);
}

#[test]
fn a_parameter_s_name_is_repeated_only_where_fhir_has_it() {
    for query in ["Lakshmi=1", "name:Lakshmi=x", "Lakshmi.name=x", "_Lakshmi=1", "Lakshmi="] {
        let issue = Query::parse_encoded("Patient", query).unwrap_err();
        assert!(!issue.diagnostics.contains("Lakshmi"), "{query}: {}", issue.diagnostics);
    }
}

#[test]
fn clinical_records_are_found_by_their_patient() {
    let observation = parse(OBSERVATION);
    for query in [
        "patient=p-1",
        "patient=Patient/p-1",
        "patient:Patient=p-1",
        "subject=Patient/p-1",
        "subject:Patient=p-1",
        "subject=p-1",
        "patient=x,p-1",
    ] {
        assert!(finds(&observation, query), "{query}");
    }
    for query in ["patient=p-2", "subject=Group/p-1", "subject:Group=p-1"] {
        assert!(!finds(&observation, query), "{query}");
    }
}

#[test]
fn facts_are_prefixes_and_say_how_far_they_reach() {
    let facts = parse(PATIENT).search_fields().unwrap();
    assert!(facts.iter().filter(|f| f.param == "name").all(|f| (1..=PREFIX_CHARS).contains(&f.value.chars().count())));
    assert!(facts.iter().all(|f| (f.reach == Reach::Unique) == matches!(f.param, "_id" | "identifier")));
    assert!(facts.iter().any(|f| f.param == "family" && f.value == "മാതൃ"));
    assert!(facts.iter().any(|f| f.param == "family" && f.value == "angstrom"));
}

#[test]
fn times_bound_a_search() {
    let stored = parse(PATIENT).stored("p-1", 1, Timestamp(1_713_916_799_999)).unwrap();
    let patient = Resource::opened(&stored).unwrap();
    for (query, found) in [
        ("_lastUpdated=2024-04-23", true),
        ("_lastUpdated=ge2024-04-23&_lastUpdated=lt2024-04-24", true),
        ("_lastUpdated=gt2024-04-23", false),
        ("_lastUpdated=le2024", true),
        ("_lastUpdated=lt2024-04-23T23:59:59.999Z", false),
        ("_lastUpdated=ge2024-04-24T05:29:59.999%2B05:30", true),
        ("_lastUpdated=ge2024-04-24T05:29:59.999+05:30", true),
    ] {
        assert_eq!(finds(&patient, query), found, "{query}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (query, word) in [
        ("gender=female", "gender"),
        ("name:contains=x", "contains"),
        ("name:exact=x", "exact"),
        ("_sort=name", "_sort"),
        ("_sort=_lastUpdated", "_sort"),
        ("_include=*", "_include"),
        ("_summary=count", "_summary"),
        ("_elements=name", "_elements"),
        ("address=Kochi", "address"),
        ("birthdate=ge1961-02-03", "birthdate"),
        ("birthdate=1961-02-03T04:05:06Z", "birthdate"),
        ("birthdate=1961,1962,1963", "the maximum is 1000"),
        ("phone=email|a@b.example", "phone"),
        ("telecom=phone|9846012345", "telecom"),
        ("identifier=urn:x|", "identifier"),
        ("_lastUpdated=ap2024", "_lastUpdated"),
        ("_lastUpdated:missing=true", "_lastUpdated"),
        ("_count=0", "_count"),
    ] {
        let issue = Query::parse_encoded("Patient", query).unwrap_err();
        assert_eq!(issue.code, Code::NotSupported, "{query}");
        assert!(issue.diagnostics.contains(word), "{query}: {}", issue.diagnostics);
    }
    for query in [
        "_count=-1",
        "_count=ten",
        "birthdate=soon",
        "_page=../../etc",
        "_lastUpdated=gt",
        "name=",
        "name=%20",
        "_id=a_b",
        "phone=+",
    ] {
        assert_eq!(Query::parse_encoded("Patient", query).unwrap_err().code, Code::Value, "{query}");
    }
    for query in ["patient=Group/1", "patient=a/b/c", "patient=https://a.example/Patient/1", "subject=x y"] {
        assert_eq!(Query::parse_encoded("Observation", query).unwrap_err().code, Code::Value, "{query}");
    }
    assert!(Query::parse_encoded("Observation", "name=x").is_err(), "an Observation has no name");
    assert!(Query::parse_encoded("Patient", &format!("name={}", "x".repeat(60_000))).is_err());
    let many = vec!["x"; 400].join(",");
    assert!(Query::parse_encoded("Patient", &format!("name={many}")).is_err());
}

#[test]
fn what_is_said_of_the_whole_answer_is_said_once() {
    for (query, name) in [
        ("_count=5&_count=50", "_count"),
        ("_count=5&name=x&_count=5", "_count"),
        ("_page=a&_page=b", "_page"),
        ("_format=json&_format=xml", "_format"),
        ("_pretty=true&_pretty=false", "_pretty"),
        ("%5Fcount=5&_count=6", "_count"),
    ] {
        let issue = Query::parse_encoded("Patient", query).unwrap_err();
        assert_eq!(issue.code, Code::Value, "{query}");
        assert!(issue.diagnostics.starts_with(&format!("{name} comes more than once")), "{query}: {issue:?}");
    }
    // A modifier would hide the second, and means nothing.
    for (query, name) in [("_count:exact=5&_count=6", "_count:exact"), ("_format:x=json", "_format:this parameter")] {
        let issue = Query::parse_encoded("Patient", query).unwrap_err();
        assert_eq!(issue.code, Code::NotSupported, "{query}");
        assert!(issue.diagnostics.starts_with(name), "{query}: {issue:?}");
    }
    // What is searched for may come again: a record then meets both.
    let patient = parse(PATIENT);
    assert!(finds(&patient, "family=ang&family=nay&given=els"));
    assert!(!finds(&patient, "identifier=KL-0042&identifier=KL-0043"));
}

#[test]
fn pages_keep_the_question() {
    let query = Query::parse_encoded("Patient", "name=a%20b&_count=1000&_page=tok-1").unwrap();
    assert_eq!((query.count(), query.page()), (COUNT_MAX, Some("tok-1")));
    assert_eq!(query.link("http://h/fhir", Some("tok-2")), "http://h/fhir/Patient?name=a+b&_count=1000&_page=tok-2");
    assert_eq!(Query::parse("Patient", &[]).unwrap().link("http://h/fhir", None), "http://h/fhir/Patient");
}
