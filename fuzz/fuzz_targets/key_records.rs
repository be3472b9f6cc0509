//! The stored forms of keys: what decodes encodes to the same bytes.
#![no_main]

use keys::{Batch, CustodianPackage, HolderPublicKey, KeyRecord, RecoveryPublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = KeyRecord::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
    }
    if let Ok(batch) = Batch::from_bytes(data) {
        assert_eq!(batch.to_bytes(), data);
    }
    if let Ok(package) = CustodianPackage::from_bytes(data) {
        assert_eq!(package.to_bytes(), data);
    }
    if let Ok(key) = HolderPublicKey::from_bytes(data) {
        assert_eq!(key.to_bytes(), data);
    }
    if let Ok(key) = RecoveryPublicKey::from_bytes(data) {
        assert_eq!(key.to_bytes(), data);
    }
});
