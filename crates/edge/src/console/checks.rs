//! Chart checks of everybody on treatment, those that fail first. `GET /checks`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use treatment::{ChartChecks, CheckedCourse, State, Treatment};

use super::course::{CheckRow, given_of};
use super::reader::Reader;
use super::{Total, failed, moment, page};

#[derive(Template)]
#[template(path = "checks.html")]
struct ChecksPage {
    centre: String,
    as_of: String,
    who: String,
    role: String,
    totals: Vec<Total>,
    unread: usize,
    /// With something that fails or is stale.
    rows: Vec<Row>,
    /// Of which all passes, or isn't known.
    quiet: Vec<Row>,
}

struct Row {
    name: String,
    number: String,
    plan: String,
    given: String,
    passed: usize,
    unknown: usize,
    checks: Vec<CheckRow>,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/checks", get(checks)).with_state(treatment)
}

async fn checks(reader: Reader) -> Response {
    match reader.read(Treatment::chart_checks).await {
        Ok(found) => page(StatusCode::OK, &ChecksPage::of(found, &reader)),
        Err(fault) => failed("The chart checks", &fault),
    }
}

impl ChecksPage {
    fn of(found: ChartChecks, reader: &Reader) -> Self {
        let has = |state| move |row: &&CheckedCourse| row.count(state) > 0;
        let count = |state| found.rows.iter().filter(has(state)).count();
        let is_quiet = |row: &CheckedCourse| row.count(State::Fail) + row.count(State::Stale) == 0;
        let totals = vec![
            Total { class: "veto", word: "with a check that fails", count: count(State::Fail) },
            Total { class: "hold", word: "with one that is stale", count: count(State::Stale) },
            Total { class: "release", word: "without", count: found.rows.iter().filter(|row| is_quiet(row)).count() },
        ];
        let (quiet, loud): (Vec<CheckedCourse>, Vec<CheckedCourse>) = found.rows.into_iter().partition(is_quiet);
        Self {
            centre: reader.treatment.centre().to_owned(),
            as_of: moment(found.as_of, found.utc_offset),
            who: reader.who(),
            role: reader.role(),
            totals,
            unread: found.unread.len(),
            rows: loud.into_iter().map(Row::of).collect(),
            quiet: quiet.into_iter().map(Row::of).collect(),
        }
    }
}

impl Row {
    fn of(course: CheckedCourse) -> Self {
        Self {
            plan: match course.fraction_group {
                1 => course.plan.clone(),
                group => format!("{}, group {group}", course.plan),
            },
            given: given_of(&course.given, course.fractions_planned),
            passed: course.passed,
            unknown: course.count(State::Unknown),
            // What isn't known stands on her own page.
            checks: (course.others.into_iter())
                .filter(|check| check.state != State::Unknown)
                .map(CheckRow::of)
                .collect(),
            name: course.name,
            number: course.number,
        }
    }
}
