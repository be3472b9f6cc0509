//! `holdfast-holder`: the daemon alone, for servers on which nothing else of Holdfast runs.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

/// The daemon on each server: keeps shards, opens key shares, witnesses the log.
#[derive(Parser)]
#[command(name = "holdfast-holder", version)]
struct Cli {
    #[command(subcommand)]
    command: holder::Command,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // A closed pipe is no reason to stop a daemon.
    match Cli::parse().command.run(&mut |line| drop(writeln!(std::io::stdout(), "{line}"))) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "holdfast-holder: {fault}");
            ExitCode::FAILURE
        }
    }
}
