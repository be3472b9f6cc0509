//! The vault's side of `cargo xtask bench vault`: founds a vault of fourteen folders, and measures what it is asked for.
//!
//! `bench_vault DIR`, then a question per line on standard input, an answer in JSON per line on standard output:
//! - `records BYTES COUNT THREADS SEED`: keeps so many records from so many threads, then fetches them all
//! - `again SEED`: fetches once more what was kept with this seed, where that was one record
//! - `limits BYTES`: what the machine itself takes for AES-256-GCM, for Reed-Solomon, and for writing with one sync

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use keys::{CustodianPackage, Holder, LocalHolder, new_identity};
use kit::{Entropy, Id16, OperationId, OsEntropy, PatientId, SeededEntropy, SystemClock};
use reed_solomon_simd::ReedSolomonEncoder;
use vault::location::{FolderLocation, Location, Marker};
use vault::{Founding, Group, Parcel, Scope, Shape, Vault};

type Failure = Box<dyn Error + Send + Sync>;

const K: u8 = 3;
const N: u8 = 14;
const FLOOR: u8 = 12;
const HOLDERS_TO_OPEN: u8 = 12;

/// As many as a ward has on its screens; their keys are opened once and then remembered, as in a gateway.
const PATIENTS: usize = 64;
const KEYS_REMEMBERED_MS: u64 = 600_000;

/// One shard at its largest: the unit in which the vault seals and codes.
const PIECE_BYTES: usize = 1024 * 1024;

fn main() -> Result<(), Failure> {
    let dir = std::env::args_os().nth(1).ok_or("bench_vault DIR")?;
    let (vault, patients) = found(Path::new(&dir))?;
    let mut kept = BTreeMap::new();
    for question in io::stdin().lock().lines() {
        let question = question?;
        let words: Vec<&str> = question.split(' ').collect();
        let answer = match words.as_slice() {
            ["records", bytes, count, threads, seed] => {
                let (count, threads) = (count.parse()?, threads.parse()?);
                let payloads = payloads(bytes.parse()?, count, seed.parse()?);
                let (answer, indices) = records(&vault, &patients, &payloads, threads)?;
                if let ([index], [payload]) = (indices.as_slice(), payloads.as_slice()) {
                    kept.insert((*seed).to_owned(), (*index, blake3::hash(payload)));
                }
                answer
            }
            ["again", seed] => {
                let (index, hash) = kept.get(*seed).ok_or("nothing was kept with that seed")?;
                let start = Instant::now();
                let (_, payload) = vault.fetch(*index, "bench", "treatment")?;
                let seconds = start.elapsed().as_secs_f64();
                if blake3::hash(&payload) != *hash {
                    return Err("the vault gave back other bytes than it was given".into());
                }
                format!(r#"{{"fetch_seconds":{seconds}}}"#)
            }
            ["limits", bytes] => limits(Path::new(&dir), bytes.parse()?)?,
            _ => return Err(format!("no such question: {question}").into()),
        };
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn found(dir: &Path) -> Result<(Vault, Vec<PatientId>), Failure> {
    let entropy = Arc::new(OsEntropy);
    let id = Id16(entropy.id());
    let mut locations: Vec<Arc<dyn Location>> = Vec::new();
    let mut holders: Vec<Arc<dyn Holder>> = Vec::new();
    for number in 1..=N {
        let server = dir.join(format!("server-{number:02}"));
        let marker = Marker::new(format!("server-{number:02}"), id, number);
        locations.push(Arc::new(FolderLocation::init(&server.join("location"), marker)?));
        holders.push(Arc::new(LocalHolder::init(&server.join("holder"), number, &*entropy)?));
    }
    let recipients: Vec<String> = (0..3).map(|_| new_identity().1).collect();
    let (custodians, _) = CustodianPackage::establish(2, &recipients, &*entropy)?;
    let vault = vault::found(Founding {
        vault: id,
        origin: "bench.example/log".to_owned(),
        shape: Shape::new(K, N, FLOOR)?,
        locations,
        holders,
        t: HOLDERS_TO_OPEN,
        cache_ms: KEYS_REMEMBERED_MS,
        custodians,
        gateway: Some(dir.join("gateway")),
        clock: Arc::new(SystemClock),
        entropy: Arc::<OsEntropy>::clone(&entropy),
    })?;
    let patients: Vec<PatientId> = (0..PATIENTS).map(|_| PatientId::random(&*entropy)).collect();
    let registrations = patients.iter().map(|patient| parcel(*patient, b"registered".to_vec())).collect();
    vault.keep(group(patients.clone(), registrations))?;
    Ok((vault, patients))
}

fn parcel(patient: PatientId, payload: Vec<u8>) -> Parcel {
    Parcel { scope: Scope::Patient(patient), kind: "bench.record".to_owned(), meta: Vec::new(), payload: Some(payload) }
}

fn group(new_patients: Vec<PatientId>, parcels: Vec<Parcel>) -> Group {
    Group { operation: OperationId::random(&OsEntropy), permit: None, new_patients, parcels }
}

/// Bytes that no compressor shortens.
fn payloads(bytes: usize, count: usize, seed: u64) -> Vec<Vec<u8>> {
    let entropy = SeededEntropy::new(seed);
    let payload = |_| {
        let mut payload = vec![0; bytes];
        entropy.fill(&mut payload);
        payload
    };
    (0..count).map(payload).collect()
}

/// The answer, and where each record stands.
fn records(
    vault: &Vault,
    patients: &[PatientId],
    payloads: &[Vec<u8>],
    threads: usize,
) -> Result<(String, Vec<u64>), Failure> {
    // Made before the clock starts: a caller has its bytes already.
    let patient = |number: usize| patients.get(number % patients.len()).copied().ok_or("no patients");
    let groups: Result<Vec<_>, Failure> = payloads
        .iter()
        .enumerate()
        .map(|(number, payload)| {
            Ok(Mutex::new(Some(group(Vec::new(), vec![parcel(patient(number)?, payload.clone())]))))
        })
        .collect();
    let groups = groups?;
    let (keep_seconds, indices) = spread(groups.len(), threads, |number| {
        let group =
            groups.get(number).and_then(|group| group.lock().ok()?.take()).ok_or("a record is asked for twice")?;
        let receipts = vault.keep(group)?;
        let receipt = receipts.first().ok_or("no receipt")?;
        if receipt.survives == N - K { Ok(receipt.index) } else { Err("a receipt that survives less".into()) }
    })?;
    let (fetch_seconds, fetched) = spread(indices.len(), threads, |number| {
        let index = indices.get(number).ok_or("no such record")?;
        Ok(vault.fetch(*index, "bench", "treatment")?.1)
    })?;
    if !fetched.iter().zip(payloads).all(|(fetched, payload)| **fetched == *payload) {
        return Err("the vault gave back other bytes than it was given".into());
    }
    Ok((format!(r#"{{"keep_seconds":{keep_seconds},"fetch_seconds":{fetch_seconds}}}"#), indices))
}

/// Does `work` for each number below `count` from so many threads; the seconds it took, and the results in order.
fn spread<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<T, Failure> + Sync,
) -> Result<(f64, Vec<T>), Failure> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let done: Result<Vec<Vec<(usize, T)>>, Failure> = thread::scope(|scope| {
        let run = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(done);
                }
                done.push((number, work(number)?));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut done: Vec<(usize, T)> = done?.into_iter().flatten().collect();
    done.sort_by_key(|(number, _)| *number);
    Ok((seconds, done.into_iter().map(|(_, result)| result).collect()))
}

/// Ciphers and codes on all cores at once, since the vault may use them all.
fn limits(dir: &Path, bytes: usize) -> Result<String, Failure> {
    let cores = thread::available_parallelism()?.get();
    let pieces = bytes.div_ceil(PIECE_BYTES);
    let (aes_gcm, _) = spread(cores, cores, |core| {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "no key")?);
        let mut piece = vec![0; PIECE_BYTES];
        for number in (core..pieces).step_by(cores) {
            let mut nonce = [0; 12];
            nonce.iter_mut().zip(number.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut piece);
            sealed.map(drop).map_err(|_| "sealing failed")?;
        }
        Ok(())
    })?;
    let stripes = bytes.div_ceil(usize::from(K) * PIECE_BYTES);
    let shards = payloads(PIECE_BYTES, K.into(), 1);
    let (reed_solomon, _) = spread(cores, cores, |core| {
        let (k, more) = (K.into(), (N - K).into());
        let mut encoder = ReedSolomonEncoder::new(k, more, PIECE_BYTES)?;
        for _ in (core..stripes).step_by(cores) {
            shards.iter().try_for_each(|shard| encoder.add_original_shard(shard))?;
            encoder.encode()?;
        }
        Ok(())
    })?;
    let path = dir.join("limits.bin");
    let noise = payloads(PIECE_BYTES, 1, 2).concat();
    let mut left = bytes * usize::from(N) / usize::from(K);
    let start = Instant::now();
    let mut file = File::create(&path)?;
    while left > 0 {
        let piece = noise.get(..left.min(PIECE_BYTES)).ok_or("no noise")?;
        file.write_all(piece)?;
        left -= piece.len();
    }
    file.sync_all()?;
    let write = start.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(format!(r#"{{"aes_gcm_seconds":{aes_gcm},"reed_solomon_seconds":{reed_solomon},"write_seconds":{write}}}"#))
}
