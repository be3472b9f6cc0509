//! What comes in over HTTP before anybody has looked at it: whose token, and a body within its bounds of size, time and
//! number.
//!
//! A place for a body is taken by token, so that one client that trickles keeps the others neither from reading nor
//! from writing.

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
    of_one: Mutex<HashMap<u64, usize>>,
    /// Keyed, so that nobody can choose a token that shares another's count.
    hasher: RandomState,
}

/// One body's place, until it is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    token: u64,
    _all: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(BODIES_MAX));
        Self(Arc::new(Shared { all, of_one: Mutex::default(), hasher: RandomState::new() }))
    }
}

impl Places {
    /// A place for a body of this token's; none where it has its share, or all are taken: the client may try again.
    pub(crate) fn take(&self, token: &str) -> Option<Place> {
        let all = Arc::clone(&self.0.all).try_acquire_owned().ok()?;
        let token = self.0.hasher.hash_one(token);
        let mut of_one = self.0.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = of_one.entry(token).or_default();
        if *taken >= BODIES_OF_ONE_MAX {
            return None;
        }
        *taken += 1;
        Some(Place { shared: Arc::clone(&self.0), token, _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_one = self.shared.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = of_one.get_mut(&self.token) {
            *taken -= 1;
            if *taken == 0 {
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

    #[test]
    fn one_token_takes_its_share_and_no_more() {
        let places = Places::default();
        let of_one: Vec<Place> = std::iter::from_fn(|| places.take("a")).collect();
        assert_eq!(of_one.len(), BODIES_OF_ONE_MAX);
        let others: Vec<Place> = (0..100).filter_map(|n| places.take(&n.to_string())).collect();
        assert_eq!(others.len(), BODIES_MAX - BODIES_OF_ONE_MAX);
        drop(of_one);
        assert!(places.take("a").is_some());
        drop(others);
        assert!(places.0.of_one.lock().unwrap().is_empty());
    }
}
