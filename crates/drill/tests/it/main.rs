//! The drill's parts, each beside its must-fail twin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod attack;
mod check;
mod scenario;
mod small;
mod synthetic;
mod tamper;

use drill::synthetic::{Centre, Images};
use kit::Timestamp;

/// A Monday.
const TODAY: Timestamp = Timestamp(1_769_990_400_000);

fn centre(patients: usize, on_treatment: usize) -> Centre {
    Centre { seed: 7, today: TODAY, patients, on_treatment, images: Images::Slice }
}
