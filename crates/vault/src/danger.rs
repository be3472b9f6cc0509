//! For drills: what a thief would look for, handed out to be searched for on the disks that he stole.

use kit::PatientId;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::parcel::Scope;
use crate::vault::Vault;

/// A key, and what it is.
pub type DangerSecret = (String, Zeroizing<[u8; 32]>);

impl Vault {
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
        out.push(("recovery key".to_owned(), core.centre.custodians.open(identities)?.danger_seed()));
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
