//! BLAKE3, on all cores where the bytes are worth it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kit::Digest;

/// Below it, waking threads costs more than they save.
const PARALLEL_BYTES_MIN: usize = 4 * 1024 * 1024;

/// The same for a piece, once they are awake.
const PIECE_BYTES_MIN: usize = 128 * 1024;

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    if bytes.len() < PARALLEL_BYTES_MIN {
        hasher.update(bytes)
    } else {
        hasher.update_rayon(bytes)
    };
    Digest(*hasher.finalize().as_bytes())
}

/// What the pieces are, one behind the other. All in one go among the threads that hash: going in for each piece by itself was
/// four thousand context switches for 50 MB.
pub(crate) fn hash_pieces(pieces: &[Bytes]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    if pieces.iter().map(Bytes::len).sum::<usize>() < PARALLEL_BYTES_MIN {
        for piece in pieces {
            hasher.update(piece);
        }
    } else {
        rayon::scope(|_| {
            for piece in pieces {
                if piece.len() < PIECE_BYTES_MIN {
                    hasher.update(piece)
                } else {
                    hasher.update_rayon(piece)
                };
            }
        });
    }
    Digest(*hasher.finalize().as_bytes())
}

/// A digest that is known, or that other threads are at.
#[derive(Clone)]
pub(crate) struct Pending(Arc<OnceLock<Digest>>);

impl Pending {
    /// Of what the pieces are, one behind the other. What is short is hashed at once; so is what one of the threads that hash
    /// has: it may be the only one, and go on to wait for what needs this.
    pub(crate) fn of_pieces(pieces: &[Bytes]) -> Self {
        let short = pieces.iter().map(Bytes::len).sum::<usize>() < PARALLEL_BYTES_MIN;
        if short || rayon::current_thread_index().is_some() {
            return hash_pieces(pieces).into();
        }
        let (known, pieces) = (Arc::new(OnceLock::new()), pieces.to_vec());
        let told = Arc::clone(&known);
        rayon::spawn(move || {
            told.get_or_init(|| hash_pieces(&pieces));
        });
        Self(known)
    }

    /// Waits for it. Not on one of the threads that hash.
    pub(crate) fn wait(&self) -> Digest {
        *self.0.wait()
    }
}

impl From<Digest> for Pending {
    fn from(digest: Digest) -> Self {
        Self(Arc::new(OnceLock::from(digest)))
    }
}
