//! Bytes in, bytes out: FHIR, DIMSE, the fraction gate over HTTP, pages.
//!
//! Knows neither vault nor keys nor ledger: everything goes through chart and treatment, and so through guard.

pub mod archive;
pub mod console;
pub mod dimse;
pub mod fhir;
pub mod gate;
pub mod http;
mod intake;
pub mod records;

use std::sync::Arc;

use axum::{Router, middleware};
use treatment::Treatment;

/// Everything that the gateway answers over HTTP, under one set of security headers.
pub fn router(treatment: &Arc<Treatment>) -> Router {
    let places = intake::Places::default();
    let records = records::ChartRecords::new(Arc::clone(treatment.chart()));
    console::router(Arc::clone(treatment))
        .merge(gate::router(Arc::clone(treatment), places.clone()))
        .merge(fhir::router_in(Arc::new(records), places))
        .fallback(console::absent)
        .layer(middleware::map_response(console::secure))
}
