//! Who may do what: the rules that run, and what others would change.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use guard::{Difference, Policy};
use kit::{Blame, Fault};
use serde_json::json;

use crate::acts::Answer;
use crate::{INTEGRITY, Output, commands};

#[derive(Subcommand)]
pub enum Command {
    /// The rules that run, in Cedar, and by which name: a beginning for rules of one's own. What no rules can allow isn't among them
    /// (docs/policy.md).
    Show {
        #[command(flatten)]
        output: Output,
    },
    /// Who could do what he can't, and who no longer, by the rules in a file. Exit 4 where they differ, 1 where they don't hold together.
    Review {
        /// Rules in Cedar.
        rules: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        // What is built in holds together, or nothing here would run.
        let built_in = Policy::built_in().map_err(|e| Fault { blame: Blame::Ours, ..Fault::of(&e) })?;
        match self {
            Self::Show { output } => {
                let (text, digest) = (built_in.text(), built_in.digest());
                let json = json!({ "digest": digest, "rules": text });
                let text = format!("{text}\n// {digest}, with what is never allowed");
                Ok(commands::print(output, &Answer::done(text, json)))
            }
            Self::Review { rules, output } => {
                let proposed = read(&rules)?;
                let differences = built_in.differences(&proposed);
                let json = json!({ "digest": proposed.digest(), "differences": differences });
                let exit = if differences.is_empty() { 0 } else { INTEGRITY };
                Ok(commands::print(output, &Answer { exit, text: in_words(&differences), json }))
            }
        }
    }
}

fn read(file: &Path) -> Result<Policy, Fault> {
    let unreadable = |e: std::io::Error| Fault::new(Blame::Peer, "file.unreadable", format!("{}: {e}", file.display()));
    let text = fs::read_to_string(file).map_err(unreadable)?;
    Policy::of_centre(&text).map_err(|e| {
        let fault = Fault::of(&e);
        Fault { message: format!("{}: {}", file.display(), fault.message), ..fault }
    })
}

fn in_words(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "nobody could do anything else".to_owned();
    }
    let (may, may_not): (Vec<&Difference>, Vec<&Difference>) = differences.iter().partition(|differs| differs.may_now);
    let mut lines = Vec::new();
    for (heading, these) in [("These could do what they can't now:", may), ("These could no longer:", may_not)] {
        if !these.is_empty() {
            lines.push(heading.to_owned());
            lines.extend(these.iter().map(|differs| format!("  {differs}")));
        }
    }
    lines.join("\n")
}
