//! How many patients a login opens before it is refused.

use guard::{
    Act, Bundle, BundleError, Caller, Denied, Outcome, Permit, Purpose, Reason, Relation, Role, Sensitivity, Target,
};
use kit::PatientId;

use crate::policies::{FOUR, text};
use crate::{Door, HOUR_MS, to};

const SMALL: &str = "[budgets]\nperson = { hour = 3, day = 5 }\ndirectory = { hour = 4, day = 8 }\n\
                     machine = { hour = 6, day = 7 }\ncentre = { hour = 8, day = 20 }\n";

impl Door {
    fn small() -> Self {
        let door = Self::new();
        door.enforce(&text(2, &FOUR, SMALL), &["Director", "Physics", "Security"]);
        door
    }

    pub(crate) fn named(&self, role: Role, subject: &str) -> Caller {
        let (_, secret) = self.guard.issue_token(&self.manage(), role, subject, 300 * 24 * HOUR_MS).unwrap();
        self.guard.authenticate_bearer(&secret).unwrap()
    }

    fn permit(&self, caller: &Caller, act: Act, patient: u8) -> Permit {
        let target = Target::Patient(PatientId([patient; 16]));
        let ask = to(act, target, Sensitivity::Clinical, Purpose::Treatment);
        self.guard.admit(caller, ask).unwrap()
    }

    fn opens(&self, caller: &Caller, patient: u8) -> Result<(), Denied> {
        let permit = self.permit(caller, Act::ReadRecord, patient);
        self.guard.spend(&permit, PatientId([patient; 16]), Sensitivity::Clinical, Relation::CareTeam)
    }

    /// Somebody has called them, and it was nothing.
    pub(crate) fn close_alarms(&self) {
        let ask = to(Act::HandleAlarm, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        for one in self.guard.alarms().into_iter().filter(|one| one.closed.is_none()) {
            let permit = self.guard.admit(&self.guard.console(), ask).unwrap();
            self.guard.close_alarm(&permit, one.alarm.id, Outcome::Honest, "called her").unwrap();
        }
    }
}

fn refused(result: Result<(), Denied>) -> String {
    let denied = result.unwrap_err();
    assert!(matches!(denied.reason, Reason::OverBudget(_)), "{denied}");
    denied.reason.to_string()
}

#[test]
fn so_many_patients_and_no_more_and_she_whose_chart_is_open_stays_open() {
    let door = Door::small();
    let thief = door.named(Role::Nurse, "thief");
    for patient in [1, 2, 3, 1, 2, 3, 1] {
        door.opens(&thief, patient).unwrap();
    }
    let over = refused(door.opens(&thief, 4));
    assert_eq!(over, "the person's budget of 3 charts within an hour is used up");
    assert!(door.opens(&thief, 2).is_ok());
    // On record, with whom it would have been.
    let decisions = door.log.decisions.lock().unwrap();
    let noted = decisions.iter().rev().find(|one| !one.allowed).unwrap();
    assert_eq!((noted.target, noted.reason.as_str()), (Target::Patient(PatientId([4; 16])), over.as_str()));
    drop(decisions);

    // Another login, another credential of hers, another role under her name.
    assert!(door.opens(&door.named(Role::Nurse, "another"), 4).is_ok());
    refused(door.opens(&door.named(Role::Nurse, "thief"), 4));
    refused(door.opens(&door.named(Role::Oncologist, "thief"), 4));

    // An hour later there is room again where somebody has looked at it, until the day is full.
    door.clock.advance_ms(HOUR_MS);
    refused(door.opens(&thief, 4));
    door.close_alarms();
    door.opens(&thief, 4).unwrap();
    door.opens(&thief, 5).unwrap();
    assert_eq!(refused(door.opens(&thief, 6)), "the person's budget of 5 charts within a day is used up");
    let near = door.guard.near_budgets();
    let seen: Vec<_> = near.iter().map(|one| (one.subject.as_str(), one.charts_day, one.is_over)).collect();
    assert_eq!(seen, [("thief", 5, true)]);
    door.clock.advance_ms(24 * HOUR_MS);
    assert!(door.opens(&door.named(Role::Nurse, "thief"), 6).is_ok() && door.guard.near_budgets().is_empty());
}

#[test]
fn fifty_logins_together_are_bounded_by_the_centres_budget() {
    let door = Door::small();
    let mut opened = 0;
    for login in 0..50 {
        let thief = door.named(Role::Oncologist, &format!("login-{login}"));
        opened += (0..3).filter(|more| door.opens(&thief, login * 3 + more + 1).is_ok()).count();
    }
    assert_eq!(opened, 8);
    let one_more = refused(door.opens(&door.named(Role::Nurse, "one-more"), 200));
    assert_eq!(one_more, "the centre's budget of 8 charts within an hour is used up");
}

#[test]
fn what_treatment_needs_is_never_counted() {
    let door = Door::small();
    let linac = door.guard.device("LINAC1", "10.1.2.3".parse().unwrap()).unwrap();
    for patient in 0..100 {
        for act in [Act::CheckGate, Act::StoreObject] {
            let permit = door.permit(&linac, act, patient);
            door.guard.spend(&permit, PatientId([patient; 16]), Sensitivity::Clinical, Relation::Unexplained).unwrap();
        }
        let list = to(Act::ReadTreatmentList, Target::Centre, Sensitivity::Clinical, Purpose::Treatment);
        let permit = door.guard.admit(&door.named(Role::Therapist, "therapist"), list).unwrap();
        door.guard.spend(&permit, PatientId([patient; 16]), Sensitivity::Clinical, Relation::Unexplained).unwrap();
    }
    // What a machine reads is, by a budget of its own.
    let reads = |patient| {
        let permit = door.permit(&linac, Act::ReadObject, patient);
        door.guard.spend(&permit, PatientId([patient; 16]), Sensitivity::Clinical, Relation::Unexplained)
    };
    assert_eq!((0..100).filter(|patient| reads(*patient).is_ok()).count(), 6);
}

#[test]
fn names_have_a_budget_of_their_own() {
    let door = Door::small();
    let registrar = door.named(Role::Registrar, "registrar");
    let ask = to(Act::SearchRecords, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
    let permit = door.guard.admit(&registrar, ask).unwrap();
    let sees = |patient| {
        door.guard.spend(&permit, PatientId([patient; 16]), Sensitivity::Administrative, Relation::Unexplained)
    };
    assert_eq!((0..100).filter(|patient| sees(*patient).is_ok()).count(), 4);
    assert_eq!(refused(sees(100)), "the budget of 4 names within an hour is used up");
    // The centre's is of charts.
    assert!((0..6).all(|login| door.opens(&door.named(Role::Nurse, &format!("n{login}")), login + 100).is_ok()));
}

#[test]
fn budgets_are_bounded_and_their_change_is_said() {
    let of = |more: &str| Bundle::parse(&text(2, &FOUR, more));
    for (bad, what) in [
        ("person = { hour = 0, day = 5 }", "budgets.person.hour"),
        ("centre = { hour = 1, day = 1000001 }", "budgets.centre.day"),
    ] {
        let found = of(&format!("[budgets]\n{bad}\n")).unwrap_err();
        assert!(matches!(found, BundleError::OutOfBounds { what: w, .. } if w == what), "{found}");
    }
    assert!(matches!(of("[budgets]\nperson = { hour = 1 }\n"), Err(BundleError::Malformed(_))));
    let lines = guard::changes(Some(&of("").unwrap()), &of("[budgets]\nperson = { hour = 70, day = 200 }\n").unwrap());
    assert_eq!(lines, ["charts that one person opens within an hour: 70 (it was 50)"]);
}
