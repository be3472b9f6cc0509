//! Any bytes on the DICOM port: as they are, and behind a proper association request. An honest peer follows each.
#![no_main]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use edge::dimse::{Instance, Outcome, Peer, Reject, Server, Service, Settings, StepCall, Store};
use guard::{Caller, Decision, DecisionLog, Event, EventLog, Guard};
use kit::{Fault, OsEntropy, SystemClock};
use libfuzzer_sys::fuzz_target;

/// Forgets everything: what is fuzzed stands before any of this.
struct Nowhere;

impl DecisionLog for Nowhere {
    fn note(&self, _: &Decision) -> Result<(), Fault> {
        Ok(())
    }
}

impl EventLog for Nowhere {
    fn keep(&self, _: &Event) -> Result<(), Fault> {
        Ok(())
    }
}

struct Anybody(Guard);

impl Store for Anybody {
    fn admit(&self, _: &str, _: IpAddr, _: Service) -> Result<Caller, Reject> {
        Ok(self.0.console())
    }

    fn store(&self, _: &Peer, _: Instance) -> Outcome {
        Outcome::stored()
    }

    fn step(&self, _: &Peer, _: StepCall<'_>) -> (Outcome, Option<Vec<u8>>) {
        (Outcome::stored(), None)
    }

    fn refused(&self, _: &Peer, _: Service, _: &[u8], _: &str) {}
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let nowhere = Arc::new(Nowhere);
    let guard =
        Guard::new("fuzz".into(), Arc::new(SystemClock), Arc::new(OsEntropy), nowhere.clone(), nowhere, Vec::new());
    let patience = Duration::from_secs(1);
    let settings = Settings { request_timeout: patience, idle_timeout: patience, ..Settings::default() };
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, Arc::new(Anybody(guard.expect("the policy"))))
        .expect("a port")
});

/// A-ASSOCIATE-RQ (PS3.8 9.3.2): RT Plan Storage in implicit VR little endian, to HOLDFAST.
fn request() -> Vec<u8> {
    let item = |kind: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).expect("a short item").to_be_bytes();
        [&[kind, 0], &length[..], body].concat()
    };
    let proposal = [vec![1, 0, 0, 0], item(0x30, b"1.2.840.10008.5.1.4.1.1.481.5"), item(0x40, b"1.2.840.10008.1.2")];
    let body = [
        [0, 1, 0, 0].to_vec(),
        b"HOLDFAST        FUZZ            ".to_vec(),
        vec![0; 32],
        item(0x10, b"1.2.840.10008.3.1.1.1"),
        item(0x20, &proposal.concat()),
        item(0x50, &item(0x51, &16_384_u32.to_be_bytes())),
    ]
    .concat();
    let length = u32::try_from(body.len()).expect("a short PDU").to_be_bytes();
    [&[1, 0], &length[..], &body].concat()
}

fn say(parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(SERVER.address()).expect("the port stays open");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // The other side may have closed already; that is an answer too.
    let _ = parts.iter().try_for_each(|part| stream.write_all(part));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

fuzz_target!(|data: &[u8]| {
    let proper = request();
    say(&[data]);
    say(&[&proper, data]);
    assert_eq!(say(&[&proper]).first(), Some(&2), "an honest peer is turned away");
});
