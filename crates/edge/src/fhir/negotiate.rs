//! What headers and parameters ask of an answer: formats, preferences, conditions. HL7 FHIR R4, http.html.

use axum::http::{HeaderMap, HeaderName, header};
use chart::fhir::{Code, Issue, parse_etag};

/// A refusal that has its own status.
pub(super) type Refused = (u16, Issue);

fn refused(status: u16, text: &str) -> Refused {
    (status, Issue::error(Code::NotSupported, text))
}

const JSON: &[&str] = &["application/fhir+json", "application/json", "text/json", "json"];
const ONLY_JSON: &str = "only JSON is spoken here: application/fhir+json, FHIR version 4.0";

/// One media type: its name in lower case, and its parameters.
fn media(text: &str) -> (String, Vec<(String, String)>) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parameter = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_ascii_lowercase()))
    };
    (name, parts.filter_map(parameter).collect())
}

fn right_version(parameters: &[(String, String)]) -> bool {
    parameters.iter().all(|(key, value)| key != "fhirversion" || value == "4.0" || value == "4.0.1")
}

/// May the answer be JSON? `_format` stands above `Accept`.
pub(super) fn accepts_json(headers: &HeaderMap, format: Option<&str>) -> Result<(), Refused> {
    let acceptable = |text: &str| {
        let (name, parameters) = media(text);
        let wanted = parameters.iter().all(|(key, value)| key != "q" || value.parse::<f32>().is_ok_and(|q| q > 0.0));
        // In an address, the plus of fhir+json is often left unescaped and arrives as a blank.
        let name = name.replace("fhir json", "fhir+json");
        (JSON.contains(&name.as_str()) || matches!(name.as_str(), "*/*" | "application/*"))
            && wanted
            && right_version(&parameters)
    };
    let good = match format {
        Some(format) => acceptable(format),
        None => {
            let mut all = headers.get_all(header::ACCEPT).iter().peekable();
            all.peek().is_none()
                || all.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(acceptable)
        }
    };
    if good { Ok(()) } else { Err(refused(406, ONLY_JSON)) }
}

/// Is the body JSON in UTF-8, by its own word?
pub(super) fn sends_json(headers: &HeaderMap) -> Result<(), Refused> {
    let (name, parameters) = content_type(headers);
    let utf8 = parameters.iter().all(|(key, value)| key != "charset" || value == "utf-8" || value == "utf8");
    let good = JSON.contains(&name.as_str()) && name != "json" && utf8 && right_version(&parameters);
    if good { Ok(()) } else { Err(refused(415, ONLY_JSON)) }
}

/// Is the body a form, as `_search` takes it?
pub(super) fn sends_form(headers: &HeaderMap) -> Result<(), Refused> {
    match content_type(headers).0.as_str() {
        "application/x-www-form-urlencoded" => Ok(()),
        _ => Err(refused(415, "_search takes application/x-www-form-urlencoded")),
    }
}

fn content_type(headers: &HeaderMap) -> (String, Vec<(String, String)>) {
    media(headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// What the body of an answer to a write should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefer {
    Representation,
    Minimal,
    Outcome,
}

/// RFC 7240; a preference that isn't known is ignored, as that asks.
pub(super) fn prefer(headers: &HeaderMap) -> Prefer {
    let all = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let find = |part: &str| match part.trim().to_ascii_lowercase().as_str() {
        "return=minimal" => Some(Prefer::Minimal),
        "return=representation" => Some(Prefer::Representation),
        "return=operationoutcome" => Some(Prefer::Outcome),
        _ => None,
    };
    all.flat_map(|value| value.split([',', ';'])).find_map(find).unwrap_or(Prefer::Representation)
}

/// The version in `If-Match`. Of two, either could be the one that is meant.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u32>, Refused> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err((400, Issue::error(Code::Value, "If-Match stands twice; it names one version: W/\"number\"")));
    }
    let version = value.to_str().ok().and_then(parse_etag);
    version.map(Some).ok_or((400, Issue::error(Code::Value, "If-Match is no version of this server: W/\"number\"")))
}

/// Does the client already hold this version?
pub(super) fn holds(headers: &HeaderMap, version: u32) -> bool {
    let all = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|etag| parse_etag(etag) == Some(version))
}

/// `If-Match` where there is no version that it could be about.
pub(super) fn matches_nothing(headers: &HeaderMap) -> Result<(), Refused> {
    match headers.contains_key(header::IF_MATCH) {
        true => Err(refused(400, "If-Match goes with PUT and DELETE only")),
        false => Ok(()),
    }
}

/// A header that would change what a write does, and that is not supported, is no reason to do it unconditionally.
pub(super) fn unconditional(headers: &HeaderMap) -> Result<(), Refused> {
    const UNSUPPORTED: [HeaderName; 3] =
        [HeaderName::from_static("if-none-exist"), header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    match UNSUPPORTED.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(refused(400, &format!("the condition {name} is not supported here"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::intake::bearer;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn json_in_all_its_names() {
        for accept in [
            "application/fhir+json",
            "application/json",
            "*/*",
            "text/html, application/fhir+json;q=0.5",
            "application/*",
            "application/fhir+json; fhirVersion=4.0",
            "Application/FHIR+JSON",
        ] {
            assert!(accepts_json(&with("accept", accept), None).is_ok(), "{accept}");
        }
        for accept in [
            "application/fhir+xml",
            "text/html",
            "application/fhir+json;q=0",
            "application/fhir+json;fhirVersion=3.0",
            "",
        ] {
            assert_eq!(accepts_json(&with("accept", accept), None).unwrap_err().0, 406, "{accept}");
        }
        assert!(accepts_json(&HeaderMap::new(), None).is_ok());
        assert!(accepts_json(&with("accept", "text/html"), Some("json")).is_ok());
        assert!(accepts_json(&HeaderMap::new(), Some("application/fhir json")).is_ok());
        assert!(accepts_json(&HeaderMap::new(), Some("xml")).is_err());
        assert!(sends_json(&with("content-type", "application/fhir+json; charset=UTF-8")).is_ok());
        for wrong in ["application/fhir+xml", "text/plain", "application/json; charset=latin1", "json", ""] {
            assert_eq!(sends_json(&with("content-type", wrong)).unwrap_err().0, 415, "{wrong}");
        }
    }

    #[test]
    fn preferences_conditions_and_tokens() {
        assert_eq!(prefer(&with("prefer", "handling=strict; return=minimal")), Prefer::Minimal);
        assert_eq!(prefer(&with("prefer", "return=OperationOutcome")), Prefer::Outcome);
        assert_eq!(prefer(&with("prefer", "respond-async")), Prefer::Representation);
        assert_eq!(if_match(&with("if-match", "W/\"3\"")), Ok(Some(3)));
        for wrong in ["3", "*", "W/\"03\"", "W/\"x\""] {
            assert_eq!(if_match(&with("if-match", wrong)).unwrap_err().0, 400, "{wrong}");
        }
        let mut twice = with("if-match", "W/\"3\"");
        twice.append("if-match", HeaderValue::from_static("W/\"3\""));
        assert_eq!(if_match(&twice).unwrap_err().0, 400);
        assert!(holds(&with("if-none-match", "W/\"1\", W/\"2\""), 2) && !holds(&HeaderMap::new(), 2));
        assert_eq!(bearer(&with("authorization", "bearer abc")), Some("abc"));
        for wrong in ["Basic abc", "Bearer ", "Bearer", ""] {
            assert_eq!(bearer(&with("authorization", wrong)), None, "{wrong}");
        }
    }
}
