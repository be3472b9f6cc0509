//! What a centre weighs interruptions by: its tissues, its days of treatment, its machines. A TOML file that a physicist signs.
//!
//! [`FORM`] holds the figures of common use. They are nobody's signature: until a physicist has signed a file, whatever is
//! reckoned by them says so.

use std::collections::BTreeSet;
use std::fmt;

use kit::{Blame, Explain};
use serde::{Deserialize, Serialize};

use super::bed::{BedError, Tissue};
use super::calendar::{Calendar, Day, Week};
use super::compensation::Tissues;

/// The file to begin with: after RCR BFCO(19)1, 4th edition 2019, and parameters of common use.
pub const FORM: &str = include_str!("rules.toml");

/// A file larger than this is none.
const BYTES_MAX: usize = 32 * 1024;
const TISSUES_MAX: usize = 200;
const HOLIDAYS_MAX: usize = 1_000;
const MACHINES_MAX: usize = 200;
/// Outside of it nobody has measured one.
const REPAIR_HOURS: (f64, f64) = (0.1, 24.0);

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RulesError {
    #[error("the rules are {found} bytes, the maximum is {BYTES_MAX}")]
    TooLong { found: usize },
    #[error("the rules are no text in UTF-8")]
    NoText,
    #[error("the rules: {0}")]
    Toml(String),
    #[error("the rules, tissue {tissue:?}: {source}")]
    Tissue { tissue: String, source: BedError },
    #[error("the rules, late tissue: {0}")]
    Late(BedError),
    #[error("the rules: {found} {what}, the maximum is {max}")]
    TooMany { what: &'static str, found: usize, max: usize },
    #[error("the rules: {0}")]
    Contradiction(String),
}

impl Explain for RulesError {
    fn blame(&self) -> Blame {
        Blame::Peer
    }

    fn code(&self) -> &'static str {
        "treatment.rules"
    }
}

/// How much a prolongation matters: RCR BFCO(19)1, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Category {
    /// Fast-growing, with radical intent: not more than two days.
    One,
    /// Slower, with radical intent.
    Two,
    /// Palliative: think of it beyond seven days.
    Three,
}

impl From<Category> for u8 {
    fn from(category: Category) -> Self {
        match category {
            Category::One => 1,
            Category::Two => 2,
            Category::Three => 3,
        }
    }
}

impl TryFrom<u8> for Category {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            other => Err(format!("category {other}, there are 1, 2 and 3")),
        }
    }
}

/// A fraction takes some ten minutes: in a day of a machine there are 144.
const WEEKEND_PATIENTS_MAX: u32 = 144;

/// A tumour, as the centre weighs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TumourRule {
    pub name: String,
    pub category: Category,
    pub tissue: Tissue,
    /// Beginnings of ICD-10 codes, without dots.
    icd10: Vec<String>,
}

/// The rules, read and found to be sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    tumours: Vec<TumourRule>,
    late: Tissue,
    repair_half_time_hours: f64,
    prolongation: Prolongation,
    calendar: Calendar,
    machines: Vec<MachineRule>,
}

/// A machine, what it can do, and those that treat as it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRule {
    pub name: String,
    /// Machines with matched beams, on which a plan can be given as it is.
    #[serde(default)]
    pub matched: Vec<String>,
    /// Nominal Beam Energies (300A,0114), in MV or MeV; none where all are right.
    pub energies: Option<Vec<f64>>,
    /// Of one beam in one fraction.
    pub meterset_max: Option<f64>,
    pub dose_rate_max: Option<f64>,
    /// How many patients it can take on a Saturday, Sunday or holiday on which it doesn't treat otherwise; none where nobody has said.
    pub weekend_patients: Option<u32>,
    /// When nobody is to be treated on it.
    #[serde(default)]
    pub out_of_service: Vec<Span>,
}

/// Days, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    pub from: Day,
    pub to: Day,
}

/// Why nobody is to be treated on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Unavailable {
    /// The rules in force name machines, and not this one.
    NotInRules,
    OutOfService(Span),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInRules => f.write_str("the rules in force name the centre's machines, and not this one"),
            Self::OutOfService(Span { from, to }) => {
                write!(f, "out of service from {from} to {to}, by the rules in force")
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    days: Days,
    prolongation_days: Prolongation,
    late: LateFile,
    #[serde(default)]
    tissue: Vec<TissueFile>,
    #[serde(default)]
    machine: Vec<MachineRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Days {
    treating: Vec<String>,
    #[serde(default)]
    holidays: Vec<Day>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prolongation {
    category_1: u8,
    category_2: u8,
    category_3: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LateFile {
    alpha_beta_gy: f64,
    repair_half_time_hours: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TissueFile {
    name: String,
    icd10: Vec<String>,
    category: Category,
    alpha_beta_gy: f64,
    k_gy_per_day: f64,
    tk_days: f64,
}

fn plain(code: &str) -> String {
    code.chars().filter(|c| *c != '.').map(|c| c.to_ascii_uppercase()).collect()
}

impl Rules {
    pub fn parse(bytes: &[u8]) -> Result<Self, RulesError> {
        if bytes.len() > BYTES_MAX {
            return Err(RulesError::TooLong { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RulesError::NoText)?;
        let file: File = toml::from_str(text).map_err(|e| RulesError::Toml(e.to_string().trim_end().to_owned()))?;
        let spans = file.machine.iter().map(|machine| machine.out_of_service.len()).max().unwrap_or(0);
        for (what, found, max) in [
            ("tissues", file.tissue.len(), TISSUES_MAX),
            ("holidays", file.days.holidays.len(), HOLIDAYS_MAX),
            ("machines", file.machine.len(), MACHINES_MAX),
            ("times out of service of a machine", spans, HOLIDAYS_MAX),
        ] {
            if found > max {
                return Err(RulesError::TooMany { what, found, max });
            }
        }
        let week = Week::of(file.days.treating.iter().map(String::as_str)).map_err(RulesError::Contradiction)?;
        let (mut tumours, mut codes) = (Vec::new(), BTreeSet::new());
        for TissueFile { name, icd10, category, alpha_beta_gy, k_gy_per_day, tk_days } in file.tissue {
            let tissue = Tissue::new(alpha_beta_gy, k_gy_per_day, tk_days)
                .map_err(|source| RulesError::Tissue { tissue: name.clone(), source })?;
            let icd10: Vec<String> = icd10.iter().map(|code| plain(code)).collect();
            for code in &icd10 {
                let is_code = (1..=7).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
                if !is_code {
                    return Err(RulesError::Contradiction(format!("{code:?} is no beginning of an ICD-10 code")));
                }
                if !codes.insert(code.clone()) {
                    return Err(RulesError::Contradiction(format!("{code} stands under two tissues")));
                }
            }
            tumours.push(TumourRule { name, category, tissue, icd10 });
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = file.machine.iter().find(|machine| !names.insert(machine.name.as_str())) {
            return Err(RulesError::Contradiction(format!("machine {:?} is named twice", twice.name)));
        }
        let limits = |machine: &MachineRule| [machine.meterset_max, machine.dose_rate_max];
        let energies = |machine: &MachineRule| machine.energies.clone().unwrap_or_default();
        for machine in &file.machine {
            let all = limits(machine).into_iter().flatten().chain(energies(machine));
            if let Some(wrong) = all.into_iter().find(|limit| !limit.is_finite() || *limit < 0.0) {
                return Err(RulesError::Contradiction(format!("machine {:?} has a limit of {wrong}", machine.name)));
            }
            if let Some(found) = machine.weekend_patients.filter(|found| *found > WEEKEND_PATIENTS_MAX) {
                let name = &machine.name;
                let what = format!(
                    "machine {name:?} takes {found} patients on a weekend's day, at most {WEEKEND_PATIENTS_MAX} are possible"
                );
                return Err(RulesError::Contradiction(what));
            }
            if let Some(Span { from, to }) = machine.out_of_service.iter().find(|span| span.from > span.to) {
                let what = format!("machine {:?} is out of service from {from} to {to}, which is before", machine.name);
                return Err(RulesError::Contradiction(what));
            }
        }
        let late = Tissue::new(file.late.alpha_beta_gy, 0.0, 0.0).map_err(RulesError::Late)?;
        let hours = file.late.repair_half_time_hours;
        if !(REPAIR_HOURS.0..=REPAIR_HOURS.1).contains(&hours) {
            let (min, max) = REPAIR_HOURS;
            let what = "repair half-time";
            return Err(RulesError::Late(BedError { what, found: hours, min, max, unit: "hours" }));
        }
        let holidays = file.days.holidays.into_iter().collect();
        Ok(Self {
            tumours,
            late,
            repair_half_time_hours: hours,
            prolongation: file.prolongation_days,
            calendar: Calendar { week, holidays, ..Calendar::default() },
            machines: file.machine,
        })
    }

    /// The tumour that these ICD-10 codes name; of several, the one whose prolongation matters most, and then the one that is named
    /// most closely.
    pub fn tumour<'a>(&self, codes: impl Iterator<Item = &'a str>) -> Option<&TumourRule> {
        let codes: Vec<String> = codes.map(plain).collect();
        let closeness = |rule: &&TumourRule| {
            let beginnings =
                rule.icd10.iter().filter(|begin| codes.iter().any(|code| code.starts_with(begin.as_str())));
            beginnings.map(String::len).max()
        };
        let named = self.tumours.iter().filter(|rule| closeness(rule).is_some());
        named.min_by_key(|rule| (rule.category, std::cmp::Reverse(closeness(rule))))
    }

    pub fn tissues(&self, tumour: &TumourRule) -> Tissues {
        Tissues { tumour: tumour.tissue, late: self.late, repair_half_time_hours: self.repair_half_time_hours }
    }

    /// Days of prolongation that need no answer.
    pub fn days_allowed(&self, category: Category) -> i32 {
        let Prolongation { category_1, category_2, category_3 } = self.prolongation;
        match category {
            Category::One => category_1.into(),
            Category::Two => category_2.into(),
            Category::Three => category_3.into(),
        }
    }

    /// When the centre treats.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Why nobody is to be treated on this machine today. A centre that names no machines says nothing of any.
    pub fn unavailable(&self, name: &str, today: Option<Day>) -> Option<Unavailable> {
        let Some(machine) = self.machine(name) else {
            return (!self.machines.is_empty()).then_some(Unavailable::NotInRules);
        };
        // Where the day isn't known, it may be one of these.
        let is_out = |span: &&Span| today.is_none_or(|today| (span.from..=span.to).contains(&today));
        machine.out_of_service.iter().find(is_out).copied().map(Unavailable::OutOfService)
    }

    pub fn machine(&self, name: &str) -> Option<&MachineRule> {
        self.machines.iter().find(|known| known.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_a_file_that_is_taken() {
        let rules = Rules::parse(FORM.as_bytes()).unwrap();
        let of =
            |codes: &[&str]| rules.tumour(codes.iter().copied()).map(|rule| (rule.category, rule.tissue.k_gy_per_day));
        assert_eq!(of(&["C02.1"]), Some((Category::One, 0.9)));
        assert_eq!(of(&["c53.9"]), Some((Category::One, 0.9)));
        assert_eq!(of(&["C61"]), Some((Category::Two, 0.2)));
        assert_eq!(of(&["C50.4", "C34.1"]), Some((Category::One, 0.9)), "the one that matters most");
        assert_eq!(of(&["Z00", "C71.1"]), None);
        assert!(rules.calendar().treats("2026-11-27".parse().unwrap()));
        assert!(!rules.calendar().treats("2026-11-29".parse().unwrap()), "a Sunday");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |from: &str, to: &str| {
            assert!(FORM.contains(from), "{from}");
            Rules::parse(FORM.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
        };
        for (from, to, said) in [
            ("alpha_beta_gy = 10", "alpha_beta_gy = -1", "alpha/beta: -1"),
            ("category = 1", "category = 4", "category 4"),
            ("treating = [\"mon\"", "treating = [\"monday\"", "\"monday\""),
            ("repair_half_time_hours = 4", "repair_half_time_hours = 0", "repair half-time: 0"),
            ("\"C61\"", "\"C50\"", "C50 stands under two"),
            ("[late]", "[latte]", "latte"),
            ("tk_days = 28", "tk_dys = 28", "tk_dys"),
        ] {
            let found = with(from, to);
            assert!(found.contains(said), "{found}");
        }
        assert_eq!(Rules::parse(&[0xFF]), Err(RulesError::NoText));
        assert!(matches!(Rules::parse(&vec![b'#'; BYTES_MAX + 1]), Err(RulesError::TooLong { .. })));
        assert!(Rules::parse(b"").is_err());
    }
}
