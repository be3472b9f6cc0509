//! What targets share: the holder of a centre of its own, and edits of well-formed bytes. Bytes from nowhere rarely get past
//! a length or a signature; what was well-formed a moment ago does.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use holder::wire::{self, Card, Member, Members, Message as _, Signed};
use holder::{Config, Keys, Node, Peer, Pin, Shards};
use keys::Officer;
use kit::format::Version;
use kit::{Id16, OsEntropy};
use tempfile::TempDir;

pub const VAULT: Id16 = Id16([0; 16]);
pub const GATEWAY: Pin = Pin([9; 32]);
pub const STRANGER: Pin = Pin([8; 32]);
const JOIN_CODE: [u8; 32] = [1; 32];

/// What an officer's signatures over lists, passes and orders begin with: docs/formats/holder.md.
pub const MEMBERS_CONTEXT: &[u8] = b"holdfast members v1\n";
pub const NEWCOMER_CONTEXT: &[u8] = b"holdfast newcomer v1\n";
pub const TURN_CONTEXT: &[u8] = b"holdfast turn v1\n";

pub fn officer() -> Officer {
    Officer::from_seed(&[7; 32]).expect("a seed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In memory where there is such a place: a holder syncs what it writes.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

/// Makes the one holder of a centre in `dir`. It has no list of members yet.
pub fn new_holder(dir: &Path) {
    let config = Config {
        vault: VAULT.to_string(),
        number: 1,
        listen: "127.0.0.1:0".parse().expect("an address"),
        officer: hex(&officer().public()),
        gateways: vec![hex(&GATEWAY.0)],
        join_code: hex(&JOIN_CODE),
        key_epoch: keys::FIRST_EPOCH,
        keys: Keys { needed: 1, holders: 1 },
        shards: Shards { quota_bytes: 1 << 20, reserve_bytes: 0, retention_days: Some(1), ..Shards::default() },
        budgets: keys::Budgets::default(),
    };
    config.save(dir).expect("a configuration");
    Node::init(dir, &OsEntropy).expect("a holder");
}

/// What it shows of itself.
pub fn card(node: &Node) -> Card {
    let card = node.call(Peer::Stranger(STRANGER), wire::CARD, Bytes::new()).expect("a card");
    Card::open(&card, &JOIN_CODE).expect("its own card")
}

/// A list that it takes.
pub fn members(card: &Card, version: u64) -> Members {
    let member = Member {
        number: 1,
        address: "127.0.0.1:1".to_owned(),
        pin: card.pin,
        witness: card.witness.clone(),
        key: card.key.clone(),
    };
    Members {
        format: Version,
        vault: VAULT,
        version,
        splits: None,
        servers: vec![member],
        gateways: vec![GATEWAY],
        ended: vec![Id16([3; 16])],
        log: String::new(),
    }
}

/// `body`, whatever it is, as the officer signs it.
pub fn signed(context: &[u8], body: &[u8]) -> Bytes {
    let signature = officer().sign(&[context, body].concat());
    Signed { body: body.to_vec().into(), signature: signature.to_vec().into() }.to_bytes().into()
}

/// The next byte, or zero.
pub fn take(data: &mut &[u8]) -> u8 {
    let Some((first, rest)) = data.split_first() else { return 0 };
    *data = rest;
    *first
}

/// Up to seven edits, as `data` has them: a byte changed, put in or taken out, or the end cut off.
pub fn edited(mut bytes: Vec<u8>, data: &mut &[u8]) -> Vec<u8> {
    for _ in 0..take(data) % 8 {
        let (place, what, value) = (u16::from_be_bytes([take(data), take(data)]), take(data), take(data));
        let at = usize::from(place) % (bytes.len() + 1);
        match what % 4 {
            0 => bytes.insert(at, value),
            1 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
            2 => bytes.truncate(at),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        }
    }
    bytes
}

/// A folder like another one.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // Not `fs::copy`: libFuzzer's alarm interrupts it.
            fs::write(&target, fs::read(&path).expect("a file")).expect("a file");
            fs::set_permissions(&target, fs::metadata(&path).expect("a file").permissions()).expect("a file");
        }
    }
}
