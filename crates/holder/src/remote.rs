//! A holder on another server, as the gateway's rooms see it: a location, and a holder of key shares.
//!
//! Those rooms wait; the network doesn't. One small runtime serves all links of a process.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keys::{Answer, Batch, Holder, HolderError, HolderPublicKey, KeyRecord, OpenRequest, Resealed, Share, TurnOrder};
use kit::Id16;
use kit::format::Version;
use ledger::{AddCheckpoint, Cosignature};
use location::{
    GetAnswer, Listed, Location, LocationError, Name, Network, OBJECT_BYTES_MAX, Object, Put, Stats, check_batch,
};
use zeroize::Zeroizing;

use crate::call::{CallError, Link};
use crate::turn::{BeginTurn, Confirm, OwnEncapsulation, Reseal, ResealedShares, records_to_bytes};
use crate::wire::{self, *};

/// For a disk that syncs a batch while fourteen processes share it.
const PUT_PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);

/// The shards of one server.
pub struct RemoteLocation {
    id: String,
    network: Network,
    link: Arc<Link>,
}

impl RemoteLocation {
    pub fn new(id: String, network: Network, link: Arc<Link>) -> Self {
        Self { id, network, link }
    }

    fn io(&self, operation: &'static str, why: String) -> LocationError {
        LocationError::Io { location: self.id.clone(), operation, source: io::Error::other(why) }
    }

    fn error(&self, operation: &'static str, name: Option<&Name>, error: CallError) -> LocationError {
        Self::error_of(self.id.clone(), operation, name, error)
    }

    fn error_of(location: String, operation: &'static str, name: Option<&Name>, error: CallError) -> LocationError {
        match error {
            CallError::Refused(refused) => match (refused.refusal.code.as_str(), name) {
                (FULL, _) => LocationError::Full { location, bytes: refused.refusal.number.unwrap_or(0) },
                ("vault.location.damaged", Some(name)) => LocationError::Damaged { location, name: name.clone() },
                _ => LocationError::Io { location, operation, source: io::Error::other(refused.to_string()) },
            },
            gone => LocationError::Gone { location, reason: gone.to_string() },
        }
    }

    /// Puts some objects with one call.
    fn put(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        let mut body = Vec::with_capacity(2 * objects.len());
        for object in objects {
            body.push(Bytes::from(put_head(object.name, object.len())));
            body.extend(object.parts.iter().filter(|part| !part.is_empty()).map(|part| Bytes::copy_from_slice(part)));
        }
        let answer = self.network.wait(self.link.call(wire::PUT, body, PUT_PATIENCE, PutDone::MAX));
        let answer = answer.map_err(|error| self.error("putting", None, error))?.unwrap_or_default();
        let done = PutDone::from_bytes(&answer).map_err(|error| self.io("putting", error.to_string()))?;
        if done.created.len() != objects.len() {
            let text = format!("an answer for {} objects of {}", done.created.len(), objects.len());
            return Err(self.io("putting", text));
        }
        Ok(done.created.iter().map(|created| if *created { Put::Created } else { Put::Exists }).collect())
    }
}

impl Location for RemoteLocation {
    fn id(&self) -> &str {
        &self.id
    }

    fn put_if_absent(&self, objects: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        check_batch(objects)?;
        let mut out = Vec::with_capacity(objects.len());
        let mut rest = objects;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|object| {
                bytes += put_len(object.name, object.len());
                bytes <= PUT_BYTES_MAX
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            out.extend(self.put(now)?);
            rest = later;
        }
        Ok(out)
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        let request = GetRequest { name: name.as_str().to_owned(), range: range.map(|range| (range.start, range.end)) };
        let call = self.link.call(wire::GET, vec![request.to_bytes().into()], PATIENCE, OBJECT_BYTES_MAX);
        let answer = self.network.wait(call).map_err(|error| self.error("getting", Some(name), error))?;
        Ok(answer.map(Vec::from))
    }

    fn ask(&self, name: &Name, answer: GetAnswer) {
        let (id, link, name) = (self.id.clone(), Arc::clone(&self.link), name.clone());
        self.network.spawn(async move {
            let request = GetRequest { name: name.as_str().to_owned(), range: None };
            let got = link.call(wire::GET, vec![request.to_bytes().into()], PATIENCE, OBJECT_BYTES_MAX).await;
            answer(match got {
                Ok(got) => Ok(got.map(Vec::from)),
                Err(error) => Err(Self::error_of(id, "getting", Some(&name), error)),
            });
        });
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        let mut out: Vec<Listed> = Vec::new();
        let mut after = after.cloned();
        while out.len() < limit {
            let wanted = (limit - out.len()).min(LIST_LINES_MAX);
            let request = ListRequest {
                after: after.as_ref().map(|name| name.as_str().to_owned()),
                limit: u32::try_from(wanted).unwrap_or(u32::MAX),
            };
            let answer = self.network.wait(self.link.ask::<Listing>(wire::LIST, request.to_bytes(), PATIENCE));
            let lines = answer.map_err(|error| self.error("listing", None, error))?.lines;
            let is_last = lines.len() < wanted;
            for (name, len) in lines {
                let name = Name::new(name)?;
                // A server that goes round in circles would keep us here for ever.
                if after.as_ref().is_some_and(|after| name <= *after) {
                    return Err(self.io("listing", format!("{name} comes after a name that it precedes")));
                }
                after = Some(name.clone());
                out.push(Listed { name, len });
            }
            if is_last {
                break;
            }
        }
        out.truncate(limit);
        Ok(out)
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        let answer = self.network.wait(self.link.ask::<StatsAnswer>(wire::STATS, Vec::new(), PATIENCE));
        let StatsAnswer { objects, bytes } = answer.map_err(|error| self.error("counting", None, error))?;
        Ok(Stats { objects, bytes })
    }
}

/// The key shares of one server.
pub struct RemoteHolder {
    key: HolderPublicKey,
    network: Network,
    link: Arc<Link>,
    /// What it said last.
    opened: Arc<AtomicU64>,
}

impl RemoteHolder {
    /// `opened` is kept up to date by whoever asks the holder how it is.
    pub fn new(key: HolderPublicKey, network: Network, link: Arc<Link>, opened: Arc<AtomicU64>) -> Self {
        Self { key, network, link, opened }
    }
}

fn error(number: u8, error: CallError) -> HolderError {
    match error {
        CallError::Refused(refused) => match refused.refusal.code.as_str() {
            "keys.holder-erased" => HolderError::Erased { number },
            "keys.holder-sealed" => HolderError::Sealed { number },
            OVER_BUDGET => HolderError::OverBudget { number },
            UNPROVEN => HolderError::Unproven { number },
            CLOCK => HolderError::Clock { number },
            // It is there, and can't: a full disk, too much at once.
            _ => HolderError::Declined { number, why: refused.to_string() },
        },
        _ => HolderError::Unreachable { number },
    }
}

fn message(request: &OpenRequest<'_>) -> Bytes {
    OpenShare {
        version: Version,
        record: request.record.to_bytes().into(),
        batch: request.batch.to_bytes().into(),
        person: request.person.to_owned(),
        purpose: request.purpose.to_owned(),
        at: request.at,
        proof: request.proof.map(|proof| proof.to_bytes().into()),
    }
    .to_bytes()
    .into()
}

async fn open(link: &Link, number: u8, message: Bytes) -> Result<Share, HolderError> {
    let answer = link.call(wire::OPEN, vec![message], PATIENCE, ANSWER_BYTES_MAX).await;
    let answer = answer.map_err(|refused| error(number, refused))?.unwrap_or_default();
    let share: &[u8; 32] = answer.as_ref().try_into().map_err(|_| HolderError::Sealed { number })?;
    Ok(Share::new(number, Zeroizing::new(*share)))
}

impl Holder for RemoteHolder {
    fn number(&self) -> u8 {
        self.key.number()
    }

    fn public_key(&self) -> HolderPublicKey {
        self.key.clone()
    }

    /// Who it is, its certificate tells; which keys it has, the centre record that named them.
    fn has_key(&self, key: &HolderPublicKey) -> bool {
        key.number() == self.number()
    }

    fn open_share(&self, request: &OpenRequest<'_>) -> Result<Share, HolderError> {
        self.network.wait(open(&self.link, self.number(), message(request)))
    }

    fn ask_share(&self, request: &OpenRequest<'_>, answer: Answer) {
        let (link, number, message) = (Arc::clone(&self.link), self.number(), message(request));
        self.network.spawn(async move { answer(open(&link, number, message).await) });
    }

    fn refuse(&self, subject: Id16) -> Result<(), HolderError> {
        let body = vec![RefuseSubject { subject }.to_bytes().into()];
        let refused = self.network.wait(self.link.call(wire::REFUSE, body, PATIENCE, ANSWER_BYTES_MAX));
        refused.map(drop).map_err(|refused| error(self.number(), refused))
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn begin_turn(&self, epoch: u32) -> Result<HolderPublicKey, HolderError> {
        let next = HolderPublicKey::from_bytes(&self.turn(wire::TURN_BEGIN, BeginTurn { epoch }.to_bytes())?)?;
        let fits = (next.number(), next.epoch()) == (self.number(), epoch);
        if fits { Ok(next) } else { Err(self.declined("it gave another holder's key, or another epoch's")) }
    }

    fn own_encapsulation(&self, batch: Id16) -> Result<Vec<u8>, HolderError> {
        Ok(self.turn(wire::TURN_OWN, OwnEncapsulation { batch }.to_bytes())?.to_vec())
    }

    fn reseal(&self, from: &Batch, to: &Batch, records: &[KeyRecord]) -> Result<Vec<Resealed>, HolderError> {
        let (from, to, asked) = (from.to_bytes().into(), to.to_bytes().into(), records.len());
        let request = Reseal { version: Version, from, to, records: records_to_bytes(records) };
        let shares = ResealedShares::from_bytes(&self.turn(wire::TURN_RESEAL, request.to_bytes())?)?.shares;
        if shares.len() == asked { Ok(shares) } else { Err(self.declined("it gave another number of shares")) }
    }

    fn confirm(&self, batch: &Batch, records: &[KeyRecord]) -> Result<(), HolderError> {
        let request = Confirm { version: Version, batch: batch.to_bytes().into(), records: records_to_bytes(records) };
        self.turn(wire::TURN_CONFIRM, request.to_bytes()).map(drop)
    }

    fn finish_turn(&self, order: &TurnOrder) -> Result<(), HolderError> {
        let signed = Signed { body: order.turn.to_bytes().into(), signature: order.signature.clone().into() };
        self.turn(wire::TURN_FINISH, signed.to_bytes()).map(drop)
    }
}

impl RemoteHolder {
    fn declined(&self, why: &str) -> HolderError {
        HolderError::Declined { number: self.number(), why: why.to_owned() }
    }

    /// A call of the turn; who turns an epoch wants to know why a holder doesn't.
    fn turn(&self, path: &str, body: Vec<u8>) -> Result<Bytes, HolderError> {
        let answer = self.network.wait(self.link.call(path, vec![body.into()], PATIENCE, ANSWER_BYTES_MAX));
        Ok(answer.map_err(|refused| self.declined(&refused.to_string()))?.unwrap_or_default())
    }
}

/// What a witness said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    Cosigned(Cosignature),
    /// It has seen another size than the request grows from.
    Has(u64),
    /// The log contradicts what it has seen.
    Contradicted(String),
    Silent(String),
}

/// Asks one server to cosign a head.
pub async fn witness(link: &Link, request: &AddCheckpoint) -> Witnessed {
    match link.call(wire::ADD_CHECKPOINT, vec![request.to_bytes().into()], PATIENCE, ANSWER_BYTES_MAX).await {
        Ok(line) => {
            let line = String::from_utf8_lossy(&line.unwrap_or_default()).into_owned();
            Cosignature::parse(&line).map_or_else(|e| Witnessed::Silent(e.to_string()), Witnessed::Cosigned)
        }
        Err(CallError::Refused(refused)) => match (refused.refusal.code.as_str(), refused.refusal.number) {
            (OLD_SIZE, Some(has)) => Witnessed::Has(has),
            (CONTRADICTION, _) => Witnessed::Contradicted(refused.refusal.message),
            _ => Witnessed::Silent(refused.to_string()),
        },
        Err(error) => Witnessed::Silent(error.to_string()),
    }
}
