//! Keeping what is kept: every version's retention is extended before it ends, by somebody who is not the gateway.
//!
//! Whoever may extend may not be whoever writes: then a thief of the gateway's credentials can neither let objects run out
//! by stopping the renewal unseen nor lock what he writes for ever. Compliance mode takes nothing back, a wrong date least
//! of all, so the new date has a bound.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::Method;
use kit::{Clock, Entropy, Timestamp};
use location::{LocationError, Network, Refusal};

use crate::client::{Ask, Client, Failure};
use crate::config::{BucketConfig, Credentials, check_credentials};
use crate::key;
use crate::place::BucketLocation;
use crate::xml::{self, PAGE_LINES_MAX, Retention, Version};

/// Nobody can shorten it: ten years, and a leap day or two, at a time.
pub const RENEW_DAYS_MAX: i64 = 3_660;

const DAY_MS: i64 = 86_400_000;

/// Versions that are looked at and extended at once.
const AT_ONCE: usize = 8;

/// Then something is wrong with the store or the credentials, and going on would only say so more often.
const FAILURES_MAX: u64 = 1_000;

/// Failures that the report names.
const NAMED_MAX: usize = 20;

/// What a renewal did. Everything is well where nothing failed and it did not stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenewReport {
    /// Kept longer now, and looked at again.
    pub extended: u64,
    /// Kept long enough already.
    pub skipped: u64,
    pub failed: u64,
    /// The first of those that failed.
    pub failures: Vec<RenewFailure>,
    /// Objects that a delete mark hides: whoever set them wanted them gone. They are renewed with the others.
    pub hidden: u64,
    /// Objects that have been written over, against the rules: their first version counts.
    pub overwritten: u64,
    /// Versions under the prefix whose key is no name of ours; left as they are.
    pub strangers: u64,
    /// It gave up after 1000 failures; what came later was not looked at.
    pub stopped: bool,
}

/// One version that could not be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewFailure {
    pub key: String,
    pub version: String,
    pub why: String,
}

/// What stands under the prefix, by its versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub objects: u64,
    /// Objects that a delete mark hides.
    pub hidden: u64,
    /// Objects that have been written over.
    pub overwritten: u64,
    /// Versions whose key is no name of ours.
    pub strangers: u64,
}

/// Counts versions as they pass by, those of one key together.
struct Counter {
    prefix: String,
    census: Census,
    /// Of the object whose versions are passing by.
    last: (String, u64),
}

impl Counter {
    fn new(prefix: String) -> Self {
        Self { prefix, census: Census::default(), last: (String::new(), 0) }
    }

    /// True where it is a version of an object of ours.
    fn counts(&mut self, version: &Version) -> bool {
        let Self { prefix, census, last } = self;
        if version.key.strip_prefix(prefix.as_str()).and_then(key::decode).is_none() {
            census.strangers += 1;
            return false;
        }
        if version.is_marker {
            census.hidden += u64::from(version.latest);
            return false;
        }
        last.1 = if last.0 == version.key { last.1 + 1 } else { 1 };
        census.objects += u64::from(last.1 == 1);
        census.overwritten += u64::from(last.1 == 2);
        last.0.clone_from(&version.key);
        true
    }
}

enum Renewed {
    Extended,
    Skipped,
}

/// As [`BucketLocation::renew`], for a machine that has the renewer's credentials alone: `config` has those, and
/// `gateway` is the access key id of whoever writes.
pub fn renew(
    config: &BucketConfig,
    gateway: &str,
    until: Timestamp,
    network: Network,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<RenewReport, LocationError> {
    let location = BucketLocation::unprobed(config, network, clock, entropy)?;
    location.renew_as(&location.client, gateway, until)
}

impl BucketLocation {
    /// Extends the retention of every version of every object to `until`, asked by `other`; nothing is ever shortened. Probes'
    /// objects run out. Costs one request per version, and two more where it is extended.
    pub fn renew(&self, other: &Credentials, until: Timestamp) -> Result<RenewReport, LocationError> {
        let wrong = |field, why: String| LocationError::Refused {
            location: self.id.clone(),
            reason: Refusal::Configuration { field, why },
        };
        check_credentials(other).map_err(|(field, why)| wrong(field, why.into()))?;
        self.renew_as(&self.client.asked_by(other), self.client.access_key_id(), until)
    }

    fn renew_as(&self, client: &Client, gateway: &str, until: Timestamp) -> Result<RenewReport, LocationError> {
        let wrong = |field, why: String| LocationError::Refused {
            location: self.id.clone(),
            reason: Refusal::Configuration { field, why },
        };
        if client.access_key_id() == gateway {
            let why = "is the gateway's own: who renews may not be who writes".to_owned();
            return Err(wrong("access_key_id", why));
        }
        // The store keeps seconds.
        let until = Timestamp(until.0.div_euclid(1_000) * 1_000);
        let now = self.clock.now();
        let max = now.plus_ms(RENEW_DAYS_MAX * DAY_MS);
        if until <= now || until > max {
            return Err(wrong("until", format!("{until} is not after {now} and up to {max}")));
        }
        self.network.wait(self.renew_all(client, until)).map_err(|failure| self.error("renewing", 0, &failure))
    }

    /// Counts what stands there, and what somebody hid or wrote over, with the gateway's own credentials. One request for
    /// each 1000 versions.
    pub fn census(&self) -> Result<Census, LocationError> {
        let mut counter = Counter::new(self.objects());
        let mut walk = Walk::new(self.objects());
        loop {
            let page = self.network.wait(walk.page(&self.client));
            match page.map_err(|failure| self.error("listing versions", 0, &failure))? {
                Some(page) => {
                    for version in &page {
                        counter.counts(version);
                    }
                }
                None => return Ok(counter.census),
            }
        }
    }

    async fn renew_all(&self, client: &Client, until: Timestamp) -> Result<RenewReport, Failure> {
        let mut report = RenewReport::default();
        let (mut walk, mut counter) = (Walk::new(self.objects()), Counter::new(self.objects()));
        while let Some(mut page) = walk.page(client).await? {
            page.retain(|version| counter.counts(version));
            let Census { hidden, overwritten, strangers, .. } = counter.census;
            (report.hidden, report.overwritten, report.strangers) = (hidden, overwritten, strangers);
            let work = page.into_iter().map(|version| async move {
                let renewed = self.renew_one(client, &version, until).await;
                (version, renewed)
            });
            let mut done = stream::iter(work).buffer_unordered(AT_ONCE);
            while let Some((version, renewed)) = done.next().await {
                match renewed {
                    Ok(Renewed::Extended) => report.extended += 1,
                    Ok(Renewed::Skipped) => report.skipped += 1,
                    Err(failure) => {
                        report.failed += 1;
                        if report.failures.len() < NAMED_MAX {
                            let Version { key, id, .. } = version;
                            report.failures.push(RenewFailure { key, version: id, why: failure.to_string() });
                        }
                    }
                }
                if report.failed >= FAILURES_MAX {
                    report.stopped = true;
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    async fn renew_one(&self, client: &Client, version: &Version, until: Timestamp) -> Result<Renewed, Failure> {
        let keeps = |found: &Option<Retention>| {
            found.as_ref().is_some_and(|found| found.mode == "COMPLIANCE" && found.until >= until)
        };
        let before = self.retention_of(client, version).await?;
        if keeps(&before) {
            return Ok(Renewed::Skipped);
        }
        // In governance mode a date may be later than ours: the mode is what is mended then.
        let until_at_least = before.map_or(until, |before| before.until.max(until));
        let query = [("retention", ""), ("versionId", version.id.as_str())];
        let mut ask = Ask::new(Method::PUT, &version.key, &query);
        ask.body = xml::retention_request(until_at_least).into();
        client.ask(&ask).await?;
        // A store may say yes and do nothing.
        if keeps(&self.retention_of(client, version).await?) {
            Ok(Renewed::Extended)
        } else {
            Err(Failure::Nonsense(format!("the store accepted the retention until {until}, and does not have it")))
        }
    }

    /// How long one version is kept; `None` where it isn't.
    pub(crate) async fn retention_of(&self, client: &Client, version: &Version) -> Result<Option<Retention>, Failure> {
        let query = [("retention", ""), ("versionId", version.id.as_str())];
        match client.ask(&Ask::new(Method::GET, &version.key, &query)).await {
            Ok(answer) => Ok(Some(xml::retention(&answer.body)?)),
            Err(Failure::Status { status: 404 | 400, code })
                if matches!(
                    code.as_str(),
                    "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError"
                ) =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// All versions under a prefix, page by page.
pub(crate) struct Walk {
    prefix: String,
    /// `None` at the end.
    next: Option<(String, String)>,
}

impl Walk {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix, next: Some((String::new(), String::new())) }
    }

    /// Begins behind all versions of `key`.
    pub(crate) fn after(prefix: String, key: String) -> Self {
        Self { prefix, next: Some((key, String::new())) }
    }

    /// The next page; `None` after the last one.
    pub(crate) async fn page(&mut self, client: &Client) -> Result<Option<Vec<Version>>, Failure> {
        let Some((key, id)) = self.next.take() else { return Ok(None) };
        let lines = PAGE_LINES_MAX.to_string();
        let mut query =
            vec![("encoding-type", "url"), ("max-keys", &lines), ("prefix", &self.prefix), ("versions", "")];
        if !key.is_empty() {
            query.push(("key-marker", &key));
        }
        if !id.is_empty() {
            query.push(("version-id-marker", &id));
        }
        let answer = client.ask(&Ask::new(Method::GET, "", &query)).await?;
        let page = xml::versions(&answer.body)?;
        // A store that goes round in circles would keep us here for ever.
        let goes_on = page.next.as_ref().is_none_or(|next| next.0 > key || (next.0 == key && next.1 != id));
        let in_order = page.versions.is_sorted_by(|a, b| a.key <= b.key);
        let inside = page.versions.iter().all(|one| one.key >= key && one.key.starts_with(&self.prefix));
        if !(goes_on && in_order && inside) || (page.versions.is_empty() && page.next.is_some()) {
            return Err(Failure::Nonsense("a listing of versions that goes in circles".into()));
        }
        self.next = page.next;
        Ok(Some(page.versions))
    }
}
