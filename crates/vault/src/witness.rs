//! Witnesses: parties that cosign the log's heads, and so notice a second history.
//!
//! Asked when entries are acknowledged, all at once; a receipt says how many have cosigned its head. One that is away is a
//! smaller number. Where half of them *contradict*, the log has been forked or rewritten, and nothing is acknowledged any
//! more; fewer may be liars, who must not be able to stop a hospital.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ledger::{AddCheckpoint, Checkpoint, Cosignature, SignedCheckpoint, Tree, WitnessVkey};

use crate::core::lock;
use crate::error::VaultError;
use crate::gateway::Hashes;

/// How long receipts wait for a quorum.
const QUORUM_WAIT: Duration = Duration::from_secs(2);

/// What a witness says to a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Cosigned(Cosignature),
    /// It has seen so many leaves: the proof has to grow from there.
    Has(u64),
    /// The log contradicts what it has seen.
    Contradicted(String),
    Silent(String),
}

/// Where a witness's answer goes: called once, from any thread.
pub type WitnessAnswer = Box<dyn FnOnce(Said) + Send>;

/// A party that cosigns heads.
pub trait Witness: Send + Sync {
    fn vkey(&self) -> &WitnessVkey;

    /// Asks it, perhaps without waiting.
    fn add(&self, request: AddCheckpoint, answer: WitnessAnswer);
}

/// What is known of one witness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessHealth {
    pub name: String,
    /// The size that it cosigned last, for this gateway.
    pub size: u64,
    /// Why it didn't cosign the last time.
    pub last_error: Option<String>,
    pub contradicts: bool,
    /// It has seen less than it had cosigned: its state was lost, it would believe a second history from there, and it doesn't count
    /// until somebody has looked at it and this gateway is started again.
    pub is_set_back: bool,
}

pub(crate) struct Witnesses {
    all: Vec<Arc<dyn Witness>>,
    quorum: usize,
    /// What each is believed to have seen, and said.
    health: Mutex<Vec<WitnessHealth>>,
}

impl Witnesses {
    pub(crate) fn new(all: Vec<Arc<dyn Witness>>) -> Self {
        let quorum = ledger::witness_quorum(all.len());
        let health = all.iter().map(|one| WitnessHealth { name: one.vkey().name().to_owned(), ..Default::default() });
        let health = Mutex::new(health.collect());
        Self { all, quorum, health }
    }

    pub(crate) fn keys(&self) -> Vec<WitnessVkey> {
        self.all.iter().map(|one| one.vkey().clone()).collect()
    }

    pub(crate) fn quorum(&self) -> usize {
        self.quorum
    }

    pub(crate) fn health(&self) -> Vec<WitnessHealth> {
        lock(&self.health).clone()
    }

    /// The head with the cosignatures that came until there was a quorum, and how many they are.
    pub(crate) fn cosign(
        &self,
        tree: &Mutex<Tree<Hashes>>,
        checkpoint: &Checkpoint,
        signed: &SignedCheckpoint,
    ) -> Result<(SignedCheckpoint, usize), VaultError> {
        let (give, answers) = mpsc::channel();
        let mut proofs = BTreeMap::new();
        let mut ask = |place: usize, from: u64| {
            let Some(witness) = self.all.get(place) else { return };
            // It has seen more than there is: the proof can't be made, and what it says to none is what counts.
            let from = from.min(checkpoint.size);
            let proof = proofs.entry(from).or_insert_with(|| lock(tree).prove_consistency(from, checkpoint.size));
            let Ok(proof) = proof else { return };
            let (give, proof) = (give.clone(), proof.clone());
            let request = AddCheckpoint { old_size: from, proof, checkpoint: signed.clone() };
            // Whoever stopped listening has a quorum.
            witness.add(request, Box::new(move |said| drop(give.send((place, said)))));
        };
        let sizes: Vec<u64> = lock(&self.health).iter().map(|one| one.size).collect();
        sizes.iter().enumerate().for_each(|(place, size)| ask(place, *size));
        let (mut cosignatures, mut open) = (Vec::new(), self.all.len());
        let mut asked_again = vec![false; self.all.len()];
        let begun = Instant::now();
        // All of them where they answer at once; no longer than the quorum needs where some don't.
        while open > 0 {
            let left = QUORUM_WAIT.saturating_sub(begun.elapsed());
            let patience = if cosignatures.len() >= self.quorum { left.min(Duration::from_millis(2)) } else { left };
            let (place, said) = match answers.recv_timeout(patience) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            };
            let again = matches!(said, Said::Has(has) if has <= checkpoint.size)
                && asked_again.get_mut(place).is_some_and(|again| !std::mem::replace(again, true));
            if let (Said::Has(has), true) = (&said, again) {
                self.doubt(place, *has);
                ask(place, *has);
                continue;
            }
            open -= 1;
            cosignatures.extend(self.hear(place, checkpoint, said));
        }
        let contradict = lock(&self.health).iter().filter(|one| one.contradicts).count();
        if contradict > 0 && 2 * contradict >= self.all.len() {
            return Err(VaultError::Contradicted { by: contradict, of: self.all.len() });
        }
        Ok((signed.with_cosignatures(&cosignatures)?, cosignatures.len()))
    }

    /// It has seen so many leaves; fewer than it cosigned is a state that was lost.
    fn doubt(&self, place: usize, has: u64) {
        let mut health = lock(&self.health);
        let Some(health) = health.get_mut(place).filter(|health| has < health.size) else { return };
        if !std::mem::replace(&mut health.is_set_back, true) {
            tracing::error!(witness = health.name, has, cosigned = health.size, "a witness has lost its state");
        }
    }

    fn hear(&self, place: usize, checkpoint: &Checkpoint, said: Said) -> Option<Cosignature> {
        let witness = self.all.get(place)?;
        let mut health = lock(&self.health);
        let health = health.get_mut(place)?;
        health.contradicts = false;
        match said {
            Said::Cosigned(cosignature) => match witness.vkey().verify(checkpoint, &cosignature) {
                Ok(_) => {
                    (health.size, health.last_error) = (checkpoint.size, None);
                    if health.is_set_back {
                        health.last_error =
                            Some("it was set back, and counts no more until somebody has looked".to_owned());
                        return None;
                    }
                    return Some(cosignature);
                }
                Err(error) => health.last_error = Some(error.to_string()),
            },
            // Larger than the log is: this gateway, or its servers, were set back.
            Said::Has(has) => {
                health.contradicts = has > checkpoint.size;
                health.last_error = Some(format!("it has seen {has} leaves, the log has {}", checkpoint.size));
            }
            Said::Contradicted(why) => {
                health.contradicts = true;
                health.last_error = Some(why);
            }
            Said::Silent(why) => health.last_error = Some(why),
        }
        if health.contradicts {
            tracing::error!(witness = health.name, why = health.last_error, "a witness contradicts the log");
        }
        None
    }
}
