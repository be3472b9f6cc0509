//! The page that says how the centre stands: what could be lost, who watches, what is overdue. Nothing of a patient.

use std::fmt;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use guard::Role;
use kit::{Fault, Timestamp, UtcOffset};
use treatment::Treatment;

use super::reader::Reader;
use super::{blocking, failed, moment, page};

/// How one thing stands. Whoever reads it acts on the word: so what is less than it should be passes nothing, and what nobody has
/// established is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Shown to hold, not longer ago than its proof lasts.
    Pass,
    Fail(Severity),
    /// It held when it was shown last, and that is too long ago.
    Stale,
    /// Nothing shows it, either way.
    Unknown,
}

/// How badly something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It still protects, with less than it should.
    Reduced,
    /// It doesn't protect.
    Broken,
}

/// Where in the depth of the defence a control stands, the outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    Edge,
    Guard,
    Chart,
    Treatment,
    Vault,
    Keys,
    Ledger,
    Recovery,
    Wards,
    Account,
    Host,
}

/// When something was seen, and what showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub at: Timestamp,
    /// In a few words; what was looked at, never that it is set.
    pub by: String,
}

/// A finding that somebody has put off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOff {
    /// Her login: for the operators' own list, and on no page.
    pub by: String,
    pub role: Role,
    pub why: String,
    pub at: Timestamp,
    pub until: Timestamp,
    /// How often the same one was put off, this time included.
    pub times: usize,
    /// The day is past, and the finding is back.
    pub is_over: bool,
}

/// One line of the page: a control of the defence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// It stays the same from version to version: findings are put off by it.
    pub id: &'static str,
    pub layer: Layer,
    pub what: String,
    pub grade: Grade,
    /// In a few words.
    pub state: String,
    /// What it rests on.
    pub evidence: String,
    /// When it was last shown to hold; none where it doesn't, or never was.
    pub proven: Option<Proof>,
    /// Where it isn't proven: what showed that, and when.
    pub found: Option<Proof>,
    /// Who answers for it.
    pub owner: Role,
    /// The command that mends it, or shows it anew.
    pub mend: String,
    pub put_off: Option<PutOff>,
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
    pub as_of: Timestamp,
    /// Of the centre's clocks.
    pub offset: UtcOffset,
    /// By layer.
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
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }

    pub fn severity(self) -> Option<&'static str> {
        match self {
            Self::Fail(Severity::Reduced) => Some("reduced"),
            Self::Fail(Severity::Broken) => Some("broken"),
            _ => None,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Pass => "release",
            Self::Fail(Severity::Reduced) => "hold",
            Self::Fail(Severity::Broken) => "veto",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

impl Layer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Guard => "guard",
            Self::Chart => "chart",
            Self::Treatment => "treatment",
            Self::Vault => "vault",
            Self::Keys => "keys",
            Self::Ledger => "ledger",
            Self::Recovery => "recovery",
            Self::Wards => "wards",
            Self::Account => "account",
            Self::Host => "host",
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Self::Edge => "Edge: who and what connects",
            Self::Guard => "Guard: who may, and is it normal",
            Self::Chart => "Chart: what is found",
            Self::Treatment => "Treatment: who signs",
            Self::Vault => "Vault: what is kept, and where",
            Self::Keys => "Keys: who opens",
            Self::Ledger => "Ledger: who has seen the log",
            Self::Recovery => "Recovery: back from nothing",
            Self::Wards => "Wards: when nothing runs",
            Self::Account => "Account: who else has it",
            Self::Host => "Host: this gateway’s machine",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many there are of each, the worst first.
struct Total {
    grade: Grade,
    count: usize,
}

impl Posture {
    fn totals(&self) -> Vec<Total> {
        let reduced = Grade::Fail(Severity::Reduced);
        let order = [Grade::Fail(Severity::Broken), reduced, Grade::Stale, Grade::Unknown, Grade::Pass];
        let count = |grade| self.controls.iter().filter(|control| control.grade == grade).count();
        order.into_iter().map(|grade| Total { grade, count: count(grade) }).filter(|total| total.count > 0).collect()
    }

    /// Each layer that has controls, with them.
    fn layers(&self) -> Vec<(Layer, Vec<&Control>)> {
        let mut layers: Vec<(Layer, Vec<&Control>)> = Vec::new();
        for control in &self.controls {
            match layers.iter_mut().find(|(layer, _)| *layer == control.layer) {
                Some((_, controls)) => controls.push(control),
                None => layers.push((control.layer, vec![control])),
            }
        }
        layers.sort_by_key(|(layer, _)| *layer);
        layers
    }

    fn put_off(&self) -> Vec<(&Control, &PutOff)> {
        self.controls.iter().filter_map(|control| Some((control, control.put_off.as_ref()?))).collect()
    }

    fn clock(&self, at: &Timestamp) -> String {
        moment(*at, self.offset)
    }

    /// The last day on which a finding is put off.
    pub fn last_day(&self, put_off: &PutOff) -> String {
        self.offset.local(put_off.until.plus_ms(-1)).to_string().get(..10).unwrap_or_default().to_owned()
    }

    /// When something was shown: of what was looked at just now, `now`.
    fn proven(&self, proof: &Proof) -> String {
        if proof.at == self.as_of { "now".to_owned() } else { moment(proof.at, self.offset) }
    }
}

impl PutOff {
    /// Who, without her login.
    fn whose(&self) -> String {
        match self.role {
            Role::ItAdministrator => "an IT administrator".to_owned(),
            Role::SecurityOfficer => "a security officer".to_owned(),
            role => format!("somebody as {role}"),
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
