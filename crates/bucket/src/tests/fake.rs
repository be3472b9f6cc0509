//! A tiny store inside the test: what a real one has, with each promise to be broken by itself, and any answer at all.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What goes back, byte for byte; nothing closes the connection.
pub(super) type Reply = Vec<u8>;

/// A server on loopback. Its threads end with the test's process; they only wait.
pub(super) struct Server {
    pub(super) endpoint: String,
    pub(super) requests: Arc<AtomicU64>,
}

pub(super) fn serve(answer: impl Fn(&Request, &mut TcpStream) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (answer, requests) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some(request) = read(&mut reader) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let reply = answer(&request, &mut stream);
                    if reply.is_empty() || stream.write_all(&reply).is_err() {
                        break;
                    }
                }
                // The reader's clone would keep the connection open.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Server { endpoint, requests }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
    });
    Some(Request { method, path: path.to_owned(), query: query.collect(), headers, body })
}

pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut out = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    [out.as_bytes(), b"\r\n", body].concat()
}

pub(super) fn error(status: u16, code: &str) -> Reply {
    reply(status, &[], format!("<Error><Code>{code}</Code></Error>").as_bytes())
}

/// What the store does; each can be made to break one promise.
#[derive(Clone)]
pub(super) struct Promises {
    pub(super) versioning: &'static str,
    pub(super) lock: &'static str,
    /// Of new objects.
    pub(super) retention: &'static str,
    pub(super) conditional: bool,
    pub(super) versions: bool,
    /// Status of a delete, and whether the object is gone after it.
    pub(super) delete: (u16, bool),
}

pub(super) const GOOD: Promises = Promises {
    versioning: "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    lock: "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
           <Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
    retention: "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2026-12-25T00:00:00Z</RetainUntilDate></Retention>",
    conditional: true,
    versions: true,
    delete: (403, false),
};

/// When objects of the tiny store were put.
pub(super) const MODIFIED: &str = "2026-11-25T00:00:00Z";

/// Bodies and marks by path.
pub(super) type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, String)>>>;

/// The store's answer to one request, with one version of each object.
pub(super) fn store(promises: &Promises, objects: &Objects, request: &Request) -> Reply {
    let mut objects = objects.lock().unwrap();
    let asks = |name: &str| request.query.contains_key(name);
    let head = |mark: &str| vec![("x-amz-meta-holdfast-put", mark.to_owned()), ("ETag", "\"e\"".to_owned())];
    match request.method.as_str() {
        "GET" if asks("versioning") => reply(200, &[], promises.versioning.as_bytes()),
        "GET" if asks("object-lock") && promises.lock.is_empty() => error(404, "ObjectLockConfigurationNotFoundError"),
        "GET" if asks("object-lock") => reply(200, &[], promises.lock.as_bytes()),
        "GET" if asks("retention") && promises.retention.is_empty() => error(404, "NoSuchObjectLockConfiguration"),
        "GET" if asks("retention") => reply(200, &[], promises.retention.as_bytes()),
        "GET" if asks("versions") => {
            let prefix = format!("/bucket/{}", request.query["prefix"]);
            let id = if promises.versions { "1" } else { "null" };
            let lines: String = objects
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix))
                .map(|(path, (body, _))| {
                    format!(
                        "<Version><Key>{}</Key><VersionId>{id}</VersionId><IsLatest>true</IsLatest><Size>{}</Size>\
                         <LastModified>{MODIFIED}</LastModified></Version>",
                        path.trim_start_matches("/bucket/"),
                        body.len()
                    )
                })
                .collect();
            reply(200, &[], format!("<ListVersionsResult>{lines}</ListVersionsResult>").as_bytes())
        }
        "GET" if asks("list-type") => reply(200, &[], b"<ListBucketResult/>"),
        "PUT" => {
            let is_taken = objects.contains_key(&request.path);
            if is_taken && promises.conditional && request.headers.get("if-none-match").is_some_and(|tag| tag == "*") {
                return error(412, "PreconditionFailed");
            }
            assert!(request.headers.contains_key("x-amz-checksum-sha256"), "a body goes with its checksum");
            let mark = request.headers.get("x-amz-meta-holdfast-put").cloned().unwrap_or_default();
            objects.insert(request.path.clone(), (request.body.clone(), mark));
            reply(200, &[("ETag", "\"e\"")], b"")
        }
        "DELETE" => {
            let (status, is_gone) = promises.delete;
            if is_gone {
                objects.remove(&request.path);
            }
            if status == 204 { reply(204, &[], b"") } else { error(status, "AccessDenied") }
        }
        method => match objects.get(&request.path) {
            None if method == "HEAD" => b"HTTP/1.1 404 X\r\nContent-Length: 99\r\n\r\n".to_vec(),
            None => error(404, "NoSuchKey"),
            Some((body, mark)) => {
                let headers = head(mark);
                let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let mut out = reply(200, &headers, body);
                if method == "HEAD" {
                    out.truncate(out.len() - body.len());
                }
                out
            }
        },
    }
}
