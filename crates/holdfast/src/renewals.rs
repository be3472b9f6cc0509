//! Who holds the keys changes: `keys turn`, `custodian renew`, `holder replace`. All of it goes on where it was cut short.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use holder::{Identity, Network};
use keys::{CustodianPackage, Custody, HolderPublicKey, LocalHolder, Plugins, Turn, TurnOrder};
use kit::{Blame, Fault, OsEntropy};
use serde_json::{Value, json};
use vault::Adoption;

use crate::acts::{Act, Answer, Ask, decode_file, encode_file};
use crate::centre::Centre;
use crate::config::Config;
use crate::custodians::secrets_of;
use crate::fleet::MEMBERS;
use crate::plugins::Client;
use crate::site::{holder as holder_folder, location_id};
use crate::{DEGRADED, Data, Output, certificates, commands, control, plan};

pub fn usage(text: impl Into<String>) -> Fault {
    Fault::new(Blame::Peer, "usage.holders", text.into())
}

// ---- At the centre

/// The key epoch that keys are dealt in.
pub fn epoch(centre: &Centre) -> Result<Answer, Fault> {
    let vault = centre.chart().vault();
    vault.settle()?;
    let epoch = vault.key_epoch();
    let (needed, holders) = vault.quorum_of_holders();
    let json = json!({ "epoch": epoch, "turning": vault.turning(), "needed": needed, "holders": holders,
                       "buckets": centre.shape().buckets });
    Ok(Answer::done(format!("key epoch {epoch}, {needed} of {holders} holders open a key"), json))
}

/// What is written from now on is sealed under another of the vault's keys.
pub fn rotate_vault_key(centre: &Centre) -> Result<Answer, Fault> {
    let number = centre.chart().vault().rotate_vault_key()?;
    let text = format!(
        "what is written from now on is sealed under vault key {number}\n  what was written before stays under the key before it: who \
         has that key and three servers reads from those segments who was treated when, and no payload"
    );
    Ok(Answer::done(text, json!({ "vault_key": number })))
}

/// A turn but for its end: new keys, a record that names them, every share sealed again and confirmed.
pub fn begin_turn(centre: &Centre) -> Result<Turn, Fault> {
    let vault = centre.chart().vault();
    let public = vault.turn_keys()?;
    vault.adopt(Adoption { public, holders: vault.holders(), custodians: None, is_turn: true })?;
    centre.holders_changed();
    Ok(vault.reseal(&mut |_, _| {})?)
}

/// As [`begin_turn`], up to where the officer's word is needed.
pub fn turn(centre: &Centre) -> Result<Answer, Fault> {
    let turn = begin_turn(centre)?;
    if centre.fleet().is_none() {
        // Nobody's word but the console's is asked for, and what was confirmed goes with this process.
        return end_turn(centre, TurnOrder { turn, signature: Vec::new() });
    }
    let text = format!(
        "key epoch {}: every holder has sealed its shares of {} living patients again, and none has destroyed its old key yet",
        turn.epoch, turn.subjects
    );
    let json = json!({ "turn": encode_file(&turn.to_bytes()), "epoch": turn.epoch, "patients": turn.subjects });
    Ok(Answer::done(text, json))
}

/// Its end: the old keys are destroyed.
pub fn turned(centre: &Centre, turn: &[u8], signature: Vec<u8>) -> Result<Answer, Fault> {
    let turn = Turn::from_bytes(turn).map_err(|e| Fault::new(Blame::Peer, "control.turn", e.to_string()))?;
    end_turn(centre, TurnOrder { turn, signature })
}

pub fn end_turn(centre: &Centre, order: TurnOrder) -> Result<Answer, Fault> {
    let vault = centre.chart().vault();
    let (epoch, patients) = (order.turn.epoch, order.turn.subjects);
    vault.finish_turn(&order)?;
    centre.holders_changed();
    let (erased, late) = (vault.health().erased_patients, vault.erased_since_turn()?);
    let gone = erased.saturating_sub(late);
    let late = if late == 0 {
        String::new()
    } else {
        format!("\n  {late} were erased while it turned, and are refused, not gone: turn again")
    };
    let text = format!(
        "key epoch {epoch}: all {} holders have destroyed their keys of the epoch before; {patients} living patients open as \
         before\n  {gone} who are erased open by no holder any more, whatever becomes of its refusals; by custodians \
         until their sheets are renewed (holdfast custodian renew){late}",
        vault.quorum_of_holders().1
    );
    Ok(Answer::done(text, json!({ "epoch": epoch, "patients": patients, "gone": gone })))
}

/// Other custodians, or the same with new secrets; those before open what is dealt anew to these.
pub fn custodians(centre: &Centre, package: CustodianPackage, ask: Ask<'_>) -> Result<Answer, Fault> {
    let (needed, of) = (package.m(), package.n());
    let vault = centre.chart().vault();
    let now = vault.custodian_package();
    let are_there = now.m() == needed && now.recipients().eq(package.recipients());
    let stays = |one: &&str| !are_there && now.recipients().any(|before| before == *one);
    let stay = package.recipients().filter(stays).count();
    let custody = ask(vault.custodian_packages())?;
    let key = if are_there {
        custody.any()?
    } else {
        // Who can't open what there is has no business to shut it away.
        let key = custody.newest()?;
        let (public, holders) = (vault.holder_keys(), vault.holders());
        let left = vault.undealt()?;
        if left > 0 {
            // Of an earlier renewal that was cut short: done first, or they would be dealt to nobody who is left.
            vault.deal_anew(&key, &mut |_, _| {}).map_err(|error| {
                let text = format!("{left} living patients are still dealt to custodians before these: {error}");
                Fault::new(Blame::Peer, "custodian.undealt", text)
                    .guidance("nothing was changed; call in those custodians, too, with their secrets of before")
            })?;
        }
        vault.adopt(Adoption { public, holders, custodians: Some(package), is_turn: false })?;
        crate::custodians::note_renewed(centre)?;
        key
    };
    let dealt = vault.deal_anew(&key, &mut |_, _| {})?;
    if are_there && dealt == 0 {
        return Err(usage(
            "these are the custodians that there are, and all is dealt to them: nothing is to be renewed",
        )
        .guidance("nothing was changed; whoever stays a custodian makes a new secret as well (custodian enrol)"));
    }
    let late = match vault.erased_since_renewal()? {
        0 => String::new(),
        late => format!("\n  {late} were erased meanwhile, and were dealt to these: renew once more to leave them out"),
    };
    let stay = match stay {
        0 => String::new(),
        stay => format!(
            "\n  {stay} of them kept the secret that they had: {} of those before still open what was erased",
            now.m()
        ),
    };
    // The same ones go on with the same sheets.
    let burn = match are_there {
        true => String::new(),
        false => "\n  BURN the sheets of those before, and delete their files: with them, whoever has a copy of the servers opens \
                  what was erased"
            .to_owned(),
    };
    let text = format!(
        "{needed} of {of} custodians recover from now on; {dealt} living patients were dealt anew{burn}{stay}{late}"
    );
    Ok(Answer::done(text, json!({ "needed": needed, "custodians": of, "patients": dealt })))
}

/// Another holder in the place of one that is lost or captured.
pub fn replace(centre: &Centre, number: u8, members: Option<Vec<u8>>, ask: Ask<'_>) -> Result<Answer, Fault> {
    let vault = centre.chart().vault();
    let mut public = vault.holder_keys();
    let held = public.iter().cloned().enumerate().find(|(_, key)| key.number() == number);
    let (place, held) = held.ok_or_else(|| usage(format!("server {number}, there are {}", public.len())))?;
    // Before anything changes.
    let key = ask(vault.custodian_packages())?.newest()?;
    let (mut holders, mut untold) = (vault.holders(), Vec::new());
    let new = match (centre.fleet(), centre.folders(), members) {
        (Some(fleet), _, Some(signed)) => {
            // Before anything is sent to the new machine.
            vault.expect_empty(&location_id(number));
            let taken = certificates::take_members(centre, &signed);
            let back = |_: &Fault| _ = vault.refill(&location_id(number));
            untold = taken.inspect_err(back)?.untold;
            vault.be_witnessed(fleet.witnesses(vault.quorum_of_holders().1))?;
            let key = fleet.members().servers.into_iter().find(|member| member.number == number);
            holders = fleet.servers().holders;
            let wrong = || usage("the list of members has no holder's key in this place");
            HolderPublicKey::from_bytes(&key.ok_or_else(wrong)?.key).map_err(|_| wrong())?
        }
        (None, Some(folders), None) => {
            let folder = holder_folder(folders.get(place).ok_or_else(|| usage("this server has no folder"))?);
            match LocalHolder::look(&folder) {
                // Taken in by a replacement that was cut short: this process has it open.
                Ok(keys) if keys.contains(&held) => held.clone(),
                found => {
                    let made: Arc<dyn keys::Holder> = Arc::new(match found {
                        // Made by one that was cut short before that.
                        Ok(_) => LocalHolder::open(&folder)?,
                        Err(_) => LocalHolder::init_in(&folder, number, vault.key_epoch(), &OsEntropy)?,
                    });
                    let key = made.public_key();
                    holders.retain(|holder| holder.number() != number);
                    holders.push(made);
                    key
                }
            }
        }
        _ => return Err(usage("a list of members belongs to servers that are machines of their own")),
    };
    let is_new = new != held;
    if let Some(slot) = public.get_mut(place) {
        *slot = new;
    }
    vault.adopt(Adoption { public, holders, custodians: None, is_turn: false })?;
    centre.holders_changed();
    let dealt = vault.deal_anew(&key, &mut |_, _| {})?;
    let is_filled = centre.fleet().is_some() && vault.refill(&location_id(number));
    if !is_new && dealt == 0 {
        return Err(usage(format!("{}'s holder is there, and all is dealt to it", location_id(number)))
            .guidance("nothing was changed; move a captured holder's folder away first, or prepare another machine"));
    }
    let shards = if is_filled { "are made again in the background (/posture says how far)" } else { "holdfast scrub" };
    let mut text = format!(
        "{} has a new holder; {dealt} living patients were dealt anew, to it and all others\n  its shards: {shards}\n  \
         what the old one knows is worth nothing among these; to make that final for the others too: holdfast keys turn",
        location_id(number)
    );
    text.push_str(&certificates::untold_lines(&untold));
    let exit = if untold.is_empty() { 0 } else { DEGRADED };
    Ok(Answer { exit, text, json: json!({ "number": number, "patients": dealt, "untold": untold }) })
}

// ---- On the command line

/// The holders' keys.
#[derive(Subcommand)]
pub enum Keys {
    /// Turn the key epoch: every holder seals its shares of all living patients again, to a new key of its own, and
    /// destroys the old one. No key is opened on the way. An erasure becomes irreversible at the holders with it.
    Turn {
        /// The officer's key, where the servers are machines of their own: they destroy nothing without her word.
        #[arg(long, value_name = "FILE")]
        officer_key: Option<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Have another of the vault's keys seal what is written from now on: after a thief may have seen the gateway's memory.
    RotateVault {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Keys {
    pub fn run(self) -> Result<u8, Fault> {
        let (officer_key, data, output) = match self {
            Self::RotateVault { data, output } => return commands::act(&data, output, Act::VaultKeyRotate),
            Self::Turn { officer_key, data, output } => (officer_key, data, output),
        };
        let officer = officer_key.as_deref().map(plan::officer_key).transpose()?;
        let begun = control::perform(&data.data, Act::KeysTurn)?;
        let Some(begun_turn) = begun.json.get("turn").and_then(Value::as_str) else {
            // On folders there is nobody else to ask.
            return Ok(commands::print(output, &begun));
        };
        let bytes = decode_file(begun_turn)?;
        let turn = Turn::from_bytes(&bytes).map_err(|e| Fault::new(Blame::Ours, "control.turn", e.to_string()))?;
        let Some(officer) = officer else {
            return Err(usage(format!("{}: the officer has to sign that", begun.text))
                .guidance("nothing was destroyed, and all goes on; repeat it with --officer-key FILE"));
        };
        let signature = holder::sign_turn(&turn, &officer).signature;
        let act = Act::KeysTurned { turn: begun_turn.to_owned(), signature: encode_file(&signature) };
        Ok(commands::print(output, &control::perform(&data.data, act)?))
    }
}

/// An act that takes the custodians' shares: they are opened here.
pub fn by_custodians(
    data: &Data,
    output: Output,
    act: Act,
    secrets: &[PathBuf],
    plugins: &dyn Plugins,
) -> Result<u8, Fault> {
    Ok(commands::print(output, &perform_by(&data.data, act, secrets, plugins)?))
}

pub fn perform_by(data: &Path, act: Act, secrets: &[PathBuf], plugins: &dyn Plugins) -> Result<Answer, Fault> {
    let secrets = secrets_of(secrets)?;
    control::perform_with(data, act, &mut |packages| Ok(Custody::open(packages, &secrets, plugins)?))
}

/// Other custodians.
#[derive(Args)]
pub struct Renew {
    /// A secret of a custodian before (AGE-SECRET-KEY-1…), its 24 words, or what her token's plugin wrote (AGE-PLUGIN-…), in a
    /// file; of as many as are needed.
    #[arg(long = "custodian", value_name = "FILE", required = true)]
    secrets: Vec<PathBuf>,
    /// An age recipient of a custodian to be (age1…, or age1NAME1… of a token), once for each; made anew, also for those who
    /// stay.
    #[arg(long = "recipient", value_name = "RECIPIENT", required = true)]
    recipients: Vec<String>,
    /// Custodians that are needed to recover.
    #[arg(long, default_value_t = 2)]
    needed: u8,
    #[command(flatten)]
    plugins: Client,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

impl Renew {
    pub fn run(self) -> Result<u8, Fault> {
        let (package, _) = CustodianPackage::establish_with(self.needed, &self.recipients, &self.plugins, &OsEntropy)?;
        let act = Act::CustodianRenew { package: encode_file(&package.to_bytes()) };
        by_custodians(&self.data, self.output, act, &self.secrets, &self.plugins)
    }
}

/// What `holdfast holder` does: the daemon's own commands, and those of the gateway about one.
#[derive(Subcommand)]
pub enum HolderCommand {
    #[command(flatten)]
    Daemon(holder::Command),
    /// At the gateway: write what a new machine needs that is to take a lost or captured one's place.
    Prepare {
        /// The number of the server that it takes the place of.
        #[arg(long)]
        number: u8,
        /// The new machine's IP address, with a port where it isn't 7414.
        #[arg(long, value_name = "ADDR")]
        address: String,
        /// An empty or absent folder, to be copied to that machine.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// At the gateway: have a new holder take the place of a lost or captured one, with new keys; every living patient's key
    /// is dealt anew from a fresh secret, while records are read and kept. Takes the custodians.
    Replace {
        #[arg(long)]
        number: u8,
        /// A custodian's secret (AGE-SECRET-KEY-1…), its 24 words, or what her token's plugin wrote (AGE-PLUGIN-…), in a file; of
        /// as many as are needed.
        #[arg(long = "custodian", value_name = "FILE", required = true)]
        custodians: Vec<PathBuf>,
        #[command(flatten)]
        plugins: Client,
        /// Where the servers are machines of their own: the folder that `holder prepare` wrote.
        #[arg(long, value_name = "DIR", requires = "officer_key")]
        prepared: Option<PathBuf>,
        #[arg(long, value_name = "FILE", requires = "prepared")]
        officer_key: Option<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl HolderCommand {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Daemon(command) => {
                crate::serve::logging();
                command.run(&mut |line| say!("{line}"))
            }
            Self::Prepare { number, address, out, data } => prepare(number, &address, &out, &data.data),
            Self::Replace { number, custodians, plugins, prepared, officer_key, data, output } => {
                let members = match (prepared, officer_key) {
                    (Some(prepared), Some(key)) => Some(new_members(number, &prepared, &key, &data.data)?),
                    _ => None,
                };
                by_custodians(&data, output, Act::HolderReplace { number, members }, &custodians, &plugins)
            }
        }
    }
}

/// The members as they are, and the officer's public key.
pub fn members_of(data: &Path) -> Result<(holder::wire::Members, [u8; 32]), Fault> {
    let officer = Config::load(data)?.officer_key().and_then(Result::ok);
    let officer =
        officer.ok_or_else(|| usage("the servers of this centre are folders: no machine is prepared for them"))?;
    let file = data.join("gateway").join(MEMBERS);
    let failed = |why: String| Fault::new(Blame::Configuration, "fleet.members", format!("{}: {why}", file.display()));
    let bytes = fs::read(&file).map_err(|e| failed(e.to_string()))?;
    Ok((holder::wire::Members::open(&bytes, &officer).map_err(|e| failed(e.to_string()))?, officer))
}

/// The members, and what it takes to read a new one's card.
pub fn members_and_network(data: &Path) -> Result<(holder::wire::Members, Identity, Network), Fault> {
    let (members, _) = members_of(data)?;
    let failed = |why: String| Fault::new(Blame::Configuration, "fleet.members", why);
    let identity = Identity::open(&data.join("gateway")).map_err(|e| failed(e.to_string()))?;
    Ok((members, identity, Network::start().map_err(|e| failed(e.to_string()))?))
}

/// How the centre's keys stand, as [`epoch`] says it.
pub struct KeyStanding {
    pub epoch: u32,
    /// The one that has begun, and isn't ended.
    pub turning: Option<u32>,
    pub split: holder::wire::Split,
    pub buckets: u8,
}

impl KeyStanding {
    pub fn ask(data: &Path) -> Result<Self, Fault> {
        let json = control::perform(data, Act::KeysEpoch)?.json;
        let number = |field: &str| {
            let found = json.get(field).and_then(Value::as_u64).and_then(|found| u32::try_from(found).ok());
            found.ok_or_else(|| Fault::new(Blame::Ours, "control.keys", format!("the answer has no {field}")))
        };
        let byte = |field: &str| number(field).map(|found| u8::try_from(found).unwrap_or(u8::MAX));
        let split = holder::wire::Split { needed: byte("needed")?, holders: byte("holders")? };
        Ok(Self { epoch: number("epoch")?, turning: number("turning").ok(), split, buckets: byte("buckets")? })
    }

    /// The one that begins next, or has begun.
    pub fn next_epoch(&self) -> u32 {
        self.turning.unwrap_or(self.epoch.saturating_add(1))
    }
}

fn prepare(number: u8, address: &str, out: &Path, data: &Path) -> Result<u8, Fault> {
    let address = plan::socket_address(address, plan::PORT)?;
    let (members, officer) = members_of(data)?;
    let KeyStanding { epoch, split, .. } = KeyStanding::ask(data)?;
    if !(1..=split.holders).contains(&number) {
        return Err(usage(format!("server {number}, there are {}", split.holders)));
    }
    let keys = holder::Keys { needed: split.needed, holders: split.holders };
    let new = plan::NewServer { members: &members, officer, number, address, epoch, keys };
    plan::write_server(&new, out, &OsEntropy)?;
    say!("{}: copy it to the machine at {address} and follow its RUNBOOK.md; then, here:", out.display());
    say!(
        "  holdfast holder replace --number {number} --prepared {} --officer-key FILE --custodian FILE …",
        out.display()
    );
    say!(
        "  Before it: open the firewalls for {address}, on the gateway and the other servers; switch the machine that it replaces off."
    );
    say!(
        "  After it: give the auditors its witness key (holdfast ledger keys); wards' keys are made anew (holdfast pack key)."
    );
    Ok(0)
}

/// The list with the new machine in it, signed: its card is believed where it was made with the code that was brought there.
fn new_members(number: u8, prepared: &Path, officer: &Path, data: &Path) -> Result<String, Fault> {
    let (mut members, identity, network) = members_and_network(data)?;
    let member = plan::prepared_member(prepared, number, members.vault, &identity, &network)?;
    if let Some(place) = members.servers.iter_mut().find(|member| member.number == number)
        && *place != member
    {
        *place = member;
        members.version += 1;
    }
    Ok(encode_file(&members.sign(&plan::officer_key(officer)?)))
}
