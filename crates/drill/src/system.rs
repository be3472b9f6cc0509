//! What the drill needs of a centre, and no more. The binary implements it over the real rooms; the drill itself names
//! none of them, so that no judge can lean on what it judges.

use std::path::{Path, PathBuf};

use kit::Fault;
use zeroize::Zeroizing;

/// Lays out, opens and recovers centres.
pub trait Builder: Sync {
    /// Lays out an empty centre under `site`, with `servers` server folders, and opens it.
    fn found(&self, site: &Path, servers: usize) -> Result<Founded, Fault>;

    /// Opens the centre under `site` with whatever is there: the gateway's folder, and the servers' folders that are
    /// left. What a thief of eleven servers and the gateway would try.
    fn open(&self, site: &Path) -> Result<Box<dyn System>, Fault>;

    /// Rebuilds the centre in the empty folder `site`, from what survived and what the custodians hold. `listed` gets the
    /// treatment list as soon as there is one; the rest follows.
    fn recover(
        &self,
        remains: &Remains<'_>,
        site: &Path,
        listed: &mut dyn FnMut(Result<Vec<ListRow>, Fault>),
    ) -> Result<Box<dyn System>, Fault>;
}

/// What is left to recover from.
pub struct Remains<'a> {
    /// Folders of the surviving servers, undamaged.
    pub survivors: &'a [PathBuf],
    /// Folders of the other servers, as the attack left them; a recovery may use what it can verify in them.
    pub damaged: &'a [PathBuf],
    /// Identities of as many custodians as the centre asks for.
    pub custodians: &'a [Zeroizing<String>],
}

/// A new centre.
pub struct Founded {
    pub system: Box<dyn System>,
    /// One folder a server: its shards and its holder's secret. In order of the servers' numbers.
    pub servers: Vec<PathBuf>,
    /// Index, configuration, write-ahead log, caches: all that the gateway keeps.
    pub gateway: PathBuf,
    /// Identities of all custodians; they stand on no server.
    pub custodians: Vec<Zeroizing<String>>,
    /// How many of them a recovery needs.
    pub custodians_needed: usize,
}

/// An open centre, used from several threads at once. Dropping it closes it, durably.
pub trait System: Send + Sync {
    /// Keeps resources as one transaction: all or none. Each has the id it shall be kept under. A returned handle is
    /// an acknowledgement of this version: it stays good after a recovery and after later versions, and `read_back`
    /// gives the same bytes for it.
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault>;

    /// Stores a DICOM file as C-STORE would.
    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault>;

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault>;

    /// One person's signature under the delivery of a stored plan; each signer is a person of her own.
    fn approve(&self, plan: &str, signer: Signer) -> Result<(), Fault>;

    /// The fraction gate, for the patient with this hospital number and the plan that the machine is about to deliver.
    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault>;

    fn treatment_list(&self) -> Result<Vec<ListRow>, Fault>;

    /// Keys that must stand in the clear on no server: data keys of some patients, the vault's key, the index's key,
    /// the log's signing seed, the custodians' recovery key where it is at hand.
    fn secrets(&self) -> Result<Vec<Secret>, Fault>;

    /// Returns when all that was acknowledged or noted lies in the servers' folders, so that they can be copied.
    fn settle(&self) -> Result<(), Fault>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Oncologist,
    Physicist,
}

/// The gate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub released: bool,
    /// Why not; empty where released.
    pub reasons: Vec<String>,
}

/// A row of today's treatment list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// Hospital number.
    pub number: String,
    pub name: String,
    /// YYYY-MM-DD.
    pub birth_date: String,
    /// The plan's label.
    pub plan: String,
    pub machine: String,
    pub fraction_next: Option<u32>,
    pub fractions_planned: Option<u32>,
}

/// A key, and what it is called in the report.
pub struct Secret {
    pub what: String,
    pub bytes: Zeroizing<Vec<u8>>,
}
