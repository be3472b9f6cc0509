//! The buckets of a centre: probed when it is opened and again on a schedule, and used as long as they are what they have
//! to be.
//!
//! A bucket that lacks something takes nothing and isn't counted; what stands in it is still read, since a reader compares
//! it with the hash that the log key signed. A store that doesn't answer is asked again after some seconds, so that it
//! holds nobody up.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bucket::{BucketLocation, Census, ProbeReport};
use holder::Network;
use kit::limits::SERVERS_MAX;
use kit::{Blame, Clock as _, Fault, OsEntropy, SystemClock, Timestamp};
use vault::location::{Listed, Location, LocationError, Name, Object, Put, Refusal, Stats};

use crate::bucket_files::BucketFile;
use crate::domains::Domain;

/// In the gateway's folder: a file for each bucket.
pub const FOLDER: &str = "buckets";

/// How long a store that did not answer isn't asked: each time costs whoever asks up to 16 seconds.
const SILENCE: Duration = Duration::from_secs(10);
/// How soon a bucket that didn't pass is probed again.
const UNPROBED_AGAIN: Duration = Duration::from_secs(60);
/// Versions are counted once a day: one request for each 1000.
const CENSUS_MS: i64 = 24 * 3_600 * 1_000;

/// How a bucket is, as far as it was looked at.
#[derive(Clone, Debug, Default)]
pub struct BucketState {
    pub id: String,
    /// The last probe that was answered.
    pub probed: Option<Timestamp>,
    /// The last one that passed.
    pub passed: Option<ProbeReport>,
    /// What it lacks; nothing is put there.
    pub refused: Option<Refusal>,
    /// Why it didn't answer when it was asked last.
    pub silent: Option<String>,
    /// What stood there when it was counted last.
    pub census: Option<(Timestamp, Census)>,
}

impl BucketState {
    /// Why a shard there counts for nothing now.
    pub fn trouble(&self) -> Option<String> {
        self.refused.as_ref().map(ToString::to_string).or_else(|| self.silent.clone())
    }

    /// Objects that somebody hid or wrote over.
    pub fn tampered(&self) -> (u64, u64) {
        self.census.map_or((0, 0), |(_, census)| (census.hidden, census.overwritten))
    }
}

#[derive(Default)]
struct Seen {
    state: BucketState,
    /// When it last gave no answer.
    silent_since: Option<Instant>,
}

/// One bucket, as the vault's location.
struct Bucket {
    location: BucketLocation,
    seen: Mutex<Seen>,
}

impl Bucket {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what an answer says of the store.
    fn heard<T>(&self, answer: Result<T, LocationError>) -> Result<T, LocationError> {
        let mut seen = self.seen();
        match &answer {
            Ok(_) => (seen.silent_since, seen.state.silent) = (None, None),
            Err(LocationError::Gone { reason, .. }) => {
                (seen.silent_since, seen.state.silent) = (Some(Instant::now()), Some(reason.clone()));
            }
            // Until a probe passes again: asked for each write, a store that says no would be up and down by turns.
            Err(LocationError::Refused { reason, .. }) => seen.state.refused = Some(reason.clone()),
            Err(_) => {}
        }
        answer
    }

    /// An error where it didn't answer a moment ago.
    fn answers(&self) -> Result<(), LocationError> {
        let seen = self.seen();
        match (&seen.state.silent, seen.silent_since) {
            (Some(reason), Some(since)) if since.elapsed() < SILENCE => {
                Err(LocationError::Gone { location: self.location.id().to_owned(), reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }

    /// An error where it lacks something, too.
    fn counts(&self) -> Result<(), LocationError> {
        if let Some(reason) = self.seen().state.refused.clone() {
            return Err(LocationError::Refused { location: self.location.id().to_owned(), reason });
        }
        self.answers()
    }

    fn probe(&self) -> Result<(), LocationError> {
        let before = self.seen().state.refused.clone();
        let probed = self.heard(self.location.probe());
        let mut seen = self.seen();
        match &probed {
            Ok(report) => {
                if before.is_some() {
                    tracing::info!(location = self.location.id(), "a bucket has what it lacked");
                }
                (seen.state.probed, seen.state.passed) = (Some(report.at), Some(report.clone()));
                seen.state.refused = None;
            }
            Err(error @ LocationError::Refused { reason, .. }) => {
                if before.as_ref() != Some(reason) {
                    tracing::error!(location = self.location.id(), %error, "a bucket is refused");
                }
                seen.state.probed = Some(SystemClock.now());
            }
            // A store that doesn't answer changes nothing.
            Err(error) => tracing::warn!(location = self.location.id(), %error, "a bucket can't be probed"),
        }
        probed.map(drop)
    }

    /// Counts what somebody hid or wrote over.
    fn count(&self) {
        let counted = self.heard(self.location.census());
        let now = SystemClock.now();
        match counted {
            Ok(census) => {
                if census.hidden + census.overwritten > 0 {
                    let (hidden, overwritten) = (census.hidden, census.overwritten);
                    tracing::error!(
                        location = self.location.id(),
                        hidden,
                        overwritten,
                        "objects are hidden or written over: somebody has the gateway's credentials at this store"
                    );
                }
                self.seen().state.census = Some((now, census));
            }
            Err(error) => tracing::warn!(location = self.location.id(), %error, "a bucket's versions can't be counted"),
        }
    }

    /// Probes, and counts where the day is over.
    fn look(&self) {
        if self.probe().is_err() {
            return;
        }
        let counted = self.seen().state.census.map(|(at, _)| at);
        if counted.is_none_or(|at| !(at.0..at.plus_ms(CENSUS_MS).0).contains(&SystemClock.now().0)) {
            self.count();
        }
    }
}

impl Location for Bucket {
    fn id(&self) -> &str {
        self.location.id()
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        self.counts()?;
        let is_probed = self.seen().state.passed.is_some();
        if !is_probed {
            self.probe()?;
        }
        self.heard(self.location.put_if_absent(objects))
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.answers()?;
        self.heard(self.location.get(name, range))
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        self.counts()?;
        self.heard(self.location.list(after, limit))
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        self.counts()?;
        // What is counted is remembered for a day: that it is known says nothing of the store.
        self.location.stats().or_else(|error| self.heard(Err(error)))
    }
}

/// All of a centre's; none where it has none.
#[derive(Default)]
pub struct Buckets {
    all: Arc<[Arc<Bucket>]>,
    domains: Vec<(String, Domain)>,
    /// The schedule's thread ends once this is dropped.
    schedule: Mutex<Option<Sender<()>>>,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "bucket.file", format!("{}: {why}", place.display()))
}

impl Buckets {
    /// Those whose files stand in the gateway's folder, in the order of their names; nothing is asked yet.
    pub fn open(gateway: &Path, network: &Network) -> Result<Self, Fault> {
        Self::open_with(gateway, || Ok(network.clone()))
    }

    /// As [`Self::open`]; a network is made only where there is a bucket.
    pub fn open_with(gateway: &Path, network: impl FnOnce() -> io::Result<Network>) -> Result<Self, Fault> {
        let folder = gateway.join(FOLDER);
        let mut files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            listed => {
                let listed = listed.map_err(|e| failed(&folder, e))?;
                listed
                    .map(|entry| Ok(entry?.path()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e: io::Error| failed(&folder, e))?
            }
        };
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        if files.len() > SERVERS_MAX {
            return Err(failed(&folder, format!("{} files, the maximum is {SERVERS_MAX}", files.len())));
        }
        if files.is_empty() {
            return Ok(Self::default());
        }
        let network = network().map_err(|e| failed(&folder, e))?;
        let (mut all, mut domains) = (Vec::new(), Vec::new());
        for file in files {
            let read = BucketFile::read(&file)?;
            if file.file_stem().is_none_or(|stem| *stem != *read.id()) {
                return Err(failed(&file, format!("it is of {}", read.id())));
            }
            let config = read.config()?;
            let credentials = Some(config.credentials.access_key_id.clone());
            let domain = Domain { is_bucket: true, host: config.host(), administrator: None, credentials };
            domains.push((config.id.clone(), domain));
            let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
            let location = BucketLocation::unprobed(&config, network.clone(), clock, entropy)?;
            let state = BucketState { id: config.id.clone(), ..BucketState::default() };
            all.push(Arc::new(Bucket { location, seen: Mutex::new(Seen { state, ..Seen::default() }) }));
        }
        Ok(Self { all: all.into(), domains, schedule: Mutex::default() })
    }

    pub fn locations(&self) -> impl Iterator<Item = Arc<dyn Location>> {
        self.all.iter().map(|one| Arc::clone(one) as Arc<dyn Location>)
    }

    pub fn states(&self) -> Vec<BucketState> {
        self.all.iter().map(|one| one.seen().state.clone()).collect()
    }

    /// What each could share with other locations.
    pub fn domains(&self) -> &[(String, Domain)] {
        &self.domains
    }

    /// Probes all of them at once; gives those that did not pass, and why.
    pub fn probe(&self) -> Vec<LocationError> {
        let probes: Vec<_> = self
            .all
            .iter()
            .map(|one| {
                let one = Arc::clone(one);
                thread::spawn(move || one.probe())
            })
            .collect();
        probes.into_iter().filter_map(|probe| probe.join().ok()?.err()).collect()
    }

    /// Every bucket has to have everything, this once.
    pub fn require(&self) -> Result<(), Fault> {
        let lacking = self.probe();
        let Some(first) = lacking.first() else { return Ok(()) };
        let guidance = kit::Explain::guidance(first).unwrap_or("look at the store");
        let text = format!("{} of {} buckets can't be used", lacking.len(), self.all.len());
        let message = lacking.iter().fold(text, |text, error| format!("{text}\n  {error}"));
        Err(Fault::new(Blame::Configuration, "bucket.refused", message)
            .guidance(format!("nothing was founded; {guidance}, then repeat")))
    }

    /// Counts at once what somebody hid or wrote over.
    pub fn count(&self) {
        self.all.iter().for_each(|one| one.count());
    }

    /// Looks at all of them now, and again whenever so much time is over, until these buckets are dropped.
    pub fn look_every(&self, period: Duration) {
        let (all, (stop, stopped)) = (Arc::clone(&self.all), mpsc::channel());
        if all.is_empty() {
            return;
        }
        let look = move || {
            // The opening has probed them a moment ago.
            all.iter().filter(|one| one.seen().state.passed.is_some()).for_each(|one| one.count());
            let mut looked = Instant::now();
            while stopped.recv_timeout(period.min(UNPROBED_AGAIN)) == Err(RecvTimeoutError::Timeout) {
                let is_due = looked.elapsed() >= period;
                if is_due {
                    looked = Instant::now();
                }
                let in_trouble = |one: &Bucket| {
                    let seen = one.seen();
                    seen.state.passed.is_none() || seen.state.trouble().is_some()
                };
                all.iter().filter(|one| is_due || in_trouble(one)).for_each(|one| one.look());
            }
        };
        match thread::Builder::new().name("buckets".to_owned()).spawn(look) {
            Ok(_) => *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop),
            Err(error) => tracing::error!(%error, "buckets are not probed again: no thread"),
        }
    }
}
