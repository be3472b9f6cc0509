//! What is kept outside, so that nobody inside can deny it later: the log's head, and proofs that an entry is in it. They are
//! checked with nothing but keys, on a machine that has no part in the centre.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use kit::{Blame, Fault};
use ledger::{TlogProof, Vkey, WitnessVkey, witness_quorum};
use serde_json::{Value, json};

use crate::acts::{Act, Answer};
use crate::commands::print;
use crate::{Data, Output, control};

#[derive(Subcommand)]
pub enum Command {
    /// The log's newest head with the witnesses' cosignatures (C2SP tlog-checkpoint): mail it to an auditor, daily.
    Checkpoint {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// That an entry is in the log (C2SP tlog-proof): the receipt of a write, for whoever has to believe it. Keep it as FILE.tlog-proof.
    Proof {
        /// Its number, as the answer to the write has it (X-Holdfast-Entry).
        #[arg(long)]
        entry: u64,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// The keys by which others check: the log's, and each witness's.
    Keys {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Check a proof with keys that were kept apart from the centre; exit 4 where it proves nothing, or fewer than a quorum of the
    /// witnesses whose keys are given have cosigned it: give all of them. It asks nobody.
    Check {
        file: PathBuf,
        /// The log's key, as `ledger keys` printed it.
        #[arg(long, value_name = "VKEY", allow_hyphen_values = true)]
        log: String,
        /// A witness's key; of each one.
        #[arg(long, value_name = "VKEY", allow_hyphen_values = true)]
        witness: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        let ask = |data: &Data, output, act| Ok(print(output, &control::perform(&data.data, act)?));
        match self {
            Self::Checkpoint { data, output } => ask(&data, output, Act::LedgerCheckpoint),
            Self::Proof { entry, data, output } => ask(&data, output, Act::LedgerProof { entry }),
            Self::Keys { data, output } => ask(&data, output, Act::LedgerKeys),
            Self::Check { file, log, witness, output } => {
                let failed = |why: String| Fault::new(Blame::Peer, "ledger.file", format!("{}: {why}", file.display()));
                let bytes = fs::read(&file).map_err(|e| failed(e.to_string()))?;
                let log: Vkey = log.parse()?;
                let witnesses = witness.iter().map(|key| key.parse()).collect::<Result<Vec<WitnessVkey>, _>>()?;
                Ok(print(output, &check(&bytes, &log, &witnesses)))
            }
        }
    }
}

/// What the vault says of its head, and by which keys.
pub fn checkpoint(vault: &vault::Vault) -> Answer {
    let note = vault.signed_checkpoint().unwrap_or_default();
    let note = String::from_utf8_lossy(&note).into_owned();
    let json = json!({ "checkpoint": note, "log": vault.vkey().to_string(), "witnesses": keys_of(vault) });
    // The note ends its last line itself.
    Answer::done(note.trim_end_matches('\n').to_owned(), json)
}

pub fn proof(vault: &vault::Vault, entry: u64) -> Result<Answer, Fault> {
    let proof = String::from_utf8_lossy(&vault.prove(entry)?.to_bytes()).into_owned();
    let json = json!({ "proof": proof, "log": vault.vkey().to_string(), "witnesses": keys_of(vault) });
    Ok(Answer::done(proof.trim_end_matches('\n').to_owned(), json))
}

pub fn keys(vault: &vault::Vault) -> Answer {
    let (log, witnesses) = (vault.vkey().to_string(), keys_of(vault));
    let lines = std::iter::once(format!("log      {log}")).chain(witnesses.iter().map(|key| format!("witness  {key}")));
    Answer::done(lines.collect::<Vec<_>>().join("\n"), json!({ "log": log, "witnesses": witnesses }))
}

fn keys_of(vault: &vault::Vault) -> Vec<String> {
    vault.witness_keys().iter().map(ToString::to_string).collect()
}

fn check(bytes: &[u8], log: &Vkey, witnesses: &[WitnessVkey]) -> Answer {
    let checked = TlogProof::from_bytes(bytes).and_then(|proof| Ok((proof.index, proof.check(log, witnesses)?)));
    let (index, (head, cosigned)) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let text = format!("PROVES NOTHING: {error}");
            return Answer { exit: 4, text, json: json!({ "proven": false, "why": error.to_string() }) };
        }
    };
    let (by, of, quorum) = (cosigned.len(), witnesses.len(), witness_quorum(witnesses.len()));
    let is_enough = witnesses.is_empty() || by >= quorum;
    let mut text = format!("entry {index} is in the log {}, of {} entries then", head.origin, head.size);
    match (witnesses.is_empty(), is_enough) {
        (true, _) => text.push_str("\n  by the log's word alone: no witness's key was given"),
        (false, true) => text.push_str(&format!("\n  {by} of {of} witnesses have cosigned it, {quorum} are needed")),
        (false, false) => {
            text.push_str(&format!("\n  TOO FEW WITNESSES: {by} of {of} have cosigned it, {quorum} are needed"));
        }
    }
    let json: Value = json!({ "proven": true, "entry": index, "log": head.origin, "size": head.size,
                              "cosigned": by, "witnesses": of, "quorum": quorum });
    Answer { exit: if is_enough { 0 } else { 4 }, text, json }
}
