//! What stands out of honest work, who looks at it, and the glass that is broken.

use std::sync::atomic::Ordering;

use guard::{
    Act, AlarmError, AlarmStanding, Caller, Denied, Emergency, EmergencyError, Event, GuardError, Outcome, Permit,
    Policy, Purpose, Question, Reason, Relation, Role, Sensitivity, Signal, Target,
};
use kit::{Explain, PatientId, Timestamp};

use crate::policies::{FOUR, text};
use crate::{Door, HER, HOUR_MS, START, to};

const MINUTE_MS: i64 = 60_000;
const SMALL: &str = "[budgets]\nunexplained = { hour = 3, day = 6 }\nemergency = { hour = 2, day = 3 }\n\
                     [alarms]\nminutes = 10\nowners = [\"security-officer\", \"oncologist\"]\nreview_hours = 24\n";

fn patient(number: u16) -> PatientId {
    let [a, b] = number.to_be_bytes();
    let mut id = [3; 16];
    (id[0], id[1]) = (a, b);
    PatientId(id)
}

impl Door {
    fn watched(more: &str) -> Self {
        let door = Self::new();
        door.enforce(&text(2, &FOUR, more), &["Director", "Physics", "Security"]);
        door
    }

    fn asks(&self, caller: &Caller, number: u16, relation: Relation) -> Result<(), Denied> {
        let ask = to(Act::ReadRecord, Target::Patient(patient(number)), Sensitivity::Clinical, Purpose::Treatment);
        let permit = self.guard.admit(caller, guard::Ask { relation: Some(relation), ..ask })?;
        self.guard.spend(&permit, patient(number), Sensitivity::Clinical, relation)
    }

    fn handles(&self, caller: &Caller) -> Permit {
        let ask = to(Act::HandleAlarm, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        self.guard.admit(caller, ask).unwrap()
    }

    fn breaks(&self, caller: &Caller, number: u16, reason: &str, hours: u32) -> Result<Emergency, GuardError> {
        let ask = to(Act::BreakGlass, Target::Patient(patient(number)), Sensitivity::Clinical, Purpose::Emergency);
        self.guard.break_glass(&self.guard.admit(caller, ask).unwrap(), reason, hours)
    }

    fn reviews(&self, caller: &Caller, one: &Emergency, justified: bool) -> Result<(), GuardError> {
        let ask = to(Act::ReviewEmergency, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
        self.guard.review_emergency(&self.guard.admit(caller, ask).unwrap(), one.id, justified, "asked the ward")
    }

    /// What is open, and of whom.
    fn rings(&self) -> Vec<(Signal, String)> {
        let open = self.guard.alarms().into_iter().filter(|one| one.closed.is_none());
        open.map(|one| (one.alarm.signal, one.alarm.subject)).collect()
    }
}

fn over(result: Result<(), Denied>) -> String {
    match result.unwrap_err().reason {
        Reason::OverBudget(over) => over.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_nothing_explains_has_a_budget_of_its_own_and_rings() {
    let door = Door::watched(SMALL);
    let nurse = door.named(Role::Nurse, "nurse");
    for number in 0..40 {
        door.asks(&nurse, number, Relation::CareTeam).unwrap();
    }
    for number in 100..103 {
        door.asks(&nurse, number, Relation::Unexplained).unwrap();
    }
    // Again is free, and an explained one is no such.
    door.asks(&nurse, 101, Relation::Unexplained).unwrap();
    assert_eq!(
        over(door.asks(&nurse, 103, Relation::Unexplained)),
        "the person's budget of 3 charts that nothing explains within an hour is used up"
    );
    door.asks(&nurse, 103, Relation::Appointment).unwrap();
    over(door.asks(&nurse, 104, Relation::Unexplained));
    // One alarm, however often.
    assert_eq!(door.rings(), [(Signal::OverBudget, "nurse".to_owned())]);
    assert_eq!(door.guard.alarms()[0].times, 2);

    // Nobody has called her: the next hour brings nothing back, but what is explained goes on.
    door.clock.advance_ms(2 * HOUR_MS);
    over(door.asks(&nurse, 105, Relation::Unexplained));
    door.asks(&nurse, 200, Relation::Order).unwrap();
    door.close_alarms();
    for number in 105..108 {
        door.asks(&nurse, number, Relation::Unexplained).unwrap();
    }
    let words = over(door.asks(&nurse, 108, Relation::Unexplained));
    assert!(words.contains("charts that nothing explains"), "{words}");
    assert_eq!(door.guard.near_budgets()[0].unexplained_day, 6);

    // Of a machine nobody asks why; and in the log stands what explained it.
    let machine = door.named(Role::Service, "his");
    assert!((300..320).all(|number| door.asks(&machine, number, Relation::Unexplained).is_ok()));
    let decisions = door.log.decisions.lock().unwrap();
    assert!(decisions.iter().any(|one| one.relation == Some(Relation::Order) && one.allowed));
    assert!(decisions.iter().any(|one| one.relation == Some(Relation::Unexplained) && !one.allowed));
}

#[test]
fn an_alarm_goes_up_until_somebody_takes_it() {
    let door = Door::watched(SMALL);
    let (thief, security) = (door.named(Role::Oncologist, "thief"), door.named(Role::SecurityOfficer, "security"));
    let oncologist = door.named(Role::Oncologist, "chief");
    assert_eq!((0..9).filter(|number| door.asks(&thief, *number, Relation::Unexplained).is_ok()).count(), 3);
    let standing = || -> AlarmStanding { door.guard.alarms().remove(0) };
    let id = standing().alarm.id;
    let due = |minutes: i64| standing().alarm.at.plus_ms(minutes * MINUTE_MS);
    assert_eq!((standing().owner, standing().due, standing().is_overdue), (Role::SecurityOfficer, due(10), false));
    door.clock.advance_ms(11 * MINUTE_MS);
    assert_eq!((standing().owner, standing().due, standing().is_overdue), (Role::Oncologist, due(20), false));
    door.clock.advance_ms(10 * MINUTE_MS);
    assert_eq!((standing().owner, standing().is_overdue), (Role::Oncologist, true));

    // She whom it is about doesn't close it, nor without a word.
    let close = |caller: &Caller, words: &str| door.guard.close_alarm(&door.handles(caller), id, Outcome::Theft, words);
    assert!(matches!(close(&thief, "nothing").unwrap_err(), GuardError::Alarm(AlarmError::OnesOwn)));
    for words in ["", " ", "two\nlines", &"x".repeat(201)] {
        assert!(matches!(close(&security, words).unwrap_err(), GuardError::Alarm(AlarmError::BadWords)), "{words}");
    }
    door.guard.take_alarm(&door.handles(&oncologist), id).unwrap();
    assert_eq!((standing().is_overdue, standing().taken.unwrap().0), (false, "chief".to_owned()));
    door.clock.advance_ms(25 * HOUR_MS);
    assert!(standing().is_overdue, "taken, and forgotten");

    // After a start all of it is as it was.
    let again = door.restarted();
    assert_eq!((again.rings(), again.guard.alarms()[0].is_overdue), (door.rings(), true));
    let nurse = door.named(Role::Nurse, "nurse");
    let ask = to(Act::HandleAlarm, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
    assert!(door.guard.admit(&nurse, ask).is_err());
    close(&security, "her login was sold").unwrap();
    assert_eq!((door.rings(), standing().closed.unwrap().outcome), (Vec::new(), Outcome::Theft));
    assert!(matches!(close(&security, "again").unwrap_err(), GuardError::Alarm(AlarmError::NotOpen { .. })));
    assert_eq!(door.restarted().guard.alarms().len(), 1);
}

/// A disk that takes nothing stops no alarm; what rang is kept as soon as it can be.
#[test]
fn it_rings_though_nothing_can_be_kept() {
    let door = Door::watched(SMALL);
    let thief = door.named(Role::Nurse, "thief");
    (0..3).for_each(|number| door.asks(&thief, number, Relation::Unexplained).unwrap());
    let ask = to(Act::ReadRecord, Target::Patient(patient(9)), Sensitivity::Clinical, Purpose::Treatment);
    let permit = door.guard.admit(&thief, ask).unwrap();
    door.log.broken.store(true, Ordering::SeqCst);
    let spent = door.guard.spend(&permit, patient(9), Sensitivity::Clinical, Relation::Unexplained);
    assert!(matches!(spent.unwrap_err().reason, Reason::NotRecorded(_)));
    assert_eq!((door.rings().len(), door.guard.unkept()), (1, 1));
    door.log.broken.store(false, Ordering::SeqCst);
    drop(door.token(Role::Auditor));
    assert_eq!((door.guard.unkept(), door.restarted().rings().len()), (0, 1));
}

#[test]
fn a_broken_glass_is_of_one_patient_for_some_hours_and_somebody_else_looks_at_it() {
    let door = Door::watched(SMALL);
    let (nurse, security) = (door.named(Role::Nurse, "nurse"), door.named(Role::SecurityOfficer, "security"));
    let is_open = |number| door.guard.is_emergency("nurse", patient(number));
    for (reason, hours, code) in [
        ("she fell in the ward", 0, "guard.emergency.bad-hours"),
        ("she fell in the ward", 5, "guard.emergency.bad-hours"),
        ("urgent", 1, "guard.emergency.bad-reason"),
        ("two\nlines of it", 1, "guard.emergency.bad-reason"),
    ] {
        assert_eq!(door.breaks(&nurse, 1, reason, hours).unwrap_err().code(), code);
    }
    let one = door.breaks(&nurse, 1, "she fell in the ward", 2).unwrap();
    assert_eq!((is_open(1), is_open(2), door.guard.is_emergency("another", patient(1))), (true, false, false));
    let again = door.restarted();
    assert!(again.guard.is_emergency("nurse", patient(1)) && again.guard.emergencies().len() == 1);

    // So many, and no more; that rings.
    door.breaks(&nurse, 2, "bleeding after surgery", 1).unwrap();
    let refused = door.breaks(&nurse, 3, "bleeding after surgery", 1).unwrap_err();
    assert!(matches!(&refused, GuardError::Emergency(EmergencyError::OverBudget(_))), "{refused}");
    assert_eq!(
        (refused.to_string().as_str(), is_open(3)),
        ("the person's budget of 2 emergencies within an hour is used up", false)
    );
    assert_eq!(door.rings(), [(Signal::OverBudget, "nurse".to_owned())]);

    door.clock.advance_ms(2 * HOUR_MS);
    assert!(!is_open(1));
    // Who may say whether it was one.
    let doctor = door.named(Role::Oncologist, "doctor");
    let hers = door.breaks(&doctor, 7, "seizure, no relatives here", 1).unwrap();
    assert_eq!(door.reviews(&doctor, &hers, true).unwrap_err().code(), "guard.emergency.ones-own");
    door.reviews(&doctor, &one, true).unwrap();
    assert_eq!(door.reviews(&security, &one, false).unwrap_err().code(), "guard.emergency.reviewed");
    door.clock.advance_ms(25 * HOUR_MS);
    let overdue: Vec<_> = door.guard.emergencies().iter().map(|one| (one.is_overdue, one.review.is_some())).collect();
    assert_eq!(overdue, [(true, false), (true, false), (false, true)]);
    // Those that were looked at are forgotten after some weeks; the others never.
    door.clock.advance_ms(40 * 24 * HOUR_MS);
    door.breaks(&door.named(Role::Nurse, "other"), 8, "bleeding after surgery", 1).unwrap();
    assert_eq!(door.guard.emergencies().len(), 3);
    assert!(door.restarted().guard.emergencies().iter().all(|one| one.review.is_none()));
}

/// It gives a reason, and no right: and nothing of it leaves or goes.
#[test]
fn a_broken_glass_neither_exports_nor_deletes() {
    let everything = Policy::of_centre(r#"@id("everything") permit (principal, action, resource);"#).unwrap();
    let asked = |act, relation, purpose| Question {
        role: Role::Oncologist,
        act,
        target: HER,
        sensitivity: Sensitivity::Clinical,
        purpose,
        relation,
    };
    for act in [Act::ExportRecord, Act::DeleteRecord] {
        for policy in [&everything, &Policy::built_in().unwrap()] {
            assert!(policy.allows(asked(act, Relation::CareTeam, Purpose::Treatment)), "{act}");
            assert!(!policy.allows(asked(act, Relation::BreakGlass, Purpose::Treatment)), "{act}");
            assert!(!policy.allows(asked(act, Relation::CareTeam, Purpose::Emergency)), "{act}");
        }
    }
    assert!(everything.allows(asked(Act::ReadRecord, Relation::BreakGlass, Purpose::Treatment)));
}

#[test]
fn rules_speak_of_relations_and_a_change_of_them_is_said() {
    let built_in = Policy::built_in().unwrap();
    let rule = r#"@id("pathologists-open-what-they-are-asked-about")
        forbid (principal == Role::"pathologist", action in [Action::"read-record", Action::"search-records"], resource is Patient)
        when { context.sensitivity == Sensitivity::"clinical" && context.relation == Relation::"none" };"#;
    let stricter = Policy::of_centre(&format!("{}\n{rule}", built_in.text())).unwrap();
    let lines: Vec<String> = built_in.differences(&stricter).iter().map(ToString::to_string).collect();
    let line = |act: &str| {
        format!(
            "pathologist may no longer {act}: clinical data of one patient, for treatment, emergency, patient-request, where nothing relates them"
        )
    };
    assert_eq!(lines, [line("read-record"), line("search-records")]);

    let door = Door::new();
    let bundle = text(2, &FOUR, "").replace("rules = '''\n", &format!("rules = '''\n{rule}\n"));
    door.enforce(&bundle, &["Director", "Physics", "Security"]);
    let pathologist = door.named(Role::Pathologist, "pathologist");
    assert!(matches!(door.asks(&pathologist, 1, Relation::Unexplained).unwrap_err().reason, Reason::Forbidden { .. }));
    for relation in [Relation::Order, Relation::BreakGlass] {
        door.asks(&pathologist, 1, relation).unwrap();
    }
    // What treats is nobody's to make depend on a record.
    let gate = r#"@id("x") forbid (principal, action == Action::"check-gate", resource) when { context.relation == Relation::"none" };"#;
    let bundle = text(2, &FOUR, "").replace("rules = '''\n", &format!("rules = '''\n{gate}\n"));
    assert!(matches!(
        guard::Bundle::parse(&bundle).unwrap_err(),
        guard::BundleError::LocksOut { act: Act::CheckGate, .. }
    ));
    let nobody = "[alarms]\nowners = [\"nurse\"]\n";
    let refused = guard::Bundle::parse(&text(2, &FOUR, nobody)).unwrap_err();
    assert!(
        matches!(refused, guard::BundleError::LocksOut { role: Role::Nurse, act: Act::HandleAlarm, .. }),
        "{refused}"
    );
    assert!(guard::Bundle::parse(&text(2, &FOUR, "[alarms]\nowners = []\n")).is_err());
}

/// Somebody opens five charts more a day than others, who open one or none.
fn weeks(door: &Door, days: u16) -> Option<u16> {
    let shift = |day: u16| START.plus_ms(i64::from(day) * 24 * HOUR_MS);
    let quiet: Vec<Caller> = (0..20).map(|n| door.named(Role::Nurse, &format!("nurse-{n}"))).collect();
    let thief = door.named(Role::Nurse, "thief");
    for day in 0..days {
        let at = shift(day);
        door.clock.advance_ms(at.0 - now(door).0);
        for (n, nurse) in quiet.iter().enumerate() {
            let n = n as u16;
            door.asks(nurse, 1_000 + n, Relation::CareTeam).unwrap();
            if (day + n).is_multiple_of(2) {
                door.asks(nurse, 2_000 + n, Relation::Unexplained).unwrap();
            }
        }
        for more in 0..5 {
            door.asks(&thief, 10_000 + day * 5 + more, Relation::Unexplained).unwrap();
        }
        if door.rings().iter().any(|(signal, subject)| (*signal, subject.as_str()) == (Signal::SlowTheft, "thief")) {
            return Some(day);
        }
    }
    None
}

fn now(door: &Door) -> Timestamp {
    kit::Clock::now(door.clock.as_ref())
}

#[test]
fn five_charts_a_day_are_seen_within_weeks_and_quiet_ones_are_not() {
    let door = Door::new();
    let day = weeks(&door, 15).expect("seen within three weeks of five days");
    assert!(day >= 2, "{day}");
    assert_eq!(door.rings().len(), 1);
    // What was counted before a start counts after it.
    let events = door.log.events.lock().unwrap().clone();
    let shifts: Vec<_> = events.iter().filter(|event| matches!(event, Event::ShiftClosed(_))).collect();
    assert_eq!(shifts.len(), usize::from(day));
    let again = Door::new();
    let half = usize::from(day) / 2;
    for event in shifts.into_iter().take(half) {
        again.guard.replay(event).unwrap();
    }
    again.clock.advance_ms(i64::from(day) * 24 * HOUR_MS);
    let before = now(&again);
    let thief = again.named(Role::Nurse, "thief");
    let mut days = 0;
    while again.rings().is_empty() && days < 15 {
        (0..5).for_each(|n| again.asks(&thief, 40_000 + days * 5 + n, Relation::Unexplained).unwrap());
        again.clock.advance_ms(24 * HOUR_MS);
        days += 1;
    }
    assert!(now(&again) > before && days < day, "{days} of {day}");
}

#[test]
fn a_chart_of_nobody_rings_at_once() {
    let door = Door::new();
    let planted = Event::HoneyPlanted { patients: vec![patient(5), patient(6)], at: START, by: "x".into() };
    door.guard.replay(&planted).unwrap();
    let nurse = door.named(Role::Nurse, "nurse");
    door.asks(&nurse, 1, Relation::Unexplained).unwrap();
    assert_eq!(door.rings(), []);
    door.asks(&nurse, 6, Relation::Unexplained).unwrap();
    assert_eq!(door.rings(), [(Signal::Honey, "nurse".to_owned())]);
}

/// Two credentials, two roles: she begins each second shift with the other one.
#[test]
fn a_second_role_is_no_new_beginning() {
    let door = Door::new();
    let [thief, other] = [Role::Oncologist, Role::Physicist].map(|role| door.named(role, "thief"));
    let seen = (0..15).find(|day| {
        let first = if day % 2 == 0 { &thief } else { &other };
        for more in 0..5 {
            let caller = if more == 0 { first } else { &thief };
            door.asks(caller, 10_000 + day * 5 + more, Relation::Unexplained).unwrap();
        }
        door.clock.advance_ms(24 * HOUR_MS);
        door.rings().iter().any(|(signal, _)| *signal == Signal::SlowTheft)
    });
    assert!(seen.is_some());
}

#[test]
fn nobody_keeps_her_own_alarm_quiet() {
    let door = Door::watched(&format!("{SMALL}\n[budgets.centre]\nhour = 3\nday = 50\n"));
    let (thief, security) = (door.named(Role::Oncologist, "thief"), door.named(Role::SecurityOfficer, "security"));
    for number in 0..3 {
        door.asks(&thief, number, Relation::CareTeam).unwrap();
    }
    // Everybody's budget: she was the last one to come, which the alarm doesn't say aloud.
    over(door.asks(&thief, 3, Relation::CareTeam));
    let standing = || -> AlarmStanding { door.guard.alarms().remove(0) };
    let id = standing().alarm.id;
    assert_eq!(standing().alarm.subject, "everybody together");
    let own = |result: Result<(), GuardError>| assert_eq!(result.unwrap_err().code(), "guard.alarm.ones-own");
    own(door.guard.take_alarm(&door.handles(&thief), id));
    own(door.guard.close_alarm(&door.handles(&thief), id, Outcome::Honest, "a busy day"));
    let again = door.restarted();
    own(again.guard.take_alarm(&again.handles(&thief), id));
    // Taken again and again it is overdue all the same.
    door.guard.take_alarm(&door.handles(&security), id).unwrap();
    door.clock.advance_ms(20 * HOUR_MS);
    door.guard.take_alarm(&door.handles(&security), id).unwrap();
    door.clock.advance_ms(5 * HOUR_MS);
    assert!(standing().is_overdue);
}

#[test]
fn a_thief_who_uses_up_what_there_is_keeps_nobody_from_an_emergency() {
    let door = Door::watched(&format!("{SMALL}\n[budgets.centre]\nhour = 5\nday = 50\n"));
    let (thief, nurse) = (door.named(Role::Oncologist, "thief"), door.named(Role::Nurse, "nurse"));
    for number in 0..5 {
        door.asks(&thief, number, Relation::CareTeam).unwrap();
    }
    assert!(over(door.asks(&nurse, 10, Relation::CareTeam)).starts_with("the centre's budget"));
    door.asks(&nurse, 10, Relation::BreakGlass).unwrap();
    // A broken glass is asked for each time, since it ends; another reason is remembered for some minutes.
    assert_eq!(door.guard.explained_lately("nurse", patient(10)), None);
    assert_eq!(door.guard.explained_lately("thief", patient(1)), Some(Relation::CareTeam));
    door.clock.advance_ms(9 * MINUTE_MS);
    door.asks(&thief, 2, Relation::CareTeam).unwrap();
    door.clock.advance_ms(MINUTE_MS);
    assert_eq!(door.guard.explained_lately("thief", patient(1)), None);
}

/// Neither the first containment nor an emergency waits for a log that takes nothing, whatever has rung before.
#[test]
fn what_waits_to_be_kept_holds_nothing_up() {
    let door = Door::watched(SMALL);
    let (thief, nurse) = (door.named(Role::Nurse, "thief"), door.named(Role::Nurse, "nurse"));
    let ask = to(Act::Contain, Target::Centre, Sensitivity::Administrative, Purpose::Operations);
    let closes = door.guard.admit(&door.guard.console(), ask).unwrap();
    let breaks = to(Act::BreakGlass, Target::Patient(patient(7)), Sensitivity::Clinical, Purpose::Emergency);
    let breaks = door.guard.admit(&nurse, breaks).unwrap();
    let ask = to(Act::ReadRecord, Target::Patient(patient(9)), Sensitivity::Clinical, Purpose::Treatment);
    let reads = door.guard.admit(&thief, ask).unwrap();
    (0..3).for_each(|number| door.asks(&thief, number, Relation::Unexplained).unwrap());
    door.log.broken.store(true, Ordering::SeqCst);
    door.guard.spend(&reads, patient(9), Sensitivity::Clinical, Relation::Unexplained).unwrap_err();
    assert_eq!(door.guard.unkept(), 1);
    door.guard.break_glass(&breaks, "bleeding after surgery", 1).unwrap();
    assert!(door.guard.is_emergency("nurse", patient(7)));
    let closed = door.guard.contain(&closes, guard::Measure::Freeze("thief".into()), "reads too much");
    assert!(matches!(closed, Err(GuardError::ContainmentNotKept(_))));
    assert!(door.guard.is_frozen(&thief));
    door.log.broken.store(false, Ordering::SeqCst);
    drop(door.token(Role::Auditor));
    let again = door.restarted();
    assert!(again.guard.is_frozen(&thief) && again.guard.is_emergency("nurse", patient(7)));
}

/// Somebody sets the machine's clock forward for a moment.
#[test]
fn a_clock_that_jumps_uses_up_nobodys_budget() {
    let door = Door::watched(&format!("{SMALL}\n[budgets.centre]\nhour = 5\nday = 50\n"));
    let nurse = door.named(Role::Nurse, "nurse");
    door.clock.advance_ms(24 * HOUR_MS);
    door.asks(&nurse, 1, Relation::CareTeam).unwrap();
    door.clock.advance_ms(-24 * HOUR_MS);
    for number in 2..7 {
        door.asks(&nurse, number, Relation::CareTeam).unwrap();
    }
    over(door.asks(&nurse, 7, Relation::CareTeam));
    door.clock.advance_ms(HOUR_MS);
    door.asks(&nurse, 7, Relation::CareTeam).unwrap();
}

#[test]
fn beyond_a_thousand_alarms_the_rest_are_counted() {
    let door = Door::watched(SMALL);
    for n in 0..1_000 {
        // As the log has them: number, then id, signal, subject, time and words.
        let subject = format!("s{n:04}");
        let alarm = [
            &[0x82, 0x01, 0x82, 15, 0x81, 0x85, 0x50][..],
            &[3; 14],
            &[(n / 256) as u8, (n % 256) as u8],
            &[0, 0x65],
            subject.as_bytes(),
            &[1, 0x61, b'w'],
        ];
        door.guard.replay(&Event::from_bytes(&alarm.concat()).unwrap()).unwrap();
    }
    let events = door.log.events.lock().unwrap().len();
    let thief = door.named(Role::Nurse, "thief");
    for number in 0..6 {
        let _ = door.asks(&thief, number, Relation::Unexplained);
    }
    let kept = door.log.events.lock().unwrap().len() - events;
    assert_eq!((door.guard.alarms_beyond(), kept, door.rings().len()), (3, 1, 1_000), "the token, and no alarm");
}

/// Ransomware by a login that may write: the same edit, or what can't be read, of one patient after another.
#[test]
fn many_patients_records_are_changed_when_somebody_else_has_looked() {
    let door = Door::watched(&format!("{SMALL}\n[budgets.change]\nhour = 12\nday = 20\n"));
    let thief = door.named(Role::Oncologist, "thief");
    let ask = to(Act::WriteRecord, Target::Centre, Sensitivity::Clinical, Purpose::Treatment);
    let permit = |who: &Caller| door.guard.admit(who, ask).unwrap();
    let edit = |number: u16, like: u8, is_dense: bool| guard::Edit {
        patient: patient(number),
        like: Some(kit::Digest([like; 32])),
        is_dense,
    };
    // Honest work: others each time, and one patient as often as it takes.
    for number in 0..8 {
        door.guard.change(&permit(&thief), &[edit(number, number as u8, false)]).unwrap();
        door.guard.change(&permit(&thief), &[edit(number, number as u8 + 100, false)]).unwrap();
    }
    // Dense, then the same again for another: each counts for four, all or nothing of one act.
    door.guard.change(&permit(&thief), &[edit(20, 200, true)]).unwrap();
    let held = door.guard.change(&permit(&thief), &[edit(21, 200, false)]).unwrap_err();
    assert_eq!(held.code(), "guard.mass-change");
    assert_eq!(
        held.reason.to_string(),
        "the person's budget of 12 patients' records to change within an hour is used up"
    );
    assert_eq!(door.rings(), [(Signal::MassChange, "thief".to_owned())]);
    // Held: the next hour brings nothing back, others go on, and somebody else gives it free.
    door.clock.advance_ms(2 * HOUR_MS);
    assert!(door.guard.change(&permit(&thief), &[edit(30, 1, false)]).is_err());
    door.guard.change(&permit(&door.named(Role::Oncologist, "other")), &[edit(30, 1, false)]).unwrap();
    let id = door.guard.alarms()[0].alarm.id;
    let own = door.guard.close_alarm(&door.handles(&thief), id, Outcome::Honest, "a clinic was rebooked");
    assert_eq!(own.unwrap_err().code(), "guard.alarm.ones-own");
    door.close_alarms();
    door.guard.change(&permit(&thief), &[edit(30, 1, false)]).unwrap();
    // Deletions count as well; and the log has the refusal.
    let deletes: Vec<guard::Edit> =
        (40..60).map(|number| guard::Edit { patient: patient(number), like: None, is_dense: false }).collect();
    assert!(door.guard.change(&permit(&thief), &deletes).is_err());
    assert!(door.log.decisions.lock().unwrap().iter().any(|one| !one.allowed && one.reason.contains("to change")));
}
