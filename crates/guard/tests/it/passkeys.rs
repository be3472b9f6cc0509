//! Who comes in by a passkey, and who doesn't.

use guard::{
    Act, Begun, CEREMONY_LIFE_MS, Caller, GuardError, INVITATION_LIFE_MS, PASSKEYS_EACH, PasskeyError, Permit, Purpose,
    RelyingParty, Role, Sensitivity, Signal, Target,
};
use kit::Explain as _;
use serde_json::Value;

use crate::authenticator::Authenticator;
use crate::{Door, HERE, HOUR_MS, to};

const ORIGIN: &str = "https://records.centre.example";

impl Door {
    fn with_passkeys() -> Self {
        let door = Self::new();
        door.guard.take_passkeys(RelyingParty::new(ORIGIN, "Centre").unwrap());
        door
    }

    fn enrols(&self, caller: &Caller) -> Permit {
        let ask = to(Act::EnrolPerson, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        self.guard.admit(caller, ask).unwrap()
    }

    /// Both halves of a code, from two administrators.
    fn code(&self, role: Role, subject: &str) -> String {
        let [one, other] = ["it-one", "it-two"].map(|name| self.named(Role::ItAdministrator, name));
        let (id, first) = self.guard.invite(&self.enrols(&one), role, subject).unwrap();
        let second = self.guard.release(&self.enrols(&other), id).unwrap();
        format!("{} {}", *first, *second)
    }

    fn enrolled(&self, role: Role, subject: &str) -> Authenticator {
        let mut hers = Authenticator::new(ORIGIN);
        let Begun { ceremony, options } = self.guard.begin_enrolment(subject, &self.code(role, subject)).unwrap();
        self.guard.finish_enrolment(ceremony, &hers.create(&options)).unwrap();
        hers
    }

    fn signs_in(&self, subject: &str, hers: &mut Authenticator) -> Result<String, GuardError> {
        let Begun { ceremony, options } = self.guard.begin_sign_in(subject).unwrap();
        self.guard.finish_sign_in(ceremony, &hers.get(&options), None, HERE).map(|cookie| cookie.to_string())
    }
}

fn refused<T>(result: Result<T, GuardError>) -> &'static str {
    result.map(drop).unwrap_err().code()
}

#[test]
fn two_let_somebody_in_and_she_comes_by_her_passkey_after_a_restart_too() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Oncologist, "dr.rev");
    let cookie = door.signs_in("dr.rev", &mut hers).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    assert_eq!((caller.subject(), caller.role()), ("dr.rev", Role::Oncologist));

    // A recovered centre answers by the same name, and has the same log.
    let again = door.restarted();
    again.guard.take_passkeys(RelyingParty::new(ORIGIN, "Centre").unwrap());
    assert!(again.guard.authenticate_session(&cookie, HERE).is_ok());
    again.signs_in("dr.rev", &mut hers).unwrap();
    assert_eq!(again.guard.passkeys_of(&caller).len(), 1);
    // Whom nobody let in has none.
    assert_eq!(refused(again.signs_in("dr.new", &mut hers)), "guard.passkey.refused");
}

#[test]
fn neither_of_the_two_comes_in_for_somebody_else() {
    let door = Door::with_passkeys();
    let [one, other] = ["it-one", "it-two"].map(|name| door.named(Role::ItAdministrator, name));
    let (id, first) = door.guard.invite(&door.enrols(&one), Role::Physicist, "her").unwrap();
    // One alone has half of it.
    assert_eq!(refused(door.guard.release(&door.enrols(&one), id)), "guard.passkey.ones-own");
    for code in [(*first).clone(), format!("{} {}", *first, *first), String::new()] {
        assert_eq!(door.guard.begin_enrolment("her", &code).unwrap_err(), PasskeyError::BadCode);
    }
    let second = door.guard.release(&door.enrols(&other), id).unwrap();
    assert_eq!(refused(door.guard.release(&door.enrols(&other), id)), "guard.passkey.no-invitation");
    for code in [(*second).clone(), format!("{} {}", *second, *second)] {
        assert_eq!(door.guard.begin_enrolment("her", &code).unwrap_err(), PasskeyError::BadCode);
    }
    // It is for her, and nobody else.
    let code = format!("{} {}", *second, *first);
    assert_eq!(door.guard.begin_enrolment("it-one", &code).unwrap_err(), PasskeyError::BadCode);
    assert!(door.guard.begin_enrolment("her", &code.to_lowercase()).is_ok());
    // Nobody invites herself, nobody releases her own, a machine is no person, a login has one role.
    let own = door.guard.invite(&door.enrols(&one), Role::Oncologist, "it-one");
    assert_eq!(refused(own), "guard.passkey.ones-own");
    let (id, _) = door.guard.invite(&door.enrols(&one), Role::Oncologist, "it-two").unwrap();
    assert_eq!(refused(door.guard.release(&door.enrols(&other), id)), "guard.passkey.ones-own");
    assert_eq!(refused(door.guard.invite(&door.enrols(&one), Role::Device, "linac")), "guard.passkey.no-person");
    assert_eq!(refused(door.guard.invite(&door.enrols(&one), Role::Console, "root")), "guard.role-not-given");
    door.enrolled(Role::Nurse, "nurse");
    assert_eq!(refused(door.guard.invite(&door.enrols(&one), Role::Oncologist, "nurse")), "guard.passkey.other-role");
}

#[test]
fn a_code_is_used_once_and_ends() {
    let door = Door::with_passkeys();
    let code = door.code(Role::Nurse, "nurse");
    let (mut first, mut second) = (Authenticator::new(ORIGIN), Authenticator::new(ORIGIN));
    let (one, two) =
        (door.guard.begin_enrolment("nurse", &code).unwrap(), door.guard.begin_enrolment("nurse", &code).unwrap());
    door.guard.finish_enrolment(one.ceremony, &first.create(&one.options)).unwrap();
    assert_eq!(
        refused(door.guard.finish_enrolment(two.ceremony, &second.create(&two.options))),
        "guard.passkey.bad-code"
    );
    assert_eq!(door.guard.begin_enrolment("nurse", &code).unwrap_err(), PasskeyError::BadCode);
    // The same answer again.
    assert_eq!(refused(door.guard.finish_enrolment(one.ceremony, &first.create(&one.options))), "guard.passkey.over");

    let late = door.code(Role::Nurse, "another");
    let begun = door.guard.begin_enrolment("another", &late).unwrap();
    door.clock.advance_ms(CEREMONY_LIFE_MS);
    assert_eq!(
        refused(door.guard.finish_enrolment(begun.ceremony, &second.create(&begun.options))),
        "guard.passkey.over"
    );
    assert!(door.guard.begin_enrolment("another", &late).is_ok());
    door.clock.advance_ms(INVITATION_LIFE_MS);
    assert_eq!(door.guard.begin_enrolment("another", &late).unwrap_err(), PasskeyError::BadCode);
    assert!(door.guard.invitations().is_empty());
    // One that was taken back, in the midst of it.
    let code = door.code(Role::Nurse, "third");
    let begun = door.guard.begin_enrolment("third", &code).unwrap();
    let permit = door.enrols(&door.named(Role::SecurityOfficer, "security"));
    door.guard.end_passkey(&permit, door.guard.invitations()[0].invitation.id).unwrap();
    assert_eq!(
        refused(door.guard.finish_enrolment(begun.ceremony, &second.create(&begun.options))),
        "guard.passkey.bad-code"
    );
}

#[test]
fn without_user_verification_or_from_another_page_nobody_comes_in() {
    let door = Door::with_passkeys();
    let code = door.code(Role::Therapist, "her");
    let mut touched = Authenticator::new(ORIGIN);
    touched.verifies = false;
    let begun = door.guard.begin_enrolment("her", &code).unwrap();
    assert!(begun.options.contains(r#""userVerification":"required""#), "{}", begun.options);
    let answer = touched.create(&begun.options);
    assert_eq!(refused(door.guard.finish_enrolment(begun.ceremony, &answer)), "guard.passkey.refused");

    let mut hers = door.enrolled(Role::Therapist, "her");
    for spoil in [
        |hers: &mut Authenticator| hers.verifies = false,
        |hers: &mut Authenticator| hers.origin = "https://records.centre.example.evil.example".into(),
        |hers: &mut Authenticator| hers.origin = "http://records.centre.example".into(),
        |hers: &mut Authenticator| hers.id = vec![7; 32],
    ] {
        let (verifies, origin, id) = (hers.verifies, hers.origin.clone(), hers.id.clone());
        spoil(&mut hers);
        assert_eq!(refused(door.signs_in("her", &mut hers)), "guard.passkey.refused");
        (hers.verifies, hers.origin, hers.id) = (verifies, origin, id);
    }
    door.signs_in("her", &mut hers).unwrap();
    // A signature of another key, another's key under her login, an answer to another question, rubbish.
    let mut thief = door.enrolled(Role::Therapist, "thief");
    assert_eq!(refused(door.signs_in("her", &mut thief)), "guard.passkey.refused");
    thief.id = hers.id.clone();
    assert_eq!(refused(door.signs_in("her", &mut thief)), "guard.passkey.refused");
    let (one, two) = (door.guard.begin_sign_in("her").unwrap(), door.guard.begin_sign_in("her").unwrap());
    let crossed = door.guard.finish_sign_in(one.ceremony, &hers.get(&two.options), None, HERE);
    assert_eq!(refused(crossed), "guard.passkey.refused");
    assert_eq!(refused(door.guard.finish_sign_in(two.ceremony, "{}", None, HERE)), "guard.passkey.malformed");
    let long = format!("\"{}\"", "a".repeat(70_000));
    let one = door.guard.begin_sign_in("her").unwrap();
    assert_eq!(refused(door.guard.finish_sign_in(one.ceremony, &long, None, HERE)), "guard.passkey.malformed");
    // Frozen.
    let ask = to(Act::Contain, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
    let permit = door.guard.admit(&door.guard.console(), ask).unwrap();
    door.guard.contain(&permit, guard::Measure::Freeze("her".into()), "stolen").unwrap();
    assert_eq!(refused(door.signs_in("her", &mut hers)), "guard.frozen");
}

#[test]
fn asking_tells_nobody_who_is_here() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Nurse, "here");
    let shape = |subject: &str| {
        let options: Value = serde_json::from_str(&door.guard.begin_sign_in(subject).unwrap().options).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let allowed = options["allowCredentials"].as_array().unwrap().clone();
        (keys(&options), allowed.iter().map(|one| (keys(one), one["id"].as_str().unwrap().len())).next(), allowed)
    };
    let (here, absent) = (shape("here"), shape("absent"));
    assert_eq!((here.0, here.1), (absent.0, absent.1));
    // Asked twice it is the same, and after a restart; another login's are others.
    let again = door.restarted();
    again.guard.take_passkeys(RelyingParty::new(ORIGIN, "Centre").unwrap());
    assert_eq!(shape("absent").2, absent.2);
    let options: Value = serde_json::from_str(&again.guard.begin_sign_in("absent").unwrap().options).unwrap();
    assert_eq!(options["allowCredentials"].as_array().unwrap(), &absent.2);
    assert_ne!(shape("another").2, absent.2);
    // And an answer is refused in the same words.
    let mut code = |subject| {
        refused(door.guard.finish_sign_in(
            door.guard.begin_sign_in(subject).unwrap().ceremony,
            &hers.get(r#"{"challenge":"AAAA","rpId":"records.centre.example"}"#),
            None,
            HERE,
        ))
    };
    assert_eq!([code("here"), code("absent")], ["guard.passkey.refused"; 2]);
}

#[test]
fn a_copied_passkey_rings() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Nurse, "her");
    door.signs_in("her", &mut hers).unwrap();
    door.signs_in("her", &mut hers).unwrap();
    hers.counter -= 2;
    assert_eq!(refused(door.signs_in("her", &mut hers)), "guard.passkey.refused");
    let alarms = door.guard.alarms();
    assert_eq!(
        (alarms.len(), alarms[0].alarm.signal, alarms[0].alarm.subject.as_str()),
        (1, Signal::CopiedPasskey, "her")
    );
    // The count outlives a restart.
    let again = door.restarted();
    again.guard.take_passkeys(RelyingParty::new(ORIGIN, "Centre").unwrap());
    hers.counter -= 1;
    assert_eq!(refused(again.signs_in("her", &mut hers)), "guard.passkey.refused");
}

#[test]
fn presence_ends_after_minutes_and_is_shown_anew_in_the_same_session() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::SecurityOfficer, "her");
    let cookie = door.signs_in("her", &mut hers).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    door.guard.check_fresh(&caller).unwrap();
    door.clock.advance_ms(5 * 60_000);
    assert_eq!(door.guard.check_fresh(&caller), Err(PasskeyError::NotFresh));
    assert_eq!(door.guard.begin_another(&caller).unwrap_err(), PasskeyError::NotFresh);

    let other = door.guard.authenticate_session(&door.signs_in("her", &mut hers).unwrap(), HERE).unwrap();
    let begun = door.guard.begin_presence(&caller).unwrap();
    let answer = hers.get(&begun.options);
    assert_eq!(refused(door.guard.finish_presence(&other, begun.ceremony, &answer)), "guard.passkey.over");
    let begun = door.guard.begin_presence(&caller).unwrap();
    door.guard.finish_presence(&caller, begun.ceremony, &hers.get(&begun.options)).unwrap();
    door.guard.check_fresh(&caller).unwrap();
    door.restarted().guard.check_fresh(&caller).unwrap();
    // A presence signs nobody in, and a sign-in is no presence.
    let begun = door.guard.begin_presence(&caller).unwrap();
    let answer = hers.get(&begun.options);
    assert_eq!(refused(door.guard.finish_sign_in(begun.ceremony, &answer, None, HERE)), "guard.passkey.over");
    // A token is nobody who sits there; a link's session has just shown its code, and can show nothing more.
    assert_eq!(door.guard.check_fresh(&door.named(Role::Nurse, "script")), Err(PasskeyError::NotFresh));
    let linked = door.guard.authenticate_session(&door.session(Role::Nurse), HERE).unwrap();
    door.guard.check_fresh(&linked).unwrap();
    assert_eq!(door.guard.begin_another(&linked).unwrap_err(), PasskeyError::NotFresh);
    assert_eq!(door.guard.begin_presence(&linked).unwrap_err(), PasskeyError::NotFresh);
}

#[test]
fn a_second_passkey_lies_in_a_drawer_and_a_lost_one_is_ended_with_its_sessions() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Oncologist, "her");
    let lost = door.signs_in("her", &mut hers).unwrap();
    let caller = door.guard.authenticate_session(&lost, HERE).unwrap();
    let mut drawer = Authenticator::new(ORIGIN);
    let begun = door.guard.begin_another(&caller).unwrap();
    // The one that she has already isn't taken twice.
    let excluded: Value = serde_json::from_str(&begun.options).unwrap();
    assert_eq!(excluded["excludeCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(
        refused(door.guard.finish_enrolment(begun.ceremony, &hers.create(&begun.options))),
        "guard.passkey.refused"
    );
    let begun = door.guard.begin_another(&caller).unwrap();
    door.guard.finish_enrolment(begun.ceremony, &drawer.create(&begun.options)).unwrap();
    let kept = door.signs_in("her", &mut drawer).unwrap();

    let keeper = door.guard.authenticate_session(&kept, HERE).unwrap();
    let stranger = door.guard.authenticate_session(&door.session(Role::Nurse), HERE).unwrap();
    let anyone = door.guard.passkeys_of(&keeper)[0].id;
    assert_eq!(refused(door.guard.end_own_passkey(&stranger, anyone)), "guard.no-credential");
    let of_hers: Vec<_> = door.guard.passkeys_of(&keeper);
    let lost_one = of_hers.iter().find(|one| one.on != begun_in(&caller)).unwrap().id;
    door.guard.end_own_passkey(&keeper, lost_one).unwrap();
    assert!(
        door.guard.authenticate_session(&lost, HERE).is_err() && door.guard.authenticate_session(&kept, HERE).is_ok()
    );
    assert_eq!(refused(door.signs_in("her", &mut hers)), "guard.passkey.refused");
    assert!(door.restarted().guard.authenticate_session(&lost, HERE).is_err());
    // Everything of hers at once.
    door.code(Role::Oncologist, "her");
    door.guard.end_all_of(&door.manage(), "her").unwrap();
    assert_eq!(refused(door.signs_in("her", &mut drawer)), "guard.passkey.refused");
    assert!(door.guard.invitations().is_empty() && door.guard.authenticate_session(&kept, HERE).is_err());
}

fn begun_in(caller: &Caller) -> kit::Id16 {
    match caller.via() {
        guard::Via::Session(id) => id,
        _ => panic!("no session"),
    }
}

#[test]
fn so_many_and_no_more() {
    let door = Door::with_passkeys();
    door.enrolled(Role::Nurse, "her");
    for _ in 1..PASSKEYS_EACH {
        door.enrolled(Role::Nurse, "her");
    }
    let one = door.named(Role::ItAdministrator, "it-one");
    assert_eq!(refused(door.guard.invite(&door.enrols(&one), Role::Nurse, "her")), "guard.passkey.too-many");
    door.clock.advance_ms(HOUR_MS);
    assert_eq!(door.guard.people_with_passkeys(), 1);
}

#[test]
fn lost_keys_are_mended_at_the_terminal_only() {
    let door = Door::with_passkeys();
    let (_, code) = door.guard.invite_alone(&door.manage(), Role::Oncologist, "her").unwrap();
    let mut hers = Authenticator::new(ORIGIN);
    let begun = door.guard.begin_enrolment("her", &code).unwrap();
    door.guard.finish_enrolment(begun.ceremony, &hers.create(&begun.options)).unwrap();
    door.signs_in("her", &mut hers).unwrap();

    // An administrator, who may manage access, gives nobody a whole code.
    let ask = to(Act::ManageAccess, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
    let permit = door.guard.admit(&door.named(Role::ItAdministrator, "it-one"), ask).unwrap();
    assert_eq!(refused(door.guard.invite_alone(&permit, Role::Registrar, "new")), "guard.passkey.ones-own");
    // Nor does the terminal, without the clinical permit, to whom opens charts.
    let permit = door.guard.admit(&door.guard.console(), ask).unwrap();
    assert_eq!(refused(door.guard.invite_alone(&permit, Role::Nurse, "new")), "guard.permit-not-clinical");
}

#[test]
fn a_centre_without_a_name_takes_none() {
    for (url, why) in [
        ("https://10.1.2.3", "an address and no name"),
        ("http://records.centre.example", "isn't https"),
        ("records", "relative URL"),
        ("https://[::1]:8443", "an address and no name"),
    ] {
        let refused = RelyingParty::new(url, "Centre").err().unwrap().to_string();
        assert!(refused.contains(why), "{url}: {refused}");
    }
    assert_eq!(RelyingParty::new("http://localhost:8080", "Centre").unwrap().id(), "localhost");
    assert!(matches!(Door::new().guard.begin_sign_in("her"), Err(PasskeyError::NoRelyingParty { .. })));
}

#[test]
fn a_session_is_of_one_computer() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Nurse, "her");
    let cookie = door.signs_in("her", &mut hers).unwrap();
    let linked = door.session(Role::Nurse);
    let elsewhere = guard::Device(kit::Digest([6; 32]));
    for cookie in [cookie, linked] {
        assert!(door.restarted().guard.authenticate_session(&cookie, HERE).is_ok());
        let stolen = door.guard.authenticate_session(&cookie, elsewhere);
        assert_eq!(stolen, Err(guard::Unauthenticated::OtherDevice));
        // Whoever stole it has ended it; so it is after a restart.
        assert!(door.guard.authenticate_session(&cookie, HERE).is_err());
        assert!(door.restarted().guard.authenticate_session(&cookie, HERE).is_err());
    }
}

/// What stands on record of her can be checked by anybody who has the text and the key.
#[test]
fn her_word_is_for_one_text_on_one_page_with_her_finger() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Physicist, "her");
    let cookie = door.signs_in("her", &mut hers).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    let [key] = <[_; 1]>::try_from(door.guard.passkey_keys("her")).unwrap();
    assert!(key.is_sound() && key.login == "her");
    let text = "holdfast plan approval v2\npatient 1\n";
    let options = door.guard.ask_to_sign(&caller, text).unwrap();
    let said = hers.says(&options);
    assert!(key.has_signed(text, &said));
    assert!(!key.has_signed("holdfast plan approval v2\npatient 2\n", &said));
    // Stored and read again.
    let bytes = minicbor::to_vec((&key, &said)).unwrap();
    let (stored, again): (guard::PasskeyKey, guard::Assertion) = minicbor::decode(&bytes).unwrap();
    assert!(stored.has_signed(text, &again) && stored.public_key() == key.public_key());
    // Touched only; on another page; shown to sign in; by somebody else's.
    hers.verifies = false;
    assert!(!key.has_signed(text, &hers.says(&options)));
    hers.verifies = true;
    for origin in
        ["https://evil.example", "http://records.centre.example", "https://records.centre.example.evil.example"]
    {
        hers.origin = origin.to_owned();
        assert!(!key.has_signed(text, &hers.says(&options)), "{origin}");
    }
    hers.origin = ORIGIN.to_owned();
    let signs_in = door.guard.begin_sign_in("her").unwrap();
    assert!(!key.has_signed(text, &hers.says(&signs_in.options)));
    let mut another = door.enrolled(Role::Physicist, "another");
    assert!(!key.has_signed(text, &another.says(&options)));
    // And what she says signs nobody in.
    let begun = door.guard.begin_sign_in("her").unwrap();
    assert_eq!(
        refused(door.guard.finish_sign_in(begun.ceremony, &hers.get(&options), None, HERE)),
        "guard.passkey.refused"
    );
    // Any byte of it that is changed.
    let sound = minicbor::to_vec(&said).unwrap();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1;
        assert!(
            !minicbor::decode::<guard::Assertion>(&changed).is_ok_and(|one| key.has_signed(text, &one)),
            "byte {at}"
        );
    }
}

/// A stolen session opens four fifths of what she could; she herself shows her passkey and goes on, and nothing rings.
#[test]
fn the_last_of_a_budget_is_for_whoever_shows_her_passkey() {
    let door = Door::with_passkeys();
    let mut hers = door.enrolled(Role::Nurse, "her");
    let cookie = door.signs_in("her", &mut hers).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    let opens = |number: u8| {
        let patient = kit::PatientId([number; 16]);
        let ask = to(Act::ReadRecord, Target::Patient(patient), Sensitivity::Clinical, Purpose::Treatment);
        let relation = guard::Relation::Unexplained;
        let permit = door.guard.admit(&caller, guard::Ask { relation: Some(relation), ..ask }).unwrap();
        door.guard.spend(&permit, patient, Sensitivity::Clinical, relation)
    };
    door.clock.advance_ms(60_000);
    // Of 12 within an hour.
    assert_eq!((1..=12).take_while(|number| opens(*number).is_ok()).count(), 9);
    let refused = opens(10).unwrap_err();
    assert_eq!(refused.code(), "guard.show-passkey");
    assert!(refused.to_string().contains("nearly used up"), "{refused}");
    assert!(opens(3).is_ok() && door.guard.alarms().is_empty());
    let begun = door.guard.begin_presence(&caller).unwrap();
    door.guard.finish_presence(&caller, begun.ceremony, &hers.get(&begun.options)).unwrap();
    assert_eq!((10..=20).take_while(|number| opens(*number).is_ok()).count(), 3);
    assert_eq!(opens(13).unwrap_err().code(), "guard.over-budget");
    assert_eq!(door.guard.alarms().len(), 1);
    // A token shows none, and has what it had.
    let token = door.named(Role::Nurse, "token");
    let opened = (1..=20).take_while(|number| {
        let patient = kit::PatientId([*number; 16]);
        let ask = to(Act::ReadRecord, Target::Patient(patient), Sensitivity::Clinical, Purpose::Treatment);
        let permit = door.guard.admit(&token, ask).unwrap();
        door.guard.spend(&permit, patient, Sensitivity::Clinical, guard::Relation::Unexplained).is_ok()
    });
    assert_eq!(opened.count(), 12);
}

/// What an authenticator derives is asked for with one salt, and handed on with the session that it opened.
#[test]
fn what_is_derived_for_the_holders_goes_to_whoever_signs_towards_them() {
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<(String, String, kit::Id16)>>);
    impl guard::Witness for Heard {
        fn shown(&self, subject: &str, secret: &str, as_id: kit::Id16) {
            self.0.lock().unwrap().push((subject.to_owned(), secret.to_owned(), as_id));
        }
        fn ended(&self, _: kit::Id16) {}
    }
    let door = Door::with_passkeys();
    let heard = std::sync::Arc::new(Heard::default());
    door.guard.tell(heard.clone());
    let mut hers = door.enrolled(Role::Oncologist, "her");
    let salt = |begun: &Begun| {
        let options: Value = serde_json::from_str(&begun.options).unwrap();
        options["extensions"]["prf"]["eval"]["first"].as_str().unwrap().to_owned()
    };
    let before = heard.0.lock().unwrap().len();
    let (one, two) = (door.guard.begin_sign_in("her").unwrap(), door.guard.begin_sign_in("nobody").unwrap());
    assert_eq!((salt(&one), salt(&one).len()), (salt(&two), 43));
    let cookie = door.guard.finish_sign_in(one.ceremony, &hers.get(&one.options), Some("derived"), HERE).unwrap();
    let caller = door.guard.authenticate_session(&cookie, HERE).unwrap();
    assert_eq!(heard.0.lock().unwrap()[before..], [("her".to_owned(), "derived".to_owned(), begun_in(&caller))]);
    // Without it she is in, and nobody signs for her; a plan's signature derives nothing.
    door.signs_in("her", &mut hers).unwrap();
    assert_eq!(heard.0.lock().unwrap().len(), before + 1);
    assert!(!door.guard.ask_to_sign(&caller, "x").unwrap().contains("prf"));
}
