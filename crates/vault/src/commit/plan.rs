//! Which bytes go into which segment.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;

use super::inbox::Submission;
use super::make::Coding;
use crate::body::{BLOCK_FIXED_BYTES, Extent, Prepared, SEGMENT_ENTRIES_MAX};
use crate::error::VaultError;
use crate::parcel::Receipt;

/// Who waits for how many receipts.
pub(super) struct Answer {
    pub(super) entries: usize,
    to: SyncSender<Result<Vec<Receipt>, VaultError>>,
}

impl Answer {
    pub(super) fn send(&self, answer: Result<Vec<Receipt>, VaultError>) {
        // Who went away without waiting doesn't want to know.
        let _ = self.to.try_send(answer);
    }
}

/// One segment to be.
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) heads: Vec<(Prepared, Vec<Extent>)>,
    pub(super) pieces: Vec<Bytes>,
    pub(super) answers: Vec<Answer>,
    /// Where it was coded with one before it.
    pub(super) coding: Option<Coding>,
}

impl Plan {
    fn new(number: u64, pieces: Vec<Bytes>) -> Self {
        Self { number, heads: Vec::new(), pieces, answers: Vec::new(), coding: None }
    }
}

pub(super) struct Planner {
    /// Bytes for heads and payloads in one segment.
    room: usize,
    next: u64,
    ready: VecDeque<Plan>,
    open: Option<(Plan, usize)>,
}

impl Planner {
    pub(super) fn new(capacity: usize, next: u64) -> Self {
        Self { room: capacity.saturating_sub(BLOCK_FIXED_BYTES), next, ready: VecDeque::new(), open: None }
    }

    /// The group's heads go into one segment. Payloads that find no room beside them go ahead, in segments of their own.
    pub(super) fn add(&mut self, submission: Submission) {
        let Submission { mut entries, heads, payload, answer } = submission;
        let fits = self.open.as_ref().is_some_and(|(plan, used)| {
            used + heads + payload <= self.room && plan.heads.len() + entries.len() <= SEGMENT_ENTRIES_MAX
        });
        if !fits {
            self.close();
        }
        let mut payloads: VecDeque<(usize, Bytes)> = (0..)
            .zip(&mut entries)
            .filter_map(|(at, entry)| entry.payload.as_mut().map(|sealed| (at, std::mem::take(&mut sealed.pieces))))
            .flat_map(|(at, pieces)| pieces.into_iter().map(move |piece| (at, piece)))
            .collect();
        let mut extents: Vec<Vec<Extent>> = vec![Vec::new(); entries.len()];
        let mut left = payload;
        while heads + left > self.room {
            let (number, want) = (self.number(), left.min(self.room));
            let pieces = cut(&mut payloads, want, number, 0, &mut extents);
            left -= pieces.iter().map(Bytes::len).sum::<usize>();
            self.ready.push_back(Plan::new(number, pieces));
        }
        if self.open.is_none() {
            self.open = Some((Plan::new(self.number(), Vec::new()), 0));
        }
        if let Some((plan, used)) = &mut self.open {
            let offset = plan.pieces.iter().map(Bytes::len).sum();
            plan.pieces.extend(cut(&mut payloads, left, plan.number, offset, &mut extents));
            plan.answers.push(Answer { entries: entries.len(), to: answer });
            plan.heads.extend(entries.into_iter().zip(extents));
            *used += heads + left;
        }
    }

    /// A segment that holds nothing.
    pub(super) fn add_seal(&mut self) {
        let number = self.number();
        self.ready.push_back(Plan::new(number, Vec::new()));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// What is added from now on goes into another segment.
    pub(super) fn close(&mut self) {
        self.ready.extend(self.open.take().map(|(plan, _)| plan));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.open.is_none()
    }

    pub(super) fn next(&mut self) -> Option<Plan> {
        self.ready.pop_front()
    }

    /// The next ones, as far as each is nothing but pieces of a payload: what they hold is known already.
    pub(super) fn payloads(&mut self) -> impl Iterator<Item = &mut Plan> {
        self.ready.iter_mut().take_while(|plan| plan.heads.is_empty() && !plan.pieces.is_empty())
    }

    /// Forgets everything; who waited is handed back. The next segment gets the number `next`.
    pub(super) fn abandon(&mut self, next: u64) -> Vec<Answer> {
        self.close();
        self.next = next;
        self.ready.drain(..).flat_map(|plan| plan.answers).collect()
    }
}

/// Takes `want` bytes off the front of `payloads`, to stand in segment `number` from `offset` on.
fn cut(
    payloads: &mut VecDeque<(usize, Bytes)>,
    want: usize,
    number: u64,
    mut offset: usize,
    extents: &mut [Vec<Extent>],
) -> Vec<Bytes> {
    let (mut pieces, mut left) = (Vec::new(), want);
    while left > 0 {
        let Some((at, bytes)) = payloads.front_mut() else { break };
        let piece = bytes.split_to(left.min(bytes.len()));
        if let Some(extents) = extents.get_mut(*at) {
            // A segment is far below 4 GiB, and so is what stands in it.
            let narrow = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
            match extents.last_mut() {
                // Behind another piece of the same payload.
                Some(extent) if extent.segment == number => extent.len += narrow(piece.len()),
                _ => extents.push(Extent { segment: number, offset: narrow(offset), len: narrow(piece.len()) }),
            }
        }
        if bytes.is_empty() {
            payloads.pop_front();
        }
        left -= piece.len();
        offset += piece.len();
        pieces.push(piece);
    }
    pieces
}
