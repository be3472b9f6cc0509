//! A server on a port of the system's choice, and the plainest of clients: what is on the wire is what the test wrote.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use serde_json::Value;

use super::memory::TOKEN;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Server {
    pub(crate) fn start(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _runtime: runtime }
    }

    /// With a good token; a body is sent as FHIR JSON.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut all = headers.to_vec();
        all.push("Content-Type: application/fhir+json");
        self.request(TOKEN, method, path, &all, body.as_bytes())
    }

    pub(crate) fn anonymous(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.request("", method, path, headers, body.as_bytes())
    }

    pub(crate) fn request(&self, token: &str, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let (line, length) = (format!("{method} /fhir{path} HTTP/1.1"), format!("Content-Length: {}", body.len()));
        let mut head = vec![line.as_str(), length.as_str()];
        head.extend(headers);
        self.raw(&head, token, body)
    }

    /// The head as it is, with host and token added.
    pub(crate) fn raw(&self, head: &[&str], token: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut text = head.join("\r\n");
        text.push_str(&format!("\r\nHost: {}\r\nConnection: close\r\n", self.address));
        if !token.is_empty() {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        // A server that has heard enough closes while we still speak.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Answer { status, headers, body: bytes[end + 4..].to_vec() }
    }
}
