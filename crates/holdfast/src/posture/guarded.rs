//! What guard says of itself on the posture page. It names nobody: who it is, is for those who look at alarms.

use edge::console::posture::{Control, Grade, Layer, Severity};
use guard::{
    AlarmStanding, Alarms, Containment, EmergencyStanding, Guard, Measure, PolicyStanding, Role, Shares, Signal,
    SignedLift, Spent,
};
use kit::{Timestamp, UtcOffset};

use super::clock;
use super::spec::{DAY_MS, Found, LIVE_MS, Spec, YEAR_MS};
use crate::say::plural;

const BROKEN: Grade = Grade::Fail(Severity::Broken);
const REDUCED: Grade = Grade::Fail(Severity::Reduced);

/// Of all charts that people open, in emergencies: beyond, breaking the glass has become the way in. In thousandths.
const EMERGENCY_SHARE_MAX: u64 = 10;
/// Before so many charts were opened, a share says little.
const OPENED_MIN: u64 = 100;

const PASSKEYS: Spec = Spec {
    id: "edge.passkeys",
    layer: Layer::Edge,
    what: "Passkeys",
    owner: Role::ItAdministrator,
    mend: "the page /people; holdfast invite",
    lasts_ms: 30 * DAY_MS,
};
const POLICY: Spec = Spec {
    id: "guard.policy",
    layer: Layer::Guard,
    what: "Policy",
    owner: Role::SecurityOfficer,
    mend: "holdfast policy form, propose, approve",
    lasts_ms: YEAR_MS,
};
const BUDGETS: Spec = Spec {
    id: "guard.budgets",
    layer: Layer::Guard,
    what: "Budgets",
    owner: Role::SecurityOfficer,
    mend: "holdfast alarm list",
    lasts_ms: LIVE_MS,
};
const ALARMS: Spec = Spec {
    id: "guard.alarms",
    layer: Layer::Guard,
    what: "Alarms",
    owner: Role::SecurityOfficer,
    mend: "holdfast alarm list, take, close",
    lasts_ms: YEAR_MS,
};
const EMERGENCIES: Spec = Spec {
    id: "guard.emergencies",
    layer: Layer::Guard,
    what: "Emergencies",
    owner: Role::SecurityOfficer,
    mend: "holdfast emergency list; the page /emergency",
    lasts_ms: LIVE_MS,
};
const HONEY: Spec = Spec {
    id: "guard.honey",
    layer: Layer::Guard,
    what: "Charts of nobody",
    owner: Role::SecurityOfficer,
    mend: "holdfast honey plant; then open one, and close its alarm as a drill",
    lasts_ms: YEAR_MS,
};
const CONTAINMENT: Spec = Spec {
    id: "guard.containment",
    layer: Layer::Guard,
    what: "Containment",
    owner: Role::SecurityOfficer,
    mend: "holdfast contain status, lift",
    lasts_ms: LIVE_MS,
};

/// What of the running gateway counts: when it read the log, and whether anybody can open anything at all.
#[derive(Clone, Copy)]
pub struct Since {
    pub opened: Timestamp,
    pub is_serving: bool,
    pub now: Timestamp,
    pub offset: UtcOffset,
}

pub fn controls(guard: &Guard, since: Since) -> [Control; 7] {
    let policy_alarms = guard.policy().rules.alarms();
    let alarms = guard.alarms();
    [
        passkeys(guard, since),
        policy(&guard.policy(), since),
        budgets(&guard.near_budgets(), since),
        alarms_taken(&alarms, guard.alarms_beyond(), &policy_alarms, since),
        emergencies(&guard.emergencies(), guard.shares(), since),
        honey(guard.honey(), &alarms, since),
        containment(&guard.contained(), guard.unkept(), since),
    ]
}

/// Whether people show who they are, or come by links that whoever has one could use.
fn passkeys(guard: &Guard, since: Since) -> Control {
    let (people, name) = (guard.people_with_passkeys(), guard.passkeys_are_for());
    let (grade, state) = match (name, people) {
        (None, _) => (REDUCED, "none are taken: people come by sign-in links".to_owned()),
        (Some(_), 0) => (REDUCED, "nobody has one: people come by sign-in links".to_owned()),
        (Some(name), people) => (Grade::Pass, format!("{} come in by one, at {name}", plural(people, "login"))),
    };
    let found = Found::new(grade, state, "with a finger, a face or a PIN each time; two administrators let people in");
    let found = match guard.passkey_last_shown() {
        Some(at) => found.by(at, "by the last one that was shown"),
        None => found,
    };
    PASSKEYS.control(since.now, found)
}

/// Whether what decides is what officers have signed.
fn policy(standing: &PolicyStanding, since: Since) -> Control {
    let PolicyStanding { digest, in_force, open, refused, .. } = standing;
    let (grade, state) = match in_force {
        _ if !refused.is_empty() => {
            let count = plural(refused.len(), "change");
            (BROKEN, format!("{count} that nobody signed as it must be, REFUSED: holdfast policy show"))
        }
        _ if standing.fault().is_some() => {
            (BROKEN, "its rules don't hold by this program; those before it go on: holdfast policy show".to_owned())
        }
        None => (BROKEN, "none is approved: the rules of the program are in force (holdfast policy form)".to_owned()),
        Some(one) => {
            let approved = plural(one.approved.len(), "officer");
            (Grade::Pass, format!("version {}, approved by {approved}", one.version()))
        }
    };
    let waiting = match open.len() {
        0 => String::new(),
        1 => "; 1 proposal waits for approval".to_owned(),
        count => format!("; {count} proposals wait for approval"),
    };
    let digest = digest.to_string();
    let evidence = format!("SHA-256 {}…{waiting}", digest.get(..16).unwrap_or_default());
    let found = Found::new(grade, state, evidence);
    let is_signed = in_force.is_some();
    let found = if is_signed { found.by(since.opened, "by its signatures, when the log was read") } else { found };
    POLICY.control(since.now, found)
}

/// Whether somebody opens more than others do.
fn budgets(near: &[Spent], since: Since) -> Control {
    if !since.is_serving {
        let evidence = "they are counted by the gateway while it runs";
        return BUDGETS.control(since.now, Found::new(Grade::Unknown, "no gateway runs here", evidence));
    }
    let over = near.iter().filter(|one| one.is_over).count();
    let (grade, state) = match (over, near.len()) {
        (0, 0) => (Grade::Pass, "nobody is near one".to_owned()),
        (0, near) => (REDUCED, format!("{} near", plural(near, "login"))),
        (over, _) => (BROKEN, format!("{} asked for more than the policy gives within a day", plural(over, "login"))),
    };
    let evidence = "distinct patients, counted since this gateway started; who it is: /alarms";
    BUDGETS.control(since.now, Found::new(grade, state, evidence).by(since.now, "by each opening, as it is counted"))
}

/// What is closed. Whom it freezes, and the words of whoever closed, are on /containment alone.
fn containment(contained: &[(Containment, Vec<SignedLift>)], unkept: usize, since: Since) -> Control {
    let frozen = contained.iter().filter(|(one, _)| matches!(one.measure, Measure::Freeze(_))).count();
    let modes = contained.iter().filter(|(one, _)| !matches!(one.measure, Measure::Freeze(_)));
    let mut words: Vec<String> = modes.map(|(one, _)| one.measure.to_string()).collect();
    if frozen > 0 {
        words.push(format!("{} frozen", plural(frozen, "login")));
    }
    let (grade, state) = match words.is_empty() {
        true if unkept > 0 => {
            (BROKEN, format!("{} in force and NOT KEPT: a restart forgets it", plural(unkept, "event")))
        }
        true => (Grade::Pass, "nothing is closed".to_owned()),
        false if unkept > 0 => (BROKEN, format!("CLOSED, and NOT KEPT: a restart forgets it: {}", words.join(", "))),
        false => (BROKEN, format!("CLOSED: {}", words.join(", "))),
    };
    let evidence = contained.first().map_or("one person closes at /containment, two officers open".to_owned(), |one| {
        format!("since {}; by whom and why: /containment", clock(one.0.at, since.offset))
    });
    CONTAINMENT.control(since.now, Found::new(grade, state, evidence).by(since.now, "by the log"))
}

/// What rang, and whether somebody looks at it.
fn alarms_taken(all: &[AlarmStanding], beyond: u64, policy: &Alarms, since: Since) -> Control {
    let open: Vec<&AlarmStanding> = all.iter().filter(|one| one.closed.is_none()).collect();
    let (overdue, untaken) =
        (open.iter().filter(|one| one.is_overdue).count(), open.iter().filter(|one| one.taken.is_none()).count());
    let last = all.iter().filter_map(|one| one.closed.as_ref()).map(|closed| closed.at).max();
    let (grade, state) = match (overdue, untaken, open.len()) {
        _ if beyond > 0 => (BROKEN, format!("{} open, and {beyond} more rang than are followed", open.len())),
        (1.., ..) => (BROKEN, format!("{overdue} of {} open OVERDUE", open.len())),
        (0, 1.., _) => (BROKEN, format!("{} nobody has taken", plural(untaken, "alarm"))),
        (0, 0, 1..) => (REDUCED, format!("{} looked at", plural(open.len(), "alarm"))),
        (0, 0, 0) if last.is_none() => {
            (Grade::Unknown, "nothing has rung yet: nobody has shown that she would look".to_owned())
        }
        (0, 0, 0) => (Grade::Pass, "nothing rings".to_owned()),
    };
    let evidence = match open.first() {
        Some(one) => {
            let at = clock(one.alarm.at, since.offset);
            format!("the oldest is of {at}, and the {}'s: /alarms", one.owner)
        }
        None => format!("{} closed lately", plural(all.len(), "alarm")),
    };
    let found = Found::new(grade, state, evidence);
    let found = match last {
        Some(at) => found.by(at, "by the last one that somebody took and closed"),
        None => found,
    };
    // The policy says whose they are first.
    let owner = policy.owners.first().copied().unwrap_or(ALARMS.owner);
    Control { owner, ..ALARMS.control(since.now, found) }
}

/// How often the glass was broken, and whether somebody has looked at each.
fn emergencies(all: &[EmergencyStanding], shares: Shares, since: Since) -> Control {
    let overdue = all.iter().filter(|one| one.is_overdue).count();
    let waiting: Vec<&EmergencyStanding> = all.iter().filter(|one| one.review.is_none()).collect();
    let in_thousand = (shares.emergency * 1_000).checked_div(shares.opened).unwrap_or(0);
    let is_large = shares.opened >= OPENED_MIN && in_thousand > EMERGENCY_SHARE_MAX;
    let (grade, state) = match (overdue, waiting.len()) {
        (1.., _) => (BROKEN, format!("{overdue} that nobody has looked at in time: /emergency")),
        _ if is_large => {
            (BROKEN, format!("{}.{} % of all charts are opened in emergencies", in_thousand / 10, in_thousand % 10))
        }
        // In its time: so it is meant to be.
        (0, 1..) => (Grade::Pass, format!("{} to be looked at, all in time: /emergency", waiting.len())),
        (0, 0) => (Grade::Pass, "none waits to be looked at".to_owned()),
    };
    let oldest = waiting.first().map(|one| format!("; the oldest is of {}", clock(one.emergency.at, since.offset)));
    let Shares { opened, unexplained, emergency } = shares;
    let evidence = format!(
        "of {opened} charts that people opened since this gateway started, within 30 days, {unexplained} without a reason on record and {emergency} \
         in emergencies{}",
        oldest.unwrap_or_default()
    );
    EMERGENCIES.control(since.now, Found::new(grade, state, evidence).by(since.now, "by the log"))
}

/// Charts of nobody, among those of patients. One that never rang is a hope.
fn honey(planted: usize, alarms: &[AlarmStanding], since: Since) -> Control {
    let rang = alarms.iter().filter(|one| one.alarm.signal == Signal::Honey).map(|one| one.alarm.at).max();
    let (grade, state) = match (planted, rang) {
        (0, _) => (REDUCED, "none is planted".to_owned()),
        (planted, None) => (Grade::Unknown, format!("{planted} are planted, and none has rung")),
        (planted, Some(_)) => (Grade::Pass, format!("{planted} are planted")),
    };
    let found = Found::new(grade, state, "whoever opens the chart of a patient who doesn't exist rings at once");
    let found = match rang {
        Some(at) => found.by(at, "by the last one that rang"),
        None => found,
    };
    HONEY.control(since.now, found)
}

#[cfg(test)]
mod tests {
    use guard::{Alarm, Emergency};
    use kit::{Id16, PatientId};

    use super::super::spec::HOUR_MS;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000 * DAY_MS);

    fn since() -> Since {
        Since { opened: NOW, is_serving: true, now: NOW, offset: UtcOffset::default() }
    }

    fn broken(hours_ago: i64, due_in_hours: i64) -> EmergencyStanding {
        let at = NOW.plus_ms(-hours_ago * HOUR_MS);
        let emergency = Emergency {
            id: Id16([1; 16]),
            subject: "n.urse".into(),
            role: Role::Nurse,
            patient: PatientId([2; 16]),
            at,
            until: at.plus_ms(HOUR_MS),
            reason: "fell in the ward".into(),
        };
        let due = NOW.plus_ms(due_in_hours * HOUR_MS);
        EmergencyStanding { emergency, review: None, due, is_overdue: due_in_hours < 0 }
    }

    #[test]
    fn a_glass_that_nobody_looked_at_in_time_fails_and_so_do_many() {
        let grade = |all: &[EmergencyStanding], opened, emergency| {
            let control = emergencies(all, Shares { opened, unexplained: 0, emergency }, since());
            assert!(!format!("{control:?}").contains("n.urse"), "the page names nobody");
            control.grade
        };
        assert_eq!(grade(&[], 0, 0), Grade::Pass);
        assert_eq!(grade(&[broken(1, 71)], 1, 1), Grade::Pass);
        assert_eq!(grade(&[broken(73, -1)], 1, 1), BROKEN);
        // 1 % is within, more is not; of few charts a share says nothing.
        assert_eq!(
            (grade(&[], 1_000, 10), grade(&[], 1_000, 11), grade(&[], 99, 99)),
            (Grade::Pass, BROKEN, Grade::Pass)
        );
    }

    #[test]
    fn honey_that_never_rang_is_unknown_and_what_rang_long_ago_is_stale() {
        let rang = |days_ago: i64| AlarmStanding {
            alarm: Alarm {
                id: Id16([1; 16]),
                signal: Signal::Honey,
                subject: "t.hief".into(),
                at: NOW.plus_ms(-days_ago * DAY_MS),
                words: String::new(),
                last: None,
            },
            times: 1,
            taken: None,
            closed: None,
            owner: Role::SecurityOfficer,
            due: NOW,
            is_overdue: false,
        };
        assert_eq!(honey(0, &[], since()).grade, REDUCED);
        assert_eq!(honey(3, &[], since()).grade, Grade::Unknown);
        assert_eq!(honey(3, &[rang(1)], since()).grade, Grade::Pass);
        assert_eq!(honey(3, &[rang(381)], since()).grade, Grade::Stale);
    }

    #[test]
    fn without_a_gateway_nobody_counts() {
        assert_eq!(budgets(&[], Since { is_serving: false, ..since() }).grade, Grade::Unknown);
        assert_eq!(budgets(&[], since()).grade, Grade::Pass);
    }
}
