//! The drill's own list of what was acknowledged over HTTP, and what it makes of an answer.
//!
//! Verifies: a record comes back with every byte that was sent behind its type, by SHA-256 and length; before them stands
//! nothing but the id and `meta`, which are the server's to write (HL7 FHIR R4, http.html#create), with the version that was
//! asked for. Asked for the present version, the answer is none older than what was acknowledged before the question. A
//! refusal says why, in an OperationOutcome. Does not verify: the time in `meta`; what nobody was told is kept.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::client::Answer;
use crate::synthetic::Rng;

/// `,"id":"…"` and `,"meta":{…}` with a version and a time.
const SERVERS_OWN_BYTES_MAX: usize = 256;

/// What stands before a record's own bytes.
pub(super) fn head(kind: &str) -> String {
    format!("{{\"resourceType\":\"{kind}\"")
}

/// The bytes of a record behind its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    length: usize,
    sha256: Vec<u8>,
}

impl Sent {
    pub(super) fn of(tail: &str) -> Self {
        Self { length: tail.len(), sha256: sha256(tail.as_bytes()) }
    }

    /// What stands before the tail, where the record ends with it.
    fn before<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        let (before, tail) = record.split_at_checked(record.len().checked_sub(self.length)?)?;
        (sha256(tail) == self.sha256).then_some(before)
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

struct Record {
    kind: &'static str,
    id: String,
    /// Everything that was sent, acknowledged or not.
    sent: Vec<Sent>,
    /// Versions that were acknowledged, each with its place in `sent`.
    acknowledged: BTreeMap<u32, usize>,
}

impl Record {
    fn address(&self) -> String {
        format!("/fhir/{}/{}", self.kind, self.id)
    }

    /// The version in a record's `meta`, where all that stands before the tail is the server's.
    fn version(&self, before: &[u8]) -> Option<u32> {
        let own = std::str::from_utf8(before).ok()?.strip_prefix(&head(self.kind))?;
        let (_, after) = own.split_once("\"versionId\":\"")?;
        (own.len() <= SERVERS_OWN_BYTES_MAX).then_some(())?;
        after.split_once('"')?.0.parse().ok()
    }
}

/// What is asked for.
pub(super) struct Question {
    record: usize,
    pub(super) path: String,
    version: Asked,
}

enum Asked {
    Exactly(u32),
    /// The present version: this one, or a newer one.
    AtLeast(u32),
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Right,
    /// With the refusal's code.
    Refused(String),
    /// Another answer than the record, or none where there is one.
    Wrong(String),
    /// A refusal without a word that a client could go by.
    Unexplained(String),
}

#[derive(Default)]
pub(super) struct List(RwLock<Vec<Record>>);

impl List {
    /// Notes that a new record was acknowledged; gives its number here.
    pub(super) fn created(&self, kind: &'static str, id: String, version: u32, sent: Sent) -> usize {
        let mut records = self.0.write().unwrap_or_else(PoisonError::into_inner);
        records.push(Record { kind, id, sent: vec![sent], acknowledged: BTreeMap::from([(version, 0)]) });
        records.len() - 1
    }

    /// Notes what is about to be sent as another version: somebody may read it before it is acknowledged.
    pub(super) fn sending(&self, record: usize, sent: Sent) -> usize {
        let mut records = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = records.get_mut(record) else { return 0 };
        record.sent.push(sent);
        record.sent.len() - 1
    }

    /// Notes that it was acknowledged. What it says is wrong: the same version was another one's.
    pub(super) fn updated(&self, record: usize, which: usize, version: u32) -> Option<String> {
        let mut records = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let record = records.get_mut(record)?;
        let before = record.acknowledged.insert(version, which);
        before.map(|_| format!("{} version {version} was acknowledged twice", record.address()))
    }

    pub(super) fn id(&self, record: usize) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(record).map(|record| record.id.clone())
    }

    /// Records, versions that were acknowledged, and their bytes.
    pub(super) fn counts(&self) -> (usize, usize, u64) {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let versions = || records.iter().flat_map(|record| record.acknowledged.values().map(|&at| record.sent.get(at)));
        let bytes = versions().flatten().map(|sent| sent.length as u64).sum();
        (records.len(), versions().count(), bytes)
    }

    /// One of them by lot: a version that was acknowledged, or the present one.
    pub(super) fn draw(&self, rng: &Rng) -> Option<Question> {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let at = rng.index(records.len());
        let record = records.get(at)?;
        let version = match rng.chance(50) {
            true => *record.acknowledged.keys().nth(rng.index(record.acknowledged.len()))?,
            false => {
                let newest = *record.acknowledged.last_key_value()?.0;
                return Some(Question { record: at, path: record.address(), version: Asked::AtLeast(newest) });
            }
        };
        Some(Self::exactly(at, record, version))
    }

    /// Every version that was acknowledged.
    pub(super) fn all(&self) -> Vec<Question> {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(at, record)| Record::versions(record).map(move |version| Self::exactly(at, record, version));
        records.iter().enumerate().flat_map(of).collect()
    }

    fn exactly(at: usize, record: &Record, version: u32) -> Question {
        let path = format!("{}/_history/{version}", record.address());
        Question { record: at, path, version: Asked::Exactly(version) }
    }

    pub(super) fn judge(&self, question: &Question, answer: &Answer) -> Judged {
        let path = &question.path;
        match answer.status {
            200 => match self.difference(question, &answer.body) {
                None => Judged::Right,
                Some(what) => Judged::Wrong(format!("{path}: {what}")),
            },
            404 | 410 => Judged::Wrong(format!("{path}: acknowledged, and said not to be there ({})", answer.status)),
            _ => match refusal(answer) {
                Ok(code) => Judged::Refused(code),
                Err(why) => Judged::Unexplained(format!("GET {path}: {why}")),
            },
        }
    }

    fn difference(&self, question: &Question, body: &[u8]) -> Option<String> {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let record = records.get(question.record)?;
        let found = record.sent.iter().enumerate().find_map(|(at, sent)| Some((at, sent.before(body)?)));
        let Some((at, before)) = found else {
            return Some(format!("{} bytes that nobody sent", body.len()));
        };
        let Some(version) = record.version(before) else {
            return Some("what stands before its own bytes is not an id and a version".to_owned());
        };
        match question.version {
            Asked::Exactly(asked) if asked != version => return Some(format!("version {version}, asked was {asked}")),
            Asked::AtLeast(least) if version < least => {
                return Some(format!("version {version} as the present one, and {least} was acknowledged before"));
            }
            _ => {}
        }
        // A version that nobody was told of may have been kept all the same.
        let should = record.acknowledged.get(&version).and_then(|&at| record.sent.get(at));
        let is_it = should.is_none_or(|should| record.sent.get(at) == Some(should));
        (!is_it).then(|| format!("version {version} with another one's bytes"))
    }
}

impl Record {
    fn versions(&self) -> impl Iterator<Item = u32> {
        self.acknowledged.keys().copied()
    }
}

/// The code of a refusal that a client can go by: come again later. Everything that the drill asks for is allowed and well
/// formed, so that any other refusal is wrong.
pub(super) fn refusal(answer: &Answer) -> Result<String, String> {
    let status = answer.status;
    let json: Value = serde_json::from_slice(&answer.body).map_err(|_| format!("status {status} without a reason"))?;
    let text = json.pointer("/issue/0/diagnostics").or(json.pointer("/issue/0/details/text")).and_then(Value::as_str);
    let (Some(text), Some("OperationOutcome")) = (text, json.get("resourceType").and_then(Value::as_str)) else {
        return Err(format!("status {status} without a reason"));
    };
    let code = text.rsplit_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code);
    match (status, code) {
        (503, Some(code)) => Ok(code.to_owned()),
        _ => Err(format!("status {status}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = ",\"birthDate\":\"1961-04-02\"}";

    fn stored(version: u32, tail: &str) -> Vec<u8> {
        let own =
            format!(",\"id\":\"a\",\"meta\":{{\"versionId\":\"{version}\",\"lastUpdated\":\"2026-11-23T00:00:00Z\"}}");
        [head("Patient"), own, tail.to_owned()].concat().into_bytes()
    }

    fn listed() -> (List, String) {
        let (list, newer) = (List::default(), TAIL.replace("1961", "1962"));
        let record = list.created("Patient", "a".into(), 1, Sent::of(TAIL));
        let which = list.sending(record, Sent::of(&newer));
        assert_eq!(list.updated(record, which, 2), None);
        (list, newer)
    }

    #[test]
    fn it_rings_at_any_byte_and_at_another_version() {
        let (list, newer) = listed();
        let all = list.all();
        assert_eq!((all.len(), list.counts()), (2, (1, 2, 2 * TAIL.len() as u64)));
        let judge = |at: usize, body: &[u8]| list.judge(&all[at], &Answer::new(200, body));
        assert_eq!((judge(0, &stored(1, TAIL)), judge(1, &stored(2, &newer))), (Judged::Right, Judged::Right));
        let good = stored(1, TAIL);
        for place in good.len() - TAIL.len()..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(matches!(judge(0, &bad), Judged::Wrong(_)), "{place}");
        }
        for bad in [stored(2, TAIL), stored(1, &newer), stored(2, &newer), Vec::new(), good[1..].to_vec()] {
            assert!(matches!(judge(0, &bad), Judged::Wrong(_)), "{}", String::from_utf8_lossy(&bad));
        }
        assert!(matches!(list.judge(&all[0], &Answer::new(404, b"")), Judged::Wrong(_)));
    }

    #[test]
    fn an_old_version_as_the_present_one_is_wrong_and_one_that_nobody_was_told_of_is_not() {
        let (list, newer) = listed();
        let ask = Question { record: 0, path: "/fhir/Patient/a".into(), version: Asked::AtLeast(2) };
        let judge = |body: &[u8]| list.judge(&ask, &Answer::new(200, body));
        assert!(matches!(judge(&stored(1, TAIL)), Judged::Wrong(_)));
        assert_eq!(judge(&stored(2, &newer)), Judged::Right);
        let untold = TAIL.replace("1961", "1963");
        assert!(matches!(judge(&stored(3, &untold)), Judged::Wrong(_)), "nobody sent it");
        list.sending(0, Sent::of(&untold));
        assert_eq!(judge(&stored(3, &untold)), Judged::Right);
        assert!(matches!(judge(&stored(2, &untold)), Judged::Wrong(_)), "2 was acknowledged with other bytes");
    }

    #[test]
    fn a_refusal_has_a_code_and_says_come_again() {
        let outcome = |text: &str| {
            format!(r#"{{"resourceType":"OperationOutcome","issue":[{{"diagnostics":"{text}"}}]}}"#).into_bytes()
        };
        let of = |status, body: &[u8]| refusal(&Answer::new(status, body));
        assert_eq!(of(503, &outcome("8 of 9 [vault.below-floor]; what to do")), Ok("vault.below-floor".into()));
        assert!(of(500, &outcome("the server failed [vault.internal]")).is_err());
        assert!(
            of(503, &outcome("no code")).is_err() && of(503, b"busy").is_err() && of(422, &outcome("[a]")).is_err()
        );
    }
}
