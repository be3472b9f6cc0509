//! Tampering with plan files: the catalogue that the promise "no wrong dose" is tried with.
//!
//! Every edit knows its own truth: either the machine would deliver something else than what was signed (or nobody
//! could say what), and the gate must veto; or the file is the same treatment exported once more, and the gate must
//! release. Works on bytes through a walker of its own and shares no code with `treatment`.

mod dose;
mod harmless;
mod malformed;
mod plan;
pub mod walk;

pub use walk::WalkError;

use crate::synthetic::Rng;
use plan::Plan;

/// What an edit does, and so what the gate must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Something that moves dose is different: veto.
    MovesDose,
    /// The same beams, and the patient would lie elsewhere than planned, beyond tolerance: veto.
    Displaced,
    /// What would be delivered can't be established: veto.
    Malformed,
    /// The same delivery, exported again: release.
    Harmless,
}

enum Act {
    /// Edits the walked plan; false where the plan has nothing of the kind (no wedge to drop).
    Tree(fn(&mut Plan, &Rng) -> bool),
    /// Edits the file's bytes.
    Raw(fn(&[u8], &Rng) -> Option<Vec<u8>>),
}

/// One entry of the catalogue.
pub struct Edit {
    /// Stable, for reports: `leaf-1-mm`.
    pub name: &'static str,
    /// A sentence for people.
    pub what: &'static str,
    pub class: Class,
    act: Act,
}

impl Edit {
    /// What the gate must say of a file edited so, while the original is approved.
    pub fn must_release(&self) -> bool {
        self.class == Class::Harmless
    }

    /// The edited file; nothing where the edit does not apply to this plan. `seed` chooses which beam, leaf or spot.
    pub fn apply(&self, file: &[u8], seed: u64) -> Result<Option<Vec<u8>>, WalkError> {
        let rng = Rng::new(seed, self.name, 0);
        match self.act {
            Act::Raw(edit) => Ok(edit(file, &rng)),
            Act::Tree(edit) => {
                let mut plan = Plan::read(file)?;
                Ok(edit(&mut plan, &rng).then(|| plan.file.write()))
            }
        }
    }
}

/// All edits: those that move dose, those that nobody could deliver, those that change nothing.
pub fn catalogue() -> impl Iterator<Item = &'static Edit> {
    dose::EDITS.iter().chain(malformed::EDITS).chain(harmless::EDITS)
}

/// The edit that a report names.
pub fn find(name: &str) -> Option<&'static Edit> {
    catalogue().find(|edit| edit.name == name)
}
