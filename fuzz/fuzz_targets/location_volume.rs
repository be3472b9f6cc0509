//! A location whose volume holds any bytes: it opens, says what it skipped, and takes new objects.
#![no_main]

use kit::Id16;
use libfuzzer_sys::fuzz_target;
use vault::location::{FolderLocation, Marker};

const VAULT: Id16 = Id16([7; 16]);

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    drop(FolderLocation::init(folder.path(), Marker::new("fuzz", VAULT, 1)).expect("a fresh location"));
    std::fs::write(folder.path().join("volumes/000001.vol"), data).expect("a volume");
    let location = FolderLocation::open(folder.path(), VAULT).expect("damage never blocks an open");
    std::hint::black_box(location.opened());
});
