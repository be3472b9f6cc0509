//! Claims: a writer's right to write, signed by the log key. A name alone is nobody's claim.

use std::sync::Arc;

use bytes::Bytes;
use kit::{Entropy, Id16};

use crate::commit::at_each;
use crate::error::VaultError;
use crate::header::SIGNATURE_BYTES;
use crate::location::{Location, LocationError, Name, Object, Put};
use crate::secrets::LogKey;
use crate::shelf::{Shelf, Slot};

/// Claims are listed under this.
const CLAIMS: &str = "w/";

/// What the log key signs begins with this; a zero byte, so that it can never be a signed note.
const SIGNED: &[u8] = b"holdfast claim v1\0";

/// A signed claim, as it stands at locations.
#[derive(Clone)]
pub(crate) struct SignedClaim {
    pub(crate) term: u64,
    pub(crate) name: Name,
    pub(crate) body: Bytes,
}

impl SignedClaim {
    pub(crate) fn sign(key: &LogKey, vault: Id16, term: u64) -> Result<Self, VaultError> {
        let claim = [vault.0.as_slice(), &term.to_be_bytes()].concat();
        let signature = key.sign_bytes(&[SIGNED, &claim].concat());
        Ok(Self { term, name: name(generation(term))?, body: [claim.as_slice(), &signature].concat().into() })
    }

    /// The claim under this name, where this vault's log key signed it.
    pub(crate) fn open(shelf: &Shelf, name: &Name, body: &[u8]) -> Option<Self> {
        let (claim, signature) = body.split_last_chunk::<SIGNATURE_BYTES>()?;
        let (vault, term) = claim.split_first_chunk::<16>()?;
        let term = u64::from_be_bytes(term.try_into().ok()?);
        let ours = *vault == shelf.vault.0 && parse_name(name) == Some(generation(term));
        let signed = ours && shelf.has_signed(&[SIGNED, claim].concat(), signature);
        signed.then(|| Self { term, name: name.clone(), body: body.to_vec().into() })
    }

    pub(crate) fn generation(&self) -> u32 {
        generation(self.term)
    }

    /// Puts it to every location that lacks nothing: from now on that counts as one that answers. Gives how many have it.
    pub(crate) fn vouch(&self, shelf: &Arc<Shelf>) -> usize {
        let (claim, floor) = (self.clone(), shelf.shape.floor());
        let put = move |_: usize, slot: &Slot| match &slot.location {
            Some(location) if slot.state().is_whole() => {
                claim.put(&**location).inspect_err(|error| slot.fail(error)).unwrap_or(false)
            }
            _ => false,
        };
        at_each(shelf, floor, put).into_iter().filter(|has| *has).count()
    }

    /// True where it stands there afterwards; another writer's of the same generation may.
    pub(crate) fn put(&self, location: &dyn Location) -> Result<bool, LocationError> {
        let put = location.put_if_absent(&[Object { name: &self.name, parts: &[&self.body] }])?;
        Ok(put.first() == Some(&Put::Created) || location.get(&self.name, None)?.as_deref() == Some(&*self.body))
    }
}

/// A term of this generation; its lower half is drawn, so that what two writers of one generation put has two names.
pub(crate) fn term_of(generation: u32, entropy: &dyn Entropy) -> u64 {
    let mut random = [0; 4];
    entropy.fill(&mut random);
    u64::from(generation) << 32 | u64::from(u32::from_be_bytes(random))
}

/// The generation of a writer's term: its upper half.
pub(crate) fn generation(term: u64) -> u32 {
    u32::try_from(term >> 32).unwrap_or(u32::MAX)
}

fn name(generation: u32) -> Result<Name, LocationError> {
    Name::new(format!("{CLAIMS}{generation:08x}"))
}

/// The generation that a claim's name says.
pub(crate) fn parse_name(name: &Name) -> Option<u32> {
    let generation = u32::from_str_radix(name.as_str().strip_prefix(CLAIMS)?, 16).ok()?;
    (self::name(generation).ok()? == *name).then_some(generation)
}
