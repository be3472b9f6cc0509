//! Every call that a holder answers, with any bytes, from a gateway, another server and a stranger: a refusal or an answer, never a
//! panic, and what stands there stays.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use holder::wire::{self, GetRequest, Message as _};
use holder::{Config, Keys, Node, Peer, Pin, Shards};
use kit::OsEntropy;
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 16] = [
    wire::CARD,
    wire::MEMBERS,
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

static NODE: LazyLock<(tempfile::TempDir, Node)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config {
        vault: "00".repeat(16),
        number: 1,
        listen: "127.0.0.1:0".parse().expect("an address"),
        officer: "07".repeat(32),
        gateways: vec!["09".repeat(32)],
        join_code: "01".repeat(32),
        key_epoch: keys::FIRST_EPOCH,
        keys: Keys { needed: 1, holders: 1 },
        shards: Shards { quota_bytes: 1 << 20, reserve_bytes: 0, ..Shards::default() },
        budgets: keys::Budgets::default(),
    };
    config.save(folder.path()).expect("a configuration");
    Node::init(folder.path(), &OsEntropy).expect("a holder");
    let node = Node::open(folder.path()).expect("an open holder");
    let put = [wire::put_head(&location::Name::new("kept").expect("a name"), 4), b"kept".to_vec()].concat();
    node.call(Peer::Gateway(Pin([9; 32])), wire::PUT, put.into()).expect("kept");
    (folder, node)
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let node = &NODE.1;
    let peer = match choice >> 6 {
        0 | 1 => Peer::Gateway(Pin([9; 32])),
        2 => Peer::Server(2),
        _ => Peer::Stranger(Pin([8; 32])),
    };
    let path = PATHS[usize::from(choice & 63) % PATHS.len()];
    let _ = node.call(peer, path, Bytes::copy_from_slice(body));
    let get = GetRequest { name: "kept".to_owned(), range: None }.to_bytes();
    let kept = node.call(Peer::Gateway(Pin([9; 32])), wire::GET, get.into());
    assert_eq!(kept.expect("it stays").as_ref(), b"kept");
});
