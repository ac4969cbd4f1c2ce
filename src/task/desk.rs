//! The parent's side of the task table: what each slot's task holds, and what became of it.

mod batches;
mod caller;
mod care;
mod figures;
mod ledger;
mod limits;
mod loops;
mod queue;
mod record;
mod room;
mod vacancy;

use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

pub(crate) use caller::Caller;
use caller::Calling;
use figures::Figures;
use ledger::Weight::{Heavy, Light};
use ledger::{Drafted, Ledger, Posting};
use limits::Timed;
pub(crate) use loops::OwnedCursor;
use loops::{Cursors, Note};
use record::{Entry, Held, Record};
pub(crate) use vacancy::Vacancy;

use super::batch::Batch;
use super::outcome::{Loss, OVERWRITTEN, Outcome};
use crate::archive::Encoded;
use crate::control::{Bell, Collected, Control, Ending, INLINE_ARGS_WORDS, Phase};
use crate::memory::{Heap, RemoteHeap};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicUsize, Mutex, OnceLock, Ordering, Weak, lock};

/// Everything that submitting and joining need. Lives until the last handle is gone.
#[derive(Debug)]
pub(crate) struct Desk {
    control: Arc<Control>,
    heap: Arc<Heap>,
    bell: Arc<Bell>,
    ledger: Ledger,
    records: Box<[Entry]>,
    /// The result heap of each seat's present worker.
    heaps: Box<[Mutex<Option<Arc<RemoteHeap>>>]>,
    /// Every result heap in which something is in use, its worker dead or alive.
    known: Mutex<Vec<Weak<RemoteHeap>>>,
    watchers: Mutex<Vec<Watcher>>,
    /// Not 0: a worker is condemned, and not killed yet.
    condemned: AtomicU32,
    /// Tasks with a deadline that have not ended.
    timed: Mutex<Vec<Timed>>,
    /// Held by the thread that puts the ring in order.
    mending: Mutex<()>,
    /// The control segment could not be kept in order.
    spoiled: AtomicBool,
    /// Where the search for a free slot goes on.
    cursor: AtomicUsize,
    workers: AtomicU32,
    /// How many workers have left because they had nothing to do.
    vacant: AtomicU32,
    /// The slot that was pushed last, if a worker had to be woken for it.
    woken: AtomicU32,
    cores: u32,
    /// What runs tasks in the thread that submits them, if that is wanted.
    calling: OnceLock<Box<Calling>>,
    /// Why no worker will come any more.
    end: OnceLock<Loss>,
    cursors: Cursors,
    /// What parts of loops that failed were at.
    notes: Mutex<Vec<Note>>,
    figures: Figures,
}

#[derive(Debug)]
struct Watcher {
    index: u32,
    generation: u32,
    waker: Waker,
    /// It is to be woken whenever the bell is rung.
    any_ring: bool,
}

impl Watcher {
    /// Wakes whoever polled. A waker is the user's code: if it panics, and if what the panic
    /// carries panics when it is dropped, only he is concerned.
    fn wake(self) {
        let waker = AssertUnwindSafe(self.waker);
        if let Err(payload) = panic::catch_unwind(move || { waker }.0.wake()) {
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
            std::mem::forget(dropped);
        }
    }
}

/// Why there is no slot.
#[derive(Debug)]
pub(crate) enum Unavailable {
    Full,
    Broken(Arc<str>),
    /// This thread runs a task that must not use the executor.
    Nested,
}

impl Desk {
    pub(crate) fn new(control: Arc<Control>, heap: Arc<Heap>, bell: Arc<Bell>, cores: u32) -> Self {
        Self {
            ledger: Ledger::new(control.slots().len()),
            records: control.slots().iter().map(|_| Entry::default()).collect(),
            heaps: control.seats().iter().map(|_| Mutex::default()).collect(),
            control,
            heap,
            bell,
            known: Mutex::default(),
            watchers: Mutex::default(),
            condemned: AtomicU32::new(0),
            timed: Mutex::default(),
            mending: Mutex::default(),
            spoiled: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            workers: AtomicU32::new(0),
            vacant: AtomicU32::new(0),
            woken: AtomicU32::new(queue::NOBODY),
            cores,
            calling: OnceLock::new(),
            end: OnceLock::new(),
            cursors: Cursors::default(),
            notes: Mutex::default(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The argument heap.
    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.heap
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    pub(crate) fn workers(&self) -> u32 {
        self.workers.load(Ordering::Relaxed)
    }

    pub(crate) fn set_workers(&self, workers: u32) {
        self.workers.store(workers, Ordering::Relaxed);
    }

    /// Tells whether a core is free of running and searching workers, so that spinning steals none.
    pub(crate) fn has_idle_core(&self) -> bool {
        let present = self.workers().saturating_sub(self.vacant.load(Ordering::Relaxed));
        self.control.wake().awake(present) < self.cores
    }

    /// Tells whether a task is under way whose end will give argument memory back.
    pub(crate) fn holds_arguments(&self) -> bool {
        let slots = self.control.slots().iter().enumerate();
        slots.into_iter().any(|(index, slot)| {
            let ended = |generation| slot.phase(generation) == Phase::Finished;
            !self.ledger.posted(index).is_some_and(ended)
                && lock(&self.records[index]).holds_arguments()
        })
    }

    /// Hands a task to the workers, its arguments encoded in `inline` or in a block. Returns its
    /// generation.
    pub(crate) fn post(
        &self,
        index: u32,
        draft: Drafted<'_>,
        code: u64,
        inline: &[u64; INLINE_ARGS_WORDS],
        encoded: Encoded,
    ) -> u32 {
        let Encoded { len, block, attached } = encoded;
        let offset = block.as_ref().map_or(0, |block| block.place().offset);
        let words = if block.is_some() { 0 } else { len.div_ceil(8) as usize };
        let weight = if block.is_some() || !attached.is_empty() { Heavy } else { Light };
        if weight == Heavy {
            let held = Held { _block: block, _attached: attached };
            lock(&self.records[index as usize]).mark().held = Some(held);
        }
        step!(parent "post.held");
        self.publish(index, draft.of(weight), code, (offset, len), &inline[..words])
    }

    /// As [`Desk::post`], for a task without arguments.
    pub(crate) fn post_bare(&self, index: u32, draft: Drafted<'_>, code: u64) -> u32 {
        self.publish(index, draft.of(Light), code, (0, 0), &[])
    }

    fn publish(
        &self,
        index: u32,
        draft: Posting<'_>,
        code: u64,
        place: (u64, u64),
        inline: &[u64],
    ) -> u32 {
        self.stamp(&draft);
        let generation = draft.publish(code, place, inline);
        self.push(index, generation);
        step!(parent "post.pushed");
        if self.end.get().is_some() {
            // The supervisor gave up between the look in `try_draft` and the push.
            self.lose_queued();
        }
        generation
    }

    /// What became of the task. `None`: it has not ended.
    pub(crate) fn try_outcome(&self, index: u32, generation: u32) -> Option<Outcome> {
        let slot = &self.control.slots()[index as usize];
        loop {
            match slot.phase(generation) {
                Phase::Queued | Phase::Running => return None,
                Phase::Finished => {
                    let mut record = lock(&self.records[index as usize]);
                    if let Some(collected) = slot.collect(generation) {
                        let outcome = self.outcome_of(index as usize, &mut record, &collected);
                        drop(collected);
                        self.ledger.collected(index as usize, generation);
                        self.control.gate().finished_by_swap();
                        drop(record);
                        self.step_back(index);
                        return Some(outcome);
                    }
                }
                // Whoever made room holds the record's lock until the outcome is in it.
                Phase::Gone => {
                    let mut record = lock(&self.records[index as usize]);
                    if let Some(kept) = record.take_kept(generation) {
                        return Some(kept);
                    }
                    if self.ledger.posted(index as usize) == Some(generation) {
                        drop(record.take_marks());
                        slot.free_overwritten(generation.wrapping_add(1));
                        self.ledger.collected(index as usize, generation);
                        drop(record);
                        self.control.gate().finished();
                    }
                    return Some(Outcome::Garbled(OVERWRITTEN));
                }
            }
        }
    }

    /// Leaves a task to itself: whoever sees it end frees its slot.
    ///
    /// The supervisor wants to hear of that end only if it gives memory back. Else the slot is
    /// there for whoever submits a task, as others are whose tasks have ended.
    pub(crate) fn detach(&self, index: u32, generation: u32) {
        let slot = &self.control.slots()[index as usize];
        let is_light = self.ledger.weight(index as usize) == Light;
        if slot.detach_mark(generation, is_light).is_err() {
            drop(self.try_outcome(index, generation));
        }
    }

    /// Wakes `waker` when the task ends. False: it has ended already.
    pub(crate) fn watch(&self, index: u32, generation: u32, waker: &Waker) -> bool {
        self.watch_for(index, generation, waker, false)
    }

    /// As [`Desk::watch`]; also when the bell is rung before, perhaps for an item of a batch.
    pub(crate) fn watch_items(&self, index: u32, generation: u32, waker: &Waker) -> bool {
        self.watch_for(index, generation, waker, true)
    }

    fn watch_for(&self, index: u32, generation: u32, waker: &Waker, any_ring: bool) -> bool {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|w| w.index != index || w.generation != generation);
        watchers.push(Watcher { index, generation, waker: waker.clone(), any_ring });
        let watched = self.control.slots()[index as usize].watch_mark(generation).is_ok();
        if !watched {
            watchers.pop();
        }
        watched
    }

    /// How many tasks wait for a worker.
    pub(crate) fn count_queued(&self) -> usize {
        (0..self.control.slots().len()).filter(|&index| self.is_queued(index)).count()
    }

    fn outcome_of(&self, index: usize, record: &mut Record, collected: &Collected<'_>) -> Outcome {
        let marks = record.take_marks();
        let place = collected.result();
        let Some(marks) = marks else {
            let heap = self.heap_at(collected, place.holds_memory());
            return Outcome::read(collected.ending(), &place, heap.as_ref(), None);
        };
        if marks.is_run && collected.ending() != Ending::Done {
            self.keep_note(index, collected);
        }
        let loss = marks.loss.filter(|(g, _)| *g == collected.generation());
        let wanted = place.holds_memory() || marks.batch.is_some();
        let heap = self.heap_at(collected, wanted);
        if let Some(batch) = marks.batch {
            batch.close(collected.span(), heap.as_ref());
        }
        Outcome::read(collected.ending(), &place, heap.as_ref(), loss.map(|(_, loss)| loss))
    }

    fn heap_at(&self, collected: &Collected<'_>, is_wanted: bool) -> Option<Arc<RemoteHeap>> {
        is_wanted.then(|| self.heap_of(collected.owner())).flatten()
    }
}
