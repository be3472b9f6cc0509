//! How a centre stands now: which locations and holders answer, and how many more may be lost.
//!
//! A holder counts where it answered since the start and its files would open again. A disk that is gone is thus said
//! while the holder still answers from memory, and not when the next start needs the custodians.

use std::fmt;
use std::path::PathBuf;

use holder::server_name;
use holder::wire::{Heard, Status};
use keys::{HolderHealth, HolderPublicKey, LocalHolder};
use serde_json::{Value, json};
use vault::{Health, Vault, WitnessHealth};

use crate::buckets::BucketState;
use crate::domains::Domains;
use crate::say::plural;
use crate::site;

/// Of a holder that could not be asked.
const UNREACHABLE: &str = "keys.holder-unreachable";

/// So many requests in a row are more than an answer that came late.
const FAILING_MIN: u64 = 3;

/// What each server's folder shows of its holder: its public keys, or why it can't be used.
pub type Seen = Vec<Result<Vec<HolderPublicKey>, String>>;

/// Reads the servers' disks.
pub fn look(servers: &[PathBuf]) -> Seen {
    servers.iter().map(|server| LocalHolder::look(&site::holder(server)).map_err(|e| e.to_string())).collect()
}

/// One holder that can't be used.
pub struct Unusable {
    pub number: u8,
    pub server: String,
    pub why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: its holder can't be used: {}", self.server, self.why)
    }
}

pub struct Standing {
    pub health: Health,
    pub holders: u8,
    pub holders_needed: u8,
    pub unusable: Vec<Unusable>,
    /// Witnesses needed for a quorum, and each of them; none where the servers are folders.
    pub witnesses: (usize, Vec<WitnessHealth>),
    /// Locations that are buckets.
    pub buckets: Vec<BucketState>,
    /// Nothing where it wasn't counted.
    pub domains: Domains,
    /// What the servers' holders noticed and nobody has seen yet, each once, the oldest first.
    pub alarms: Vec<Heard>,
}

impl Standing {
    /// `at_start`: what was seen when the vault was opened; `now`: what the disks show, where they were looked at.
    pub fn of(vault: &Vault, name: &dyn Fn(usize) -> String, at_start: &Seen, now: Option<&Seen>) -> Self {
        let health = vault.health();
        let (holders_needed, holders) = vault.quorum_of_holders();
        let unusable = vault
            .holder_keys()
            .iter()
            .zip(&health.holders)
            .filter_map(|(key, health)| {
                let place = usize::from(key.number()).saturating_sub(1);
                let why = why_unusable(key, place, health, at_start, now)?;
                Some(Unusable { number: key.number(), server: name(place), why })
            })
            .collect();
        let (buckets, domains, alarms) = (Vec::new(), Domains::default(), Vec::new());
        Self { health, holders, holders_needed, unusable, witnesses: vault.witnesses(), buckets, domains, alarms }
    }

    /// With what the holders say of each other. Who doesn't answer keeps no shards and cosigns nothing, be it that nobody has needed
    /// her yet.
    pub fn hearing(mut self, statuses: &[(u8, Result<Status, String>)]) -> Self {
        for (number, why) in statuses.iter().filter_map(|(number, status)| Some((number, status.as_ref().err()?))) {
            let name = server_name(*number);
            for location in self.health.locations.iter_mut().filter(|location| location.id == name) {
                (location.up, location.last_error) = (false, location.last_error.take().or_else(|| Some(why.clone())));
            }
            let its = |one: &&mut WitnessHealth| one.name.split('.').next() == Some(name.as_str());
            for witness in self.witnesses.1.iter_mut().filter(its) {
                witness.last_error.get_or_insert_with(|| why.clone());
            }
        }
        self.count_up();
        let heard = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|status| &status.alarms);
        for one in heard {
            if !self.alarms.contains(one) {
                self.alarms.push(one.clone());
            }
        }
        self.alarms.sort_by_key(|one| one.alarm.at);
        self
    }

    /// With what is known of buckets. One that lacks something, or doesn't answer, is down before the vault has come upon
    /// it: a shard that can be deleted is none.
    pub fn beside(mut self, buckets: Vec<BucketState>, domains: Domains) -> Self {
        for (bucket, why) in buckets.iter().filter_map(|bucket| Some((bucket, bucket.trouble()?))) {
            let of_it = self.health.locations.iter_mut().filter(|location| location.id == bucket.id);
            of_it.for_each(|location| (location.up, location.last_error) = (false, Some(why.clone())));
        }
        self.count_up();
        Self { buckets, domains, ..self }
    }

    /// Where fewer are up than the vault has come upon.
    fn count_up(&mut self) {
        let up = self.health.locations.iter().filter(|location| location.up).count();
        if up < self.health.up {
            let left = u8::try_from(up.saturating_sub(self.health.shape.k())).unwrap_or(u8::MAX);
            self.health.writable &= up >= self.health.shape.floor();
            (self.health.up, self.health.survives) = (up, self.health.survives.min(left));
        }
    }

    pub fn holders_up(&self) -> u8 {
        self.holders.saturating_sub(u8::try_from(self.unusable.len()).unwrap_or(u8::MAX))
    }

    /// Holders that may be lost until only the custodians open anything.
    pub fn holders_to_lose(&self) -> u8 {
        self.holders_up().saturating_sub(self.holders_needed)
    }

    /// Segments that some location lacks.
    pub fn missing(&self) -> u64 {
        self.health.locations.iter().map(|location| location.missing).sum()
    }

    /// Locations that may be lost and every record is still there: those that lack segments don't count yet.
    pub fn locations_to_lose(&self) -> usize {
        let whole = self.health.locations.iter().filter(|location| location.up && location.missing == 0).count();
        usize::from(self.health.survives).min(whole.saturating_sub(self.health.shape.k()))
    }

    /// Everything is there.
    pub fn is_whole(&self) -> bool {
        self.unusable.is_empty() && self.missing() == 0 && self.health.up == self.health.locations.len()
    }

    /// Witnesses that cosigned the newest head, as far as they were asked.
    pub fn witnesses_up(&self) -> usize {
        self.witnesses.1.iter().filter(|one| one.last_error.is_none() && one.size > 0).count()
    }

    fn witness_lines(&self) -> Vec<String> {
        let (quorum, all) = &self.witnesses;
        if all.is_empty() {
            return Vec::new();
        }
        let up = self.witnesses_up();
        let short = if up < *quorum { "; TOO FEW: a second history could get as many" } else { "" };
        let first = format!("{up} of {} witnesses cosign the log, {quorum} are a quorum{short}", all.len());
        let why = all.iter().filter_map(|one| {
            let why = one.last_error.as_ref()?;
            let word = if one.contradicts { "CONTRADICTS the log" } else { "did not cosign" };
            Some(format!("witness {}: {word}: {why}", one.name))
        });
        std::iter::once(first).chain(why).collect()
    }

    /// In one line.
    pub fn holders_line(&self) -> String {
        let (up, of, need) = (self.holders_up(), self.holders, self.holders_needed);
        if up < need {
            return format!(
                "ONLY {up} of {of} holders answer, {need} open a key: mend them before this process stops; until they are back \
                 it doesn't start again, and where they don't come back custodians open this centre"
            );
        }
        format!("{up} of {of} holders answer; {} more may be lost before custodians are needed", self.holders_to_lose())
    }

    /// What a change of holders or custodians hasn't reached yet.
    pub fn undealt_line(&self) -> Option<String> {
        let undealt = Some(self.health.undealt_patients).filter(|undealt| *undealt > 0)?;
        Some(format!(
            "the keys of at least {undealt} living patients are dealt to holders or custodians that there were before: a change is under \
             way, or was cut short (holdfast custodian list says what to do)"
        ))
    }

    /// One line for locations, one for holders, one for each trouble.
    pub fn lines(&self) -> Vec<String> {
        let Health { up, locations, writable, shape, .. } = &self.health;
        let mut line =
            format!("{up} of {} locations up; {} more may be lost", locations.len(), self.locations_to_lose());
        if !writable {
            line.push_str(&format!("; NOT WRITABLE, {} locations are needed for that", shape.floor()));
        }
        if self.missing() > 0 {
            line.push_str(&format!("; {} segments wait to be healed", self.missing()));
        }
        let down = locations.iter().filter(|location| !location.up).map(|location| {
            let why = location
                .last_error
                .as_deref()
                .unwrap_or("at the start it was missing, older than the centre, or another's");
            format!("{}: its shards can't be used: {why}", location.id)
        });
        let tampered = self.buckets.iter().filter_map(|bucket| {
            let (hidden, overwritten) = bucket.tampered();
            let text = format!(
                "{}: {hidden} objects are HIDDEN by a delete marker, {overwritten} are OVERWRITTEN: somebody has the gateway's \
                 credentials at this store",
                bucket.id
            );
            (hidden + overwritten > 0).then_some(text)
        });
        let lines = [line, self.holders_line()].into_iter().chain(self.undealt_line()).chain(down).chain(tampered);
        let lines = lines.chain(self.unusable.iter().map(ToString::to_string)).chain(self.witness_lines());
        lines.chain(self.alarms_line()).collect()
    }

    fn alarms_line(&self) -> Option<String> {
        let Heard { from, alarm } = self.alarms.last()?;
        Some(format!(
            "{}; the newest from server {from} at {}: {} (on each server: holdfast-holder alarms)",
            plural(self.alarms.len(), "ALARM"),
            alarm.at,
            alarm.text
        ))
    }

    pub fn holders_json(&self) -> Value {
        let unusable: Vec<Value> = self
            .unusable
            .iter()
            .map(|one| json!({ "number": one.number, "server": one.server, "why": one.why }))
            .collect();
        json!({
            "total": self.holders, "up": self.holders_up(), "needed": self.holders_needed,
            "may_be_lost": self.holders_to_lose(), "unusable": unusable, "undealt_patients": self.health.undealt_patients,
        })
    }

    /// The numbers for /metrics.
    pub fn gauge(&self) {
        // Counts of a centre are far below 2^52, where a f64 becomes inexact.
        let numbers = [
            ("holdfast_locations", self.health.locations.len() as f64),
            ("holdfast_locations_up", self.health.up as f64),
            ("holdfast_locations_may_be_lost", self.locations_to_lose() as f64),
            ("holdfast_holders", f64::from(self.holders)),
            ("holdfast_holders_up", f64::from(self.holders_up())),
            ("holdfast_holders_may_be_lost", f64::from(self.holders_to_lose())),
            ("holdfast_receipt_survives", f64::from(self.health.survives)),
            ("holdfast_segments_missing", self.missing() as f64),
            ("holdfast_patients_undealt", self.health.undealt_patients as f64),
            ("holdfast_notes_waiting", self.health.notes_waiting as f64),
            ("holdfast_entries", self.health.entries as f64),
            ("holdfast_witnesses", self.witnesses.1.len() as f64),
            ("holdfast_witnesses_up", self.witnesses_up() as f64),
            ("holdfast_witnesses_contradicting", self.witnesses.1.iter().filter(|one| one.contradicts).count() as f64),
            ("holdfast_alarms", self.alarms.len() as f64),
            ("holdfast_writable", f64::from(u8::from(self.health.writable))),
        ];
        for (name, value) in numbers {
            metrics::gauge!(name).set(value);
        }
        if self.domains.locations > 0 {
            metrics::gauge!("holdfast_domains").set(self.domains.independent as f64);
        }
        for bucket in &self.buckets {
            let (id, (hidden, overwritten)) = (bucket.id.clone(), bucket.tampered());
            let probed = bucket.probed.map_or(0.0, |at| at.0 as f64 / 1_000.0);
            for (name, value) in [
                ("holdfast_bucket_sound", f64::from(u8::from(bucket.passed.is_some() && bucket.trouble().is_none()))),
                ("holdfast_bucket_probed_seconds", probed),
                ("holdfast_bucket_hidden", hidden as f64),
                ("holdfast_bucket_overwritten", overwritten as f64),
            ] {
                metrics::gauge!(name, "bucket" => id.clone()).set(value);
            }
        }
    }
}

fn why_unusable(
    key: &HolderPublicKey,
    place: usize,
    health: &HolderHealth,
    at_start: &Seen,
    now: Option<&Seen>,
) -> Option<String> {
    let shown = |seen: &Seen| seen.iter().flatten().flatten().any(|one| one == key);
    let reason = |seen: &Seen| match seen.get(place) {
        Some(Err(why)) => why.clone(),
        Some(Ok(keys)) if keys.iter().all(|one| one.number() == key.number() && one.epoch() < key.epoch()) => {
            let epochs: Vec<String> = keys.iter().map(|one| one.epoch().to_string()).collect();
            let (own, in_use) = (epochs.join(" and "), key.epoch());
            format!(
                "its disk was set back: its key is of epoch {own}, keys are dealt in epoch {in_use}, and it opens none of them"
            )
        }
        Some(Ok(_)) => "it is another centre's, or was made anew: no key was dealt to it".to_owned(),
        None => "its server is not in the configuration".to_owned(),
    };
    match now {
        Some(now) if !shown(now) => return Some(reason(now)),
        Some(_) if !shown(at_start) => {
            return Some("it is back on its disk, and is asked from the next start on".to_owned());
        }
        None if !shown(at_start) => return Some(reason(at_start)),
        _ => {}
    }
    let last_error = health.last_error.unwrap_or("no reason");
    match health {
        HolderHealth { lies: 1.., .. } => Some(format!("it gave {} wrong shares", health.lies)),
        HolderHealth { failing: FAILING_MIN.., .. } => {
            Some(format!("it opened nothing the last {} times that it was asked ({last_error})", health.failing))
        }
        // It was away when somebody wanted a key, and nobody has wanted one since; now it is there.
        HolderHealth { last_error: Some(UNREACHABLE), .. } if now.is_some() => None,
        HolderHealth { silent: 1.., good: 0, .. } => Some(format!("it doesn't answer ({last_error})")),
        _ => None,
    }
}
