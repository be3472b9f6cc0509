//! Limits that more than one room must agree on, each with its reason. A limit of one room stands in that room.

/// Servers in one centre: share and shard numbers are one byte, and a hospital's machine room is not a cloud.
pub const SERVERS_MAX: usize = 64;

/// One stored object (a DICOM instance, a FHIR resource): larger ones would need a spool on disk, where
/// plaintext must not stand. An RT Dose grid of 1 mm voxels over a torso is about 100 MB.
pub const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One FHIR request body. The largest R4 example Bundle is under 3 MB.
pub const FHIR_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Entries of one FHIR Bundle.
pub const BUNDLE_ENTRIES_MAX: usize = 1_000;

/// Entries committed together as one act: they share one segment's entry block, which has room for 2,048. A Bundle takes
/// two for each new Patient, the record and the registration of her key.
pub const GROUP_PARCELS_MAX: usize = 2 * BUNDLE_ENTRIES_MAX;
