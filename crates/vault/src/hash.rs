//! BLAKE3, on all cores where the bytes are worth it.

use bytes::Bytes;
use kit::Digest;
use rayon::prelude::*;

/// Below it, waking threads costs more than they save.
const PARALLEL_BYTES_MIN: usize = 4 * 1024 * 1024;

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    if bytes.len() < PARALLEL_BYTES_MIN {
        hasher.update(bytes)
    } else {
        hasher.update_rayon(bytes)
    };
    Digest(*hasher.finalize().as_bytes())
}

/// What the pieces are, one behind the other.
pub(crate) fn hash_pieces(pieces: &[Bytes]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let parallel = pieces.iter().map(Bytes::len).sum::<usize>() >= PARALLEL_BYTES_MIN;
    for piece in pieces {
        if parallel {
            hasher.update_rayon(piece)
        } else {
            hasher.update(piece)
        };
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Each one's own.
pub(crate) fn hash_each(shards: &[Bytes]) -> Vec<Digest> {
    let bytes: usize = shards.iter().map(Bytes::len).sum();
    let each = |shard: &Bytes| hash(shard);
    if bytes < PARALLEL_BYTES_MIN { shards.iter().map(each).collect() } else { shards.par_iter().map(each).collect() }
}
