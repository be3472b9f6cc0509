//! Reed-Solomon: k shards of a body, and n − k more, any k of which give the body back.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::{Bytes, BytesMut};
use kit::Digest;
use reed_solomon_simd::ReedSolomonEncoder;
use reed_solomon_simd::engine::{DefaultEngine, Engine, GF_ORDER, GfElement, ShardsRefMut};
use reed_solomon_simd::rate::{DefaultRateDecoder, RateDecoder};

use crate::core::{Recent, lock};
use crate::error::VaultError;
use crate::shape::Shape;

fn failed<E>(_: E) -> VaultError {
    VaultError::Internal { step: "Reed-Solomon coding" }
}

/// The length of each shard of a body: the code works on even lengths.
pub(crate) fn shard_len(body_len: usize, k: usize) -> usize {
    body_len.div_ceil(k).max(2).next_multiple_of(2)
}

/// The code works on columns of 64 bytes, each by itself: so many of them at a time that what is worked on stays in a
/// core's own cache. A megabyte's shards at once took nearly twice as long.
const STRIPE_BYTES: usize = 32 * 1024;

/// Segments' recovery shards that a coder remembers, to be written over once no location waits for them: 44 MiB in all of
/// full segments with the 3-of-14 code. Other memory would have to be cleared first.
const SPARE_MAX: usize = 4;

/// A body's shards, and the hash of each.
pub(crate) struct Coded {
    pub(crate) shards: Vec<Bytes>,
    pub(crate) hashes: Vec<Digest>,
}

/// Keeps its working space between segments.
pub(crate) struct Coder {
    shape: Shape,
    encoder: Option<ReedSolomonEncoder>,
    spare: VecDeque<Bytes>,
}

impl Coder {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, encoder: None, spare: VecDeque::new() }
    }

    /// The n shards of `body`: the body itself, filled up with zeros and cut in k, then the recovery shards; and the hash of
    /// each, taken stripe by stripe while a core has them at hand.
    pub(crate) fn encode(&mut self, mut body: Vec<u8>) -> Result<Coded, VaultError> {
        let (k, n) = (self.shape.k(), self.shape.n());
        let len = shard_len(body.len(), k);
        body.resize(k * len, 0);
        let body = Bytes::from(body);
        let mut shards: Vec<Bytes> = (0..k).map(|i| body.slice(i * len..(i + 1) * len)).collect();
        let mut hashers = vec![blake3::Hasher::new(); n];
        let (of_body, of_made) = hashers.split_at_mut(k);
        let mut made = self.room((n - k) * len);
        for from in (0..len).step_by(STRIPE_BYTES) {
            let stripe = from..len.min(from + STRIPE_BYTES);
            let originals = || shards.iter().filter_map(|shard| shard.get(stripe.clone()));
            for (part, hasher) in originals().zip(&mut *of_body) {
                hasher.update(part);
            }
            if n > k {
                let encoder = self.encoder(stripe.len())?;
                originals().try_for_each(|part| encoder.add_original_shard(part)).map_err(failed)?;
                let result = encoder.encode().map_err(failed)?;
                let places = made.chunks_exact_mut(len).filter_map(|shard| shard.get_mut(stripe.clone()));
                for ((place, part), hasher) in places.zip(result.recovery_iter()).zip(&mut *of_made) {
                    hasher.update(part);
                    place.copy_from_slice(part);
                }
            }
        }
        let made = made.freeze();
        if n > k {
            self.spare.push_back(made.clone());
        }
        shards.extend((0..n - k).map(|i| made.slice(i * len..(i + 1) * len)));
        let hashes = hashers.iter().map(|hasher| Digest(*hasher.finalize().as_bytes())).collect();
        Ok(Coded { shards, hashes })
    }

    /// So many bytes, whatever is in them.
    fn room(&mut self, bytes: usize) -> BytesMut {
        let free = self.spare.iter().position(|spare| spare.is_unique());
        let spare = free.and_then(|at| self.spare.remove(at)).and_then(|spare| spare.try_into_mut().ok());
        if self.spare.len() >= SPARE_MAX {
            self.spare.pop_front();
        }
        let mut room = spare.unwrap_or_default();
        room.resize(bytes, 0);
        room
    }

    fn encoder(&mut self, len: usize) -> Result<&mut ReedSolomonEncoder, VaultError> {
        let (k, more) = (self.shape.k(), self.shape.n() - self.shape.k());
        match &mut self.encoder {
            Some(encoder) => encoder.reset(k, more, len).map_err(failed)?,
            None => self.encoder = Some(ReedSolomonEncoder::new(k, more, len).map_err(failed)?),
        }
        self.encoder.as_mut().ok_or_else(|| failed(()))
    }
}

/// Patterns of lost shards that are remembered, at 256 KiB each: survivors are the same from segment to segment.
const PATTERNS_MAX: usize = 16;

type Pattern = (usize, Vec<GfElement>);

static PATTERNS: LazyLock<Mutex<Recent<Pattern, Arc<Vec<GfElement>>>>> =
    LazyLock::new(|| Mutex::new(Recent::new(PATTERNS_MAX)));

/// The default engine, with a memory for what a pattern of lost shards evaluates to. That is a transform of 65,536 points
/// for each decoding, however short: a hundred times what the shards of one record cost, and most of a recovery.
#[derive(Default)]
struct Remembering(DefaultEngine);

impl Engine for Remembering {
    fn fft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, truncated: usize, skew_delta: usize) {
        self.0.fft(data, pos, size, truncated, skew_delta);
    }

    fn ifft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, truncated: usize, skew_delta: usize) {
        self.0.ifft(data, pos, size, truncated, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated: usize) {
        let pattern = (truncated, erasures.to_vec());
        let known = lock(&PATTERNS).get(&pattern);
        if let Some(known) = known {
            erasures.copy_from_slice(&known);
            return;
        }
        DefaultEngine::eval_poly(erasures, truncated);
        lock(&PATTERNS).put(pattern, Arc::new(erasures.to_vec()), 1);
    }
}

/// The body of `body_len` bytes from k different good shards.
pub(crate) fn decode(shape: Shape, body_len: usize, shards: &[(usize, Bytes)]) -> Result<Vec<u8>, VaultError> {
    let (k, n) = (shape.k(), shape.n());
    let len = shard_len(body_len, k);
    let given = |i: usize| shards.iter().find(|(at, _)| *at == i).map(|(_, shard)| shard);
    let mut body = Vec::with_capacity(k * len);
    if (0..k).all(|i| given(i).is_some()) {
        (0..k).filter_map(given).for_each(|shard| body.extend_from_slice(shard));
    } else {
        let mut decoder = DefaultRateDecoder::new(k, n - k, len, Remembering::default(), None).map_err(failed)?;
        for (i, shard) in shards.iter().take(k) {
            if *i < k { decoder.add_original_shard(*i, shard) } else { decoder.add_recovery_shard(*i - k, shard) }
                .map_err(failed)?;
        }
        let result = decoder.decode().map_err(failed)?;
        for i in 0..k {
            match (given(i), result.restored_original(i)) {
                (_, Some(restored)) => body.extend_from_slice(restored),
                (Some(shard), None) => body.extend_from_slice(shard),
                (None, None) => return Err(failed(())),
            }
        }
    }
    body.truncate(body_len);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every k of n shards give the body back, for narrow, wide and no coding, and for bodies that fill no shard.
    #[test]
    fn any_k_of_n_give_the_body() {
        for (k, n, floor) in [(1, 1, 1), (1, 4, 3), (2, 2, 2), (3, 7, 5), (4, 6, 4)] {
            let shape = Shape::new(k, n, floor).unwrap();
            let mut coder = Coder::new(shape);
            for len in [1usize, 2, 16, 17, 63, 64, 1_000, 70_001, 3 * STRIPE_BYTES, 9 * STRIPE_BYTES + 65] {
                let body: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
                let shards = coder.encode(body.clone()).unwrap().shards;
                assert_eq!(shards.len(), usize::from(n));
                for chosen in 0u32..1 << n {
                    if chosen.count_ones() == u32::from(k) {
                        let given: Vec<(usize, Bytes)> =
                            (0..n.into()).filter(|i| chosen >> i & 1 == 1).map(|i| (i, shards[i].clone())).collect();
                        assert_eq!(decode(shape, len, &given).unwrap(), body, "{k} of {n}, {len} bytes, {chosen:b}");
                    }
                }
            }
        }
    }

    /// What is stored, and its hash, depends neither on the stripes nor on what was coded before, and stays what it is while somebody has it.
    #[test]
    fn stripes_make_the_shards_that_the_whole_would() {
        let (k, n) = (3, 14);
        let mut coder = Coder::new(Shape::new(k, n, 12).unwrap());
        let mut held = Vec::new();
        for len in [STRIPE_BYTES - 2, STRIPE_BYTES, STRIPE_BYTES + 2, 2 * STRIPE_BYTES + 66, 200, 3 * STRIPE_BYTES] {
            let body: Vec<u8> = (0..3 * len).map(|i| (i * i % 251) as u8).collect();
            let mut encoder = ReedSolomonEncoder::new(k.into(), (n - k).into(), len).unwrap();
            body.chunks(len).for_each(|shard| encoder.add_original_shard(shard).unwrap());
            let whole: Vec<Vec<u8>> = encoder.encode().unwrap().recovery_iter().map(<[u8]>::to_vec).collect();
            let Coded { shards, hashes } = coder.encode(body).unwrap();
            assert!(shards.iter().map(|shard| crate::hash::hash(shard)).eq(hashes));
            held.push((whole, shards));
            held.drain(..held.len().saturating_sub(SPARE_MAX + 1));
            assert!(held.iter().all(|(whole, shards)| shards[3..] == whole[..]));
        }
    }
}
