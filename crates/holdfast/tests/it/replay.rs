//! What was signed once, handed in again: by whoever has the account that the gateway runs under, and no key.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::gating::{SIGNERS, approve, codes, settle_by_two};
use super::{Site, offer_to, signed};

fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, bytes].concat()).unwrap();
}

/// The control port with an ear at it.
struct Ear {
    server: String,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Ear {
    /// Commands go through it from now on.
    fn at(site: &Site) -> Self {
        let file = site.data().join("gateway/control.json");
        let mut address: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let server = address["listen"].as_str().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        address["listen"] = listener.local_addr().unwrap().to_string().into();
        std::fs::write(&file, address.to_string()).unwrap();
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (ear, to) = (Arc::clone(&heard), server.clone());
        std::thread::spawn(move || {
            for command in listener.incoming() {
                let (mut command, mut server) = (command.unwrap(), TcpStream::connect(&to).unwrap());
                let asked = frame(&mut command);
                send(&mut server, &asked);
                ear.lock().unwrap().push(asked);
                send(&mut command, &frame(&mut server));
            }
        });
        Self { server, heard }
    }

    /// Everything of this kind that was heard so far, once more, as it was.
    fn again(&self, act: &str) {
        assert_eq!(self.again_as_often(act), 2, "two people have signed it");
    }

    fn again_as_often(&self, act: &str) -> usize {
        let heard = self.heard.lock().unwrap().clone();
        let asked = heard.iter().filter(|asked| {
            let asked: Value = serde_json::from_slice(asked).unwrap();
            asked["act"].get(act).is_some()
        });
        let mut count = 0;
        for asked in asked {
            let mut stream = TcpStream::connect(&self.server).unwrap();
            send(&mut stream, asked);
            assert!(String::from_utf8(frame(&mut stream)).unwrap().contains("\"done\""));
            count += 1;
        }
        count
    }
}

#[test]
fn what_was_signed_once_says_nothing_new() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let server = site.serve(&[]);
    let ear = Ear::at(&site);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    approve(&site, &number, &plan, &SIGNERS);
    settle_by_two(&site, &number, &plan, "1");
    assert_eq!((check().exit, check().json()["fractions_given"].as_u64()), (0, Some(1)));
    // The newer word of the two counts, whatever comes again.
    let first = std::mem::take(&mut *ear.heard.lock().unwrap());
    settle_by_two(&site, &number, &plan, "4");
    let second = std::mem::replace(&mut *ear.heard.lock().unwrap(), first);
    ear.again("plan-settle");
    assert_eq!((check().exit, check().json()["fractions_given"].as_u64()), (0, Some(4)), "{}", check().out);
    ear.heard.lock().unwrap().extend(second);

    // Somebody withdraws it, and her key turns out to be in other hands: it takes two people to lift that.
    let key = site.path("c.pem");
    site.done(&["person", "new", "--name", "C. Physicist", "--role", "physicist", "--key", &key]);
    let withdraw = ["plan", "withdraw", "--reason", "replaced", "--patient", &number, "--name", "C. Physicist"];
    site.done(&[&withdraw[..], &["--role", "physicist", "--key", &key, &plan]].concat());
    assert_eq!(codes(&check())[0], "withdrawn");
    ear.again("plan-approve");
    assert_eq!(codes(&check())[0], "withdrawn", "their signatures are older than that");
    let file = std::fs::read(&plan).unwrap();
    assert_eq!(offer_to("GATE", server.ready["dimse"].as_str().unwrap(), &file).0, 0xC001);
    let people = site.done(&["person", "list", "--json"]).json();
    let hers = people.as_array().unwrap().iter().find(|one| one.to_string().contains("C. Physicist")).unwrap();
    site.done(&["person", "end", "--key", hers["key"].as_str().unwrap(), "--compromised"]);
    assert_eq!(codes(&check())[0], "withdrawn", "whatever became of the key");
    approve(&site, &number, &plan, &SIGNERS);
    assert_eq!(check().exit, 0, "{}", check().out);
    server.stop();
}

/// The file that was signed last counts, whatever its signer's clock says, and however often an older one is handed in again.
#[test]
fn rules_are_not_set_back() {
    let site = Site::new();
    signed(&site);
    let server = site.serve(&[]);
    let ear = Ear::at(&site);
    let form = site.done(&["rules", "form"]).out;
    let sign = |days: &str| {
        assert_eq!(form.matches("category_2 = 5").count(), 1);
        let file = site.file("rules.toml", form.replace("category_2 = 5", days).as_bytes());
        let key = site.path("physicist.pem");
        site.done(&["rules", "sign", "--name", "B. Physicist", "--key", &key, &file, "--json"]).json()["digest"].clone()
    };
    let in_force = || site.done(&["rules", "show", "--json"]).json()["digest"].clone();
    let first = sign("category_2 = 3");
    let heard = ear.heard.lock().unwrap().clone();
    let second = sign("category_2 = 4");
    assert!(first != second && in_force() == second);
    *ear.heard.lock().unwrap() = heard;
    for _ in 0..3 {
        assert_eq!(ear.again_as_often("rules-take"), 1);
        assert_eq!(in_force(), second);
    }
    // The older file, signed anew, is the newest word.
    assert_eq!((sign("category_2 = 3"), in_force()), (first.clone(), first));
    server.stop();
}
