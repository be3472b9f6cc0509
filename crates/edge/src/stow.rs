//! DICOMweb: `POST /dicom-web/studies` keeps (STOW-RS, PS3.18 section 10.5, edition 2024e), `POST /dicom-web/gate/studies` asks the
//! fraction gate of a plan, and of the delivery instruction that comes with it.
//!
//! To the gate, as over DIMSE, stored means released and nothing else does: 200 only where every plan is.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chart::Context;
use kit::Fault;
use serde::Deserialize;
use serde_json::{Value, json};
use treatment::{Asked, Instance, Instruction, Kind, ObjectError, Outcome, Treatment};

use crate::archive::{VETO, refusal};
use crate::asking::{Asking, Door, Refused};
use crate::dimse::status;

/// Of one request: a CT series of some hundred slices comes in several.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const PARTS_MAX: usize = 1_024;
/// Headers of one part.
const PART_HEAD_BYTES_MAX: usize = 4 * 1024;
/// RFC 2046 section 5.1.1.
const BOUNDARY_CHARS_MAX: usize = 70;

/// What the codes of its refusals begin with.
const ROOM: &str = "stow";

/// What is said of the fraction that is due, for all plans of the request.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    patient: Option<String>,
    #[serde(rename = "fraction-group")]
    fraction_group: Option<u32>,
    fraction: Option<u32>,
    machine: Option<String>,
}

pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route("/dicom-web/studies", post(keep))
        .route("/dicom-web/studies/{study}", post(keep_in))
        .route("/dicom-web/gate/studies", post(gate))
        .with_state(door)
}

async fn keep(State(door): State<Door>, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let work = |treatment: &Treatment, context: &Context, parts: &[&[u8]]| kept(treatment, context, parts, None);
    instances(Asking::new(door, ROOM), headers, body, work).await
}

async fn keep_in(
    State(door): State<Door>,
    Path(study): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let work =
        move |treatment: &Treatment, context: &Context, parts: &[&[u8]]| kept(treatment, context, parts, Some(&study));
    instances(Asking::new(door, ROOM), headers, body, work).await
}

async fn gate(
    State(door): State<Door>,
    said: Result<Query<Said>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let asking = Asking::new(door, ROOM);
    let Ok(Query(said)) = said else {
        let why = "the parameters are patient=ID, fraction-group=N, fraction=N and machine=NAME, each at most once";
        return Ok(asking.refuse(StatusCode::BAD_REQUEST, "parameter", why));
    };
    let work = move |treatment: &Treatment, context: &Context, parts: &[&[u8]]| asked(treatment, context, parts, &said);
    instances(asking, headers, body, work).await
}

/// Reads the instances of a request, and answers for each what `work` says of it.
async fn instances(
    asking: Asking,
    headers: HeaderMap,
    body: Body,
    work: impl FnOnce(&Treatment, &Context, &[&[u8]]) -> Vec<Stored> + Send + 'static,
) -> Result<Response, Refused> {
    let caller = asking.caller(&headers)?;
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(boundary) = said.and_then(boundary) else {
        let why = "the content type is multipart/related; type=\"application/dicom\"; boundary=…";
        return Ok(asking.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", why));
    };
    let admitted = asking.admit(&headers, caller).await?;
    let body = asking.body(body, BODY_BYTES_MAX, "the request", ": send the instances in several").await?;
    let treatment = asking.treatment();
    let done = tokio::task::spawn_blocking(move || {
        let parts = parts(&body, &boundary)?;
        Ok::<_, &str>(work(&treatment, &admitted.context, &parts))
    });
    Ok(match done.await {
        Ok(Ok(stored)) => response(&stored),
        Ok(Err(why)) => asking.refuse(StatusCode::BAD_REQUEST, "multipart", why),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

/// What became of one instance.
struct Stored {
    sop_class: Option<String>,
    sop_instance: Option<String>,
    /// None where it is stored, or released.
    failed: Option<(u16, String)>,
}

impl Stored {
    fn of(instance: Option<&Instance>, failed: Option<(u16, String)>) -> Self {
        let sop_class = instance.map(|instance| instance.kind.sop_class().to_owned());
        Self { sop_class, sop_instance: instance.map(|instance| instance.sop_instance.clone()), failed }
    }
}

/// Status and words of a fault.
fn failed(fault: &Fault) -> (u16, String) {
    let outcome = refusal(fault);
    (outcome.status, outcome.comment.unwrap_or_default())
}

fn kept(treatment: &Treatment, context: &Context, parts: &[&[u8]], study: Option<&str>) -> Vec<Stored> {
    let keep = |part: &&[u8]| {
        let instance = Instance::parse(part).ok();
        let is_elsewhere = study.zip(instance.as_ref()).is_some_and(|(study, instance)| instance.study != study);
        let failed = match is_elsewhere {
            true => Some((status::DATA_SET_DOES_NOT_MATCH, "it is of another study than the address".to_owned())),
            false => treatment.store(context, part.to_vec()).err().as_ref().map(failed),
        };
        Stored::of(instance.as_ref(), failed)
    };
    parts.iter().map(keep).collect()
}

/// Every plan is judged with the instruction that names it. Where it isn't clear what belongs to what, nothing of the request is released.
fn asked(treatment: &Treatment, context: &Context, parts: &[&[u8]], said: &Said) -> Vec<Stored> {
    let instances: Vec<Result<Instance, ObjectError>> = parts.iter().map(|part| Instance::parse(part)).collect();
    let mut told: BTreeMap<String, Instruction> = BTreeMap::new();
    let (mut plans, mut uids, mut unclear) = (Vec::new(), BTreeSet::new(), None);
    for (part, instance) in parts.iter().zip(&instances) {
        let Ok(instance) = instance else {
            unclear = Some("a part can't be read as a DICOM object");
            continue;
        };
        if !uids.insert(instance.sop_instance.clone()) {
            unclear = Some("two parts have one SOP Instance UID");
        }
        match Instruction::parse(part) {
            Ok(instruction) => {
                if told.insert(instruction.plan.clone(), instruction).is_some() {
                    unclear = Some("two delivery instructions name one plan");
                }
            }
            Err(_) if instance.kind == Kind::RtBeamsDeliveryInstruction => {
                unclear = Some("a delivery instruction can't be read");
            }
            Err(_) => plans.push((part, instance)),
        }
    }
    let is_there = |uid: &String| plans.iter().any(|(_, plan)| plan.sop_instance == *uid);
    if !told.keys().all(is_there) {
        unclear = Some("a delivery instruction names a plan that isn't in the request");
    }
    if let Some(why) = unclear {
        let why = format!("request-unclear: {why}; nothing of it is released");
        return instances.iter().map(|one| Stored::of(one.as_ref().ok(), Some((VETO, why.clone())))).collect();
    }
    let mut judged = Vec::with_capacity(parts.len());
    for (part, plan) in plans {
        let mine = told.remove(&plan.sop_instance);
        let its = mine.as_ref().map(|told| told.instance.clone());
        let asked = Asked {
            fraction_group: said.fraction_group,
            fraction: said.fraction,
            machine: said.machine.clone(),
            instruction: mine.map(Ok),
        };
        let failed = match treatment.gate(context, said.patient.as_deref(), part, &asked) {
            Ok(verdict) if verdict.outcome == Outcome::Release => None,
            Ok(verdict) => {
                let findings: Vec<String> =
                    verdict.findings.iter().map(|finding| format!("{}: {finding}", finding.code())).collect();
                Some((VETO, findings.join("\n")))
            }
            Err(fault) => Some(failed(&fault)),
        };
        judged.push(Stored::of(Some(plan), failed.clone()));
        judged.extend(its.map(|told| Stored::of(Some(&told), failed)));
    }
    judged
}

/// DICOM JSON (PS3.18 annex F): the Store Instances Response Module, table 10.5.3-1.
fn response(stored: &[Stored]) -> Response {
    let of = |one: &Stored| {
        let mut item = serde_json::Map::new();
        let mut put = |tag: &str, vr: &str, value: Value| {
            item.insert(tag.to_owned(), json!({ "vr": vr, "Value": [value] }));
        };
        if let Some(class) = &one.sop_class {
            put("00081150", "UI", json!(class));
        }
        if let Some(instance) = &one.sop_instance {
            put("00081155", "UI", json!(instance));
        }
        if let Some((reason, words)) = &one.failed {
            put("00081197", "US", json!(reason));
            put("00741238", "LT", json!(words));
        }
        Value::Object(item)
    };
    let sequence =
        |wanted: bool| -> Vec<Value> { stored.iter().filter(|one| one.failed.is_none() == wanted).map(of).collect() };
    let (good, bad) = (sequence(true), sequence(false));
    let status = match (good.is_empty(), bad.is_empty()) {
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::ACCEPTED,
        (true, _) => StatusCode::CONFLICT,
    };
    let mut body = serde_json::Map::new();
    for (tag, items) in [("00081198", bad), ("00081199", good)] {
        if !items.is_empty() {
            body.insert(tag.to_owned(), json!({ "vr": "SQ", "Value": items }));
        }
    }
    (status, [(header::CONTENT_TYPE, "application/dicom+json")], Value::Object(body).to_string()).into_response()
}

/// The boundary of `multipart/related; type="application/dicom"; boundary=…` (RFC 2387).
pub fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim).filter(|part| !part.is_empty());
    if !parts.next()?.eq_ignore_ascii_case("multipart/related") {
        return None;
    }
    let (mut boundary, mut kind) = (None, None);
    for part in parts {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "boundary" => boundary = Some(value.to_owned()),
            "type" => kind = Some(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    let is_one = |text: &String| {
        (1..=BOUNDARY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    };
    boundary.filter(is_one).filter(|_| kind.is_none_or(|kind| kind == "application/dicom"))
}

/// The parts of a multipart body (RFC 2046 section 5.1.1), without their headers. Empty, unended or crowded is wrong.
pub fn parts<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<&'b [u8]>, &'static str> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let finder = memchr::memmem::Finder::new(&delimiter);
    // The first one may stand at the very beginning, without the line break before it.
    let first = delimiter.get(2..).unwrap_or_default();
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => {
            finder.find(body).and_then(|at| body.get(at + delimiter.len()..)).ok_or("there is no boundary in it")?
        }
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return if parts.is_empty() { Err("there is no part in it") } else { Ok(parts) };
        }
        if parts.len() >= PARTS_MAX {
            return Err("it has more than 1,024 parts");
        }
        // Blanks may stand between the boundary and the end of its line.
        let line = rest.iter().position(|b| !matches!(b, b' ' | b'\t')).and_then(|at| rest.get(at..));
        let part = line.and_then(|line| line.strip_prefix(b"\r\n")).ok_or("a boundary's line goes on")?;
        let end = finder.find(part).ok_or("its last part isn't ended")?;
        let (whole, after) = part.split_at_checked(end).ok_or("its last part isn't ended")?;
        // No header at all is an empty line at once.
        let content = match whole.strip_prefix(b"\r\n") {
            Some(content) => content,
            None => {
                let head = memchr::memmem::find(whole, b"\r\n\r\n").filter(|at| *at <= PART_HEAD_BYTES_MAX);
                head.and_then(|at| whole.get(at + 4..)).ok_or("a part has no end of its headers")?
            }
        };
        parts.push(content);
        rest = after.get(delimiter.len()..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boundaries_are_read() {
        let good = [
            "multipart/related; type=\"application/dicom\"; boundary=abc",
            "Multipart/Related;boundary=\"abc\";TYPE=application/dicom",
            "multipart/related; boundary=abc; start=\"<1>\";",
        ];
        good.iter().for_each(|said| assert_eq!(boundary(said).as_deref(), Some("abc"), "{said}"));
        for bad in [
            "application/dicom",
            "multipart/related",
            "multipart/related; boundary=",
            "multipart/related; type=\"application/dicom+json\"; boundary=abc",
            "multipart/form-data; boundary=abc",
            &format!("multipart/related; boundary={}", "x".repeat(71)),
        ] {
            assert_eq!(boundary(bad), None, "{bad}");
        }
    }

    #[test]
    fn wrong_bodies_are_named() {
        for (body, why) in [
            (&b""[..], "no boundary"),
            (b"--b--", "no part"),
            (b"--b\r\n\r\nx", "isn't ended"),
            (b"--bx\r\n\r\nx\r\n--b--", "goes on"),
            (b"--b\r\nA: b\r\nx\r\n--b--", "no end of its headers"),
        ] {
            assert!(parts(body, "b").unwrap_err().contains(why), "{why}");
        }
        let crowd = "--b\r\n\r\nx\r\n".repeat(PARTS_MAX + 1) + "--b--";
        assert!(parts(crowd.as_bytes(), "b").is_err());
        assert_eq!(
            parts(b"before\r\n--b \t\r\nA: b\r\n\r\none\r\n--b\r\n\r\n\r\n--b--after", "b"),
            Ok(vec![&b"one"[..], b""])
        );
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)) {
            let mut body = Vec::new();
            for file in &files {
                body.extend(b"--edge-9f3a\r\nContent-Type: application/dicom\r\n\r\n");
                body.extend(file);
                body.extend(b"\r\n");
            }
            body.extend(b"--edge-9f3a--\r\n");
            prop_assert_eq!(parts(&body, "edge-9f3a"), Ok(files.iter().map(Vec::as_slice).collect()));
            // Cut anywhere, it is wrong or what came before the cut was whole.
            for length in 0..body.len() {
                if let Ok(found) = parts(&body[..length], "edge-9f3a") {
                    prop_assert_eq!(found.len(), files.len());
                }
            }
        }
    }
}
