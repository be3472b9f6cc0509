//! Strictness and exactness of single resources.

use chart::fhir::{Code, Compartment, Resource, operation_outcome, status_of_issues};
use kit::Timestamp;

use super::{OBSERVATION, PATIENT, parse, refusal, refused_at};

fn patient(more: &str) -> String {
    format!("{{\"resourceType\":\"Patient\",{more}}}")
}

#[test]
fn good_resources_keep_every_byte() {
    for text in [PATIENT, OBSERVATION] {
        assert_eq!(parse(text).bytes(), text.as_bytes());
    }
}

#[test]
fn every_kind_of_mistake_is_refused_at_its_place() {
    for (more, place) in [
        (r#""dosis":7"#, "Patient.dosis"),
        (r#""fhir_comments":["x"]"#, "Patient.fhir_comments"),
        (r#""birthDate":1970"#, "Patient.birthDate"),
        (r#""birthDate":"1970-02-30""#, "Patient.birthDate"),
        (r#""birthDate":"1970-01-01T00:00:00Z""#, "Patient.birthDate"),
        (r#""deceasedDateTime":"2020-13""#, "Patient.deceasedDateTime"),
        (r#""meta":{"lastUpdated":"2020-01-01"}"#, "Patient.meta.lastUpdated"),
        (r#""gender":"femal""#, "Patient.gender"),
        (r#""gender":null"#, "Patient.gender"),
        (r#""gender":["female"]"#, "Patient.gender"),
        (r#""name":{"family":"x"}"#, "Patient.name"),
        (r#""name":[]"#, "Patient.name"),
        (r#""name":[{}]"#, "Patient.name[0]"),
        (r#""name":[{"id":"only"}]"#, "Patient.name[0]"),
        (r#""name":[null]"#, "Patient.name[0]"),
        (r#""name":[[{"family":"x"}]]"#, "Patient.name[0]"),
        (r#""name":[{"family":["x"]}]"#, "Patient.name[0].family"),
        (r#""name":[{"family":""}]"#, "Patient.name[0].family"),
        (r#""name":[{"family":"a\u0007b"}]"#, "Patient.name[0].family"),
        (r#""name":[{"use":"stage","family":"x"}]"#, "Patient.name[0].use"),
        (r#""name":[{"given":["a",null]}]"#, "Patient.name[0].given[1]"),
        (r#""name":[{"given":["a","b"],"_given":[{"id":"x"}]}]"#, "Patient.name[0].given"),
        (r#""contact":[{"name":{"famly":"x"}}]"#, "Patient.contact[0].name.famly"),
        (r#""telecom":[{"system":"pigeon","value":"1"}]"#, "Patient.telecom[0].system"),
        (r#""telecom":[{"rank":0,"value":"1"}]"#, "Patient.telecom[0].rank"),
        (r#""telecom":[{"rank":1.0,"value":"1"}]"#, "Patient.telecom[0].rank"),
        (r#""identifier":[{"use":"wrong","value":"1"}]"#, "Patient.identifier[0].use"),
        (r#""address":[{"type":"moon"}]"#, "Patient.address[0].type"),
        (r#""active":"true""#, "Patient.active"),
        (r#""multipleBirthBoolean":true,"multipleBirthInteger":2"#, "Patient.multipleBirth[x]"),
        (r#""_birthDate":{}"#, "Patient._birthDate"),
        (r#""_name":[{"id":"x"}]"#, "Patient._name"),
        (r#""id":"a_b""#, "Patient.id"),
        (r#""id":7"#, "Patient.id"),
        (r#""active":true,"active":true"#, "Patient.active"),
        (r#""photo":[{"data":"A==="}]"#, "Patient.photo[0].data"),
        (
            r#""text":{"status":"done","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}"#,
            "Patient.text.status",
        ),
        (
            r#""text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><script/>x</div>"}"#,
            "Patient.text.div",
        ),
        (r#""text":{"status":"empty"}"#, "Patient.text.div"),
        (r#""extension":[{"valueString":"x"}]"#, "Patient.extension[0].url"),
        (r#""extension":[{"url":"u","valueString":"x","valueCode":"y"}]"#, "Patient.extension[0].value[x]"),
        (
            r#""extension":[{"url":"u","valueQuantity":{"value":1,"comparator":"="}}]"#,
            "Patient.extension[0].valueQuantity.comparator",
        ),
        (r#""link":[{"other":{"reference":"Patient/1"},"type":"twin"}]"#, "Patient.link[0].type"),
        (r#""link":[{"other":{"reference":"Group/1"},"type":"seealso"}]"#, "Patient.link[0].other.reference"),
        (r#""managingOrganization":{"reference":"Organisation/1"}"#, "Patient.managingOrganization.reference"),
        (r##""managingOrganization":{"reference":"#nobody"}"##, "Patient.managingOrganization.reference"),
        (r#""managingOrganization":{"reference":"Organization?name=x"}"#, "Patient.managingOrganization.reference"),
        (r#""contained":[{"resourceType":"Moon"}]"#, "Patient.contained[0].resourceType"),
        (r#""contained":[{"resourceType":"Organization","id":"a b","name":"x"}]"#, "Patient.contained[0].id"),
        (
            r#""contained":[{"resourceType":"Organization","contained":[{"resourceType":"Organization","name":"y"}]}]"#,
            "Patient.contained[0].contained",
        ),
    ] {
        refused_at(&patient(more), place);
    }
}

#[test]
fn no_string_is_blank() {
    // A blank, a tab and a line's end; no-break, ideographic and line-separating ones.
    for blank in ["", " ", " \t\r\n ", "\u{a0}", "\u{3000}\u{2003}", "\u{2028}"] {
        let quoted = serde_json::to_string(blank).unwrap();
        for (more, place) in [
            (r#""name":[{"family":BLANK}]"#, "Patient.name[0].family"),
            (r#""name":[{"given":["Elsa",BLANK]}]"#, "Patient.name[0].given[1]"),
            (r#""name":[{"text":BLANK,"family":"x"}]"#, "Patient.name[0].text"),
            (r#""id":BLANK"#, "Patient.id"),
            (r#""language":BLANK"#, "Patient.language"),
            (r#""gender":BLANK"#, "Patient.gender"),
            (r#""birthDate":BLANK"#, "Patient.birthDate"),
            (r#""identifier":[{"system":"urn:mrn","value":BLANK}]"#, "Patient.identifier[0].value"),
            (r#""identifier":[{"system":BLANK,"value":"1"}]"#, "Patient.identifier[0].system"),
            (r#""telecom":[{"system":"phone","value":BLANK}]"#, "Patient.telecom[0].value"),
            (r#""meta":{"profile":[BLANK]}"#, "Patient.meta.profile[0]"),
            (r#""photo":[{"url":BLANK}]"#, "Patient.photo[0].url"),
            (r#""photo":[{"data":BLANK}]"#, "Patient.photo[0].data"),
            (r#""text":{"status":"empty","div":BLANK}"#, "Patient.text.div"),
            (r#""managingOrganization":{"display":BLANK}"#, "Patient.managingOrganization.display"),
            (r#""managingOrganization":{"reference":BLANK}"#, "Patient.managingOrganization.reference"),
            (r#""extension":[{"url":"u:x","valueMarkdown":BLANK}]"#, "Patient.extension[0].valueMarkdown"),
            (r#""extension":[{"url":"u:x","valueUri":BLANK}]"#, "Patient.extension[0].valueUri"),
            (r#""contained":[{"resourceType":"Organization","name":BLANK}]"#, "Patient.contained[0].name"),
            (r#""_birthDate":{"id":BLANK,"extension":[{"url":"u:x","valueCode":"y"}]}"#, "Patient._birthDate.id"),
        ] {
            refused_at(&patient(&more.replace("BLANK", &quoted)), place);
        }
    }
    let issue = refusal(&patient(r#""name":[{"family":"  "}]"#)).remove(0);
    assert_eq!((issue.code, status_of_issues(std::slice::from_ref(&issue))), (Code::Value, 422));
    assert!(issue.diagnostics.contains("nothing but white space"), "{issue:?}");
    // White space around and within is the client's.
    parse(&patient(r#""name":[{"family":" van  der\tBerg "}]"#));
}

/// "Not this medicine" must not be kept as if it said "this medicine".
#[test]
fn an_unknown_modifier_is_refused_wherever_it_stands() {
    let modifier = r#""modifierExtension":[{"url":"http://a.example/not","valueBoolean":true}]"#;
    let at = |text: &str, place: &str| {
        let issues = refusal(text);
        let found = issues.iter().find(|issue| issue.expression.as_deref() == Some(place));
        let issue = found.unwrap_or_else(|| panic!("{place} is not among {issues:#?}"));
        assert_eq!((issue.code, issue.code.as_str()), (Code::Extension, "extension"));
        assert!(issue.diagnostics.starts_with("http://a.example/not may change"), "{issue:?}");
        assert_eq!((issues.len(), status_of_issues(&issues)), (1, 422));
    };
    let observation =
        |more: &str| format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},{more}}}"#);
    at(&patient(modifier), "Patient.modifierExtension[0]");
    let contact = format!(r#""contact":[{{"name":{{"family":"x"}}}},{{{modifier}}}]"#);
    at(&patient(&contact), "Patient.contact[1].modifierExtension[0]");
    let contained = format!(
        r##""managingOrganization":{{"reference":"#o"}},"contained":[{{"resourceType":"Organization","id":"o","name":"x",{modifier}}}]"##
    );
    at(&patient(&contained), "Patient.contained[0].modifierExtension[0]");
    let component = format!(r#""component":[{{"code":{{"text":"a"}},{modifier}}}]"#);
    at(&observation(&component), "Observation.component[0].modifierExtension[0]");
    let timing = format!(r#""effectiveTiming":{{"code":{{"text":"daily"}},{modifier}}}"#);
    at(&observation(&timing), "Observation.effectiveTiming.modifierExtension[0]");
    let inside = format!(r#""extension":[{{"url":"u:x","valueDosage":{{"text":"one",{modifier}}}}}]"#);
    at(&patient(&inside), "Patient.extension[0].valueDosage.modifierExtension[0]");
    let bundle = |entry: &str| format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{entry}]}}"#);
    let resource = format!(r#"{{"resource":{}}}"#, patient(modifier));
    at(&bundle(&resource), "Bundle.entry[0].resource.modifierExtension[0]");
    at(&bundle(&format!(r#"{{"resource":{PATIENT},{modifier}}}"#)), "Bundle.entry[0].modifierExtension[0]");

    // Each is named; what is no address of a definition is not repeated.
    let several = r#""modifierExtension":[{"url":"urn:oid:1.2.3","valueBoolean":true},
        {"url":"Lakshmi","valueBoolean":true},{"url":"http://a.example/?name=Lakshmi","valueBoolean":true}]"#;
    let outcome = operation_outcome(&refusal(&patient(several))).to_string();
    assert!(outcome.contains("urn:oid:1.2.3 may") && outcome.contains("modifierExtension[2]"), "{outcome}");
    assert!(!outcome.contains("Lakshmi"), "{outcome}");
    refused_at(&patient(r#""modifierExtension":[]"#), "Patient.modifierExtension");
    refused_at(&patient(r#""modifierExtension":{"url":"u:x","valueCode":"y"}"#), "Patient.modifierExtension");
    refused_at(&patient(r#""name":[{"family":"x","modifierExtension":[]}]"#), "Patient.name[0].modifierExtension");
    // An extension that modifies nothing may be ignored, and is kept.
    parse(&patient(r#""extension":[{"url":"http://a.example/not","valueBoolean":true}]"#));
    // What an older version kept can still be read.
    assert!(Resource::opened(patient(modifier).as_bytes()).is_ok());
}

#[test]
fn required_elements_and_closed_concepts() {
    refused_at(r#"{"resourceType":"Condition","code":{"text":"x"}}"#, "Condition.subject");
    refused_at(r#"{"resourceType":"Observation","code":{"text":"x"}}"#, "Observation.status");
    refused_at(
        r#"{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"reference":"Patient/1"}}"#,
        "MedicationRequest.medication[x]",
    );
    let condition = |system: &str, code: &str| {
        format!(
            r#"{{"resourceType":"Condition","subject":{{"reference":"Patient/1"}},
            "clinicalStatus":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}}}"#
        )
    };
    let system = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    parse(&condition(system, "active"));
    refused_at(&condition(system, "activ"), "Condition.clinicalStatus");
    refused_at(&condition("http://other.example", "active"), "Condition.clinicalStatus");
}

#[test]
fn text_that_is_no_json_object_of_fhir_is_a_bad_request() {
    let deep = format!("{{\"resourceType\":\"Patient\",\"extension\":{}", "[".repeat(200_000));
    for text in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "{\"resourceType\":7}",
        "{\"resourceType\":\"Patience\"}",
        "{\"a\":NaN}",
        "\u{feff}{}",
        &deep,
    ] {
        let issues = refusal(text);
        assert!(matches!(status_of_issues(&issues), 400 | 422), "{text:.40}");
    }
    assert_eq!(status_of_issues(&refusal(&deep)), 400);
    assert!(Resource::parse(b"{\"resourceType\":\"Patient\",\"language\":\"\xff\"}", None).is_err());
    let long = vec![b' '; kit::limits::FHIR_BODY_BYTES_MAX + 1];
    assert_eq!(status_of_issues(&Resource::parse(&long, None).unwrap_err()), 413);
    let wrong = Resource::parse(OBSERVATION.as_bytes(), Some("Patient")).unwrap_err();
    assert_eq!(wrong[0].expression.as_deref(), Some("Observation.resourceType"));
    refused_at("{\"resourceType\":\"Patient\",\"resourceType\":\"Condition\"}", "resourceType");
}

#[test]
fn many_small_elements_cost_little() {
    // 160,000 empty elements: a typed reader would take a gigabyte for them.
    let text = format!(
        "{{\"resourceType\":\"StructureDefinition\",\"snapshot\":{{\"element\":[{}{{}}]}}}}",
        "{},".repeat(160_000)
    );
    assert!(refusal(&text).len() <= 60);
}

#[test]
fn nothing_of_a_patient_stands_in_a_refusal() {
    let text = patient(
        r#""birthDate":"Lakshmi","gender":"Lakshmi","Lakshmi Kurian":1,"name":[{"use":"Lakshmi"}],"id":"Lakshmi_1",
        "managingOrganization":{"reference":"Lakshmi/Kurian 1"},"telecom":[{"rank":99999999999999,"value":"Lakshmi"}],
        "text":{"status":"empty","div":"Lakshmi"},"multipleBirthInteger":"Lakshmi","photo":[{"data":"Lakshmi"}]"#,
    );
    let outcome = operation_outcome(&refusal(&text)).to_string();
    assert!(outcome.matches("severity").count() >= 9, "{outcome}");
    assert!(!outcome.contains("Lakshmi") && !outcome.contains("Kurian") && !outcome.contains("99999"), "{outcome}");
}

#[test]
fn stored_bytes_differ_only_where_the_server_writes() {
    let at = Timestamp(1_713_916_799_999);
    let kept = |text: &str| String::from_utf8(parse(text).stored("new", 3, at).unwrap()).unwrap();
    let meta = r#""meta":{"versionId":"3","lastUpdated":"2024-04-23T23:59:59.999Z"}"#;
    assert_eq!(
        kept(r#"{"resourceType":"Patient" , "active" : true }"#),
        format!(r#"{{"resourceType":"Patient","id":"new",{meta} , "active" : true }}"#)
    );
    assert_eq!(
        kept(r#"{"id":"old","active":true,"resourceType":"Patient"}"#),
        format!(r#"{{"id":"new","active":true,"resourceType":"Patient",{meta}}}"#)
    );
    assert_eq!(
        kept(r#"{"resourceType":"Patient","meta":{ "profile":["http://a"] ,"versionId":"9"},"id":"old"}"#),
        r#"{"resourceType":"Patient","meta":{"lastUpdated":"2024-04-23T23:59:59.999Z", "profile":["http://a"] ,"versionId":"3"},"id":"new"}"#
    );
    let stored = kept(PATIENT);
    let undone = stored.replacen(&format!(",{meta}"), "", 1).replacen("\"id\": \"new\"", "\"id\": \"p-1\"", 1);
    assert_eq!(undone, PATIENT, "Malayalam, Hindi, Tamil, 161.50 and every blank");
    let again = Resource::opened(stored.as_bytes()).unwrap();
    assert_eq!((again.id(), again.version_id(), again.last_updated()), (Some("new"), Some("3"), Some(at)));
}

#[test]
fn a_resource_belongs_to_one_patient() {
    // Whose it is; where that stands is judged below.
    let of = |text: &str| {
        parse(text).compartment().map(|found| match found {
            Compartment::Patient { id, .. } => Compartment::Patient { id, place: String::new() },
            Compartment::Elsewhere { .. } => Compartment::Elsewhere { place: String::new() },
            other => other,
        })
    };
    assert_eq!(of(PATIENT), Ok(Compartment::Itself));
    let hers = |id: &str| Compartment::Patient { id: id.into(), place: String::new() };
    let elsewhere = || Compartment::Elsewhere { place: String::new() };
    assert_eq!(of(OBSERVATION), Ok(hers("p-1")));
    let observation =
        |more: &str| format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},{more}}}"#);
    let cases = [
        (r#""subject":{"reference":"Patient/1/_history/2"},"performer":[{"reference":"Patient/1"}]"#, hers("1")),
        (r#""subject":{"reference":"Group/1"}"#, Compartment::Centre),
        (r#""subject":{"reference":"https://a.example/Patient/1"}"#, elsewhere()),
        (r#""subject":{"reference":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}"#, elsewhere()),
        (r#""subject":{"display":"somebody"}"#, elsewhere()),
        (r##""contained":[{"resourceType":"Patient","id":"c"}],"subject":{"reference":"#c"}"##, elsewhere()),
        (r#""performer":[{"display":"a nurse"}]"#, Compartment::Centre),
    ];
    for (more, expected) in cases {
        assert_eq!(of(&observation(more)), Ok(expected), "{more}");
    }
    let two =
        of(&observation(r#""subject":{"reference":"Patient/1"},"performer":[{"reference":"Patient/2"}]"#)).unwrap_err();
    assert_eq!((two.code, two.expression.as_deref()), (Code::BusinessRule, Some("Observation.performer")));
    assert_eq!(of(r#"{"resourceType":"Organization","name":"x"}"#), Ok(Compartment::Centre));
    assert_eq!(
        of(r#"{"resourceType":"Task","status":"draft","intent":"order","for":{"reference":"Patient/7"}}"#),
        Ok(hers("7"))
    );
    assert_eq!(
        of(
            r#"{"resourceType":"Binary","contentType":"text/plain","data":"AAAA","securityContext":{"reference":"Patient/7"}}"#
        ),
        Ok(hers("7"))
    );
    let document = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{OBSERVATION}}}]}}"#);
    assert_eq!(of(&document), Ok(hers("p-1")));
    // Where no compartment looks, any reference to her makes it hers.
    for text in [
        r#"{"resourceType":"VerificationResult","status":"validated","target":[{"reference":"Patient/7"}]}"#,
        r#"{"resourceType":"MessageHeader","eventUri":"u:x","source":{"endpoint":"u:x"},"focus":[{"reference":"Patient/7"}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueReference":{"reference":"Patient/7"}}]}"#,
        r#"{"resourceType":"Linkage","item":[{"type":"source","resource":{"reference":"Patient/7"}}]}"#,
        r#"{"resourceType":"Organization","name":"x","extension":[{"url":"u:x","valueReference":{"reference":"Patient/7"}}]}"#,
    ] {
        assert_eq!(of(text), Ok(hers("7")), "{text}");
    }
    let both = r#"{"resourceType":"Linkage","item":[{"type":"source","resource":{"reference":"Patient/7"}},
        {"type":"alternate","resource":{"reference":"Patient/8"}}]}"#;
    assert_eq!(of(both).unwrap_err().code, Code::BusinessRule);
}

#[test]
fn keys_have_one_spelling() {
    for (text, place) in [
        (r#"{"resourceType":"Patient","\u0069d":"evil"}"#, "Patient.(no element name)"),
        (r#"{"resourceType":"Patient","\u006deta":{"versionId":"7"}}"#, "Patient.(no element name)"),
        (r#"{"resource\u0054ype":"Patient"}"#, "Patient.(no element name)"),
        (
            r#"{"resourceType":"Patient","name":[{"family":"a"},{"f\u0061mily":"b"}]}"#,
            "Patient.name[1].(no element name)",
        ),
    ] {
        refused_at(text, place);
    }
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entr\u0079":[]}"#;
    let issues = chart::fhir::Draft::parse(bundle.as_bytes()).err().expect("entries that nobody sees");
    assert_eq!(issues[0].expression.as_deref(), Some("Bundle.(no element name)"));
    // What was kept by an older program and can't be given its id must not go out without.
    let old = Resource::opened(br#"{"resource\u0054ype":"Patient"}"#).unwrap();
    assert!(old.stored("x", 1, Timestamp(0)).is_err());
    parse(r#"{"resourceType":"Patient","name":[{"family":"\u0041"}]}"#);
}

#[test]
fn more_of_r4_s_own_rules() {
    for (text, place) in [
        (r#"{"resourceType":"Patient","extension":[{"url":"u:x"}]}"#, "Patient.extension[0]"),
        (
            r#"{"resourceType":"Patient","extension":[{"url":"u:x","valueCode":"a","extension":[{"url":"u:y","valueCode":"b"}]}]}"#,
            "Patient.extension[0]",
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"x"},
                {"resourceType":"Organization","id":"o","name":"y"}],"managingOrganization":{"reference":"#o"}}"##,
            "Patient.contained",
        ),
        (
            r#"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"x","meta":{"versionId":"1"}}]}"#,
            "Patient.contained[0].meta.versionId",
        ),
        (
            r#"{"resourceType":"Patient","contained":[{"resourceType":"Organization","name":"x"}]}"#,
            "Patient.contained[0]",
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"x"},
                {"resourceType":"Organization","id":"p","name":"y"}],"managingOrganization":{"reference":"#o"}}"##,
            "Patient.contained[1]",
        ),
        (
            r#"{"resourceType":"Patient","managingOrganization":{"reference":"Organization/1","type":"Group"}}"#,
            "Patient.managingOrganization.type",
        ),
        (r#"{"resourceType":"Patient","implicitRules":"http://a.example/rules"}"#, "Patient.implicitRules"),
        (
            r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">&bogus;</div>"}}"#,
            "Patient.text.div",
        ),
    ] {
        refused_at(text, place);
    }
    // One that refers to what contains it needs no other to refer to it.
    parse(
        r##"{"resourceType":"Patient","contained":[{"resourceType":"Provenance","target":[{"reference":"#"}],"recorded":"2026-01-01T00:00:00Z",
            "agent":[{"who":{"display":"x"}}]}]}"##,
    );
    parse(
        r#"{"resourceType":"Patient","extension":[{"url":"u:x","_valueCode":{"extension":[{"url":"u:y","valueCode":"b"}]}}]}"#,
    );
    let typed = "http://hl7.org/fhir/StructureDefinition/Organization";
    for kind in ["Organization", typed] {
        parse(&format!(
            r#"{{"resourceType":"Patient","managingOrganization":{{"reference":"Organization/1","type":"{kind}"}}}}"#
        ));
    }
}
