//! Patients who don't exist, among those who do: they are on no list, nobody has a reason to open one, and it rings when somebody does.

use chart::Context;
use clap::Subcommand;
use drill::synthetic::{self, Images};
use guard::{Act as GuardAct, HONEY_MAX, Purpose, Role, Sensitivity, Target};
use kit::{Blame, Fault, OperationId, PatientId};
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
    Plant { count: u32, number: String },
    Status,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Plant { count, number, data, output } => {
                commands::act(&data, output, Act::Honey(Asked::Plant { count, number }))
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
        Asked::Plant { count, number } => {
            let (wanted, room) = (count as usize, HONEY_MAX - guard.honey().min(HONEY_MAX));
            if wanted == 0 || wanted > room {
                let text = format!("{wanted} patients: 1 to {room} more are possible");
                return Err(Fault::new(Blame::Peer, "usage.number", text));
            }
            if number.matches('#').count() < DIGITS_MIN {
                let text = format!("a pattern of fewer than {DIGITS_MIN} digits: their numbers would be somebody's");
                return Err(Fault::new(Blame::Peer, "usage.pattern", text));
            }
            // Who may register gets in for a moment, on record as everybody.
            let permit = admit(Role::Service.reaches())?;
            let (token, secret) = guard.issue_token(&permit, Role::Service, IMPORT, TOKEN_MS)?;
            let planted = plant(centre, wanted, &number, &secret);
            // Many take longer than a permit lasts.
            let permit = admit(Role::Service.reaches())?;
            guard.revoke_token(&permit, token)?;
            guard.plant_honey(&permit, &planted?)?;
            let planted = guard.honey();
            Ok(Answer::done(format!("{planted} patients who don't exist"), json!({ "planted": planted })))
        }
    }
}

fn plant(centre: &Centre, wanted: usize, pattern: &str, secret: &str) -> Result<Vec<PatientId>, Fault> {
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
    let mut patients = Vec::with_capacity(wanted);
    for index in 0..wanted {
        let operation = OperationId::random(chart.entropy());
        let context = Context { caller: caller.clone(), purpose: Purpose::Operations, operation };
        let patient = source.patient(index);
        let number = free_number(centre, pattern)?;
        let with_number =
            |resource: &Vec<u8>| String::from_utf8_lossy(resource).replace(&patient.number, &number).into_bytes();
        let resources: Vec<Vec<u8>> = patient.fhir.iter().map(with_number).collect();
        let bytes: Vec<&[u8]> = resources.iter().map(Vec::as_slice).collect();
        chart.import(&context, &bytes).map_err(|e| e.fault())?;
        let id = chart.find_patient(&format!("Patient/{}", patient.id)).map_err(|e| e.fault())?;
        patients.push(
            id.ok_or_else(|| Fault::new(Blame::Ours, "honey.lost", "a patient who was just registered is not here"))?,
        );
    }
    Ok(patients)
}

/// One that nobody has.
fn free_number(centre: &Centre, pattern: &str) -> Result<String, Fault> {
    let chart = centre.chart();
    for _ in 0..DRAWS_MAX {
        let mut digits = [0; 32];
        chart.entropy().fill(&mut digits);
        let mut digits = digits.iter().cycle();
        let mut digit = || char::from(b'0' + digits.next().map_or(0, |byte| byte % 10));
        let number: String = pattern.chars().map(|c| if c == '#' { digit() } else { c }).collect();
        if chart.patients_by_number(&number).map_err(|e| e.fault())?.is_empty() {
            return Ok(number);
        }
    }
    Err(Fault::new(Blame::Peer, "usage.pattern", "the numbers of this pattern are somebody's: leave more digits open"))
}
