//! Signed requests to one bucket: bounded in size, time and number, whatever the store answers.
//!
//! Everything passes [`Door`], also what `object_store` sends by itself. It reads each answer whole within a bound and
//! turns every status but 2xx into a typed error, for two reasons: `object_store` takes 409 for "exists", where it says
//! that somebody is writing just now; and it hides the status of most errors in a text.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use location::OBJECT_BYTES_MAX;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::config::Credentials;
use crate::xml::{self, XmlError};

/// An object, or a page of a listing: 1000 versions take some 600 KiB.
const ANSWER_BYTES_MAX: usize = OBJECT_BYTES_MAX;

/// What a store says about an error.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    /// Nothing comes for so long.
    pub(crate) silence: Duration,
    /// One request with its answer.
    pub(crate) request: Duration,
    /// Before the second attempt; before the third, four times that.
    pub(crate) pause: Duration,
}

/// 30 seconds are 4 MiB over a line of 2 Mbit/s, with as much again for the store.
pub(crate) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(15),
    request: Duration::from_secs(30),
    pause: Duration::from_millis(200),
};

/// Requests of one process to one bucket at a time; others queue here, with their bodies.
const REQUESTS_MAX: usize = 32;

/// How often one thing is asked for before the store counts as gone.
pub(crate) const ATTEMPTS: u32 = 3;

const IDLE_MAX: Duration = Duration::from_secs(20);

/// What stands for itself in a query: RFC 3986, section 2.3.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answered, and not with 2xx.
    Status { status: u16, code: String },
    /// No answer, or not in time. Where the request was `sent`, whether it did what was asked isn't known.
    Unreachable { why: String, sent: bool },
    /// An answer that is none of a store's.
    Nonsense(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, code } if code.is_empty() => write!(f, "status {status}"),
            Self::Status { status, code } => write!(f, "status {status} {code}"),
            Self::Unreachable { why, .. } | Self::Nonsense(why) => f.write_str(why),
        }
    }
}

impl Error for Failure {}

impl Failure {
    pub(crate) fn status(&self) -> Option<u16> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    /// Whether asking again may help.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=504),
            Self::Unreachable { .. } => true,
            Self::Nonsense(_) => false,
        }
    }

    /// Whether it may have done what was asked nevertheless, or may still do it.
    pub(crate) fn is_unclear(&self) -> bool {
        match self {
            Self::Status { .. } => self.passes(),
            Self::Unreachable { sent, .. } => *sent,
            Self::Nonsense(_) => true,
        }
    }

    /// What lies behind an error of the client's, however it is wrapped.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let (mut next, mut innermost, mut kind) = (Some(error), error, HttpErrorKind::Decode);
        while let Some(error) = next {
            if let Some(failure) = error.downcast_ref::<Self>() {
                return failure.clone();
            }
            if let Some(http) = error.downcast_ref::<HttpError>() {
                kind = http.kind();
            }
            innermost = error;
            next = error.source();
        }
        let why = innermost.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        match kind {
            HttpErrorKind::Decode => Self::Nonsense(why),
            kind => Self::Unreachable { why, sent: kind != HttpErrorKind::Connect },
        }
    }
}

impl From<XmlError> for Failure {
    fn from(error: XmlError) -> Self {
        Self::Nonsense(error.to_string())
    }
}

/// What every request and every answer pass.
#[derive(Debug)]
struct Door {
    http: reqwest::Client,
    slots: Semaphore,
}

#[async_trait]
impl HttpService for Door {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let has_body = request.method() != Method::HEAD;
        let _slot = self.slots.acquire().await.map_err(|closed| HttpError::new(HttpErrorKind::Unknown, closed))?;
        let answer = HttpService::call(&self.http, request).await?;
        let (parts, body) = answer.into_parts();
        let nonsense = |why: String| HttpError::new(HttpErrorKind::Decode, Failure::Nonsense(why));
        let max = if parts.status.is_success() { ANSWER_BYTES_MAX } else { ERROR_BYTES_MAX };
        let read = Limited::new(body, max).collect().await;
        let too_long = || nonsense(format!("an answer of more than {max} bytes"));
        let body = match read {
            Ok(read) => read.to_bytes(),
            // The status says enough.
            Err(_) if !parts.status.is_success() => Bytes::new(),
            Err(error) => return Err(error.downcast::<HttpError>().map_or_else(|_| too_long(), |error| *error)),
        };
        if parts.status.is_success() {
            // The client below makes room for as much as the header says, before it has read anything.
            let said = parts.headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
            if has_body && said.is_some_and(|said| said != body.len() as u64) {
                return Err(nonsense("an answer of another length than its header says".into()));
            }
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        let failure = Failure::Status { status: parts.status.as_u16(), code: xml::error_code(&body) };
        Err(HttpError::new(HttpErrorKind::Decode, failure))
    }
}

/// Gives `object_store` the door that is open already.
#[derive(Debug)]
pub(crate) struct Opened(pub(crate) HttpClient);

impl HttpConnector for Opened {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// The one way to the store.
pub(crate) fn door(ca_pem: Option<&[u8]>, allow_http: bool, patience: Patience) -> Result<HttpClient, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        // A store that sends us elsewhere is misconfigured or lies; and nothing stands between us but the network.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .https_only(!allow_http)
        .http1_only()
        .connect_timeout(patience.connect)
        .read_timeout(patience.silence)
        .timeout(patience.request)
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(REQUESTS_MAX);
    if let Some(pem) = ca_pem {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    let door = Door { http: builder.build()?, slots: Semaphore::new(REQUESTS_MAX) };
    Ok(HttpClient::new(door))
}

/// One request that `object_store` has no call for.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// The object's whole key; the bucket itself where it is empty. Keys are made of what needs no encoding.
    pub(crate) key: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) body: Bytes,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, key: &'a str, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method, key, query, range: None, body: Bytes::new() }
    }
}

/// Status 2xx, and what came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One identity at one bucket.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    bucket_url: Arc<str>,
    region: Arc<str>,
    credential: Arc<AwsCredential>,
    pause: Duration,
}

impl Client {
    pub(crate) fn new(
        http: HttpClient,
        bucket_url: &str,
        region: &str,
        credentials: &Credentials,
        pause: Duration,
    ) -> Self {
        let credential = AwsCredential {
            key_id: credentials.access_key_id.clone(),
            secret_key: credentials.secret.as_str().to_owned(),
            token: None,
        };
        let (bucket_url, region) = (bucket_url.into(), region.into());
        Self { http, bucket_url, region, credential: Arc::new(credential), pause }
    }

    /// The same bucket, asked by somebody else.
    pub(crate) fn asked_by(&self, credentials: &Credentials) -> Self {
        Self::new(self.http.clone(), &self.bucket_url, &self.region, credentials, self.pause)
    }

    pub(crate) fn access_key_id(&self) -> &str {
        &self.credential.key_id
    }

    /// Waits before another attempt.
    pub(crate) async fn pause(&self, attempt: u32) {
        tokio::time::sleep(self.pause * 4_u32.saturating_pow(attempt)).await;
    }

    /// Asks, again where that may help. For what does no harm when it is done twice.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let mut attempt = 0;
        loop {
            match self.ask_once(ask).await {
                Err(failure) if failure.passes() && attempt + 1 < ATTEMPTS => self.pause(attempt).await,
                done => return done,
            }
            attempt += 1;
        }
    }

    pub(crate) async fn ask_once(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let request = self.signed(ask)?;
        let answer = self.http.execute(request).await.map_err(|error| Failure::of(&error))?;
        let (parts, body) = answer.into_parts();
        let body = body.bytes().await.map_err(|error| Failure::of(&error))?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn signed(&self, ask: &Ask<'_>) -> Result<HttpRequest, Failure> {
        let nonsense = |error: &dyn fmt::Display| Failure::Nonsense(format!("no request can be made: {error}"));
        let mut url = self.bucket_url.to_string();
        if !ask.key.is_empty() {
            url.push('/');
            url.push_str(ask.key);
        }
        for (at, (name, value)) in ask.query.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, PLAIN));
        }
        let mut request = http::Request::builder().method(ask.method.clone()).uri(url);
        if let Some((first, last)) = ask.range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        if !ask.body.is_empty() {
            // S3 takes no change of a retention without one.
            let checksum = HeaderValue::try_from(STANDARD.encode(Sha256::digest(&ask.body)));
            let checksum = checksum.map_err(|error| nonsense(&error))?;
            request = request.header(HeaderName::from_static("x-amz-checksum-sha256"), checksum);
        }
        let mut request = request.body(ask.body.clone().into()).map_err(|error| nonsense(&error))?;
        let authorizer = AwsAuthorizer::new(&self.credential, "s3", &self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| nonsense(&error))?;
        Ok(request)
    }
}
