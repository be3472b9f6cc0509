//! From a request to its answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use chart::fhir::{
    COUNT_DEFAULT, COUNT_MAX, Code, Draft, Issue, Link, Query, Resource, Version, capability_statement, history,
    response_bundle, said_once, searchset,
};
use kit::OperationId;
use kit::limits::FHIR_BODY_BYTES_MAX;
use tokio::sync::Semaphore;

use super::interaction::Interaction;
use super::negotiate::{accepts_json, holds, if_match, matches_nothing, prefer, sends_form, sends_json, unconditional};
use super::reply::{Reply, etag};
use super::{Page, ROOT, Record, Records, Refusal};
use crate::account;
use crate::intake::{self, BODY_TIME_MAX, Place, Places, Unread, bearer};

/// Requests that are worked on at once: each may hold a parsed form of some times 16 MiB.
const REQUESTS_MAX: usize = 32;

/// A search's form is a few hundred bytes.
const FORM_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Service<R> {
    records: Arc<R>,
    /// For bodies, while they come in and are worked on.
    places: Places,
    working: Arc<Semaphore>,
}

impl<R> Service<R> {
    pub(super) fn new(records: Arc<R>, places: Places) -> Self {
        Self { records, places, working: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    /// Who comes without a good token sends no body, and waits for nothing.
    async fn place(&self, headers: &HeaderMap) -> Result<Place, Reply> {
        let text = "too many bodies are on their way, by this token or in all; send it again in a moment";
        self.places
            .take(bearer(headers).unwrap_or_default())
            .await
            .ok_or_else(|| Reply::issues(429, &[Issue::error(Code::Transient, text)]).header(header::RETRY_AFTER, "1"))
    }
}

pub(super) async fn serve<R: Records>(State(service): State<Arc<Service<R>>>, request: Request) -> Response {
    let operation = service.records.operation();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let (name, kind, reply) = match Interaction::of(&parts.method, path) {
        Ok(interaction) => {
            let (name, kind) = interaction.name();
            let reply = answer(&service, interaction, &parts, body, operation).await.unwrap_or_else(|refused| refused);
            (name, kind, reply)
        }
        Err(unknown) => {
            let reply = Reply::issues(unknown.status, &[unknown.issue]);
            ("unknown", "", if unknown.allow.is_empty() { reply } else { reply.header(header::ALLOW, unknown.allow) })
        }
    };
    tracing::info!(%operation, interaction = name, kind, status = reply.status, "fhir");
    reply.into_response(operation)
}

/// Parameters beside a search's own, taken from the address.
struct Asked {
    format: Option<String>,
    count: usize,
    page: Option<String>,
}

impl Asked {
    /// `paged`: does the interaction have pages? What it doesn't know is refused.
    fn of(encoded: &str, paged: bool) -> Result<Self, Issue> {
        let mut asked = Self { format: None, count: COUNT_DEFAULT, page: None };
        for (name, value) in form_urlencoded::parse(encoded.as_bytes()) {
            match name.as_ref() {
                "_format" => asked.format = Some(value.into_owned()),
                "_pretty" => {}
                "_count" if paged => {
                    let count = value.parse().ok().filter(|n| *n > 0);
                    asked.count = count.ok_or_else(|| Issue::error(Code::Value, "_count is no number from 1 on"))?;
                    asked.count = asked.count.min(COUNT_MAX);
                }
                "_page" if paged => {
                    let good =
                        value.len() <= 128 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                    if !good {
                        return Err(Issue::error(Code::Value, "_page is no page token of this server"));
                    }
                    asked.page = Some(value.into_owned());
                }
                _ => {
                    return Err(Issue::error(
                        Code::NotSupported,
                        "the address has a parameter that is not supported here",
                    ));
                }
            }
        }
        Ok(asked)
    }
}

fn format_of(encoded: &str) -> Option<String> {
    form_urlencoded::parse(encoded.as_bytes()).find(|(name, _)| name == "_format").map(|(_, value)| value.into_owned())
}

async fn answer<R: Records>(
    service: &Arc<Service<R>>,
    interaction: Interaction,
    parts: &Parts,
    body: Body,
    operation: OperationId,
) -> Result<Reply, Reply> {
    let headers = &parts.headers;
    let encoded = parts.uri.query().unwrap_or_default().to_owned();
    let base = service.records.base().or_else(|| base_of(headers)).unwrap_or_else(|| ROOT.to_owned());
    let query_refused = |issue: Issue| Reply::issues(400, &[issue]);
    said_once(&encoded).map_err(query_refused)?;
    accepts_json(headers, format_of(&encoded).as_deref())?;
    let capabilities = || Reply::json(200, capability_statement(&base, env!("CARGO_PKG_VERSION")).to_string());
    if interaction == Interaction::Capabilities {
        // Open to everybody: a client learns from it that it needs a token.
        return Ok(capabilities());
    }
    let context = authenticated(service, headers, operation).await?;
    let (records, working) = (Arc::clone(&service.records), &service.working);
    match interaction {
        Interaction::Capabilities => Ok(capabilities()),
        Interaction::Search { kind, form } => {
            let encoded = if form {
                sends_form(headers)?;
                let _place = service.place(headers).await?;
                let body = read(headers, body, FORM_BYTES_MAX).await?;
                let text = String::from_utf8(body)
                    .map_err(|_| query_refused(Issue::error(Code::Syntax, "the form is no UTF-8")))?;
                let both = [encoded, text].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
                said_once(&both).map_err(query_refused)?;
                accepts_json(headers, format_of(&both).as_deref())?;
                both
            } else {
                encoded
            };
            let query = Query::parse_at(&base, kind, &encoded).map_err(query_refused)?;
            blocking(working, move || {
                let page = records.search(&context, &query)?;
                let this = query.link(&base, query.page());
                let next = page.next.as_deref().map(|token| query.link(&base, Some(token)));
                Ok(bundle(&page, &base, &this, next.as_deref(), searchset))
            })
            .await
        }
        Interaction::History { kind, id } => {
            let asked = Asked::of(&encoded, true).map_err(query_refused)?;
            blocking(working, move || {
                let page = records.history(&context, kind, &id, asked.count, asked.page.as_deref())?;
                let link = |token: Option<&str>| {
                    let token = token.map(|token| format!("&_page={token}")).unwrap_or_default();
                    format!("{base}/{kind}/{id}/_history?_count={}{token}", asked.count)
                };
                let next = page.next.as_deref().map(|token| link(Some(token)));
                Ok(bundle(&page, &base, &link(asked.page.as_deref()), next.as_deref(), history))
            })
            .await
        }
        Interaction::Read { kind, id } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            let record = blocking(working, move || records.read(&context, kind, &id)).await?;
            if record.bytes.is_some() && holds(headers, record.version) {
                return Ok(Reply { status: 304, ..Reply::default() }.header(header::ETAG, etag(record.version)));
            }
            Ok(Reply::record(record))
        }
        Interaction::Vread { kind, id, version } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            blocking(working, move || records.vread(&context, kind, &id, version)).await.map(Reply::record)
        }
        Interaction::Create { kind } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            unconditional(headers)?;
            matches_nothing(headers)?;
            let _place = service.place(headers).await?;
            let (prefer, body) = (prefer(headers), json_body(headers, body).await?);
            let served_at = base.clone();
            let record = blocking(working, move || {
                let resource = Resource::parse_at(&served_at, &body, Some(kind)).map_err(Refusal::Invalid)?;
                records.create(&context, resource)
            })
            .await?;
            Ok(Reply::written(record, prefer, &base))
        }
        Interaction::Update { kind, id } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            unconditional(headers)?;
            let if_match = if_match(headers)?;
            let _place = service.place(headers).await?;
            let (prefer, body) = (prefer(headers), json_body(headers, body).await?);
            let served_at = base.clone();
            let record = blocking(working, move || {
                let resource = Resource::parse_at(&served_at, &body, Some(kind)).map_err(Refusal::Invalid)?;
                if resource.id() != Some(id.as_str()) {
                    let text = "must be there, and be the id in the address";
                    return Err(Issue::error(Code::Mismatch, text).at(format!("{kind}.id")).into());
                }
                records.update(&context, resource, &id, if_match)
            })
            .await?;
            Ok(Reply::written(record, prefer, &base))
        }
        Interaction::Delete { kind, id } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            unconditional(headers)?;
            let (if_match, prefer) = (if_match(headers)?, prefer(headers));
            // What isn't there need not be deleted: HL7 FHIR R4, http.html#delete.
            let done = blocking(working, move || match records.delete(&context, kind, &id, if_match) {
                Ok(record) => Ok(Some(record.version)),
                Err(Refusal::NotFound) => Ok(None),
                Err(refusal) => Err(refusal),
            });
            Ok(Reply::deleted(done.await?, prefer))
        }
        Interaction::AuditSearch => {
            let asked = account::asked::Asked::parse(&base, &encoded).map_err(query_refused)?;
            blocking(working, move || {
                let page = records.audit_events(&context, &base, &asked)?;
                let token = asked.page.map(|place| place.token());
                let this = asked.link(&base, token.as_deref());
                let next = page.next.as_deref().map(|token| asked.link(&base, Some(token)));
                Ok(bundle(&page, &base, &this, next.as_deref(), searchset))
            })
            .await
        }
        Interaction::AuditRead { entry, line } => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            blocking(working, move || records.audit_event(&context, &base, entry, line)).await.map(Reply::record)
        }
        Interaction::Bundle => {
            Asked::of(&encoded, false).map_err(query_refused)?;
            unconditional(headers)?;
            matches_nothing(headers)?;
            let _place = service.place(headers).await?;
            let body = json_body(headers, body).await?;
            blocking(working, move || {
                let draft = Draft::parse_at(&base, &body).map_err(Refusal::Invalid)?;
                let kind = draft.kind();
                let entries = records.bundle(&context, draft)?;
                Ok(Reply::json(200, response_bundle(kind, &entries)))
            })
            .await
        }
    }
}

/// Before a byte of the body is read: who sends no good token sends no 16 MiB either.
async fn authenticated<R: Records>(
    service: &Arc<Service<R>>,
    headers: &HeaderMap,
    operation: OperationId,
) -> Result<R::Context, Reply> {
    let Some(token) = bearer(headers).map(str::to_owned) else { return Err(Reply::unauthorized(false)) };
    let records = Arc::clone(&service.records);
    let found = tokio::task::spawn_blocking(move || records.authenticate(&token, operation)).await;
    found.map_err(|_| Reply::broken())?.ok_or_else(|| Reply::unauthorized(true))
}

async fn blocking<T: Send + 'static>(
    working: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Reply> {
    let _working = working.acquire().await.map_err(|_| Reply::broken())?;
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Reply::from),
        // It panicked, or the server is stopping.
        Err(_) => Err(Reply::broken()),
    }
}

async fn json_body(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Reply> {
    sends_json(headers)?;
    read(headers, body, FHIR_BODY_BYTES_MAX).await
}

async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Vec<u8>, Reply> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(Reply::issues(415, &[Issue::error(Code::NotSupported, "a compressed body is not supported")]));
    }
    intake::read(body, bytes_max).await.map_err(|unread| match unread {
        Unread::TooLong => {
            let text = format!("the body is larger than {bytes_max} bytes");
            Reply::issues(413, &[Issue::error(Code::TooLong, text)])
        }
        Unread::BrokeOff => Reply::issues(400, &[Issue::error(Code::Syntax, "the body broke off")]),
        Unread::TooSlow => {
            let text = format!("the body took longer than {} seconds", BODY_TIME_MAX.as_secs());
            Reply::issues(408, &[Issue::error(Code::TooCostly, text)])
        }
    })
}

/// `http://HOST/fhir`, as the client wrote the host; what an address can't hold is refused.
fn base_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b));
    plain.then(|| format!("http://{host}{ROOT}"))
}

type Build = fn(&str, &[Link<'_>], &[Version<'_>]) -> Vec<u8>;

fn bundle(page: &Page, base: &str, this: &str, next: Option<&str>, build: Build) -> Reply {
    let mut links = vec![Link { relation: "self", url: this }];
    links.extend(next.map(|url| Link { relation: "next", url }));
    let versions: Vec<Version<'_>> = page
        .records
        .iter()
        .map(|Record { kind, id, version, updated, change, bytes, .. }| Version {
            kind,
            id,
            version: *version,
            updated: *updated,
            change: *change,
            bytes: bytes.as_deref(),
        })
        .collect();
    Reply::json(200, build(base, &links, &versions))
}
