//! Verifies locations as an attack left them, with the custodians and no holder.

use std::sync::Arc;

use kit::{Clock, Entropy};
use ledger::Vkey;

use crate::error::VaultError;
use crate::location::Location;
use crate::mend::VerifyReport;
use crate::open::{Mode, Opening, open};
use crate::secrets::Access;
use crate::which::newest;

/// As [`Vault::verify`](crate::Vault::verify), where too few holders are left to open the vault. Changes nothing; a
/// location of the centre that is not given counts as unreachable.
pub fn examine(
    locations: Vec<Arc<dyn Location>>,
    identities: &[String],
    vkey: Option<Vkey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<VerifyReport, VaultError> {
    let centre = newest(&locations, vkey.as_ref())?;
    let access = Access::Custodians(Arc::new(centre.custodians.open(identities)?));
    open(Opening { locations, access, gateway: None, vkey: Some(centre.vkey), mode: Mode::Read, clock, entropy })?
        .verify()
}
