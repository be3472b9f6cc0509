//! Whom the officer lets open charts at holders on machines of their own, and how she ends that before its time: `holdfast
//! certificate`. A list of members that she signs names the ended ones; every holder that has it refuses them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use guard::Permit;
use holder::Pin;
use holder::wire::{Members, Split};
use kit::format::{self, Version};
use kit::{Blame, Clock as _, Fault, Id16, OsEntropy, SystemClock, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::acts::{Act, Answer, decode_file, encode_file};
use crate::centre::{self, Centre};
use crate::fleet::Fleet;
use crate::{DEGRADED, Data, Output, commands, control, plan};

const DAY_MS: i64 = 86_400_000;
const LIST: &str = "members-lists";
const KIND: &str = "centre.members";
/// Ended certificates on a list: of 1 MiB at most.
const ENDED_MAX: usize = 16_384;
/// An expired certificate stays on the list for as long: some holder's clock may be behind.
const EXPIRED_KEPT_MS: i64 = 30 * DAY_MS;
/// Serials that an entry names.
const NOTED_MAX: usize = 1_024;

fn usage(text: impl Into<String>) -> Fault {
    Fault::new(Blame::Peer, "usage.certificate", text.into())
}

/// What the ledger holds of a list of members that was brought to the servers.
#[derive(Encode, Decode)]
struct Note {
    #[n(0)]
    format: Version<1>,
    #[n(1)]
    version: u64,
    #[n(2)]
    gateways: Vec<Pin>,
    /// Serials that were not on the list before.
    #[n(3)]
    ended: Vec<Id16>,
}

/// A newer list of members was taken.
pub struct Taken {
    /// Servers that could not be told: they get it once they answer.
    pub untold: Vec<String>,
    /// Credentials that were signed in by a certificate that is ended.
    gone: Vec<Id16>,
}

/// Says which servers are to be told yet.
pub fn untold_lines(untold: &[String]) -> String {
    untold.iter().map(|one| format!("\n  NOT TOLD, and told once it answers: {one}")).collect()
}

// ---- At the centre

fn folders() -> Fault {
    usage("the servers of this centre are folders: nobody signs a list of them")
}

/// A list of members, as the officer signed it.
pub fn signed_list(centre: &Centre, signed: &[u8]) -> Result<Members, Fault> {
    let officer = centre.config().officer_key().and_then(Result::ok).ok_or_else(folders)?;
    Members::open(signed, &officer).map_err(|e| usage(e.to_string()))
}

/// Takes a newer list of members, whatever is new in it.
pub fn take_members(centre: &Centre, signed: &[u8]) -> Result<Taken, Fault> {
    let (Some(fleet), Some(signers)) = (centre.fleet(), centre.signers()) else { return Err(folders()) };
    let new = signed_list(centre, signed)?;
    let (_, in_use) = centre.chart().vault().quorum_of_holders();
    keeps_splits(centre, fleet, &new)?;
    let before: HashSet<Id16> = fleet.members().ended.into_iter().collect();
    let untold = fleet.take(new, signed, in_use, centre.gateway())?;
    let members = fleet.members();
    let gone = signers.end(&members.ended);
    note(centre, members, &before).map_err(|fault| {
        fault.guidance("the list was brought to the servers all the same; the ledger has no entry of it")
    })?;
    Ok(Taken { untold, gone })
}

/// A list may end a way to split keys once nothing is split so any more: no holder opens it from then on.
fn keeps_splits(centre: &Centre, fleet: &Fleet, new: &Members) -> Result<(), Fault> {
    let vault = centre.chart().vault();
    let (needed, holders) = vault.quorum_of_holders();
    let mut before = fleet.members().splits.unwrap_or_default();
    let Some(splits) = &new.splits else {
        let text = "the list doesn't say how keys are split, and the one that is here does";
        return if before.is_empty() { Ok(()) } else { Err(usage(text).guidance("nothing was changed")) };
    };
    before.push(Split { needed, holders });
    if before.iter().all(|split| splits.contains(split)) {
        return Ok(());
    }
    vault.settle()?;
    match vault.split_otherwise(|t, n| splits.iter().any(|split| split.opens(t, n)))? {
        0 => Ok(()),
        patients => Err(usage(format!("{patients} patients' keys are split in a way that this list ends"))
            .guidance("nothing was changed; repeat holdfast centre grow, which deals them anew")),
    }
}

/// Notes in the ledger that this list was brought to the servers.
pub fn note(centre: &Centre, members: Members, before: &HashSet<Id16>) -> Result<(), Fault> {
    let Members { version, gateways, ended, .. } = members;
    let ended = ended.into_iter().filter(|serial| !before.contains(serial)).take(NOTED_MAX).collect();
    let note = Note { format: Version, version, gateways, ended };
    centre::note(centre.chart(), KIND, LIST, &format::encode(&note))
}

/// Certificates that are in their time, and the list of members as the officer signed it last.
pub fn list(centre: &Centre) -> Result<Answer, Fault> {
    let (Some(fleet), Some(signers)) = (centre.fleet(), centre.signers()) else {
        return Err(usage("this centre's holders are folders: they ask for no certificate"));
    };
    let (members, now) = (fleet.members(), SystemClock.now());
    let ended: HashSet<Id16> = members.ended.into_iter().collect();
    let all: Vec<Row> = signers
        .certificates()
        .into_iter()
        .map(|one| Row {
            is_ended: ended.contains(&one.serial),
            serial: one.serial,
            subject: one.subject,
            expires: one.expires,
        })
        .collect();
    let living: Vec<&Row> = all.iter().filter(|one| now < one.expires).collect();
    let lines: Vec<String> = living
        .iter()
        .map(|Row { serial, subject, expires, is_ended }| {
            let ended = if *is_ended { "  ENDED" } else { "" };
            format!("{serial}  {subject:<24} until {expires}{ended}")
        })
        .collect();
    let waiting = signers.waiting();
    let waits = waiting.keys().map(|subject| {
        format!("\n{subject} opens no chart yet: holdfast certificate give --subject {subject} --officer-key FILE")
    });
    let text = if lines.is_empty() { "no certificates".to_owned() } else { lines.join("\n") };
    let text = text + &waits.collect::<String>();
    let waiting: BTreeMap<&String, String> =
        waiting.iter().map(|(subject, key)| (subject, encode_file(key.as_slice()))).collect();
    // Those that have expired, too: by them a new list knows what it need not name any more.
    let certificates = serde_json::to_value(&all).unwrap_or_default();
    let json = json!({ "certificates": certificates, "version": members.version, "waiting": waiting,
                       "log": centre.chart().vault().vkey().name(),
                       "members": encode_file(&fleet.signed_members()) });
    Ok(Answer::done(text, json))
}

/// Before somebody gets a token or a link: a name for which the officer speaks lets nobody in without her word, for it would share the
/// sessions that have it. `certified`: her word comes with it, the first one for this name ends what was given out without.
pub fn before_issue(centre: &Centre, permit: &Permit, subject: &str, certified: bool) -> Result<(), Fault> {
    let Some(signers) = centre.signers() else { return Ok(()) };
    match (certified, signers.speaks_for(subject)) {
        (false, true) => {
            let text =
                format!("{subject} opens charts by the officer's word, and what is made without it would share that");
            Err(usage(text).guidance("give --officer-key FILE, or another --subject"))
        }
        (true, false) => Ok(centre.chart().guard().end_all_of(permit, subject).map(drop)?),
        _ => Ok(()),
    }
}

/// Brings a list that ends certificates, and ends what is signed in by them, whatever else those people were given, and what of their
/// charts is still open in this gateway's memory.
pub fn ended(centre: &Centre, permit: &Permit, signed: &[u8]) -> Result<Answer, Fault> {
    let speaks = |subject: &str| centre.signers().is_some_and(|signers| signers.speaks_for(subject));
    let known = centre.signers().map(|signers| signers.certificates()).unwrap_or_default();
    let spoken_for: BTreeSet<String> = known.into_iter().map(|one| one.subject).filter(|one| speaks(one)).collect();
    let Taken { untold, mut gone } = take_members(centre, signed)?;
    let guard = centre.chart().guard();
    for id in &gone {
        // One that is over by now is over.
        if let Err(error) = guard.revoke_token(permit, *id)
            && !matches!(error, guard::GuardError::NoCredential { .. })
        {
            return Err(error.into());
        }
    }
    // Who has no word in force any more keeps nothing that she was given without one.
    for subject in spoken_for.iter().filter(|one| !speaks(one)) {
        gone.extend(guard.end_all_of(permit, subject)?);
    }
    centre.chart().vault().forget_opened_keys();
    let members = centre.fleet().map(crate::fleet::Fleet::members);
    let (version, of) = members.map_or((0, 0), |members| (members.version, members.servers.len()));
    let mut text = format!(
        "version {version} of the list of members stands at {} of {of} servers; {} sessions and tokens were ended with it",
        of - untold.len().min(of),
        gone.len()
    );
    text.push_str(&untold_lines(&untold));
    let exit = if untold.is_empty() { 0 } else { DEGRADED };
    Ok(Answer { exit, text, json: json!({ "version": version, "revoked": gone, "untold": untold }) })
}

// ---- On the command line

/// A certificate, as the list shows it.
#[derive(Serialize, Deserialize)]
struct Row {
    serial: Id16,
    subject: String,
    expires: Timestamp,
    #[serde(rename = "ended")]
    is_ended: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Who may open charts, until when.
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// The officer lets somebody open charts who has a passkey and has signed in by it: see her, and the passkey, first. She signs in once
    /// more after it.
    Give {
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// Days until she has to be given another one.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=400))]
        days: u32,
        /// The officer's key. Take the medium out again.
        #[arg(long, value_name = "FILE")]
        officer_key: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// End certificates before their time: no holder opens anything for them any more, and what is signed in by them is
    /// signed out. What was read before is in the ledger.
    End {
        #[command(flatten)]
        whose: Whose,
        /// The officer's key: she signs a newer list of members. Take the medium out again.
        #[arg(long, value_name = "FILE")]
        officer_key: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// All certificates of this person or machine.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// This one, as `certificate list` shows it.
    #[arg(long, value_name = "ID")]
    serial: Option<Id16>,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::List { data, output } => commands::act(&data, output, Act::CertificateList),
            Self::Give { subject, days, officer_key, data, output } => {
                let officer = plan::officer_key(&officer_key)?;
                let standing = control::perform(&data.data, Act::CertificateList)?.json;
                let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
                let key = text(standing.get("waiting").and_then(|waiting| waiting.get(&subject)));
                let key: [u8; 32] = decode_file(&key)?.try_into().map_err(|_| {
                    usage(format!("{subject} waits for none"))
                        .guidance("she signs in by her passkey first, on an authenticator that knows the PRF extension")
                })?;
                let wrong = |why: &str| Fault::new(Blame::Ours, "officer.certificate", why.to_owned());
                let log = text(standing.get("log"));
                let vault = log.rsplit('/').next().unwrap_or_default().parse();
                let vault = vault.map_err(|_: kit::id::BadId| wrong("the log's name has no vault"))?;
                let now = SystemClock.now();
                let life = (now.plus_ms(-DAY_MS), now.plus_ms(i64::from(days) * DAY_MS));
                let certificate = officer
                    .enrol(vault, &subject, keys::Speaks::Person, key, life, &OsEntropy)
                    .map_err(|e| wrong(&e.to_string()))?;
                let act = Act::Certify { certificate: encode_file(&certificate.to_bytes()) };
                control::perform(&data.data, act)?;
                let text = format!("{subject} opens charts for {days} days, from her next sign-in on");
                Ok(commands::print(output, &Answer::done(text, json!({ "subject": subject, "days": days }))))
            }
            Self::End { whose, officer_key, data, output } => {
                let officer = plan::officer_key(&officer_key)?;
                let standing = control::perform(&data.data, Act::CertificateList)?.json;
                let wrong = |why: String| Fault::new(Blame::Ours, "control.certificates", why);
                let rows = standing.get("certificates").cloned().unwrap_or_default();
                let rows: Vec<Row> = serde_json::from_value(rows).map_err(|e| wrong(e.to_string()))?;
                let members = standing.get("members").and_then(Value::as_str).unwrap_or_default();
                // Her own signature: she signs on where she signed before, not what the gateway made up.
                let mut members = Members::open(&decode_file(members)?, &officer.public())
                    .map_err(|e| Fault::new(Blame::Integrity, "fleet.members", e.to_string()))?;
                end(&mut members, &rows, &whose, SystemClock.now())?;
                let act = Act::CertificateEnd { members: encode_file(&members.sign(&officer)) };
                Ok(commands::print(output, &control::perform(&data.data, act)?))
            }
        }
    }
}

/// The next list, with these among the ended, and without those that have long expired.
fn end(members: &mut Members, rows: &[Row], whose: &Whose, now: Timestamp) -> Result<(), Fault> {
    let named = |row: &&Row| whose.subject.as_ref() == Some(&row.subject) && now < row.expires;
    // One by its serial may be unknown here: of another gateway, or of a ledger that a thief wrote.
    let new: Vec<Id16> = rows.iter().filter(named).map(|row| row.serial).chain(whose.serial).collect();
    let new: Vec<Id16> = new.into_iter().filter(|serial| !members.ended.contains(serial)).collect();
    if new.is_empty() {
        let whom = whose.subject.clone().or(whose.serial.map(|serial| serial.to_string())).unwrap_or_default();
        return Err(usage(format!("{whom}: no certificate that isn't ended or expired already")));
    }
    let expired = rows.iter().filter(|row| row.expires.plus_ms(EXPIRED_KEPT_MS) < now);
    let expired: HashSet<Id16> = expired.map(|row| row.serial).collect();
    members.ended.retain(|serial| !expired.contains(serial));
    members.ended.extend(new);
    if members.ended.len() > ENDED_MAX {
        return Err(usage(format!("{} ended certificates, a list has at most {ENDED_MAX}", members.ended.len())));
    }
    members.version += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ended: Vec<Id16>) -> Members {
        let (servers, gateways, log) = (Vec::new(), Vec::new(), String::new());
        Members { format: Version, vault: Id16([1; 16]), version: 4, servers, gateways, ended, log, splits: None }
    }

    fn row(serial: u8, subject: &str, expires: i64) -> Row {
        Row { serial: Id16([serial; 16]), subject: subject.into(), expires: Timestamp(expires), is_ended: false }
    }

    #[test]
    fn a_list_ends_what_lives_and_forgets_what_expired_long_ago() {
        let now = Timestamp(100 * 86_400_000);
        let rows = [row(1, "a", 1), row(2, "a", now.0 + 1), row(3, "b", now.0 + 1), row(4, "a", now.0 - 1)];
        let whose = |subject: &str| Whose { subject: Some(subject.into()), serial: None };
        let mut members = list(vec![Id16([1; 16]), Id16([4; 16]), Id16([9; 16])]);
        end(&mut members, &rows, &whose("a"), now).unwrap();
        let serials = [4, 9, 2].map(|serial| Id16([serial; 16]));
        assert_eq!((members.version, members.ended.as_slice()), (5, serials.as_slice()));
        assert!(end(&mut members, &rows, &whose("a"), now).unwrap_err().message.contains("ended or expired"));
        assert!(end(&mut members, &rows, &whose("c"), now).is_err());
        let mut full = list((0..u64::try_from(ENDED_MAX).unwrap()).map(id).collect());
        assert!(end(&mut full, &rows, &whose("b"), now).unwrap_err().message.contains("at most"));
    }

    fn id(number: u64) -> Id16 {
        let mut id = [7; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Id16(id)
    }
}
