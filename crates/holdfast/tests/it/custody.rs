//! What crosses the control port when custodians are called: nothing that they hold.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bech32::FromBase32 as _;
use keys::CustodianPackage;

use super::renewing::secrets;
use super::{Site, custodians::enrolled};

/// Stands between commands and the running server, and keeps what passes, in both directions.
struct Tap(Arc<Mutex<Vec<Vec<u8>>>>);

impl Tap {
    fn on(site: &Site) -> Self {
        let file = site.data().join("gateway/control.json");
        let mut address: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let behind = address["listen"].as_str().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        address["listen"] = listener.local_addr().unwrap().to_string().into();
        fs::write(&file, address.to_string()).unwrap();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let tap = Self(Arc::clone(&kept));
        thread::spawn(move || {
            for command in listener.incoming().map(Result::unwrap) {
                let server = TcpStream::connect(&behind).unwrap();
                for (from, to) in [(&command, &server), (&server, &command)] {
                    let (from, to, kept) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&kept));
                    let place = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(Vec::new());
                        kept.len() - 1
                    };
                    thread::spawn(move || pass(from, to, |bytes| kept.lock().unwrap()[place].extend(bytes)));
                }
            }
        });
        tap
    }

    /// All of it, and what it holds in base64.
    fn kept(&self) -> Vec<Vec<u8>> {
        let mut all = self.0.lock().unwrap().clone();
        for at in 0..all.len() {
            let texts = all[at].split(|byte| *byte == b'"').map(<[u8]>::to_vec).collect::<Vec<_>>();
            all.extend(texts.iter().filter_map(|text| unbase64(text)));
        }
        all
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        keep(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok().filter(|bytes| bytes.len() > 15)
}

/// What nobody but a custodian may have, in the spellings that it could slip through in.
fn planted(identities: &[String], package: &CustodianPackage) -> Vec<Vec<u8>> {
    let mut raw = vec![package.open(identities).unwrap().danger_seed().to_vec()];
    let mut texts = Vec::new();
    for (number, identity) in (1..).zip(identities) {
        let (_, data, _) = bech32::decode(identity).unwrap();
        raw.push(Vec::from_base32(&data).unwrap());
        texts.push(identity.trim_start_matches("AGE-SECRET-KEY-1").to_owned());
        let words = keys::words_of_identity(identity).unwrap();
        texts.extend(words.split(' ').collect::<Vec<_>>().windows(2).map(|two| two.join(" ")));
        let own: age::x25519::Identity = identity.parse().unwrap();
        let sheet = age::decrypt(&own, package.file(number).unwrap()).unwrap();
        // A sheet ends with the share (docs/formats/keys.md).
        raw.push(sheet[sheet.len() - 32..].to_vec());
    }
    let hex = raw.iter().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    let numbers = raw.iter().map(|bytes| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(","));
    texts.extend(hex.chain(numbers).collect::<Vec<String>>());
    raw.into_iter().chain(texts.into_iter().map(String::into_bytes)).collect()
}

fn holds(bytes: &[u8], planted: &[u8]) -> bool {
    bytes.windows(planted.len()).any(|window| window.eq_ignore_ascii_case(planted))
}

/// With a server running, a holder is replaced and custodians are renewed, and renewed again by those; whoever listens on the
/// control port gets no secret, no share and no recovery key of theirs.
#[test]
fn nothing_that_custodians_hold_crosses_the_control_port() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let old = secrets(&site);
    let identity = |file: &String| {
        let text = fs::read_to_string(file).unwrap();
        text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned()
    };
    let package = || {
        let challenge = site.path("challenge");
        site.done(&["custodian", "challenge", "--number", "1", "--out", &challenge]);
        // Array of four, version, number, the package.
        let bytes = fs::read(&challenge).unwrap();
        let mut decoder = minicbor::Decoder::new(&bytes);
        decoder.array().unwrap();
        decoder.u8().unwrap();
        decoder.u8().unwrap();
        CustodianPackage::from_bytes(decoder.bytes().unwrap()).unwrap()
    };
    let mut planted_all = planted(&old.iter().map(identity).collect::<Vec<_>>(), &package());
    let server = site.serve(&[]);
    let tap = Tap::on(&site);
    let holder = site.data().join("servers/server-04/holder");
    fs::rename(&holder, site.path("captured")).unwrap();
    let few = ["holder", "replace", "--number", "4", "--custodian", &old[0]];
    let said = site.run(&few);
    assert!(said.exit == 1 && said.err.contains("1 of the 2 custodians needed"), "{}", said.err);
    assert!(!holder.exists(), "nothing was changed");
    site.done(&[few.as_slice(), &["--custodian", &old[2]]].concat());

    let renew = |secrets: [&str; 2], people: &[(String, String, String)]| {
        let mut renew = vec!["custodian", "renew", "--custodian", secrets[0], "--custodian", secrets[1]];
        people.iter().for_each(|(recipient, ..)| renew.extend(["--recipient", recipient]));
        site.run(&renew)
    };
    let new: Vec<_> = (1..=3).map(|number| enrolled(&site, number)).collect();
    let said = renew([&old[0], &old[1]], &new);
    assert_eq!(said.exit, 0, "{}", said.err);
    planted_all.extend(planted(&new.iter().map(|(_, secret, _)| identity(secret)).collect::<Vec<_>>(), &package()));
    // Those before are nobody any more, and may repeat what they did: it is done.
    let newest: Vec<_> = (4..=6).map(|number| enrolled(&site, number)).collect();
    let said = renew([&old[0], &old[1]], &newest);
    assert!(said.exit == 1 && said.err.contains("0 of the 2 custodians needed"), "{}", said.err);
    let said = renew([&old[0], &old[1]], &new);
    assert!(said.exit == 2 && said.err.contains("nothing is to be renewed"), "{}", said.err);
    // By her words, the one.
    let said = renew([&new[0].1, &new[2].2], &newest);
    assert_eq!(said.exit, 0, "{}", said.err);

    let kept = tap.kept();
    for planted in &planted_all {
        assert!(!kept.iter().any(|bytes| holds(bytes, planted)), "{}", String::from_utf8_lossy(planted));
    }
    let said = |text: &str| kept.iter().any(|bytes| holds(bytes, text.as_bytes()));
    assert!(said("custodian-renew") && said("holder-replace") && said("\"sheets\""), "the tap itself hears nothing");
    assert!(said("age-encryption.org/v1"), "the tap reads no base64");
    let (out, log) = server.stop();
    for planted in &planted_all {
        assert!(!holds(out.as_bytes(), planted) && !holds(log.as_bytes(), planted));
    }
}
