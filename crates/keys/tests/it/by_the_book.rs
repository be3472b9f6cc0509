//! Opens a record by docs/formats/keys.md alone: own CBOR walk, own GF(256), HPKE and AES-GCM from the libraries, nothing
//! of this crate. What is written there is what a hospital can rely on without this program.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, setup_receiver};
use minicbor::Decoder;
use sha2::{Digest, Sha256};

use crate::centre::{Centre, all};

struct Record<'a> {
    subject: &'a [u8],
    t: u8,
    n: u8,
    salt: &'a [u8],
    shares: Vec<&'a [u8]>,
    digests: Vec<&'a [u8]>,
    commitment: &'a [u8],
    recovery: &'a [u8],
}

fn strings<'a>(d: &mut Decoder<'a>) -> Vec<&'a [u8]> {
    (0..d.array().unwrap().unwrap()).map(|_| d.bytes().unwrap()).collect()
}

fn record(bytes: &[u8]) -> Record<'_> {
    let d = &mut Decoder::new(bytes);
    assert_eq!((d.array().unwrap(), d.u8().unwrap()), (Some(10), 1));
    let (subject, _batch) = (d.bytes().unwrap(), d.bytes().unwrap());
    let (t, n, salt) = (d.u8().unwrap(), d.u8().unwrap(), d.bytes().unwrap());
    let (shares, digests) = (strings(d), strings(d));
    let record =
        Record { subject, t, n, salt, shares, digests, commitment: d.bytes().unwrap(), recovery: d.bytes().unwrap() };
    assert_eq!(d.position(), bytes.len());
    record
}

/// Opens what is sealed to the party with `number` in the batch (0: the recovery party) and the private key `seed`.
fn open(batch: &[u8], record: &Record<'_>, number: u8, seed: &[u8], sealed: &[u8]) -> Vec<u8> {
    let d = &mut Decoder::new(batch);
    assert_eq!((d.array().unwrap(), d.u8().unwrap()), (Some(4), 1));
    let (id, epoch, encapsulations) = (d.bytes().unwrap(), d.u32().unwrap().to_be_bytes(), strings(d));
    let place = if number == 0 { encapsulations.len() - 1 } else { usize::from(number) - 1 };
    let info = [b"holdfast batch v1", id, &epoch, &[number]].concat();
    let digest = if number == 0 { record.commitment } else { record.digests[usize::from(number) - 1] };
    let context = setup_receiver::<ExportOnlyAead, HkdfSha256, XWing>(
        &OpModeR::Base,
        &<XWing as Kem>::PrivateKey::from_bytes(seed).unwrap(),
        &Deserializable::from_bytes(encapsulations[place]).unwrap(),
        &info,
    );
    let mut key = [0; 32];
    context.unwrap().export(&[b"holdfast share v1", record.subject, record.salt, digest].concat(), &mut key).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let aad = [b"holdfast share v1", id, &epoch, record.subject, &[number, record.t, record.n]].concat();
    let mut buffer = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    key.open_in_place(nonce, Aad::from(aad), &mut buffer).expect("the tag fits").to_vec()
}

fn multiply(mut a: u8, b: u8) -> u8 {
    (0..8).fold(0, |product, bit| {
        let term = if b >> bit & 1 == 1 { a } else { 0 };
        a = a << 1 ^ if a & 0x80 == 0 { 0 } else { 0x1b };
        product ^ term
    })
}

/// The polynomial's value at 0 (Lagrange); a⁻¹ = a²⁵⁴.
fn combine(shares: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let weight = |x: u8| {
        shares.iter().filter(|(other, _)| *other != x).fold(1, |weight, (other, _)| {
            let inverse = (0..254).fold(1, |power, _| multiply(power, other ^ x));
            multiply(weight, multiply(*other, inverse))
        })
    };
    (0..32).map(|at| shares.iter().fold(0, |sum, (x, share)| sum ^ multiply(weight(*x), share[at]))).collect()
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    Sha256::digest(parts.concat()).to_vec()
}

#[test]
fn a_record_opens_by_the_published_format() {
    let centre = Centre::new(3, 5);
    let (stored, key) = centre.register();
    let (bytes, batch) = (stored.to_bytes(), centre.batch.to_bytes());
    let record = record(&bytes);
    let shares: Vec<(u8, Vec<u8>)> = [5_u8, 2, 4]
        .into_iter()
        .map(|number| {
            let file = std::fs::read(centre.folder.path().join(number.to_string()).join("holder.key")).unwrap();
            let place = usize::from(number) - 1;
            let share = open(&batch, &record, number, &file[file.len() - 32..], record.shares[place]);
            let digest = sha256(&[b"holdfast share digest v1", record.salt, &[number], &share]);
            assert_eq!(digest, record.digests[place]);
            (number, share)
        })
        .collect();
    let opened = combine(&shares);
    assert_eq!(sha256(&[b"holdfast key commitment v1", record.salt, record.subject, &opened]), record.commitment);
    assert_eq!(opened, key.bytes());
}

#[test]
fn custodians_sheets_open_by_the_published_format() {
    let centre = Centre::new(1, 1);
    centre.moods(&all([1], crate::centre::Mood::Silent));
    let (stored, key) = centre.register();
    let (bytes, batch) = (stored.to_bytes(), centre.batch.to_bytes());
    let package = centre.package.to_bytes();
    let d = &mut Decoder::new(&package);
    assert_eq!((d.array().unwrap(), d.u8().unwrap()), (Some(5), 1));
    let (id, m) = (d.bytes().unwrap(), d.u8().unwrap());
    d.skip().unwrap();
    assert_eq!((m, d.array().unwrap()), (2, Some(3)));
    let mut shares = Vec::new();
    for (number, secret) in (1_u8..).zip(&centre.identities) {
        assert_eq!(d.array().unwrap(), Some(3));
        let (recipient, digest, file) = (d.str().unwrap(), d.bytes().unwrap(), d.bytes().unwrap());
        let identity: age::x25519::Identity = secret.parse().unwrap();
        assert_eq!(recipient, identity.to_public().to_string());
        let sheet = age::decrypt(&identity, file).unwrap();
        let s = &mut Decoder::new(&sheet);
        assert_eq!((s.array().unwrap(), s.u8().unwrap(), s.bytes().unwrap()), (Some(6), 1, id));
        assert_eq!([s.u8().unwrap(), s.u8().unwrap(), s.u8().unwrap()], [number, 2, 3]);
        let share = s.bytes().unwrap().to_vec();
        assert_eq!(sha256(&[b"holdfast custodian share v1", id, &[number], &share]), digest);
        shares.push((number, share));
    }
    let record = record(&bytes);
    let opened = open(&batch, &record, 0, &combine(&shares[1..]), record.recovery);
    assert_eq!(opened, key.bytes());
}
