//! Custodians' shares on their way from the process where they are opened to the one that works with the recovery key.
//!
//! ```text
//!  who works: Call ──► packages, a fresh recipient ──► who has the identities: Custody::open, seal ──► Call::take
//! ```
//! The identities stay where they are read, and the fresh key where it was made: sheets alone cross, sealed to it (age).

use age::x25519::{Identity, Recipient};

use crate::custodian::{CUSTODIANS_MAX, CustodianPackage, RecoveryKey, Sheet, read_sheet, write_sheet};
use crate::error::CustodianError;
use crate::plugins::Plugins;

/// A centre's package, and those before it: one for each of the centre's records that are looked at.
pub const PACKAGES_MAX: usize = 64;

/// What custodians have opened: of the package that counts, and of those before it, whose custodians may be the only ones
/// who open what isn't dealt anew yet. Secret: it is the recovery key.
pub struct Custody {
    /// Newest first.
    packages: Vec<CustodianPackage>,
    sheets: Vec<Sheet>,
    /// Why not all are opened: of the newest that isn't. Unknown where sheets came from another process.
    why: Option<CustodianError>,
}

impl Custody {
    /// Opens each of the packages (newest first) that these identities open. Where they open none, the newest one's error.
    pub fn open(
        packages: Vec<CustodianPackage>,
        identities: &[impl AsRef<str>],
        plugins: &dyn Plugins,
    ) -> Result<Self, CustodianError> {
        let (mut sheets, mut why) = (Vec::new(), None);
        for package in &packages {
            match package.open_sheets(identities, plugins) {
                Ok(opened) => sheets.extend(opened),
                Err(error) => why = why.or(Some(error)),
            }
        }
        match why {
            Some(error) if sheets.is_empty() => Err(error),
            why => Ok(Self { packages, sheets, why }),
        }
    }

    /// The sheets, each in an age file to `recipient`, which a [`Call`] named.
    pub fn seal(&self, recipient: &str) -> Result<Vec<Vec<u8>>, CustodianError> {
        let recipient: Recipient = recipient.parse().map_err(|_| CustodianError::Recipient { number: 1 })?;
        self.sheets.iter().map(|sheet| write_sheet(sheet, &recipient)).collect()
    }

    /// Opens what was dealt under the newest package, which has to be opened, and under those before it that are.
    pub fn newest(self) -> Result<RecoveryKey, CustodianError> {
        match self.packages.first().map_or(Err(CustodianError::NoPackage), |newest| newest.combine(&self.sheets)) {
            Ok(_) => self.any(),
            Err(error) => Err(self.why.unwrap_or(error)),
        }
    }

    /// Opens what was dealt under those packages that are opened, one at least.
    pub fn any(self) -> Result<RecoveryKey, CustodianError> {
        let mut first = CustodianError::NoPackage;
        let mut keys = Vec::new();
        for (place, package) in self.packages.iter().enumerate() {
            match package.combine(&self.sheets) {
                Ok(key) => keys.push(key),
                Err(error) if place == 0 => first = error,
                Err(_) => {}
            }
        }
        keys.into_iter().reduce(RecoveryKey::or).ok_or(first)
    }
}

/// A call for the custodians by a process that doesn't get their secrets. Its key is in this process's memory alone, and
/// goes with the call: whoever recorded the answer can't read it later.
pub struct Call {
    packages: Vec<CustodianPackage>,
    identity: Identity,
}

impl Call {
    /// `packages`: newest first.
    pub fn new(packages: Vec<CustodianPackage>) -> Self {
        Self { packages, identity: Identity::generate() }
    }

    pub fn packages(&self) -> &[CustodianPackage] {
        &self.packages
    }

    /// What the answer is to be sealed to: an age X25519 recipient (`age1…`).
    pub fn recipient(&self) -> String {
        self.identity.to_public().to_string()
    }

    /// What came back. A file that isn't for this call, or holds no sheet, is passed over: whether enough is left shows when
    /// the key is put together.
    pub fn take(self, sealed: &[Vec<u8>]) -> Custody {
        let files = sealed.iter().take(PACKAGES_MAX * CUSTODIANS_MAX);
        let sheets = files.filter_map(|file| read_sheet(file, &self.identity)).collect();
        Custody { packages: self.packages, sheets, why: None }
    }
}
