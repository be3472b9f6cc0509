//! Who is hit by an outage, who first, and what can be done for each: pure, from what is known of her to a row.
//!
//! RCR BFCO(19)1, 4th edition 2019. It reckons and sorts; a physicist checks, and a physician chooses and signs.

use std::collections::{BTreeMap, BTreeSet};

use kit::Timestamp;
use serde::Serialize;

use super::calendar::{Calendar, Day};
use super::compensation::{Assessment, Choice, Course, Worth};
use super::rules::{Category, Rules, TumourRule};

/// Between the last fraction of one phase and the first of the next.
const PHASES_DAYS: i32 = 14;

/// More to the late tissue than was planned, in percent, is said.
const LATE_PERCENT: f64 = 1.0;

/// Days without treatment, the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    pub first: Day,
    pub last: Day,
}

impl Outage {
    pub fn resumes(&self) -> Day {
        self.last.plus(1)
    }

    fn has(&self, day: Day) -> bool {
        self.first <= day && day <= self.last
    }
}

/// What a physician has signed for a course.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chosen {
    pub option: String,
    pub signer: String,
    pub at: Timestamp,
}

/// What is known of one course.
#[derive(Clone, Debug, PartialEq)]
pub struct Case<'a> {
    pub is_palliative: bool,
    /// As the rules have it, where her diagnosis is in them.
    pub tumour: Option<&'a TumourRule>,
    /// Of one fraction, to the target: in Gy; none where the plan doesn't say.
    pub dose_gy: Option<f64>,
    pub planned: u32,
    /// When she was treated last by any plan.
    pub last_treated: Option<Day>,
    /// Somebody has taken the plan's approval back.
    pub is_withdrawn: bool,
    /// As many as the plan's fraction pattern has on its fullest day.
    pub per_day: u32,
    /// Treatment Machine Names of its beams.
    pub machines: BTreeSet<&'a str>,
    /// When fractions were given, in order; why that isn't known.
    pub given: Result<Vec<Day>, String>,
}

/// How one course stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weighing {
    /// None where the rules don't know the tumour.
    pub category: Option<Category>,
    pub tumour: Option<String>,
    pub fractions_planned: u32,
    pub fractions_given: Option<u32>,
    pub last_given: Option<Day>,
    /// Days by which it is longer than planned, where nothing is done about it.
    pub days_lost: Option<i32>,
    pub assessment: Option<Assessment>,
    /// Days of treatment on weekends and holidays, where that is an option.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weekend_days: Vec<Day>,
    /// Why there is no assessment.
    pub unknown: Vec<String>,
    pub warnings: Vec<String>,
}

/// None where the outage is none of this course's business: not begun by then, or only after it, or finished.
pub fn weigh(case: &Case<'_>, rules: &Rules, outage: Outage) -> Option<Weighing> {
    let category = if case.is_palliative { Some(Category::Three) } else { case.tumour.map(|tumour| tumour.category) };
    let mut weighing = Weighing {
        category,
        tumour: case.tumour.map(|tumour| tumour.name.clone()),
        fractions_planned: case.planned,
        fractions_given: None,
        last_given: None,
        days_lost: None,
        assessment: None,
        weekend_days: Vec::new(),
        unknown: Vec::new(),
        warnings: Vec::new(),
    };
    if case.tumour.is_none() {
        weighing.unknown.push("her diagnosis is in none of the rules' tissues".to_owned());
    }
    let given = match &case.given {
        Ok(given) => given,
        Err(why) => {
            weighing.unknown.push(why.clone());
            return Some(weighing);
        }
    };
    let count = u32::try_from(given.len()).unwrap_or(u32::MAX);
    (weighing.fractions_given, weighing.last_given) = (Some(count), given.last().copied());
    let was_to_begin = |last: Day| (0..=PHASES_DAYS).contains(&outage.first.since(last));
    if given.is_empty() && case.last_treated.is_some_and(was_to_begin) {
        weighing.unknown.push(
            "not begun: she was treated by another plan until then, and this one may have been to follow".to_owned(),
        );
        return Some(weighing);
    }
    if count >= case.planned || given.first().is_none_or(|first| *first > outage.last) {
        return None;
    }
    // Two a day that make up for lost days are the fewer.
    let on_one_day = given.windows(2).filter(|pair| pair.first() == pair.last()).count();
    if case.per_day <= 1 && 3 * on_one_day > given.len() {
        weighing.unknown.push("she is treated more than once a day, and the plan doesn't say so".to_owned());
        return Some(weighing);
    }
    let usual = rules.calendar();
    if case.per_day > 1 && !given.iter().all(|day| usual.treats(*day)) {
        weighing.unknown.push(
            "she is treated several times a day, and on days that are none of the centre's: when it was to end isn't known".to_owned(),
        );
        return Some(weighing);
    }
    // Her machine's own days out of service, too: those that the rules name.
    let rules_of = || case.machines.iter().filter_map(|name| rules.machine(name));
    let still = rules_of().flat_map(|machine| &machine.out_of_service).map(|span| (span.from, span.to));
    let outages: Vec<(Day, Day)> = std::iter::once((outage.first, outage.last)).chain(still).collect();
    let now = Calendar { outages, ..usual.clone() };
    // What was given since it ended stands where it does; what is left goes on behind it.
    let resumes = given.last().map_or(outage.resumes(), |last| last.plus(1).max(outage.resumes()));
    weighing.days_lost = days_lost(given, (case.planned, case.per_day), usual, &now, resumes);
    let Some(dose_gy) = case.dose_gy else {
        weighing.unknown.push("the plan doesn't say what a fraction gives to its target".to_owned());
        return Some(weighing);
    };
    if let Some(tumour) = case.tumour {
        let course = Course { dose_gy, planned: case.planned, per_day: case.per_day.max(1), given: given.clone() };
        weighing.assessment = course.assess(&rules.tissues(tumour), usual, &now, resumes);
        let on_all = weighing.assessment.iter().flat_map(|found| &found.options);
        let last = on_all.filter(|one| one.choice == Choice::EveryDay).map(|one| one.worth.last).next();
        let every_day = Calendar { every_day: true, ..now };
        weighing.weekend_days = last.map_or_else(Vec::new, |last| {
            let until = every_day.from(resumes).take_while(|day| *day <= last);
            until.filter(|day| !usual.treats(*day)).collect()
        });
    }
    weighing.warnings = warnings(&weighing, rules);
    weighing.warnings.extend(elsewhere(&case.machines, rules, resumes));
    let within: Vec<String> = given.iter().filter(|day| outage.has(**day)).map(Day::to_string).collect();
    if !within.is_empty() {
        let days = within.join(", ");
        weighing.warnings.insert(0, format!("treated all the same on {days}: counted as given, and not as lost"));
    }
    if case.is_withdrawn {
        weighing.warnings.insert(0, "its approval was taken back: it goes on by another plan".to_owned());
    }
    Some(weighing)
}

/// Machines on which the plan can be given as it is, by the rules: those that are matched to all of its own, and treat on that day.
fn elsewhere(machines: &BTreeSet<&str>, rules: &Rules, day: Day) -> Option<String> {
    let mut own = machines.iter().map(|name| rules.machine(name));
    let first: BTreeSet<&String> = own.next()??.matched.iter().collect();
    let all = own.try_fold(first, |all, machine| {
        let theirs: BTreeSet<&String> = machine?.matched.iter().collect();
        Some(&all & &theirs)
    })?;
    let free: Vec<&str> = (all.into_iter().map(String::as_str))
        .filter(|name| !machines.contains(name) && rules.unavailable(name, Some(day)).is_none())
        .collect();
    (!free.is_empty())
        .then(|| format!("on {day} it can be given as it is on {}: matched by the rules", free.join(", ")))
}

/// The places that machines have on weekends and holidays, given out one course after the other.
pub struct Places<'r> {
    rules: &'r Rules,
    taken: BTreeMap<(String, Day), u32>,
}

impl<'r> Places<'r> {
    pub fn new(rules: &'r Rules) -> Self {
        Self { rules, taken: BTreeMap::new() }
    }

    /// Who comes earlier goes first: those for whom it was signed, then by urgency. What needs no making up for takes none, nor does a course for which something else was
    /// chosen; where a machine has none left on one of the days, that is said.
    pub fn give(&mut self, weighing: &mut Weighing, machines: &BTreeSet<String>, chosen: Option<&Chosen>) {
        let needs_it = weighing.category.zip(weighing.days_lost);
        let needs_it = needs_it.is_some_and(|(category, lost)| lost > self.rules.days_allowed(category));
        let is_another = |chosen: &Chosen| chosen.option != Choice::EveryDay.to_string();
        // What was signed is done, needed or not.
        if chosen.map_or(!needs_it, is_another) {
            return;
        }
        let limited: Vec<(&String, u32)> =
            (machines.iter()).filter_map(|name| Some((name, self.rules.machine(name)?.weekend_patients?))).collect();
        let places = || limited.iter().flat_map(|limited| weighing.weekend_days.iter().map(move |day| (limited, *day)));
        let full = places()
            .find(|((name, places), day)| self.taken.get(&((*name).clone(), *day)).copied().unwrap_or(0) >= *places);
        match full {
            Some(((name, places), day)) => {
                let said = format!(
                    "on weekends and holidays: {name} has no place left on {day}; it takes {places}, and others go first"
                );
                weighing.warnings.push(said);
            }
            None => {
                for ((name, _), day) in places() {
                    *self.taken.entry(((*name).clone(), day)).or_default() += 1;
                }
            }
        }
    }
}

/// By how much the end is later than planned, whatever it is worth.
fn days_lost(
    given: &[Day],
    (planned, per_day): (u32, u32),
    usual: &Calendar,
    now: &Calendar,
    resumes: Day,
) -> Option<i32> {
    let (planned, per_day) = (usize::try_from(planned).ok()?, usize::try_from(per_day.max(1)).ok()?);
    let was_to_end = usual.course(*given.first()?).nth(planned.div_ceil(per_day).checked_sub(1)?)?;
    let left = planned.checked_sub(given.len())?.div_ceil(per_day);
    Some(now.from(resumes).nth(left.checked_sub(1)?)?.since(was_to_end))
}

fn warnings(weighing: &Weighing, rules: &Rules) -> Vec<String> {
    let mut said = Vec::new();
    if let (Some(category), Some(lost)) = (weighing.category, weighing.days_lost)
        && lost > rules.days_allowed(category)
    {
        let (number, allowed) = (u8::from(category), rules.days_allowed(category));
        said.push(format!(
            "{lost} days longer than planned; of category {number} more than {allowed} are not to be left so"
        ));
    }
    if let Some(found) = &weighing.assessment {
        let lost = found.as_planned.tumour_bed - found.as_it_stands.tumour_bed;
        if lost > 0.0 {
            said.push(format!("the tumour loses {lost:.2} Gy (BED) where nothing is done"));
        }
        for (number, option) in (1..).zip(&found.options) {
            let more = over(&option.worth, &found.as_planned);
            if more > LATE_PERCENT {
                said.push(format!("option {number}: {more:.1} % more to the late tissue than planned (BED)"));
            }
        }
    }
    said
}

/// By how much the late tissue gets more, in percent.
fn over(worth: &Worth, planned: &Worth) -> f64 {
    (worth.late_bed / planned.late_bed - 1.0) * 100.0
}

/// Who is seen to first: fast-growing ones, then those of whom too little is known, then by the days that they lose.
pub fn urgency(weighing: &Weighing) -> (u8, std::cmp::Reverse<Option<i32>>) {
    let rank = match weighing.category {
        Some(Category::One) => 0,
        None => 1,
        Some(Category::Two) => 2,
        Some(Category::Three) => 3,
    };
    (rank, std::cmp::Reverse(weighing.days_lost))
}

#[cfg(test)]
mod tests {
    use super::super::compensation::Choice;
    use super::super::rules::FORM;
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    /// The oracle of `bed::tests` and `compensation::tests` again, from the rules' own figures: 70 Gy in 35, a week lost after 15.
    #[test]
    fn a_lost_week_is_weighed_by_the_rules() {
        let rules = Rules::parse(FORM.as_bytes()).unwrap();
        let outage = Outage { first: day("2026-03-23"), last: day("2026-03-29") };
        let given: Vec<Day> = rules.calendar().from(day("2026-03-02")).take(15).collect();
        let case = |codes: &[&str], given| Case {
            is_palliative: false,
            tumour: rules.tumour(codes.iter().copied()),
            dose_gy: Some(2.0),
            planned: 35,
            last_treated: None,
            is_withdrawn: false,
            per_day: 1,
            machines: BTreeSet::from(["LINAC-1"]),
            given,
        };
        let found = weigh(&case(&["C10.9"], Ok(given.clone())), &rules, outage).unwrap();
        assert_eq!((found.category, found.days_lost, found.fractions_given), (Some(Category::One), Some(7), Some(15)));
        let assessment = found.assessment.clone().unwrap();
        assert!((assessment.as_it_stands.tumour_bed - 61.5).abs() < 1e-9);
        assert!(found.warnings[0].starts_with("7 days longer"), "{:?}", found.warnings);
        assert!(found.warnings[1].contains("6.30 Gy"), "{:?}", found.warnings);
        let larger =
            assessment.options.iter().position(|o| matches!(o.choice, Choice::LargerFractions { .. })).unwrap();
        let said = format!("option {}: 3.5 % more", larger + 1);
        assert!(found.warnings.iter().any(|warning| warning.starts_with(&said)), "{said}: {:?}", found.warnings);

        // A day's treatment on the Saturday behind it is known, and what is left goes on from there.
        let rest = [given.clone(), vec![day("2026-03-30")]].concat();
        let later = weigh(&case(&["C10.9"], Ok(rest)), &rules, outage).unwrap();
        assert_eq!((later.days_lost, later.fractions_given), (Some(7), Some(16)));

        // On two of the lost days she was treated elsewhere, as the paper has it.
        let within = [given.clone(), vec![day("2026-03-24"), day("2026-03-26")]].concat();
        let some = weigh(&case(&["C10.9"], Ok(within)), &rules, outage).unwrap();
        assert_eq!((some.days_lost, some.fractions_given), (Some(5), Some(17)));
        assert!(some.warnings[0].contains("2026-03-24, 2026-03-26"), "{:?}", some.warnings);
        // Begun after it: it lost nothing.
        let after: Vec<Day> = rules.calendar().from(day("2026-03-30")).take(3).collect();
        assert_eq!(weigh(&case(&["C10.9"], Ok(after)), &rules, outage), None);

        // Of whom less is known, as much is said as is known.
        let unknown = weigh(&case(&["C71.1"], Ok(given.clone())), &rules, outage).unwrap();
        assert_eq!((unknown.category, unknown.days_lost), (None, Some(7)));
        assert!(unknown.assessment.is_none() && unknown.unknown[0].contains("diagnosis"));
        let undated = weigh(&case(&["C61"], Err("why".to_owned())), &rules, outage).unwrap();
        assert_eq!((undated.days_lost, undated.unknown.as_slice()), (None, ["why".to_owned()].as_slice()));
        // Who is treated twice a day by her plan is weighed so; where only the records show it, that is said.
        let twice: Vec<Day> = given.iter().flat_map(|day| [*day; 2]).take(20).collect();
        let found = weigh(&case(&["C10.9"], Ok(twice.clone())), &rules, outage).unwrap();
        assert_eq!((found.days_lost, found.assessment.is_none()), (None, true));
        assert!(found.unknown[0].contains("the plan doesn't say so"), "{:?}", found.unknown);
        let paired = Case { per_day: 2, dose_gy: Some(1.2), planned: 50, ..case(&["C10.9"], Ok(twice)) };
        let found = weigh(&paired, &rules, Outage { first: day("2026-03-16"), last: day("2026-03-22") }).unwrap();
        assert_eq!((found.days_lost, found.fractions_given), (Some(7), Some(20)));
        assert!((found.assessment.unwrap().as_it_stands.tumour_bed - 57.3).abs() < 1e-9);
        let on_sundays = Ok(vec![day("2026-03-14"), day("2026-03-15")]);
        let found = weigh(&Case { per_day: 2, given: on_sundays, ..paired }, &rules, outage).unwrap();
        assert!(found.unknown[0].contains("none of the centre's"), "{:?}", found.unknown);
        // Begun on a Saturday, it goes on on Monday: the Saturday was its first day.
        let saturday: Vec<Day> = rules.calendar().course(day("2026-02-28")).take(16).collect();
        let begun_so = weigh(&case(&["C10.9"], Ok(saturday)), &rules, outage).unwrap();
        assert_eq!(begun_so.days_lost, Some(7));

        let doseless = Case { dose_gy: None, ..case(&["C61"], Ok(given.clone())) };
        assert!(weigh(&doseless, &rules, outage).unwrap().assessment.is_none());
        let palliative = Case { is_palliative: true, ..case(&["C34"], Ok(given.clone())) };
        let palliative = weigh(&palliative, &rules, outage).unwrap();
        assert_eq!(palliative.category, Some(Category::Three));
        let all: Vec<Day> = rules.calendar().from(day("2026-01-05")).take(35).collect();
        assert_eq!(weigh(&case(&["C61"], Ok(all)), &rules, outage), None, "it is complete");
        assert_eq!(weigh(&case(&["C61"], Ok(vec![])), &rules, outage), None, "it wasn't begun");
        // A boost that was to follow in these days, and a plan that was withdrawn on the way: both are on the list.
        let boost = |last: &str| Case { last_treated: Some(day(last)), ..case(&["C61"], Ok(vec![])) };
        let follows = weigh(&boost("2026-03-20"), &rules, outage).unwrap();
        assert!(follows.unknown[0].starts_with("not begun"), "{:?}", follows.unknown);
        assert_eq!(weigh(&boost("2026-02-02"), &rules, outage), None, "that was another course");
        let withdrawn = Case { is_withdrawn: true, ..case(&["C10.9"], Ok(given.clone())) };
        assert!(weigh(&withdrawn, &rules, outage).unwrap().warnings[0].contains("taken back"));

        // Her machine stands still for two days more; another one is matched to it, and a third one, which is out of service.
        let machines = "[[machine]]\nname = \"LINAC-1\"\nmatched = [\"LINAC-2\", \"LINAC-3\"]\n\
                        out_of_service = [{ from = \"2026-03-30\", to = \"2026-03-31\" }]\n\
                        [[machine]]\nname = \"LINAC-2\"\n[[machine]]\nname = \"LINAC-3\"\n\
                        out_of_service = [{ from = \"2026-03-30\", to = \"2026-03-30\" }]\n";
        let named = Rules::parse(format!("{FORM}\n{machines}").as_bytes()).unwrap();
        let longer = weigh(&case(&["C10.9"], Ok(given.clone())), &named, outage).unwrap();
        assert_eq!(longer.days_lost, Some(11), "two days of treatment, and a weekend");
        let last = longer.warnings.last().unwrap();
        assert_eq!(last, "on 2026-03-30 it can be given as it is on LINAC-2: matched by the rules");
        let of_two = Case { machines: BTreeSet::from(["LINAC-1", "LINAC-2"]), ..case(&["C10.9"], Ok(given.clone())) };
        assert!(weigh(&of_two, &named, outage).unwrap().warnings.iter().all(|warning| !warning.contains("matched")));

        // One place on a weekend's day: the first of two takes it, and one who needs none doesn't.
        let one = "[[machine]]\nname = \"LINAC-1\"\nweekend_patients = 1\n";
        let one = Rules::parse(format!("{FORM}\n{one}").as_bytes()).unwrap();
        let first = weigh(&case(&["C10.9"], Ok(given.clone())), &one, outage).unwrap();
        let days: Vec<String> = first.weekend_days.iter().map(Day::to_string).collect();
        assert_eq!(days, ["2026-04-04", "2026-04-05", "2026-04-11", "2026-04-12", "2026-04-18"]);
        let machines = BTreeSet::from(["LINAC-1".to_owned()]);
        let told = |weighing: &Weighing| weighing.warnings.iter().filter(|said| said.contains("no place left")).count();
        let given_out = |chosen: &[Option<&str>]| {
            let mut places = Places::new(&one);
            let each = chosen.iter().map(|chosen| {
                let chosen =
                    chosen.map(|option| Chosen { option: option.to_owned(), signer: "A".to_owned(), at: Timestamp(0) });
                let mut weighing = first.clone();
                places.give(&mut weighing, &machines, chosen.as_ref());
                told(&weighing)
            });
            each.collect::<Vec<_>>()
        };
        assert_eq!(given_out(&[None, None]), [0, 1]);
        assert_eq!(given_out(&[Some("5 more"), None, Some("on weekends and holidays, too")]), [0, 0, 1]);
        let mut slower = Weighing { days_lost: Some(2), ..first.clone() };
        let mut places = Places::new(&one);
        places.give(&mut slower, &machines, None);
        let mut next = first.clone();
        places.give(&mut next, &machines, None);
        assert_eq!((told(&slower), told(&next)), (0, 0));
        // It was signed for her all the same: the place is hers.
        let signed = Chosen { option: Choice::EveryDay.to_string(), signer: "A".to_owned(), at: Timestamp(0) };
        let mut places = Places::new(&one);
        places.give(&mut slower, &machines, Some(&signed));
        places.give(&mut next, &machines, None);
        assert_eq!((told(&slower), told(&next)), (0, 1));
        // Nobody has said how many it takes.
        let mut places = Places::new(&rules);
        for _ in 0..3 {
            let mut weighing = first.clone();
            places.give(&mut weighing, &machines, None);
            assert_eq!(told(&weighing), 0);
        }

        let mut all = [palliative, undated, unknown, found];
        all.sort_by_key(urgency);
        assert_eq!(all.map(|one| one.category.map(u8::from)), [Some(1), None, Some(2), Some(3)]);
    }
}
