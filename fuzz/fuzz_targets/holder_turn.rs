//! The calls that turn a holder's key epoch, in any order and with well-formed bytes that were edited: whatever a gateway says,
//! the centre's key opens with the old share until an order that the officer signed names exactly what was confirmed, and with
//! the new one after that; also when the holder is started again.
#![no_main]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use holder::wire::{self, Message, OpenShare, RefuseSubject};
use holder::{Node, Peer};
use holdfast_fuzz::{GATEWAY, TURN_CONTEXT, VAULT, edited, signed, take};
use keys::{
    Batch, CustodianPackage, DataKey, Dealer, HolderPublicKey, KeyRecord, LocalHolder, Turn, turned_batch,
    turned_record,
};
use kit::format::{self, FormatError, Version};
use kit::{Id16, OsEntropy, Timestamp};
use libfuzzer_sys::fuzz_target;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use tempfile::TempDir;

/// As docs/formats/holder.md has them: a library's own types would be right by definition.
#[derive(Encode)]
struct Begin(#[n(0)] u32);
#[derive(Encode)]
struct Own(#[n(0)] Id16);
#[derive(Encode)]
struct Reseal(#[n(0)] Version<1>, #[n(1)] ByteVec, #[n(2)] ByteVec, #[n(3)] Vec<ByteVec>);
#[derive(Decode)]
struct Resealed(#[n(0)] Vec<Option<ByteArray<48>>>);
#[derive(Encode, Decode)]
struct Confirm(#[n(0)] Version<1>, #[n(1)] ByteVec, #[n(2)] Vec<ByteVec>);

/// The centre's own key, which takes no proof, and two patients'.
const SUBJECTS: [Id16; 3] = [Id16(*b"system vault key"), Id16([0x51; 16]), Id16([0x52; 16])];
const OPS_MAX: usize = 12;

struct Scene {
    _root: TempDir,
    holder: PathBuf,
    copy: PathBuf,
    batch: Batch,
    records: Vec<KeyRecord>,
    share: Bytes,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let root = holdfast_fuzz::folder();
    let (holder, copy) = (root.path().join("holder"), root.path().join("copy"));
    std::fs::create_dir_all(&holder).expect("a folder");
    holdfast_fuzz::new_holder(&holder);
    let key = LocalHolder::look(&holder.join("holder")).expect("its key").remove(0);
    let (_, recovery) = CustodianPackage::establish(1, &[keys::new_identity().1], &OsEntropy).expect("custodians");
    let (dealer, batch) = Dealer::new(&[key], &recovery, 1, keys::FIRST_EPOCH, &OsEntropy).expect("a dealer");
    let deal = |subject| dealer.deal(subject, &DataKey::random(&OsEntropy), &OsEntropy).expect("a record");
    let records: Vec<KeyRecord> = SUBJECTS.into_iter().map(deal).collect();
    let node = Node::open(&holder).expect("an open holder");
    let share = open(&node, &records[0], &batch).expect("the centre's key opens");
    drop(node);
    Scene { _root: root, holder, copy, batch, records, share }
});

fn call(node: &Node, path: &str, body: Vec<u8>) -> Option<Bytes> {
    node.call(Peer::Gateway(GATEWAY), path, body.into()).ok()
}

fn open(node: &Node, record: &KeyRecord, batch: &Batch) -> Option<Bytes> {
    let request = OpenShare {
        version: Version,
        record: record.to_bytes().into(),
        batch: batch.to_bytes().into(),
        person: "gateway".to_owned(),
        purpose: "start".to_owned(),
        at: Timestamp(0),
        proof: None,
    };
    call(node, wire::OPEN, request.to_bytes())
}

fn decode<T: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) -> Result<T, FormatError> {
    format::decode("here", bytes, wire::TURN_BYTES_MAX)
}

/// Some of the records, by the bits of `which`.
fn some(records: &[KeyRecord], which: u8) -> Vec<KeyRecord> {
    records.iter().enumerate().filter(|(at, _)| which >> at & 1 == 1).map(|(_, record)| record.clone()).collect()
}

/// What a turn has come to, as a gateway by the book sees it.
#[derive(Default)]
struct Seen {
    next: Option<HolderPublicKey>,
    to: Option<Batch>,
    turned: Vec<KeyRecord>,
    confirmed: BTreeSet<[u8; 16]>,
    refused: BTreeSet<[u8; 16]>,
    is_over: bool,
    /// Another turn after this one was ended by the officer too.
    is_past: bool,
}

fuzz_target!(|data: &[u8]| {
    let scene = &*SCENE;
    let mut data = data;
    let _ = std::fs::remove_dir_all(&scene.copy);
    holdfast_fuzz::copy(&scene.holder, &scene.copy);
    let mut node = Node::open(&scene.copy).expect("it opens");
    let mut seen = Seen::default();
    // How far the turn goes by the book before the rest: by chance alone it would hardly begin.
    let book: Vec<u8> =
        [0u8, 1, 2, 3, 4].into_iter().take(usize::from(take(&mut data)) % 6).flat_map(|op| [op, 7]).collect();
    let mut book = book.as_slice();
    for _ in 0..OPS_MAX {
        let data = if book.is_empty() { &mut data } else { &mut book };
        if data.is_empty() {
            break;
        }
        let (op, which) = (take(data), take(data));
        // By the book where the first bit says so, or with edits.
        let shape = |bytes: Vec<u8>, data: &mut &[u8]| if op & 0x80 == 0 { bytes } else { edited(bytes, data) };
        match op % 8 {
            0 => {
                let body = shape(format::encode(&Begin(if op & 0x40 == 0 { 2 } else { which.into() })), data);
                if let Some(next) = call(&node, wire::TURN_BEGIN, body) {
                    let next = HolderPublicKey::from_bytes(&next).expect("a public key");
                    seen.next = Some(next).filter(|next| next.epoch() == 2 && !seen.is_over);
                }
            }
            1 => {
                let id = Id16([which; 16]);
                let own = call(&node, wire::TURN_OWN, format::encode(&Own(id)));
                if let (Some(own), Some(next)) = (own, &seen.next) {
                    seen.to = turned_batch(id, next.epoch(), vec![own.to_vec()]).ok();
                }
                let _ = call(&node, wire::TURN_OWN, shape(format::encode(&Own(id)), data));
            }
            2 => {
                let Some(to) = &seen.to else { continue };
                let records = some(&scene.records, which);
                let bytes = records.iter().map(|record| shape(record.to_bytes(), data).into()).collect();
                let from = shape(scene.batch.to_bytes(), data).into();
                let body = format::encode(&Reseal(Version, from, shape(to.to_bytes(), data).into(), bytes));
                let Some(answer) = call(&node, wire::TURN_RESEAL, shape(body, data)) else { continue };
                if op & 0x80 == 0 {
                    let Resealed(shares) = minicbor::decode(&answer).expect("shares");
                    let turn = |(record, share): (&KeyRecord, &Option<ByteArray<48>>)| {
                        turned_record(record, to, vec![(*share)?]).ok()
                    };
                    seen.turned = records.iter().zip(&shares).filter_map(turn).collect();
                }
            }
            3 => {
                let Some(to) = &seen.to else { continue };
                let records = some(&seen.turned, which);
                let bytes = records.iter().map(|record| shape(record.to_bytes(), data).into()).collect();
                let body = format::encode(&Confirm(Version, shape(to.to_bytes(), data).into(), bytes));
                let body = shape(body, data);
                if call(&node, wire::TURN_CONFIRM, body.clone()).is_some() && !seen.is_over {
                    let Confirm(_, _, records) = decode(&body).expect("what was confirmed can be read");
                    let read = records.iter().map(|record| KeyRecord::from_bytes(record).expect("a record").subject.0);
                    seen.confirmed.extend(read);
                }
            }
            4 => {
                let named = SUBJECTS.into_iter().enumerate().filter(|(at, _)| which >> at & 1 == 1);
                let body = shape(Turn::new(VAULT, 2, named.map(|(_, subject)| subject)).to_bytes(), data);
                let done = node.call(Peer::Gateway(GATEWAY), wire::TURN_FINISH, signed(TURN_CONTEXT, &body));
                let turn = Turn::from_bytes(&body);
                if done.is_ok() && turn.as_ref().is_ok_and(|turn| turn.epoch == 2) && !seen.is_over {
                    let names = |subjects: Vec<[u8; 16]>| {
                        turn.as_ref().ok() == Some(&Turn::new(VAULT, 2, subjects.into_iter().map(Id16)))
                    };
                    let all: Vec<_> = seen.confirmed.iter().copied().collect();
                    let living = seen.confirmed.difference(&seen.refused).copied().collect();
                    assert!(names(all) || names(living), "it destroyed its key, and not all was confirmed");
                    seen.is_over = true;
                } else if done.is_ok() {
                    seen.is_past |= turn.is_ok_and(|turn| turn.epoch > 2);
                }
            }
            5 => {
                let subject = SUBJECTS[usize::from(which) % 3];
                if call(&node, wire::REFUSE, RefuseSubject { subject }.to_bytes()).is_some() {
                    seen.refused.insert(subject.0);
                }
            }
            6 => {
                drop(node);
                node = Node::open(&scene.copy).expect("it opens again");
                // What was confirmed is confirmed again.
                seen.confirmed.clear();
            }
            _ => {
                let paths =
                    [wire::TURN_BEGIN, wire::TURN_OWN, wire::TURN_RESEAL, wire::TURN_CONFIRM, wire::TURN_FINISH];
                let length = usize::from(which).min(data.len());
                let (body, rest) = data.split_at(length);
                *data = rest;
                // Raw bytes that begin a turn or confirm nothing are by the book too.
                let path = paths[usize::from(op >> 3) % paths.len()];
                if call(&node, path, body.to_vec()).is_some() && path == wire::TURN_CONFIRM && !seen.is_over {
                    let Confirm(_, _, records) = decode(body).expect("what was confirmed can be read");
                    seen.confirmed.extend(
                        records.iter().map(|record| KeyRecord::from_bytes(record).expect("a record").subject.0),
                    );
                }
            }
        }
    }
    if !seen.is_over {
        assert_eq!(open(&node, &scene.records[0], &scene.batch).as_ref(), Some(&scene.share), "the old share opens");
    } else if let (Some(record), Some(to)) = (seen.turned.iter().find(|one| one.subject == SUBJECTS[0]), &seen.to)
        && record.batch == to.id
        && !seen.is_past
        && seen.confirmed.contains(&SUBJECTS[0].0)
    {
        assert_eq!(open(&node, record, to).as_ref(), Some(&scene.share), "the new share opens");
        assert!(open(&node, &scene.records[0], &scene.batch).is_none(), "the old one is destroyed");
    }
});
