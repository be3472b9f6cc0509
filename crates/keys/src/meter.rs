//! What a holder has opened, and for whom: budgets that a restart, a clock that is set back, and a gateway in a thief's
//! hands don't stretch.
//!
//! What counts is *charts*: a patient's first opening by a person within a day. Seeing her again doesn't count again: a
//! treatment list is drawn anew every few minutes, and a thief gains nothing by it. Windows roll: the last hour, the last
//! day. Each opening is in the journal before its share is given away. `docs/formats/keys.md` has the bytes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::{Id16, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::HolderError;
use crate::local::{Check, begin_lines, first_half, private_file};
use crate::seal::digest;
use crate::syncing::Syncing;

const CURRENT: &str = "meter.log";
const BEFORE: &str = "meter.log.1";
const NEXT: &str = "meter.log.next";
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// A file is put aside once it spans a day; with at most this many lines: the day's budget of all, and many times more.
const LINES_MAX: usize = 1 << 20;
/// Openings that are remembered at once, over all who are counted: some hundred bytes each.
const REMEMBERED_MAX: usize = 1 << 20;
/// Lines between two fdatasyncs where no timer comes in between, as for a holder's count of shares: a power failure loses twice as
/// many at most.
const UNSYNCED_MAX: u64 = 256;
/// Who stands on the status page.
const HIGHEST: usize = 8;

/// Charts that may be opened in an hour, and in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    pub person_hour: u32,
    pub person_day: u32,
    /// The devices and consoles for which one gateway speaks, together: their names are its word alone, so a stolen one can make
    /// up as many as it likes.
    pub delegate_hour: u32,
    pub delegate_day: u32,
    pub gateway_hour: u32,
    pub gateway_day: u32,
    pub all_hour: u32,
    pub all_day: u32,
    /// Patients that may be erased.
    pub erasures_day: u32,
}

impl Default for Budgets {
    /// A list of 500 patients on treatment can be looked at; a whole centre's day of some thousand patients, and no more.
    fn default() -> Self {
        Self {
            person_hour: 600,
            person_day: 1_200,
            delegate_hour: 1_000,
            delegate_day: 4_000,
            gateway_hour: 3_000,
            gateway_day: 12_000,
            all_hour: 3_000,
            all_day: 12_000,
            erasures_day: 20,
        }
    }
}

impl Budgets {
    /// Those of charts, with their names.
    pub fn charts(&mut self) -> [(&'static str, &mut u32); 8] {
        [
            ("person_hour", &mut self.person_hour),
            ("person_day", &mut self.person_day),
            ("delegate_hour", &mut self.delegate_hour),
            ("delegate_day", &mut self.delegate_day),
            ("gateway_hour", &mut self.gateway_hour),
            ("gateway_day", &mut self.gateway_day),
            ("all_hour", &mut self.all_hour),
            ("all_day", &mut self.all_day),
        ]
    }

    /// One holder's part of budgets that are meant for the whole centre: budget × t / n, rounded down. A chart takes t of
    /// n holders, so whoever chooses his t each time gets n × part / t charts, which is no more than the budget; who asks
    /// without choosing gets one part at least. Erasures are asked of every holder, and are not divided.
    pub fn part(mut self, t: u8, n: u8) -> Self {
        for (_, budget) in self.charts() {
            let part = u64::from(*budget) * u64::from(t.min(n)) / u64::from(n.max(1));
            *budget = u32::try_from(part).unwrap_or(*budget);
        }
        self
    }

    /// The smaller one of each.
    pub fn least(mut self, mut other: Self) -> Self {
        for ((_, budget), (_, other)) in self.charts().into_iter().zip(other.charts()) {
            *budget = (*budget).min(*other);
        }
        self.erasures_day = self.erasures_day.min(other.erasures_day);
        self
    }
}

/// On whose account something is opened.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub person: &'a str,
    /// As the person's proof says it.
    pub purpose: &'a str,
    pub is_delegated: bool,
    /// The gateway's certificate.
    pub gateway: &'a [u8],
}

/// Whose budget is used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose}: {count} charts within {window}, the budget is {limit}; the next one at {next}")]
pub struct OverBudget {
    pub whose: String,
    pub window: &'static str,
    pub count: usize,
    pub limit: u32,
    pub next: Timestamp,
}

/// Why nothing was admitted.
#[derive(Debug, thiserror::Error)]
pub enum MeterError {
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error("{max} openings are remembered, no more can be counted today")]
    Full { max: usize },
    #[error("{file}: {source}")]
    Io { file: &'static str, source: io::Error },
}

/// Numbers for a status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub hour: usize,
    pub day: usize,
    /// The highest of the day, with the names of those who were seen since the start.
    pub persons: Vec<(String, usize)>,
}

/// The kinds of accounts; each has budgets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Person,
    Delegate,
    Gateway,
    All,
    Erasures,
}

type Name = [u8; 16];

/// First openings of the last day, oldest first.
#[derive(Default)]
struct Counter {
    order: VecDeque<(Timestamp, Id16)>,
    seen: HashSet<Id16>,
}

impl Counter {
    /// Forgets what is a day old; gives how much that was.
    fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.order.len();
        while let Some((_, patient)) = self.order.front().copied().filter(|(at, _)| at.plus_ms(DAY_MS) <= now) {
            self.order.pop_front();
            self.seen.remove(&patient);
        }
        before - self.order.len()
    }

    fn within_hour(&self, now: Timestamp) -> usize {
        self.order.len() - self.order.partition_point(|(at, _)| at.plus_ms(HOUR_MS) <= now)
    }

    /// Whether one more fits; if not, why.
    fn judge(&self, whose: &str, now: Timestamp, (hour, day): (u32, u32)) -> Result<(), OverBudget> {
        let over = |window, count: usize, limit: u32, life| {
            // The oldest of as many as are allowed has to go first.
            let leaves = self.order.len().checked_sub(limit as usize).and_then(|at| self.order.get(at));
            let next = leaves.map_or(now.plus_ms(life), |(at, _)| at.plus_ms(life));
            OverBudget { whose: whose.to_owned(), window, count, limit, next }
        };
        if self.order.len() >= day as usize {
            return Err(over("a day", self.order.len(), day, DAY_MS));
        }
        let within_hour = self.within_hour(now);
        if within_hour >= hour as usize { Err(over("an hour", within_hour, hour, HOUR_MS)) } else { Ok(()) }
    }

    fn add(&mut self, at: Timestamp, patient: Id16) -> bool {
        let is_new = self.seen.insert(patient);
        if is_new {
            self.order.push_back((at, patient));
        }
        is_new
    }
}

/// One opening in the journal: 64 bytes, a power of two, so that none straddles a sector.
const LINE_BYTES: usize = 64;
type Line = [u8; LINE_BYTES];

struct Journal {
    file: File,
    lines: usize,
    first: Option<Timestamp>,
    check: Check,
    unsynced: u64,
    syncing: Syncing,
}

struct State {
    counters: HashMap<(Kind, Name), Counter>,
    remembered: usize,
    /// Times never run backwards here, whatever the clock does.
    last: Timestamp,
    names: HashMap<Name, String>,
    journal: Journal,
}

pub struct Meter {
    dir: PathBuf,
    budgets: Mutex<Budgets>,
    state: Mutex<State>,
}

fn storage(file: &'static str) -> impl Fn(io::Error) -> HolderError {
    move |source| HolderError::Storage { file, source }
}

fn failed(file: &'static str) -> impl Fn(io::Error) -> MeterError {
    move |source| MeterError::Io { file, source }
}

fn name_of(kind: &str, bytes: &[u8]) -> Name {
    first_half(digest("holdfast account v1", &[kind.as_bytes(), bytes]).0)
}

/// Seven bytes, as a line has room for; a hospital has a handful of gateways.
fn name_of_gateway(certificate: &[u8]) -> Name {
    let mut name = name_of("gateway", certificate);
    name.iter_mut().skip(7).for_each(|byte| *byte = 0);
    name
}

fn header() -> Line {
    let mut line = [0; LINE_BYTES];
    line.iter_mut().zip(b"holdfast meter v1").for_each(|(to, from)| *to = *from);
    line
}

fn first_check() -> Check {
    first_half(digest("holdfast meter v1", &[&header()]).0)
}

/// What a chart is opened for, in the order of their numbers, from 1; any other word is 0.
const PURPOSES: [&str; 5] = ["treatment", "emergency", "operations", "audit", "patient-request"];

/// Who is over budget, where a gateway spoke.
const DEVICES: &str = "the devices and consoles of this gateway together";

/// What a line says.
#[derive(Clone, Copy)]
struct Opening {
    at: Timestamp,
    kind: Kind,
    purpose: u8,
    /// For which of the person (or the gateway's devices together), the gateway and all she is new: bits 0, 1, 2.
    new_for: u8,
    gateway: Name,
    person: Name,
    patient: Id16,
}

impl Opening {
    /// In the order of the bits.
    fn accounts(&self) -> [(Kind, Name); 3] {
        let (kind, all) = (self.kind, [0; 16]);
        let first = match kind {
            Kind::Erasures => all,
            Kind::Delegate => self.gateway,
            _ => self.person,
        };
        [(kind, first), (Kind::Gateway, self.gateway), (Kind::All, all)]
    }
}

/// Time (8), kind, purpose and what she is new for (1), seven bytes of the gateway's name, the person's name (16), the patient (16),
/// the check over all of that and the check before it (16).
fn line(before: &Check, opening: &Opening) -> (Line, Check) {
    let Opening { at, kind, purpose, new_for, gateway, person, patient } = opening;
    let kind = match kind {
        Kind::Delegate => 2,
        Kind::Erasures => 3,
        _ => 1_u8,
    };
    let gateway = gateway.get(..7).unwrap_or_default();
    let flags = kind | (purpose & 3) << 2 | (new_for & 7) << 4 | (purpose >> 2 & 1) << 7;
    let body = [at.0.to_be_bytes().as_slice(), &[flags], gateway, person, &patient.0].concat();
    let check = first_half(digest("holdfast meter line v1", &[before, &body]).0);
    let mut line = [0; LINE_BYTES];
    line.iter_mut().zip(body.iter().chain(&check)).for_each(|(to, from)| *to = *from);
    (line, check)
}

impl Meter {
    /// Opens or makes the journal in `dir`, and counts what of it is in a window at `now`.
    pub fn open(dir: &Path, budgets: Budgets, now: Timestamp) -> Result<Self, HolderError> {
        fs::create_dir_all(dir).map_err(storage("the meter's folder"))?;
        let journal = new_journal(&dir.join(CURRENT)).map_err(storage(CURRENT))?;
        let mut state = State { counters: HashMap::new(), remembered: 0, last: now, names: HashMap::new(), journal };
        if let Ok(before) = File::open(dir.join(BEFORE)) {
            read(&before, BEFORE, &mut |opening| state.recall(opening))?;
        }
        let file = private_file().create(true).open(dir.join(CURRENT)).map_err(storage(CURRENT))?;
        let mut first = None;
        let (lines, check) = read(&file, CURRENT, &mut |opening| {
            first.get_or_insert(opening.at);
            state.recall(opening);
        })?;
        state.journal = Journal { file, lines, first, check, unsynced: 0, syncing: Syncing::default() };
        Ok(Self { dir: dir.to_owned(), budgets: Mutex::new(budgets), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budgets(&self) -> Budgets {
        *self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other budgets from now on; what was counted stays counted.
    pub fn set_budgets(&self, budgets: Budgets) {
        *self.budgets.lock().unwrap_or_else(PoisonError::into_inner) = budgets;
    }

    /// The time of the newest line: what a start knows to be over.
    pub fn last_time(&self) -> Timestamp {
        self.state().last
    }

    /// Counts one opening, in the journal as well; or says whose budget is used up, and counts nothing.
    pub fn admit(&self, now: Timestamp, account: Account<'_>, patient: Id16) -> Result<(), MeterError> {
        let b = self.budgets();
        let (kind, whose, limits) = match account.is_delegated {
            false => (Kind::Person, account.person, (b.person_hour, b.person_day)),
            true => (Kind::Delegate, DEVICES, (b.delegate_hour, b.delegate_day)),
        };
        let (person, gateway) = (name_of("person", account.person.as_bytes()), name_of_gateway(account.gateway));
        let purpose = PURPOSES.iter().position(|known| *known == account.purpose).map_or(0, |at| at + 1);
        let purpose = u8::try_from(purpose).unwrap_or(0);
        let opening = Opening { at: now, kind, purpose, new_for: 0, gateway, person, patient };
        let gateways = (b.gateway_hour, b.gateway_day);
        let asked = [(whose, limits), ("this gateway", gateways), ("all gateways together", (b.all_hour, b.all_day))];
        self.count(opening, &asked)?;
        let [(_, counted), ..] = opening.accounts();
        self.state().remember_name(counted, whose);
        Ok(())
    }

    /// As [`Self::admit`], for an erasure.
    pub fn admit_erasure(&self, now: Timestamp, gateway: &[u8], patient: Id16) -> Result<(), MeterError> {
        let (limit, gateway) = (self.budgets().erasures_day, name_of_gateway(gateway));
        let (kind, purpose) = (Kind::Erasures, 0);
        let opening = Opening { at: now, kind, purpose, new_for: 0, gateway, person: [0; 16], patient };
        self.count(opening, &[("erasures", (limit, limit))])
    }

    /// `asked`: who is counted, and by what limits, in the order of the opening's accounts.
    fn count(&self, mut opening: Opening, asked: &[(&str, (u32, u32))]) -> Result<(), MeterError> {
        let mut state = self.state();
        let now = opening.at.max(state.last);
        (opening.at, state.last) = (now, now);
        let accounts = opening.accounts();
        for (bit, (account, (whose, limits))) in accounts.iter().zip(asked).enumerate() {
            let counter = state.counters.entry(*account).or_default();
            let gone = counter.sweep(now);
            let is_new = !counter.seen.contains(&opening.patient);
            let judged = if is_new { counter.judge(whose, now, *limits) } else { Ok(()) };
            state.remembered -= gone;
            judged?;
            opening.new_for |= u8::from(is_new) << bit;
        }
        if opening.new_for == 0 {
            return Ok(());
        }
        if state.remembered + asked.len() > REMEMBERED_MAX {
            state.sweep_all(now);
            if state.remembered + asked.len() > REMEMBERED_MAX {
                return Err(MeterError::Full { max: REMEMBERED_MAX });
            }
        }
        self.write(&mut state, &opening)?;
        state.add(&opening);
        Ok(())
    }

    fn write(&self, state: &mut State, opening: &Opening) -> Result<(), MeterError> {
        let now = opening.at;
        let journal = &mut state.journal;
        let is_old = journal.first.is_some_and(|first| first.plus_ms(DAY_MS) <= now);
        if is_old {
            // All of the file before that is out of every window.
            journal.file.sync_data().map_err(failed(CURRENT))?;
            // The next one first: where a full disk has no room for it, nothing is put aside, twice least of all.
            let next = new_journal(&self.dir.join(NEXT)).map_err(failed(NEXT))?;
            fs::rename(self.dir.join(CURRENT), self.dir.join(BEFORE)).map_err(failed(BEFORE))?;
            fs::rename(self.dir.join(NEXT), self.dir.join(CURRENT)).map_err(failed(CURRENT))?;
            *journal = next;
        }
        if journal.lines >= LINES_MAX {
            return Err(MeterError::Full { max: LINES_MAX });
        }
        let (line, check) = line(&journal.check, opening);
        // At its place, not at the end: a line that a full disk cut short is written over by the next try.
        journal.file.write_all_at(&line, offset(journal.lines + 1)).map_err(failed(CURRENT))?;
        journal.lines += 1;
        journal.check = check;
        journal.first.get_or_insert(now);
        journal.unsynced += 1;
        if journal.unsynced >= UNSYNCED_MAX {
            journal.syncing.begin(&journal.file).map_err(failed(CURRENT))?;
            journal.unsynced = 0;
        }
        Ok(())
    }

    /// Brings the journal to the disk, while others are admitted: for whoever has a timer.
    pub fn sync(&self) -> Result<(), MeterError> {
        let file = {
            let mut state = self.state();
            if std::mem::take(&mut state.journal.unsynced) == 0 {
                return Ok(());
            }
            state.journal.file.try_clone().map_err(failed(CURRENT))?
        };
        file.sync_data().map_err(failed(CURRENT))
    }

    pub fn counts(&self, now: Timestamp) -> Counts {
        let mut state = self.state();
        let now = now.max(state.last);
        state.sweep_all(now);
        let all = state.counters.get(&(Kind::All, [0; 16]));
        let (hour, day) = all.map_or((0, 0), |all| (all.within_hour(now), all.order.len()));
        let mut persons: Vec<(String, usize)> = state
            .counters
            .iter()
            .filter(|((kind, _), _)| matches!(kind, Kind::Person | Kind::Delegate))
            .map(|((_, name), counter)| {
                (
                    state.names.get(name).cloned().unwrap_or_else(|| "not seen since the start".into()),
                    counter.order.len(),
                )
            })
            .collect();
        persons.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
        persons.truncate(HIGHEST);
        Counts { hour, day, persons }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure; at worst the stated number of openings is lost.
        let _ = self.state().journal.file.sync_data();
    }
}

impl State {
    fn recall(&mut self, opening: &Opening) {
        // A line from a time to come was written before the clock was set back: it counts from its own time on.
        self.last = self.last.max(opening.at);
        if opening.at.plus_ms(DAY_MS) > self.last {
            self.add(opening);
        }
    }

    fn add(&mut self, opening: &Opening) {
        for (bit, account) in opening.accounts().into_iter().enumerate() {
            if opening.new_for & (1 << bit) != 0 {
                let added = self.counters.entry(account).or_default().add(opening.at, opening.patient);
                self.remembered += usize::from(added);
            }
        }
    }

    fn sweep_all(&mut self, now: Timestamp) {
        let gone: usize = self.counters.values_mut().map(|counter| counter.sweep(now)).sum();
        self.remembered -= gone;
        self.counters.retain(|_, counter| !counter.order.is_empty());
        let Self { counters, names, .. } = self;
        names
            .retain(|name, _| [Kind::Person, Kind::Delegate].iter().any(|kind| counters.contains_key(&(*kind, *name))));
    }

    fn remember_name(&mut self, name: Name, text: &str) {
        self.names.entry(name).or_insert_with(|| text.to_owned());
    }
}

fn offset(index: usize) -> u64 {
    (index * LINE_BYTES) as u64
}

fn new_journal(path: &Path) -> io::Result<Journal> {
    let file = begin_lines(path, &header())?;
    Ok(Journal { file, lines: 0, first: None, check: first_check(), unsynced: 0, syncing: Syncing::default() })
}

/// Reads a journal. A last line that is cut short, or whose check was never written, was answered to nobody, and is
/// dropped; any other that doesn't fit is damage: going on without it would give a budget back.
fn read(file: &File, name: &'static str, found: &mut dyn FnMut(&Opening)) -> Result<(usize, Check), HolderError> {
    let damaged = |index: usize| HolderError::Damaged { file: name, offset: offset(index) };
    let length = file.metadata().map_err(storage(name))?.len();
    if length > offset(LINES_MAX + 2) {
        return Err(damaged(LINES_MAX + 1));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged(0))?];
    file.read_exact_at(&mut bytes, 0).map_err(storage(name))?;
    let (lines, torn) = bytes.as_chunks::<LINE_BYTES>();
    let Some((first, lines)) = lines.split_first() else { return Err(damaged(0)) };
    if *first != header() {
        return Err(damaged(0));
    }
    let mut check = first_check();
    for (index, found_line) in (1..).zip(lines) {
        let (opening, found_check) = parse(found_line).ok_or_else(|| damaged(index))?;
        let (_, expected) = line(&check, &opening);
        if found_check == expected {
            check = expected;
            found(&opening);
        } else if index == lines.len() && torn.is_empty() && found_check == Check::default() {
            return Ok((index - 1, check));
        } else {
            return Err(damaged(index));
        }
    }
    Ok((lines.len(), check))
}

/// A line's fields; `None` for a kind that there isn't.
fn parse(line: &Line) -> Option<(Opening, Check)> {
    let (time, rest) = line.split_first_chunk::<8>()?;
    let (flags, rest) = rest.split_first()?;
    let (seven, rest) = rest.split_first_chunk::<7>()?;
    let (person, rest) = rest.split_first_chunk::<16>()?;
    let (patient, check) = rest.split_first_chunk::<16>()?;
    let kind = match flags & 3 {
        1 => Kind::Person,
        2 => Kind::Delegate,
        3 => Kind::Erasures,
        _ => return None,
    };
    let mut gateway = [0; 16];
    gateway.iter_mut().zip(seven).for_each(|(to, from)| *to = *from);
    let at = Timestamp(i64::from_be_bytes(*time));
    let (purpose, new_for) = ((flags >> 2 & 3) | (flags >> 7) << 2, flags >> 4 & 7);
    let opening = Opening { at, kind, purpose, new_for, gateway, person: *person, patient: Id16(*patient) };
    Some((opening, check.try_into().ok()?))
}
