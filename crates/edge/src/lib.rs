//! Bytes in, bytes out: FHIR, DIMSE, the fraction gate over HTTP, pages.
//!
//! Knows neither vault nor keys nor ledger: everything goes through chart and treatment, and so through guard.

pub mod account;
pub mod archive;
mod asking;
mod audit;
pub mod console;
pub mod dimse;
pub mod fhir;
pub mod gate;
pub mod http;
mod intake;
pub mod records;
pub mod steps;
pub mod stow;
mod typed;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::{Router, middleware};
use treatment::Treatment;

/// Everything that the gateway answers over HTTP, under one set of security headers.
pub fn router(treatment: &Arc<Treatment>) -> Router {
    router_at(treatment, None, None)
}

/// As [`router`], where the outside reaches it at `public_url` (`https://records.hospital.example`): something stands
/// before it that speaks TLS or has another name. With `standing` there is the page that says how the centre stands.
pub fn router_at(
    treatment: &Arc<Treatment>,
    public_url: Option<&str>,
    standing: Option<Arc<dyn console::posture::Standing>>,
) -> Router {
    let places = intake::Places::default();
    let records = records::ChartRecords::new(Arc::clone(treatment.chart())).at(public_url);
    let over_tls = public_url.is_some_and(|url| url.starts_with("https://"));
    let cookies = move |response| std::future::ready(if over_tls { secure_cookies(response) } else { response });
    let posture = standing.map(|standing| console::posture::router(Arc::clone(treatment), standing));
    let door = asking::Door { treatment: Arc::clone(treatment), places: places.clone() };
    console::router(Arc::clone(treatment))
        .merge(posture.unwrap_or_default())
        .merge(gate::router(door.clone()))
        .merge(stow::router(door.clone()))
        .merge(typed::router(door))
        .merge(fhir::router_in(Arc::new(records), places))
        .fallback(console::absent)
        .layer(middleware::map_response(console::secure))
        .layer(middleware::map_response(cookies))
}

/// A browser sends such a cookie over TLS only.
fn secure_cookies(mut response: Response) -> Response {
    for (name, value) in response.headers_mut() {
        if *name == header::SET_COOKIE
            && let Ok(secure) = HeaderValue::from_bytes(&[value.as_bytes(), b"; Secure"].concat())
        {
            *value = secure;
        }
    }
    response
}
