//! FHIR over real HTTP, before records that stand in memory.

mod http;
mod memory;

use std::sync::Arc;

use chart::fhir::Resource;
use serde_json::{Value, json};

use self::http::{Answer, Server};
use self::memory::{Memory, TOKEN};

const NAME: &str = "ലക്ഷ്മി";

fn patient() -> Value {
    json!({ "resourceType": "Patient", "name": [{ "family": NAME }], "identifier": [{ "system": "urn:mrn", "value": "KL-1" }] })
}

fn started() -> Server {
    Server::start(edge::fhir::router(Arc::new(Memory::default())))
}

/// A valid OperationOutcome with this status and issue code.
#[track_caller]
fn outcome(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/fhir+json; charset=utf-8"));
    Resource::parse(&answer.body, Some("OperationOutcome")).unwrap();
    assert_eq!(answer.json()["issue"][0]["code"], code, "{}", answer.text());
}

#[track_caller]
fn valid(answer: &Answer, status: u16, kind: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    Resource::parse(&answer.body, Some(kind)).unwrap_or_else(|issues| panic!("{issues:#?}"));
    answer.json()
}

fn created(server: &Server, body: &Value) -> String {
    let answer = server.send("POST", "/Patient", &[], &body.to_string());
    valid(&answer, 201, "Patient")["id"].as_str().unwrap().to_owned()
}

#[test]
fn capabilities_need_no_token_and_name_the_server() {
    let server = started();
    let answer = server.anonymous("GET", "/metadata", &[], "");
    let statement = valid(&answer, 200, "CapabilityStatement");
    assert_eq!(statement["implementation"]["url"], format!("http://{}/fhir", server.address));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    outcome(&server.anonymous("POST", "/metadata", &[], ""), 405, "not-supported");
    let head = server.anonymous("HEAD", "/metadata", &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_record_is_created_read_changed_deleted_and_remembered() {
    let server = started();
    let text = format!(
        "{{ \"resourceType\":\"Patient\", \"name\":[{{\"family\":\"{NAME}\"}}] , \"extension\":[{{\"url\":\"u:x\",\"valueDecimal\":1.50}}]}}"
    );
    let first = server.send("POST", "/Patient", &[], &text);
    let patient = valid(&first, 201, "Patient");
    let id = patient["id"].as_str().unwrap();
    let at = format!("/Patient/{id}");
    assert_eq!(first.header("location"), Some(format!("http://{}/fhir{at}/_history/1", server.address).as_str()));
    assert_eq!(first.header("etag"), Some("W/\"1\""));
    let receipt = ["x-holdfast-survives", "x-holdfast-witnesses", "x-holdfast-entry"].map(|name| first.header(name));
    assert_eq!(receipt, [Some("11"), Some("12"), Some("7")], "the receipt's numbers");
    assert!(first.header("last-modified").unwrap().ends_with("GMT"));
    assert!(first.text().contains(NAME) && first.text().contains("1.50"));

    let read = server.send("GET", &at, &[], "");
    assert_eq!((read.status, &read.body), (200, &first.body), "the same bytes");
    assert_eq!(server.send("GET", &at, &["If-None-Match: W/\"1\""], "").status, 304);
    assert_eq!(server.send("HEAD", &at, &[], "").body.len(), 0);

    let changed = json!({ "resourceType": "Patient", "id": id, "active": true }).to_string();
    let stale = server.send("PUT", &at, &["If-Match: W/\"7\""], &changed);
    outcome(&stale, 412, "conflict");
    assert_eq!(stale.header("etag"), Some("W/\"1\""));
    outcome(&server.send("PUT", &at, &["If-Match: seven"], &changed), 400, "value");
    outcome(&server.send("PUT", &at, &["If-Match: W/\"1\"", "If-Match: W/\"2\""], &changed), 400, "value");
    outcome(&server.send("POST", "/Patient", &["If-Match: W/\"1\""], &text), 400, "not-supported");
    let absent = server.send("PUT", "/Patient/nowhere", &["If-Match: W/\"1\""], &changed.replace(id, "nowhere"));
    outcome(&absent, 412, "conflict");
    assert!(absent.header("etag").is_none() && !absent.text().contains('0'), "there is no version 0");
    let second = server.send("PUT", &at, &["If-Match: W/\"1\""], &changed);
    assert_eq!(valid(&second, 200, "Patient")["meta"]["versionId"], "2");
    assert_eq!(server.send("GET", &format!("{at}/_history/1"), &[], "").body, first.body);

    outcome(&server.send("DELETE", &at, &["If-Match: W/\"1\""], ""), 412, "conflict");
    let gone = server.send("DELETE", &at, &[], "");
    assert_eq!((gone.status, gone.body.len(), gone.header("etag")), (204, 0, Some("W/\"3\"")));
    outcome(&server.send("GET", &at, &[], ""), 410, "deleted");
    outcome(&server.send("GET", &format!("{at}/_history/3"), &[], ""), 410, "deleted");
    assert_eq!(server.send("DELETE", &at, &[], "").status, 204, "again");
    assert_eq!(server.send("DELETE", "/Patient/never", &[], "").status, 204);
    outcome(&server.send("GET", &format!("{at}/_history/4"), &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/Patient/never/_history", &[], ""), 404, "not-found");

    let history = valid(&server.send("GET", &format!("{at}/_history?_count=2"), &[], ""), 200, "Bundle");
    let methods = |bundle: &Value| -> Vec<String> {
        bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["request"]["method"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(methods(&history), ["DELETE", "PUT"]);
    let next = history["link"][1]["url"].as_str().unwrap();
    let rest = valid(&server.send("GET", next.split_once("/fhir").unwrap().1, &[], ""), 200, "Bundle");
    assert_eq!((methods(&rest), rest["link"].as_array().unwrap().len()), (vec!["POST".to_owned()], 1));

    let again = server.send("PUT", &at, &[], &changed);
    assert_eq!(valid(&again, 201, "Patient")["meta"]["versionId"], "4", "brought back");
    assert!(again.header("location").unwrap().ends_with("/_history/4"));
    let history = valid(&server.send("GET", &format!("{at}/_history"), &[], ""), 200, "Bundle");
    assert_eq!(methods(&history), ["PUT", "DELETE", "PUT", "POST"]);
    assert_eq!(history["entry"][0]["response"]["status"], "201 Created");

    let body = json!({ "resourceType": "Patient", "id": "mine" }).to_string();
    assert_eq!(server.send("PUT", "/Patient/mine", &[], &body).status, 201);
    let history = valid(&server.send("GET", "/Patient/mine/_history", &[], ""), 200, "Bundle");
    assert_eq!(methods(&history), ["PUT"], "nobody posted it");
    assert_eq!(history["entry"][0]["request"]["url"], "Patient/mine");
}

#[test]
fn a_client_may_choose_the_id_and_how_much_comes_back() {
    let server = started();
    let body = json!({ "resourceType": "Patient", "id": "chosen" }).to_string();
    let first = server.send("PUT", "/Patient/chosen", &["Prefer: return=minimal"], &body);
    assert_eq!((first.status, first.body.len()), (201, 0));
    assert!(first.header("location").unwrap().ends_with("/Patient/chosen/_history/1"));
    outcome(&server.send("PUT", "/Patient/chosen", &["Prefer: return=OperationOutcome"], &body), 200, "informational");
    outcome(&server.send("DELETE", "/Patient/chosen", &["Prefer: return=OperationOutcome"], ""), 200, "informational");
    for wrong in [json!({ "resourceType": "Patient", "id": "other" }), json!({ "resourceType": "Patient" })] {
        let answer = server.send("PUT", "/Patient/chosen", &[], &wrong.to_string());
        outcome(&answer, 400, "value");
        assert_eq!(answer.json()["issue"][0]["expression"][0], "Patient.id");
    }
}

#[test]
fn searches_by_address_and_by_form_lead_from_page_to_page() {
    let server = started();
    let ids: Vec<String> = (0..5).map(|_| created(&server, &patient())).collect();
    let mut path = "/Patient?family=%E0%B4%B2&_count=2".to_owned();
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = valid(&server.send("GET", &path, &[], ""), 200, "Bundle");
        assert_eq!(page["type"], "searchset");
        for entry in page["entry"].as_array().unwrap() {
            assert_eq!(entry["search"]["mode"], "match");
            found.push(entry["resource"]["id"].as_str().unwrap().to_owned());
        }
        pages += 1;
        let Some(next) = page["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next") else { break };
        path = next["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
    }
    assert_eq!((pages, &found), (3, &ids));
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let posted = server.request(TOKEN, "POST", "/Patient/_search", &form, b"identifier=urn:mrn%7CKL-1&_count=100");
    assert_eq!(valid(&posted, 200, "Bundle")["entry"].as_array().unwrap().len(), 5);
    let base = format!("http://{}/fhir", server.address);
    let hers = json!({ "resourceType": "Condition", "subject": { "reference": format!("{base}/Patient/{}", ids[0]) } });
    let hers = valid(&server.send("POST", "/Condition", &[], &hers.to_string()), 201, "Condition");
    assert_eq!(hers["subject"]["reference"], format!("Patient/{}", ids[0]), "this server's own address");
    let by_address = format!("/Condition?patient={base}/Patient/{}", ids[0]);
    assert_eq!(valid(&server.send("GET", &by_address, &[], ""), 200, "Bundle")["entry"].as_array().unwrap().len(), 1);
    let none = valid(&server.send("GET", "/Patient?identifier=KL-2", &[], ""), 200, "Bundle");
    assert!(none.get("entry").is_none(), "an empty array is no valid FHIR");
    outcome(&server.send("GET", "/Patient?gender=female", &[], ""), 400, "not-supported");
    outcome(&server.send("GET", "/Patient?birthdate=soon", &[], ""), 400, "value");
    outcome(&server.send("POST", "/Patient/_search", &[], "{}"), 415, "not-supported");
    outcome(&server.send("GET", "/Patient/1?_summary=true", &[], ""), 400, "not-supported");
}

#[test]
fn a_parameter_that_may_come_once_is_refused_twice() {
    let server = started();
    let id = created(&server, &patient());
    let twice = |answer: &Answer, name: &str| {
        outcome(answer, 400, "value");
        let said = answer.json()["issue"][0]["diagnostics"].as_str().unwrap().to_owned();
        assert!(said.starts_with(&format!("{name} comes more than once")), "{said}");
    };
    twice(&server.send("GET", "/Patient?family=x&_count=1&_count=100", &[], ""), "_count");
    twice(&server.send("GET", &format!("/Patient/{id}/_history?_count=1&_count=2"), &[], ""), "_count");
    twice(&server.send("GET", &format!("/Patient/{id}?_format=json&_format=json"), &[], ""), "_format");
    twice(&server.send("GET", &format!("/Patient/{id}?_pretty=true&_pretty=false"), &[], ""), "_pretty");
    twice(&server.anonymous("GET", "/metadata?_format=json&_format=xml", &[], ""), "_format");
    // Once in the address and once in the form is twice.
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let posted = |path: &str, body: &[u8]| server.request(TOKEN, "POST", path, &form, body);
    twice(&posted("/Patient/_search?_count=1", b"family=x&_count=2"), "_count");
    twice(&posted("/Patient/_search?_format=json", b"family=x&_format=xml"), "_format");
    valid(&posted("/Patient/_search?_count=1", b"family=x&_format=json"), 200, "Bundle");
}

#[test]
fn bundles_are_done_and_answered_in_order() {
    let server = started();
    let urn = "urn:uuid:c757873d-ec9a-4326-a141-556f43239520";
    let bundle = |condition: Value| {
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
            { "resource": condition, "request": { "method": "POST", "url": "Condition" } },
            { "fullUrl": urn, "resource": patient(), "request": { "method": "POST", "url": "Patient" } },
        ] })
    };
    let good = bundle(json!({ "resourceType": "Condition", "subject": { "reference": urn } }));
    for path in ["", "/"] {
        let answer = valid(&server.send("POST", path, &[], &good.to_string()), 200, "Bundle");
        assert_eq!(answer["type"], "transaction-response");
        let at = |n: usize| answer["entry"][n]["response"]["location"].as_str().unwrap().to_owned();
        assert!(at(0).starts_with("Condition/") && at(1).starts_with("Patient/"));
        let condition = server.send("GET", &format!("/{}", at(0)), &[], "");
        let subject = condition.json()["subject"]["reference"].as_str().unwrap().to_owned();
        assert!(at(1).starts_with(&format!("{subject}/")), "{subject}");
    }
    let bad = bundle(json!({ "resourceType": "Condition", "subject": { "reference": urn }, "code": 7 }));
    let refused = server.send("POST", "", &[], &bad.to_string());
    outcome(&refused, 422, "structure");
    assert_eq!(refused.json()["issue"][0]["expression"][0], "Bundle.entry[0].resource.code");
    outcome(&server.send("POST", "", &[], &patient().to_string()), 400, "not-supported");
}

#[test]
fn every_refusal_is_an_operation_outcome() {
    let server = started();
    let good = patient().to_string();
    let nobody = server.anonymous("GET", "/Patient/1", &[], "");
    outcome(&nobody, 401, "login");
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"holdfast\""));
    let stranger = server.request("wrong", "GET", "/Patient/1", &[], b"");
    outcome(&stranger, 401, "login");
    assert!(stranger.header("www-authenticate").unwrap().contains("invalid_token"));
    outcome(&server.request("forbidden", "GET", "/Patient/1", &[], b""), 403, "forbidden");
    outcome(&server.request("panics", "GET", "/Patient/1", &[], b""), 500, "exception");
    outcome(&server.send("GET", "/Patient/1", &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/Patience", &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/a/b/c/d/e", &[], ""), 404, "not-found");
    let patch = server.send("PATCH", "/Patient/1", &[], &good);
    outcome(&patch, 405, "not-supported");
    assert_eq!(patch.header("allow"), Some("DELETE, GET, HEAD, PUT"));
    outcome(&server.send("GET", "", &[], ""), 405, "not-supported");
    outcome(&server.send("GET", "/Patient/1", &["Accept: application/fhir+xml"], ""), 406, "not-supported");
    outcome(&server.send("GET", "/Patient?_format=xml", &[], ""), 406, "not-supported");
    let xml = ["Content-Type: application/fhir+xml"];
    outcome(&server.request(TOKEN, "POST", "/Patient", &xml, b"<Patient/>"), 415, "not-supported");
    outcome(&server.send("POST", "/Patient", &["Content-Encoding: gzip"], &good), 415, "not-supported");
    outcome(&server.send("POST", "/Patient", &["If-None-Exist: identifier=1"], &good), 400, "not-supported");
    outcome(&server.send("POST", "/Patient", &[], "{"), 400, "structure");
    outcome(&server.send("POST", "/Patient", &[], ""), 400, "structure");
    outcome(&server.send("POST", "/Condition", &[], &good), 422, "value");
    let modifier = json!({ "resourceType": "Patient", "contact": [{ "modifierExtension": [
        { "url": "http://a.example/not", "valueBoolean": true }] }] });
    let refused = server.send("POST", "/Patient", &[], &modifier.to_string());
    outcome(&refused, 422, "extension");
    assert_eq!(refused.json()["issue"][0]["expression"][0], "Patient.contact[0].modifierExtension[0]");
    assert!(refused.text().contains("http://a.example/not"), "{}", refused.text());
    let wrong = server.send("POST", "/Patient", &[], &json!({ "resourceType": "Patient", "gender": NAME }).to_string());
    outcome(&wrong, 422, "code-invalid");
    assert!(!wrong.text().contains(NAME), "what came in is not repeated");
    assert_eq!(wrong.json()["issue"][0]["expression"][0], "Patient.gender");
}

/// What can't be an id is a bad request; what is one and isn't here stays not found, and says no more than before.
#[test]
fn an_address_that_holds_no_id_is_a_bad_request() {
    let server = started();
    let (long, longest) = ("a".repeat(65), "a".repeat(64));
    let good = patient().to_string();
    for (id, characters) in [("%20", 3), ("%00", 3), ("a_b", 3), ("a%2Fb", 5), ("..%2F", 5), (long.as_str(), 65)] {
        for path in [format!("/Patient/{id}"), format!("/Patient/{id}/_history"), format!("/Patient/1/_history/{id}")] {
            let answer = server.send("GET", &path, &[], "");
            outcome(&answer, 400, "value");
            let said = answer.json()["issue"][0]["diagnostics"].as_str().unwrap().to_owned();
            assert!(
                said.contains(r"[A-Za-z0-9\-\.]{1,64}") && said.contains(&format!("{characters} characters")),
                "{said}"
            );
            // To everybody the same, and before any record is looked for.
            let stranger = server.anonymous("GET", &path, &[], "");
            let forbidden = server.request("forbidden", "GET", &path, &[], b"");
            assert_eq!((stranger.status, &stranger.body), (400, &answer.body));
            assert_eq!((forbidden.status, &forbidden.body), (400, &answer.body));
        }
        outcome(&server.send("PUT", &format!("/Patient/{id}"), &[], &good), 400, "value");
        outcome(&server.send("DELETE", &format!("/Patient/{id}"), &[], ""), 400, "value");
    }
    outcome(&server.send("GET", &format!("/Patient/{longest}"), &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/Patient/1/_history/x", &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/Patient/_history", &[], ""), 404, "not-found");
    outcome(&server.send("GET", "/Patient/1/$everything", &[], ""), 404, "not-found");
    outcome(&server.request("forbidden", "GET", &format!("/Patient/{longest}"), &[], b""), 403, "forbidden");
}

#[test]
fn bodies_are_bounded_whether_announced_or_not() {
    let server = started();
    let limit = kit::limits::FHIR_BODY_BYTES_MAX;
    let post = ["POST /fhir/Patient HTTP/1.1", "Content-Type: application/fhir+json"];
    let announced = format!("Content-Length: {}", limit + 1);
    let body = vec![b' '; limit + 1];
    outcome(&server.raw(&[post[0], post[1], &announced], TOKEN, &body), 413, "too-long");
    outcome(&server.raw(&[post[0], post[1], &announced], "wrong", b""), 401, "login");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let chunks = [chunk.repeat(limit / (1 << 20) + 1).as_slice(), b"0\r\n\r\n"].concat();
    outcome(&server.raw(&[post[0], post[1], "Transfer-Encoding: chunked"], TOKEN, &chunks), 413, "too-long");
    assert_eq!(server.send("GET", "/metadata", &[], "").status, 200, "it lives on");
}

#[test]
fn every_answer_names_its_operation_once() {
    let server = started();
    let ids: Vec<String> = ["/metadata", "/Patient/1", "/nowhere", "/Patient"]
        .iter()
        .map(|path| server.send("GET", path, &[], "").header("x-request-id").unwrap().to_owned())
        .collect();
    assert!(ids.iter().all(|id| id.len() == 32));
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}
