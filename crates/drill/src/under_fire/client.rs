//! One HTTP/1.1 exchange over a connection of its own: what a client of a hospital does, with nothing of the gateway's code.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Longer than a gateway waits for a server that is silent.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(45);
/// The largest record that the drill sends, many times.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What came back, whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    #[cfg(test)]
    pub(super) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, head: String::new(), body: body.to_vec() }
    }

    /// The first header of this name, which is given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// An answer that ends before its length is none: whoever sent it was killed on the way.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, rest) = bytes.split_at_checked(end + 4)?;
        let head = std::str::from_utf8(head).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let answer = Self { status, head: head.to_owned(), body: rest.to_vec() };
        let length: usize = answer.header("content-length")?.parse().ok()?;
        (answer.body.len() == length).then_some(answer)
    }
}

/// An error where no whole answer came, for whatever reason: what was asked for may be done or not.
pub(super) fn exchange(to: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/fhir+json\r\nContent-Length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{content}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Answer::parse(&answer).ok_or_else(|| io::Error::other("the answer ended too soon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        let whole = b"HTTP/1.1 201 Created\r\nLocation: /fhir/Patient/1/_history/1\r\ncontent-length: 2\r\n\r\nab";
        let answer = Answer::parse(whole).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (201, b"ab".as_slice()));
        assert_eq!(answer.header("location"), Some("/fhir/Patient/1/_history/1"));
        for end in 0..whole.len() {
            assert!(Answer::parse(&whole[..end]).is_none(), "{end}");
        }
    }
}
