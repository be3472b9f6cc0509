//! The drill on a centre under fire: while people write and read over HTTP, its fourteen servers are killed, paused and cut
//! off at random, sometimes more at once than it bears, and its gateway is killed.
//!
//! The seed chooses whom, how and for how long; what of the work that meets is the machine's to say, so that two runs of a
//! seed are alike and not the same. The list and its judge stand in `list`.

mod adversary;
mod client;
mod list;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Blame, Fault};

use crate::attack::DrillRoot;
use crate::check::Findings;
use crate::eleven_of_fourteen::Progress;
use crate::report::{self, Check, Report, Seconds, counted, grouped};
use crate::synthetic::Rng;
use crate::system::{Door, Ground, GroundBuilder, Strike};
use crate::work::spread;

use adversary::Adversary;
use client::{ANSWER_PATIENCE, Answer, exchange};
use list::{Judged, List, Question, Sent, head, refusal};

const SERVERS: usize = 14;
/// So many may be struck for everything, and so many for new records.
const BORNE: usize = 2;
const BORNE_WRITING: usize = 5;
/// Any three put every record together again: the others may be struck all at once.
const NEEDED: usize = 3;
const STRUCK_MAX: usize = SERVERS - NEEDED;

const WRITERS: usize = 3;
const READERS: usize = 3;
const READERS_AT_THE_END: usize = 8;
/// One record in so many is of some kilobytes, up to half a megabyte.
const LARGE_EVERY: u64 = 16;
/// Patients of one writer that get more records.
const IN_HAND: usize = 64;

/// Who finds nobody there comes again so much later.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a gateway may take to start among servers that all answer, and the centre to heal.
const START_PATIENCE: Duration = Duration::from_secs(120);
const HEALING_PATIENCE: Duration = Duration::from_secs(300);
/// A record that has to be read may be asked for again, so often, so much later.
const RETRIES: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest stretch without an acknowledgement while no more servers are struck than the centre bears.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The twin's gateway alters one answer in so many.
const ALTERED_EVERY: u64 = 25;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// What to drill.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How long servers are struck; founding, healing and reading back come on top.
    pub under_fire: Duration,
    /// An empty folder, or one to be made.
    pub root: PathBuf,
    pub keep: bool,
    /// The twin that must fail: somebody between the gateway and its readers alters one byte now and then, and the list has
    /// a record that nobody acknowledged.
    pub twin: bool,
}

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(options: &Options, builder: &dyn GroundBuilder, watch: Watch<'_>) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let begun = Instant::now();
    let report = builder.found_ground(&root.path().join("centre"), SERVERS).and_then(|ground| {
        let loading = begun.elapsed().as_secs_f64();
        let fire = Fire::new(options, ground.as_ref(), watch);
        let mended = fire.work()?;
        let told = fire.judged(mended)?;
        Ok(fire.report(told, loading, begun.elapsed().as_secs_f64()))
    });
    if !options.keep {
        root.destroy()?;
    }
    report
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was done and what became of it.
#[derive(Default)]
struct Counts {
    struck: BTreeMap<Strike, u64>,
    gateway_killed: u64,
    beyond: u64,
    beyond_ms: u64,
    acknowledged: u64,
    refused: u64,
    refused_beyond: u64,
    unanswered: u64,
    right: u64,
    reads_refused: u64,
    reads_unanswered: u64,
    /// Writes and reads whose connection stood, and brought no answer for as long as anybody waits.
    late: u64,
    /// Refusals by their code.
    codes: BTreeMap<String, u64>,
}

/// What is wrong.
#[derive(Default)]
struct Wrong {
    served: Findings,
    unexplained: Findings,
    below_floor: Findings,
}

/// How long nothing was acknowledged.
struct Pace {
    last: Instant,
    longest: Duration,
    /// Since when a silence is the centre's own: the last acknowledgement, or the end of what excuses it.
    since: Instant,
    longest_own: Duration,
    /// Reasons at the moment: too many servers are struck, the gateway is down.
    excuses: u32,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self { last: now, longest: Duration::ZERO, since: now, longest_own: Duration::ZERO, excuses: 0 }
    }

    /// A silence ends here, or is excused from here on.
    fn close(&mut self) {
        if self.excuses == 0 {
            self.longest_own = self.longest_own.max(self.since.elapsed());
        }
        self.since = Instant::now();
    }

    fn acknowledged(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        self.close();
    }

    fn excused(&mut self) {
        self.close();
        self.excuses += 1;
    }

    fn excused_no_more(&mut self) {
        self.excuses = self.excuses.saturating_sub(1);
        self.since = Instant::now();
    }

    fn end(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.close();
    }
}

struct Fire<'a> {
    options: &'a Options,
    ground: &'a dyn Ground,
    watch: Watch<'a>,
    list: List,
    counts: Mutex<Counts>,
    wrong: Mutex<Wrong>,
    pace: Mutex<Pace>,
    /// Odd while more servers are struck than a write bears; each such stretch has a number of its own.
    beyond: AtomicU64,
    gateway_down: AtomicBool,
    is_over: AtomicBool,
    /// Records made, and good answers so far.
    made: AtomicU64,
    served: AtomicU64,
}

/// Ends the others' work, whatever happens to the one who holds it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a> Fire<'a> {
    fn new(options: &'a Options, ground: &'a dyn Ground, watch: Watch<'a>) -> Self {
        Self {
            options,
            ground,
            watch,
            list: List::default(),
            counts: Mutex::default(),
            wrong: Mutex::default(),
            pace: Mutex::new(Pace::new()),
            beyond: AtomicU64::new(0),
            gateway_down: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            made: AtomicU64::new(0),
            served: AtomicU64::new(0),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Everybody works until the adversary has done enough, and all servers are mended: then.
    fn work(&self) -> Result<Instant, Fault> {
        thread::scope(|scope| {
            let _ends = Ends(&self.is_over);
            for number in 0..WRITERS as u64 {
                scope.spawn(move || self.write(&Rng::new(self.options.seed, "writer", number)));
            }
            for number in 0..READERS as u64 {
                scope.spawn(move || self.read_on(&Rng::new(self.options.seed, "reader", number)));
            }
            scope.spawn(|| self.keep_gateway());
            let done = Adversary::new(self).rage();
            lock(&self.pace).end();
            done.map(|()| Instant::now())
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let Door { fhir, token, .. } = self.ground.door();
        let answer = exchange(fhir, token, method, path, body);
        let is_late = |e: &std::io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        lock(&self.counts).late += u64::from(answer.as_ref().is_err_and(is_late));
        answer
    }

    /// That every record is on every server and every holder answers, by the gateway's own word; or what it says.
    fn is_whole(&self) -> Result<(), String> {
        let Door { operations, token, .. } = self.ground.door();
        let answer = exchange(operations, token, "GET", "/readyz", "").map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&answer.body);
        let (whole, holders) = (SERVERS - NEEDED, format!("{SERVERS} of {SERVERS} holders answer"));
        let first = format!("{SERVERS} of {SERVERS} locations up; {whole} more may be lost\n{holders}");
        if text.starts_with(&first) { Ok(()) } else { Err(text.trim_end().replace('\n', "; ")) }
    }

    /// An error where somebody wants the drill to end.
    fn go_on(&self) -> Result<(), Fault> {
        match self.ground.stopped() {
            true => Err(Fault::new(Blame::Peer, "drill.stopped", "the drill was asked to end")),
            false => Ok(()),
        }
    }

    // ---- Those who work

    fn write(&self, rng: &Rng) {
        let mut own: Vec<usize> = Vec::new();
        while !self.is_over() {
            let patient = own.get(rng.index(own.len())).copied();
            let id = patient.and_then(|patient| self.list.id(patient));
            let done = match (patient, id, rng.below(100)) {
                (Some(patient), Some(id), 0..15) => self.update(patient, &id, &self.patient(rng)),
                (Some(_), Some(id), 15..40) => self.create("Observation", &self.observation(rng, &id)).is_some(),
                _ => self.create("Patient", &self.patient(rng)).is_some_and(|patient| {
                    if own.len() == IN_HAND {
                        own.swap_remove(rng.index(IN_HAND));
                    }
                    own.push(patient);
                    true
                }),
            };
            if !done {
                thread::sleep(AGAIN);
            }
        }
    }

    /// A text that nobody else sends.
    fn text(&self, rng: &Rng) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let letters = if rng.below(LARGE_EVERY) == 0 { 64 << rng.below(9) } else { 1 + rng.below(8) };
        let random: String = (0..letters).map(|_| rng.id()).collect();
        format!("{number} {random}")
    }

    /// Its bytes behind the type, as the other makers give them.
    fn patient(&self, rng: &Rng) -> String {
        let (text, day) = (self.text(rng), rng.below(28) + 1);
        format!(
            ",\"identifier\":[{{\"system\":\"urn:example:number\",\"value\":\"{}\"}}],\"birthDate\":\"1961-04-{day:02}\",\
             \"address\":[{{\"text\":\"{text}\"}}]}}",
            rng.id()
        )
    }

    fn observation(&self, rng: &Rng, patient: &str) -> String {
        let text = self.text(rng);
        format!(
            ",\"status\":\"final\",\"code\":{{\"text\":\"note\"}},\"subject\":{{\"reference\":\"Patient/{patient}\"}},\
             \"valueString\":\"{text}\"}}"
        )
    }

    fn create(&self, kind: &'static str, tail: &str) -> Option<usize> {
        let (id, version) = self.submit("POST", &format!("/fhir/{kind}"), &(head(kind) + tail))?;
        Some(self.list.created(kind, id, version, Sent::of(tail)))
    }

    fn update(&self, patient: usize, id: &str, tail: &str) -> bool {
        let tail = format!(",\"id\":\"{id}\"{tail}");
        let which = self.list.sending(patient, Sent::of(&tail));
        let Some((_, version)) = self.submit("PUT", &format!("/fhir/Patient/{id}"), &(head("Patient") + &tail)) else {
            return false;
        };
        if let Some(twice) = self.list.updated(patient, which, version) {
            lock(&self.wrong).served.add(twice);
        }
        true
    }

    /// Sends one record; the id and version under which it is acknowledged.
    fn submit(&self, method: &str, path: &str, body: &str) -> Option<(String, u32)> {
        let before = self.beyond.load(Ordering::SeqCst);
        let answer = self.exchange(method, path, body);
        let is_beyond = before % 2 == 1 && before == self.beyond.load(Ordering::SeqCst);
        let Ok(answer) = answer else {
            lock(&self.counts).unanswered += 1;
            return None;
        };
        if !matches!(answer.status, 200 | 201) {
            match refusal(&answer) {
                Ok(code) => {
                    let mut counts = lock(&self.counts);
                    counts.refused += 1;
                    counts.refused_beyond += u64::from(is_beyond);
                    *counts.codes.entry(code).or_default() += 1;
                }
                Err(why) => lock(&self.wrong).unexplained.add(format!("{method} {path}: {why}")),
            }
            return None;
        }
        lock(&self.pace).acknowledged();
        lock(&self.counts).acknowledged += 1;
        let place = answer.header("location").or_else(|| answer.header("content-location")).unwrap_or_default();
        let mut parts = place.rsplit('/');
        let version = parts.next().and_then(|version| version.parse().ok());
        let id = parts.nth(1).map(str::to_owned);
        if is_beyond {
            lock(&self.wrong).below_floor.add(format!("{place} was acknowledged while too few servers stood"));
        }
        let named = id.zip(version);
        if named.is_none() {
            lock(&self.wrong).served.add(format!("{method} {path} was acknowledged, and not under which address"));
        }
        named
    }

    fn read_on(&self, rng: &Rng) {
        while !self.is_over() {
            let done = self.list.draw(rng).is_some_and(|question| match self.read(&question) {
                Some(Judged::Right) => {
                    lock(&self.counts).right += 1;
                    true
                }
                Some(Judged::Refused(code)) => {
                    let mut counts = lock(&self.counts);
                    counts.reads_refused += 1;
                    *counts.codes.entry(code).or_default() += 1;
                    false
                }
                Some(Judged::Wrong(what)) => {
                    lock(&self.wrong).served.add(what);
                    false
                }
                Some(Judged::Unexplained(what)) => {
                    lock(&self.wrong).unexplained.add(what);
                    false
                }
                None => {
                    lock(&self.counts).reads_unanswered += 1;
                    false
                }
            });
            if !done {
                thread::sleep(AGAIN);
            }
        }
    }

    /// `None` where no answer came.
    fn read(&self, question: &Question) -> Option<Judged> {
        let mut answer = self.exchange("GET", &question.path, "").ok()?;
        // Whoever stands between the twin's gateway and its readers.
        if self.options.twin
            && answer.status == 200
            && self.served.fetch_add(1, Ordering::Relaxed).is_multiple_of(ALTERED_EVERY)
            && let Some(byte) = answer.body.iter_mut().rev().nth(4)
        {
            *byte ^= 1;
        }
        Some(self.list.judge(question, &answer))
    }

    // ---- The gateway's service manager

    /// Starts it again whenever it is down, as often as it takes: with too few servers it doesn't start.
    fn keep_gateway(&self) {
        while !self.is_over() {
            if !self.ground.gateway_runs() {
                let started = self.ground.start_gateway();
                if started.is_ok() && self.gateway_down.swap(false, Ordering::SeqCst) {
                    lock(&self.pace).excused_no_more();
                }
            }
            thread::sleep(AGAIN);
        }
    }

    fn kill_gateway(&self) {
        if !self.gateway_down.swap(true, Ordering::SeqCst) {
            lock(&self.pace).excused();
        }
        self.ground.kill_gateway();
        lock(&self.counts).gateway_killed += 1;
    }

    fn start_gateway(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            self.go_on()?;
            match self.ground.start_gateway() {
                Ok(()) => return Ok(()),
                Err(fault) if begun.elapsed() > START_PATIENCE => return Err(fault),
                Err(_) => thread::sleep(AGAIN),
            }
        }
    }

    // ---- What is left

    /// Everything is up again: is it whole, and is everything there?
    fn judged(&self, mended: Instant) -> Result<Judgement, Fault> {
        let watch = self.watch;
        let mut whole = Findings::default();
        self.start_gateway()?;
        let healed = loop {
            match self.is_whole() {
                Ok(()) => break true,
                Err(why) if mended.elapsed() > HEALING_PATIENCE => {
                    whole.add(format!("not healed within {} s: {why}", HEALING_PATIENCE.as_secs()));
                    break false;
                }
                Err(_) => {}
            }
            watch(Progress { stage: "healing", done: 0, total: 1 });
            self.go_on()?;
            thread::sleep(AGAIN);
        };
        let healing = mended.elapsed().as_secs_f64();
        // By a gateway that remembers nothing of it.
        self.ground.kill_gateway();
        self.start_gateway()?;
        if self.options.twin {
            self.list.created("Patient", "never-acknowledged".to_owned(), 1, Sent::of("}"));
        }
        let reading = Instant::now();
        let all = self.list.all();
        let answers = spread(READERS_AT_THE_END, all.len(), |at| {
            watch(Progress { stage: "reading everything back", done: at + 1, total: all.len() });
            let question = all.get(at).filter(|_| !self.ground.stopped())?;
            let mut last = "no answer came".to_owned();
            for _ in 0..RETRIES {
                match self.read(question) {
                    Some(Judged::Right) => return None,
                    Some(Judged::Wrong(what)) => return Some(what),
                    Some(Judged::Refused(why) | Judged::Unexplained(why)) => last = why,
                    None => {}
                }
                thread::sleep(RETRY_PAUSE);
            }
            Some(format!("{} can't be read any more: {last}", question.path))
        });
        self.go_on()?;
        let mut lost = Findings::default();
        answers.into_iter().flatten().for_each(|finding| lost.add(finding));
        let reading_back = reading.elapsed().as_secs_f64();
        self.ground.fallen().into_iter().for_each(|process| whole.add(process));
        if let Err(why) = self.ground.verify() {
            whole.add(why);
        }
        Ok(Judgement { lost, whole, read_back: all.len(), healed, healing, reading_back })
    }

    fn report(&self, judgement: Judgement, loading: f64, whole_drill: f64) -> Report {
        let Judgement { lost, whole, read_back, healed, healing, reading_back } = judgement;
        let (counts, pace) = (lock(&self.counts), lock(&self.pace));
        let Wrong { mut served, unexplained, mut below_floor } = std::mem::take(&mut *lock(&self.wrong));
        let of = |strike| counts.struck.get(&strike).copied().unwrap_or_default();
        let (killed, paused) = (of(Strike::Kill), of(Strike::Pause));
        let (unplugged, muted) = (of(Strike::Unplug), of(Strike::Mute));
        let many = |number: u64, one, many| counted(usize::try_from(number).unwrap_or(usize::MAX), one, many);
        let number = |number: u64| grouped(usize::try_from(number).unwrap_or(usize::MAX));
        if counts.right == 0 {
            served.add("nothing was read at all: it was not tried");
        }
        if counts.beyond == 0 || counts.refused_beyond == 0 {
            below_floor.add("no write was refused while too few servers stood: it was not tried");
        }
        let mut lost = lost;
        if read_back == 0 {
            lost.add("nothing was acknowledged at all: it was not tried");
        }
        let mut silent = Findings::default();
        if pace.longest_own > SILENCE_MAX {
            let seconds = pace.longest_own.as_secs();
            silent.add(format!("nothing was kept for {seconds} s, with no more than {BORNE_WRITING} servers struck"));
        }
        let (own, longest) = (pace.longest_own.as_secs_f64(), pace.longest.as_secs_f64());
        let seconds = self.options.under_fire.as_secs();
        let reads = number(counts.right);
        let checks = vec![
            Check::new(
                "P1",
                "Is every acknowledged entry still there, byte for byte?",
                format!(
                    "{} over HTTP, by a gateway that had just been started, against the SHA-256 of what was sent.",
                    counted(read_back, "acknowledged version", "acknowledged versions")
                ),
                lost,
                "what becomes of records whose writer got no answer: they may be kept or not.",
            ),
            Check::new(
                "P1",
                "Was nothing served wrong, at any time?",
                format!(
                    "{reads} reads of acknowledged versions and of present ones while servers fell; {} were refused, {} got \
                     no answer.",
                    number(counts.reads_refused),
                    number(counts.reads_unanswered),
                ),
                served,
                "searches, and who may read what.",
            ),
            Check::new(
                "P1",
                "Is nothing acknowledged while too few servers stand?",
                format!(
                    "{}, {} s in all, in which more than {BORNE_WRITING} of {SERVERS} servers were struck: {} refused.",
                    many(counts.beyond, "stretch", "stretches"),
                    counts.beyond_ms / 1000,
                    many(counts.refused_beyond, "write", "writes"),
                ),
                below_floor,
                "writes that were on their way when such a stretch began.",
            ),
            Check::new(
                "P1",
                "Does every refusal say why, and that one may come again?",
                format!("{} refusals: {}.", number(counts.refused + counts.reads_refused), codes(&counts.codes)),
                unexplained,
                "whether a person understands the words.",
            ),
            Check::new(
                "P1",
                "Does the centre go on while no more servers are struck than it bears?",
                format!(
                    "The longest stretch without an acknowledgement: {own:.1} s with at most {BORNE_WRITING} servers struck \
                     and the gateway up (allowed: {} s), {longest:.1} s in all.",
                    SILENCE_MAX.as_secs()
                ),
                silent,
                "how soon another machine than this one answers.",
            ),
            Check::new(
                "P1",
                "Is everything whole again once all servers are back?",
                format!(
                    "What the centre says of itself {healing:.0} s after the last strike ({}), what `holdfast verify` finds, and \
                     whether a process ended by itself.",
                    if healed { "healed" } else { "NOT HEALED" }
                ),
                whole,
                "disks: nothing was done to them.",
            ),
        ];
        let cuts = match self.ground.no_cuts() {
            None => format!(
                "{} cut off: {unplugged} unplugged, {muted} that heard everything and could not answer",
                many(unplugged + muted, "time one was", "times one was")
            ),
            Some(why) => format!("NONE WAS CUT OFF: {why}"),
        };
        let (patients, versions, bytes) = self.list.counts();
        let deeds = vec![
            format!(
                "servers killed {} times and started again; {} times paused and let go on",
                number(killed),
                number(paused)
            ),
            cuts,
            format!(
                "mostly up to {BORNE} or {BORNE_WRITING} at once; {} more than {BORNE_WRITING}, up to {STRUCK_MAX}",
                many(counts.beyond, "time", "times"),
            ),
            format!("the gateway killed {} times and started again", number(counts.gateway_killed)),
            format!(
                "{WRITERS} writers: {} acknowledged, {} refused, {} without an answer",
                number(counts.acknowledged),
                number(counts.refused),
                number(counts.unanswered)
            ),
            format!(
                "{READERS} readers: {reads} read right, {} refused, {} without an answer",
                number(counts.reads_refused),
                number(counts.reads_unanswered)
            ),
            format!(
                "of those without an answer {} had waited {} s for it; the others found no gateway, or it was killed",
                number(counts.late),
                ANSWER_PATIENCE.as_secs()
            ),
        ];
        let figures = BTreeMap::from([
            ("kills", killed),
            ("pauses", paused),
            ("cuts", unplugged + muted),
            ("gateway_kills", counts.gateway_killed),
            ("beyond_the_floor", counts.beyond),
            ("acknowledged", counts.acknowledged),
            ("refused", counts.refused),
            ("refused_beyond_the_floor", counts.refused_beyond),
            ("unanswered", counts.unanswered),
            ("reads_right", counts.right),
            ("reads_refused", counts.reads_refused),
            ("reads_unanswered", counts.reads_unanswered),
            ("late", counts.late),
            ("silence_ms_max", millis(pace.longest)),
            ("silence_ms_max_within_bounds", millis(pace.longest_own)),
            ("healing_ms", millis(Duration::from_secs_f64(healing))),
        ]);
        Report {
            drill: "holders-under-fire",
            title: format!("{SERVERS} servers and their gateway under fire for {seconds} s, while people work"),
            story: format!(
                "A new centre on {SERVERS} servers, each a process, was written to and read over HTTP all the time. Servers were \
                 killed, paused and cut off as the seed had it, and let come back; so was the gateway, which was killed.",
            ),
            seed: self.options.seed,
            held: checks.iter().all(|check| check.held),
            centre: report::Centre {
                servers: SERVERS,
                patients,
                acknowledged: versions,
                acknowledged_bytes: bytes,
                ..report::Centre::default()
            },
            attacks: Vec::new(),
            deeds,
            figures,
            checks,
            seconds: Seconds { loading, reading_back, whole_drill, ..Seconds::default() },
            refused: Vec::new(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn codes(by_code: &BTreeMap<String, u64>) -> String {
    let told: Vec<String> = by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// What was found when everything was up again.
struct Judgement {
    lost: Findings,
    whole: Findings,
    read_back: usize,
    healed: bool,
    healing: f64,
    reading_back: f64,
}
