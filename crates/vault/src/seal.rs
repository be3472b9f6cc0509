//! Sealing: payloads under data keys, segments and notes under keys derived from the vault key.
//!
//! Nothing here is our own. Keys are derived by HKDF-SHA256 (RFC 5869) with 32 random bytes of salt for each message, so
//! that each derived key seals one message and its nonces may be counted from zero (NIST SP 800-38D asks for distinct
//! nonces under one key). A payload is sealed in chunks by STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015): AES-256-GCM with the chunk's number and
//! a last-chunk flag in the nonce, so that chunks can't be reordered, dropped or cut off.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use bytes::Bytes;
use kit::{Entropy, Id16, OperationId};
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::error::VaultError;
use crate::parcel::Scope;

pub(crate) const TAG_BYTES: usize = 16;
pub(crate) const SALT_BYTES: usize = 32;

/// Plaintext of one chunk of a payload: a reader opens it before it believes it, so it has to fit in memory.
const CHUNK_BYTES: usize = 1024 * 1024;

const SEALING: VaultError = VaultError::Internal { step: "sealing" };

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA256: 32 bytes of key for one use.
pub(crate) fn derive(key: &[u8; 32], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let mut derived = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(key)
        .expand(&[info], KeyLength)
        .and_then(|okm| okm.fill(derived.as_mut()))
        .map_err(|_| VaultError::Internal { step: "deriving a key" })?;
    Ok(derived)
}

fn cipher(key: &[u8; 32], salt: &[u8], info: &[u8]) -> Result<LessSafeKey, VaultError> {
    let derived = derive(key, salt, info)?;
    let unbound = UnboundKey::new(&AES_256_GCM, derived.as_slice());
    unbound.map(LessSafeKey::new).map_err(|_| VaultError::Internal { step: "making a key" })
}

/// A nonce of zeros around a counter and a flag.
fn nonce(counter: u32, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    if let Some(slot) = bytes.get_mut(7..11) {
        slot.copy_from_slice(&counter.to_be_bytes());
    }
    if let Some(flag) = bytes.last_mut() {
        *flag = u8::from(last);
    }
    Nonce::assume_unique_for_key(bytes)
}

/// Seals `buffer`, and puts the tag behind it.
fn seal_in_place(key: &LessSafeKey, nonce: Nonce, aad: &[u8], buffer: &mut Vec<u8>) -> Result<(), VaultError> {
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer).map_err(|_| SEALING)?;
    buffer.extend_from_slice(tag.as_ref());
    Ok(())
}

/// A whole message under a key of its own, derived from `key` by `salt` and `binding`.
pub(crate) fn seal_whole(
    key: &[u8; 32],
    salt: &[u8; SALT_BYTES],
    binding: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), VaultError> {
    seal_in_place(&cipher(key, salt, binding)?, nonce(0, true), binding, plain)
}

/// What [`seal_whole`] sealed; `None` where it isn't that.
pub(crate) fn open_whole(
    key: &[u8; 32],
    salt: &[u8; SALT_BYTES],
    binding: &[u8],
    mut sealed: Vec<u8>,
) -> Result<Option<Vec<u8>>, VaultError> {
    let cipher = cipher(key, salt, binding)?;
    let opened = cipher.open_in_place(nonce(0, true), Aad::from(binding), &mut sealed).map(|plain| plain.len());
    Ok(opened.ok().map(|len| {
        sealed.truncate(len);
        sealed
    }))
}

/// Messages counted from zero under one derived key.
pub(crate) struct Counted {
    cipher: LessSafeKey,
    binding: Vec<u8>,
}

impl Counted {
    /// `salt` is drawn for this one row of messages.
    pub(crate) fn new(key: &[u8; 32], salt: &[u8; SALT_BYTES], binding: Vec<u8>) -> Result<Self, VaultError> {
        Ok(Self { cipher: cipher(key, salt, &binding)?, binding })
    }

    /// Each number once.
    pub(crate) fn seal(&self, number: u32, plain: &mut Vec<u8>) -> Result<(), VaultError> {
        seal_in_place(&self.cipher, nonce(number, false), &self.binding, plain)
    }

    pub(crate) fn open(&self, number: u32, mut sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let opened = self.cipher.open_in_place(nonce(number, false), Aad::from(&self.binding), &mut sealed);
        let len = opened.ok()?.len();
        sealed.truncate(len);
        Some(Zeroizing::new(sealed))
    }
}

/// What a sealed segment is bound to.
pub(crate) fn segment_binding(vault: Id16, number: u64, term: u64) -> Vec<u8> {
    [b"holdfast segment v1".as_slice(), &vault.0, &number.to_be_bytes(), &term.to_be_bytes()].concat()
}

/// What a sealed payload is bound to: whose it is, what it is, and which act kept it.
pub(crate) fn payload_binding(scope: Scope, kind: &str, operation: OperationId, compressed: bool) -> Vec<u8> {
    let (tag, id) = scope.patient().map_or((0, [0; 16]), |patient| (1, patient.0));
    let kind_len = u8::try_from(kind.len()).unwrap_or(u8::MAX);
    [
        b"holdfast payload v1".as_slice(),
        &[tag],
        &id,
        &[kind_len],
        kind.as_bytes(),
        &operation.0,
        &[u8::from(compressed)],
    ]
    .concat()
}

/// Salt, then STREAM chunks; in pieces, since each chunk is sealed where its plaintext stands. So nothing of that is left,
/// and no other memory is needed for a large payload.
pub(crate) fn seal_payload(
    key: &[u8; 32],
    binding: &[u8],
    mut plain: Zeroizing<Vec<u8>>,
    entropy: &dyn Entropy,
) -> Result<Vec<Bytes>, VaultError> {
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let cipher = cipher(key, &salt, binding)?;
    let chunks = plain.len().div_ceil(CHUNK_BYTES).max(1);
    let mut tags = vec![0; chunks * TAG_BYTES];
    let seal = |number: usize, (body, place): (&mut [u8], &mut [u8])| {
        let nonce = nonce(u32::try_from(number).map_err(|_| SEALING)?, number + 1 == chunks);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(binding), body).map_err(|_| SEALING)?;
        place.copy_from_slice(tag.as_ref());
        Ok::<_, VaultError>(())
    };
    // An empty payload is one empty chunk.
    let bodies = plain.chunks_mut(CHUNK_BYTES).chain(std::iter::once::<&mut [u8]>(&mut [])).take(chunks);
    each_chunk(bodies.zip(tags.chunks_exact_mut(TAG_BYTES)).collect(), seal)?;
    // Behind its end may stand what was cut off it before.
    plain.spare_capacity_mut().zeroize();
    let (mut sealed, mut tags) = (Bytes::from(std::mem::take(&mut *plain)), Bytes::from(tags));
    let mut pieces = vec![Bytes::copy_from_slice(&salt)];
    for _ in 0..chunks {
        pieces.push(sealed.split_to(sealed.len().min(CHUNK_BYTES)));
        pieces.push(tags.split_to(TAG_BYTES));
    }
    Ok(pieces)
}

/// On all cores where there are several: they don't depend on one another.
fn each_chunk<T: Send, E: Send>(chunks: Vec<T>, work: impl Fn(usize, T) -> Result<(), E> + Sync) -> Result<(), E> {
    match chunks.len() {
        0 | 1 => chunks.into_iter().try_for_each(|chunk| work(0, chunk)),
        _ => chunks.into_par_iter().enumerate().try_for_each(|(number, chunk)| work(number, chunk)),
    }
}

/// What [`seal_payload`] sealed, opened where it stands; `None` where it isn't that.
pub(crate) fn open_payload(
    key: &[u8; 32],
    binding: &[u8],
    mut sealed: Zeroizing<Vec<u8>>,
) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    const SEALED_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
    let Some((salt, rest)) = sealed.split_first_chunk_mut::<SALT_BYTES>() else { return Ok(None) };
    let cipher = cipher(key, &*salt, binding)?;
    let (len, chunks) = (rest.len(), rest.len().div_ceil(SEALED_BYTES));
    // A chunk's plaintext is to stand so many bytes further left than it is opened. It is moved while a core has it at hand:
    // all but its first bytes, which belong into the place of the chunk before, stay in its own. A second buffer would have
    // to be cleared first.
    let shift = |number: usize| SALT_BYTES + number * TAG_BYTES;
    let mut firsts = Zeroizing::new(vec![0; chunks * shift(chunks)]);
    let open = |number: usize, (chunk, first): (&mut [u8], &mut [u8])| {
        let nonce = nonce(u32::try_from(number).map_err(drop)?, number + 1 == chunks);
        let plain = cipher.open_in_place(nonce, Aad::from(binding), chunk).map_err(drop)?;
        let (over, end) = (shift(number).min(plain.len()), plain.len());
        first.iter_mut().zip(&*plain).take(over).for_each(|(to, from)| *to = *from);
        plain.copy_within(over..end, 0);
        Ok::<_, ()>(())
    };
    let places = rest.chunks_mut(SEALED_BYTES).zip(firsts.chunks_mut(shift(chunks)));
    if chunks == 0 || each_chunk(places.collect(), open).is_err() {
        return Ok(None);
    }
    let plain_len = len - chunks * TAG_BYTES;
    for (number, first) in firsts.chunks(shift(chunks)).enumerate() {
        let place = sealed.get_mut(number * CHUNK_BYTES..plain_len).unwrap_or_default();
        place.iter_mut().zip(first).take(shift(number)).for_each(|(to, from)| *to = *from);
    }
    sealed.truncate(plain_len);
    Ok(Some(sealed))
}

/// Records are written at the disks' speed and read for decades: the fastest level keeps up, and loses a tenth or so.
const LEVEL: i32 = 1;

/// How much of a large payload is tried before all of it is compressed.
const SAMPLE_BYTES: usize = 64 * 1024;

/// zstd, where it makes the payload shorter by a thirty-second or more; what is less isn't worth the reader's time.
pub(crate) fn compress(plain: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let shrinks = |from: usize, to: usize| to + from / 32 < from;
    let squeeze = |bytes: &[u8]| zstd::bulk::compress(bytes, LEVEL).ok();
    if plain.len() > 8 * SAMPLE_BYTES {
        // Images and dose grids that are compressed already: three samples tell, at a fraction of the time.
        let starts = [0, plain.len() / 2, plain.len() - SAMPLE_BYTES];
        let sample: Zeroizing<Vec<u8>> = Zeroizing::new(
            starts.iter().filter_map(|&start| plain.get(start..start + SAMPLE_BYTES)).flatten().copied().collect(),
        );
        let squeezed = Zeroizing::new(squeeze(&sample)?);
        if !shrinks(sample.len(), squeezed.len()) {
            return None;
        }
    }
    let squeezed = Zeroizing::new(squeeze(plain)?);
    // In no more memory than it needs: zstd asks for more than the payload has, and what is sealed in it may have to wait.
    shrinks(plain.len(), squeezed.len()).then(|| Zeroizing::new(squeezed.to_vec()))
}

/// Exactly `len` bytes again, or nothing.
pub(crate) fn decompress(squeezed: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let plain = Zeroizing::new(zstd::bulk::decompress(squeezed, len).ok()?);
    (plain.len() == len).then_some(plain)
}

#[cfg(test)]
mod tests {
    use kit::{PatientId, SeededEntropy};

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn sealed(key: &[u8; 32], binding: &[u8], plain: &[u8], entropy: &SeededEntropy) -> Vec<u8> {
        seal_payload(key, binding, Zeroizing::new(plain.to_vec()), entropy).unwrap().concat()
    }

    #[test]
    fn payloads_open_whole_and_in_order_only() {
        let binding = payload_binding(Scope::Centre, "a", OperationId([1; 16]), false);
        let entropy = SeededEntropy::new(1);
        let plain: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|i| (i % 241) as u8).collect();
        for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, plain.len()] {
            let sealed = sealed(&KEY, &binding, &plain[..len], &entropy);
            let chunks = len.div_ceil(CHUNK_BYTES).max(1);
            assert_eq!(sealed.len(), SALT_BYTES + len + chunks * TAG_BYTES);
            let open = |sealed: Vec<u8>| open_payload(&KEY, &binding, Zeroizing::new(sealed)).unwrap();
            assert_eq!(**open(sealed.clone()).unwrap(), plain[..len]);
            let chunk = CHUNK_BYTES + TAG_BYTES;
            let mut others = vec![vec![], sealed[..20].to_vec(), sealed[..sealed.len() - 1].to_vec()];
            for at in [0, SALT_BYTES, sealed.len() - 1] {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1;
                others.push(flipped);
            }
            if chunks > 1 {
                others.push(sealed[..SALT_BYTES + chunk].to_vec()); // its end is gone
                others.push([&sealed[..SALT_BYTES], &sealed[SALT_BYTES + chunk..]].concat()); // its beginning
            }
            if chunks > 2 {
                let (a, b) = (SALT_BYTES + chunk, SALT_BYTES + 2 * chunk);
                others.push([&sealed[..SALT_BYTES], &sealed[a..b], &sealed[SALT_BYTES..a], &sealed[b..]].concat());
            }
            assert!(others.into_iter().all(|other| open(other).is_none()), "{len} bytes");
        }
    }

    #[test]
    fn a_payload_opens_as_what_it_was_sealed_only() {
        let entropy = SeededEntropy::new(1);
        let bind = |patient, kind: &str, operation, compressed| {
            payload_binding(Scope::Patient(PatientId([patient; 16])), kind, OperationId([operation; 16]), compressed)
        };
        let sealed = sealed(&KEY, &bind(1, "ab", 1, false), b"plain", &entropy);
        let opens = |key: [u8; 32], binding: Vec<u8>| {
            open_payload(&key, &binding, Zeroizing::new(sealed.clone())).unwrap().is_some()
        };
        assert!(opens(KEY, bind(1, "ab", 1, false)));
        assert!(!opens([8; 32], bind(1, "ab", 1, false)));
        for other in [bind(2, "ab", 1, false), bind(1, "a", 1, false), bind(1, "ab", 2, false), bind(1, "ab", 1, true)]
        {
            assert!(!opens(KEY, other));
        }
        assert!(!opens(KEY, payload_binding(Scope::Centre, "ab", OperationId([1; 16]), false)));
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        let mut noise = vec![0; 1_000_000];
        SeededEntropy::new(3).fill(&mut noise);
        assert!(compress(&noise).is_none() && compress(&noise[..1_000]).is_none() && compress(b"").is_none());
        let text = b"planning target volume ".repeat(50_000);
        for plain in [&text[..], &text[..1_000]] {
            let squeezed = compress(plain).unwrap();
            assert!(squeezed.len() < plain.len() / 2 && squeezed.capacity() < plain.len() / 2);
            assert_eq!(**decompress(&squeezed, plain.len()).unwrap(), *plain);
            assert!(decompress(&squeezed, plain.len() - 1).is_none());
            assert!(decompress(&squeezed, plain.len() + 1).is_none());
        }
    }
}
