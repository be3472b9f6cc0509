//! Custodians with hardware tokens, by a plugin that speaks the protocol and needs no hardware.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::{ToBase32 as _, Variant};

use super::{Said, Site, custodians::enrolled, get};

/// The plugin's side of c2sp.org/age-plugin, in as few words as there are. It hides nothing: a file key stands in its stanza as
/// it is, beside the data of the recipient that it is for. `MOOD` says what else it does, `LOG` who started it.
const PLUGIN: &str = r#"#!/bin/sh
echo "$1 $$ $(tr '\0' ' ' < /proc/$PPID/cmdline)" >> "$LOG"
kind=${1#--age-plugin=} kind=${kind%-v1}
say() { printf -- '-> %s\n%s\n' "$1" "$2"; }
answer() { read -r _ reply rest; read -r body; }
text() { printf "$1" | base64 -w 0 | tr -d =; }
refuse() { say "error $1 0" "$(text "$2")"; answer; say done; exit; }
data() { printf %s "${1%??????}" | tr A-Z a-z | sed 's/.*soft-*1//'; }
case $MOOD in
hang) exec sleep 600 ;;
die) exit 1 ;;
chatter) while :; do say msg eWVz; answer; done ;;
babble) echo "$(seq 1 1000)"; exit ;;
esac
while read -r arrow command a b c; do
  [ "$arrow" = '->' ] || continue
  case $command in
  add-recipient | add-identity) own=$(data "$a") ;;
  wrap-file-key) read -r key ;;
  recipient-stanza) if [ "$b $c" = "soft $own" ]; then read -r key; fi ;;
  done) read -r _; break ;;
  esac
done
case $MOOD in
touch) say msg "$(text 'touch \033[31mit\nnow')"; answer ;;
pin)
  say request-secret "$(text 'the PIN, please:')"; answer
  [ "$reply $body" = 'ok MTIzNDU2' ] || refuse identity "no PIN, no key" ;;
confirm)
  say "confirm $(text 'it is in') $(text skip)" "$(text 'is it in?')"; answer
  [ "$reply $rest" = 'ok yes' ] || key= ;;
refuse) refuse "$kind" "the token is locked" ;;
strict) [ "$key" ] || refuse identity "that is not mine" ;;
esac
case $kind in
recipient) say "recipient-stanza 0 soft $own" "$key"; answer ;;
identity) if [ "$key" ]; then say 'file-key 0' "$key"; answer; fi ;;
esac
say done
"#;

/// A token: its recipient, and the file that its tool wrote, in the way of age-plugin-yubikey.
fn token(site: &Site, number: u8) -> (String, String) {
    let encoded = |name: &str| bech32::encode(name, [number; 32].to_base32(), Variant::Bech32).unwrap();
    let (recipient, identity) = (encoded("age1soft"), encoded("age-plugin-soft-").to_uppercase());
    let text = format!(
        "#       Serial: 1234567{number}, Slot: 1\n#         Name: age identity 20c2b5ee\n#   PIN policy: Once   (A PIN is \
         required once per session, if set)\n# Touch policy: Always\n#    Recipient: {recipient}\n{identity}\n"
    );
    (recipient, site.file(&format!("token-{number}.txt"), text.as_bytes()))
}

impl Site {
    fn bin(&self) -> std::path::PathBuf {
        self.0.path().join("bin")
    }

    fn with_plugin() -> Self {
        let site = Self::new();
        fs::create_dir(site.bin()).unwrap();
        let plugin = site.bin().join("age-plugin-soft");
        fs::write(&plugin, PLUGIN).unwrap();
        fs::set_permissions(plugin, fs::Permissions::from_mode(0o755)).unwrap();
        site
    }

    fn command(&self, program: &str, mood: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.bin().display())).env("LOG", self.path("starts"));
        command.env("MOOD", mood).env("HOLDFAST_DATA", self.data());
        command
    }

    /// Without a terminal, whoever runs the tests.
    fn in_mood(&self, mood: &str, arguments: &[&str]) -> Said {
        self.said(self.command("setsid", mood).arg(env!("CARGO_BIN_EXE_holdfast")).args(arguments))
    }

    fn done_with_plugin(&self, arguments: &[&str]) -> Said {
        let said = self.in_mood("", arguments);
        assert_eq!(said.exit, 0, "{arguments:?}: {} {}", said.out, said.err);
        said
    }

    fn challenge(&self, number: &str) -> String {
        let challenge = self.path(&format!("challenge-{number}"));
        self.done_with_plugin(&["custodian", "challenge", "--number", number, "--out", &challenge]);
        challenge
    }

    fn recover(&self, mood: &str, secrets: &[&str], into: &str) -> Said {
        let mut arguments = vec!["recover".to_owned(), "--into".to_owned(), self.path(into)];
        let servers = [1, 3, 5].map(|n| self.path(&format!("data/servers/server-0{n}")));
        servers.into_iter().for_each(|server| arguments.extend(["--from".to_owned(), server]));
        secrets.iter().for_each(|secret| arguments.extend(["--custodian".to_owned(), (*secret).to_owned()]));
        arguments.extend(["--plugin-seconds".to_owned(), "1".to_owned()]);
        self.in_mood(mood, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// A centre of five servers, two of three custodians: paper, a token, paper.
fn mixed() -> (Site, [(String, String); 3]) {
    let site = Site::with_plugin();
    let ((one, paper, _), (three, _, words)) = (enrolled(&site, 1), enrolled(&site, 3));
    let people = [(one, paper), token(&site, 2), (three, words)];
    let mut init = vec!["init", "--servers", "5"];
    people.iter().for_each(|(recipient, _)| init.extend(["--custodian", recipient]));
    site.done_with_plugin(&init);
    (site, people)
}

/// A year with a token: her proof, a lost holder, a renewal to another token, and the day when the servers are gone; a server
/// runs meanwhile, and starts no plugin.
#[test]
fn a_custodians_token_is_proven_renewed_and_recovers() {
    let (site, people) = mixed();
    let server = site.serve(&[]);
    let list = || site.done(&["custodian", "list", "--json"]).json();
    assert_eq!(list()["custodians"][1]["recipient"], people[1].0.as_str());
    let challenge = site.challenge("2");
    let test = ["custodian", "test", "--challenge", &challenge, "--json", "--secret"];
    let said = site.in_mood("touch", &[test.as_slice(), &[&people[1].1]].concat());
    assert_eq!(said.exit, 0, "{}", said.err);
    assert!(said.err.contains("age-plugin-soft: touch  [31mit now\n"), "{:?}", said.err);
    assert_eq!(said.json()["number"], 2);
    let answer = said.json()["answer"].as_str().unwrap().to_owned();
    site.done(&["custodian", "confirm", "--number", "2", "--answer", &answer]);
    assert!(list()["custodians"][1]["proven"].is_string());
    // One on paper tries hers, and a token that is no custodian's; some plugins refuse what isn't theirs.
    let stranger = token(&site, 9).1;
    for (mood, secret) in [("", &people[0].1), ("", &stranger), ("strict", &stranger)] {
        assert_eq!(site.in_mood(mood, &[test.as_slice(), &[secret]].concat()).exit, 1, "{mood} {secret}");
    }

    fs::rename(site.data().join("servers/server-04/holder"), site.path("lost")).unwrap();
    let by = ["--custodian", &people[1].1, "--custodian", &people[2].1];
    site.done_with_plugin(&[["holder", "replace", "--number", "4"].as_slice(), &by].concat());
    // Two tokens of one kind: which file is whose, the plugin knows.
    let new = [token(&site, 7), token(&site, 8), people[0].clone()];
    let mut renew = [["custodian", "renew"].as_slice(), &by].concat();
    new.iter().for_each(|(recipient, _)| renew.extend(["--recipient", recipient]));
    let said = site.done_with_plugin(&renew);
    assert!(said.out.contains("1 of them kept the secret that they had: 2 of those before"), "{}", said.out);
    assert_eq!(list()["custodians"][1]["recipient"], new[1].0.as_str());
    let ready = get(server.ready["operations"].as_str().unwrap(), "/readyz", "").2;
    assert!(ready.contains("5 of 5 holders answer"), "{ready}");
    let (_, log) = server.stop();
    assert!(!log.contains("age-plugin"), "{log}");
    let starts = fs::read_to_string(site.path("starts")).unwrap();
    assert!(starts.lines().count() > 6 && !starts.contains(" serve "), "{starts}");

    let burnt = site.recover("", &[&people[1].1, &people[2].1], "no");
    assert!(burnt.exit == 1 && burnt.err.contains("0 of the 2 custodians needed"), "{}", burnt.err);
    for mood in ["", "strict"] {
        let said = site.recover(mood, &[&new[1].1, &new[2].1], &format!("by-one{mood}"));
        assert_eq!(said.exit, 0, "{mood}: {}", said.err);
    }
    assert_eq!(site.recover("strict", &[&new[1].1, &new[0].1], "by-two").exit, 0);
    let proven = site.done(&["custodian", "list", "--json", "--data", &site.path("by-two")]).json();
    assert_eq!(proven["custodians"][1]["recipient"], new[1].0.as_str());
}

/// A plugin that isn't there, refuses, breaks off, talks nonsense or hangs is named, with the custodian, in bounded time; nothing
/// is made meanwhile, and the others go on without her where they are enough.
#[test]
fn a_plugin_that_fails_is_named_with_its_custodian() {
    let (site, people) = mixed();
    let (token, paper, words) = (&people[1].1, &people[0].1, &people[2].1);
    let cases = [
        ("refuse", "keys.custodian-plugin-refused", "the token is locked"),
        ("die", "keys.custodian-plugin-broken", "it ended without an answer"),
        ("babble", "keys.custodian-plugin-broken", "it broke off: invalid response"),
        ("hang", "keys.custodian-plugin-silent", "longer than 1 s"),
        ("chatter", "keys.custodian-plugin-silent", "longer than 1 s"),
    ];
    let fresh = Site::new();
    for (mood, code, why) in cases {
        let begun = Instant::now();
        let said = site.recover(mood, &[token, paper], "no");
        assert_eq!(said.exit, 1, "{mood}: {}", said.err);
        let named = said.err.contains("custodian 2, age-plugin-soft: ");
        assert!(named && said.err.contains(why) && said.err.contains(code), "{mood}: {}", said.err);
        assert!(!Path::new(&site.path("no")).exists(), "given up, it leaves nothing");
        let into = fresh.path("data");
        let init = ["init", "--custodians-needed", "1", "--custodian", &people[1].0, "--plugin-seconds", "1", "--data"];
        let said = site.in_mood(mood, &[init.as_slice(), &[&into]].concat());
        let named = said.err.contains("custodian 1, age-plugin-soft: ");
        assert!(said.exit == 1 && named && said.err.contains(code), "{mood}: {}", said.err);
        assert!(!Path::new(&into).exists(), "nothing was laid out");
        assert!(begun.elapsed() < Duration::from_secs(30), "{mood}: {:?}", begun.elapsed());
    }
    // Those that hung are no more.
    for start in fs::read_to_string(site.path("starts")).unwrap().lines() {
        let id = start.split(' ').nth(1).unwrap();
        let state = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        assert!(!state.contains("sleep") && !state.contains("age-plugin"), "{start}: {state}");
    }
    let said = site.recover("refuse", &[token, paper, words], "without-her");
    assert_eq!(said.exit, 0, "{}", said.err);

    let challenge = site.challenge("2");
    fs::remove_file(site.bin().join("age-plugin-soft")).unwrap();
    let missing = [
        site.recover("", &[token, paper], "no"),
        site.in_mood("", &["custodian", "test", "--secret", token, "--challenge", &challenge]),
        site.in_mood("", &["custodian", "challenge", "--number", "2", "--out", &site.path("other")]),
        site.in_mood("", &["holder", "replace", "--number", "4", "--custodian", token, "--custodian", paper]),
    ];
    for said in missing {
        let what = "custodian 2, age-plugin-soft: no such program is on the PATH [keys.custodian-plugin-missing]";
        assert!(said.exit == 1 && said.err.contains(what), "{}", said.err);
    }
    assert!(!Path::new(&site.path("other")).exists());
    let renew = ["custodian", "renew", "--custodian", paper, "--custodian", words, "--recipient", &people[1].0];
    let said = site.in_mood("", &[renew.as_slice(), &["--needed", "1"]].concat());
    assert!(said.exit == 1 && said.err.contains("custodian 1, age-plugin-soft"), "{}", said.err);
    let debug = site.said(site.command(env!("CARGO_BIN_EXE_holdfast"), "").env("AGEDEBUG", "plugin").args([
        "custodian",
        "test",
        "--secret",
        token,
        "--challenge",
        &challenge,
    ]));
    assert!(debug.exit == 1 && debug.err.contains("AGEDEBUG=plugin would print"), "{}", debug.err);
    for wrong in ["age1soft1qqqq", "age1-soft", "AGE-PLUGIN-SOFT-1QQ"] {
        let said = fresh.run(&["init", "--custodians-needed", "1", "--custodian", wrong]);
        assert!(said.exit == 1 && said.err.contains("recipient 1 is no age recipient"), "{}", said.err);
    }
}

/// What a plugin asks is asked at the terminal, unseen where it is a PIN; without one it is refused, and says so.
#[test]
fn a_pin_is_typed_at_a_terminal_or_not_at_all() {
    let (site, people) = mixed();
    let challenge = site.challenge("2");
    let test = ["custodian", "test", "--secret", &people[1].1, "--challenge", &challenge];
    for (mood, question) in [("pin", "the PIN, please:"), ("confirm", "is it in?")] {
        let said = site.in_mood(mood, &test);
        let why = format!("it refused: it asks {question:?}, and there is no terminal to answer at");
        assert!(said.exit == 1 && said.err.contains(&why), "{mood}: {}", said.err);
    }
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: `script` of util-linux makes the terminal, and it isn't here");
        return;
    }
    let holdfast = [&[env!("CARGO_BIN_EXE_holdfast")], test.as_slice()].concat().join(" ");
    // Twice where it goes well: for the share, and for the challenge.
    let typed = |mood: &str, question: &str, answers: &[&str]| {
        let mut command = site.command("script", mood);
        command.args(["-qec", &holdfast, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = Vec::new();
        for (count, answer) in (1..).zip(answers) {
            while String::from_utf8_lossy(&seen).matches(question).count() < count {
                let mut byte = [0];
                assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
                seen.push(byte[0]);
            }
            // The terminal stops showing what is typed just behind the question.
            std::thread::sleep(Duration::from_millis(500));
            input.write_all(answer.as_bytes()).unwrap();
        }
        output.read_to_end(&mut seen).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
    };
    let (exit, seen) = typed("pin", "the PIN, please:", &["123456\n"; 2]);
    assert!(exit == Some(0) && seen.contains("your share opens") && !seen.contains("123456"), "{seen}");
    let (exit, seen) = typed("pin", "the PIN, please:", &["654321\n"]);
    assert!(exit == Some(1) && seen.contains("no PIN, no key") && !seen.contains("654321"), "{seen}");
    let (exit, seen) = typed("confirm", "is it in? (y: it is in, n: skip)", &["y\n"; 2]);
    assert!(exit == Some(0) && seen.contains("your share opens"), "{seen}");
    let (exit, seen) = typed("confirm", "is it in?", &["n\n"]);
    assert!(exit == Some(1) && seen.contains("of no custodian here"), "{seen}");
    assert!(STANDARD_NO_PAD.encode("123456") == "MTIzNDU2", "what the plugin takes for the PIN");
}

/// Another centre whose key is in a token: a bundle is sealed by its plugin, once, however long it is; and opened by it.
#[test]
fn a_bundle_is_sealed_to_a_token() {
    let site = Site::with_plugin();
    let (_, _, number) = super::signed(&site);
    let made = site.done(&["token", "new", "--role", "physicist", "--subject", "p", "--json"]).json();
    let secret = site.file("physicist.token", made["token"].as_str().unwrap().as_bytes());
    let ((recipient, identity), (_, other)) = (token(&site, 4), token(&site, 5));
    let native = age::x25519::Identity::generate();
    let (out, native) = (site.path("bundle.age"), native.to_public().to_string());
    let make =
        ["transfer", "make", "--patient", &number, "--to", "B", "--reason", "r", "--token", &secret, "--out", &out];
    let make = [&make[..], &["--recipient", &recipient, "--recipient", &native]].concat();
    let refused = site.in_mood("refuse", &make).err;
    assert!(refused.contains("the token is locked"), "{refused}");
    assert!(!Path::new(&out).exists(), "nothing is left of it");
    let said = site.in_mood("", &make);
    assert_eq!(said.exit, 3, "no structures, images or dose are here: {} {}", said.out, said.err);
    let verify = |mood: &str, key: &str| site.in_mood(mood, &["transfer", "verify", &out, "--key", key, "--json"]);
    let said = verify("", &identity);
    assert!(
        said.exit == 3 && said.json()["whole"] == true && said.json()["proven"] == true,
        "{} {}",
        said.out,
        said.err
    );
    assert!(verify("", &other).err.contains("isn't sealed to this key"));
    assert!(verify("strict", &other).err.contains("that is not mine"));
}

/// Somebody else's plugin, with real cryptography: `cargo xtask peers test` builds age-plugin-xwing and names it here. Its
/// recipients are post-quantum and long, and it refuses what is another's.
#[test]
fn custodians_are_proven_and_recover_by_a_real_plugin() {
    let Some(plugin) = std::env::var_os("HOLDFAST_AGE_PLUGIN") else {
        println!("skipped: HOLDFAST_AGE_PLUGIN names no plugin; `cargo xtask peers test` does");
        return;
    };
    let site = Site::with_plugin();
    fs::copy(&plugin, site.bin().join("age-plugin-xwing")).unwrap();
    let token = |number: u8| {
        let text = String::from_utf8(Command::new(&plugin).output().unwrap().stdout).unwrap();
        let recipient = text.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap().to_owned();
        (recipient, site.file(&format!("xwing-{number}.txt"), text.as_bytes()))
    };
    let (paper, secret, _) = enrolled(&site, 3);
    let people = [token(1), token(2), (paper, secret)];
    let mut init = vec!["init", "--servers", "5"];
    people.iter().for_each(|(recipient, _)| init.extend(["--custodian", recipient]));
    site.done_with_plugin(&init);
    let server = site.serve(&[]);
    let challenge = site.challenge("2");
    let test = ["custodian", "test", "--challenge", &challenge, "--json", "--secret", &people[1].1];
    let answer = site.done_with_plugin(&test).json()["answer"].as_str().unwrap().to_owned();
    site.done(&["custodian", "confirm", "--number", "2", "--answer", &answer]);
    fs::rename(site.data().join("servers/server-02/holder"), site.path("lost")).unwrap();
    let by = ["--custodian", &people[1].1, "--custodian", &people[2].1];
    site.done_with_plugin(&[["holder", "replace", "--number", "2"].as_slice(), &by].concat());
    let new = [token(7), token(8), token(9)];
    let mut renew = [["custodian", "renew"].as_slice(), &by].concat();
    new.iter().for_each(|(recipient, _)| renew.extend(["--recipient", recipient]));
    site.done_with_plugin(&renew);
    drop(server);
    let burnt = site.recover("", &[&people[1].1, &people[2].1], "no");
    assert!(burnt.exit == 1 && burnt.err.contains("custodian 1, age-plugin-xwing: it refused"), "{}", burnt.err);
    let said = site.recover("", &[&new[2].1, &new[0].1], "new");
    assert_eq!(said.exit, 0, "{}", said.err);
}
