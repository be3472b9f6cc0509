//! How fast keys are dealt and opened on this machine: `cargo run --release -p keys --example deal_speed`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a measurement may stop at the first surprise

use std::sync::Arc;
use std::time::Instant;

use keys::{
    CustodianPackage, DataKey, Dealer, FIRST_EPOCH, Holder, HolderPublicKey, KeyRecord, Keyring, LocalHolder,
    new_identity,
};
use kit::{Entropy, Id16, OsEntropy, SystemClock};

const SUBJECTS: usize = 5_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for (t, n) in [(12, 14), (1, 1)] {
        measure(&folder.path().join(format!("{t}-of-{n}")), t, n);
    }
}

fn measure(folder: &std::path::Path, t: u8, n: u8) {
    println!("{t} of {n} holders:");
    let holders: Vec<Arc<dyn Holder>> = (1..=n)
        .map(|number| {
            let holder = LocalHolder::init(&folder.join(number.to_string()), number, &OsEntropy).unwrap();
            Arc::new(holder) as Arc<dyn Holder>
        })
        .collect();
    let public: Vec<HolderPublicKey> = holders.iter().map(|holder| holder.public_key()).collect();
    let (secret, recipient) = new_identity();
    let (package, recovery) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();

    let start = Instant::now();
    let (dealer, batch) = Dealer::new(&public, &recovery, t, FIRST_EPOCH, &OsEntropy).unwrap();
    println!("  a new batch: {:.2} ms, {} bytes", start.elapsed().as_secs_f64() * 1e3, batch.to_bytes().len());

    let start = Instant::now();
    let records: Vec<KeyRecord> = (0..SUBJECTS)
        .map(|_| dealer.deal(Id16(OsEntropy.id()), &DataKey::random(&OsEntropy), &OsEntropy).unwrap())
        .collect();
    let per_second = SUBJECTS as f64 / start.elapsed().as_secs_f64();
    println!("  dealing: {per_second:.0} subjects/s on one core, {} bytes a record", records[0].to_bytes().len());

    let keyring = Keyring::new(holders, t, 0, Arc::new(SystemClock)).unwrap();
    let open = |record| drop(keyring.open(record, &batch, "measurer", "measuring").unwrap());
    let start = Instant::now();
    open(&records[0]);
    println!("  opening, cold cache and cold contexts: {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
    records.iter().take(20).for_each(open); // every holder has met the batch now
    let start = Instant::now();
    records.iter().for_each(open);
    let each_ms = start.elapsed().as_secs_f64() * 1e3 / SUBJECTS as f64;
    println!("  opening, cold cache and warm contexts: {each_ms:.3} ms");

    let key = package.open(&[secret.to_string()]).unwrap();
    let start = Instant::now();
    records.iter().for_each(|record| drop(key.open(record, &batch).unwrap()));
    println!("  recovering: {:.0} subjects/s", SUBJECTS as f64 / start.elapsed().as_secs_f64());
}
