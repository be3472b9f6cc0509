//! Courses that an outage hits, those who are to be seen to first at the top. `GET /triage?from=YYYY-MM-DD&to=YYYY-MM-DD`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use treatment::{Category, Day, Outage, Treatment, Triage, TriageRow, Worth};

use super::reader::Reader;
use super::{failed, message, moment, page};

/// Days that one outage may last: a longer one is a slip of the pen.
const OUTAGE_DAYS_MAX: i32 = 366;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Template)]
#[template(path = "triage.html")]
struct TriagePage {
    centre: String,
    who: String,
    role: String,
    from: String,
    to: String,
    /// What is wrong with the days that were asked for.
    wrong: Option<String>,
    found: Option<Found>,
}

struct Found {
    as_of: String,
    date: String,
    rules: String,
    totals: Vec<Total>,
    rows: Vec<Row>,
    unread: usize,
}

struct Total {
    class: &'static str,
    word: &'static str,
    count: usize,
}

struct Row {
    class: &'static str,
    word: &'static str,
    name: String,
    number: String,
    phone: String,
    plan: String,
    tumour: String,
    given: String,
    days_lost: String,
    /// As planned, as it stands, and each option.
    ways: Vec<Way>,
    said: Vec<String>,
    chosen: Option<String>,
}

struct Way {
    what: String,
    fractions: u32,
    last: String,
    tumour: String,
    late: String,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/triage", get(triage)).with_state(treatment)
}

async fn triage(reader: Reader, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Ok(Query(Asked { from, to })) = asked else {
        return message(StatusCode::BAD_REQUEST, "The address is /triage?from=YYYY-MM-DD&to=YYYY-MM-DD.");
    };
    let mut shown = TriagePage {
        centre: reader.treatment.centre().to_owned(),
        who: reader.who(),
        role: reader.role(),
        from: from.clone().unwrap_or_default(),
        to: to.clone().unwrap_or_default(),
        wrong: None,
        found: None,
    };
    let outage = match (from, to) {
        (None, None) => return page(StatusCode::OK, &shown),
        (from, to) => outage(&from.unwrap_or_default(), &to.unwrap_or_default()),
    };
    let outage = match outage {
        Ok(outage) => outage,
        Err(why) => {
            shown.wrong = Some(why);
            return page(StatusCode::BAD_REQUEST, &shown);
        }
    };
    match reader.read(move |treatment, context| treatment.triage(context, outage)).await {
        Ok(triage) => {
            shown.found = Some(Found::of(triage));
            page(StatusCode::OK, &shown)
        }
        Err(fault) => failed("The triage", &fault),
    }
}

fn outage(from: &str, to: &str) -> Result<Outage, String> {
    let day = |text: &str| text.parse::<Day>().map_err(|error| error.to_string());
    let (first, last) = (day(from)?, day(to)?);
    match last.since(first) {
        days if days < 0 => Err("the last day is before the first".to_owned()),
        days if days >= OUTAGE_DAYS_MAX => Err(format!("{days} days, at most {OUTAGE_DAYS_MAX} are an outage")),
        _ => Ok(Outage { first, last }),
    }
}

fn graded(category: Option<Category>) -> (&'static str, &'static str) {
    match category {
        Some(Category::One) => ("veto", "Category 1"),
        None => ("hold", "Not known"),
        Some(Category::Two) => ("hold", "Category 2"),
        Some(Category::Three) => ("done", "Category 3"),
    }
}

impl Found {
    fn of(triage: Triage) -> Self {
        let offset = triage.utc_offset;
        let at = moment(triage.as_of, offset);
        let rules = match (&triage.rules.signer, triage.rules.at) {
            (Some(signer), Some(at)) => format!("By the rules that {signer} signed, {}.", moment(at, offset)),
            _ => "By figures of common use: no physicist of this centre has signed rules.".to_owned(),
        };
        let count =
            |category: Option<Category>| triage.rows.iter().filter(|row| row.weighing.category == category).count();
        let categories = [Some(Category::One), None, Some(Category::Two), Some(Category::Three)];
        let totals = categories.into_iter().map(|category| {
            let (class, word) = graded(category);
            Total { class, word, count: count(category) }
        });
        Self {
            as_of: at.get(11..16).unwrap_or_default().to_owned(),
            date: format!("{} UTC{offset}", at.get(..10).unwrap_or_default()),
            rules,
            totals: totals.collect(),
            unread: triage.unread.len(),
            rows: triage.rows.into_iter().map(|row| Row::of(row, |at| moment(at, offset))).collect(),
        }
    }
}

impl Row {
    fn of(row: TriageRow, moment: impl Fn(kit::Timestamp) -> String) -> Self {
        let (class, word) = graded(row.weighing.category);
        let known = |number: Option<i64>| number.map_or_else(|| "not known".to_owned(), |number| number.to_string());
        let ways = row.weighing.assessment.iter().flat_map(|found| {
            let options =
                (1..).zip(&found.options).map(|(n, option)| (format!("{n}. {}", option.choice), option.worth));
            [("as planned".to_owned(), found.as_planned), ("as it stands".to_owned(), found.as_it_stands)]
                .into_iter()
                .chain(options)
        });
        Self {
            class,
            word,
            plan: format!("{}, {}", row.plan, row.machine),
            tumour: row.weighing.tumour.unwrap_or_else(|| "tumour not in the rules".to_owned()),
            given: format!(
                "{} of {}",
                known(row.weighing.fractions_given.map(i64::from)),
                row.weighing.fractions_planned
            ),
            days_lost: known(row.weighing.days_lost.map(i64::from)),
            ways: ways.map(|(what, worth)| Way::of(what, &worth)).collect(),
            said: row.weighing.unknown.into_iter().chain(row.weighing.warnings).collect(),
            chosen: row.chosen.map(|chosen| format!("{}, by {}, {}", chosen.option, chosen.signer, moment(chosen.at))),
            name: row.name,
            number: row.number,
            phone: row.phone.unwrap_or_else(|| "not known".to_owned()),
        }
    }
}

impl Way {
    fn of(what: String, worth: &Worth) -> Self {
        let both = |bed: f64, eqd2: f64| format!("{bed:.2} ({eqd2:.2})");
        Self {
            what,
            fractions: worth.fractions,
            last: worth.last.to_string(),
            tumour: both(worth.tumour_bed, worth.tumour_eqd2),
            late: both(worth.late_bed, worth.late_eqd2),
        }
    }
}
