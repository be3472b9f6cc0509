//! The gateway's own watch behind the seam of the drill `honest-year`, and its command.

use clap::Args;
use drill::honest_year::centre::{Act, Centre};
use drill::honest_year::{self, Answer, EVERYBODY, Options, Signal, Watching};
use guard::{Budgets, Opening, Relation, Role, Sensitivity, Watch};
use kit::{Fault, PatientId, Timestamp};

use crate::Output;
use crate::drill_system::{short_seed, told};

/// How openings are watched; in the twin by nobody.
#[derive(Clone)]
struct Gateway {
    watch: Watch,
    budgets: Budgets,
}

/// Everything is opened, and nothing rings: what a centre without this layer has.
struct Nobody;

fn id(patient: u64) -> PatientId {
    PatientId(u128::from(patient).to_be_bytes())
}

impl Watching for Gateway {
    fn open(&mut self, centre: &Centre, act: &Act) -> Answer {
        let Some(person) = centre.people.get(act.person) else { return Answer::default() };
        let relation = if act.explained { Relation::CareTeam } else { Relation::Unexplained };
        let opening = Opening {
            // By tokens: what a passkey bounds besides isn't counted in.
            shown: None,
            subject: &person.name,
            role: person.trade.role.parse().unwrap_or(Role::Nurse),
            patient: id(act.patient),
            sensitivity: Sensitivity::Clinical,
            relation,
            at: Timestamp(act.at),
        };
        let watched = self.watch.open(&self.budgets, opening);
        let alarm = |signalled: guard::Signalled| {
            let signal = match signalled.signal {
                guard::Signal::SlowTheft => Signal::SlowTheft,
                guard::Signal::Honey => Signal::Honey,
                guard::Signal::OverBudget | guard::Signal::MassChange | guard::Signal::CopiedPasskey => {
                    Signal::OverBudget
                }
            };
            let person = centre.people.iter().position(|one| one.name == signalled.subject);
            (signal, person.unwrap_or(EVERYBODY))
        };
        Answer { opened: watched.spent.is_ok(), alarms: watched.signals.into_iter().map(alarm).collect() }
    }

    fn plant(&mut self, honey: &[u64]) {
        self.watch.plant(honey.iter().map(|patient| id(*patient)));
    }

    fn looked_at(&mut self, centre: &Centre, person: usize) {
        if let Some(person) = centre.people.get(person) {
            self.watch.looked_at(&person.name);
        }
    }

    fn copy(&self) -> Box<dyn Watching> {
        Box::new(self.clone())
    }
}

impl Watching for Nobody {
    fn open(&mut self, _: &Centre, _: &Act) -> Answer {
        Answer { opened: true, alarms: Vec::new() }
    }

    fn plant(&mut self, _: &[u64]) {}

    fn looked_at(&mut self, _: &Centre, _: usize) {}

    fn copy(&self) -> Box<dyn Watching> {
        Box::new(Self)
    }
}

#[derive(Args)]
pub struct HonestYear {
    /// Chooses people, days and thieves; the same seed is the same year.
    #[arg(long)]
    seed: Option<u64>,
    /// Of them, three in four open charts.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    staff: u32,
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    patients: u32,
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(60..=3_650))]
    days: u32,
    /// Of each kind.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    thefts: u32,
    /// Patients who don't exist.
    #[arg(long, default_value_t = 200)]
    honey: u32,
    /// The twin that must fail: nothing is counted, nothing rings.
    #[arg(long)]
    must_fail: bool,
    #[command(flatten)]
    output: Output,
}

impl HonestYear {
    pub fn run(self) -> Result<u8, Fault> {
        let options = Options {
            seed: self.seed.unwrap_or_else(short_seed),
            staff: self.staff as usize,
            patients: self.patients.into(),
            days: self.days.into(),
            thefts: self.thefts as usize,
            honey: self.honey.into(),
        };
        told(self.output, |watch| honest_year::run(&options, watching(self.must_fail), watch))
    }
}

fn watching(must_fail: bool) -> Box<dyn Watching> {
    match must_fail {
        true => Box::new(Nobody),
        // The policy's own, where it names none.
        false => Box::new(Gateway { watch: Watch::default(), budgets: Budgets::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Options = Options { seed: 2_027, staff: 40, patients: 10_000, days: 60, thefts: 4, honey: 20 };

    fn drill(options: &Options, must_fail: bool) -> drill::report::Report {
        honest_year::run(options, watching(must_fail), &|_| {}).unwrap()
    }

    #[test]
    fn thefts_end_early_and_honest_people_work() {
        let report = drill(&Options { staff: 100, patients: 20_000, days: 90, thefts: 6, ..SMALL }, false);
        assert!(report.held, "{report}");
        assert!(report.figures["explained_openings"] > 30_000, "{report}");
        assert!(report.figures["unexplained_openings"] > 1_000, "{report}");
        assert_eq!(drill(&SMALL, false).deeds, drill(&SMALL, false).deeds, "a seed is a year");
    }

    #[test]
    fn without_it_everything_is_lost() {
        let report = drill(&SMALL, true);
        let held: Vec<bool> = report.checks.iter().map(|check| check.held).collect();
        assert_eq!(held, [false, false, true, true], "{report}");
    }
}
