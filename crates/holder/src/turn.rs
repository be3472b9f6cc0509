//! The calls by which a holder turns its key epoch; what they do stands in `keys`.

use bytes::Bytes;
use keys::{Batch, Holder, HolderPublicKey, KeyRecord, Officer, Resealed, Turn, TurnOrder};
use kit::Id16;
use kit::format::{FormatError, Version};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::node::{Node, signed_by};
use crate::refused::Refused;
use crate::wire::{Message, Signed, TURN_BYTES_MAX};

/// What the officer's signature over an order to turn is of.
const TURN_CONTEXT: &[u8] = b"holdfast turn v1\n";

/// The epoch that is to begin.
#[derive(Debug, Encode, Decode)]
pub(crate) struct BeginTurn {
    #[n(0)]
    pub(crate) epoch: u32,
}

impl Message for BeginTurn {
    const PLACE: &'static str = "begin a turn";
}

/// For the encapsulation to itself.
#[derive(Debug, Encode, Decode)]
pub(crate) struct OwnEncapsulation {
    #[n(0)]
    pub(crate) batch: Id16,
}

impl Message for OwnEncapsulation {
    const PLACE: &'static str = "encapsulation to itself";
}

/// Records of batch `from`, to be sealed again in batch `to`.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Reseal {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub(crate) from: ByteVec,
    #[n(2)]
    pub(crate) to: ByteVec,
    #[n(3)]
    pub(crate) records: Vec<ByteVec>,
}

impl Message for Reseal {
    const PLACE: &'static str = "reseal";
    const MAX: usize = TURN_BYTES_MAX;
}

#[derive(Debug, Encode, Decode)]
pub(crate) struct ResealedShares {
    #[n(0)]
    pub(crate) shares: Vec<Option<ByteArray<48>>>,
}

impl Message for ResealedShares {
    const PLACE: &'static str = "the answer to a reseal";
}

/// Records that are stored now, all of one batch.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Confirm {
    #[n(0)]
    pub(crate) version: Version<1>,
    #[n(1)]
    pub(crate) batch: ByteVec,
    #[n(2)]
    pub(crate) records: Vec<ByteVec>,
}

impl Message for Confirm {
    const PLACE: &'static str = "confirm";
    const MAX: usize = TURN_BYTES_MAX;
}

/// The bytes of these records.
pub(crate) fn records_to_bytes(records: &[KeyRecord]) -> Vec<ByteVec> {
    records.iter().map(|record| record.to_bytes().into()).collect()
}

fn records_of(bytes: &[ByteVec]) -> Result<Vec<KeyRecord>, FormatError> {
    bytes.iter().map(|record| KeyRecord::from_bytes(record)).collect()
}

/// An order to turn, signed by the officer: the bytes of a signed document's body and its signature.
pub fn sign_turn(turn: &Turn, officer: &Officer) -> TurnOrder {
    let signature = officer.sign(&[TURN_CONTEXT, &turn.to_bytes()].concat()).to_vec();
    TurnOrder { turn: turn.clone(), signature }
}

impl Node {
    pub(crate) fn begin_turn(&self, request: &BeginTurn) -> Result<Bytes, Refused> {
        let next: HolderPublicKey = self.holder().begin_turn(request.epoch)?;
        self.note("holder.turn-begun", &format!("{next:?}"));
        Ok(next.to_bytes().into())
    }

    pub(crate) fn own_encapsulation(&self, request: &OwnEncapsulation) -> Result<Bytes, Refused> {
        Ok(self.holder().own_encapsulation(request.batch)?.into())
    }

    pub(crate) fn reseal(&self, request: &Reseal) -> Result<Bytes, Refused> {
        let (from, to) = (Batch::from_bytes(&request.from)?, Batch::from_bytes(&request.to)?);
        let shares: Vec<Resealed> = self.holder().reseal(&from, &to, &records_of(&request.records)?)?;
        self.note("holder.resealed", &format!("{} records, epoch {}", shares.len(), to.epoch));
        Ok(ResealedShares { shares }.to_bytes().into())
    }

    pub(crate) fn confirm(&self, request: &Confirm) -> Result<Bytes, Refused> {
        self.holder().confirm(&Batch::from_bytes(&request.batch)?, &records_of(&request.records)?)?;
        Ok(Bytes::new())
    }

    /// The one call that destroys something: the old epoch's key, on the officer's word, and only where all that the order
    /// names was found to open with the next one.
    pub(crate) fn finish_turn(&self, body: &[u8]) -> Result<Bytes, Refused> {
        let unsigned = || Refused::new(403, "keys.holder-not-ordered", "the centre's officer did not sign this order");
        let signed = Signed::from_bytes(body)?;
        if !signed_by(&self.officer(), &[TURN_CONTEXT, &signed.body].concat(), &signed.signature) {
            return Err(unsigned());
        }
        let turn = Turn::from_bytes(&signed.body)?;
        if turn.vault != self.vault() {
            return Err(Refused::new(403, "holder.other-centre", "this order is another centre's"));
        }
        let text = format!("epoch {}, {} living subjects", turn.epoch, turn.subjects);
        self.holder().finish_turn(&TurnOrder { turn, signature: signed.signature.to_vec() })?;
        self.note("holder.turned", &text);
        Ok(Bytes::new())
    }
}
