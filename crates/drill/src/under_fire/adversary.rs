//! Who strikes: the seed chooses whom, how and for how long.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use kit::Fault;

use super::{BORNE, BORNE_WRITING, Fire, SERVERS, STRUCK_MAX, lock, millis};
use crate::eleven_of_fourteen::Progress;
use crate::synthetic::Rng;
use crate::system::Strike;

/// How many servers are struck at once, for a while.
#[derive(Clone, Copy)]
enum Phase {
    /// Up to so many, at different times.
    Within(usize),
    /// More than a write bears, all at once.
    Beyond,
}

pub(super) struct Adversary<'a> {
    fire: &'a Fire<'a>,
    rng: Rng,
    struck: Vec<usize>,
}

impl<'a> Adversary<'a> {
    pub(super) fn new(fire: &'a Fire<'a>) -> Self {
        Self { fire, rng: Rng::new(fire.options.seed, "adversary", 0), struck: Vec::new() }
    }

    /// Strikes for as long as the drill's options say, and mends everything, whatever happened.
    pub(super) fn rage(mut self) -> Result<(), Fault> {
        let (begun, under_fire) = (Instant::now(), self.fire.options.under_fire);
        // One of each, so that a short drill is one too; then as it comes.
        let mut first = [Phase::Within(BORNE), Phase::Beyond, Phase::Within(BORNE_WRITING)].into_iter();
        let done = loop {
            if begun.elapsed() >= under_fire {
                break Ok(());
            }
            let progress = |time: Duration| usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
            let (done, total) = (progress(begun.elapsed()), progress(under_fire));
            (self.fire.watch)(Progress { stage: "under fire", done, total });
            let phase = first.next().unwrap_or_else(|| match self.rng.below(100) {
                0..45 => Phase::Within(BORNE),
                45..80 => Phase::Within(BORNE_WRITING),
                _ => Phase::Beyond,
            });
            let left = under_fire.saturating_sub(begun.elapsed());
            let raged = match phase {
                Phase::Within(bound) => self.within(bound, left.min(self.pause(2_000, 6_000))),
                Phase::Beyond => self.beyond(),
            };
            if let Err(fault) = raged {
                break Err(fault);
            }
        };
        let mended = self.mend_down_to(0);
        done.and(mended)
    }

    fn pause(&self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.rng.below(to_ms - from_ms))
    }

    fn rest(&self, time: Duration) -> Result<(), Fault> {
        thread::sleep(time);
        self.fire.go_on()
    }

    fn within(&mut self, bound: usize, time: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        self.mend_down_to(bound)?;
        while begun.elapsed() < time {
            if self.struck.len() < bound && self.rng.chance(60) {
                self.strike_one(None)?;
            } else if !self.struck.is_empty() {
                self.mend_down_to(self.struck.len() - 1)?;
            }
            // It starts again where all but two holders answer, and serves nobody until then.
            if bound == BORNE && self.rng.chance(5) {
                self.fire.kill_gateway();
            }
            self.rest(self.pause(100, 1_000))?;
        }
        Ok(())
    }

    fn beyond(&mut self) -> Result<(), Fault> {
        let fire = self.fire;
        let count = BORNE_WRITING + 1 + self.rng.index(STRUCK_MAX - BORNE_WRITING);
        // The first time all are killed: a gateway waits for one that is silent, and refuses at once without one that is gone.
        let how = (lock(&fire.counts).beyond == 0).then_some(Strike::Kill);
        if how.is_some() {
            self.mend_down_to(0)?;
        }
        lock(&fire.pace).excused();
        while self.struck.len() < count {
            self.strike_one(how)?;
        }
        // A signal is there at once, or a moment later.
        self.rest(Duration::from_millis(100))?;
        fire.beyond.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        if self.rng.chance(25) && how.is_none() {
            fire.kill_gateway();
        }
        let rested = self.rest(self.pause(1_500, 5_000));
        fire.beyond.fetch_add(1, Ordering::SeqCst);
        {
            let mut counts = lock(&fire.counts);
            counts.beyond += 1;
            counts.beyond_ms += millis(begun.elapsed());
        }
        self.mend_down_to(BORNE_WRITING)?;
        lock(&fire.pace).excused_no_more();
        rested
    }

    /// One that stands.
    fn strike_one(&mut self, how: Option<Strike>) -> Result<(), Fault> {
        let standing: Vec<usize> = (0..SERVERS).filter(|server| !self.struck.contains(server)).collect();
        let Some(&server) = standing.get(self.rng.index(standing.len())) else { return Ok(()) };
        let all = [Strike::Kill, Strike::Pause, Strike::Unplug, Strike::Mute];
        let possible = if self.fire.ground.no_cuts().is_none() { 4 } else { 2 };
        let drawn = all.get(self.rng.index(possible)).copied().unwrap_or(Strike::Kill);
        let how = how.unwrap_or(drawn);
        self.fire.ground.strike(server, how)?;
        self.struck.push(server);
        *lock(&self.fire.counts).struck.entry(how).or_default() += 1;
        Ok(())
    }

    /// Mends some at random, until no more than `count` are struck.
    fn mend_down_to(&mut self, count: usize) -> Result<(), Fault> {
        while self.struck.len() > count {
            let server = self.struck.swap_remove(self.rng.index(self.struck.len()));
            self.fire.ground.mend(server)?;
        }
        Ok(())
    }
}
