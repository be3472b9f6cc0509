//! A segment as it is written: sealed, coded, hashed, signed.

use bytes::Bytes;
use kit::Digest;
use kit::format::Version;
use minicbor::bytes::ByteVec;

use crate::code::{Coded, Coder};
use crate::core::Core;
use crate::error::VaultError;
use crate::header::{self, Acknowledged, Header, Previous};
use crate::seal::{self, SALT_BYTES};
use crate::shelf::{Located, Shelf};

/// A segment's body as it is written, sealed and coded. Nothing of it depends on another segment, so that several can be coded
/// at once; only their headers are made in order.
pub(crate) struct Coding {
    number: u64,
    pub(crate) term: u64,
    salt: [u8; SALT_BYTES],
    vault_key: u16,
    body_len: u32,
    coded: Coded,
}

/// For the shelf's shape, under the newest of the vault's keys.
pub(crate) fn code(
    core: &Core,
    shelf: &Shelf,
    coder: &mut Coder,
    (number, term): (u64, u64),
    mut body: Vec<u8>,
) -> Result<Coding, VaultError> {
    let mut salt = [0; SALT_BYTES];
    core.entropy.fill(&mut salt);
    let (vault_key, key) = core.vault_key()?;
    seal::seal_whole(key.bytes(), &salt, &seal::segment_binding(shelf.vault, number, term), &mut body)?;
    let body_len = u32::try_from(body.len()).map_err(|_| VaultError::Internal { step: "measuring a segment" })?;
    Ok(Coding { number, term, salt, vault_key, body_len, coded: coder.encode(body)? })
}

/// What a segment says of itself and of those before it.
pub(crate) struct Content {
    pub(crate) previous: Option<Previous>,
    /// The number of its first entry.
    pub(crate) first: u64,
    pub(crate) leaves: Vec<Digest>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) checkpoint: ByteVec,
}

pub(crate) struct Made {
    pub(crate) located: Located,
    /// What stands before each of the shards.
    pub(crate) prefix: Bytes,
    pub(crate) shards: Vec<Bytes>,
}

/// Behind `previous`.
pub(crate) fn make(core: &Core, shelf: &Shelf, content: Content, coding: Coding) -> Result<Made, VaultError> {
    let Content { previous, first, leaves, acknowledged, checkpoint } = content;
    let Coding { number, term, salt, vault_key, body_len, coded: Coded { shards, hashes } } = coding;
    let record = &core.centre().record;
    let narrow = |of: usize| u8::try_from(of).unwrap_or(u8::MAX);
    let header = Header {
        version: Version,
        vault: shelf.vault,
        number,
        term,
        previous,
        k: narrow(shelf.shape.k()),
        n: narrow(shelf.shape.n()),
        body_len,
        salt: salt.into(),
        shards: hashes,
        first,
        leaves,
        acknowledged,
        checkpoint,
        vault_key: (vault_key > 1).then_some(vault_key),
        record: Some(record.since()).filter(|since| *since > 0),
        entered: Some(record.entered()).filter(|entered| *entered > 0),
    };
    let bytes = header.to_bytes();
    // What is written has to be what a reader will accept.
    Header::from_bytes(&bytes)?;
    let signature = core.secrets.log.sign_bytes(&Header::signed_bytes(&bytes));
    let located = Located::new(&header, Header::hash(&bytes));
    Ok(Made { located, prefix: header::prefix(&bytes, &signature), shards })
}
