//! One server's holder: every call that it answers, from bytes to bytes. No network here; `daemon` is its door.
//!
//! ```text
//! DIR/holder.toml     what its administrator sets        DIR/shards/      the location
//! DIR/tls.cert .key   who it is                          DIR/holder/      its share key, refusals, count
//! DIR/members.cbor    the others, signed by the officer  DIR/witness/     its witness key, the log's head as it saw it
//! DIR/meter/          who opened what                    DIR/journal.log  what it refused and noticed
//!                                                        DIR/retention.log  when volumes were closed
//! ```
//!
//! What is absent: no call deletes or overwrites an object, none opens keys in bulk, none sets a budget or a clock. The
//! turn of the key epoch destroys an old key, on the officer's word only (`turn`).

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use keys::{
    Account, Authority, Batch, Holder, KeyRecord, Known, LocalHolder, Meter, MeterError, Officer, OpenRequest,
    OverBudget, PROOF_WINDOW_MS, Proof, ProofError, Replays, SYSTEM_SUBJECT, Statement,
};
use kit::format::Version;
use kit::limits::SERVERS_MAX;
use kit::{Blame, Clock, Entropy, Explain, Fault, Id16, SteadyClock, SystemClock, Timestamp, write_private};
use ledger::{AddCheckpoint, Vkey, WitnessRefusal};
use location::{FolderLocation, Listed, Location, LocationError, Marker, Name, Object, Put, Stats};
use minicbor::bytes::ByteVec;

use crate::alarms::{ALARMS_MAX, Alarms};
use crate::config::{Config, Keys, server_name};
use crate::identity::{Identity, Pin};
use crate::journal::Journal;
use crate::refused::Refused;
use crate::retention::Retention;
use crate::turn::{BeginTurn, Confirm, OwnEncapsulation, Reseal};
use crate::wire::{self, *};
use crate::witness::{NotCosigned, Witness};

pub(crate) const MEMBERS_FILE: &str = "members.cbor";
/// Rotten objects that are remembered; a disk with more is a disk to be replaced.
const ROTTEN_MAX: usize = 100_000;
const STANDING_FILE: &str = "starts.count";
/// What the officer's signature over a list of members is of.
const MEMBERS_CONTEXT: &[u8] = b"holdfast members v1\n";
const NEWCOMER_CONTEXT: &[u8] = b"holdfast newcomer v1\n";
const CARD_CONTEXT: &[u8] = b"holdfast card v1\n";

/// Who calls, by the certificate that it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Gateway(Pin),
    Server(u8),
    /// Nobody we know: may read the card, and bring a list that the officer signed; with her pass, read the one that is here.
    Stranger(Pin),
}

pub struct Node {
    dir: PathBuf,
    config: Config,
    vault: Id16,
    officer: [u8; 32],
    founders: Vec<Pin>,
    join_code: [u8; 32],
    pin: Pin,
    shards: FolderLocation,
    holder: LocalHolder,
    meter: Meter,
    witness: Witness,
    replays: Mutex<Replays>,
    known: Known,
    members: RwLock<Option<Members>>,
    alarms: Alarms,
    journal: Journal,
    starts: u64,
    retention: Mutex<Retention>,
    /// Objects whose retention was ended, before the start.
    ended: Stats,
    /// Objects that aren't as they were put, and weren't put again since.
    rotten: Mutex<BTreeSet<Name>>,
    /// Alarms that the other servers are still to be told.
    outbox: Mutex<Vec<Alarm>>,
    clock: Arc<dyn Clock>,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "holder.folder", format!("{}: {why}", place.display()))
}

impl Node {
    /// Makes this server's identity, keys and empty location in a folder that holds a configuration. Cut short, it may be
    /// repeated: what was made is kept.
    pub fn init(dir: &Path, entropy: &dyn Entropy) -> Result<Card, Fault> {
        kit::require_own(dir).map_err(|e| failed(dir, e))?;
        let config = Config::load(dir)?;
        let checked = config.checked().map_err(|why| failed(dir, why))?;
        if !has_identity(dir) {
            Identity::init(dir).map_err(|e| failed(dir, e))?;
        }
        if !dir.join("holder/holder.key").exists() {
            drop(LocalHolder::init_in(&dir.join("holder"), config.number, config.key_epoch, entropy)?);
        }
        if !Witness::is_there(&dir.join(crate::witness::FOLDER)) {
            Witness::init(&dir.join(crate::witness::FOLDER), entropy).map_err(|e| failed(dir, e))?;
        }
        let shards = dir.join("shards");
        if Marker::read(&shards).is_err() {
            let marker = Marker::new(server_name(config.number), checked.vault, config.number);
            drop(FolderLocation::init(&shards, marker)?);
        }
        Self::open(dir)?.card_of_us()
    }

    pub fn open(dir: &Path) -> Result<Self, Fault> {
        Self::open_at(dir, SystemClock.now())
    }

    /// As [`Self::open`], where the machine's clock says `machine`: its clock goes on from there, or from the newest proof
    /// that was taken, and nobody who sets the machine's clock meanwhile moves it. What else is noted here may be of a time
    /// when the clock was ahead: proofs of that time nobody would have taken.
    pub fn open_at(dir: &Path, machine: Timestamp) -> Result<Self, Fault> {
        kit::require_own(dir).map_err(|e| failed(dir, e))?;
        let config = Config::load(dir)?;
        let checked = config.checked().map_err(|why| failed(dir, why))?;
        let identity = Identity::open(dir).map_err(|e| failed(dir, e))?;
        let shards = FolderLocation::open(&dir.join("shards"), checked.vault)?;
        let holder = LocalHolder::open(&dir.join("holder"))?;
        if holder.number() != config.number {
            return Err(failed(dir, format!("its key is of holder {}, not {}", holder.number(), config.number)));
        }
        let name = format!("{}.holdfast/{}", server_name(config.number), checked.vault);
        let witness = Witness::open(&dir.join(crate::witness::FOLDER), &name).map_err(|e| failed(dir, e))?;
        let journal = Journal::open(dir).map_err(|e| failed(dir, e))?;
        let replays = Replays::open(&dir.join("meter"))?;
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::at(machine.max(replays.last_time())));
        let meter = Meter::open(&dir.join("meter"), config.part(), clock.now())?;
        let retention = Retention::open(dir)?;
        let ended = retention.gone(&shards.volumes()?);
        let newest = journal.last_time().max(meter.last_time()).max(replays.last_time());
        let (alarms, no_alarms) = Alarms::open(dir);
        // Who was killed may not have told them.
        let own = alarms.unseen().into_iter().filter(|heard| heard.from == config.number);
        let untold = own.map(|heard| heard.alarm).collect();
        let starts = next_start(dir).map_err(|e| failed(dir, e))?;
        let node = Self {
            dir: dir.to_owned(),
            vault: checked.vault,
            officer: checked.officer,
            founders: checked.gateways,
            join_code: checked.join_code,
            pin: identity.pin(),
            shards,
            holder,
            meter,
            witness,
            replays: Mutex::new(replays),
            known: Known::default(),
            members: RwLock::default(),
            alarms,
            journal,
            starts,
            retention: Mutex::new(retention),
            ended,
            rotten: Mutex::default(),
            outbox: Mutex::new(untold),
            clock,
            config,
        };
        match fs::read(dir.join(MEMBERS_FILE)) {
            Ok(bytes) => {
                let members = node.checked_members(&bytes).map_err(|e| failed(&dir.join(MEMBERS_FILE), e))?;
                node.meter.set_budgets(node.part(&members));
                *node.members.write().unwrap_or_else(PoisonError::into_inner) = Some(members);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&dir.join(MEMBERS_FILE), error)),
        }
        node.journal.note(node.clock.now(), "holder.start", &format!("start {starts}, the last line was of {newest}"));
        if let Some(why) = no_alarms {
            node.raise(
                "holder.alarms",
                format!("the alarms that stood here can't be read, the journal has them: {why}"),
            );
        }
        // Two clocks of one machine differ by less than two machines' may.
        if machine.plus_ms(PROOF_WINDOW_MS) < newest {
            let text =
                format!("the machine's clock says {machine}, {newest} is noted here: it was set back, or was ahead");
            node.raise(CLOCK, text);
        }
        Ok(node)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn holder(&self) -> &LocalHolder {
        &self.holder
    }

    pub(crate) fn officer(&self) -> [u8; 32] {
        self.officer
    }

    pub(crate) fn vault(&self) -> Id16 {
        self.vault
    }

    /// A line in the journal.
    pub(crate) fn note(&self, code: &str, text: &str) {
        self.journal.note(self.clock.now(), code, text);
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn members(&self) -> Option<Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The version of the list of members that is here; 0 before the first.
    pub(crate) fn members_version(&self) -> u64 {
        self.members.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |members| members.version)
    }

    /// The list of members as the officer signed it.
    pub(crate) fn signed_members(&self) -> Option<Bytes> {
        fs::read(self.dir.join(MEMBERS_FILE)).ok().map(Bytes::from)
    }

    /// Who shows this certificate.
    pub fn peer(&self, pin: Pin) -> Peer {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let Some(members) = members.as_ref() else {
            return if self.founders.contains(&pin) { Peer::Gateway(pin) } else { Peer::Stranger(pin) };
        };
        if members.gateways.contains(&pin) {
            return Peer::Gateway(pin);
        }
        members
            .servers
            .iter()
            .find(|server| server.pin == pin)
            .map_or(Peer::Stranger(pin), |one| Peer::Server(one.number))
    }

    /// The most bytes that a call's body may have; `None` where there is no such call.
    pub fn body_max(path: &str) -> Option<usize> {
        match path {
            wire::PUT => Some(PUT_BYTES_MAX),
            wire::MEMBERS => Some(Signed::MAX),
            wire::TURN_RESEAL | wire::TURN_CONFIRM => Some(TURN_BYTES_MAX),
            wire::TURN_BEGIN | wire::TURN_OWN | wire::TURN_FINISH => Some(REQUEST_BYTES_MAX),
            wire::CARD | wire::STATUS | wire::GET | wire::LIST | wire::STATS | wire::OPEN => Some(REQUEST_BYTES_MAX),
            wire::REFUSE | wire::ADD_CHECKPOINT | wire::ALARM | wire::MEMBERS_GET => Some(REQUEST_BYTES_MAX),
            _ => None,
        }
    }

    /// Answers a call. It may read and write the disk; it is never called from an executor's own thread.
    pub fn call(&self, peer: Peer, path: &str, body: Bytes) -> Result<Bytes, Refused> {
        let answer = self.answer(peer, path, body);
        if let Err(refused) = &answer
            && refused.refusal.code != wire::ABSENT
        {
            self.note_refused(peer, path, refused);
        }
        answer
    }

    pub(crate) fn note_refused(&self, peer: Peer, path: &str, refused: &Refused) {
        // Whoever is no call's path is the caller's own words: of them a beginning is enough.
        let path = path.get(..64).unwrap_or(path);
        self.journal.note_often(self.clock.now(), &refused.refusal.code, &format!("{peer:?} {path}: {refused}"));
        tracing::info!(?peer, path, %refused, "refused");
    }

    pub(crate) fn note_no_handshake(&self, from: IpAddr, why: &str) {
        self.journal.note_often(self.clock.now(), "holder.handshake", &format!("{from}: {why}"));
        tracing::info!(%from, why, "no handshake");
    }

    fn answer(&self, peer: Peer, path: &str, body: Bytes) -> Result<Bytes, Refused> {
        let gateway = || match peer {
            Peer::Gateway(pin) => Ok(pin),
            _ => Err(Refused::new(403, "holder.not-a-gateway", "this is for the centre's gateways")),
        };
        let is_known = !matches!(peer, Peer::Stranger(_));
        match path {
            wire::CARD => Ok(self.card_of_us()?.with_mac(&self.join_code).into()),
            wire::MEMBERS => self.take_members(&body),
            wire::MEMBERS_GET => self.give_members(peer, &body),
            wire::STATUS if is_known => Ok(self.status()?.to_bytes().into()),
            wire::ALARM => match peer {
                Peer::Server(number) => self.hear(number, Alarm::from_bytes(&body)?),
                _ => Err(Refused::new(403, "holder.not-a-server", "alarms come from the centre's servers")),
            },
            wire::PUT => gateway().and_then(|_| self.put(body)),
            wire::GET => gateway().and_then(|_| self.get(&GetRequest::from_bytes(&body)?)),
            wire::LIST => gateway().and_then(|_| self.list(&ListRequest::from_bytes(&body)?)),
            wire::STATS => gateway().and_then(|_| self.stats()),
            wire::OPEN => gateway().and_then(|pin| self.open_share(pin, &OpenShare::from_bytes(&body)?)),
            wire::ADD_CHECKPOINT if is_known => self.add_checkpoint(&body),
            wire::REFUSE => gateway().and_then(|pin| self.refuse(pin, &RefuseSubject::from_bytes(&body)?)),
            wire::TURN_BEGIN => gateway().and_then(|_| self.begin_turn(&BeginTurn::from_bytes(&body)?)),
            wire::TURN_OWN => gateway().and_then(|_| self.own_encapsulation(&OwnEncapsulation::from_bytes(&body)?)),
            wire::TURN_RESEAL => gateway().and_then(|_| self.reseal(&Reseal::from_bytes(&body)?)),
            wire::TURN_CONFIRM => gateway().and_then(|_| self.confirm(&Confirm::from_bytes(&body)?)),
            wire::TURN_FINISH => gateway().and_then(|_| self.finish_turn(&body)),
            _ => Err(Refused::new(403, wire::STRANGER, "this certificate is not of this centre")),
        }
    }

    // ---- Who belongs to the centre

    fn card_of_us(&self) -> Result<Card, Fault> {
        Ok(Card {
            format: Version,
            vault: self.vault,
            number: self.config.number,
            pin: self.pin,
            witness: self.witness.vkey().to_string(),
            key: self.holder.public_key().to_bytes().into(),
        })
    }

    fn checked_members(&self, bytes: &[u8]) -> Result<Members, Refused> {
        let members = Members::open(bytes, &self.officer)?;
        if members.vault != self.vault {
            return Err(Refused::new(403, "holder.other-centre", "this list is of another centre"));
        }
        let us = members.servers.iter().find(|server| server.number == self.config.number);
        if us.is_none_or(|us| us.pin != self.pin) {
            return Err(Refused::new(403, "holder.not-listed", "this list does not have this server in its place"));
        }
        if let Some(splits) = &members.splits {
            let is_sound = |split: &Split| {
                (1..=split.holders).contains(&split.needed) && usize::from(split.holders) <= SERVERS_MAX
            };
            if !(1..=SPLITS_MAX).contains(&splits.len()) || !splits.iter().all(is_sound) {
                let text =
                    format!("a list names 1 to {SPLITS_MAX} ways to split keys, t of n, 1 <= t <= n <= {SERVERS_MAX}");
                return Err(Refused::new(400, "holder.splits", text));
            }
        }
        Ok(members)
    }

    /// The budgets' part that this holder lets through: the smallest of those that the list's ways to split keys make of them.
    fn part(&self, members: &Members) -> keys::Budgets {
        let splits = members.splits.iter().flatten();
        let parts = splits.map(|split| self.config.part_of(Keys { needed: split.needed, holders: split.holders }));
        parts.reduce(keys::Budgets::least).unwrap_or_else(|| self.config.part())
    }

    fn take_members(&self, bytes: &[u8]) -> Result<Bytes, Refused> {
        let members = self.checked_members(bytes)?;
        let mut held = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let have = held.as_ref().map_or(0, |held| held.version);
        if held.as_ref() == Some(&members) {
            return Ok(Bytes::new());
        }
        if members.version <= have {
            let text = format!("version {} of the list of members, {have} is here", members.version);
            return Err(Refused::new(409, "holder.old-list", text).number(have));
        }
        write_private(&self.dir.join(MEMBERS_FILE), bytes).map_err(|e| failed(&self.dir.join(MEMBERS_FILE), e))?;
        self.journal.note(self.clock.now(), "holder.members", &format!("version {}", members.version));
        self.meter.set_budgets(self.part(&members));
        *held = Some(members);
        Ok(Bytes::new())
    }

    /// The list as it was signed. Where the servers are, and who may open charts, is nobody's business who has no business
    /// here: a stranger shows the officer's pass for its own certificate.
    fn give_members(&self, peer: Peer, pass: &[u8]) -> Result<Bytes, Refused> {
        if let Peer::Stranger(pin) = peer {
            Newcomer::admit(pass, pin, &self.officer)?;
            self.note("holder.newcomer", &format!("{pin} reads the list of members on the officer's word"));
        }
        self.signed_members().ok_or_else(|| Refused::new(404, wire::ABSENT, "no list of members has come yet"))
    }

    // ---- Shards: put if absent, get, list. Nothing else.

    fn put(&self, body: Bytes) -> Result<Bytes, Refused> {
        let len = body.len() as u64;
        let objects = put_objects(body)?;
        let config = &self.config.shards;
        let stats = self.shards.stats()?;
        if config.quota_bytes > 0 && stats.bytes.saturating_add(len) > config.quota_bytes {
            let text = format!("{len} bytes more than {} of a quota of {}", stats.bytes, config.quota_bytes);
            return Err(Refused::new(507, FULL, text).number(len));
        }
        let free = self.free_bytes()?;
        if free < config.reserve_bytes.saturating_add(len) {
            let text = format!("{len} bytes, of {free} free ones {} are kept free", config.reserve_bytes);
            return Err(Refused::new(507, FULL, text).number(len));
        }
        let parts: Vec<[&[u8]; 1]> = objects.iter().map(|object| [object.body.as_ref()]).collect();
        let batch: Vec<Object<'_>> =
            objects.iter().zip(&parts).map(|(object, parts)| Object { name: &object.name, parts }).collect();
        let put = self.shards.put_if_absent(&batch)?;
        {
            let mut rotten = self.rotten();
            objects.iter().for_each(|object| {
                rotten.remove(&object.name);
            });
        }
        let created = put.iter().map(|put| *put == Put::Created).collect();
        Ok(PutDone { created }.to_bytes().into())
    }

    fn get(&self, request: &GetRequest) -> Result<Bytes, Refused> {
        let name = Name::new(request.name.as_str())?;
        let range = request.range.map(|(from, to)| from..to);
        let object = self.shards.get(&name, range)?;
        object.map(Bytes::from).ok_or_else(|| Refused::new(404, wire::ABSENT, "nothing stands under this name"))
    }

    fn list(&self, request: &ListRequest) -> Result<Bytes, Refused> {
        let after = request.after.as_deref().map(Name::new).transpose()?;
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX).min(LIST_LINES_MAX);
        // What is known to be rotten isn't there: so it is put again.
        let rotten = self.rotten().clone();
        let listed = self.shards.list(after.as_ref(), limit.saturating_add(rotten.len()))?;
        let good = listed.into_iter().filter(|one| !rotten.contains(&one.name)).take(limit);
        let lines = good.map(|one| (one.name.as_str().to_owned(), one.len)).collect();
        Ok(Listing { lines }.to_bytes().into())
    }

    fn stats(&self) -> Result<Bytes, Refused> {
        let stats = self.shards.stats()?;
        Ok(StatsAnswer { objects: stats.objects, bytes: stats.bytes }.to_bytes().into())
    }

    fn free_bytes(&self) -> Result<u64, Fault> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|e| failed(&self.dir, e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    // ---- Key shares

    fn open_share(&self, gateway: Pin, request: &OpenShare) -> Result<Bytes, Refused> {
        let record = KeyRecord::from_bytes(&request.record)?;
        let batch = Batch::from_bytes(&request.batch)?;
        let (person, purpose, at) = (request.person.as_str(), request.purpose.as_str(), request.at);
        let proof = request.proof.as_ref().map(|bytes| Proof::from_bytes(bytes)).transpose()?;
        if record.subject.0.starts_with(SYSTEM_SUBJECT) {
            self.journal.note(self.clock.now(), "holder.centre-key", &format!("{gateway}: {purpose}"));
        } else {
            self.admit(gateway, &record, proof.as_ref(), (person, purpose, at))?;
        }
        let asked = OpenRequest { record: &record, batch: &batch, person, purpose, at, proof: proof.as_ref() };
        let share = self.holder.open_share(&asked)?;
        Ok(Bytes::copy_from_slice(share.bytes()))
    }

    /// That the person asks herself, for the first time with this proof, and that her budget, the gateway's and all
    /// gateways' have room. It is counted before anything is opened.
    fn admit(
        &self,
        gateway: Pin,
        record: &KeyRecord,
        proof: Option<&Proof>,
        (person, purpose, at): (&str, &str, Timestamp),
    ) -> Result<(), Refused> {
        let now = self.clock.now();
        self.check_split(record)?;
        let unproven = |why: String| Refused::new(403, UNPROVEN, why);
        let proof = proof.ok_or_else(|| unproven("the person's own proof is missing".to_owned()))?;
        let statement = Statement { patient: record.subject, commitment: record.commitment, person, purpose, at };
        let proven = {
            let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
            let ended = members.as_ref().map_or(&[][..], |members| &members.ended);
            let authority = Authority { known: &self.known, vault: self.vault, officer: self.officer, ended };
            proof.check(&authority, &statement, now).map_err(|error| match error {
                ProofError::Time { .. } => Refused::new(403, CLOCK, error.to_string()),
                _ => unproven(error.to_string()),
            })?
        };
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        replays.take(&proven, now).map_err(|error| match error {
            ProofError::Unwritten(_) => Refused::new(507, "holder.meter", error.to_string()),
            _ => unproven(error.to_string()),
        })?;
        drop(replays);
        let account = Account { person, purpose, is_delegated: proven.is_delegated, gateway: &gateway.0 };
        self.meter.admit(now, account, record.subject).map_err(|error| self.over(error))
    }

    /// The fewer holders a chart takes, the more of them a budget lets through: a gateway in a thief's hands chooses the records
    /// that it shows.
    fn check_split(&self, record: &KeyRecord) -> Result<(), Refused> {
        let Keys { needed, holders } = self.config.keys;
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let listed = members.as_ref().and_then(|members| members.splits.clone());
        let splits = listed.unwrap_or_else(|| vec![Split { needed, holders }]);
        if splits.iter().any(|split| split.opens(record.t, record.n)) {
            return Ok(());
        }
        let reckoned: Vec<String> =
            splits.iter().map(|Split { needed, holders }| format!("{needed} of {holders}")).collect();
        let text =
            format!("{} of {} open this key, budgets reckon with {}", record.t, record.n, reckoned.join(" and "));
        Err(Refused::new(409, "holder.other-shape", text))
    }

    /// A budget that is used up is an alarm: the other servers hear of it.
    fn over(&self, error: MeterError) -> Refused {
        match error {
            MeterError::OverBudget(over) => {
                // The same words until the window has moved on, so that a thief at work is one alarm and not a thousand.
                let OverBudget { whose, limit, window, .. } = &over;
                let text =
                    format!("{whose}: this holder's part of the budget, {limit} charts within {window}, is used up");
                self.raise(OVER_BUDGET, text);
                Refused::new(429, OVER_BUDGET, over.to_string()).number(u64::from(over.limit))
            }
            other => Refused::new(507, "holder.meter", other.to_string()),
        }
    }

    fn refuse(&self, gateway: Pin, request: &RefuseSubject) -> Result<Bytes, Refused> {
        if !request.subject.0.starts_with(SYSTEM_SUBJECT) {
            let admitted = self.meter.admit_erasure(self.clock.now(), &gateway.0, request.subject);
            admitted.map_err(|error| self.over(error))?;
        }
        self.holder.refuse(request.subject)?;
        Ok(Bytes::new())
    }

    // ---- The log's heads

    fn add_checkpoint(&self, body: &[u8]) -> Result<Bytes, Refused> {
        let malformed = |error: ledger::LedgerError| Refused::new(400, "holder.malformed", error.to_string());
        let request = AddCheckpoint::from_bytes(body).map_err(malformed)?;
        let log = self.members().map(|members| members.log).filter(|log| !log.is_empty());
        let log = log.ok_or_else(|| Refused::new(403, "holder.no-log", "no list of members has named the log yet"))?;
        let log: Vkey = log.parse().map_err(malformed)?;
        match self.witness.add(&log, &request, self.clock.now()) {
            Ok(cosignature) => Ok(cosignature.line().into()),
            Err(NotCosigned::Refused(refusal)) if refusal.is_alarm() => {
                self.raise(CONTRADICTION, contradiction(&refusal));
                Err(Refused::new(409, CONTRADICTION, refusal.to_string()))
            }
            Err(NotCosigned::Refused(refusal)) => {
                let refused = Refused::new(409, refusal.code(), refusal.to_string());
                Err(match refusal {
                    WitnessRefusal::OldSize { has, .. } => Refused::new(409, OLD_SIZE, refused.to_string()).number(has),
                    _ => refused,
                })
            }
            Err(other) => Err(Refused::new(500, "holder.witness", other.to_string())),
        }
    }

    // ---- What the others are told, and tell

    fn status(&self) -> Result<Status, Fault> {
        let stats = self.shards.stats()?;
        let counts = self.meter.counts(self.clock.now());
        let keys = self.holder.public_keys();
        Ok(Status {
            number: self.config.number,
            opened: self.holder.opened(),
            refused_subjects: self.holder.refused() as u64,
            objects: stats.objects.saturating_add(self.ended.objects),
            bytes: stats.bytes.saturating_add(self.ended.bytes),
            witnessed: self.witness.size(),
            starts: self.starts,
            free_bytes: self.free_bytes()?,
            rotten: self.rotten().len() as u64,
            alarms: self.alarms.unseen(),
            charts_hour: counts.hour as u64,
            charts_day: counts.day as u64,
            highest: counts.persons.into_iter().map(|(name, count)| (name, count as u64)).collect(),
            at: self.clock.now(),
            ended: self.ended.objects,
            members: self.members_version(),
            epoch: keys.first().map_or(0, |key| u64::from(key.epoch())),
            keys: keys.iter().map(|key| ByteVec::from(key.to_bytes())).collect(),
        })
    }

    fn hear(&self, from: u8, alarm: Alarm) -> Result<Bytes, Refused> {
        let heard = Heard { from, alarm };
        if !self.alarms.has(&heard) {
            let text = format!("from {from}: {}: {}", heard.alarm.code, heard.alarm.text);
            self.journal.note_often(self.clock.now(), "holder.heard", &text);
            self.alarms.remember(heard);
        }
        Ok(Bytes::new())
    }

    /// Something that a person has to look at: into the journal, onto the status page, and to the other servers. The same
    /// one is not raised twice before somebody has seen it, nor within a day.
    pub(crate) fn raise(&self, code: &str, text: String) {
        let alarm = Alarm { code: code.to_owned(), text, at: self.clock.now() };
        let heard = Heard { from: self.config.number, alarm: alarm.clone() };
        if self.alarms.knows(&heard) {
            return;
        }
        tracing::error!(code, alarm.text, "alarm");
        self.journal.note(alarm.at, code, &alarm.text);
        self.alarms.remember(heard);
        self.sync_alarms();
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if outbox.len() < ALARMS_MAX {
            outbox.push(alarm);
        }
    }

    /// Since when a volume is closed is known to those who saw the next one.
    pub(crate) fn note_volumes(&self) {
        let mut retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = retention.note(self.clock.now(), self.shards.newest_volume()) {
            tracing::warn!(%error, "which volume is the newest can't be noted: the others count as younger than they are");
        }
    }

    /// Brings what the meter counted to the disk; now and then, so that nobody who asks for a share waits for it.
    pub(crate) fn sync(&self) {
        let proofs = self.replays.lock().unwrap_or_else(PoisonError::into_inner).unsynced();
        let synced = proofs.and_then(|file| file.map_or(Ok(()), |file| file.sync_data()));
        let synced = self.meter.sync().map_err(|error| error.to_string()).and(synced.map_err(|e| e.to_string()));
        if let Err(error) = synced {
            self.raise("holder.meter", format!("what was opened can't be brought to the disk: {error}"));
        }
        self.sync_alarms();
    }

    fn sync_alarms(&self) {
        if let Err(error) = self.alarms.sync() {
            tracing::error!(%error, "alarms can't be brought to the disk");
        }
    }

    pub(crate) fn take_outbox(&self) -> Vec<Alarm> {
        std::mem::take(&mut *self.outbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn rotten(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.rotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one object over; its number of rotten ones is what the status shows.
    pub(crate) fn scrub(&self, name: &Name) {
        if let Err(LocationError::Damaged { .. }) = self.shards.get(name, None) {
            {
                let mut rotten = self.rotten();
                if rotten.len() < ROTTEN_MAX {
                    rotten.insert(name.clone());
                }
            }
            self.journal.note_often(self.clock.now(), "holder.rotten", &format!("object {name} is not as it was put"));
            // One alarm for all of them: a disk that rots is to push nobody's theft off the page.
            self.raise("holder.rotten", "objects are not as they were put: heal them from the gateway".to_owned());
        }
    }

    pub(crate) fn page(&self, after: Option<&Name>, limit: usize) -> Vec<Listed> {
        self.shards.list(after, limit).unwrap_or_default()
    }
}

/// Both heads, in full: together they are the proof.
fn contradiction(refusal: &WitnessRefusal) -> String {
    match refusal {
        WitnessRefusal::Forked { seen, shown }
        | WitnessRefusal::Rewritten { seen, shown }
        | WitnessRefusal::Rollback { seen, shown } => format!(
            "the log contradicts itself: {} leaves with root {} were seen, {} with root {} are shown",
            seen.size, seen.root, shown.size, shown.root
        ),
        other => other.to_string(),
    }
}

fn has_identity(dir: &Path) -> bool {
    dir.join("tls.cert").exists()
}

/// Counts the starts on this disk.
fn next_start(dir: &Path) -> std::io::Result<u64> {
    let path = dir.join(STANDING_FILE);
    let starts = match fs::read_to_string(&path) {
        Ok(text) => {
            text.trim().parse::<u64>().map_err(|_| std::io::Error::other("the count of starts is no number"))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let starts = starts.saturating_add(1);
    write_private(&path, format!("{starts}\n").as_bytes())?;
    Ok(starts)
}

pub(crate) fn signed_by(key: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok()
}

impl Card {
    fn with_mac(&self, join_code: &[u8; 32]) -> Vec<u8> {
        let body = self.to_bytes();
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, join_code), &[CARD_CONTEXT, &body].concat());
        Signed { body: body.into(), signature: mac.as_ref().to_vec().into() }.to_bytes()
    }

    /// The card, where it was made with this code: by the machine that the code was brought to.
    pub fn open(bytes: &[u8], join_code: &[u8; 32]) -> Result<Self, Refused> {
        let signed = Signed::from_bytes(bytes)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, join_code);
        hmac::verify(&key, &[CARD_CONTEXT, &signed.body].concat(), &signed.signature)
            .map_err(|_| Refused::new(403, "holder.join-code", "the card was not made with this server's join code"))?;
        Ok(Self::from_bytes(&signed.body)?)
    }
}

impl Members {
    pub fn sign(&self, officer: &Officer) -> Vec<u8> {
        let body = self.to_bytes();
        let signature = officer.sign(&[MEMBERS_CONTEXT, &body].concat());
        Signed { body: body.into(), signature: ByteVec::from(signature.to_vec()) }.to_bytes()
    }

    /// The list, where the officer signed it.
    pub fn open(bytes: &[u8], officer: &[u8; 32]) -> Result<Self, Refused> {
        let signed = Signed::from_bytes(bytes)?;
        if !signed_by(officer, &[MEMBERS_CONTEXT, &signed.body].concat(), &signed.signature) {
            return Err(Refused::new(403, "holder.unsigned", "the centre's officer did not sign this list"));
        }
        Ok(Self::from_bytes(&signed.body)?)
    }
}

impl Newcomer {
    /// The pass, signed.
    pub fn sign(&self, officer: &Officer) -> Vec<u8> {
        let body = self.to_bytes();
        let signature = officer.sign(&[NEWCOMER_CONTEXT, &body].concat());
        Signed { body: body.into(), signature: ByteVec::from(signature.to_vec()) }.to_bytes()
    }

    /// That the officer signed a pass for this certificate: whoever else shows it has another.
    fn admit(bytes: &[u8], pin: Pin, officer: &[u8; 32]) -> Result<(), Refused> {
        let stranger = || Refused::new(403, wire::STRANGER, "this takes the officer's pass for this certificate");
        let signed = Signed::from_bytes(bytes).map_err(|_| stranger())?;
        let is_hers = signed_by(officer, &[NEWCOMER_CONTEXT, &signed.body].concat(), &signed.signature);
        let pass = Self::from_bytes(&signed.body).ok().filter(|pass| is_hers && pass.pin == pin);
        pass.map(drop).ok_or_else(stranger)
    }
}
