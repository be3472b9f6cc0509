//! The holder in a folder: what it keeps over restarts, what it refuses, what it does with damage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keys::{
    Batch, CustodianPackage, DataKey, Dealer, FIRST_EPOCH, Holder, HolderError, KeyRecord, LocalHolder, OpenRequest,
    new_identity,
};
use kit::{Entropy, Id16, OsEntropy, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

const REFUSED: &str = "refused.log";
const OPENED: &str = "opened.count";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("holder")
    }

    fn init(&self) -> LocalHolder {
        LocalHolder::init(&self.dir(), 1, &OsEntropy).unwrap()
    }

    fn open(&self) -> Result<LocalHolder, HolderError> {
        LocalHolder::open(&self.dir())
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.dir().join(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.dir().join(file), bytes).unwrap();
    }
}

/// A record for this holder alone.
fn deal(holder: &LocalHolder) -> (Batch, KeyRecord, Dealer) {
    let (_, recovery) = CustodianPackage::establish(1, &[new_identity().1], &OsEntropy).unwrap();
    let (dealer, batch) = Dealer::new(&[holder.public_key()], &recovery, 1, FIRST_EPOCH, &OsEntropy).unwrap();
    let record = dealer.deal(subject(), &DataKey::random(&OsEntropy), &OsEntropy).unwrap();
    (batch, record, dealer)
}

fn subject() -> Id16 {
    Id16(OsEntropy.id())
}

fn ask(holder: &LocalHolder, record: &KeyRecord, batch: &Batch) -> Result<keys::Share, HolderError> {
    holder.open_share(&OpenRequest {
        record,
        batch,
        person: "dr-a",
        purpose: "treatment",
        at: Timestamp(0),
        proof: None,
    })
}

#[test]
fn it_keeps_its_key_its_count_and_its_refusals_over_a_restart() {
    let folder = Folder::new();
    let holder = folder.init();
    let (batch, record, dealer) = deal(&holder);
    let other = dealer.deal(subject(), &DataKey::random(&OsEntropy), &OsEntropy).unwrap();
    for _ in 0..7 {
        ask(&holder, &record, &batch).unwrap();
    }
    holder.refuse(record.subject).unwrap();
    holder.refuse(record.subject).unwrap();
    assert!(matches!(ask(&holder, &record, &batch), Err(HolderError::Erased { number: 1 })));
    let public = holder.public_key();
    // As a killed process leaves it: nothing is run at its end. (The lock goes with the process; here, with a copy.)
    let copy = folder.0.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in ["holder.key", REFUSED, OPENED] {
        fs::copy(folder.dir().join(file), copy.join(file)).unwrap();
    }
    drop(holder);
    for dir in [folder.dir(), copy] {
        let holder = LocalHolder::open(&dir).unwrap();
        assert_eq!((holder.number(), holder.opened()), (1, 7));
        assert_eq!(holder.public_key(), public);
        assert!(matches!(ask(&holder, &record, &batch), Err(HolderError::Erased { number: 1 })));
        ask(&holder, &other, &batch).unwrap();
        assert_eq!(holder.opened(), 8, "a refusal is not an opening");
    }
}

#[test]
fn its_files_are_its_owners_alone() {
    let folder = Folder::new();
    drop(folder.init());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.dir()), 0o700);
    for file in ["holder.key", REFUSED, OPENED] {
        assert_eq!(mode(&folder.dir().join(file)), 0o600, "{file}");
    }
    fs::set_permissions(folder.dir().join("holder.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(folder.open(), Err(HolderError::Readable { mode: 0o640, .. })));
}

#[test]
fn a_folder_is_made_once_and_held_by_one() {
    let folder = Folder::new();
    assert!(matches!(folder.open(), Err(HolderError::Storage { .. })), "nothing there");
    let holder = folder.init();
    assert!(matches!(folder.open(), Err(HolderError::Locked)));
    assert!(matches!(LocalHolder::init(&folder.dir(), 1, &OsEntropy), Err(HolderError::Locked)));
    let public = holder.public_key();
    drop(holder);
    assert!(matches!(LocalHolder::init(&folder.dir(), 1, &OsEntropy), Err(HolderError::Exists { .. })));
    assert_eq!(folder.open().unwrap().public_key(), public);
    // An init that was cut short before its key is no holder yet, and may be repeated.
    fs::remove_file(folder.dir().join("holder.key")).unwrap();
    assert_ne!(folder.init().public_key(), public);
    for number in [0, 65] {
        assert!(matches!(
            LocalHolder::init(&folder.0.path().join("other"), number, &OsEntropy),
            Err(HolderError::Format(_))
        ));
    }
}

#[test]
fn a_request_that_is_not_for_it_is_refused_with_the_reason() {
    let folder = Folder::new();
    let holder = folder.init();
    let (batch, record, _) = deal(&holder);
    let request =
        OpenRequest { record: &record, batch: &batch, person: "p", purpose: "q", at: Timestamp(0), proof: None };
    let long = "x".repeat(257);
    assert!(matches!(
        holder.open_share(&OpenRequest { person: &long, ..request }),
        Err(HolderError::TooLong { what: "the person", found: 257, max: 256, .. })
    ));
    let mut next = batch.clone();
    next.epoch = 2;
    assert!(matches!(ask(&holder, &record, &next), Err(HolderError::Epoch { wanted: 2, own: FIRST_EPOCH, .. })));
    let (another_batch, ..) = deal(&holder);
    assert!(matches!(ask(&holder, &record, &another_batch), Err(HolderError::Format(_))));

    let second = LocalHolder::init(&folder.0.path().join("second"), 2, &OsEntropy).unwrap();
    assert!(matches!(ask(&second, &record, &batch), Err(HolderError::NotMine { number: 2, n: 1 })));
    let stranger = LocalHolder::init(&folder.0.path().join("stranger"), 1, &OsEntropy).unwrap();
    assert!(matches!(ask(&stranger, &record, &batch), Err(HolderError::Sealed { number: 1 })));
    assert_eq!((holder.opened(), second.opened(), stranger.opened()), (0, 0, 0));
}

#[test]
fn a_torn_refusal_is_dropped_and_the_next_one_takes_its_place() {
    for torn in [&b"0123456789abcdef\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], &[0; 32], b"a", &[7; 31]] {
        let folder = Folder::new();
        let holder = folder.init();
        let (batch, record, _) = deal(&holder);
        let (first, late) = (subject(), subject());
        holder.refuse(first).unwrap();
        drop(holder);
        let whole = folder.read(REFUSED);
        folder.write(REFUSED, &[&whole, torn].concat());
        let holder = folder.open().unwrap();
        ask(&holder, &record, &batch).unwrap();
        holder.refuse(late).unwrap();
        holder.refuse(record.subject).unwrap();
        drop(holder);
        assert_eq!(folder.read(REFUSED).len(), whole.len() + 64);
        let holder = folder.open().unwrap();
        assert!(matches!(ask(&holder, &record, &batch), Err(HolderError::Erased { .. })));
        holder.refuse(first).unwrap();
        drop(holder);
        assert_eq!(folder.read(REFUSED).len(), whole.len() + 64, "it was known already");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage to a refusal that was answered for never makes the holder forget it in silence.
    #[test]
    fn a_damaged_refusal_stops_the_holder(at in 0..128_usize, bit in 0..8_u32) {
        let folder = Folder::new();
        let holder = folder.init();
        for _ in 0..3 {
            holder.refuse(subject()).unwrap();
        }
        drop(holder);
        let mut bytes = folder.read(REFUSED);
        prop_assert_eq!(bytes.len(), 128);
        bytes[at] ^= 1 << bit;
        folder.write(REFUSED, &bytes);
        let is_damaged = matches!(folder.open(), Err(HolderError::Damaged { offset, .. }) if offset <= at as u64);
        prop_assert!(is_damaged);
    }

    #[test]
    fn an_altered_key_file_is_no_other_holder_in_silence(at in 0..38_usize, bit in 0..8_u32) {
        let folder = Folder::new();
        let public = folder.init().public_key();
        let mut bytes = folder.read("holder.key");
        prop_assert_eq!(bytes.len(), 38);
        bytes[at] ^= 1 << bit;
        folder.write("holder.key", &bytes);
        if let Ok(holder) = folder.open() {
            prop_assert_ne!(holder.public_key(), public);
        }
    }
}

#[test]
fn a_missing_middle_refusal_is_noticed() {
    let folder = Folder::new();
    let holder = folder.init();
    for _ in 0..3 {
        holder.refuse(subject()).unwrap();
    }
    drop(holder);
    let bytes = folder.read(REFUSED);
    folder.write(REFUSED, &[&bytes[..64], &bytes[96..]].concat());
    assert!(matches!(folder.open(), Err(HolderError::Damaged { file: REFUSED, offset: 64 })));
}

#[test]
fn the_count_survives_one_spoilt_slot_and_not_two() {
    let folder = Folder::new();
    let holder = folder.init();
    let (batch, record, _) = deal(&holder);
    for _ in 0..5 {
        ask(&holder, &record, &batch).unwrap();
    }
    drop(holder);
    let mut bytes = folder.read(OPENED);
    bytes[512] ^= 1;
    folder.write(OPENED, &bytes);
    assert_eq!(folder.open().unwrap().opened(), 4, "the fifth stood in the spoilt slot");
    bytes[0] ^= 1;
    folder.write(OPENED, &bytes);
    assert!(matches!(folder.open(), Err(HolderError::Damaged { file: OPENED, .. })));
}

#[test]
fn an_opening_that_cannot_be_counted_does_not_happen() {
    let folder = Folder::new();
    let holder = folder.init();
    let (batch, record, _) = deal(&holder);
    ask(&holder, &record, &batch).unwrap();
    drop(holder);
    fs::remove_file(folder.dir().join(OPENED)).unwrap();
    assert!(matches!(folder.open(), Err(HolderError::Storage { file: OPENED, .. })));
    fs::write(folder.dir().join(OPENED), []).unwrap();
    assert!(matches!(folder.open(), Err(HolderError::Damaged { file: OPENED, .. })));
}
