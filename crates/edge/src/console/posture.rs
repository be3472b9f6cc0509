//! The page that says how the centre stands: what could be lost, who watches, what is overdue. Nothing of a patient.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use kit::Fault;
use treatment::Treatment;

use super::reader::Reader;
use super::{blocking, failed, page};

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    Good,
    /// It works, and somebody has to look.
    Worn,
    Bad,
}

/// One line of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub what: String,
    pub grade: Grade,
    /// In a few words.
    pub state: String,
    /// What it rests on, and when it was last shown.
    pub evidence: String,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    pub name: String,
    pub grade: Grade,
    pub shards: String,
    pub holder: String,
    pub witness: String,
    /// Charts opened within the last hour and day, where it said so.
    pub charts: String,
    pub alarms: String,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRow {
    pub name: String,
    pub grade: Grade,
    pub shards: String,
    /// Of what a bucket has to have.
    pub lacks: String,
    /// When it was probed last.
    pub probed: String,
    pub retention: String,
    /// Objects that somebody hid or wrote over.
    pub tampered: String,
}

/// One folder of downtime packs: a ward PC's share, a stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    pub folder: String,
    pub grade: Grade,
    /// When they were made, and how long ago.
    pub made: String,
    /// Packs, of patients on treatment.
    pub covered: String,
    /// Courses that are complete, of which none is made.
    pub complete: String,
    /// What is wrong, where anything is.
    pub why: String,
}

/// All of it, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    pub as_of: String,
    pub controls: Vec<Control>,
    pub servers: Vec<ServerRow>,
    pub buckets: Vec<BucketRow>,
    pub packs: Vec<PackRow>,
}

/// Who knows how the centre stands.
pub trait Standing: Send + Sync {
    fn posture(&self) -> Result<Posture, Fault>;
}

impl Grade {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "release",
            Self::Worn => "hold",
            Self::Bad => "veto",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Worn => "look",
            Self::Bad => "bad",
        }
    }
}

#[derive(Template)]
#[template(path = "posture.html")]
struct PosturePage {
    centre: String,
    who: String,
    role: String,
    posture: Posture,
}

#[derive(Clone)]
struct Shown {
    treatment: Arc<Treatment>,
    standing: Arc<dyn Standing>,
}

impl FromRef<Shown> for Arc<Treatment> {
    fn from_ref(shown: &Shown) -> Self {
        Self::clone(&shown.treatment)
    }
}

pub fn router(treatment: Arc<Treatment>, standing: Arc<dyn Standing>) -> Router {
    Router::new().route("/posture", get(posture)).with_state(Shown { treatment, standing })
}

async fn posture(State(Shown { standing, .. }): State<Shown>, reader: Reader) -> Response {
    let centre = reader.treatment.centre().to_owned();
    match blocking(move || standing.posture()).await {
        Ok(posture) => page(StatusCode::OK, &PosturePage { centre, who: reader.who(), role: reader.role(), posture }),
        Err(fault) => failed("How the centre stands", &fault),
    }
}
