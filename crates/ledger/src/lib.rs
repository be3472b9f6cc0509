//! The Merkle log over all entries: leaf, tree, proof, checkpoint, tile. Sees no plaintext and holds no keys.
//!
//! The tree and its proofs are RFC 6962's (unchanged in RFC 9162, section 2.1), the signed form of its head is C2SP's
//! checkpoint over C2SP's signed note, the export is C2SP's tlog-tiles; what a witness is asked and answers is C2SP's
//! tlog-witness and tlog-cosignature. `docs/formats/ledger.md` has the bytes.

mod checkpoint;
mod cosignature;
mod error;
mod inclusion;
mod note;
mod proof;
mod store;
mod tree;
mod vkey;
mod witness;

pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use cosignature::{COSIGNATURE_TIME_S_MAX, Cosignature, Cosigner, cosign, cosigners, witness_quorum};
pub use error::LedgerError;
pub use inclusion::{TLOG_PROOF_BYTES_MAX, TlogProof};
pub use note::{NOTE_BYTES_MAX, NOTE_LINES_MAX, NoteSigner, open_note, sign_note};
pub use proof::{LeafHash, PATH_HASHES_MAX, check_consistency, check_growth, check_inclusion, empty_root, leaf_hash};
pub use store::{FileStore, HashStore, MemoryStore};
pub use tree::{LEAVES_MAX, TILE_HEIGHT, Tile, Tree};
pub use vkey::{KEY_NAME_BYTES_MAX, Vkey, WitnessVkey};
pub use witness::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, PROOF_LINES_MAX, WitnessRefusal, judge};
