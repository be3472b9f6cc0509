//! `holdfast transfer`: makes one patient's bundle at the centre, sealed here to who gets it; and checks one, wherever.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kit::{Blame, Fault};

use super::{Asked, verify};
use crate::acts::{Act, Answer, nobody};
use crate::commands::print;
use crate::plugins::Client;
use crate::{Data, Output, control};

/// A token is a line.
const TOKEN_BYTES_MAX: u64 = 1_024;

#[derive(Subcommand)]
pub enum Command {
    /// Make one patient's bundle for another centre: her DICOM files as received, her records, a summary as page, PDF and FHIR, with
    /// the proof that this centre's log names it. Exit 3 where something that is named in it isn't here.
    Make(Box<Make>),
    /// Check a bundle: what is in it, whose it is, who made it and when, whether it is whole and really that centre's. Asks nobody. Exit 4
    /// where something is altered, missing, too many or cut short, 3 where nobody has checked who made it, or it says that it isn't complete.
    Verify(Box<verify::Verify>),
}

#[derive(Args)]
pub struct Make {
    /// The hospital number, or Patient/ID with her FHIR id.
    #[arg(long)]
    patient: String,
    /// The other centre's name.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Why; it stands in the bundle, and under her key in the record of what was handed on.
    #[arg(long)]
    reason: String,
    /// treatment, emergency, or patient-request.
    #[arg(long, default_value = "treatment")]
    purpose: String,
    /// The token of the oncologist or physicist who answers for it, in a file; - for standard input.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The other centre's age recipient (age1…, or age1NAME1… of a token), once for each.
    #[arg(long = "recipient", value_name = "RECIPIENT", required_unless_present = "plain")]
    recipients: Vec<String>,
    /// Seal it to nobody: whoever gets hold of the file reads it.
    #[arg(long, conflicts_with = "recipients")]
    plain: bool,
    /// A new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    plugins: Client,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Make(make) => make.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}

fn failed(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "transfer.file", format!("{}: {why}", file.display()))
}

pub fn token_of(file: &Path) -> Result<String, Fault> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
        false => File::open(file).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|e| failed(file, e))?;
    Ok(text.trim().to_owned())
}

impl Make {
    fn run(self) -> Result<u8, Fault> {
        if self.out.exists() {
            return Err(failed(&self.out, "it is there already, and nothing is written over"));
        }
        let token = token_of(&self.token)?;
        // Before anything is opened: a recipient that is none is no reason to open a chart.
        let encryptor = if self.plain { None } else { Some(self.plugins.encryptor(&self.recipients)?) };
        if self.plain {
            complain!(
                "holdfast: WARNING: this bundle is sealed to nobody: whoever gets hold of the file reads her records"
            );
        }
        let mut partial = self.out.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let done = self.write(token, encryptor, &partial);
        if done.is_err() {
            // What is left of it is nothing.
            drop(fs::remove_file(&partial));
        }
        let mut answer = done?;
        answer.text.push_str(&format!("\n  {}", self.out.display()));
        Ok(print(self.output, &answer))
    }

    fn write(&self, token: String, encryptor: Option<age::Encryptor>, partial: &Path) -> Result<Answer, Fault> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let no = |e: std::io::Error| failed(partial, e);
        let file = File::options().write(true).create_new(true).mode(0o600).open(partial).map_err(no)?;
        let mut file = BufWriter::new(file);
        let act = Act::TransferMake(Asked {
            token,
            patient: self.patient.clone(),
            to: self.to.clone(),
            reason: self.reason.clone(),
            purpose: self.purpose.clone(),
            recipients: self.recipients.clone(),
        });
        let answer = match encryptor {
            None => control::perform_into(&self.data.data, act, &mut nobody, &mut file)?,
            Some(encryptor) => {
                let mut sealed = encryptor.wrap_output(&mut file).map_err(no)?;
                let answer = control::perform_into(&self.data.data, act, &mut nobody, &mut sealed)?;
                sealed.finish().map_err(no)?;
                answer
            }
        };
        file.flush().map_err(no)?;
        file.get_ref().sync_all().map_err(no)?;
        fs::rename(partial, &self.out).map_err(no)?;
        Ok(answer)
    }
}
