//! The binary: command line, configuration, wiring.

#![allow(unreachable_pub)] // in a binary, `pub` says: for the other modules

#[macro_use]
mod say;

mod acts;
mod adopt;
mod alarms;
mod bucket_files;
mod buckets;
mod centre;
mod certificates;
mod commands;
mod config;
mod containments;
mod control;
mod custodians;
mod demo;
mod diagnose;
mod doctor;
mod domains;
mod drill_fire;
mod drill_honest_year;
mod drill_machines;
mod drill_store;
mod drill_system;
mod drill_wrong_dose;
mod first;
mod fleet;
mod gateways;
mod grow;
mod honey;
mod interruptions;
mod left;
mod outside;
mod packs;
mod paper;
mod plan;
mod plugins;
mod policies;
mod posture;
mod proofs;
mod proven;
mod put_off;
mod renewals;
mod reports;
mod scripts;
mod serve;
mod settings;
mod siem;
mod signers;
mod site;
mod staging;
mod standing;
mod telling;
mod transfer;
mod watched;
mod who_saw;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use kit::{Blame, Fault};

use crate::acts::Act;

/// Exit codes: 0 done, 1 failed, 2 usage, 3 degraded, 4 integrity failure or veto.
pub const USAGE: u8 = 2;
pub const DEGRADED: u8 = 3;
pub const INTEGRITY: u8 = 4;

/// A cancer centre's records and radiotherapy safety, kept working through a ransomware attack.
#[derive(Parser)]
#[command(name = "holdfast", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where a centre's data lies.
#[derive(Args, Clone)]
struct Data {
    /// The centre's data folder.
    #[arg(long, env = "HOLDFAST_DATA", default_value = "holdfast-data", value_name = "DIR")]
    data: PathBuf,
}

/// How an answer is printed.
#[derive(Args, Clone, Copy)]
struct Output {
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Lay out an empty centre.
    Init(commands::Init),
    /// Run the gateway: pages, FHIR, DICOM.
    Serve(serve::Serve),
    /// Check every shard, signature, entry and payload; exit 4 on any damage.
    Verify {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Make again what is missing or damaged, from what is left.
    Scrub {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// The log's head and proofs from it, to be kept outside; and to check them there.
    #[command(subcommand)]
    Ledger(outside::Command),
    /// Rebuild a centre from survivors and custodians, into an empty folder.
    Recover(Box<commands::Recover>),
    /// Bearer tokens for machines and scripts.
    #[command(subcommand)]
    Token(commands::Token),
    /// A one-time sign-in link for the pages of the running server.
    SignIn(commands::SignIn),
    /// A one-time code by which somebody makes her first passkey, or a new one where all are lost. Otherwise two administrators let people
    /// in, on the page /people.
    Invite(commands::Invite),
    /// The machine that this command runs on, as a gateway.
    #[command(subcommand)]
    Gateway(Box<gateways::Command>),
    /// Whom the officer lets open charts, where servers are machines of their own.
    #[command(subcommand)]
    Certificate(certificates::Command),
    /// People whose signatures count.
    #[command(subcommand)]
    Person(commands::Person),
    /// Who saw, changed or was refused what of one patient.
    Access {
        /// The hospital number, or Patient/ID with her FHIR id.
        #[arg(long)]
        patient: String,
        /// Her own list, in plain words, as a page and as PDF.
        #[arg(long, requires = "out")]
        for_patient: bool,
        /// The folder for it.
        #[arg(long, value_name = "DIR", requires = "for_patient")]
        out: Option<PathBuf>,
        /// The token of the records officer who answers her, in a file; - for standard input. Without one it is the server's own terminal.
        #[arg(long, value_name = "FILE", requires = "for_patient")]
        token: Option<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// RT Plans: digest, difference, approval.
    #[command(subcommand)]
    Plan(commands::Plan),
    /// The check before each fraction.
    #[command(subcommand)]
    Gate(commands::Gate),
    /// Downtime packs: what the wards go on with when nothing runs.
    #[command(subcommand)]
    Pack(packs::Command),
    /// A bundle of one patient for another centre, that opens without Holdfast.
    #[command(subcommand)]
    Transfer(transfer::Command),
    /// Courses that were interrupted.
    #[command(subcommand)]
    Interruption(interruptions::Command),
    /// What the centre weighs interrupted courses by: tissues, days of treatment, machines.
    #[command(subcommand)]
    Rules(commands::Rules),
    /// Who may do what: the rules that run, and what others would change.
    #[command(subcommand)]
    Policy(policies::Command),
    /// Close doors while something is wrong, and open them again. Treatment goes on in every case.
    #[command(subcommand)]
    Contain(containments::Command),
    /// What stands out of honest work: whose it is to look at, and what it was.
    #[command(subcommand)]
    Alarm(alarms::AlarmCommand),
    /// Patients who don't exist: whoever opens the chart of one rings.
    #[command(subcommand)]
    Honey(honey::Command),
    /// The glass that was broken, and whether somebody has looked at it.
    #[command(subcommand)]
    Emergency(alarms::EmergencyCommand),
    /// One patient's keys.
    #[command(subcommand)]
    Patient(commands::Patient),
    /// The people whose sheets rebuild a centre when its servers are gone.
    #[command(subcommand)]
    Custodian(custodians::Command),
    /// A centre on servers of its own: what each of them needs.
    #[command(subcommand)]
    Centre(plan::Command),
    /// The daemon on each server; and, at the gateway, another in the place of a lost one.
    #[command(subcommand)]
    Holder(renewals::HolderCommand),
    /// The holders' keys.
    #[command(subcommand)]
    Keys(renewals::Keys),
    /// Buckets of an object store that are locations of a centre.
    #[command(subcommand)]
    Bucket(bucket_files::Command),
    /// How each control of the defence stands, when it was last proven and by what. Exit 3 where any doesn't pass.
    Doctor(doctor::Doctor),
    /// Attacks on the drill's own folders, judged by independent checkers.
    #[command(subcommand)]
    Drill(commands::Drill),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli.command) {
        Ok(0) if say::failed() => ExitCode::from(1),
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            complain!("holdfast: {fault}");
            if wants_json(&matches) {
                say!("{}", serde_json::json!({ "error": fault }));
            }
            ExitCode::from(match fault.blame {
                Blame::Integrity => INTEGRITY,
                // The command line can be read, and asks for what can't be: as wrong as one that can't be read.
                _ if fault.code.starts_with("usage.") => USAGE,
                _ => 1,
            })
        }
    }
}

/// Whether the command that was given takes `--json`, and got it.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        None => matches.try_get_one::<bool>("json").ok().flatten().is_some_and(|json| *json),
    }
}

fn run(command: Command) -> Result<u8, Fault> {
    match command {
        Command::Init(init) => init.run(),
        Command::Serve(serve) => serve.run(),
        Command::Ledger(command) => command.run(),
        Command::Verify { data, output } => commands::act(&data, output, Act::Verify),
        Command::Scrub { data, output } => commands::act(&data, output, Act::Scrub),
        Command::Recover(recover) => recover.run(),
        Command::Token(token) => token.run(),
        Command::SignIn(sign_in) => sign_in.run(),
        Command::Invite(invite) => invite.run(),
        Command::Gateway(gateway) => gateway.run(),
        Command::Certificate(certificate) => certificate.run(),
        Command::Person(person) => person.run(),
        Command::Access { patient, out: Some(out), token, data, output, .. } => {
            let token = token.as_deref().map(transfer::token_of).transpose()?;
            who_saw::print_into(&data, output, who_saw::Asked { patient, token }, &out)
        }
        Command::Access { patient, data, output, .. } => commands::access(&data, output, &patient),
        Command::Plan(plan) => plan.run(),
        Command::Gate(gate) => gate.run(),
        Command::Rules(rules) => rules.run(),
        Command::Policy(policy) => policy.run(),
        Command::Contain(contain) => contain.run(),
        Command::Alarm(alarm) => alarm.run(),
        Command::Honey(honey) => honey.run(),
        Command::Emergency(emergency) => emergency.run(),
        Command::Patient(patient) => patient.run(),
        Command::Custodian(custodian) => custodian.run(),
        Command::Centre(centre) => centre.run(),
        Command::Holder(holder) => holder.run(),
        Command::Keys(keys) => keys.run(),
        Command::Pack(pack) => pack.run(),
        Command::Transfer(transfer) => transfer.run(),
        Command::Interruption(interruption) => interruption.run(),
        Command::Bucket(bucket) => {
            serve::logging();
            bucket.run()
        }
        Command::Doctor(doctor) => doctor.run(),
        Command::Drill(drill) => drill.run(),
    }
}
