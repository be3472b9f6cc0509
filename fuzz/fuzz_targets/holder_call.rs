//! Every call that a holder answers, with any bytes, from a gateway, another server and a stranger: a refusal or an answer, never a
//! panic, and what stands there stays.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use holder::wire::{self, GetRequest, Message as _};
use holder::{Node, Peer};
use holdfast_fuzz::{GATEWAY, STRANGER};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const PATHS: [&str; 17] = [
    wire::CARD,
    wire::MEMBERS,
    wire::MEMBERS_GET,
    wire::STATUS,
    wire::PUT,
    wire::GET,
    wire::LIST,
    wire::STATS,
    wire::OPEN,
    wire::REFUSE,
    wire::TURN_BEGIN,
    wire::TURN_OWN,
    wire::TURN_RESEAL,
    wire::TURN_CONFIRM,
    wire::TURN_FINISH,
    wire::ADD_CHECKPOINT,
    wire::ALARM,
];

static NODE: LazyLock<(TempDir, Node)> = LazyLock::new(|| {
    let folder = holdfast_fuzz::folder();
    holdfast_fuzz::new_holder(folder.path());
    let node = Node::open(folder.path()).expect("an open holder");
    let put = [wire::put_head(&location::Name::new("kept").expect("a name"), 4), b"kept".to_vec()].concat();
    node.call(Peer::Gateway(GATEWAY), wire::PUT, put.into()).expect("kept");
    (folder, node)
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let node = &NODE.1;
    let peer = match choice >> 6 {
        0 | 1 => Peer::Gateway(GATEWAY),
        2 => Peer::Server(2),
        _ => Peer::Stranger(STRANGER),
    };
    let path = PATHS[usize::from(choice & 63) % PATHS.len()];
    let _ = node.call(peer, path, Bytes::copy_from_slice(body));
    let get = GetRequest { name: "kept".to_owned(), range: None }.to_bytes();
    let kept = node.call(Peer::Gateway(GATEWAY), wire::GET, get.into());
    assert_eq!(kept.expect("it stays").as_ref(), b"kept");
});
