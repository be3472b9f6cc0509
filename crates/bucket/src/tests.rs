//! The location at stores that lie, fail and lack something, and at a real one.

mod fake;
mod hostile;
mod lacking;
mod real;

use std::sync::Arc;
use std::time::Duration;

use kit::{Clock, ManualClock, OsEntropy, SystemClock, Timestamp};
use location::{Location, LocationError, Name, Object, Put, Refusal};
use zeroize::Zeroizing;

use crate::client::{PATIENCE, Patience};
use crate::{BucketConfig, BucketLocation, Credentials, Network};

/// A store of a test answers at once or never.
const SHORT: Patience = Patience {
    connect: Duration::from_secs(1),
    silence: Duration::from_millis(300),
    request: Duration::from_millis(600),
    pause: Duration::from_millis(1),
};

fn credentials(access_key_id: &str, secret: &str) -> Credentials {
    Credentials { access_key_id: access_key_id.into(), secret: Zeroizing::new(secret.into()) }
}

fn config(endpoint: String, bucket: &str) -> BucketConfig {
    BucketConfig {
        id: "bucket-1".into(),
        endpoint,
        region: "us-east-1".into(),
        bucket: bucket.into(),
        prefix: "vault/p".into(),
        credentials: credentials("GATEWAY", "gateway-secret"),
        ca_pem: None,
        allow_http: true,
        retention_days_min: 30,
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn put(location: &dyn Location, text: &str, body: &[u8]) -> Result<Put, LocationError> {
    let puts = location.put_if_absent(&[Object { name: &name(text), parts: &[body] }])?;
    assert_eq!(puts.len(), 1);
    Ok(puts[0])
}

/// The name of the probe that a bucket is refused by.
fn refused_by<T>(result: Result<T, LocationError>) -> &'static str {
    match result {
        Err(error @ LocationError::Refused { reason: Refusal::Probe { probe, .. }, .. }) => {
            println!("  {error}");
            assert!(kit::Explain::guidance(&error).is_some());
            probe
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => "nothing",
    }
}
