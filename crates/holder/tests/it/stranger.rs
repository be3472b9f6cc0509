//! Who is let in, and what a caller that isn't of the centre gets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use holder::wire::{self, *};
use holder::{CallError, Identity, Network, Node, Peer, Pin, RemoteLocation, Shards};
use keys::{Budgets, Officer};
use kit::format::Version;
use location::{Location, LocationError, Name};

use crate::solo::{STRANGER, Solo, code};
use crate::support::{JOIN_CODE, Server};

const PATIENCE: Duration = Duration::from_secs(10);

fn refused(network: &Network, link: &holder::Link, path: &str, body: Vec<u8>) -> (u16, String) {
    match network.wait(link.call(path, vec![Bytes::from(body)], PATIENCE, 1 << 20)) {
        Err(CallError::Refused(refused)) => (refused.status, refused.refusal.code),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_stranger_reads_the_card_and_nothing_else() {
    let server = Server::new(3, Shards::default());
    let running = server.start(3);
    let stranger = Identity::init(&server.dir.path().join("stranger")).unwrap();
    let link = server.link(&running, &stranger, None);
    for path in [wire::PUT, wire::GET, wire::LIST, wire::STATS, wire::OPEN, wire::REFUSE] {
        assert_eq!(refused(&server.network, &link, path, Vec::new()).0, 403, "{path}");
    }
    for path in [wire::STATUS, wire::ALARM, wire::MEMBERS_GET] {
        assert_eq!(refused(&server.network, &link, path, Vec::new()).0, 403, "{path}");
    }
    let card = server.network.wait(link.call(wire::CARD, vec![], PATIENCE, 1 << 16)).unwrap().unwrap();
    let read = Card::open(&card, &JOIN_CODE).unwrap();
    assert_eq!((read.number, read.pin), (3, running.pin));
    assert_eq!(Card::open(&card, &[8; 32]).unwrap_err().refusal.code, "holder.join-code");
}

#[test]
fn a_server_with_another_certificate_is_not_believed() {
    let server = Server::new(3, Shards::default());
    let running = server.start(3);
    let link = server.link(&running, &server.gateway, Some(server.gateway.pin()));
    let location = RemoteLocation::new("server-03".into(), server.network.clone(), link);
    let error = location.get(&Name::new("a").unwrap(), None).unwrap_err();
    assert!(matches!(error, LocationError::Gone { .. }), "{error}");
}

/// One machine that connects as often as it can, and shows no certificate, keeps nobody else out.
#[test]
fn who_only_connects_shuts_the_door_for_nobody_else() {
    let server = Server::new(3, Shards::default());
    let running = server.start(3);
    let idle: Vec<_> = (0..300)
        .filter_map(|_| {
            server.network.wait(async {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                socket.connect(running.address).await.ok()
            })
        })
        .collect();
    assert!(idle.len() > 256, "as many as a holder has room for: {}", idle.len());
    let link = server.link(&running, &server.gateway, Some(running.pin));
    server.network.wait(link.call(wire::STATUS, vec![], PATIENCE, 1 << 20)).unwrap();
}

/// Who speaks something else than the protocol, or no TLS at all, leaves a line; who connects and goes away leaves none.
#[test]
fn a_failed_handshake_is_noted() {
    let server = Server::new(3, Shards::default());
    let running = server.start(3);
    let say = |bytes: &[u8]| {
        let mut socket = TcpStream::connect(running.address).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    };
    say(b"");
    say(b"GET / HTTP/1.1\r\n\r\n");
    // The socket is closed a moment before the line is there.
    let begun = Instant::now();
    loop {
        let journal = std::fs::read_to_string(server.folder(3).join("journal.log")).unwrap();
        let lines: Vec<_> = journal.lines().filter(|line| line.contains("holder.handshake")).collect();
        match lines[..] {
            [line] => return assert!(line.contains("127.0.0.1"), "{journal}"),
            _ => assert!(begun.elapsed() < PATIENCE && lines.is_empty(), "{journal}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_malformed_or_oversized_call_is_refused_by_its_number() {
    let server = Server::new(3, Shards::default());
    let running = server.start(3);
    let link = server.link(&running, &server.gateway, Some(running.pin));
    let refused = |path, body| refused(&server.network, &link, path, body);
    assert_eq!(refused("/v1/nothing", Vec::new()), (404, "holder.no-such-call".into()));
    assert_eq!(refused(wire::GET, vec![0xff; 10]), (400, "holder.malformed".into()));
    assert_eq!(refused(wire::PUT, vec![0, 1, 0]), (400, "holder.malformed".into()));
    assert_eq!(refused(wire::LIST, vec![0; REQUEST_BYTES_MAX + 1]), (413, "holder.too-large".into()));
    assert_eq!(refused(wire::OPEN, vec![0x80]), (400, "holder.malformed".into()));
    let journal = std::fs::read_to_string(server.folder(3).join("journal.log")).unwrap();
    assert!(journal.lines().count() >= 3 && journal.contains("holder.malformed"), "{journal}");
    assert!(journal.contains("holder.too-large") && journal.contains("holder.no-such-call"), "{journal}");
}

/// Where the servers are is read by those who belong here, and by whom the officer lets read it.
#[test]
fn the_list_of_members_is_given_on_the_officers_pass() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), Budgets::default());
    let node = Node::open(&solo.folder).unwrap();
    let officer = Officer::from_seed(&[3; 32]).unwrap();
    let pass = |pin: Pin, officer: &Officer| Bytes::from(Newcomer { format: Version, pin }.sign(officer));
    let get = |peer: Peer, pass: Bytes| node.call(peer, wire::MEMBERS_GET, pass);
    let list = get(Peer::Stranger(STRANGER), pass(STRANGER, &officer)).unwrap();
    assert_eq!(Members::open(&list, &officer.public()).unwrap().version, 1);
    assert_eq!(
        (get(solo.peer(), Bytes::new()).unwrap(), get(Peer::Server(2), Bytes::new()).unwrap()),
        (list.clone(), list)
    );
    let other = Officer::from_seed(&[5; 32]).unwrap();
    for (peer, pass) in [
        (STRANGER, Bytes::new()),
        (STRANGER, pass(STRANGER, &other)),
        (Pin([9; 32]), pass(STRANGER, &officer)),
        (STRANGER, solo.members(&node, 2).into()),
    ] {
        assert_eq!(code(get(Peer::Stranger(peer), pass)), (403, "holder.stranger".to_owned()));
    }
    assert!(solo.journal().contains("holder.newcomer"));
}

#[test]
fn a_status_says_by_which_list_of_members_a_server_goes() {
    let dir = tempfile::tempdir().unwrap();
    let solo = Solo::new(dir.path(), Budgets::default());
    let node = Node::open(&solo.folder).unwrap();
    assert_eq!(solo.status(&node).members, 1);
    node.call(Peer::Stranger(STRANGER), wire::MEMBERS, solo.members(&node, 4).into()).unwrap();
    assert_eq!(solo.status(&node).members, 4);
}
