//! Draws from a seed: the same seed gives the same centre on every machine.

use kit::{Entropy, SeededEntropy};

/// A source of draws that belongs to one purpose and one number, so that patient 9,999 can be made without the
/// 9,998 before her.
pub(crate) struct Rng(SeededEntropy);

impl Rng {
    pub(crate) fn new(seed: u64, purpose: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes()).update(purpose.as_bytes());
        let mut mixed = [0; 8];
        hasher.finalize_xof().fill(&mut mixed);
        Self(SeededEntropy::new(u64::from_le_bytes(mixed)))
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &self.0
    }

    fn word(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// 0 ≤ result < `bound`; 0 where `bound` is 0. The bias of the remainder is below 2⁻³² for every bound used here.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.word().checked_rem(bound).unwrap_or(0)
    }

    /// Like `below`, for lengths and indices.
    pub(crate) fn index(&self, bound: usize) -> usize {
        usize::try_from(self.below(u64::try_from(bound).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy + Default>(&self, table: &[T]) -> T {
        table.get(self.index(table.len())).copied().unwrap_or_default()
    }

    /// A number on a grid: `from`, `from + step`, … below `to`.
    pub(crate) fn on_grid(&self, from: f64, to: f64, step: f64) -> f64 {
        let steps = ((to - from) / step).max(1.0).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // few steps
        let k = self.below(steps as u64) as f64;
        from + k * step
    }

    /// A UID under 2.25, the arc of UUIDs (DICOM PS3.5 B.2).
    pub(crate) fn uid(&self) -> String {
        format!("2.25.{}", u128::from_le_bytes(self.0.id()))
    }

    /// 32 hexadecimal digits: a FHIR id.
    pub(crate) fn id(&self) -> String {
        kit::Id16(self.0.id()).to_string()
    }

    /// `items` in an order drawn by lot (Fisher and Yates).
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}
