//! Whether the bucket really is what keeps a shard safe: asked for, and then tried.
//!
//! A setting can be read wrongly, and a store may accept what it doesn't enforce. So beside the two settings an object is
//! created, created again, looked at and deleted, with the gateway's own credentials. One object a day: the locked ones
//! that stay behind are bounded by the retention.

use futures_util::future::join_all;
use http::Method;
use kit::Timestamp;
use location::{LocationError, Put, Refusal};

use crate::client::{Ask, Failure};
use crate::place::{BucketLocation, locked};
use crate::xml::{self, Version};

/// Creations of one name at the same moment: a store that looks first and writes then lets two of them through.
const RACERS: usize = 4;

/// After a refusal a put doesn't ask again for a minute.
const REFUSED_MS: i64 = 60_000;

const DAY_MS: i64 = 86_400_000;

/// By so much a store may round a retention down.
const ROUNDING_MS: i64 = 3_600_000;

/// What a bucket has to have, each by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Versioning,
    ObjectLock,
    ConditionalPut,
    Retention,
    DeleteRefused,
}

impl Probe {
    pub fn name(self) -> &'static str {
        match self {
            Self::Versioning => "versioning",
            Self::ObjectLock => "object-lock",
            Self::ConditionalPut => "conditional-put",
            Self::Retention => "retention",
            Self::DeleteRefused => "delete-refused",
        }
    }

    fn guidance(self) -> &'static str {
        match self {
            Self::Versioning => "enable versioning on the bucket; docs/s3.md has the commands",
            Self::ObjectLock => {
                "give the bucket Object Lock with a default retention in COMPLIANCE mode, long enough; \
                 some stores take that only when a bucket is made: docs/s3.md"
            }
            Self::ConditionalPut => {
                "this store does not honour If-None-Match: take a release that does, or another store"
            }
            Self::Retention => {
                "the default retention does not reach new objects: see what the store says of Object Lock"
            }
            Self::DeleteRefused => {
                "this store deletes what is locked: Object Lock is not enforced there, and the bucket must not be used"
            }
        }
    }
}

/// What was found; every probe passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// When, by our clock.
    pub at: Timestamp,
    /// The bucket's default retention.
    pub retention_days: u32,
    /// The object that was tried with; it stays until its retention is over.
    pub key: String,
    pub version: String,
    pub retained_until: Timestamp,
}

/// What the last probe said.
pub(crate) enum Probed {
    Never,
    Passed,
    Refused(Timestamp, Refusal),
}

/// A probe that didn't pass, or couldn't be made.
enum Found {
    Lacks(Probe, String),
    Failed(&'static str, Failure),
}

fn asking(operation: &'static str) -> impl Fn(Failure) -> Found {
    move |failure| Found::Failed(operation, failure)
}

impl BucketLocation {
    /// Probes the bucket: on a schedule, too, since settings change. Once it is refused, puts are refused until it passes;
    /// a store that doesn't answer leaves everything as it was.
    pub fn probe(&self) -> Result<ProbeReport, LocationError> {
        let at = self.clock.now();
        let done = self.network.wait(self.probes(at)).map_err(|found| match found {
            Found::Lacks(probe, found) => LocationError::Refused {
                location: self.id.clone(),
                reason: Refusal::Probe { probe: probe.name(), found, guidance: probe.guidance() },
            },
            Found::Failed(operation, failure) => self.error(operation, 0, &failure),
        });
        match &done {
            Ok(_) => *locked(&self.probed) = Probed::Passed,
            Err(LocationError::Refused { reason, .. }) => *locked(&self.probed) = Probed::Refused(at, reason.clone()),
            Err(_) => {}
        }
        done
    }

    /// Before a put: a shard in a bucket that can be emptied is none.
    pub(crate) fn needs_probe(&self) -> Result<(), LocationError> {
        match &*locked(&self.probed) {
            Probed::Passed => return Ok(()),
            Probed::Refused(at, reason) if (at.0..at.plus_ms(REFUSED_MS).0).contains(&self.clock.now().0) => {
                return Err(LocationError::Refused { location: self.id.clone(), reason: reason.clone() });
            }
            Probed::Never | Probed::Refused(..) => {}
        }
        self.probe().map(drop)
    }

    async fn probes(&self, now: Timestamp) -> Result<ProbeReport, Found> {
        self.versioning().await?;
        let retention_days = self.object_lock().await?;
        let (year, month, day) = now.civil_date();
        let key = format!("{}/probe/{year:04}-{month:02}-{day:02}", self.prefix);
        self.conditional_put(&key).await?;
        let version = self.newest(&key).await?;
        let retained_until = self.retention(&version, now).await?;
        self.delete_refused(&version).await?;
        Ok(ProbeReport { at: now, retention_days, key, version: version.id, retained_until })
    }

    async fn versioning(&self) -> Result<(), Found> {
        let asking = asking("asking for the bucket's versioning");
        let answer = self.client.ask(&Ask::new(Method::GET, "", &[("versioning", "")])).await.map_err(&asking)?;
        let found = xml::versioning(&answer.body).map_err(|error| asking(error.into()))?;
        found.map_err(|status| Found::Lacks(Probe::Versioning, format!("versioning is {status}, not Enabled")))
    }

    async fn object_lock(&self) -> Result<u32, Found> {
        let asking = asking("asking for the bucket's Object Lock");
        let lacks = |why: String| Err(Found::Lacks(Probe::ObjectLock, why));
        let answer = match self.client.ask(&Ask::new(Method::GET, "", &[("object-lock", "")])).await {
            Ok(answer) => answer,
            Err(Failure::Status { status: 404, code }) if code != "NoSuchBucket" => {
                return lacks("the bucket has no Object Lock".into());
            }
            Err(failure) => return Err(asking(failure)),
        };
        let lock = xml::lock(&answer.body).map_err(|error| asking(error.into()))?;
        match lock.default {
            _ if !lock.enabled => lacks("Object Lock is not enabled".into()),
            None => lacks("there is no default retention".into()),
            Some((mode, _)) if mode != "COMPLIANCE" => {
                lacks(format!("the default retention's mode is {mode}, not COMPLIANCE"))
            }
            Some((_, days)) if days < self.retention_days_min => {
                lacks(format!("the default retention is {days} days, the minimum is {}", self.retention_days_min))
            }
            Some((_, days)) => Ok(days),
        }
    }

    async fn conditional_put(&self, key: &str) -> Result<(), Found> {
        let asking = asking("creating the probe's object");
        let lacks = |why: String| Err(Found::Lacks(Probe::ConditionalPut, why));
        let marks: Vec<String> =
            (0..=RACERS).map(|_| format!("{:032x}", u128::from_be_bytes(self.entropy.id()))).collect();
        let put = async |mark: &String| self.create(key, &[mark.as_bytes()], mark).await;
        let (after, racers) = marks.split_last().ok_or_else(|| asking(Failure::Nonsense("no racers".into())))?;
        let mut created = 0;
        for put in join_all(racers.iter().map(put)).await {
            created += usize::from(put.map_err(&asking)? == Put::Created);
        }
        if created > 1 {
            return lacks(format!(
                "{created} of {RACERS} creations of one name at a time were accepted, not one at most"
            ));
        }
        match put(after).await.map_err(asking)? {
            Put::Exists => Ok(()),
            Put::Created => lacks("a second creation of one name was accepted".into()),
        }
    }

    /// The probe's object as it is now.
    async fn newest(&self, key: &str) -> Result<Version, Found> {
        let asking = asking("listing the probe's versions");
        let query = [("encoding-type", "url"), ("max-keys", "10"), ("prefix", key), ("versions", "")];
        let answer = self.client.ask(&Ask::new(Method::GET, "", &query)).await.map_err(&asking)?;
        let page = xml::versions(&answer.body).map_err(|error| asking(error.into()))?;
        let newest = page.versions.into_iter().find(|one| one.key == key && one.latest && !one.is_marker);
        // Without an id a delete would mean the newest, which is not what is tried.
        let newest = newest.filter(|one| !one.id.is_empty() && one.id != "null");
        newest.ok_or_else(|| Found::Lacks(Probe::Versioning, "an object that was created has no version".into()))
    }

    async fn retention(&self, version: &Version, now: Timestamp) -> Result<Timestamp, Found> {
        let lacks = |why: String| Err(Found::Lacks(Probe::Retention, why));
        let asking = asking("asking for the probe's retention");
        let found = self.retention_of(&self.client, version).await.map_err(asking)?;
        let Some(retention) = found else { return lacks("a new object has no retention".into()) };
        let xml::Retention { mode, until } = retention;
        // By the store's own time: ours may be wrong, and it is the store that lets go.
        let needed = version.modified.plus_ms(i64::from(self.retention_days_min) * DAY_MS - ROUNDING_MS);
        if mode != "COMPLIANCE" {
            return lacks(format!("a new object's mode is {mode}, not COMPLIANCE"));
        }
        if until < needed || until <= now {
            let days = self.retention_days_min;
            return lacks(format!("an object of {} is kept until {until}, less than {days} days", version.modified));
        }
        Ok(until)
    }

    async fn delete_refused(&self, version: &Version) -> Result<(), Found> {
        let lacks = |why: &str| Err(Found::Lacks(Probe::DeleteRefused, why.into()));
        let query = [("versionId", version.id.as_str())];
        match self.client.ask(&Ask::new(Method::DELETE, &version.key, &query)).await {
            Ok(_) => return lacks("the store deleted a locked object for the gateway"),
            // Stores differ in how they say no. That the object still stands is what counts.
            Err(Failure::Status { status: 400 | 401 | 403 | 405 | 409 | 423, .. }) => {}
            Err(failure) => return Err(Found::Failed("trying to delete the probe's object", failure)),
        }
        match self.read(&version.key, Some(&version.id), Some(0..1)).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => lacks("the store refused to delete a locked object, and it is gone"),
            Err(failure) => Err(Found::Failed("reading the probe's object again", failure)),
        }
    }
}
