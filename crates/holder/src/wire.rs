//! What travels between a gateway and a holder, and between holders: paths, messages, limits. No I/O here.
//!
//! Every message is strict CBOR (one spelling, nothing behind it) but two: the body of a put is its objects one after
//! the other, so that a shard is copied once; the answer to a get is the object. `docs/formats/holder.md` has the bytes.

use bytes::{Buf, Bytes};
use kit::format::{self, FormatError, Version};
use kit::{Id16, Timestamp};
use location::{BATCH_OBJECTS_MAX, Name, OBJECT_BYTES_MAX};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

pub const CARD: &str = "/v1/card";
pub const MEMBERS: &str = "/v1/members";
pub const MEMBERS_GET: &str = "/v1/members/get";
pub const STATUS: &str = "/v1/status";
pub const PUT: &str = "/v1/shards/put";
pub const GET: &str = "/v1/shards/get";
pub const LIST: &str = "/v1/shards/list";
pub const STATS: &str = "/v1/shards/stats";
pub const OPEN: &str = "/v1/keys/open";
pub const REFUSE: &str = "/v1/keys/refuse";
pub const TURN_BEGIN: &str = "/v1/keys/turn/begin";
pub const TURN_OWN: &str = "/v1/keys/turn/encapsulation";
pub const TURN_RESEAL: &str = "/v1/keys/turn/reseal";
pub const TURN_CONFIRM: &str = "/v1/keys/turn/confirm";
pub const TURN_FINISH: &str = "/v1/keys/turn/finish";
pub const ADD_CHECKPOINT: &str = "/v1/witness/add-checkpoint";
pub const ALARM: &str = "/v1/alarm";

/// The code of the refusal that says: the log was forked or rewritten.
pub const CONTRADICTION: &str = "ledger.witness-contradiction";
/// The code of the refusal that says: the request grows from another size than this witness has seen.
pub const OLD_SIZE: &str = "ledger.witness-old-size";
/// The code of the refusal that says: this certificate is nobody's of the centre, by the list that is there.
pub const STRANGER: &str = "holder.stranger";
/// The code of the refusal that says: a budget is used up.
pub const OVER_BUDGET: &str = "holder.over-budget";
/// The code of the refusal that says: nobody has proven that she asks herself.
pub const UNPROVEN: &str = "holder.unproven";
/// The code of the refusal that says: a proof's time is not this holder's.
pub const CLOCK: &str = "holder.clock";
/// The code of the refusal that says: no room.
pub const FULL: &str = "vault.location.full";
/// The code of the refusal that says: nothing stands under that name.
pub const ABSENT: &str = "holder.absent";

/// The body of a put. A vault's segment is 14 shards of at most 1 MiB, one of which comes here; a location that was away
/// gets many at once.
pub const PUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The body of every other request: a key record of the most holders with its batch, and a proof.
pub const REQUEST_BYTES_MAX: usize = 128 * 1024;
/// Records to be sealed again, of the most holders, and two batches.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;
/// Lines of one listing: about a megabyte.
pub const LIST_LINES_MAX: usize = 8_192;
/// An answer that isn't an object: a listing of the longest names.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// An object with its name's length (2 bytes), its own (4 bytes), its name, itself.
const OBJECT_HEAD_BYTES: usize = 6;

/// One object of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    pub name: Name,
    pub body: Bytes,
}

/// What goes before an object's body in a put.
pub fn put_head(name: &Name, body_len: usize) -> Vec<u8> {
    let (name, body_len) = (name.as_str().as_bytes(), u32::try_from(body_len).unwrap_or(u32::MAX));
    let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    [name_len.to_be_bytes().as_slice(), &body_len.to_be_bytes(), name].concat()
}

/// The bytes that one object takes in a put.
pub fn put_len(name: &Name, body_len: usize) -> usize {
    OBJECT_HEAD_BYTES + name.as_str().len() + body_len
}

/// The objects of a put's body; their bodies are not copied.
pub fn put_objects(mut body: Bytes) -> Result<Vec<PutObject>, FormatError> {
    const PLACE: &str = "put";
    let cut = || FormatError::Invalid { place: PLACE, what: "its length (it ends within an object)" };
    let mut objects = Vec::new();
    while !body.is_empty() {
        if objects.len() == BATCH_OBJECTS_MAX {
            return Err(within("the number of objects", BATCH_OBJECTS_MAX + 1, BATCH_OBJECTS_MAX));
        }
        let name_len = usize::from(body.try_get_u16().map_err(|_| cut())?);
        let body_len = usize::try_from(body.try_get_u32().map_err(|_| cut())?).unwrap_or(usize::MAX);
        if body_len > OBJECT_BYTES_MAX {
            return Err(within("an object's length", body_len, OBJECT_BYTES_MAX));
        }
        if body.len() < name_len || body.len() - name_len < body_len {
            return Err(cut());
        }
        let name = String::from_utf8(body.split_to(name_len).to_vec()).ok().and_then(|text| Name::new(text).ok());
        let name = name.ok_or(FormatError::Invalid { place: PLACE, what: "an object's name" })?;
        objects.push(PutObject { name, body: body.split_to(body_len) });
    }
    Ok(objects)
}

fn within(what: &'static str, found: usize, max: usize) -> FormatError {
    FormatError::Range { place: "put", what, found: found as u64, min: 0, max: max as u64 }
}

/// Encodes and decodes one message; its `MAX` is the most bytes that it may have.
pub trait Message: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    const PLACE: &'static str;
    const MAX: usize = REQUEST_BYTES_MAX;

    fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::decode(Self::PLACE, bytes, Self::MAX)
    }
}

/// What became of the objects of a put, in their order: true where it was created.
#[derive(Debug, Encode, Decode)]
pub struct PutDone {
    #[n(0)]
    pub created: Vec<bool>,
}

impl Message for PutDone {
    const PLACE: &'static str = "the answer to a put";
}

#[derive(Debug, Encode, Decode)]
pub struct GetRequest {
    #[n(0)]
    pub name: String,
    /// From, and up to but not including.
    #[n(1)]
    pub range: Option<(u64, u64)>,
}

impl Message for GetRequest {
    const PLACE: &'static str = "get";
}

#[derive(Debug, Encode, Decode)]
pub struct ListRequest {
    #[n(0)]
    pub after: Option<String>,
    #[n(1)]
    pub limit: u32,
}

impl Message for ListRequest {
    const PLACE: &'static str = "list";
}

#[derive(Debug, Encode, Decode)]
pub struct Listing {
    #[n(0)]
    pub lines: Vec<(String, u64)>,
}

impl Message for Listing {
    const PLACE: &'static str = "a listing";
    const MAX: usize = ANSWER_BYTES_MAX;
}

#[derive(Debug, Encode, Decode)]
pub struct StatsAnswer {
    #[n(0)]
    pub objects: u64,
    #[n(1)]
    pub bytes: u64,
}

impl Message for StatsAnswer {
    const PLACE: &'static str = "statistics";
}

/// Whose key, who wants it, why, when; and the caller's own proof of it.
#[derive(Debug, Encode, Decode)]
pub struct OpenShare {
    #[n(0)]
    pub version: Version<1>,
    #[n(1)]
    pub record: ByteVec,
    #[n(2)]
    pub batch: ByteVec,
    #[n(3)]
    pub person: String,
    #[n(4)]
    pub purpose: String,
    #[n(5)]
    pub at: Timestamp,
    /// The gateway's own business (the centre's secrets at a start) needs none.
    #[n(6)]
    pub proof: Option<ByteVec>,
}

impl Message for OpenShare {
    const PLACE: &'static str = "open";
}

#[derive(Debug, Encode, Decode)]
pub struct RefuseSubject {
    #[n(0)]
    pub subject: Id16,
}

impl Message for RefuseSubject {
    const PLACE: &'static str = "refuse";
}

/// Why a holder doesn't do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// Stable, dotted: `holder.busy`.
    #[n(0)]
    pub code: String,
    #[n(1)]
    pub message: String,
    /// The number that belongs to the code, where there is one: bytes, a size, a time.
    #[n(2)]
    pub number: Option<u64>,
}

impl Message for Refusal {
    const PLACE: &'static str = "a refusal";
}

/// One server, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    #[n(0)]
    pub number: u8,
    /// `10.1.2.3:7414`
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub pin: crate::Pin,
    /// The witness's verifier key.
    #[n(3)]
    pub witness: String,
    /// The holder's public key, as `keys` writes it.
    #[n(4)]
    pub key: ByteVec,
}

/// Who belongs to the centre, as its officer signed it. A holder takes a newer version only.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Members {
    #[n(0)]
    pub format: Version<1>,
    #[n(1)]
    pub vault: Id16,
    #[n(2)]
    pub version: u64,
    #[n(3)]
    pub servers: Vec<Member>,
    #[n(4)]
    pub gateways: Vec<crate::Pin>,
    /// Serials of certificates that were ended before their time.
    #[n(5)]
    pub ended: Vec<Id16>,
    /// The verifier key of the log that the servers witness.
    #[n(6)]
    pub log: String,
    /// How keys are split, instead of what each server's holder.toml says: the last one is how they are dealt; the ones before it
    /// are opened as well, as long as they are named here. Budgets go by whichever lets through least. Where it is, it holds at
    /// least one.
    #[n(7)]
    pub splits: Option<Vec<Split>>,
}

/// How each key is split among the holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Split {
    /// Holders that open a key.
    #[n(0)]
    pub needed: u8,
    /// Holders that there are.
    #[n(1)]
    pub holders: u8,
}

impl Split {
    /// Budgets reckon with a key that takes as many holders as this, of no more than there are.
    pub fn opens(self, needed: u8, holders: u8) -> bool {
        needed >= self.needed && holders <= self.holders
    }
}

/// A centre that grows has two.
pub const SPLITS_MAX: usize = 4;

impl Message for Members {
    const PLACE: &'static str = "the list of members";
    const MAX: usize = 1024 * 1024;
}

/// The officer lets the machine with this certificate read the list of members, before any list names it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Newcomer {
    #[n(0)]
    pub format: Version<1>,
    #[n(1)]
    pub pin: crate::Pin,
}

impl Message for Newcomer {
    const PLACE: &'static str = "a newcomer's pass";
}

/// A document and its Ed25519 signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signed {
    #[n(0)]
    pub body: ByteVec,
    #[n(1)]
    pub signature: ByteVec,
}

impl Message for Signed {
    const PLACE: &'static str = "a signed document";
    const MAX: usize = 1024 * 1024 + 128;
}

/// A holder tells the others what it refused or noticed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Alarm {
    #[n(0)]
    pub code: String,
    #[n(1)]
    pub text: String,
    #[n(2)]
    pub at: Timestamp,
}

impl Message for Alarm {
    const PLACE: &'static str = "an alarm";
    const MAX: usize = 4 * 1024;
}

/// What a holder says of itself. Each number only ever grows: one that fell shows a disk that was set back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    #[n(0)]
    pub number: u8,
    #[n(1)]
    pub opened: u64,
    #[n(2)]
    pub refused_subjects: u64,
    #[n(3)]
    pub objects: u64,
    #[n(4)]
    pub bytes: u64,
    /// Leaves of the log that it cosigned last.
    #[n(5)]
    pub witnessed: u64,
    /// Starts of the daemon on this disk.
    #[n(6)]
    pub starts: u64,
    /// Not growing: room for shards, in bytes.
    #[n(7)]
    pub free_bytes: u64,
    /// Objects that its own scrubbing found damaged, since it was started.
    #[n(8)]
    pub rotten: u64,
    /// The newest alarms, its own and those of others that it heard of.
    #[n(9)]
    pub alarms: Vec<Heard>,
    /// Not growing: charts opened within an hour and a day, and by whom most.
    #[n(10)]
    pub charts_hour: u64,
    #[n(11)]
    pub charts_day: u64,
    #[n(12)]
    pub highest: Vec<(String, u64)>,
    /// By its own clock.
    #[n(13)]
    pub at: Timestamp,
    /// Objects whose retention was ended on its console; they count among `objects` and `bytes` all the same.
    #[n(14)]
    pub ended: u64,
    /// Version of the list of members that it goes by; 0 before the first.
    #[n(15)]
    pub members: u64,
    /// Its public keys, as `keys` writes them: the one in use first, and the next epoch's while a turn is under way.
    #[n(16)]
    pub keys: Vec<ByteVec>,
    /// The epoch of the key in use.
    #[n(17)]
    pub epoch: u64,
}

impl Status {
    /// What only ever grows, with what it is.
    fn growing(&self) -> [(&'static str, u64); 8] {
        [
            ("starts", self.starts),
            ("shares opened", self.opened),
            ("subjects refused", self.refused_subjects),
            ("objects", self.objects),
            ("bytes", self.bytes),
            ("leaves witnessed", self.witnessed),
            ("objects ended", self.ended),
            ("key epoch", self.epoch),
        ]
    }

    /// The first number that is smaller than it was, and what it was: this disk was set back, or another one stands in its place.
    pub fn fell_since(&self, before: &Self) -> Option<(&'static str, u64)> {
        let pairs = before.growing().into_iter().zip(self.growing());
        pairs.into_iter().find(|((_, was), (_, is))| is < was).map(|(before, _)| before)
    }
}

impl Message for Status {
    const PLACE: &'static str = "a status";
    const MAX: usize = ANSWER_BYTES_MAX;
}

/// An alarm, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Heard {
    #[n(0)]
    pub from: u8,
    #[n(1)]
    pub alarm: Alarm,
}

/// What a holder shows of itself before anybody knows it; `mac` is made with the code that came with its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Card {
    #[n(0)]
    pub format: Version<1>,
    #[n(1)]
    pub vault: Id16,
    #[n(2)]
    pub number: u8,
    #[n(3)]
    pub pin: crate::Pin,
    #[n(4)]
    pub witness: String,
    #[n(5)]
    pub key: ByteVec,
}

impl Message for Card {
    const PLACE: &'static str = "a holder's card";
}
