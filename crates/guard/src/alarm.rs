//! What rang, who has to look at it and until when, and what it was.
//!
//! ```text
//!  Signalled ──► raised ──► taken ──► closed, with what it was
//!                  └─ nobody takes it: it goes up to the next owner of the policy, and so on
//! ```
//! It is in force before it is kept: an alarm doesn't wait for a disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;

use kit::{Blame, Explain, Id16, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::normal::Signalled;
use crate::policy::bundle::{BundleError, DAY_MS, MINUTE_MS, within};
use crate::{Act, Event, Guard, GuardError, Outcome, Permit, Role, Signal};

/// Open at one time. Beyond, somebody is looking at something worse.
const OPEN_MAX: usize = 1_000;
/// Closed ones that are still shown.
const CLOSED_SHOWN: usize = 200;
const WORDS_CHARACTERS_MAX: usize = 200;
/// What was taken and isn't closed after a day goes up as well.
const CLOSE_WITHIN_MS: i64 = DAY_MS;

/// What the policy says of alarms, and of emergencies that wait for their review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alarms {
    /// In which each owner has to take one.
    pub minutes: u32,
    /// The first one's first.
    pub owners: Vec<Role>,
    /// In which an emergency has to be reviewed.
    pub review_hours: u32,
}

impl Default for Alarms {
    fn default() -> Self {
        let owners = vec![Role::SecurityOfficer, Role::ItAdministrator, Role::Oncologist];
        Self { minutes: 30, owners, review_hours: 72 }
    }
}

impl Alarms {
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        within("alarms.minutes", self.minutes, 24 * 60)?;
        within("alarms.review_hours", self.review_hours, 24 * 30)?;
        within("the number of alarms.owners", self.owners.len() as u32, Role::ALL.len() as u64)
    }

    fn due(&self, level: usize, at: Timestamp) -> Timestamp {
        at.plus_ms(i64::from(self.minutes) * MINUTE_MS * (level as i64 + 1))
    }
}

/// Something stood out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Alarm {
    #[n(0)]
    pub id: Id16,
    #[n(1)]
    pub signal: Signal,
    /// Of whom: a login, a machine.
    #[n(2)]
    pub subject: String,
    #[n(3)]
    pub at: Timestamp,
    #[n(4)]
    pub words: String,
    /// Of everybody together: who came last. She closes it no more than one about herself; the pages don't say it.
    #[n(5)]
    #[serde(skip)]
    pub last: Option<String>,
}

impl Alarm {
    fn is_about(&self, subject: &str) -> bool {
        self.subject == subject || self.last.as_deref() == Some(subject)
    }
}

/// How it stands with one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmStanding {
    #[serde(flatten)]
    pub alarm: Alarm,
    /// How often the same was signalled since, by this process.
    pub times: u64,
    pub taken: Option<(String, Timestamp)>,
    pub closed: Option<AlarmClosed>,
    /// Whose it is now.
    pub owner: Role,
    /// Until when; the next owner's turn comes then.
    pub due: Timestamp,
    /// Nobody took it in time, the last owner either; or it was taken and isn't closed.
    pub is_overdue: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct AlarmClosed {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub outcome: Outcome,
    #[n(3)]
    pub words: String,
}

/// Why an alarm isn't taken or closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlarmError {
    #[error("no alarm {id} is open")]
    NotOpen { id: Id16 },
    #[error("the words are empty, longer than {WORDS_CHARACTERS_MAX} characters, or have a line break")]
    BadWords,
    #[error("it is about whoever wants to close it: somebody else has to")]
    OnesOwn,
}

impl Explain for AlarmError {
    fn blame(&self) -> Blame {
        match self {
            Self::NotOpen { .. } => Blame::Absent,
            Self::BadWords => Blame::Peer,
            Self::OnesOwn => Blame::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotOpen { .. } => "guard.alarm.not-open",
            Self::BadWords => "guard.alarm.bad-words",
            Self::OnesOwn => "guard.alarm.ones-own",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some("`holdfast alarm list` shows what is open, and whose it is")
    }
}

struct Rung {
    alarm: Alarm,
    times: u64,
    taken: Option<(String, Timestamp)>,
}

/// What rang and isn't closed, and the last ones that are.
#[derive(Default)]
pub(crate) struct Rang {
    open: BTreeMap<Id16, Rung>,
    beyond: u64,
    closed: VecDeque<(Rung, AlarmClosed)>,
}

impl Rang {
    /// The same again: one alarm is enough.
    fn again(&mut self, signal: Signal, subject: &str) -> bool {
        let same = |rung: &&mut Rung| rung.alarm.signal == signal && rung.alarm.subject == subject;
        let found = self.open.values_mut().find(same);
        found.map(|rung| rung.times += 1).is_some()
    }

    fn get(&self, id: Id16) -> Result<&Rung, AlarmError> {
        self.open.get(&id).ok_or(AlarmError::NotOpen { id })
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::AlarmRaised(alarm) if self.open.len() < OPEN_MAX => {
                self.open.entry(alarm.id).or_insert_with(|| Rung { alarm: alarm.clone(), times: 1, taken: None });
            }
            Event::AlarmRaised(_) => tracing::error!("more alarms are open than are followed"),
            Event::AlarmTaken { id, at, by } => {
                // The first time counts: taken again and again it would never be overdue.
                if let Some(rung) = self.open.get_mut(id) {
                    let since = rung.taken.as_ref().map_or(*at, |(_, since)| *since);
                    rung.taken = Some((by.clone(), since));
                }
            }
            Event::AlarmClosed { id, closed } => {
                if let Some(rung) = self.open.remove(id) {
                    self.closed.push_back((rung, closed.clone()));
                }
                if self.closed.len() > CLOSED_SHOWN {
                    self.closed.pop_front();
                }
            }
            _ => {}
        }
    }

    fn standing(rung: &Rung, closed: Option<&AlarmClosed>, policy: &Alarms, now: Timestamp) -> AlarmStanding {
        let Rung { alarm, times, taken } = rung;
        let waited = now.0.saturating_sub(alarm.at.0).max(0) / (i64::from(policy.minutes) * MINUTE_MS);
        let last = policy.owners.len().saturating_sub(1);
        let level = usize::try_from(waited).unwrap_or(last).min(last);
        let owner = policy.owners.get(level).copied().unwrap_or(Role::Console);
        let (due, is_overdue) = match taken {
            Some((_, at)) => (at.plus_ms(CLOSE_WITHIN_MS), now > at.plus_ms(CLOSE_WITHIN_MS)),
            None => (policy.due(level, alarm.at), now > policy.due(last, alarm.at)),
        };
        let (alarm, times, taken, closed) = (alarm.clone(), *times, taken.clone(), closed.cloned());
        AlarmStanding { alarm, times, taken, is_overdue: is_overdue && closed.is_none(), closed, owner, due }
    }

    fn all(&self, policy: &Alarms, now: Timestamp) -> Vec<AlarmStanding> {
        let open = self.open.values().map(|rung| Self::standing(rung, None, policy, now));
        let mut open: Vec<AlarmStanding> = open.collect();
        open.sort_by_key(|one| (one.alarm.at, one.alarm.id));
        let closed = self.closed.iter().rev().map(|(rung, closed)| Self::standing(rung, Some(closed), policy, now));
        open.into_iter().chain(closed).collect()
    }
}

impl Guard {
    /// What is open, the oldest first; then what was closed, the newest first.
    pub fn alarms(&self) -> Vec<AlarmStanding> {
        let (policy, now) = (self.rules().alarms(), self.clock.now());
        self.rang.lock().unwrap_or_else(PoisonError::into_inner).all(&policy, now)
    }

    /// Rings, once for as long as the same is open.
    pub(crate) fn ring(&self, signalled: Signalled) {
        let Signalled { signal, subject, words, last } = signalled;
        let _held = self.hold();
        let mut rang = self.rang.lock().unwrap_or_else(PoisonError::into_inner);
        if rang.again(signal, &subject) {
            return;
        }
        tracing::warn!(%signal, "alarm");
        if rang.open.len() >= OPEN_MAX {
            tracing::error!("more alarms are open than are followed");
            rang.beyond += 1;
            return;
        }
        let alarm = Alarm { id: Id16(self.entropy.id()), signal, subject, at: self.clock.now(), words, last };
        let event = Event::AlarmRaised(alarm);
        rang.apply(&event);
        drop(rang);
        self.keep_when_possible(event);
    }

    /// Somebody looks at it.
    pub fn take_alarm(&self, permit: &Permit, id: Id16) -> Result<(), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::HandleAlarm)?;
        self.check_not_ones_own(permit, id)?;
        self.keep(&Event::AlarmTaken { id, at: self.clock.now(), by: permit.subject().to_owned() })
    }

    fn check_not_ones_own(&self, permit: &Permit, id: Id16) -> Result<(), AlarmError> {
        let rang = self.rang.lock().unwrap_or_else(PoisonError::into_inner);
        if rang.get(id)?.alarm.is_about(permit.subject()) { Err(AlarmError::OnesOwn) } else { Ok(()) }
    }

    /// More rang than are followed: since the start, and not on the list.
    pub fn alarms_beyond(&self) -> u64 {
        self.rang.lock().unwrap_or_else(PoisonError::into_inner).beyond
    }

    /// It was looked at.
    pub fn close_alarm(&self, permit: &Permit, id: Id16, outcome: Outcome, words: &str) -> Result<(), GuardError> {
        let _held = self.hold();
        self.check_does(permit, Act::HandleAlarm)?;
        check_words(words, 1).ok_or(AlarmError::BadWords)?;
        self.check_not_ones_own(permit, id)?;
        let (at, by, words) = (self.clock.now(), permit.subject().to_owned(), words.to_owned());
        let about = self.rang.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.alarm.subject.clone();
        self.keep(&Event::AlarmClosed { id, closed: AlarmClosed { at, by, outcome, words } })?;
        self.watch().looked_at(&about);
        self.mass.lock().unwrap_or_else(PoisonError::into_inner).release(&about);
        Ok(())
    }
}

/// A line of words, of so many characters at least.
pub(crate) fn check_words(words: &str, least: usize) -> Option<()> {
    let length = words.trim().chars().count();
    let fits = (least..=WORDS_CHARACTERS_MAX).contains(&length) && !words.chars().any(crate::misleads);
    fits.then_some(())
}
