//! The bucket as a location: what is put, read, listed and counted.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use kit::{Clock, Entropy, Timestamp};
use location::{
    Listed, Location, LocationError, Name, Network, OBJECT_BYTES_MAX, Object, Put, Refusal, Stats, check_batch,
};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, PutMode, PutOptions, PutPayload, RetryConfig};

use crate::client::{self, ATTEMPTS, Ask, Client, Failure, Opened, PATIENCE, Patience};
use crate::config::BucketConfig;
use crate::key;
use crate::probe::{ProbeReport, Probed};
use crate::xml::{self, PAGE_LINES_MAX};

/// Objects of one call that are on their way at once. One takes two or three round trips' time whatever its size.
const PUTS_AT_ONCE: usize = 8;

/// Objects under our prefix that aren't ours: somebody else writes there, and a listing would never end.
const STRANGERS_MAX: usize = 10_000;

/// A count is made anew after a day: others may write into the same bucket.
const COUNT_MS_MAX: i64 = 24 * 3_600 * 1_000;

/// Tells our own object from another one's of the same name, where an answer was lost.
const MARK: &str = "holdfast-put";
const MARK_HEADER: &str = "x-amz-meta-holdfast-put";

/// A location in a bucket.
pub struct BucketLocation {
    pub(crate) id: String,
    pub(crate) network: Network,
    pub(crate) client: Client,
    store: AmazonS3,
    pub(crate) prefix: String,
    pub(crate) retention_days_min: u32,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) probed: Mutex<Probed>,
    count: Mutex<Count>,
    /// Held by whoever counts, so that only one does.
    counting: Mutex<()>,
}

/// How much is known of how much stands there.
enum Count {
    Unknown,
    /// Listed up to the name.
    Going(Stats, Option<Name>),
    /// Listed to the end, at that time.
    Known(Stats, Timestamp),
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BucketLocation {
    /// The bucket, probed. For a gateway that has to start while a store is away there is [`Self::unprobed`].
    pub fn open(
        config: &BucketConfig,
        network: Network,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Self, ProbeReport), LocationError> {
        let location = Self::unprobed(config, network, clock, entropy)?;
        let report = location.probe()?;
        Ok((location, report))
    }

    /// The bucket, with nothing asked yet. It reads; the first put probes.
    pub fn unprobed(
        config: &BucketConfig,
        network: Network,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LocationError> {
        Self::patient(config, network, clock, entropy, PATIENCE)
    }

    pub(crate) fn patient(
        config: &BucketConfig,
        network: Network,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        patience: Patience,
    ) -> Result<Self, LocationError> {
        let place = config.check()?;
        let wrong = |field, why: String| LocationError::Refused {
            location: config.id.clone(),
            reason: Refusal::Configuration { field, why },
        };
        let door = client::door(config.ca_pem.as_deref(), config.allow_http, patience);
        let door = door.map_err(|error| wrong("ca_pem", format!("makes no client: {error}")))?;
        let client = Client::new(door.clone(), &place.bucket_url, &config.region, &config.credentials, patience.pause);
        let store = AmazonS3Builder::new()
            .with_endpoint(place.endpoint)
            .with_allow_http(config.allow_http)
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            .with_access_key_id(&config.credentials.access_key_id)
            .with_secret_access_key(config.credentials.secret.as_str())
            .with_checksum_algorithm(Checksum::SHA256)
            // Whoever asks again has to know what became of the first time: that is decided here.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(Opened(door))
            .build()
            .map_err(|error| wrong("endpoint", format!("makes no client: {error}")))?;
        Ok(Self {
            id: config.id.clone(),
            network,
            client,
            store,
            prefix: config.prefix.clone(),
            retention_days_min: config.retention_days_min,
            clock,
            entropy,
            probed: Mutex::new(Probed::Never),
            count: Mutex::new(Count::Unknown),
            counting: Mutex::new(()),
        })
    }

    /// What all objects' keys begin with; probes stand beside it.
    pub(crate) fn objects(&self) -> String {
        format!("{}/o/", self.prefix)
    }

    pub(crate) fn key(&self, name: &Name) -> String {
        self.objects() + &key::encode(name)
    }

    /// What a failure means for the caller; `bytes`: how much was to be put.
    pub(crate) fn error(&self, operation: &'static str, bytes: u64, failure: &Failure) -> LocationError {
        let location = self.id.clone();
        match failure {
            Failure::Status { status: 507, .. } => LocationError::Full { location, bytes },
            Failure::Status { code, .. }
                if matches!(code.as_str(), "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull") =>
            {
                LocationError::Full { location, bytes }
            }
            Failure::Status { status: 401 | 403, .. } => {
                let code = format!("{failure}, {operation}");
                LocationError::Refused { location, reason: Refusal::Denied { code } }
            }
            Failure::Status { code, .. } if code == "NoSuchBucket" => {
                LocationError::Gone { location, reason: "the bucket is not there".into() }
            }
            failure if failure.passes() => LocationError::Gone { location, reason: failure.to_string() },
            failure => LocationError::Io { location, operation, source: io::Error::other(failure.clone()) },
        }
    }

    pub(crate) fn nonsense(&self, operation: &'static str, why: String) -> LocationError {
        self.error(operation, 0, &Failure::Nonsense(why))
    }

    /// Creates one object, or finds the name taken. `mark` is this put's own.
    pub(crate) async fn create(&self, key: &str, parts: &[&[u8]], mark: &str) -> Result<Put, Failure> {
        let path = Path::from(key);
        let payload: PutPayload =
            parts.iter().filter(|part| !part.is_empty()).map(|part| Bytes::copy_from_slice(part)).collect();
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(MARK.into()), mark.to_owned().into());
        // Whether an earlier attempt may have done it, or may still do it.
        let mut unclear = false;
        let mut attempt = 0;
        loop {
            let options = PutOptions { mode: PutMode::Create, attributes: attributes.clone(), ..PutOptions::default() };
            let failure = match self.store.put_opts(&path, payload.clone(), options).await {
                Ok(_) => return Ok(Put::Created),
                Err(error) => Failure::of(&error),
            };
            match failure.status() {
                Some(304 | 412) if !unclear => return Ok(Put::Exists),
                Some(304 | 412) => {
                    if let Some(put) = self.whose(key, mark).await? {
                        return Ok(put);
                    }
                }
                // Somebody else is creating it just now, and may fail.
                Some(409) => {}
                _ if failure.passes() || failure.is_unclear() => unclear |= failure.is_unclear(),
                _ => return Err(failure),
            }
            attempt += 1;
            if attempt == ATTEMPTS {
                return if unclear { self.whose(key, mark).await?.ok_or(failure) } else { Err(failure) };
            }
            self.client.pause(attempt - 1).await;
        }
    }

    /// Who put what stands there: we, or somebody else; `None` where nothing does.
    async fn whose(&self, key: &str, mark: &str) -> Result<Option<Put>, Failure> {
        let found = self.head(key).await?;
        Ok(found.map(|answer| if answer.header(MARK_HEADER) == Some(mark) { Put::Created } else { Put::Exists }))
    }

    /// What the store says about an object without its body.
    async fn head(&self, key: &str) -> Result<Option<client::Answer>, Failure> {
        match self.client.ask(&Ask::new(Method::HEAD, key, &[])).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Status { status: 404, .. }) => {
                // A 404 without a body doesn't say whether the object or the whole bucket is missing; a listing does.
                let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", key)];
                self.client.ask(&Ask::new(Method::GET, "", &query)).await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// A part of an object, or of one `version` of it; `None` where there is none.
    pub(crate) async fn read(
        &self,
        key: &str,
        version: Option<&str>,
        range: Option<Range<u64>>,
    ) -> Result<Option<Bytes>, Failure> {
        const MAX: u64 = OBJECT_BYTES_MAX as u64;
        let range = range.map(|range| range.start.min(MAX)..range.end.min(MAX));
        let query: &[(&str, &str)] = match &version {
            Some(version) => &[("versionId", version)],
            None => &[],
        };
        let mut ask = Ask::new(Method::GET, key, query);
        if let Some(range) = &range {
            // HTTP has no empty range: the first byte is asked for, to see whether the object is there.
            ask.range = Some(if range.start < range.end { (range.start, range.end - 1) } else { (0, 0) });
        }
        let answer = match self.client.ask(&ask).await {
            Ok(answer) => answer,
            // Behind the end of an object, which therefore is there.
            Err(Failure::Status { status: 416, .. }) if range.is_some() => return Ok(Some(Bytes::new())),
            Err(Failure::Status { status: 404, code }) if matches!(code.as_str(), "NoSuchKey" | "NoSuchVersion") => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let Some(range) = range else { return Ok(Some(answer.body)) };
        if range.start >= range.end {
            return Ok(Some(Bytes::new()));
        }
        let len = answer.body.len() as u64;
        if answer.status == 206 {
            // Another part than the one that was asked for would be taken for it.
            let said = answer.header("content-range").and_then(part);
            let fits = said.is_some_and(|(first, last, whole)| {
                let end = range.end.min(whole);
                first == range.start && last < whole && end - first == len && last - first + 1 == len
            });
            let wrong = || Failure::Nonsense(format!("{len} bytes, not the part {}..{}", range.start, range.end));
            return if fits { Ok(Some(answer.body)) } else { Err(wrong()) };
        }
        // The whole of it: a store may pass over a range.
        let at = |n: u64| usize::try_from(n.min(len)).unwrap_or(usize::MAX);
        Ok(Some(answer.body.slice(at(range.start)..at(range.end))))
    }

    /// Something was created: the count goes up, where the count has passed it.
    fn created(&self, name: &Name, len: u64) {
        match &mut *locked(&self.count) {
            Count::Going(stats, Some(passed)) if name <= passed => add(stats, len),
            Count::Known(stats, _) => add(stats, len),
            Count::Unknown | Count::Going(..) => {}
        }
    }
}

fn add(stats: &mut Stats, len: u64) {
    stats.objects = stats.objects.saturating_add(1);
    stats.bytes = stats.bytes.saturating_add(len);
}

/// First, last and length of `bytes FIRST-LAST/LENGTH`, where last is not before first.
fn part(text: &str) -> Option<(u64, u64, u64)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, whole) = (first.parse().ok()?, last.parse().ok()?, whole.parse().ok()?);
    (first <= last && last < whole).then_some((first, last, whole))
}

impl Location for BucketLocation {
    fn id(&self) -> &str {
        &self.id
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        check_batch(objects)?;
        self.needs_probe()?;
        // On their way together, two of one name would race: only the first goes.
        let mut firsts: BTreeMap<&Name, usize> = BTreeMap::new();
        for (at, object) in objects.iter().enumerate() {
            firsts.entry(object.name).or_insert(at);
        }
        let batch: String = self.entropy.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let puts = objects.iter().enumerate().map(|(at, object)| {
            let is_first = firsts.get(object.name) == Some(&at);
            let mark = format!("{batch}-{at}");
            async move {
                if !is_first {
                    return Ok(Put::Exists);
                }
                let put = self.create(&self.key(object.name), object.parts, &mark).await;
                let put = put.map_err(|failure| self.error("putting", object.len() as u64, &failure))?;
                if put == Put::Created {
                    self.created(object.name, object.len() as u64);
                }
                Ok(put)
            }
        });
        self.network.wait(stream::iter(puts).buffered(PUTS_AT_ONCE).try_collect())
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        let read = self.network.wait(self.read(&self.key(name), None, range));
        read.map(|body| body.map(Vec::from)).map_err(|failure| self.error("getting", 0, &failure))
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        let prefix = self.objects();
        let mut after = after.map_or_else(|| prefix.clone(), |name| self.key(name));
        let (mut out, mut strangers) = (Vec::new(), 0);
        while out.len() < limit {
            let lines = (limit - out.len()).min(PAGE_LINES_MAX).to_string();
            let query = [
                ("encoding-type", "url"),
                ("list-type", "2"),
                ("max-keys", &lines),
                ("prefix", &prefix),
                ("start-after", &after),
            ];
            let answer = self.network.wait(self.client.ask(&Ask::new(Method::GET, "", &query)));
            let page = answer.and_then(|answer| Ok(xml::keys(&answer.body)?));
            let page = page.map_err(|failure| self.error("listing", 0, &failure))?;
            if page.more && page.keys.is_empty() {
                return Err(self.nonsense("listing", "an empty page, and more to come".into()));
            }
            for (key, len) in page.keys {
                // A store that goes round in circles would keep us here for ever.
                if key <= after {
                    return Err(self.nonsense("listing", "a key that comes after one that it precedes".into()));
                }
                match key.strip_prefix(&prefix).map(key::decode) {
                    Some(Some(name)) => out.push(Listed { name, len }),
                    Some(None) if strangers < STRANGERS_MAX => strangers += 1,
                    Some(None) => {
                        let why = format!("more than {STRANGERS_MAX} objects that are not ours");
                        return Err(self.nonsense("listing", why));
                    }
                    None => return Err(self.nonsense("listing", "a key of another prefix".into())),
                }
                after = key;
            }
            if !page.more {
                break;
            }
        }
        out.truncate(limit);
        Ok(out)
    }

    /// The first time this lists everything: one request for each 1000 objects. Then what is put is added, until the day
    /// is over. What others put meanwhile, and what was on its way while it was counted, may be missing or there twice.
    fn stats(&self) -> Result<Stats, LocationError> {
        let _counting = locked(&self.counting);
        let now = self.clock.now();
        if let Count::Known(stats, at) = &*locked(&self.count)
            && (at.0..at.plus_ms(COUNT_MS_MAX).0).contains(&now.0)
        {
            return Ok(*stats);
        }
        *locked(&self.count) = Count::Going(Stats::default(), None);
        let mut after: Option<Name> = None;
        loop {
            let page = match self.list(after.as_ref(), PAGE_LINES_MAX) {
                Ok(page) => page,
                Err(error) => {
                    *locked(&self.count) = Count::Unknown;
                    return Err(error);
                }
            };
            let mut count = locked(&self.count);
            let Count::Going(stats, passed) = &mut *count else { continue };
            page.iter().for_each(|one| add(stats, one.len));
            if page.len() < PAGE_LINES_MAX {
                let stats = *stats;
                *count = Count::Known(stats, now);
                return Ok(stats);
            }
            after = page.last().map(|one| one.name.clone());
            passed.clone_from(&after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_strictly() {
        assert_eq!(part("bytes 2-4/5"), Some((2, 4, 5)));
        for wrong in [
            "",
            "bytes",
            "bytes */5",
            "bytes 4-2/5",
            "bytes 2-5/5",
            "bytes 0-18446744073709551615/1",
            "bytes 0-99999999999999999999/1",
        ] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }
}
