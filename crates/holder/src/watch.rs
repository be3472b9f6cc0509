//! What a holder does of itself: looks at the other servers, tells them its alarms and the newest list of members, and reads
//! its own objects over.
//!
//! A disk that was set back shows the past and believes it. Its own daemon can't know; the others remember.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use keys::PROOF_WINDOW_MS;
use kit::format::FormatError;
use kit::{Timestamp, write_private};
use minicbor::{Decode, Encode};

use crate::call::Link;
use crate::identity::{Identity, Pin};
use crate::node::Node;
use crate::wire::{self, CLOCK, Member, Message, Status};

const PEERS_FILE: &str = "peers.cbor";
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the others.
const EVERY: Duration = Duration::from_secs(10);
/// How old the others' time may be, where they said nothing else that is new.
const TIME_EVERY_MS: i64 = 3_600_000;
/// Between two readings of all objects, where there are few.
const SCRUB_PAUSE: Duration = Duration::from_secs(60);
const PAGE: usize = 256;
/// What a power failure may take of the meter, in time.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What each of the others said last.
#[derive(Default, Encode, Decode)]
struct Peers {
    #[n(0)]
    seen: BTreeMap<u8, Status>,
    /// Whose numbers those are: another machine in a lost one's place begins with its own.
    #[n(1)]
    pins: BTreeMap<u8, Pin>,
}

impl Message for Peers {
    const PLACE: &'static str = PEERS_FILE;
    const MAX: usize = 16 * 1024 * 1024;
}

pub(crate) struct Watch {
    node: Arc<Node>,
    identity: Identity,
    file: PathBuf,
    peers: Peers,
    links: BTreeMap<u8, (Member, Arc<Link>)>,
}

impl Watch {
    pub(crate) fn new(node: Arc<Node>, identity: Identity, dir: &std::path::Path) -> Self {
        let file = dir.join(PEERS_FILE);
        // A damaged memory of the others is no reason to stand still: what it would have shown is said.
        let peers = match fs::read(&file).map(|bytes| Peers::from_bytes(&bytes)) {
            Ok(Ok(peers)) => peers,
            Ok(Err(error)) => {
                node.raise("holder.peers-damaged", error.to_string());
                Peers::default()
            }
            Err(_) => Peers::default(),
        };
        Self { node, identity, file, peers, links: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.look().await;
            // An alarm doesn't wait for the next look.
            for _ in 0..EVERY.as_millis() / 200 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.tell().await;
            }
        }
    }

    /// Links to all the others, as the newest list of members has them.
    fn relink(&mut self) {
        let Some(members) = self.node.members() else { return };
        let own = self.node.config().number;
        self.links.retain(|_, (member, _)| members.servers.contains(member));
        for member in members.servers.into_iter().filter(|member| member.number != own) {
            if self.links.contains_key(&member.number) {
                continue;
            }
            let before = self.peers.pins.insert(member.number, member.pin);
            if before.is_some_and(|before| before != member.pin) {
                self.peers.seen.remove(&member.number);
            }
            let link = member.address.parse().ok().and_then(|address| {
                Link::new(address, &self.identity, Some(member.pin), Arc::clone(self.node.clock())).ok()
            });
            match link {
                Some(link) => drop(self.links.insert(member.number, (member, Arc::new(link)))),
                None => self.node.raise("holder.address", format!("server {}: no address", member.number)),
            }
        }
    }

    async fn look(&mut self) {
        self.relink();
        let asked: Vec<_> = self
            .links
            .iter()
            .map(|(&number, (_, link))| {
                let link = Arc::clone(link);
                (number, tokio::spawn(async move { link.ask::<Status>(wire::STATUS, Vec::new(), PATIENCE).await }))
            })
            .collect();
        let (mut is_new, mut off_ms, mut behind) = (false, Vec::new(), Vec::new());
        let version = self.node.members_version();
        for (number, asked) in asked {
            let Ok(Ok(mut status)) = asked.await else { continue };
            // What isn't compared isn't kept.
            (status.alarms, status.keys) = Default::default();
            if status.members < version
                && let Some((_, link)) = self.links.get(&number)
            {
                behind.push(Arc::clone(link));
            }
            off_ms.push(self.node.clock().now().0.saturating_sub(status.at.0));
            let before = self.peers.seen.get(&number);
            if let Some((what, was)) = before.and_then(|before| status.fell_since(before)) {
                // Without what it is now: that grows, and would be a new alarm each time.
                let text = format!("server {number} was set back: before, {what}: {was}");
                self.node.raise("holder.rolled-back", text);
                // The higher numbers are remembered: the alarm stays until the server has been replaced.
                continue;
            }
            if before.is_some_and(|before| before.ended < status.ended) {
                let text = format!("server {number} ended the retention of objects: {} in all", status.ended);
                self.node.raise("holder.retention-ended", text);
            }
            // Its time alone is worth a write now and then.
            let is_known = |before: &&Status| {
                let is_late = status.at.0.saturating_sub(before.at.0) > TIME_EVERY_MS;
                !is_late && Status { at: before.at, ..status.clone() } == **before
            };
            if before.filter(is_known).is_none() {
                is_new = true;
                self.peers.seen.insert(number, status);
            }
        }
        // The middle of them: one that is off, or lies, moves it by one place.
        off_ms.sort_unstable();
        match off_ms.get(off_ms.len() / 2) {
            Some(off_ms) if off_ms.abs() > PROOF_WINDOW_MS => {
                let text = format!(
                    "this server's clock is {} min from the other servers': set it, start anew",
                    off_ms / 60_000
                );
                self.node.raise(CLOCK, text);
            }
            // By a clock that nobody disputes.
            Some(_) => self.node.note_volumes(),
            None if self.links.is_empty() => self.node.note_volumes(),
            None => {}
        }
        if is_new && let Err(error) = write_private(&self.file, &self.peers.to_bytes()) {
            tracing::warn!(%error, "what the other servers said can't be remembered");
        }
        self.pass_on(behind).await;
    }

    /// Brings the list of members to those that were away when it came here: whom it ended opens nothing there either.
    async fn pass_on(&self, behind: Vec<Arc<Link>>) {
        let Some(list) = (!behind.is_empty()).then(|| self.node.signed_members()).flatten() else { return };
        let told: Vec<_> = behind
            .into_iter()
            .map(|link| {
                let list = list.clone();
                tokio::spawn(async move { link.call(wire::MEMBERS, vec![list], PATIENCE, 1024).await })
            })
            .collect();
        for told in told {
            if let Ok(Err(error)) = told.await {
                tracing::warn!(%error, "a server did not take the list of members");
            }
        }
    }

    async fn tell(&mut self) {
        let alarms = self.node.take_outbox();
        if alarms.is_empty() {
            return;
        }
        self.relink();
        for alarm in alarms {
            let body = Bytes::from(alarm.to_bytes());
            let told: Vec<_> = self
                .links
                .values()
                .map(|(_, link)| {
                    let (link, body) = (Arc::clone(link), body.clone());
                    tokio::spawn(async move { link.call(wire::ALARM, vec![body], PATIENCE, 1024).await })
                })
                .collect();
            for told in told {
                if let Ok(Err(error)) = told.await {
                    tracing::warn!(%error, "a server was not told of an alarm");
                }
            }
        }
    }
}

/// What time it was by the other servers' clocks, as they said last.
pub(crate) fn times(dir: &std::path::Path) -> Result<Vec<Timestamp>, FormatError> {
    let Ok(bytes) = fs::read(dir.join(PEERS_FILE)) else { return Ok(Vec::new()) };
    Ok(Peers::from_bytes(&bytes)?.seen.into_values().map(|status| status.at).collect())
}

/// Brings the meter to the disk, each second. Ends with the process.
pub(crate) fn sync_forever(node: &Node) {
    loop {
        thread::sleep(SYNC_EVERY);
        node.sync();
    }
}

/// Reads all objects over, again and again, no faster than configured. Ends with the process.
pub(crate) fn scrub_forever(node: &Node) {
    let speed = node.config().shards.scrub_bytes_per_second;
    if speed == 0 {
        return;
    }
    loop {
        let mut after = None;
        loop {
            let page = node.page(after.as_ref(), PAGE);
            let Some(last) = page.last() else { break };
            for listed in &page {
                node.scrub(&listed.name);
                let pause_us = listed.len.saturating_mul(1_000_000).checked_div(speed).unwrap_or(0);
                thread::sleep(Duration::from_micros(pause_us.max(100)));
            }
            after = Some(last.name.clone());
        }
        thread::sleep(SCRUB_PAUSE);
    }
}
