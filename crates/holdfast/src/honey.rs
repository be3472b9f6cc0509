//! Patients who don't exist, among those who do: they are on no list, nobody has a reason to open one, and it rings when somebody does.

use chart::Context;
use clap::Subcommand;
use drill::synthetic::{self, Images};
use guard::{Act as GuardAct, HONEY_MAX, Purpose, Role, Sensitivity, Target};
use kit::{Blame, Fault, OperationId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::acts::{Act, Answer};
use crate::centre::Centre;
use crate::{DEGRADED, Data, Output, commands};

/// As whom they are brought: a program that imports, as the hospital's own does.
const IMPORT: &str = "import";
const TOKEN_MS: i64 = 3_600_000;
/// Digits of a number that are drawn; with fewer, those drawn are somebody's.
const DIGITS_MIN: usize = 4;
/// Draws until a number is nobody's.
const DRAWS_MAX: usize = 100;

#[derive(Subcommand)]
pub enum Command {
    /// Registers made-up patients with records of their own, who look like others. 2,000 among 2 million are hit within 693 openings at random,
    /// with even odds.
    Plant {
        #[arg(long, default_value_t = 200)]
        count: u32,
        /// A hospital number as they look here, each # a digit: MR-########.
        #[arg(long, value_name = "PATTERN")]
        number: String,
        /// The naming system of hospital numbers, as the others' identifiers have it; of the configuration where it is left out.
        #[arg(long, value_name = "URI")]
        number_system: Option<String>,
        /// A telephone number as they look here, of an exchange that rings at nobody's, each # a digit: +91 471 0######.
        #[arg(long, value_name = "PATTERN")]
        phone: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// How many there are. Never which. Exit 3 where there is none.
    Status {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

/// As it crosses the control port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Plant { count: u32, looks: Looks },
    Status,
}

/// What they have in common with everybody else here: a made-up patient is none who can be told by her number's naming system.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Looks {
    number: String,
    number_system: Option<String>,
    phone: String,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Plant { count, number, number_system, phone, data, output } => {
                let looks = Looks { number, number_system, phone };
                commands::act(&data, output, Act::Honey(Asked::Plant { count, looks }))
            }
            Self::Status { data, output } => commands::act(&data, output, Act::Honey(Asked::Status)),
        }
    }
}

/// At the centre.
pub fn perform(centre: &Centre, asked: Asked, console: &Context) -> Result<Answer, Fault> {
    let guard = centre.chart().guard();
    let admit = |sensitivity| {
        centre.chart().admit(console, GuardAct::ManageAccess, Target::Centre, sensitivity).map_err(|e| e.fault())
    };
    match asked {
        Asked::Status => {
            let _permit = admit(Sensitivity::Administrative)?;
            let planted = guard.honey();
            let exit = if planted == 0 { DEGRADED } else { 0 };
            let text = format!("{planted} patients who don't exist");
            Ok(Answer { exit, text, json: json!({ "planted": planted }) })
        }
        Asked::Plant { count, looks } => {
            let (wanted, room) = (count as usize, HONEY_MAX - guard.honey().min(HONEY_MAX));
            if wanted == 0 || wanted > room {
                let text = format!("{wanted} patients: 1 to {room} more are possible");
                return Err(Fault::new(Blame::Peer, "usage.number", text));
            }
            if [&looks.number, &looks.phone].into_iter().any(|pattern| pattern.matches('#').count() < DIGITS_MIN) {
                let text = format!("a pattern of fewer than {DIGITS_MIN} digits: their numbers would be somebody's");
                return Err(Fault::new(Blame::Peer, "usage.pattern", text));
            }
            let configured = || centre.config().patients.number_system.clone();
            let Some(system) = looks.number_system.clone().or_else(configured) else {
                let text = "no naming system of hospital numbers is configured: by another one than the others' they would be told at sight";
                return Err(Fault::new(Blame::Peer, "usage.number-system", text)
                    .guidance("[patients] number_system in holdfast.toml, or --number-system URI as the others' identifiers have it"));
            };
            // Who may register gets in for a moment, on record as everybody.
            let permit = admit(Role::Service.reaches())?;
            let (token, secret) = guard.issue_token(&permit, Role::Service, IMPORT, TOKEN_MS)?;
            let planted = plant(centre, wanted, (&looks, &system), &secret, console);
            let permit = admit(Role::Service.reaches())?;
            guard.revoke_token(&permit, token)?;
            planted?;
            let planted = guard.honey();
            Ok(Answer::done(format!("{planted} patients who don't exist"), json!({ "planted": planted })))
        }
    }
}

/// Each is marked as soon as she is here: one that isn't would be taken for a patient for good.
fn plant(
    centre: &Centre,
    wanted: usize,
    (looks, system): (&Looks, &str),
    secret: &str,
    console: &Context,
) -> Result<(), Fault> {
    let chart = centre.chart();
    let caller = chart.guard().authenticate_bearer(secret).map_err(|e| Fault::of(&e))?;
    let mut seed = [0; 8];
    chart.entropy().fill(&mut seed);
    let source = synthetic::Centre {
        seed: u64::from_le_bytes(seed),
        today: chart.now(),
        patients: wanted,
        on_treatment: 0,
        images: Images::Slice,
    };
    let offset = format!("{}\"", centre.config().utc_offset());
    for index in 0..wanted {
        let operation = OperationId::random(chart.entropy());
        let context = Context { caller: caller.clone(), purpose: Purpose::Operations, operation };
        let patient = source.patient(index);
        let (number, phone) = (free_number(centre, &looks.number)?, drawn(centre, &looks.phone));
        let as_here = |resource: &Vec<u8>| {
            let text = String::from_utf8_lossy(resource).replace(&patient.number, &number);
            let text = text.replace(synthetic::NUMBER_SYSTEM, system).replace(&patient.phone, &phone);
            text.replace("+05:30\"", &offset).into_bytes()
        };
        let resources: Vec<Vec<u8>> = patient.fhir.iter().map(as_here).collect();
        let bytes: Vec<&[u8]> = resources.iter().map(Vec::as_slice).collect();
        let permit = chart
            .admit(console, GuardAct::ManageAccess, Target::Centre, Role::Service.reaches())
            .map_err(|e| e.fault())?;
        chart.import(&context, &bytes).map_err(|e| e.fault())?;
        let id = chart.find_patient(&format!("Patient/{}", patient.id)).map_err(|e| e.fault())?;
        let lost = || Fault::new(Blame::Ours, "honey.lost", "a patient who was just registered is not here");
        chart.guard().plant_honey(&permit, &[id.ok_or_else(lost)?])?;
    }
    Ok(())
}

/// Digits in place of each #.
fn drawn(centre: &Centre, pattern: &str) -> String {
    let mut digits = vec![0; pattern.len()];
    centre.chart().entropy().fill(&mut digits);
    let digit = |(c, byte): (char, u8)| if c == '#' { char::from(b'0' + byte % 10) } else { c };
    pattern.chars().zip(digits).map(digit).collect()
}

/// One that nobody has.
fn free_number(centre: &Centre, pattern: &str) -> Result<String, Fault> {
    let chart = centre.chart();
    for _ in 0..DRAWS_MAX {
        let number = drawn(centre, pattern);
        if chart.patients_by_number(&number).map_err(|e| e.fault())?.is_empty() {
            return Ok(number);
        }
    }
    Err(Fault::new(Blame::Peer, "usage.pattern", "the numbers of this pattern are somebody's: leave more digits open"))
}
