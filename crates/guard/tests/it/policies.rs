//! The centre's policies: what its officers signed is what decides, and nothing else.

use std::sync::LazyLock;

use guard::{
    Act, Bundle, BundleError, ChainError, Event, GuardError, OfficerStatement, Policy, PolicyStatement, Purpose, Role,
    Says, Sensitivity, Signed, SignedPolicy, SigningKey, Target,
};
use kit::{Digest, Explain, SeededEntropy};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::{CENTRE, Door, HER, HERE, HOUR_MS, START, to};

pub(crate) const NOTHING_MORE: &str = "";
const NO_THERAPIST_READS: &str =
    r#"@id("x") forbid (principal == Role::"therapist", action == Action::"read-record", resource);"#;

pub(crate) fn key(name: &str) -> SigningKey {
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    SigningKey::generate(&SeededEntropy::new(seed)).unwrap()
}

/// Officers of these names, each with the key of her name; `name/other` has the name before the stroke.
pub(crate) fn text(quorum: u8, officers: &[&str], more: &str) -> String {
    with_rules(quorum, officers, Policy::built_in().unwrap().text(), more)
}

fn with_rules(quorum: u8, officers: &[&str], rules: &str, more: &str) -> String {
    let mut text = format!("quorum = {quorum}\nrules = '''\n{rules}\n'''\n");
    for officer in officers {
        let (name, key) = (officer.split('/').next().unwrap(), key(officer).public_key().unwrap());
        text.push_str(&format!("[[officers]]\nname = \"{name}\"\nduty = \"duty of {name}\"\nkey = \"{key}\"\n"));
    }
    text + more
}

fn with_rule(quorum: u8, officers: &[&str], rule: &str) -> String {
    with_rules(quorum, officers, &format!("{}\n{rule}", Policy::built_in().unwrap().text()), NOTHING_MORE)
}

pub(crate) const FOUR: [&str; 4] = ["Director", "Physics", "Security", "Records"];

impl Door {
    fn change_policy(&self) -> guard::Permit {
        let ask = to(Act::ChangePolicy, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        self.guard.admit(&self.guard.console(), ask).unwrap()
    }

    fn sign(&self, says: Says, text: &str, officer: &str) -> SignedPolicy {
        let policy = Bundle::parse(text).unwrap().digest();
        let name = officer.split('/').next().unwrap();
        Signed::sign(self.guard.policy_statement(says, policy, name), &key(officer)).unwrap()
    }

    pub(crate) fn propose(&self, text: &str, officer: &str) -> Result<(), GuardError> {
        let signed = self.sign(Says::Proposes, text, officer);
        self.guard.propose_policy(&self.change_policy(), text, signed).map(|_| ())
    }

    pub(crate) fn approve(&self, text: &str, officer: &str) -> Result<bool, GuardError> {
        self.guard.approve_policy(&self.change_policy(), self.sign(Says::Approves, text, officer))
    }

    /// Proposed by the first, approved by the others.
    pub(crate) fn enforce(&self, text: &str, officers: &[&str]) {
        self.propose(text, officers[0]).unwrap();
        let (last, others) = officers[1..].split_last().unwrap();
        for officer in others {
            assert!(!self.approve(text, officer).unwrap());
        }
        assert!(self.approve(text, last).unwrap());
    }

    fn version(&self) -> u64 {
        self.guard.policy().in_force.map_or(0, |one| one.version())
    }

    fn therapist_reads(&self) -> bool {
        self.ask(&self.caller(Role::Therapist), Act::ReadRecord, HER).is_ok()
    }
}

fn chain_error(result: Result<impl Sized, GuardError>) -> ChainError {
    match result {
        Err(GuardError::Chain(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn what_enough_officers_signed_decides_now_and_after_a_restart() {
    let door = Door::new();
    let built_in = door.guard.policy().digest;
    assert!(door.therapist_reads());
    let first = with_rule(2, &FOUR, NO_THERAPIST_READS);
    door.propose(&first, "Director").unwrap();
    assert!(door.therapist_reads() && door.version() == 0, "proposed is not in force");
    assert!(!door.approve(&first, "Physics").unwrap());
    assert!(door.therapist_reads(), "one is no quorum");
    assert!(door.approve(&first, "Records").unwrap());
    assert!(!door.therapist_reads());

    // Each decision names what decided it.
    let noted = door.log.decisions.lock().unwrap();
    let (named, digest) = (noted.last().unwrap().policy, door.guard.policy().digest);
    assert_eq!((named, digest), (Some(digest), Bundle::parse(&first).unwrap().digest()));
    assert_ne!(digest, built_in);
    drop(noted);

    let again = door.restarted();
    assert!(!again.therapist_reads());
    assert_eq!((again.version(), again.guard.policy().digest), (1, digest));

    // And the next one.
    let second = text(2, &FOUR, NOTHING_MORE);
    door.enforce(&second, &["Security", "Director", "Physics"]);
    assert!(door.therapist_reads() && door.version() == 2);
    assert!(door.restarted().therapist_reads());
}

#[test]
fn nobody_approves_what_he_proposed_and_nobody_counts_twice() {
    let door = Door::new();
    let first = text(2, &FOUR, NOTHING_MORE);
    door.propose(&first, "Director").unwrap();
    assert_eq!(chain_error(door.approve(&first, "Director")), ChainError::OwnProposal);
    door.approve(&first, "Physics").unwrap();
    assert_eq!(chain_error(door.approve(&first, "Physics")), ChainError::Twice);
    assert_eq!(door.version(), 0);
    let stranger = |error| assert!(matches!(error, ChainError::NotAnOfficer { .. }), "{error}");
    stranger(chain_error(door.approve(&first, "Nobody")));
    // Her name, another's key.
    stranger(chain_error(door.approve(&first, "Records/forged")));
    stranger(chain_error(door.propose(&with_rule(2, &FOUR, NO_THERAPIST_READS), "Nobody")));
}

#[test]
fn who_changes_the_officers_needs_the_old_ones_and_the_new_ones() {
    let door = Door::new();
    door.enforce(&text(2, &FOUR, NOTHING_MORE), &["Director", "Physics", "Security"]);

    // Three thieves, with one officer: her proposal gets none of the others.
    let theirs = text(2, &["Director", "Thief A", "Thief B", "Thief C"], NOTHING_MORE);
    door.propose(&theirs, "Director").unwrap();
    assert!(!door.approve(&theirs, "Thief A").unwrap());
    assert!(!door.approve(&theirs, "Thief B").unwrap());
    assert!(!door.approve(&theirs, "Thief C").unwrap());
    assert_eq!(door.version(), 1);
    // And thieves don't propose.
    assert!(matches!(chain_error(door.propose(&theirs, "Thief A")), ChainError::NotAnOfficer { .. }));

    // Two of the old ones approve; the new ones have to show that they have their keys.
    let new = text(2, &["Director", "Physics/new", "Newcomer", "Another"], NOTHING_MORE);
    door.propose(&new, "Director").unwrap();
    assert!(!door.approve(&new, "Physics").unwrap());
    assert!(!door.approve(&new, "Security").unwrap());
    let open = &door.guard.policy().open[0];
    assert_eq!((open.1.of_before, open.1.of_its_own), (0, 2));
    assert!(!door.approve(&new, "Newcomer").unwrap());
    // With her new key, as the new policy has it.
    assert!(door.approve(&new, "Physics/new").unwrap());
    assert_eq!(door.version(), 2);
    let next = text(2, &["Director", "Physics/new", "Newcomer"], NOTHING_MORE);
    door.propose(&next, "Director").unwrap();
    assert!(matches!(chain_error(door.approve(&next, "Physics")), ChainError::NotAnOfficer { .. }), "her old key");
    assert_eq!(door.restarted().version(), 2);
}

#[test]
fn a_signature_is_for_one_place_of_one_centre() {
    let door = Door::new();
    let (first, second) = (text(2, &FOUR, NOTHING_MORE), with_rule(2, &FOUR, NO_THERAPIST_READS));
    let early = door.sign(Says::Approves, &second, "Physics");
    let signed = |change: &dyn Fn(&mut PolicyStatement)| {
        let mut statement = door.sign(Says::Proposes, &first, "Director").statement().clone();
        change(&mut statement);
        Signed::sign(statement, &key("Director")).unwrap()
    };
    let proposed = |signed| chain_error(door.guard.propose_policy(&door.change_policy(), &first, signed));
    let elsewhere = proposed(signed(&|one| one.centre = "holdfast/elsewhere".into()));
    assert!(matches!(elsewhere, ChainError::OtherCentre { centre, .. } if centre == CENTRE));
    assert_eq!(proposed(signed(&|one| one.version = 2)), ChainError::OtherVersion { found: 2, next: 1 });
    assert_eq!(proposed(signed(&|one| one.previous = Some(Digest([1; 32])))), ChainError::OtherPrevious);
    assert_eq!(proposed(signed(&|one| one.policy = Digest([1; 32]))), ChainError::OtherPolicy);
    assert_eq!(proposed(signed(&|one| one.says = Says::Approves)), ChainError::OtherPolicy);

    door.enforce(&first, &["Director", "Physics", "Security"]);
    door.propose(&second, "Director").unwrap();
    let late = chain_error(door.guard.approve_policy(&door.change_policy(), early));
    assert_eq!(late, ChainError::OtherVersion { found: 1, next: 2 });
    let unknown = door.guard.policy_statement(Says::Approves, Digest([9; 32]), "Physics");
    let unknown = Signed::sign(unknown, &key("Physics")).unwrap();
    let unknown = chain_error(door.guard.approve_policy(&door.change_policy(), unknown));
    assert_eq!(unknown, ChainError::NotProposed(Digest([9; 32])));
    assert_eq!(door.version(), 1);

    // What was open when another one came into force is gone, and so is what was signed of it.
    let other = text(2, &["Director", "Physics", "Security"], NOTHING_MORE);
    door.propose(&other, "Physics").unwrap();
    door.approve(&second, "Security").unwrap();
    assert!(!door.approve(&other, "Security").unwrap());
    assert!(door.approve(&other, "Director").unwrap());
    assert!(matches!(chain_error(door.approve(&second, "Physics")), ChainError::NotProposed(_)));
    assert!(door.therapist_reads() && door.version() == 2);
}

/// Whoever writes the log as a gateway does has no officer's key.
#[test]
fn unsigned_and_altered_events_change_nothing_and_are_shown() {
    let door = Door::new();
    let first = text(2, &FOUR, NOTHING_MORE);
    door.enforce(&first, &["Director", "Physics", "Security"]);
    let worse = with_rule(2, &FOUR, NO_THERAPIST_READS);
    let honest = door.sign(Says::Proposes, &worse, "Director");
    let thief = key("Thief");
    let as_officer = |says, officer: &str| {
        let policy = Bundle::parse(&worse).unwrap().digest();
        Signed::sign(door.guard.policy_statement(says, policy, officer), &thief).unwrap()
    };
    let forged = [
        Event::PolicyProposed { text: worse.clone(), proposed: as_officer(Says::Proposes, "Director") },
        Event::PolicyApproved { approved: as_officer(Says::Approves, "Physics") },
        Event::PolicyApproved { approved: as_officer(Says::Approves, "Security") },
        // An officer's own signature, over another text.
        Event::PolicyProposed { text: format!("{worse}\n"), proposed: honest.clone() },
        Event::PolicyProposed { text: "quorum = 0".into(), proposed: honest },
    ];
    door.log.events.lock().unwrap().extend(forged);
    let again = door.restarted();
    assert!(again.therapist_reads());
    let seen = again.guard.policy();
    assert_eq!((again.version(), seen.digest), (1, Bundle::parse(&first).unwrap().digest()));
    assert_eq!(seen.refused.len(), 5, "{:?}", seen.refused);
    assert!(seen.refused[0].contains("no officer with that key") && seen.open.is_empty(), "{:?}", seen.refused);

    // The same log read a second time says nothing twice, and the honest ones go on.
    for event in door.log.events.lock().unwrap().iter() {
        again.guard.replay(event).unwrap();
    }
    assert_eq!((again.version(), again.guard.policy().refused.len()), (1, 5));
    again.enforce(&text(3, &FOUR, NOTHING_MORE), &["Physics", "Director", "Security", "Records"]);
    assert_eq!(again.version(), 2);
    assert_eq!(chain_error(again.propose(&text(3, &FOUR, NOTHING_MORE), "Director")), ChainError::InForce);
    assert!(matches!(again.guard.policy().in_force, Some(one) if one.bundle.quorum() == 3));
}

/// Signed once, by a program that took its rules: the officers stay in office, and the rules before go on.
#[test]
fn a_signed_policy_whose_rules_hold_no_more_keeps_its_officers() {
    let door = Door::new();
    let old = with_rules(2, &FOUR, "permit (principal", NOTHING_MORE);
    let digest = Digest(Sha256::digest(&old).into());
    let sign =
        |says, officer: &str| Signed::sign(door.guard.policy_statement(says, digest, officer), &key(officer)).unwrap();
    let refused = door.guard.propose_policy(&door.change_policy(), &old, sign(Says::Proposes, "Director"));
    assert!(matches!(chain_error(refused), ChainError::Bundle(_)), "nobody proposes it today");
    door.log.events.lock().unwrap().extend([
        Event::PolicyProposed { text: old.clone(), proposed: sign(Says::Proposes, "Director") },
        Event::PolicyApproved { approved: sign(Says::Approves, "Physics") },
        Event::PolicyApproved { approved: sign(Says::Approves, "Security") },
    ]);
    let again = door.restarted();
    let seen = again.guard.policy();
    assert!(again.version() == 1 && seen.fault().is_some() && seen.digest == digest);
    assert!(again.therapist_reads(), "as before it");
    // No second beginning, by others.
    assert!(
        chain_error(again.propose(&text(2, &["A", "B", "C"], NOTHING_MORE), "A")).to_string().contains("no officer")
    );
    again.enforce(&with_rule(2, &FOUR, NO_THERAPIST_READS), &["Records", "Director", "Physics"]);
    assert!(!again.therapist_reads() && again.guard.policy().fault().is_none());
}

#[test]
fn a_policy_that_holds_not_together_is_refused_with_its_place() {
    let error = |text: &str| Bundle::parse(text).unwrap_err();
    let bounds = |text: &str| match error(text) {
        BundleError::OutOfBounds { what, found, minimum, maximum } => (what, found, minimum, maximum),
        other => panic!("{other}"),
    };
    assert_eq!(bounds(&text(2, &FOUR[..2], NOTHING_MORE)), ("the number of officers", 2, 3, 32));
    assert_eq!(bounds(&text(1, &FOUR, NOTHING_MORE)), ("quorum", 1, 2, 3));
    assert_eq!(bounds(&text(4, &FOUR, NOTHING_MORE)), ("quorum", 4, 2, 3));
    let sessions = |line: &str| text(2, &FOUR, &format!("[sessions]\n{line}\n"));
    assert_eq!(bounds(&sessions("idle_minutes = 61")), ("sessions.idle_minutes", 61, 1, 60));
    assert_eq!(bounds(&sessions("hours = 0")), ("sessions.hours", 0, 1, 24));
    assert_eq!(bounds(&sessions("code_minutes = 61")), ("sessions.code_minutes", 61, 1, 60));
    assert_eq!(bounds(&sessions("token_days = 401")), ("sessions.token_days", 401, 1, 400));
    for malformed in ["", "quorum = 2", &sessions("idle = 3"), &text(2, &FOUR, "quorom = 2\n"), "\u{0}", "rules = ''"] {
        assert!(matches!(error(malformed), BundleError::Malformed(_)), "{malformed}");
    }
    let twice = |officers: &[&str]| error(&text(2, officers, NOTHING_MORE));
    // One key under two names stands in `FOUR` nowhere, so it is written out.
    let one_key = text(2, &FOUR, NOTHING_MORE)
        .replace(&key("Records").public_key().unwrap().to_string(), &key("Physics").public_key().unwrap().to_string());
    assert_eq!(error(&one_key), BundleError::OnePersonTwice { one: 2, other: 4 });
    assert_eq!(twice(&["A", "B", "C", "a/x"]), BundleError::OnePersonTwice { one: 1, other: 4 });
    // Cyrillic.
    assert_eq!(twice(&["Asha", "B", "\u{410}sha"]), BundleError::OnePersonTwice { one: 1, other: 3 });
    assert!(matches!(twice(&["A\u{202e}", "B", "C"]), BundleError::Officer { number: 1, .. }));
    assert!(matches!(error(&"#".repeat(50_000)), BundleError::TooLong { found: 50_000 }));
    assert_eq!(error(&with_rule(2, &FOUR, "permit (principal")).code(), "guard.policy.syntax");

    // Rules that would end treatment, or the way to other rules.
    for (role, act) in [
        (Role::Console, Act::ChangePolicy),
        (Role::Console, Act::ManageAccess),
        (Role::Console, Act::MakePacks),
        (Role::Device, Act::CheckGate),
        (Role::Therapist, Act::CheckGate),
    ] {
        let rule = format!(r#"@id("x") forbid (principal == Role::"{role}", action == Action::"{act}", resource);"#);
        let found = error(&with_rule(2, &FOUR, &rule));
        assert!(matches!(found, BundleError::LocksOut { role: r, act: a, .. } if r == role && a == act), "{found}");
    }
    assert!(matches!(error(&with_rules(2, &FOUR, "", NOTHING_MORE)), BundleError::LocksOut { .. }));
    // What the commands of a change ask, and what treatment asks, on whatever it is asked.
    for rule in [
        r#"@id("x") forbid (principal == Role::"console", action == Action::"manage-access", resource)
           when { context.sensitivity == Sensitivity::"administrative" };"#,
        r#"@id("x") forbid (principal == Role::"console", action == Action::"lift-containment", resource);"#,
        r#"@id("x") forbid (principal == Role::"security-officer", action == Action::"contain", resource);"#,
        r#"@id("x") forbid (principal == Role::"device", action == Action::"read-object", resource);"#,
        r#"@id("x") forbid (principal == Role::"device", action == Action::"check-gate", resource is Centre);"#,
        r#"@id("x") forbid (principal, action == Action::"check-gate", resource)
           when { context.purpose == Purpose::"emergency" };"#,
        r#"@id("x") forbid (principal, action == Action::"enter-record", resource);"#,
        r#"@id("x") forbid (principal, action == Action::"read-treatment-list", resource)
           when { context.purpose == Purpose::"treatment" };"#,
    ] {
        assert!(matches!(error(&with_rule(2, &FOUR, rule)), BundleError::LocksOut { .. }), "{rule}");
    }
    // A stack that overflows would end the process.
    let nested = |open: &str, close: &str, times: usize| {
        let inside = format!("{}true{}", open.repeat(times), close.repeat(times));
        with_rule(2, &FOUR, &format!(r#"@id("x") forbid (principal, action, resource) when {{ {inside} }};"#))
    };
    for (open, close, times) in [
        ("(", ")", 1_000),
        ("[", "]", 8_000),
        ("!(", ")", 6_000),
        ("!", "", 8_000),
        ("if true then ", " else true", 900),
    ] {
        assert_eq!(error(&nested(open, close, times)).code(), "guard.policy.too-deep", "{open}");
    }
    for chain in ["true && ", "1 + ", "context.x.", "true || "] {
        assert_eq!(error(&nested(chain, "", 2_000)).code(), "guard.policy.too-deep", "{chain}");
    }
    let named =
        |id: &str| error(&with_rule(2, &FOUR, &format!(r#"@id("{id}") permit (principal, action, resource);"#)));
    for id in [&"z".repeat(65), "Two words", "a,b", "ജ"] {
        assert_eq!(named(id).code(), "guard.policy.bad-id", "{id}");
    }
    // Anybody could sign by the neutral element.
    let weak = text(2, &FOUR, NOTHING_MORE)
        .replace(&key("Records").public_key().unwrap().to_string(), "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert!(matches!(error(&weak), BundleError::Malformed(why) if why.contains("anybody could sign")));
}

#[test]
fn sessions_last_as_long_as_the_policy_says() {
    let door = Door::new();
    let cookie = door.session(Role::Nurse);
    let (_, token) = door.token(Role::Nurse);
    let short = "[sessions]\nidle_minutes = 5\nhours = 1\ncode_minutes = 2\ntoken_days = 1\n";
    door.enforce(&text(2, &FOUR, short), &["Director", "Physics", "Security"]);

    // What was given out before goes by it as well.
    door.clock.advance_ms(4 * 60_000);
    assert!(door.guard.authenticate_session(&cookie, HERE).is_ok());
    door.clock.advance_ms(5 * 60_000);
    assert!(door.guard.authenticate_session(&cookie, HERE).is_err());
    let code = door.guard.sign_in_link(&door.manage(), Role::Nurse, "somebody").unwrap();
    door.clock.advance_ms(2 * 60_000);
    assert!(door.guard.use_sign_in_link(&code, HERE).is_err());
    door.clock.advance_ms(24 * HOUR_MS);
    assert!(door.guard.authenticate_bearer(&token).is_err());
    let issued = door.guard.issue_token(&door.manage(), Role::Nurse, "somebody", 24 * HOUR_MS + 1);
    assert!(matches!(issued, Err(GuardError::BadLife { maximum_ms: 86_400_000, .. })));

    let cookie = door.session(Role::Nurse);
    for _ in 0..14 {
        door.clock.advance_ms(4 * 60_000);
        assert!(door.guard.authenticate_session(&cookie, HERE).is_ok());
    }
    door.clock.advance_ms(4 * 60_000);
    assert!(door.guard.authenticate_session(&cookie, HERE).is_err(), "an hour, however busy");
}

#[test]
fn what_a_policy_changes_is_said_in_words() {
    let before = Bundle::parse(&text(2, &FOUR, NOTHING_MORE)).unwrap();
    let after = text(3, &["Director", "Physics/new", "Security", "Records"], "[sessions]\nidle_minutes = 5\n");
    let lines = guard::changes(Some(&before), &Bundle::parse(&after).unwrap());
    let (new, old) = (key("Physics/new").public_key().unwrap(), key("Physics").public_key().unwrap());
    assert_eq!(
        lines,
        [
            format!("Physics, duty of Physics, is an officer: key {new}"),
            format!("Physics, duty of Physics, is no officer any more: key {old}"),
            "officers who have to approve a change, beside the one who proposes it: 3 (it was 2)".into(),
            "minutes until an idle session ends: 5 (it was 15)".into(),
        ]
    );
    assert_eq!(guard::changes(None, &before).len(), 5);
}

#[test]
fn the_signed_bytes_are_those_of_the_format() {
    let statement = PolicyStatement {
        says: Says::Approves,
        centre: CENTRE.into(),
        version: 2,
        previous: Some(Digest([0xab; 32])),
        policy: Digest([0xcd; 32]),
        officer: "Director".into(),
        at: START,
    };
    let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
    assert_eq!(
        statement.text(),
        format!(
            "holdfast policy approval v1\ncentre {CENTRE}\nversion 2\nprevious {ab}\npolicy {cd}\nofficer Director\nat {START}\n"
        )
    );
    let signed = Signed::sign(statement, &key("Director")).unwrap();
    let event = Event::PolicyApproved { approved: signed.clone() };
    assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
    assert_eq!(SignedPolicy::from_bytes(&signed.to_bytes()), Ok(signed));
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_a_typed_error(text in "\\PC{0,200}", cut in 0..400usize) {
        let _ = Bundle::parse(&text);
        let whole = self::text(2, &FOUR, NOTHING_MORE);
        let _ = Bundle::parse(&whole[..cut.min(whole.len())]);
    }

    /// One flipped bit of a stored signature never counts.
    #[test]
    fn an_altered_signature_never_counts(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        static WAITING: LazyLock<(Door, Vec<u8>)> = LazyLock::new(|| {
            let (door, text) = (Door::new(), text(2, &FOUR, NOTHING_MORE));
            door.propose(&text, "Director").unwrap();
            door.approve(&text, "Physics").unwrap();
            let signed = door.sign(Says::Approves, &text, "Security").to_bytes();
            (door, signed)
        });
        let (door, signed) = &*WAITING;
        let mut bytes = signed.clone();
        *at.get_mut(&mut bytes) ^= 1 << bit;
        if let Ok(altered) = SignedPolicy::from_bytes(&bytes) {
            prop_assert!(door.guard.approve_policy(&door.change_policy(), altered).is_err());
        }
        prop_assert_eq!(door.version(), 0);
    }
}
