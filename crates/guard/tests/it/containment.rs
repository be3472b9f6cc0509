//! What is closed in one step by one person, and opened again by two; and what goes on in every case.

use std::sync::atomic::Ordering;

use guard::{
    Act, Caller, ContainError, Containment, Event, GuardError, Measure, OfficerStatement, Permit, PermitError, Purpose,
    Reason, Role, Sensitivity, Signed, Target,
};
use kit::Id16;

use crate::policies::{FOUR, NOTHING_MORE, key, text};
use crate::{Door, HER, HERE, HOUR_MS, to};

const MODES: [Measure; 3] = [Measure::ReadOnly, Measure::Island, Measure::Lockdown];

impl Door {
    fn console(&self, act: Act) -> Permit {
        let ask = to(act, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        self.guard.admit(&self.guard.console(), ask).unwrap()
    }

    pub(crate) fn contain(&self, measure: Measure) -> Result<Containment, GuardError> {
        self.guard.contain(&self.console(Act::Contain), measure, "a drill")
    }

    fn lift(&self, one: &Containment, officer: &str) -> Result<bool, GuardError> {
        let name = officer.split('/').next().unwrap();
        let statement = self.guard.lift_statement(one.id, name)?;
        self.guard.lift(&self.console(Act::LiftContainment), Signed::sign(statement, &key(officer)).unwrap())
    }

    fn with_officers() -> Self {
        let door = Self::new();
        door.enforce(&text(2, &FOUR, NOTHING_MORE), &["Director", "Physics", "Security"]);
        door
    }

    fn measures(&self) -> Vec<String> {
        self.guard.contained().iter().map(|(one, _)| one.measure.to_string()).collect()
    }
}

fn error(result: Result<impl Sized, GuardError>) -> ContainError {
    match result {
        Err(GuardError::Contain(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

/// Everything that can be asked, and whether it is allowed, beside what is closed.
fn answers(door: &Door, callers: &[(Role, Caller)]) -> Vec<(Role, Act, Purpose, bool)> {
    let mut out = Vec::new();
    for (role, caller) in callers {
        for &act in Act::ALL {
            for &sensitivity in Sensitivity::ALL {
                for (target, &purpose) in
                    [Target::Centre, HER].iter().flat_map(|t| Purpose::ALL.iter().map(move |p| (t, p)))
                {
                    let answer = door.guard.admit(caller, to(act, *target, sensitivity, purpose));
                    out.push((*role, act, purpose, answer.is_ok()));
                }
            }
        }
    }
    out
}

#[test]
fn treatment_goes_on_in_every_mode_and_nothing_is_opened_that_was_closed() {
    for mode in MODES {
        let door = Door::with_officers();
        let callers: Vec<(Role, Caller)> = Role::ALL.iter().map(|role| (*role, door.caller(*role))).collect();
        let before = answers(&door, &callers);
        let one = door.contain(mode.clone()).unwrap();
        let during = answers(&door, &callers);
        let mut closed = 0;
        for (open, now) in before.iter().zip(&during) {
            let (role, act, purpose, was) = *open;
            assert!(was || !now.3, "{mode} opens {role} {act}");
            if was && !now.3 {
                closed += 1;
            }
            // Whatever the gate, a device and the packs could do, they can.
            let treats = matches!(act, Act::CheckGate | Act::MakePacks)
                || (role == Role::Device && matches!(act, Act::StoreObject | Act::ReadObject))
                || (role == Role::Console && matches!(act, Act::ReadTreatmentList | Act::ApprovePlan));
            let looks_into_it = matches!(
                act,
                Act::ReadAccessLog
                    | Act::VerifyVault
                    | Act::Contain
                    | Act::LiftContainment
                    | Act::HandleAlarm
                    | Act::ReviewEmergency
            );
            if treats || looks_into_it {
                assert_eq!(was, now.3, "{mode} closes {role} {act} {purpose}");
                continue;
            }
            let goes_on = match mode {
                Measure::Lockdown => matches!(act, Act::ManageAccess | Act::ChangePolicy),
                Measure::ReadOnly => !matches!(
                    act,
                    Act::RegisterPatient
                        | Act::WriteRecord
                        | Act::DeleteRecord
                        | Act::StoreObject
                        | Act::ErasePatient
                        | Act::RestorePatient
                ),
                _ => {
                    matches!(act, Act::ManageAccess | Act::ChangePolicy)
                        || (matches!(purpose, Purpose::Treatment | Purpose::Emergency)
                            && !matches!(role, Role::Registrar | Role::Service | Role::RecordsOfficer)
                            && act != Act::ExportRecord)
                }
            };
            assert_eq!(now.3, was && goes_on, "{mode}: {role} {act} {purpose}");
        }
        assert!(closed > 40, "{mode} closes {closed}");
        let denied = door.ask(&door.caller(Role::Registrar), Act::WriteRecord, HER).unwrap_err();
        assert!(matches!(denied.reason, Reason::Contained { .. }), "{denied}");

        // Two officers open it, and everything is as before.
        assert!(!door.lift(&one, "Director").unwrap() && door.lift(&one, "Records").unwrap());
        assert_eq!(answers(&door, &callers), before);
    }
}

#[test]
fn a_measure_is_in_force_at_once_and_after_a_restart_and_ends_every_permit() {
    let door = Door::with_officers();
    let oncologist = door.caller(Role::Oncologist);
    let permit = door.ask(&oncologist, Act::ReadRecord, HER).unwrap();
    door.contain(Measure::Lockdown).unwrap();
    assert!(matches!(door.guard.check(&permit), Err(PermitError::LockedDown { permit: 0, current: 1 })));
    assert!(door.ask(&oncologist, Act::ReadRecord, HER).is_err());
    let again = door.restarted();
    assert_eq!(again.measures(), ["lockdown"]);
    assert!(again.ask(&again.caller(Role::Oncologist), Act::ReadRecord, HER).is_err());

    // It doesn't wait for a disk.
    let door = Door::with_officers();
    let permit = door.console(Act::Contain);
    door.log.broken.store(true, Ordering::SeqCst);
    let kept = door.guard.contain(&permit, Measure::Lockdown, "the disk is full");
    assert!(matches!(kept, Err(GuardError::ContainmentNotKept(_))) && door.guard.unkept() == 2);
    door.log.broken.store(false, Ordering::SeqCst);
    // Whatever is kept next brings it along.
    assert!(door.ask(&door.caller(Role::Oncologist), Act::ReadRecord, HER).is_err());
    assert_eq!((door.guard.unkept(), door.restarted().measures()), (0, vec!["lockdown".to_owned()]));
}

#[test]
fn who_is_frozen_does_nothing_and_the_others_go_on() {
    let door = Door::with_officers();
    let (frozen, other) = (door.caller(Role::Oncologist), door.session(Role::Physicist));
    let linac = door.guard.device("LINAC1", "10.1.2.3".parse().unwrap()).unwrap();
    assert_eq!(frozen.subject(), "somebody");
    let (_, secret) = door.guard.issue_token(&door.manage(), Role::Oncologist, "somebody-else", HOUR_MS).unwrap();
    let another = door.guard.authenticate_bearer(&secret).unwrap();
    let one = door.contain(Measure::Freeze("somebody".into())).unwrap();
    for act in Act::ALL {
        for purpose in Purpose::ALL {
            let ask = to(*act, HER, Sensitivity::Clinical, *purpose);
            assert!(door.guard.admit(&frozen, ask).is_err(), "{act}");
        }
    }
    assert!(
        door.ask(&door.guard.authenticate_session(&other, HERE).unwrap(), Act::CheckGate, HER).is_err(),
        "her session too"
    );
    assert!(door.ask(&another, Act::ReadRecord, HER).is_ok() && door.ask(&linac, Act::CheckGate, HER).is_ok());
    // A machine that isn't trusted any more; another one goes on.
    door.contain("freeze ae:LINAC1".parse().unwrap()).unwrap();
    assert!(door.ask(&linac, Act::CheckGate, HER).is_err());
    let second = door.guard.device("LINAC2", "127.0.0.1".parse().unwrap()).unwrap();
    assert!(door.ask(&second, Act::CheckGate, HER).is_ok());

    // Nobody signs in for her, in whatever role.
    let code = door.guard.sign_in_link(&door.manage(), Role::Nurse, "somebody").unwrap();
    assert!(door.guard.use_sign_in_link(&code, HERE).is_err() && door.guard.is_frozen(&frozen));

    assert!(!door.lift(&one, "Physics").unwrap() && door.lift(&one, "Security").unwrap());
    assert!(door.ask(&frozen, Act::ReadRecord, HER).is_ok());
    assert_eq!(door.restarted().measures(), ["freeze ae:LINAC1"]);
}

#[test]
fn it_takes_two_officers_of_the_policy_in_force() {
    let door = Door::with_officers();
    let one = door.contain(Measure::Island).unwrap();
    assert_eq!(error(door.contain(Measure::Island)), ContainError::Already { measure: Measure::Island, id: one.id });
    let permit = door.console(Act::LiftContainment);
    assert_eq!(error(door.guard.lift_unsigned(&permit, one.id)), ContainError::OfficersSign);
    door.lift(&one, "Director").unwrap();
    assert_eq!(error(door.lift(&one, "Director")), ContainError::Twice { officer: "Director".into() });
    for stranger in ["Nobody", "Records/forged"] {
        assert!(matches!(error(door.lift(&one, stranger)), ContainError::NotAnOfficer { .. }), "{stranger}");
    }
    let signed = |change: &dyn Fn(&mut guard::LiftStatement)| {
        let mut statement = door.guard.lift_statement(one.id, "Physics").unwrap();
        change(&mut statement);
        error(door.guard.lift(&permit, Signed::sign(statement, &key("Physics")).unwrap()))
    };
    assert!(matches!(signed(&|lift| lift.centre = "elsewhere".into()), ContainError::OtherCentre { .. }));
    assert_eq!(signed(&|lift| lift.measure = Measure::ReadOnly), ContainError::OtherMeasure);
    assert_eq!(signed(&|lift| lift.containment = Id16([7; 16])), ContainError::NotInForce { id: Id16([7; 16]) });
    assert_eq!(door.measures(), ["island"]);

    // Events that somebody else wrote into the log open nothing.
    let statement = door.guard.lift_statement(one.id, "Physics").unwrap();
    let forged = Signed::sign(statement.clone(), &key("Thief")).unwrap();
    let at = one.at;
    door.log
        .events
        .lock()
        .unwrap()
        .extend([Event::LiftSigned(forged), Event::Lifted { id: one.id, at, by: "local:operator".into() }]);
    let again = door.restarted();
    assert_eq!(again.measures(), ["island"]);
    // And what was opened by officers of then stays open, also where the log is read again under another policy.
    assert!(again.lift(&one, "Physics").unwrap());
    let others = text(2, &["Director", "New A", "New B", "New C"], NOTHING_MORE);
    again.propose(&others, "Director").unwrap();
    for officer in ["Security", "Records", "New A", "New B"] {
        again.approve(&others, officer).unwrap();
    }
    let events = again.log.events.lock().unwrap().clone();
    let before = door.log.events.lock().unwrap().clone();
    for event in before.iter().chain(&events) {
        again.guard.replay(event).unwrap();
    }
    assert_eq!((again.measures(), again.guard.policy().in_force.unwrap().version()), (Vec::<String>::new(), 2));
    assert_eq!(statement.text().lines().next(), Some("holdfast containment lift v1"));
}

/// A stolen login that freezes whom it can takes nobody's lockdown away, nor the terminal.
#[test]
fn nobody_fills_the_list_or_freezes_the_terminal() {
    let door = Door::with_officers();
    let thief = door.caller(Role::ItAdministrator);
    let freeze = |caller: &Caller, name: String| {
        let ask = to(Act::Contain, Target::Centre, Sensitivity::Administrative, Purpose::Emergency);
        let permit = door.guard.admit(caller, ask).unwrap();
        door.guard.contain(&permit, Measure::Freeze(name), "x")
    };
    let frozen = (0..1_000).take_while(|number| freeze(&thief, format!("nobody{number}")).is_ok()).count();
    assert_eq!(frozen, 20);
    assert_eq!(error(freeze(&thief, "more".into())), ContainError::TooMany { found: 20, maximum: 20 });
    for mode in MODES {
        door.contain(mode).unwrap();
    }
    door.contain(Measure::Freeze("somebody".into())).unwrap();

    let forged = |measure, reason: &str| {
        let (by, reason) = ("local:operator".into(), reason.to_owned());
        Event::Contained(Containment { id: Id16([reason.len() as u8; 16]), measure, at: crate::START, by, reason })
    };
    let before = door.measures().len();
    door.log.events.lock().unwrap().extend([
        forged(Measure::Freeze("local:operator".into()), "a"),
        forged(Measure::Freeze("no name".into()), "ab"),
        forged(Measure::Island, "abc\n"),
    ]);
    let again = door.restarted();
    assert_eq!(again.measures().len(), before);
    let _ = again.console(Act::LiftContainment);
}

/// A signature that waits is as good as its officer.
#[test]
fn who_is_no_officer_any_more_opens_nothing() {
    let door = Door::with_officers();
    let one = door.contain(Measure::ReadOnly).unwrap();
    assert!(!door.lift(&one, "Records").unwrap());
    let without = text(2, &["Director", "Physics", "Security"], NOTHING_MORE);
    door.enforce(&without, &["Director", "Physics", "Security"]);
    assert!(!door.lift(&one, "Director").unwrap(), "hers counts no more");
    assert!(door.lift(&one, "Physics").unwrap());
    assert!(door.measures().is_empty() && door.restarted().measures().is_empty());
}

#[test]
fn without_officers_the_terminal_opens_what_it_closed() {
    let door = Door::new();
    let one = door.contain(Measure::ReadOnly).unwrap();
    assert!(matches!(error(door.lift(&one, "Director")), ContainError::NotAnOfficer { .. }));
    door.guard.lift_unsigned(&door.console(Act::LiftContainment), one.id).unwrap();
    assert!(door.measures().is_empty() && door.restarted().measures().is_empty());
}

#[test]
fn who_may_close_and_what_bad_measures_are() {
    let door = Door::new();
    let may = |role| {
        let ask = to(Act::Contain, Target::Centre, Sensitivity::Administrative, Purpose::Emergency);
        door.guard.admit(&door.caller(role), ask).is_ok()
    };
    let those: Vec<Role> = Role::ALL.iter().copied().filter(|role| may(*role)).collect();
    use Role::{Console, ItAdministrator, Oncologist, Physicist, SecurityOfficer};
    assert_eq!(those, [Oncologist, Physicist, ItAdministrator, Console, SecurityOfficer]);

    let permit = door.console(Act::Contain);
    let contain = |measure: Measure, reason: &str| error(door.guard.contain(&permit, measure, reason));
    assert_eq!(contain(Measure::Freeze("local:operator".into()), "x"), ContainError::Terminal);
    for reason in ["", &"x".repeat(201), "a\nb", "a\u{202e}b"] {
        assert_eq!(contain(Measure::Lockdown, reason), ContainError::BadReason);
    }
    for bad in ["", "freeze", "freeze ", "freeze a:b", "freeze local:operator", "freeze a b", "Lockdown", "lockdown "] {
        assert!(bad.parse::<Measure>().is_err(), "{bad}");
    }
    for good in ["freeze dr.rev", "freeze ae:LINAC 1", "freeze folder:TPS", "read-only", "island", "lockdown"] {
        assert_eq!(good.parse::<Measure>().unwrap().to_string(), good);
    }
    let wrong = door.guard.contain(&door.manage(), Measure::Lockdown, "x");
    assert!(matches!(wrong, Err(GuardError::Permit(PermitError::WrongAct { .. }))));
}
