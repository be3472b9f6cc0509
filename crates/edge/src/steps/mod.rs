//! The fraction gate as a Quality Check Performer (IHE-RO Quality Assurance with Plan Veto): a requester creates a procedure step that
//! names the plan it is about to deliver; the check completes it, or cancels it, which is the veto.
//!
//! ```text
//!   N-CREATE ─► SCHEDULED ─► IN PROGRESS ─┬─► COMPLETED   the gate releases the fraction
//!                    │                    └─► CANCELED    it doesn't, or can't tell
//!                    └── request to cancel ─► CANCELED
//! ```
//!
//! A step is checked when somebody first wants to know: who subscribes to it, or asks for it. Steps live in memory: the verdict is in
//! the ledger, and a requester whose step is gone has no release.

mod shown;
mod workitem;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kit::{Digest, Explain, Timestamp};
use sha2::{Digest as _, Sha256};
use treatment::{Asked, Instruction, Outcome as Decision, Treatment};

use crate::archive::context_of;
use crate::dimse::notify::{Receiver, Report, send};
use crate::dimse::{Act, Outcome, Peer, StepCall, status};
pub(crate) use shown::Shown;
pub use workitem::{Order, read};

/// Steps that are remembered; a department has some hundred fractions a day.
const STEPS_MAX: usize = 1_024;
/// Of one caller, so that none takes the places of all others.
const OF_ONE_MAX: usize = 256;
/// How long a step is remembered.
const LIFE_MS: i64 = 12 * 3_600_000;
/// Who may subscribe to one step.
const SUBSCRIBERS_MAX: usize = 8;
/// Subscribers that are being told at one time; who comes then is refused, and can ask.
const TELLING_MAX: usize = 32;
/// For a check that somebody else has begun.
const CHECK_PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);

/// A machine or system that is known by its AE title.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Treatment Machine Name of the machine that it is.
    pub machine: Option<String>,
    /// Where it takes event reports.
    pub events: Option<SocketAddr>,
}

/// Why a step was canceled: a code, and the same in words.
type Reasons = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Scheduled,
    InProgress,
    /// What the gate says of the fraction that it releases.
    Completed(String),
    Canceled(Reasons),
}

impl State {
    /// Procedure Step State (0074,1000).
    fn word(&self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN PROGRESS",
            Self::Completed(_) => "COMPLETED",
            Self::Canceled(_) => "CANCELED",
        }
    }

    fn is_final(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Canceled(_))
    }
}

/// Title and address of a caller, and the UID that it gave: nobody else hears of its step.
type Key = (String, String, String);

struct Step {
    made: Timestamp,
    order: Order,
    /// What its caller had shown of the plan and the instruction when it was created.
    shown: [Option<Digest>; 2],
    /// As it was created, and in which transfer syntax.
    data: (Vec<u8>, &'static str),
    state: State,
    begun: Option<Timestamp>,
    ended: Option<Timestamp>,
    subscribers: BTreeSet<String>,
}

pub(crate) struct Steps {
    treatment: Arc<Treatment>,
    known: BTreeMap<String, Known>,
    /// Our own AE title.
    title: String,
    pub(crate) shown: Shown,
    steps: Mutex<BTreeMap<Key, Step>>,
    telling: Arc<AtomicUsize>,
}

fn whose(peer: &Peer) -> (String, String) {
    (peer.calling_ae_title.clone(), peer.address.to_string())
}

fn key(peer: &Peer, step: &str) -> Key {
    let (title, address) = whose(peer);
    (title, address, step.to_owned())
}

impl Steps {
    pub(crate) fn new(treatment: Arc<Treatment>, known: BTreeMap<String, Known>, title: String) -> Arc<Self> {
        let (shown, steps, telling) = (Shown::default(), Mutex::default(), Arc::default());
        Arc::new(Self { treatment, known, title, shown, steps, telling })
    }

    /// The machine that this caller is, where the configuration says so.
    pub(crate) fn machine(&self, peer: &Peer) -> Option<String> {
        self.known.get(&peer.calling_ae_title)?.machine.clone()
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<Key, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.treatment.chart().now()
    }

    pub(crate) fn act(self: &Arc<Self>, peer: &Peer, call: &StepCall<'_>) -> (Outcome, Option<Vec<u8>>) {
        let done = match &call.act {
            Act::Create => self.create(peer, call).map(|()| None),
            Act::Get(attributes) => self.get(peer, call, attributes).map(Some),
            Act::Cancel => self.cancel(peer, call).map(|()| None),
            Act::Subscribe => return (self.subscribe(peer, call).unwrap_or_else(|refused| refused), None),
            Act::Unsubscribe => self.unsubscribe(peer, call).map(|()| None),
        };
        match done {
            Ok(data_set) => (Outcome::stored(), data_set),
            Err(refused) => (refused, None),
        }
    }

    fn create(&self, peer: &Peer, call: &StepCall<'_>) -> Result<(), Outcome> {
        let order = workitem::read(call.data_set, call.transfer_syntax)?;
        let (now, key) = (self.now(), key(peer, &call.step));
        let digest = |uid: &str| self.shown.of(peer, uid, now).map(|file| digest(&file));
        let shown = [digest(&order.plan), order.instruction.as_deref().and_then(digest)];
        let data = (call.data_set.to_vec(), call.transfer_syntax);
        let is_mine = |other: &Key| (&other.0, &other.1) == (&key.0, &key.1);
        let mut steps = self.steps();
        steps.retain(|_, step| step.made.plus_ms(LIFE_MS) > now);
        if steps.contains_key(&key) {
            return Err(Outcome::refused(status::DUPLICATE_SOP_INSTANCE, "there is a step with this UID"));
        }
        if steps.len() >= STEPS_MAX || steps.keys().filter(|other| is_mine(other)).count() >= OF_ONE_MAX {
            // What has ended may go, the oldest first; what is still to be checked stays.
            let ended = steps.iter().filter(|(other, step)| step.state.is_final() && is_mine(other));
            let Some(oldest) = ended.min_by_key(|(_, step)| step.made).map(|(uid, _)| uid.clone()) else {
                return Err(Outcome::refused(status::RESOURCE_LIMITATION, "too many steps wait to be checked"));
            };
            steps.remove(&oldest);
        }
        let subscribers = BTreeSet::new();
        let (made, state) = (now, State::Scheduled);
        steps.insert(key, Step { made, order, shown, data, state, begun: None, ended: None, subscribers });
        Ok(())
    }

    /// Works on a step of this caller's.
    fn with<T>(
        &self,
        peer: &Peer,
        step: &str,
        work: impl FnOnce(&mut Step) -> Result<T, Outcome>,
    ) -> Result<T, Outcome> {
        let mut steps = self.steps();
        let step = steps.get_mut(&key(peer, step));
        work(step.ok_or_else(|| Outcome::refused(status::NO_SUCH_STEP, "no such step of yours"))?)
    }

    fn get(&self, peer: &Peer, call: &StepCall<'_>, attributes: &[dicom_core::Tag]) -> Result<Vec<u8>, Outcome> {
        self.check(peer, &call.step)?;
        self.with(peer, &call.step, |step| workitem::write(step, attributes, call.transfer_syntax))
    }

    fn cancel(self: &Arc<Self>, peer: &Peer, call: &StepCall<'_>) -> Result<(), Outcome> {
        let now = self.now();
        let subscribers = self.with(peer, &call.step, |step| match &step.state {
            State::Scheduled => {
                step.state = State::Canceled(vec![("cancel-requested".into(), "its requester canceled it".into())]);
                step.ended = Some(now);
                Ok(step.subscribers.clone())
            }
            State::Canceled(_) => Err(Outcome::refused(status::STEP_CANCELED_ALREADY, "it is CANCELED already")),
            // Begun is as good as done: a check takes no time.
            State::InProgress | State::Completed(_) => {
                Err(Outcome::refused(status::STEP_COMPLETED_ALREADY, "it is COMPLETED already"))
            }
        })?;
        for subscriber in subscribers {
            // Who can't be told can ask.
            let _ = self.tell(peer, &call.step, subscriber, &[]);
        }
        Ok(())
    }

    fn subscribe(self: &Arc<Self>, peer: &Peer, call: &StepCall<'_>) -> Result<Outcome, Outcome> {
        let subscription = workitem::subscription(call.data_set, call.transfer_syntax)?;
        let receiver = subscription.receiver;
        // Nobody subscribes others to what they didn't ask.
        if receiver != peer.calling_ae_title || self.known.get(&receiver).is_none_or(|known| known.events.is_none()) {
            let why = "the Receiving AE isn't the caller, or has no events address";
            return Err(Outcome::refused(status::RECEIVER_UNKNOWN, why));
        }
        let before = self.with(peer, &call.step, |step| {
            if step.subscribers.len() >= SUBSCRIBERS_MAX {
                return Err(Outcome::refused(status::RESOURCE_LIMITATION, "too many subscribe to it"));
            }
            step.subscribers.insert(receiver.clone());
            Ok(step.state.clone())
        })?;
        // Who subscribes hears where it stands, and then how it goes on (PS3.4 CC.2.3.3).
        let known: &[State] = if before == State::Scheduled { &[State::Scheduled, State::InProgress] } else { &[] };
        self.tell(peer, &call.step, receiver, known)?;
        Ok(match subscription.wants_lock {
            true => Outcome::refused(status::DELETION_LOCK_NOT_GRANTED, "a step is kept for twelve hours"),
            false => Outcome::stored(),
        })
    }

    fn unsubscribe(&self, peer: &Peer, call: &StepCall<'_>) -> Result<(), Outcome> {
        let subscription = workitem::subscription(call.data_set, call.transfer_syntax)?;
        self.with(peer, &call.step, |step| {
            step.subscribers.remove(&subscription.receiver);
            Ok(())
        })
    }

    /// Makes the check, if nobody has yet.
    fn check(&self, peer: &Peer, step: &str) -> Result<(), Outcome> {
        let now = self.now();
        let order = self.with(peer, step, |step| {
            let is_first = step.state == State::Scheduled;
            if is_first {
                (step.state, step.begun) = (State::InProgress, Some(now));
            }
            Ok(is_first.then(|| (step.order.clone(), step.shown)))
        })?;
        let Some((order, bound)) = order else { return Ok(()) };
        let state = self.judge(peer, &order, bound).map_or_else(State::Canceled, State::Completed);
        tracing::info!(state = state.word(), "a procedure step was checked");
        let now = self.now();
        self.with(peer, step, |step| {
            (step.state, step.ended) = (state, Some(now));
            Ok(())
        })
    }

    /// What the gate says of the fraction; else why it is not to be given.
    fn judge(&self, peer: &Peer, order: &Order, [plan, told]: [Option<Digest>; 2]) -> Result<String, Reasons> {
        const NOT_SHOWN: &str = "it was not sent here (C-STORE) by this AE before the step, within half an hour; or another file was since, \
                                 under the same UID";
        let one = |code: &str, why: &str| vec![(code.to_owned(), why.to_owned())];
        // What was there when the step was created, and no other file under the same UID.
        let shown = |uid: &str, bound: Option<Digest>| {
            self.shown.of(peer, uid, self.now()).filter(|file| bound == Some(digest(file)))
        };
        let plan = shown(&order.plan, plan).ok_or_else(|| one("plan-not-shown", NOT_SHOWN))?;
        if let Ok(hers) = treatment::Instance::parse(&plan) {
            let differs = |said: &Option<String>, plans: &Option<String>| {
                said.as_ref().zip(plans.as_ref()).is_some_and(|(said, plans)| said != plans)
            };
            if differs(&order.birth_date, &hers.birth_date) || differs(&order.sex, &hers.sex) {
                return Err(one("step-differs", "the step has another date of birth or sex than the plan"));
            }
        }
        let instruction = order.instruction.as_deref().map(|uid| -> Result<_, Reasons> {
            let file = shown(uid, told).ok_or_else(|| one("instruction-not-shown", NOT_SHOWN))?;
            Ok(Instruction::parse(&file))
        });
        let asked = Asked { machine: self.machine(peer), instruction: instruction.transpose()?, ..Asked::default() };
        let context = context_of(&self.treatment, peer);
        let verdict = self.treatment.gate(&context, order.patient.as_deref(), &plan, &asked);
        let verdict = verdict.map_err(|fault| one(&fault.code, "the check could not be made"))?;
        if verdict.outcome != Decision::Release {
            let reasons = verdict.findings.iter().map(|finding| (finding.code().to_owned(), finding.to_string()));
            return Err(reasons.collect());
        }
        let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let due = number(verdict.fractions_given.map(|given| given.saturating_add(1)));
        let notes = verdict.notes.iter().map(|note| format!("; {note}"));
        let digest = verdict.digest.map_or_else(String::new, |digest| format!(", delivery {digest}"));
        Ok(format!("RELEASE {due} of {}{digest}{}", number(verdict.fractions_planned), notes.collect::<String>()))
    }

    /// Tells one subscriber, on a thread of its own: these states, and where it stands once it is checked.
    fn tell(self: &Arc<Self>, peer: &Peer, step: &str, receiver: String, before: &[State]) -> Result<(), Outcome> {
        let Some(address) = self.known.get(&receiver).and_then(|known| known.events) else { return Ok(()) };
        let busy = || Outcome::refused(status::RESOURCE_LIMITATION, "too many subscribers are being told: ask (N-GET)");
        if self.telling.fetch_add(1, Ordering::AcqRel) >= TELLING_MAX {
            self.telling.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!("too many subscribers are being told; one isn't, and has to ask");
            return Err(busy());
        }
        let (steps, peer, step) = (Arc::clone(self), peer.clone(), step.to_owned());
        let before = before.to_vec();
        let work = move || {
            let told = steps.check(&peer, &step).and_then(|()| {
                let last = steps.ended(&peer, &step)?;
                Ok(before.iter().chain([&last]).map(|state| report(&step, state)).collect::<Vec<_>>())
            });
            if let Ok(reports) = told {
                let to = Receiver { address, called: &receiver, calling: &steps.title };
                if let Err(error) = send(&to, &reports) {
                    tracing::warn!(code = error.code(), %error, "a subscriber was not told how its step went");
                }
            }
            steps.telling.fetch_sub(1, Ordering::AcqRel);
        };
        if std::thread::Builder::new().name("ups-event".into()).spawn(work).is_err() {
            self.telling.fetch_sub(1, Ordering::AcqRel);
            tracing::error!("no thread to tell a subscriber");
            return Err(busy());
        }
        Ok(())
    }

    /// Its state, once the check that somebody has begun is done.
    fn ended(&self, peer: &Peer, step: &str) -> Result<State, Outcome> {
        let begun = Instant::now();
        loop {
            let state = self.with(peer, step, |step| Ok(step.state.clone()))?;
            if state.is_final() || begun.elapsed() >= CHECK_PATIENCE {
                return Ok(state);
            }
            std::thread::sleep(GLANCE);
        }
    }
}

fn digest(file: &[u8]) -> Digest {
    Digest(Sha256::digest(file).into())
}

/// UPS State Report (PS3.4 table CC.2.4-1).
fn report(step: &str, state: &State) -> Report {
    const STATE_REPORT: u16 = 1;
    Report { step: step.to_owned(), event: STATE_REPORT, information: workitem::state_report(state) }
}
