//! Custodians: making a sheet, and the yearly proof that each one's share still opens.
//!
//! ```text
//!  centre: custodian challenge ──► file ──► her own machine: custodian test ──► answer ──► centre: custodian confirm
//! ```
//! Her secret never comes to the centre but in a recovery. A proof is an entry in the ledger; one that is older than a year is
//! shown as overdue.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chart::Chart;
use clap::Subcommand;
use keys::{CustodianPackage, Plugins};
use kit::format::{self, FormatError, Version};
use kit::{Blame, Entropy, Fault, OsEntropy, Timestamp, write_private};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use qrcode::QrCode;
use qrcode::render::svg;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::acts::{Act, Answer, decode_file, encode_file};
use crate::centre::{self, Centre};
use crate::plugins::Client;
use crate::{Data, Output, commands, control, renewals};

const LIST: &str = "custodian-proofs";
const KIND: &str = "centre.custodian";
/// Notes that are looked at: a proof and a challenge a year for each of 32, for some years.
const NOTES_MAX: usize = 1_024;
/// A proof lasts a year.
pub const PROOF_LIFE_MS: i64 = 365 * 86_400_000;
/// Custodians who are made where nobody is named.
const MADE: usize = 3;
/// A challenge and the package: a few kilobytes for each custodian.
const CHALLENGE_BYTES_MAX: usize = 512 * 1024;
/// An identity or 24 words, and what people write around them.
const SECRET_FILE_BYTES_MAX: usize = 64 * 1024;
/// Digits of an answer: 80 bits, good once.
const ANSWER_BYTES: usize = 10;

#[derive(Subcommand)]
pub enum Command {
    /// On the custodian's own machine: make her secret and a sheet to print. What is printed here goes to the centre.
    ///
    /// One who has a hardware token needs no sheet, and no enrolment here: her token makes its secret itself and keeps it, so that
    /// there are no words and no code to print. Its age plugin (age-plugin-yubikey, say) prints her recipient, age1NAME1…, for the
    /// centre, and an identity, AGE-PLUGIN-NAME-1…, to keep in a file for `custodian test` and `recover`. A token that is lost
    /// is a share that is lost.
    Enrol {
        /// Whose sheet it is, as it stands on it.
        #[arg(long)]
        name: String,
        /// Where the sheet is written; it is deleted once it is printed.
        #[arg(long, default_value = "custodian-sheet.html", value_name = "FILE")]
        out: PathBuf,
    },
    /// At the centre: a file for one custodian, by which she shows that her share still opens.
    Challenge {
        /// Her number, as `custodian list` has it.
        #[arg(long)]
        number: u8,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        plugins: Client,
        #[command(flatten)]
        data: Data,
    },
    /// On the custodian's own machine: open her share, and give the answer to a challenge.
    Test {
        /// Her secret (AGE-SECRET-KEY-1…), its 24 words, or what her token's plugin wrote (AGE-PLUGIN-…), in a file.
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        #[arg(long, value_name = "FILE")]
        challenge: PathBuf,
        #[command(flatten)]
        plugins: Client,
        #[command(flatten)]
        output: Output,
    },
    /// At the centre: take her answer; the proof goes into the ledger.
    Confirm {
        #[arg(long)]
        number: u8,
        /// What `custodian test` printed.
        #[arg(long)]
        answer: String,
        #[command(flatten)]
        data: Data,
    },
    /// Who the custodians are, and when each one's share was last proven to open.
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// At the centre: other custodians, or the same ones with new secrets. The sheets of those before are worth nothing
    /// afterwards, and are to be burnt: an erased patient is gone for good when that and a turn of the keys are done.
    Renew(renewals::Renew),
    /// Rebuild a centre from survivors and custodians; the same as `holdfast recover`.
    Recover(Box<commands::Recover>),
}

#[derive(Encode, Decode)]
struct Challenge {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    number: u8,
    #[n(2)]
    package: ByteVec,
    /// An age file for her: 32 random bytes.
    #[n(3)]
    sealed: ByteVec,
}

/// What the ledger holds of a custodian.
#[derive(Encode, Decode)]
enum Note {
    /// SHA-256 of the answer that she has to give.
    #[n(0)]
    Challenged(#[n(0)] u8, #[cbor(n(1), with = "minicbor::bytes")] [u8; 32]),
    #[n(1)]
    Proven(#[n(0)] u8),
    /// Others are custodians from here on.
    #[n(2)]
    Renewed,
}

/// One custodian, as the centre knows her.
pub struct Custodian {
    pub number: u8,
    pub recipient: String,
    pub proven: Option<Timestamp>,
    /// When the next proof is due.
    pub due: Timestamp,
}

impl Custodian {
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        now > self.due
    }
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "custodian.file", format!("{}: {why}", place.display()))
}

/// The secret of a custodian from a file: the line that is an identity, or its 24 words.
fn secret_of(file: &Path) -> Result<Zeroizing<String>, Fault> {
    // Room for all of it at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(SECRET_FILE_BYTES_MAX + 1));
    let opened = File::open(file).map_err(|e| failed(file, e))?;
    opened.take(SECRET_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|e| failed(file, e))?;
    if text.len() > SECRET_FILE_BYTES_MAX {
        return Err(failed(file, format!("more than {SECRET_FILE_BYTES_MAX} bytes, which is the maximum")));
    }
    let is_identity = |line: &&str| line.starts_with("AGE-SECRET-KEY-") || line.starts_with("AGE-PLUGIN-");
    if let Some(line) = text.lines().map(str::trim).find(is_identity) {
        return Ok(Zeroizing::new(line.to_owned()));
    }
    let words: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    if words.len() == 24 {
        return Ok(keys::identity_of_words(&Zeroizing::new(words.join(" ")))?);
    }
    Err(failed(file, "no line begins with AGE-SECRET-KEY- or AGE-PLUGIN-, and it is no 24 words"))
}

pub fn secrets_of(files: &[PathBuf]) -> Result<Vec<Zeroizing<String>>, Fault> {
    files.iter().map(|file| secret_of(file)).collect()
}

fn answer_of(secret: &[u8; 32]) -> String {
    let digest = Sha256::digest([b"holdfast custodian answer v1\n".as_slice(), secret].concat());
    let digits: String = digest.iter().take(ANSWER_BYTES).map(|byte| format!("{byte:02x}")).collect();
    digits.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-")
}

fn hash_of(answer: &str) -> [u8; 32] {
    let digits: String = answer.to_lowercase().chars().filter(char::is_ascii_hexdigit).collect();
    Sha256::digest(digits.as_bytes()).into()
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Enrol { name, out } => enrol(&name, &out),
            Self::Challenge { number, out, plugins, data } => {
                let challenge = challenge(&data.data, number, &plugins)?;
                write_private(&out, &challenge).map_err(|e| failed(&out, e))?;
                say!("{}: for custodian {number}; on her own machine:", out.display());
                say!("  holdfast custodian test --secret HER-SECRET --challenge {}", out.display());
                Ok(0)
            }
            Self::Test { secret, challenge, plugins, output } => {
                let identity = secret_of(&secret)?;
                let bytes = std::fs::read(&challenge).map_err(|e| failed(&challenge, e))?;
                let Challenge { number, package, sealed, .. } =
                    format::decode("challenge", &bytes, CHALLENGE_BYTES_MAX).map_err(|e| failed(&challenge, e))?;
                let package = CustodianPackage::from_bytes(&package).map_err(|e| failed(&challenge, e))?;
                // The share itself is opened and compared before anything is said.
                let own = package.check_share(&identity, &plugins)?;
                let answer = answer_of(&*keys::answer_challenge(own, &identity, &sealed, &plugins)?);
                let text = format!(
                    "your share opens: custodian {own} of {}, {} are needed\n  answer  {answer}\n  give it to the centre: holdfast \
                     custodian confirm --number {number} --answer {answer}",
                    package.n(),
                    package.m()
                );
                Ok(commands::print(output, &Answer { exit: 0, text, json: json!({ "number": own, "answer": answer }) }))
            }
            Self::Confirm { number, answer, data } => {
                let act = Act::CustodianConfirm { number, answer };
                Ok(commands::print(Output { json: false }, &control::perform(&data.data, act)?))
            }
            Self::List { data, output } => commands::act(&data, output, Act::CustodianList),
            Self::Renew(renew) => renew.run(),
            Self::Recover(recover) => recover.run(),
        }
    }
}

/// Notes that others are custodians now.
pub fn note_renewed(centre: &Centre) -> Result<(), Fault> {
    centre::note(centre.chart(), KIND, LIST, &format::encode(&Note::Renewed))
}

// ---- At the centre

/// The custodians of a centre, with their last proofs.
pub fn known(centre: &Centre) -> Result<Vec<Custodian>, Fault> {
    let chart = centre.chart();
    let mut proven = std::collections::BTreeMap::new();
    let mut since = centre.founded_at()?;
    for (at, note) in notes(chart)? {
        match note {
            Note::Proven(number) => {
                let last: &mut Timestamp = proven.entry(number).or_default();
                *last = at.max(*last);
            }
            // What is older is of the custodians before.
            Note::Renewed => {
                since = at;
                break;
            }
            Note::Challenged(..) => {}
        }
    }
    let package = chart.vault().custodian_package();
    let custodian = |(number, recipient): (u8, &str)| {
        let last = proven.get(&number).copied();
        let due = last.unwrap_or(since).plus_ms(PROOF_LIFE_MS);
        Custodian { number, recipient: recipient.to_owned(), proven: last, due }
    };
    Ok((1..).zip(package.recipients()).map(custodian).collect())
}

/// Newest first.
fn notes(chart: &Chart) -> Result<Vec<(Timestamp, Note)>, Fault> {
    let listed = chart.listed_back(&chart.list_tag(LIST, &[]), u64::MAX, NOTES_MAX).map_err(|e| e.fault())?;
    let read = |entry| {
        let (entry, meta) = chart.note_of(entry).map_err(|e| e.fault())?;
        let note = format::decode("a custodian's note", &meta.note, 256);
        let note = note.map_err(|e| Fault::new(Blame::Integrity, "custodian.note", e.to_string()))?;
        Ok((entry.time, note))
    };
    listed.into_iter().map(read).collect()
}

/// Notes which answer counts: `answer` is its hash, by custodian `number` of `package`.
pub fn challenged(centre: &Centre, number: u8, package: &[u8], answer: &[u8]) -> Result<Answer, Fault> {
    let chart = centre.chart();
    if chart.vault().custodian_package().to_bytes() != package {
        let text = "others have become custodians meanwhile";
        return Err(Fault::new(Blame::Conflict, "custodian.renewed", text));
    }
    let wrong = |_| Fault::new(Blame::Peer, "custodian.answer", "the hash of an answer has 32 bytes");
    let note = Note::Challenged(number, answer.try_into().map_err(wrong)?);
    centre::note(chart, KIND, LIST, &format::encode(&note))?;
    Ok(Answer::done("", json!({})))
}

pub fn confirm(centre: &Centre, number: u8, answer: &str) -> Result<Answer, Fault> {
    let hash = hash_of(answer);
    // The newest challenge counts, and only until it is answered.
    let newest = notes(centre.chart())?.into_iter().find(|(_, note)| match note {
        Note::Challenged(of, _) | Note::Proven(of) => *of == number,
        Note::Renewed => true,
    });
    match newest {
        Some((_, Note::Challenged(_, wanted))) if wanted == hash => {
            centre::note(centre.chart(), KIND, LIST, &format::encode(&Note::Proven(number)))?;
            let text = format!("custodian {number}: her share opens; the next proof is due in a year");
            Ok(Answer::done(text, json!({ "number": number })))
        }
        Some((_, Note::Challenged(..))) => {
            let text = format!("this is not custodian {number}'s answer to the newest challenge");
            Err(Fault::new(Blame::Peer, "custodian.answer", text))
        }
        _ => {
            let text = format!("no challenge of custodian {number} waits for an answer");
            Err(Fault::new(Blame::Absent, "custodian.no-challenge", text)
                .guidance(format!("make one: holdfast custodian challenge --number {number} --out FILE")))
        }
    }
}

pub fn list(centre: &Centre) -> Result<Answer, Fault> {
    let (now, known) = (centre.chart().now(), known(centre)?);
    let (needed, of) = centre.chart().vault().custodians();
    let undealt = centre.chart().vault().undealt()?;
    let mut lines = vec![format!("{needed} of {of} custodians recover")];
    if undealt > 0 {
        lines.push(format!(
            "  NOT YET: {undealt} living patients are dealt to holders or custodians that there were before: a change was cut \
             short. Repeat it, be it `holdfast custodian renew` or `holdfast holder replace`, and keep all sheets until then"
        ));
    }
    lines.extend(known.iter().map(|one| {
        let proven = one.proven.map_or("never proven".to_owned(), |at| format!("proven {at}"));
        let due = if one.is_overdue(now) { "OVERDUE since" } else { "next by" };
        format!("  {:>2}  {}  {proven}, {due} {}", one.number, one.recipient, one.due)
    }));
    let rows: Vec<_> = known
        .iter()
        .map(|one| {
            json!({ "number": one.number, "recipient": one.recipient, "proven": one.proven.map(|at| at.to_string()),
                    "due": one.due.to_string(), "overdue": one.is_overdue(now) })
        })
        .collect();
    let exit = if undealt > 0 || known.iter().any(|one| one.is_overdue(now)) { crate::DEGRADED } else { 0 };
    let json = json!({ "needed": needed, "undealt": undealt, "custodians": rows });
    Ok(Answer { exit, text: lines.join("\n"), json })
}

// ---- By the command, beside the centre

pub fn package_of(text: &str) -> Result<CustodianPackage, Fault> {
    let wrong = |e: FormatError| Fault::new(Blame::Peer, "custodian.package", e.to_string());
    CustodianPackage::from_bytes(&decode_file(text)?).map_err(wrong)
}

/// Made here, and not by the server: a token's plugin may have to seal it.
fn challenge(data: &Path, number: u8, plugins: &dyn Plugins) -> Result<Vec<u8>, Fault> {
    let standing = control::perform(data, Act::CustodianPackage)?;
    let package = package_of(standing.json.get("package").and_then(|v| v.as_str()).unwrap_or_default())?;
    if !(1..=package.n()).contains(&number) {
        let text = format!("custodian {number}, there are {}", package.n());
        return Err(Fault::new(Blame::Peer, "usage.custodian", text));
    }
    let mut secret = Zeroizing::new([0; 32]);
    OsEntropy.fill(secret.as_mut());
    let (sealed, package) = (package.challenge(number, &secret, plugins)?, package.to_bytes());
    let answer = encode_file(&hash_of(&answer_of(&secret)));
    control::perform(data, Act::CustodianChallenge { number, package: encode_file(&package), answer })?;
    Ok(format::encode(&Challenge { version: Version, number, package: package.into(), sealed: sealed.into() }))
}

/// Those of a centre to be.
pub struct Custodians {
    pub package: CustodianPackage,
    /// Of those that were made here, since nobody was named.
    pub secrets: Vec<Zeroizing<String>>,
}

impl Custodians {
    /// With `recipients`, or three that are made here.
    pub fn establish(recipients: Vec<String>, needed: u8, plugins: &dyn Plugins) -> Result<Self, Fault> {
        let (recipients, secrets) = match recipients.is_empty() {
            false => (recipients, Vec::new()),
            true => (0..MADE).map(|_| keys::new_identity()).map(|(s, r)| (r, s)).unzip(),
        };
        let of = recipients.len();
        if !(1..=of).contains(&usize::from(needed)) {
            let text = format!("custodians needed: {needed}, it must be 1 to {of}, their number");
            return Err(Fault::new(Blame::Peer, "usage.custodians", text));
        }
        let (package, _) = CustodianPackage::establish_with(needed, &recipients, plugins, &OsEntropy)?;
        Ok(Self { package, secrets })
    }
}

// ---- On her own machine

#[derive(askama::Template)]
#[template(path = "custodian_sheet.html")]
struct Sheet<'a> {
    name: &'a str,
    recipient: &'a str,
    identity: &'a str,
    words: Vec<(usize, String)>,
    code: String,
}

fn enrol(name: &str, out: &Path) -> Result<u8, Fault> {
    use askama::Template as _;
    if out.exists() {
        return Err(
            failed(out, "it is there already").guidance("name another file: a sheet that is overwritten is lost")
        );
    }
    let (identity, recipient) = keys::new_identity();
    let words = keys::words_of_identity(&identity)?;
    let code = QrCode::new(identity.as_bytes()).map_err(|e| failed(out, e))?;
    let code = code.render::<svg::Color<'_>>().min_dimensions(220, 220).quiet_zone(true).build();
    // A document of its own inside the page: its head is not wanted there.
    let code = code.split_once("?>").map_or(code.clone(), |(_, svg)| svg.to_owned());
    let words = (1..).zip(words.split(' ').map(str::to_owned)).collect();
    let sheet = Sheet { name, recipient: &recipient, identity: &identity, words, code };
    let html = Zeroizing::new(sheet.render().map_err(|e| failed(out, e))?);
    write_private(out, html.as_bytes()).map_err(|e| failed(out, e))?;
    say!("{}: print it, look at the print, and delete the file", out.display());
    say!("  for the centre, public: holdfast init --custodian {recipient}");
    Ok(0)
}
