//! Signs for the people who are signed in, towards the holders: with keys that come of the secrets that they showed, and
//! that stand on no disk.
//!
//! ```text
//!  token or link ── HKDF ──► person's key ── signs ──► this session's key ── signs ──► each opening
//!        ▲ the officer's certificate of that key is in the ledger
//! ```
//! A gateway that is stolen has the sessions of that moment, until they end; it can't make up another person.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use chart::Chart;
use keys::{Certificate, PersonKey, Proof, Prover, SESSION_LIFE_MS_MAX, Signer, Statement};
use kit::{Blame, Clock, Entropy, Fault, Id16, OsEntropy, SystemClock, Timestamp, write_private};
use zeroize::Zeroizing;

use crate::centre;

const LIST: &str = "person-certificates";
const KIND: &str = "centre.certificate";
/// Certificates that are looked at, the newest: ten thousand people and machines, renewed once.
const CERTIFICATES_MAX: usize = 20_000;
/// Keys that wait for the officer.
const WAITING_MAX: usize = 10_000;
/// In the gateway's folder: its own key as a delegate, and the officer's word for it.
const DELEGATE_KEY: &str = "delegate.key";
const DELEGATE_CERTIFICATE: &str = "delegate.cert";

/// One credential's signer.
struct Held {
    id: Id16,
    signer: Signer,
}

pub struct Signers {
    vault: Id16,
    delegate: Signer,
    delegate_ends: Timestamp,
    /// By public key, the newest last.
    certificates: RwLock<HashMap<[u8; 32], Vec<Certificate>>>,
    /// Serials of those that the officer ended before their time.
    ended: RwLock<Vec<Id16>>,
    /// By subject.
    people: RwLock<HashMap<String, Vec<Held>>>,
    /// Public keys that people have shown, and that the officer speaks for not yet: of passkeys that were made since. In memory only;
    /// whoever signs in again is here again.
    waiting: RwLock<BTreeMap<String, [u8; 32]>>,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "signers.delegate", format!("{}: {why}", place.display()))
}

/// Makes the gateway's own key, and has the officer speak for it.
pub fn enrol_gateway(gateway: &Path, officer: &keys::Officer, vault: Id16) -> Result<(), Fault> {
    /// Its end is the officer's word (a new list of members), not a date in the middle of a bad night.
    const LIFE_MS: i64 = 10 * 365 * 86_400_000;
    let mut seed = Zeroizing::new([0; 32]);
    OsEntropy.fill(seed.as_mut());
    let key = PersonKey::from_seed(&seed).ok_or_else(|| failed(gateway, "no key"))?;
    let now = SystemClock.now();
    let life = (now.plus_ms(-86_400_000), now.plus_ms(LIFE_MS));
    let certificate = officer
        .enrol(vault, "gateway", keys::Speaks::Delegate, key.public(), life, &OsEntropy)
        .map_err(|e| failed(gateway, e))?;
    write_private(&gateway.join(DELEGATE_KEY), seed.as_ref()).map_err(|e| failed(gateway, e))?;
    write_private(&gateway.join(DELEGATE_CERTIFICATE), &certificate.to_bytes()).map_err(|e| failed(gateway, e))
}

impl Signers {
    /// The gateway's own; people are known once the ledger is open.
    pub fn open(gateway: &Path, vault: Id16) -> Result<Arc<Self>, Fault> {
        let place = gateway.join(DELEGATE_KEY);
        let seed = Zeroizing::new(std::fs::read(&place).map_err(|e| failed(&place, e))?);
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| failed(&place, "it needs 32 bytes"))?;
        let key = PersonKey::from_seed(&Zeroizing::new(*seed)).ok_or_else(|| failed(&place, "no key"))?;
        let place = gateway.join(DELEGATE_CERTIFICATE);
        let bytes = std::fs::read(&place).map_err(|e| failed(&place, e))?;
        let certificate = Certificate::from_bytes(&bytes).map_err(|e| failed(&place, e))?;
        Ok(Arc::new(Self {
            vault,
            delegate_ends: certificate.expires,
            delegate: Signer::new(vec![certificate], key),
            certificates: RwLock::default(),
            ended: RwLock::default(),
            people: RwLock::default(),
            waiting: RwLock::default(),
        }))
    }

    /// Reads whom the officer has enrolled, and listens to guard from now on.
    pub fn listen(self: &Arc<Self>, chart: &Arc<Chart>) -> Result<(), Fault> {
        let newest =
            chart.listed_back(&chart.list_tag(LIST, &[]), u64::MAX, CERTIFICATES_MAX).map_err(|e| e.fault())?;
        for entry in newest.into_iter().rev() {
            let (_, meta) = chart.note_of(entry).map_err(|e| e.fault())?;
            self.take(&meta.note)?;
        }
        chart.guard().tell(Arc::clone(self) as _);
        Ok(())
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Fault> {
        let certificate = Certificate::from_bytes(bytes)
            .map_err(|e| Fault::new(Blame::Integrity, "signers.certificate", e.to_string()))?;
        let mut certificates = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        self.waiting.write().unwrap_or_else(PoisonError::into_inner).retain(|_, key| *key != certificate.key());
        certificates.entry(certificate.key()).or_default().push(certificate);
        Ok(())
    }

    /// Everybody whom the officer has enrolled, by name.
    pub fn certificates(&self) -> Vec<Certificate> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = certificates.values().flatten().cloned().collect();
        all.sort_by(|a, b| (&a.subject, a.not_before, a.serial).cmp(&(&b.subject, b.not_before, b.serial)));
        all
    }

    /// Until when the officer's word for this gateway itself holds.
    pub fn delegate_ends(&self) -> Timestamp {
        self.delegate_ends
    }

    /// Whether the officer's word for somebody of this name is in force.
    pub fn speaks_for(&self, subject: &str) -> bool {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now();
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let mut hers = certificates.values().flatten().filter(|one| one.subject == subject);
        hers.any(|one| now < one.expires && !ended.contains(&one.serial))
    }

    /// Signs with none of these certificates any more; gives the credentials that were signed in by them.
    pub fn end(&self, ended: &[Id16]) -> Vec<Id16> {
        // First: who signs in meanwhile finds it.
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = ended.to_vec();
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        let gone = people.values_mut().flat_map(|held| held.extract_if(.., |one| one.signer.rests_on(ended)));
        let gone = gone.map(|one| one.id).collect();
        people.retain(|_, held| !held.is_empty());
        gone
    }

    /// Keeps the officer's word for a person's key.
    pub fn certify(&self, chart: &Chart, bytes: &[u8]) -> Result<(), Fault> {
        Certificate::from_bytes(bytes).map_err(|e| Fault::new(Blame::Peer, "usage.certificate", e.to_string()))?;
        centre::note(chart, KIND, LIST, bytes)?;
        self.take(bytes)
    }

    fn known(&self, subject: &str, id: Id16) -> bool {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now();
        people.get(subject).is_some_and(|held| held.iter().any(|one| one.id == id && now < one.signer.expires()))
    }

    /// Whose keys wait for the officer, by subject.
    pub fn waiting(&self) -> BTreeMap<String, [u8; 32]> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn waits(&self, subject: &str, key: [u8; 32]) {
        let mut waiting = self.waiting.write().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX || waiting.contains_key(subject) {
            waiting.insert(subject.to_owned(), key);
        }
    }

    fn begin(&self, subject: &str, secret: &str) -> Option<Signer> {
        let person = PersonKey::derive(secret.as_bytes())?;
        let own = {
            let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
            let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
            let living = |one: &&Certificate| !ended.contains(&one.serial);
            let hers = certificates.get(&person.public()).and_then(|all| all.iter().rfind(living).cloned());
            if hers.is_none() {
                self.waits(subject, person.public());
            }
            hers?
        };
        let session = PersonKey::random(&OsEntropy)?;
        let certificate =
            person.begin_session(&own, session.public(), SystemClock.now(), SESSION_LIFE_MS_MAX, &OsEntropy);
        Some(Signer::new(vec![own, certificate], session))
    }
}

impl guard::Witness for Signers {
    fn shown(&self, subject: &str, secret: &str, as_id: Id16) {
        // A token is shown with each request; its session is made once, and again when its shift is over.
        if self.known(subject, as_id) {
            return;
        }
        let Some(signer) = self.begin(subject, secret) else { return };
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        // Ended since it was made.
        if signer.rests_on(&self.ended.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let held = people.entry(subject.to_owned()).or_default();
        held.retain(|one| one.id != as_id);
        held.push(Held { id: as_id, signer });
    }

    fn ended(&self, id: Id16) {
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        people.values_mut().for_each(|held| held.retain(|one| one.id != id));
        people.retain(|_, held| !held.is_empty());
    }
}

impl Prover for Signers {
    fn prove(&self, statement: &Statement<'_>) -> Option<Proof> {
        if statement.person.contains(':') {
            return Some(self.delegate.sign(self.vault, statement, &OsEntropy));
        }
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let held = people.get(statement.person)?.iter().find(|one| statement.at < one.signer.expires())?;
        Some(held.signer.sign(self.vault, statement, &OsEntropy))
    }
}
