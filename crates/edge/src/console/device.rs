//! Which computer a session is on.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use guard::Device;
use kit::Digest;
use sha2::{Digest as _, Sha256};

use crate::http::From;

/// By its address, and by what its browser says of itself. Behind a reverse proxy all have the proxy's address, and the browser's word is
/// all there is.
pub(super) fn of(extensions: &Extensions, headers: &HeaderMap) -> Device {
    let mut hash = Sha256::new_with_prefix(b"holdfast device v1\0");
    if let Some(From(address)) = extensions.get() {
        hash.update(address.to_canonical().to_string());
    }
    hash.update(b"\0");
    hash.update(headers.get(header::USER_AGENT).map(|agent| agent.as_bytes()).unwrap_or_default());
    Device(Digest(hash.finalize().into()))
}

/// The one that asks.
pub(super) struct Here(pub(super) Device);

impl<S: Send + Sync> FromRequestParts<S> for Here {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(of(&parts.extensions, &parts.headers)))
    }
}
