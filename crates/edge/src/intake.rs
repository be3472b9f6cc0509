//! What comes in over HTTP before anybody has looked at it: whose token, and a body within its bounds of size, time and
//! number.
//!
//! A place for a body is taken by token, so that one client that trickles keeps the others neither from reading nor
//! from writing. Who comes while his are taken waits a while, unread: a client that sends fifty at once is served.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies that are being read or worked on at once: each may take 16 MiB, a plan 40 MiB.
const BODIES_MAX: usize = 32;

/// Of these, one token's: the interface of a hospital's system sends some in parallel, a stolen one no more than that.
const BODIES_OF_ONE_MAX: usize = 8;

/// One token's requests that wait for a place; each costs a connection and no more.
const WAITING_OF_ONE_MAX: usize = 256;

/// How long one waits: clients give up after 30 seconds, and should hear why before.
const PLACE_TIME_MAX: Duration = Duration::from_secs(20);

/// A body that trickles in holds a place that others wait for.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// A body past its bound is heard out for a while and thrown away: a client that is cut off while it speaks seldom reads
/// the answer.
const HEARD_FACTOR: usize = 4;

/// The token of `Authorization: Bearer …` (RFC 6750); the scheme's case doesn't matter.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Places for bodies.
#[derive(Clone)]
pub(crate) struct Places(Arc<Shared>);

struct Shared {
    all: Arc<Semaphore>,
    of_one: Mutex<HashMap<u64, OfOne>>,
    /// Keyed, so that nobody can choose a token that shares another's count.
    hasher: RandomState,
}

/// One token's places, and who has one or waits for it.
struct OfOne {
    places: Arc<Semaphore>,
    here: usize,
}

/// One body's place, until it is dropped.
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    _here: Here,
}

/// That somebody is here with a token.
struct Here {
    shared: Arc<Shared>,
    token: u64,
}

impl Default for Places {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(BODIES_MAX));
        Self(Arc::new(Shared { all, of_one: Mutex::default(), hasher: RandomState::new() }))
    }
}

impl Places {
    /// A place for a body of this token's, once there is one; none where too many wait already, or for too long: the
    /// client may try again.
    pub(crate) async fn take(&self, token: &str) -> Option<Place> {
        let (here, own) = self.come(self.0.hasher.hash_one(token))?;
        let wait = async {
            // His own first: one token's crowd waits among itself.
            let own = own.acquire_owned().await.ok()?;
            Some((own, Arc::clone(&self.0.all).acquire_owned().await.ok()?))
        };
        let (own, all) = tokio::time::timeout(PLACE_TIME_MAX, wait).await.ok()??;
        Some(Place { _own: own, _all: all, _here: here })
    }

    fn come(&self, token: u64) -> Option<(Here, Arc<Semaphore>)> {
        let mut of_one = self.0.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || OfOne { places: Arc::new(Semaphore::new(BODIES_OF_ONE_MAX)), here: 0 };
        let one = of_one.entry(token).or_insert_with(new);
        if one.here >= BODIES_OF_ONE_MAX + WAITING_OF_ONE_MAX {
            return None;
        }
        one.here += 1;
        Some((Here { shared: Arc::clone(&self.0), token }, Arc::clone(&one.places)))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut of_one = self.shared.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = of_one.get_mut(&self.token) {
            one.here -= 1;
            if one.here == 0 {
                of_one.remove(&self.token);
            }
        }
    }
}

/// Why a body was not read.
pub(crate) enum Unread {
    TooLong,
    BrokeOff,
    TooSlow,
}

/// The body, within its bounds.
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Vec<u8>, Unread> {
    let collected = tokio::time::timeout(BODY_TIME_MAX, collected(body, bytes_max)).await;
    collected.map_err(|_| Unread::TooSlow)?.map_err(|_| Unread::BrokeOff)?.ok_or(Unread::TooLong)
}

async fn collected(mut body: Body, bytes_max: usize) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut bytes, mut heard) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        heard += data.len();
        if heard > bytes_max {
            bytes = Vec::new();
            if heard > HEARD_FACTOR * bytes_max {
                break;
            }
        } else {
            bytes.extend_from_slice(&data);
        }
    }
    Ok((heard <= bytes_max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_token_takes_its_share_and_the_rest_waits() {
        let places = Places::default();
        let mut of_one = Vec::new();
        for _ in 0..BODIES_OF_ONE_MAX {
            of_one.push(places.take("a").await.unwrap());
        }
        let waiting: Vec<_> = (0..WAITING_OF_ONE_MAX)
            .map(|_| {
                let places = places.clone();
                tokio::spawn(async move { places.take("a").await.map(drop).is_some() })
            })
            .collect();
        while places.0.of_one.lock().unwrap().values().map(|one| one.here).sum::<usize>()
            < BODIES_OF_ONE_MAX + WAITING_OF_ONE_MAX
        {
            tokio::task::yield_now().await;
        }
        assert!(places.take("a").await.is_none(), "the crowd is bounded");
        assert!(places.take("b").await.is_some(), "nobody else waits for it");
        drop(of_one);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        let _all: Vec<Place> = {
            let mut all = Vec::new();
            for number in 0..BODIES_MAX {
                all.push(places.take(&number.to_string()).await.unwrap());
            }
            all
        };
        assert!(places.take("late").await.is_none(), "who waits too long hears so");
        drop(_all);
        assert!(places.0.of_one.lock().unwrap().is_empty());
    }
}
