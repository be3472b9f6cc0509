//! What is kept outside, so that nobody inside can deny it later: the log's head, and proofs that an entry is in it. They are
//! checked with nothing but keys, on a machine that has no part in the centre.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kit::{Blame, Fault};
use ledger::{TlogProof, Vkey, WitnessVkey, witness_quorum};
use serde_json::{Value, json};

use crate::acts::{Act, Answer};
use crate::commands::print;
use crate::proven::Trusted;
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
    /// Check a proof or a checkpoint with keys that were kept apart from the centre; exit 4 where it proves nothing, or fewer than a
    /// quorum of the witnesses whose keys are given have cosigned it: give all of them. It asks nobody.
    Check {
        file: PathBuf,
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Keys {
    /// What `ledger keys` printed, in a file.
    #[arg(long, value_name = "FILE", required_unless_present = "log", conflicts_with_all = ["log", "witness"])]
    pub keys: Option<PathBuf>,
    /// The log's key.
    #[arg(long, value_name = "VKEY", allow_hyphen_values = true)]
    pub log: Option<String>,
    /// A witness's key; of each one.
    #[arg(long, value_name = "VKEY", allow_hyphen_values = true)]
    pub witness: Vec<String>,
}

/// A line for each of 32 servers.
const KEYS_BYTES_MAX: u64 = 64 * 1024;

impl Keys {
    pub fn read(self) -> Result<Trusted, Fault> {
        let (mut logs, mut witnesses) = (Vec::from_iter(self.log), self.witness);
        if let Some(file) = &self.keys {
            let failed = |why: String| Fault::new(Blame::Peer, "ledger.keys", format!("{}: {why}", file.display()));
            let length = fs::metadata(file).map_err(|e| failed(e.to_string()))?.len();
            if length > KEYS_BYTES_MAX {
                return Err(failed(format!("{length} bytes, the maximum is {KEYS_BYTES_MAX}")));
            }
            (logs, witnesses) = lines(&fs::read_to_string(file).map_err(|e| failed(e.to_string()))?).map_err(failed)?;
        }
        let log = logs.first().map(|key| key.parse()).transpose()?;
        let log = log.ok_or_else(|| Fault::new(Blame::Peer, "usage.keys", "the log's key is needed"))?;
        Ok(Trusted { log, witnesses: witnesses.iter().map(|key| key.parse()).collect::<Result<_, _>>()? })
    }
}

/// What `ledger keys` prints: the log's key, the witnesses'.
fn lines(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut logs, mut witnesses) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match line.trim().split_once(' ').map(|(what, key)| (what, key.trim().to_owned())) {
            Some(("log", key)) => logs.push(key),
            Some(("witness", key)) => witnesses.push(key),
            _ if line.trim().is_empty() => {}
            _ => return Err("a line is neither `log VKEY` nor `witness VKEY`".to_owned()),
        }
    }
    if logs.len() != 1 {
        return Err(format!("{} lines `log VKEY`, one is needed", logs.len()));
    }
    Ok((logs, witnesses))
}

/// The keys that stand in such a text.
pub fn trusted(text: &str) -> Result<Trusted, Fault> {
    let (logs, witnesses) = lines(text).map_err(|why| Fault::new(Blame::Peer, "ledger.keys", why))?;
    Keys { keys: None, log: logs.into_iter().next(), witness: witnesses }.read()
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        let ask = |data: &Data, output, act| Ok(print(output, &control::perform(&data.data, act)?));
        match self {
            Self::Checkpoint { data, output } => ask(&data, output, Act::LedgerCheckpoint),
            Self::Proof { entry, data, output } => ask(&data, output, Act::LedgerProof { entry }),
            Self::Keys { data, output } => ask(&data, output, Act::LedgerKeys),
            Self::Check { file, keys, output } => {
                let failed = |why: String| Fault::new(Blame::Peer, "ledger.file", format!("{}: {why}", file.display()));
                let bytes = fs::read(&file).map_err(|e| failed(e.to_string()))?;
                let Trusted { log, witnesses } = keys.read()?;
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
    // A checkpoint is a signed note, and begins with the log's name.
    let is_proof = !bytes.starts_with(log.name().as_bytes());
    let checked = match is_proof {
        true => TlogProof::from_bytes(bytes).and_then(|proof| Ok((Some(proof.index), proof.check(log, witnesses)?))),
        false => ledger::cosigners(bytes, log, witnesses).map(|head| (None, head)),
    };
    let (index, (head, cosigned)) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let text = format!("PROVES NOTHING: {error}");
            return Answer { exit: 4, text, json: json!({ "proven": false, "why": error.to_string() }) };
        }
    };
    let (by, of, quorum) = (cosigned.len(), witnesses.len(), witness_quorum(witnesses.len()));
    let is_enough = witnesses.is_empty() || by >= quorum;
    let mut text = match index {
        Some(index) => format!("entry {index} is in the log {}, of {} entries then", head.origin, head.size),
        None => format!("the log {} had {} entries, root {}", head.origin, head.size, head.root),
    };
    match (witnesses.is_empty(), is_enough) {
        (true, _) => text.push_str("\n  by the log's word alone: no witness's key was given"),
        (false, true) => text.push_str(&format!("\n  {by} of {of} witnesses have cosigned it, {quorum} are needed")),
        (false, false) => {
            text.push_str(&format!("\n  TOO FEW WITNESSES: {by} of {of} have cosigned it, {quorum} are needed"));
        }
    }
    let json: Value = json!({ "proven": true, "entry": index, "log": head.origin, "size": head.size,
                              "root": head.root,
                              "cosigned": by, "witnesses": of, "quorum": quorum });
    Answer { exit: if is_enough { 0 } else { 4 }, text, json }
}
