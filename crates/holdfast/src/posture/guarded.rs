//! What guard says of itself on the posture page.

use edge::console::posture::{Control, Grade};
use guard::{AlarmStanding, Containment, EmergencyStanding, Guard, PolicyStanding, Shares, SignedLift, Spent};
use kit::UtcOffset;

use super::clock;
use crate::say::plural;

/// Of all charts that people open, in emergencies: beyond, breaking the glass has become the way in. In thousandths.
const EMERGENCY_SHARE_MAX: u64 = 10;
/// Before so many charts were opened, a share says little.
const OPENED_MIN: u64 = 100;

pub(super) fn controls(guard: &Guard, offset: UtcOffset) -> [Control; 6] {
    [
        policy(&guard.policy()),
        budgets(&guard.near_budgets()),
        alarms(&guard.alarms(), offset),
        emergencies(&guard.emergencies(), guard.shares(), offset),
        honey(guard.honey()),
        containment(&guard.contained(), guard.unkept(), offset),
    ]
}

/// Whether what decides is what officers have signed.
fn policy(standing: &PolicyStanding) -> Control {
    let PolicyStanding { digest, in_force, open, refused, .. } = standing;
    let (grade, state) = match in_force {
        _ if !refused.is_empty() => {
            let count = plural(refused.len(), "change");
            (Grade::Bad, format!("{count} that nobody signed as it must be, REFUSED: holdfast policy show"))
        }
        _ if standing.fault().is_some() => {
            (Grade::Bad, "its rules don't hold by this program; those before it go on: holdfast policy show".to_owned())
        }
        None => {
            (Grade::Bad, "none is approved: the rules of the program are in force (holdfast policy form)".to_owned())
        }
        Some(one) => {
            let approved = plural(one.approved.len(), "officer");
            (Grade::Good, format!("version {}, approved by {approved}", one.version()))
        }
    };
    let waiting = match open.len() {
        0 => String::new(),
        count => format!(
            "; {} approval",
            if count == 1 { "1 proposal waits for".to_owned() } else { format!("{count} proposals wait for") }
        ),
    };
    let evidence = format!("SHA-256 {digest}, its signatures verified when this gateway read the log{waiting}");
    Control { what: "Policy".into(), grade, state, evidence }
}

/// Whether somebody opens more than others do; who it is, is for those who look at alarms.
fn budgets(near: &[Spent]) -> Control {
    let over = near.iter().filter(|one| one.is_over).count();
    let (grade, state) = match (over, near.len()) {
        (0, 0) => (Grade::Good, "nobody is near one".to_owned()),
        (0, near) => (Grade::Worn, format!("{} near", plural(near, "login"))),
        (over, _) => {
            (Grade::Bad, format!("{} asked for more than the policy gives within a day", plural(over, "login")))
        }
    };
    let evidence = "distinct patients, counted since this gateway started; who it is: /alarms".to_owned();
    Control { what: "Budgets".into(), grade, state, evidence }
}

/// What is closed.
fn containment(contained: &[(Containment, Vec<SignedLift>)], unkept: usize, offset: UtcOffset) -> Control {
    let words: Vec<String> = contained.iter().map(|(one, _)| one.measure.to_string()).collect();
    let (grade, state) = match words.is_empty() {
        true => (Grade::Good, "nothing is closed".to_owned()),
        false if unkept > 0 => {
            (Grade::Bad, format!("CLOSED, and NOT KEPT: a restart forgets it: {}", words.join(", ")))
        }
        false => (Grade::Bad, format!("CLOSED: {}", words.join(", "))),
    };
    let since =
        contained.first().map_or("one person closes at /containment, two officers open".to_owned(), |(one, _)| {
            format!("since {}, by {}: {}", clock(one.at, offset), one.by, one.reason)
        });
    Control { what: "Containment".into(), grade, state, evidence: since }
}

/// What rang, and whether somebody looks at it.
fn alarms(all: &[AlarmStanding], offset: UtcOffset) -> Control {
    let open: Vec<&AlarmStanding> = all.iter().filter(|one| one.closed.is_none()).collect();
    let (overdue, untaken) =
        (open.iter().filter(|one| one.is_overdue).count(), open.iter().filter(|one| one.taken.is_none()).count());
    let (grade, state) = match (overdue, untaken, open.len()) {
        (1.., ..) => (Grade::Bad, format!("{overdue} of {} open OVERDUE", open.len())),
        (0, 1.., _) => (Grade::Bad, format!("{} nobody has taken", plural(untaken, "alarm"))),
        (0, 0, 1..) => (Grade::Worn, format!("{} looked at", plural(open.len(), "alarm"))),
        (0, 0, 0) => (Grade::Good, "nothing rings".to_owned()),
    };
    let evidence = match open.first() {
        Some(one) => {
            let since = clock(one.alarm.at, offset);
            format!("the oldest is of {since}, and the {}'s: /alarms", one.owner)
        }
        None => format!("{} closed lately; proven by holdfast drill honest-year", all.len()),
    };
    Control { what: "Alarms".into(), grade, state, evidence }
}

/// How often the glass was broken, and whether somebody has looked at each.
fn emergencies(all: &[EmergencyStanding], shares: Shares, offset: UtcOffset) -> Control {
    let overdue = all.iter().filter(|one| one.is_overdue).count();
    let waiting: Vec<&EmergencyStanding> = all.iter().filter(|one| one.review.is_none()).collect();
    let in_thousand = (shares.emergency * 1_000).checked_div(shares.opened).unwrap_or(0);
    let is_large = shares.opened >= OPENED_MIN && in_thousand > EMERGENCY_SHARE_MAX;
    let (grade, state) = match (overdue, waiting.len()) {
        (1.., _) => (Grade::Bad, format!("{overdue} that nobody has looked at in time: /emergency")),
        _ if is_large => {
            (Grade::Bad, format!("{}.{} % of all charts are opened in emergencies", in_thousand / 10, in_thousand % 10))
        }
        (0, 1..) => (Grade::Worn, format!("{} to be looked at: /emergency", waiting.len())),
        (0, 0) => (Grade::Good, "none waits to be looked at".to_owned()),
    };
    let oldest = waiting.first().map(|one| format!("; the oldest is of {}", clock(one.emergency.at, offset)));
    let Shares { opened, unexplained, emergency } = shares;
    let evidence = format!(
        "of {opened} charts that people opened since this gateway started, within 30 days, {unexplained} without a reason on record and {emergency} \
         in emergencies{}",
        oldest.unwrap_or_default()
    );
    Control { what: "Emergencies".into(), grade, state, evidence }
}

/// Charts of nobody, among those of patients.
fn honey(planted: usize) -> Control {
    let (grade, state) = match planted {
        0 => (Grade::Worn, "none is planted: holdfast honey plant".to_owned()),
        planted => (Grade::Good, format!("{planted} are planted")),
    };
    let evidence = "whoever opens the chart of a patient who doesn't exist rings at once".to_owned();
    Control { what: "Charts of nobody".into(), grade, state, evidence }
}
