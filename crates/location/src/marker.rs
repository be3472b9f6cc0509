//! A folder's marker: what it says about whose folder it is. A hint, neither signed nor believed: the centre record that
//! stands in the folder decides.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use kit::Id16;
use minicbor::{Decode, Encode};

use crate::folder::sync_dir;
use crate::{LocationError, Refusal};

pub(crate) const MARKER: &str = "location.cbor";
pub(crate) const MARKER_DRAFT: &str = "location.cbor.new";

/// Where a marker goes that another one takes the place of.
const MARKER_REPLACED: &str = "location.cbor.replaced";

/// Four short fields and a checksum; a longer file is none of ours.
const MARKER_BYTES_MAX: u64 = 256;

/// BLAKE3 of what stands before it.
const CHECKSUM_BYTES: usize = 32;

const MARKER_FORMAT: u8 = 2;

/// A location's name is a host's name, or a part of one.
const ID_BYTES_MAX: usize = 63;

/// Whose folder it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Marker {
    #[n(0)]
    format: u8,
    #[n(1)]
    location: String,
    #[n(2)]
    vault: Id16,
    #[n(3)]
    number: u8,
}

impl Marker {
    /// The marker of `vault`'s location number `number`, which people call `location`.
    pub fn new(location: impl Into<String>, vault: Id16, number: u8) -> Self {
        Self { format: MARKER_FORMAT, location: location.into(), vault, number }
    }

    /// What people call the location.
    pub fn location(&self) -> &str {
        &self.location
    }

    pub fn vault(&self) -> Id16 {
        self.vault
    }

    /// Which of the vault's locations.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Reads a folder's marker without opening the folder.
    pub fn read(dir: &Path) -> Result<Self, LocationError> {
        let place = dir.display().to_string();
        let refused = |reason| LocationError::Refused { location: place.clone(), reason };
        let io = |source| LocationError::Io { location: place.clone(), operation: "reading the marker", source };
        let path = dir.join(MARKER);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MARKER_BYTES_MAX => return Err(refused(Refusal::MarkerDamaged)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(if dir.is_dir() {
                    refused(Refusal::NoMarker)
                } else {
                    LocationError::Gone { location: place, reason: "there is no such folder".to_owned() }
                });
            }
            Err(error) => return Err(io(error)),
        }
        Self::from_bytes(&fs::read(&path).map_err(io)?).ok_or_else(|| refused(Refusal::MarkerDamaged))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fields, _) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let marker: Self = minicbor::decode(fields).ok()?;
        // Written again it has to be the same bytes: the checksum, nothing behind it, no other form of a number.
        (marker.to_bytes() == bytes && marker.is_sound()).then_some(marker)
    }

    pub(crate) fn is_sound(&self) -> bool {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        self.format == MARKER_FORMAT
            && (1..=ID_BYTES_MAX).contains(&self.location.len())
            && self.location.bytes().all(allowed)
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Writing into memory doesn't fail; were it to, an empty marker would be refused by every reader.
        let mut bytes = minicbor::to_vec(self).unwrap_or_default();
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes
    }

    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let draft = dir.join(MARKER_DRAFT);
        let mut file = File::create(&draft)?;
        file.write_all(&self.to_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(MARKER))?;
        sync_dir(dir)
    }

    /// As `write`; what stood there is kept beside it.
    pub(crate) fn replace(&self, dir: &Path) -> io::Result<()> {
        match fs::rename(dir.join(MARKER), dir.join(MARKER_REPLACED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.write(dir),
        }
    }
}
