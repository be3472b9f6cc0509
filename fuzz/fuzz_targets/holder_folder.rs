//! The files that a holder reads at a start, and its administrator's look at retention, with one of them damaged: it opens or
//! says why not, and nothing that stands there goes.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use clap::Parser;
use holder::wire::{self, GetRequest, Message as _};
use holder::{Node, Peer};
use holdfast_fuzz::{GATEWAY, MEMBERS_CONTEXT, STRANGER, card, edited, members, signed, take};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const FILES: [&str; 14] = [
    "retention.log",
    "peers.cbor",
    "members.cbor",
    "holder.toml",
    "starts.count",
    "journal.log",
    "meter/meter.log",
    "meter/proofs.log",
    "holder/refused.log",
    "holder/opened.count",
    "witness/seen",
    "shards/location.cbor",
    "alarms.cbor",
    "alarms-seen.cbor",
];

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: holder::Command,
}

struct Scene {
    root: TempDir,
    whole: PathBuf,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let root = holdfast_fuzz::folder();
    let whole = root.path().join("whole");
    fs::create_dir_all(&whole).expect("a folder");
    holdfast_fuzz::new_holder(&whole);
    let node = Node::open(&whole).expect("an open holder");
    let list = signed(MEMBERS_CONTEXT, &members(&card(&node), 1).to_bytes());
    node.call(Peer::Stranger(STRANGER), wire::MEMBERS, list).expect("a list");
    let put = [wire::put_head(&location::Name::new("kept").expect("a name"), 4), b"kept".to_vec()].concat();
    node.call(Peer::Gateway(GATEWAY), wire::PUT, put.into()).expect("kept");
    let subject = kit::Id16([5; 16]);
    let refuse = wire::RefuseSubject { subject }.to_bytes();
    node.call(Peer::Gateway(GATEWAY), wire::REFUSE, refuse.into()).expect("refused");
    drop(node);
    // Of days that are past: closed volumes, and another server's word.
    fs::write(whole.join("retention.log"), "newest 1000 1\nnewest 2000 2\nended 3000 1 4 5\n").expect("a file");
    Scene { root, whole }
});

fuzz_target!(|data: &[u8]| {
    let scene = &*SCENE;
    let mut data = data;
    let place = scene.root.path().join("copy");
    let _ = fs::remove_dir_all(&place);
    holdfast_fuzz::copy(&scene.whole, &place);
    let choice = take(&mut data);
    let file = place.join(FILES[usize::from(choice >> 1) % FILES.len()]);
    let before = fs::read(&file).unwrap_or_default();
    let after = if choice & 1 == 0 { edited(before, &mut data) } else { data.to_vec() };
    fs::write(&file, after).expect("a file");
    let shards = || {
        let mut volumes: Vec<_> = fs::read_dir(place.join("shards/volumes")).expect("volumes").flatten().collect();
        volumes.sort_by_key(fs::DirEntry::path);
        volumes.into_iter().map(|volume| fs::read(volume.path()).expect("a volume")).collect::<Vec<_>>()
    };
    let stood = shards();

    let dir = place.display().to_string();
    let words = ["holder", "retention", "--dir", &dir, "--end-before", "1999-01-01"];
    let cli = Cli::parse_from(words);
    let _ = cli.command.run(&mut |_| {});
    if let Ok(node) = Node::open(&place) {
        let get = GetRequest { name: "kept".to_owned(), range: None }.to_bytes();
        if let Ok(kept) = node.call(Peer::Gateway(GATEWAY), wire::GET, get.into()) {
            assert_eq!(kept.as_ref(), b"kept");
        }
        let _ = node.call(Peer::Server(1), wire::STATUS, Bytes::new());
    }
    assert!(shards() == stood, "a volume was changed");
});
