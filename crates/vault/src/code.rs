//! Reed-Solomon: k shards of a body, and n − k more, any k of which give the body back.

use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
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

/// Keeps its working space between segments.
pub(crate) struct Coder {
    shape: Shape,
    encoder: Option<ReedSolomonEncoder>,
}

impl Coder {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, encoder: None }
    }

    /// The n shards of `body`: the body itself, filled up with zeros and cut in k, then the recovery shards.
    pub(crate) fn encode(&mut self, mut body: Vec<u8>) -> Result<Vec<Bytes>, VaultError> {
        let (k, n) = (self.shape.k(), self.shape.n());
        let len = shard_len(body.len(), k);
        body.resize(k * len, 0);
        let body = Bytes::from(body);
        let mut shards: Vec<Bytes> = (0..k).map(|i| body.slice(i * len..(i + 1) * len)).collect();
        if n > k {
            let mut encoder = match self.encoder.take() {
                Some(mut encoder) => {
                    encoder.reset(k, n - k, len).map_err(failed)?;
                    encoder
                }
                None => ReedSolomonEncoder::new(k, n - k, len).map_err(failed)?,
            };
            shards.iter().try_for_each(|shard| encoder.add_original_shard(shard)).map_err(failed)?;
            let result = encoder.encode().map_err(failed)?;
            // In one piece: eleven of a megabyte would be mapped and cleared anew for each segment.
            let mut made = Vec::with_capacity((n - k) * len);
            result.recovery_iter().for_each(|shard| made.extend_from_slice(shard));
            drop(result);
            let made = Bytes::from(made);
            shards.extend((0..n - k).map(|i| made.slice(i * len..(i + 1) * len)));
            self.encoder = Some(encoder);
        }
        Ok(shards)
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
            for len in [1usize, 2, 16, 17, 63, 64, 1_000, 70_001] {
                let body: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
                let shards = coder.encode(body.clone()).unwrap();
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
}
