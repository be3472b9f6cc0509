//! For drills: what a thief would look for, handed out to be searched for on the disks that he stole.

use keys::KeyRecord;
use kit::PatientId;
use ledger::{AddCheckpoint, Checkpoint, MemoryStore, Tree, leaf_hash};
use zeroize::Zeroizing;

use crate::body::Head;
use crate::core::lock;
use crate::error::VaultError;
use crate::keymap::KEY;
use crate::parcel::Scope;
use crate::seal;
use crate::secrets::Opener;
use crate::vault::Vault;

/// A key, and what it is.
pub type DangerSecret = (String, Zeroizing<[u8; 32]>);

/// A head that a thief of the log key makes up, as he would show it to a witness.
pub struct DangerHead {
    pub what: &'static str,
    /// A C2SP `add-checkpoint` request.
    pub request: Vec<u8>,
    /// It continues what was seen; only together with its twin is it a lie.
    pub continues: bool,
}

impl Vault {
    /// Two different continuations of the log, a rewritten one and a shortened one, each signed by the log's own key: for
    /// drills, and nothing else calls it.
    pub fn danger_heads(&self) -> Result<Vec<DangerHead>, VaultError> {
        let core = self.core();
        let (leaves, size) = {
            let tree = lock(&core.tree);
            let leaves: Result<Vec<_>, _> = (0..tree.size()).map(|index| tree.leaf(index)).collect();
            (leaves?, tree.size())
        };
        let head = |what, rewritten: &dyn Fn(u64) -> bool, more: &[u8], to: u64, continues| {
            let own =
                (0..).zip(&leaves).map(|(index, leaf)| if rewritten(index) { leaf_hash(b"rewritten") } else { *leaf });
            let all: Vec<_> = own.chain((!more.is_empty()).then(|| leaf_hash(more))).collect();
            let mut tree = Tree::empty(MemoryStore::default())?;
            tree.append_all(&all)?;
            let origin = core.secrets.log.vkey().name().to_owned();
            let checkpoint = Checkpoint { origin, size: to, root: tree.root_at(to)? }.sign(&core.secrets.log)?;
            let proof = tree.prove_consistency(size.min(to), to)?;
            let request = AddCheckpoint { old_size: size.min(to), proof, checkpoint }.to_bytes();
            Ok::<_, VaultError>(DangerHead { what, request, continues })
        };
        let last = size.saturating_sub(1);
        Ok(vec![
            head("one continuation", &|_| false, b"one", size + 1, true)?,
            head("another continuation", &|_| false, b"another", size + 1, true)?,
            head("a history whose last entry was rewritten", &|index| index == last, b"", size, false)?,
            head(
                "a history whose first entry was rewritten, and that goes on",
                &|index| index == 0,
                b"one",
                size + 1,
                false,
            )?,
            head("a history without its last entry", &|_| false, b"", last, false)?,
        ])
    }

    /// Opens the key of an entry's patient for `person`, as a thief of this gateway does who chooses which holders he asks:
    /// from `start` on. For drills, and nothing else calls it.
    pub fn danger_open(&self, index: u64, person: &str, start: usize) -> Result<(), VaultError> {
        let core = self.core();
        let opener = core.opener();
        let (Scope::Patient(patient), Opener::Holders(keyring)) = (core.head(index)?.0.scope(), &*opener) else {
            return Err(VaultError::NoPayload { index });
        };
        let record = core.key_record(patient)?;
        keyring.danger_open_from(start, &record, &*core.batch(record.batch)?, person, "treatment")?;
        Ok(())
    }

    /// The system's keys, the data keys of some patients (each opening is counted by the holders), and the recovery key,
    /// which the custodians' `identities` open. Whoever holds the answer opens everything: it is for drills on synthetic
    /// records, and nothing else calls it.
    pub fn danger_secrets(&self, identities: &[String], patients: usize) -> Result<Vec<DangerSecret>, VaultError> {
        let core = self.core();
        let (secrets, copied) = (&core.secrets, |bytes: &[u8; 32]| Zeroizing::new(*bytes));
        let mut out: Vec<DangerSecret> = secrets
            .all()
            .into_iter()
            .map(|(subject, key)| (String::from_utf8_lossy(&subject.0).trim_end().to_owned(), copied(key.bytes())))
            .collect();
        out.push(("recovery key".to_owned(), core.centre().custodians.open(identities)?.danger_seed()));
        // Evenly over the log, so that early and late patients are among them.
        let mut known: Vec<(u64, PatientId)> = core.keymap().keys.iter().map(|(patient, at)| (*at, *patient)).collect();
        known.sort_unstable();
        let step = known.len().div_ceil(patients.max(1)).max(1);
        for (_, patient) in known.into_iter().step_by(step) {
            let key = core.data_key(Scope::Patient(patient), "local:drill", "drill")?;
            out.push((format!("data key of patient {patient}"), copied(key.bytes())));
        }
        Ok(out)
    }
}

impl Vault {
    /// Which of the vault's keys open each segment with entries, the oldest segment first: for tests and drills that ask
    /// whether a rotation shuts out who has the key before.
    pub fn danger_openings(&self) -> Result<Vec<Vec<u16>>, VaultError> {
        let core = self.core();
        let mut out = Vec::new();
        for segment in 0..core.shelf().catalogue.segments() {
            let Some(located) = core.shelf().catalogue.get(segment).filter(|located| located.count > 0) else {
                continue;
            };
            let (header, sealed) = core.shelf().read(segment, &located)?;
            let binding = seal::segment_binding(core.shelf().vault, segment, header.term);
            let opens =
                |key: &[u8; 32]| matches!(seal::open_whole(key, &header.salt, &binding, sealed.clone()), Ok(Some(_)));
            let held = core.secrets.vault.newest_first();
            out.push(
                (1..).zip(held.iter().rev()).filter(|(_, key)| opens(key.bytes())).map(|(number, _)| number).collect(),
            );
        }
        Ok(out)
    }

    /// Whether a patient's payload opens with whatever there is, the log's word that she is erased left aside: for tests
    /// and drills that ask whether an erasure is final.
    pub fn danger_opens(&self, patient: PatientId, index: u64) -> bool {
        let core = self.core();
        // Every record that was ever dealt to her, the newest and those before.
        let mut records = Vec::new();
        let scanned = core.scan(0, &mut |_, _, bytes| {
            let head = Head::from_bytes(bytes)?;
            if head.kind == KEY && head.patient == Some(patient) {
                records.extend(KeyRecord::from_bytes(&head.meta));
            }
            Ok::<_, VaultError>(())
        });
        let Ok((head, ..)) = scanned.and_then(|_| core.head(index)) else { return false };
        records.iter().any(|record| {
            let opener = core.opener();
            let batch = core.batch(opener.batch_of(record));
            let key = batch.and_then(|batch| opener.open(record, &batch, "local:drill", "drill"));
            let Ok(key) = key else { return false };
            let Some(payload) = &head.payload else { return false };
            let Ok(stored) = core.stored(index, payload) else { return false };
            let binding = seal::payload_binding(head.scope(), &head.kind, head.operation, payload.compressed);
            matches!(seal::open_payload(key.bytes(), &binding, stored), Ok(Some(_)))
        })
    }
}
