//! Who belongs to a centre on machines of their own changes: people whose certificates end, another gateway.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use holder::wire::{self, Members, Message as _, OpenShare, Signed};
use holder::{CallError, Identity, Link, Network};
use keys::{CustodianPackage, Dealer, FIRST_EPOCH, HolderPublicKey, Officer, PersonKey, Signer, Speaks, Statement};
use kit::format::Version;
use kit::{Clock as _, Digest, Id16, OsEntropy, SystemClock};

use super::fleet::{Fleet, SERVERS, is_there, keep};
use super::get;

const PATIENCE: Duration = Duration::from_secs(5);

/// A thief's or a person's own end of the wire, with a gateway's certificate.
struct Direct {
    identity: Identity,
    members: Members,
    network: Network,
    dealer: Dealer,
    batch: keys::Batch,
}

impl Direct {
    fn new(gateway: &Path) -> Self {
        let members = newest(gateway);
        let keys: Vec<_> = members.servers.iter().map(|one| HolderPublicKey::from_bytes(&one.key).unwrap()).collect();
        let (_, recipient) = keys::new_identity();
        let (_, recovery) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();
        let (dealer, batch) = Dealer::new(&keys, &recovery, 12, FIRST_EPOCH, &OsEntropy).unwrap();
        let (identity, network) = (Identity::open(gateway).unwrap(), Network::start().unwrap());
        Self { identity, members, network, dealer, batch }
    }

    fn call(&self, at: usize, path: &str, body: Vec<u8>) -> Result<Option<bytes::Bytes>, CallError> {
        let member = &self.members.servers[at];
        let address = member.address.parse().unwrap();
        let link = Link::new(address, &self.identity, Some(member.pin), Arc::new(SystemClock)).unwrap();
        self.network.wait(link.call(path, vec![body.into()], PATIENCE, 1 << 20))
    }

    /// The code with which a holder refuses to open a share; none where it opens.
    fn refusal(&self, at: usize, subject: &str, signer: &Signer) -> Option<String> {
        let patient = Id16(kit::Entropy::id(&OsEntropy));
        let record = self.dealer.deal(patient, &keys::DataKey::random(&OsEntropy), &OsEntropy).unwrap();
        let (at_time, commitment) = (SystemClock.now(), record.commitment);
        let statement = Statement { patient, commitment, person: subject, purpose: "treatment", at: at_time };
        let proof = signer.sign(self.members.vault, &statement, &OsEntropy);
        let open = OpenShare {
            version: Version,
            record: record.to_bytes().into(),
            batch: self.batch.to_bytes().into(),
            person: subject.into(),
            purpose: "treatment".into(),
            at: at_time,
            proof: Some(proof.to_bytes().into()),
        };
        match self.call(at, wire::OPEN, open.to_bytes()) {
            Ok(_) => None,
            Err(CallError::Refused(refused)) => Some(refused.refusal.code),
            Err(error) => Some(error.to_string()),
        }
    }

    fn refusals(&self, subject: &str, signer: &Signer) -> Vec<Option<String>> {
        (0..SERVERS).map(|at| self.refusal(at, subject, signer)).collect()
    }
}

/// The list in a gateway's folder.
pub(crate) fn newest(gateway: &Path) -> Members {
    let signed = Signed::from_bytes(&std::fs::read(gateway.join("members.cbor")).unwrap()).unwrap();
    Members::from_bytes(&signed.body).unwrap()
}

pub(crate) fn officer(file: &str) -> Officer {
    let text = std::fs::read_to_string(file).unwrap();
    let Digest(seed) = text.lines().find(|line| !line.starts_with('#')).unwrap().parse().unwrap();
    Officer::from_seed(&seed).unwrap()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Who lost her token, or left, opens nothing any more: at no holder, nor at one that was away when it was said.
#[test]
fn an_ended_certificate_opens_nothing_at_any_holder() {
    const AWAY: usize = 6;
    let fleet = Fleet::found();
    let key = fleet.site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let server = fleet.site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap().to_owned();
    let without = |subject: &str| {
        let said = fleet.site.run(&["token", "new", "--role", "oncologist", "--subject", subject, "--json"]);
        (said.exit == 0).then(|| format!("Authorization: Bearer {}\r\n", said.json()["token"].as_str().unwrap()))
    };
    // What was given out before the officer spoke for her lets nobody in any more: it would share what her word opens.
    let before = without("lost").unwrap();
    let (lost, other) = (fleet.token_of("lost"), fleet.token_of("other"));
    assert_eq!(get(&http, "/fhir/Patient/none", &before).0, 401);
    assert!(without("lost").is_none(), "nor is anything given out without it");
    assert!(fleet.site.run(&["sign-in", "--role", "therapist", "--subject", "lost"]).exit == 2);
    let kept = keep(&server, &other, 1).unwrap();
    assert!(is_there(&server, &lost, &kept, 1) && is_there(&server, &other, &kept, 1));
    // A certificate that only its thief and the officer know, straight at the holders, with a gateway's key.
    let direct = Direct::new(&fleet.site.data().join("gateway"));
    let signer = || {
        let (person, now) = (PersonKey::random(&OsEntropy).unwrap(), SystemClock.now());
        let life = (now.plus_ms(-1_000), now.plus_ms(3_600_000));
        let vault = direct.members.vault;
        let enrol = officer(&key).enrol(vault, "dr.x", Speaks::Person, person.public(), life, &OsEntropy);
        let certificate = enrol.unwrap();
        (certificate.serial, Signer::new(vec![certificate], person))
    };
    let ((serial, stolen), (_, own)) = (signer(), signer());
    assert_eq!(direct.refusals("dr.x", &stolen), vec![None; SERVERS]);

    fleet.kill(AWAY);
    let stranger = fleet.site.file("stranger.key", "07".repeat(32).as_bytes());
    let said = fleet.site.run(&["certificate", "end", "--subject", "lost", "--officer-key", &stranger]);
    assert!(said.exit == 4 && said.err.contains("did not sign"), "{}", said.err);
    let end = ["certificate", "end", "--subject", "lost", "--officer-key", &key];
    let said = fleet.site.run(&end);
    assert_eq!(said.exit, 3, "{} {}", said.out, said.err);
    assert!(said.out.contains("13 of 14 servers; 1 sessions and tokens"), "{}", said.out);
    assert!(said.out.contains("NOT TOLD, and told once it answers: server-07"), "{}", said.out);
    assert_eq!(get(&http, &kept, &lost).0, 401, "her token is over at once, whatever key is still in memory");
    assert!(is_there(&server, &other, &kept, 1), "others go on");
    let after = without("lost").unwrap();
    assert_eq!(get(&http, &kept, &after).0, 403, "what she had opened is not in memory for a name");
    let said = fleet.site.run(&end);
    assert!(said.exit == 2 && said.err.contains("ended or expired already"), "{}", said.err);
    let listed = fleet.site.done(&["certificate", "list"]).out;
    assert!(listed.lines().any(|line| line.contains(" lost ") && line.ends_with("ENDED")), "{listed}");
    assert!(listed.lines().any(|line| line.contains(" other ") && !line.ends_with("ENDED")), "{listed}");
    let said = fleet.site.run(&["certificate", "end", "--serial", &serial.to_string(), "--officer-key", &key]);
    assert!(said.exit == 3 && said.out.contains("version 3"), "{} {}", said.out, said.err);
    assert_eq!(newest(&fleet.site.data().join("gateway")).ended.len(), 2);

    // The gateway is gone, too: the others tell the one that was away.
    server.stop();
    fleet.start(AWAY);
    fleet.wait_for_all();
    wait_until("the one that was away hears of it", || {
        let journal = std::fs::read_to_string(fleet.folder(AWAY).join("journal.log")).unwrap();
        journal.contains("holder.members version 3")
    });
    let refused = Some("holder.unproven".to_owned());
    assert_eq!(direct.refusals("dr.x", &stolen), vec![refused; SERVERS]);
    assert_eq!(direct.refusals("dr.x", &own), vec![None; SERVERS], "her other certificate counts");
    // A gateway that starts remembers it.
    let server = fleet.site.serve(&[]);
    assert_eq!(get(server.ready["http"].as_str().unwrap(), &kept, &lost).0, 401);
    assert!(is_there(&server, &other, &kept, 1));
}

/// The machine that was the gateway is lost, or worse, stolen: another one takes its place, and it is shut out.
#[test]
fn another_gateway_takes_a_lost_ones_place() {
    const AWAY: usize = 2;
    let fleet = Fleet::found();
    let site = &fleet.site;
    let key = site.path("plan/officer-MOVE-OFFLINE/officer.key");
    let settings = site.data().join("gateway/holdfast.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let listed = format!("server-01 = \"{}\"", newest(&site.data().join("gateway")).servers[0].address);
    assert!(text.contains(&listed), "{text}");
    let text = text.replace("gate_title = \"GATE\"", "gate_title = \"BEAMS\"");
    std::fs::write(&settings, &text).unwrap();

    // The configuration may stand anywhere; the officer's list says where the servers are, whatever it says.
    let elsewhere = site.file("centre.toml", text.replace(&listed, "server-01 = \"127.0.0.1:9\"").as_bytes());
    std::fs::rename(&settings, site.path("aside.toml")).unwrap();
    let server = site.serve(&["--config", &elsewhere]);
    let token = fleet.token();
    let kept: Vec<String> = (1..=3).map(|number| keep(&server, &token, number).unwrap()).collect();
    let (said, log) = server.stop();
    assert!(said.contains("BEAMS asks the fraction gate"), "{said}");
    assert!(log.contains("server-01 is at") && log.contains("[holders] says 127.0.0.1:9"), "{log}");
    std::fs::rename(site.path("aside.toml"), &settings).unwrap();
    let shown = site.done(&["centre", "show"]).out;
    assert_eq!(shown.lines().filter(|line| line.starts_with("server-")).count(), SERVERS, "{shown}");

    let old = site.0.path().join("old-gateway");
    std::fs::rename(site.data().join("gateway"), &old).unwrap();
    std::fs::remove_dir_all(site.data()).unwrap();
    let stolen = Direct::new(&old);
    let (address, log) = (stolen.members.servers[5].address.clone(), stolen.members.log.clone());
    fleet.kill(AWAY);
    let stranger = site.file("stranger.key", "07".repeat(32).as_bytes());
    let said = site.run(&["gateway", "new", "--server", &address, "--officer-key", &stranger]);
    assert!(said.exit == 1 && said.err.contains("the officer's pass"), "{}", said.err);
    let other = ledger::Vkey::new("holdfast/other", &officer(&key).public()).unwrap().to_string();
    let new = ["gateway", "new", "--server", &address, "--officer-key", &key, "--vkey"];
    let said = site.run(&[&new[..], &[&other]].concat());
    assert!(said.exit == 4 && said.err.contains("the officer's list is of the log"), "{}", said.err);
    assert!(!site.data().exists(), "nothing stays of a command that failed");
    let said = site.run(&[&new[..], &[&log]].concat());
    assert_eq!(said.exit, 3, "{} {}", said.out, said.err);
    assert!(said.out.contains("Test centre: this machine is its gateway"), "{}", said.out);
    assert!(said.out.contains("version 2") && said.out.contains("NOT TOLD, and told once it answers: server-03"));

    let server = site.serve(&[]);
    assert!((1..).zip(&kept).all(|(number, address)| is_there(&server, &token, address, number)));
    assert!(keep(&server, &token, 4).is_some());
    fleet.start(AWAY);
    fleet.wait_for_all();
    wait_until("the one that was away hears of it", || {
        let journal = std::fs::read_to_string(fleet.folder(AWAY).join("journal.log")).unwrap();
        journal.contains("holder.members version 2")
    });
    for at in 0..SERVERS {
        for (path, code) in [(wire::STATUS, wire::STRANGER), (wire::STATS, "holder.not-a-gateway")] {
            match stolen.call(at, path, Vec::new()) {
                Err(CallError::Refused(refused)) => assert_eq!(refused.refusal.code, code, "{at} {path}"),
                other => panic!("{at} {path}: {other:?}"),
            }
        }
    }
    let (said, _) = server.stop();
    assert!(said.contains("BEAMS asks the fraction gate"), "the settings came back: {said}");
    // Another process: it asks all for their shares anew.
    let server = site.serve(&[]);
    let ready = get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    assert!(
        ready.starts_with("14 of 14 locations up; 11 more may be lost\n14 of 14 holders answer; 2 more"),
        "{ready}"
    );
    assert!((1..).zip(&kept).all(|(number, address)| is_there(&server, &token, address, number)));
    server.stop();
    assert!(site.done(&["verify"]).out.starts_with("whole"));
}
