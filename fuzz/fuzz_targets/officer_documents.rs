//! What an officer signs, with any bytes under her signature: a list of members is taken whole or not at all, never one that is
//! older; a newcomer's pass lets in whom it names; an order to turn that nobody confirmed destroys nothing.
#![no_main]

use std::fs;
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use holder::wire::{self, Card, Members, Message as _, Newcomer, Signed};
use holder::{Node, Peer, Pin};
use holdfast_fuzz::{
    MEMBERS_CONTEXT, NEWCOMER_CONTEXT, STRANGER, TURN_CONTEXT, VAULT, card, edited, members, signed, take,
};
use keys::Turn;
use kit::Id16;
use kit::format::Version;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

struct Scene {
    folder: TempDir,
    node: Option<Node>,
    card: Card,
}

static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| {
    let folder = holdfast_fuzz::folder();
    holdfast_fuzz::new_holder(folder.path());
    let node = Node::open(folder.path()).expect("an open holder");
    let card = card(&node);
    Mutex::new(Scene { folder, node: Some(node), card })
});

fuzz_target!(|data: &[u8]| {
    let mut scene = SCENE.lock().expect("the scene");
    let mut data = data;
    // Each input meets a holder with version 5 of the list: what it does doesn't depend on those before it.
    drop(scene.node.take());
    let _ = fs::remove_file(scene.folder.path().join("members.cbor"));
    let node = Node::open(scene.folder.path()).expect("it opens again");
    let first = signed(MEMBERS_CONTEXT, &members(&scene.card, 5).to_bytes());
    node.call(Peer::Stranger(STRANGER), wire::MEMBERS, first.clone()).expect("a good list is taken");
    let held = || node.call(Peer::Server(1), wire::MEMBERS_GET, Bytes::new()).expect("the list that is here");
    assert_eq!(held(), first);

    let is_edited = take(&mut data).is_multiple_of(2);
    let choice = take(&mut data) % 3;
    let body = |good: Vec<u8>, data: &mut &[u8]| if is_edited { edited(good, data) } else { data.to_vec() };
    match choice {
        0 => {
            let version = u64::from(take(&mut data));
            let body = body(members(&scene.card, version).to_bytes(), &mut data);
            let list = signed(MEMBERS_CONTEXT, &body);
            let taken = node.call(Peer::Stranger(STRANGER), wire::MEMBERS, list.clone()).is_ok();
            let read = Members::from_bytes(&body).ok();
            if let Some(read) = &read {
                assert_eq!(read.to_bytes(), body);
            }
            let is_newer = read.as_ref().is_some_and(|read| read.version > 5 || list == first);
            assert!(!taken || is_newer, "an older list was taken");
            assert_eq!(held(), if taken { list } else { first });
            // Whatever it says of logs and machines, the holder goes on.
            let _ = node.call(Peer::Server(1), wire::ADD_CHECKPOINT, data.to_vec().into());
            node.call(Peer::Server(1), wire::STATUS, Bytes::new()).expect("a status");
            node.peer(Pin([5; 32]));
            let again = node.members();
            drop(node);
            let node = Node::open(scene.folder.path()).expect("it opens with the list that it took");
            assert_eq!(node.members(), again);
            scene.node = Some(node);
            return;
        }
        1 => {
            let good = Newcomer { format: Version, pin: STRANGER }.to_bytes();
            let body = body(good, &mut data);
            let let_in = node.call(Peer::Stranger(STRANGER), wire::MEMBERS_GET, signed(NEWCOMER_CONTEXT, &body));
            let is_hers = Newcomer::from_bytes(&body).is_ok_and(|pass| pass.pin == STRANGER);
            assert_eq!(let_in.is_ok(), is_hers);
            // A pass is no list, and a list no pass.
            assert!(node.call(Peer::Stranger(STRANGER), wire::MEMBERS, signed(NEWCOMER_CONTEXT, &body)).is_err());
        }
        _ => {
            let epoch = u32::from(take(&mut data)) % 4;
            let good = Turn::new(VAULT, epoch, [Id16([2; 16])]).to_bytes();
            let body = body(good, &mut data);
            let gateway = Peer::Gateway(holdfast_fuzz::GATEWAY);
            if node.call(gateway, wire::TURN_FINISH, signed(TURN_CONTEXT, &body)).is_ok() {
                // The epoch that is here already: repeated, it does nothing.
                let turn = Turn::from_bytes(&body).expect("what was done was an order");
                assert_eq!((turn.epoch, turn.vault), (keys::FIRST_EPOCH, VAULT));
            }
            assert!(
                node.call(gateway, wire::TURN_FINISH, body.clone().into()).is_err()
                    || Signed::from_bytes(&body).is_ok()
            );
            assert_eq!(card(&node), scene.card, "its key is the one that it had");
        }
    }
    scene.node = Some(node);
});
