//! What is under way of a map: batches in the order of their items, and errors between them.

use std::collections::VecDeque;

use super::super::is_shortage;
use super::super::submit::refusal;
use super::flow::Flow;
use crate::control::Phase;
use crate::error::{ShareError, SubmitError, TaskError};
use crate::memory::{Lease, Place};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::task::{Batch, Desk, ENTRY_WORDS_MAX, Order, Outcome, TaskName, Unavailable};

/// What is under way, whatever the types of items and results.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) desk: Arc<Desk>,
    pub(super) code: u64,
    pub(super) name: TaskName,
    pub(super) constants: Option<Arc<Lease>>,
    pub(super) flow: Flow,
    pub(super) parts: VecDeque<Part>,
    /// Batches whose results were all read, and whose tasks have not ended yet.
    pub(super) ending: Vec<Posted>,
    /// Items that were stored, or refused, and not returned.
    pub(super) open: u64,
    /// Batches that have no slot yet.
    pub(super) waiting: usize,
    /// How many batches got one.
    pub(super) posts: u64,
    /// Where the latest result was found.
    pub(super) at: usize,
    pub(super) unordered: bool,
    /// More items are drawn when no more are open than these.
    pub(super) refill_at: u64,
    /// The words of a result's entry.
    pub(super) entry_words: usize,
    /// Bytes of the items under way.
    pub(super) held_bytes: Arc<AtomicU64>,
    /// No worker will come any more.
    pub(super) broken: bool,
}

/// Items that were stored together.
#[derive(Debug)]
pub(super) struct Items {
    lease: Arc<Lease>,
    total: u32,
    held_bytes: Arc<AtomicU64>,
}

impl Items {
    fn new(lease: Lease, total: u32, held_bytes: &Arc<AtomicU64>) -> Arc<Self> {
        held_bytes.fetch_add(lease.place().len, Ordering::Relaxed);
        Arc::new(Self { lease: Arc::new(lease), total, held_bytes: Arc::clone(held_bytes) })
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.lease.place().len, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) enum Part {
    /// So many items end with this error.
    Lost {
        error: TaskError,
        count: u32,
    },
    /// Items without a slot.
    Waiting(Run),
    Posted(Run, Posted),
    /// The task was collected; so many results of the batch can be read.
    Ended {
        batch: Arc<Batch>,
        count: u32,
    },
}

/// Some of the items of a block.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) items: Arc<Items>,
    pub(super) first: u32,
    pub(super) count: u32,
}

/// A batch in the task table.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) batch: Arc<Batch>,
}

/// What was found where a result could be.
enum Found {
    Outcome(Outcome),
    Error(TaskError),
    /// Nothing yet.
    Nothing,
    /// Nothing yet, nor in what comes behind.
    Queued,
    /// The part is done with; look again.
    Gone,
}

impl Course {
    pub(super) fn name(&self) -> &'static str {
        (self.name)()
    }

    /// Tells whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Tells whether what could not be stored for want of memory may be stored later.
    pub(super) fn may_wait(&self, error: &ShareError) -> bool {
        is_shortage(error) && (!self.is_empty() || self.desk.holds_arguments())
    }

    /// How many items the next batch is to have, while `open` are drawn and not returned.
    pub(super) fn room(&mut self, open: u64, to_the_last: bool) -> u64 {
        let (batch, window) = self.flow.sizes(self.workers());
        self.refill_at = window.saturating_sub(batch);
        let left = window.saturating_sub(open);
        if left < batch && !(to_the_last && self.flow.is_strict()) {
            return 0;
        }
        self.flow.fit_arguments(batch.min(left), self.held_bytes.load(Ordering::Relaxed))
    }

    /// Tells whether the end of a batch will be heard of.
    pub(super) fn is_posted(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Posted(..)))
    }

    pub(super) fn workers(&self) -> u64 {
        u64::from(self.desk.workers().max(1))
    }

    /// Adds an item that ends with an error.
    pub(super) fn refuse(&mut self, error: SubmitError, count: u32) {
        let error = TaskError::NotSubmitted { error, task: self.name() };
        self.open += u64::from(count);
        self.parts.push_back(Part::Lost { error, count });
    }

    /// Gives stored items to the workers, as soon as there is a slot.
    pub(super) fn add(&mut self, lease: Lease, count: u32) {
        self.flow.learn_arguments(count.into(), lease.place().len);
        self.open += u64::from(count);
        let run = Run { items: Items::new(lease, count, &self.held_bytes), first: 0, count };
        self.parts.push_back(Part::Waiting(run));
        self.waiting += 1;
        let last = self.parts.len() - 1;
        if self.waiting == 1 { self.post(last) } else { self.post_waiting() }
    }

    /// Gives slots to what has none.
    pub(super) fn post_waiting(&mut self) {
        let mut at = 0;
        while self.waiting > 0 && at < self.parts.len() {
            if matches!(self.parts[at], Part::Waiting(_)) {
                let before = self.waiting;
                self.post(at);
                if self.waiting == before {
                    return;
                }
            }
            at += 1;
        }
    }

    /// Gives a slot to a batch that waits for one, if there is one. Sleeps if nothing is under way
    /// by whose end this could be called again.
    fn post(&mut self, at: usize) {
        let found = match self.desk.try_draft() {
            Err(Unavailable::Full) if !self.is_posted() => self.desk.draft(),
            found => found,
        };
        let Part::Waiting(run) = &self.parts[at] else { return };
        let draft = match found {
            Ok(draft) => draft,
            Err(Unavailable::Full) => return,
            Err(refused) => {
                let task = (self.name)();
                let error = match refused {
                    Unavailable::Broken => TaskError::Broken { reason: self.desk.reason(), task },
                    other => {
                        TaskError::NotSubmitted { error: refusal(&self.desk, other, task), task }
                    }
                };
                (self.broken, self.waiting) = (true, self.waiting - 1);
                self.parts[at] = Part::Lost { error, count: run.count };
                return;
            }
        };
        let nowhere = Place { heap: 0, offset: 0, len: 0 };
        let order = Order {
            constants: self.constants.as_ref().map_or(nowhere, |lease| lease.place()),
            items: run.items.lease.place(),
            total: run.items.total,
            first: run.first,
            count: run.count,
            entry_words: self.entry_words,
        };
        let batch = Batch::new(run.count, self.entry_words);
        let attached = self.constants.iter().chain([&run.items.lease]).cloned().collect();
        let (index, generation) =
            self.desk.post_batch(draft, self.code, &order.to_words(), &batch, attached);
        let Run { items, first, count } = run;
        let run = Run { items: Arc::clone(items), first: *first, count: *count };
        self.parts[at] = Part::Posted(run, Posted { index, generation, batch });
        (self.waiting, self.posts) = (self.waiting - 1, self.posts + 1);
    }

    /// Takes a result: the next in order, or any.
    pub(super) fn take(&mut self) -> Option<Result<Outcome, TaskError>> {
        let mut at = if self.unordered { self.at } else { 0 };
        let mut wrapped = at == 0;
        loop {
            let found = if at < self.parts.len() { self.find(at) } else { Found::Queued };
            match found {
                Found::Outcome(outcome) => {
                    (self.at, self.open) = (at, self.open - 1);
                    self.learn(&outcome);
                    return Some(Ok(outcome));
                }
                Found::Error(error) => {
                    (self.at, self.open) = (at, self.open - 1);
                    return Some(Err(error));
                }
                Found::Nothing if self.unordered => at += 1,
                Found::Queued if !wrapped => (at, wrapped) = (0, true),
                Found::Nothing | Found::Queued => return None,
                Found::Gone => {}
            }
        }
    }

    /// Looks for a result in one part.
    fn find(&mut self, at: usize) -> Found {
        match &mut self.parts[at] {
            Part::Waiting(_) => return Found::Nothing,
            Part::Lost { error, count } if *count > 0 => {
                *count -= 1;
                return Found::Error(error.clone());
            }
            Part::Ended { batch, count } if batch.read_count() < *count => {
                let outcome = batch.read_next().unwrap_or_else(|| {
                    batch.skip();
                    Outcome::missing()
                });
                return Found::Outcome(outcome);
            }
            Part::Posted(run, posted) if posted.batch.read_count() < run.count => {
                if let Some(outcome) = posted.batch.read_next() {
                    return Found::Outcome(outcome);
                }
                match self.desk.phase(posted.index, posted.generation) {
                    Phase::Queued => return Found::Queued,
                    Phase::Running => {
                        self.desk.open_batch(posted.index, posted.generation, &posted.batch);
                        let outcome = posted.batch.read_next();
                        return outcome.map_or(Found::Nothing, Found::Outcome);
                    }
                    Phase::Finished | Phase::Gone => {
                        return if self.settle(at) { Found::Gone } else { Found::Nothing };
                    }
                }
            }
            Part::Lost { .. } | Part::Ended { .. } | Part::Posted(..) => {}
        }
        if let Some(Part::Posted(_, posted)) = self.parts.remove(at) {
            self.see_off();
            self.ending.push(posted);
        }
        Found::Gone
    }

    /// Frees the slots of batches that were read to their end, as far as their tasks have ended.
    fn see_off(&mut self) {
        let (desk, flow) = (&self.desk, &mut self.flow);
        self.ending.retain(|posted| {
            let has_ended = desk.try_outcome(posted.index, posted.generation).is_some();
            if let Some(ended) = posted.batch.ended().filter(|_| has_ended) {
                flow.learn_time(ended.claimed.into(), ended.elapsed_ns);
            }
            !has_ended
        });
    }

    /// A batch's task has ended: what has a result can be read, what was begun and has none ends
    /// with the error, and the rest is run elsewhere. False: it has not ended after all.
    fn settle(&mut self, at: usize) -> bool {
        let others = self.parts.iter().filter(|part| matches!(part, Part::Posted(..))).count() > 1;
        let Part::Posted(run, posted) = &self.parts[at] else { return false };
        let outcome = self.desk.try_outcome(posted.index, posted.generation);
        let (Some(outcome), batch) = (outcome, Arc::clone(&posted.batch)) else {
            return false;
        };
        let Run { items, first, count } = run;
        let (items, first, count) = (Arc::clone(items), *first, *count);
        let claimed = batch.ended().map_or(0, |ended| ended.claimed.min(count));
        if let Some(ended) = batch.ended() {
            self.flow.learn_time(claimed.into(), ended.elapsed_ns);
        }
        let is_done = matches!(outcome, Outcome::Done(_));
        if is_done && claimed == count {
            self.parts[at] = Part::Ended { batch, count };
            return true;
        }
        let stored = batch.stored_until(count);
        let goes_on = is_done || outcome.is_death();
        let error = outcome.to_error((self.name)());
        let lost = if goes_on {
            // A death before the first item costs that one: a batch must not be tried for ever.
            claimed.max(stored.max(1)).min(count)
        } else if stored == 0 && claimed == 0 && others && is_shortage_of_results(&error) {
            0
        } else {
            count
        };
        let lost = lost.max(stored);
        self.parts[at] = Part::Ended { batch, count: stored };
        if lost > stored {
            self.parts.insert(at + 1, Part::Lost { error, count: lost - stored });
        }
        if lost < count {
            let run = Run { items, first: first + lost, count: count - lost };
            self.parts.insert(at + 1 + usize::from(lost > stored), Part::Waiting(run));
            self.waiting += 1;
        }
        true
    }

    /// Looks how large a result is, where none has been taken yet: the first may be slow.
    pub(super) fn peek(&mut self) {
        if self.flow.knows_results() {
            return;
        }
        for part in &self.parts {
            let batch = match part {
                Part::Posted(_, posted) => {
                    self.desk.open_batch(posted.index, posted.generation, &posted.batch);
                    &posted.batch
                }
                Part::Ended { batch, .. } => batch,
                Part::Waiting(_) | Part::Lost { .. } => continue,
            };
            if let Some(bytes) = batch.peek_bytes() {
                return self.flow.learn_result(bytes);
            }
        }
    }

    fn learn(&mut self, outcome: &Outcome) {
        let bytes = outcome.held_bytes();
        self.flow.learn_result(bytes);
        if outcome.fits_entry() {
            // Longer entries cost less than blocks of the heap.
            self.entry_words = ENTRY_WORDS_MAX;
        }
    }
}

fn is_shortage_of_results(error: &TaskError) -> bool {
    matches!(error, TaskError::Result { error, .. } if is_shortage(error))
}
