//! What every room shares: ids, time, randomness, limits, strict CBOR, private files and the error envelope. Knows no other room.

pub mod clock;
pub mod entropy;
pub mod fault;
pub mod format;
pub mod id;
pub mod limits;
mod lock;
mod private;

pub use clock::{BadUtcOffset, Clock, ManualClock, SteadyClock, SystemClock, Timestamp, UtcOffset};
pub use entropy::{Entropy, OsEntropy, SeededEntropy};
pub use fault::{Blame, Explain, Fault};
pub use id::{Digest, Id16, OperationId, PatientId};
pub use lock::lock_file;
pub use private::{require_own, write_private};
