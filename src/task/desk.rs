//! The parent's side of the task table: what each slot's task holds, and what became of it.

mod care;
mod ledger;
mod queue;

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

pub(crate) use ledger::Drafted;
use ledger::Ledger;

use super::outcome::{Kept, Loss, OVERWRITTEN, Outcome};
use crate::archive::Encoded;
use crate::control::{Bell, Collected, Control, INLINE_ARGS_WORDS, Phase};
use crate::memory::{Heap, Lease, RemoteHeap};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicUsize, Mutex, OnceLock, Ordering, Weak, lock};
use crate::sys::futex_wake;

/// Everything that submitting and joining need. Lives until the last handle is gone.
#[derive(Debug)]
pub(crate) struct Desk {
    control: Arc<Control>,
    heap: Arc<Heap>,
    bell: Arc<Bell>,
    ledger: Ledger,
    records: Box<[Mutex<Record>]>,
    /// The result heap of each seat's present worker.
    heaps: Box<[Mutex<Option<Arc<RemoteHeap>>>]>,
    /// Every result heap in which something is in use, its worker dead or alive.
    known: Mutex<Vec<Weak<RemoteHeap>>>,
    watchers: Mutex<Vec<Watcher>>,
    /// Held by the thread that puts the ring in order.
    mending: Mutex<()>,
    /// The control segment could not be kept in order.
    spoiled: AtomicBool,
    /// Where the search for a free slot goes on.
    cursor: AtomicUsize,
    workers: AtomicU32,
    cores: u32,
    /// Why no worker will come any more.
    end: OnceLock<Loss>,
}

/// What the parent remembers of a slot.
#[derive(Debug, Default)]
struct Record {
    /// Kept until the task has ended.
    held: Option<Held>,
    /// Why the task of this generation was lost.
    loss: Option<(u32, Loss)>,
    /// Outcomes of earlier generations whose handles have not asked yet, oldest first.
    kept: VecDeque<(u32, Kept)>,
}

/// The memory of a task's arguments.
#[derive(Debug)]
struct Held {
    _block: Option<Lease>,
    _attached: Vec<Arc<Lease>>,
}

#[derive(Debug)]
struct Watcher {
    index: u32,
    generation: u32,
    waker: Waker,
}

impl Watcher {
    /// Wakes whoever polled. A waker is the user's code: if it panics, only he is concerned.
    fn wake(self) {
        let waker = AssertUnwindSafe(self.waker);
        let _ = panic::catch_unwind(move || { waker }.0.wake());
    }
}

/// Why there is no slot.
#[derive(Debug)]
pub(crate) enum Unavailable {
    Full,
    Broken(Arc<str>),
}

impl Desk {
    pub(crate) fn new(control: Arc<Control>, heap: Arc<Heap>, bell: Arc<Bell>, cores: u32) -> Self {
        Self {
            ledger: Ledger::new(control.slots().len()),
            records: control.slots().iter().map(|_| Mutex::default()).collect(),
            heaps: control.seats().iter().map(|_| Mutex::default()).collect(),
            control,
            heap,
            bell,
            known: Mutex::default(),
            watchers: Mutex::default(),
            mending: Mutex::default(),
            spoiled: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            workers: AtomicU32::new(0),
            cores,
            end: OnceLock::new(),
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
    pub(super) fn has_idle_core(&self) -> bool {
        self.control.wake().awake(self.workers()) < self.cores
    }

    /// Finds a free slot; finished tasks whose handles have not asked make room.
    pub(crate) fn try_draft(&self) -> Result<(u32, Drafted<'_>), Unavailable> {
        if let Some(reason) = self.broken() {
            return Err(Unavailable::Broken(reason));
        }
        if let Some(found) = self.find_free() {
            return Ok(found);
        }
        self.keep_finished();
        self.find_free().ok_or(Unavailable::Full)
    }

    /// As [`Desk::try_draft`]; sleeps while every slot holds a task that has not ended.
    pub(crate) fn draft(&self) -> Result<(u32, Drafted<'_>), Unavailable> {
        loop {
            match self.try_draft() {
                Err(Unavailable::Full) => {}
                result => return result,
            }
            let round = self.control.gate().announce();
            match self.try_draft() {
                Err(Unavailable::Full) => self.control.gate().sleep(round),
                result => return result,
            }
        }
    }

    /// Tells whether a task is under way whose end will give argument memory back.
    pub(crate) fn holds_arguments(&self) -> bool {
        let slots = self.control.slots().iter().enumerate();
        slots.into_iter().any(|(index, slot)| {
            let ended = |generation| slot.phase(generation) == Phase::Finished;
            !self.ledger.posted(index).is_some_and(ended)
                && lock(&self.records[index]).held.is_some()
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
        if block.is_some() || !attached.is_empty() {
            let held = Held { _block: block, _attached: attached };
            lock(&self.records[index as usize]).held = Some(held);
        }
        self.publish(index, draft, code, (offset, len), &inline[..words])
    }

    /// As [`Desk::post`], for a task without arguments.
    pub(crate) fn post_bare(&self, index: u32, draft: Drafted<'_>, code: u64) -> u32 {
        self.publish(index, draft, code, (0, 0), &[])
    }

    fn publish(
        &self,
        index: u32,
        draft: Drafted<'_>,
        code: u64,
        place: (u64, u64),
        inline: &[u64],
    ) -> u32 {
        let generation = draft.publish(code, place, inline);
        self.push(index);
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
                        let outcome = self.outcome_of(&mut record, &collected);
                        drop(collected);
                        self.ledger.collected(index as usize, generation);
                        drop(record);
                        self.step_back(index);
                        self.control.gate().finished();
                        return Some(outcome);
                    }
                }
                // Whoever made room holds the record's lock until the outcome is in it.
                Phase::Gone => {
                    let mut record = lock(&self.records[index as usize]);
                    if let Some(kept) = take_kept(&mut record, generation) {
                        return Some(kept);
                    }
                    if self.ledger.posted(index as usize) == Some(generation) {
                        record.held = None;
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

    /// Takes a queued task back. False: it runs already, or has ended.
    pub(crate) fn cancel(&self, index: u32, generation: u32) -> bool {
        let slot = &self.control.slots()[index as usize];
        let mut record = lock(&self.records[index as usize]);
        if !slot.cancel(generation) {
            return false;
        }
        record.loss = Some((generation, Loss::Cancelled));
        drop(record);
        futex_wake(slot.futex(), u32::MAX);
        self.control.gate().finished();
        // No worker rings for this end: whoever polled the handle would never be woken.
        let same = |w: &mut Watcher| w.index == index && w.generation == generation;
        let watcher: Vec<Watcher> = lock(&self.watchers).extract_if(.., same).collect();
        watcher.into_iter().for_each(Watcher::wake);
        true
    }

    /// Leaves a task to itself: whoever sees it end frees its slot.
    pub(crate) fn detach(&self, index: u32, generation: u32) {
        let slot = &self.control.slots()[index as usize];
        if slot.detach_mark(generation).is_err() {
            drop(self.try_outcome(index, generation));
        }
    }

    /// Wakes `waker` when the task ends. False: it has ended already.
    pub(crate) fn watch(&self, index: u32, generation: u32, waker: &Waker) -> bool {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|w| w.index != index || w.generation != generation);
        watchers.push(Watcher { index, generation, waker: waker.clone() });
        let watched = self.control.slots()[index as usize].watch_mark(generation).is_ok();
        if !watched {
            watchers.pop();
        }
        watched
    }

    /// Tells whether tasks wait for a worker.
    pub(crate) fn has_queued(&self) -> bool {
        (0..self.control.slots().len()).any(|index| self.is_queued(index))
    }

    fn find_free(&self) -> Option<(u32, Drafted<'_>)> {
        let slots = self.control.slots();
        let start = self.cursor.load(Ordering::Relaxed);
        for step in 0..slots.len() {
            let index = (start + step) % slots.len();
            if let Some(draft) = self.ledger.draft(slots, index) {
                self.cursor.store(index + 1, Ordering::Relaxed);
                return Some((index as u32, draft));
            }
        }
        None
    }

    /// Uses the latest slot again if it is free by now: who submits and joins in turns stays with
    /// memory that is warm in both processes' caches.
    fn step_back(&self, index: u32) {
        let (at, after) = (index as usize, index as usize + 1);
        if self.cursor.load(Ordering::Relaxed) == after {
            let _ = self.cursor.compare_exchange(after, at, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Moves what finished tasks left in their slots into their records, and frees the slots and
    /// the memory of the arguments.
    pub(crate) fn keep_finished(&self) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            let Some(generation) = self.ledger.posted(index) else { continue };
            if slot.phase(generation) != Phase::Finished {
                continue;
            }
            let mut record = lock(&self.records[index]);
            let Some(collected) = slot.collect(generation) else { continue };
            let outcome = self.outcome_of(&mut record, &collected);
            if !collected.is_detached() {
                record.kept.push_back((generation, outcome.into()));
            }
            let waited = collected.is_waited();
            drop(collected);
            self.ledger.collected(index, generation);
            if waited {
                // The mark goes with the slot. A worker that died before it woke the sleeper left
                // nothing else behind by which `bury` could know.
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        // Who saw a slot while its outcome was being kept took it for one that is in use.
        self.control.gate().finished();
    }

    /// Gives a slot back that was not filled, to whoever waits for one.
    pub(crate) fn abandon(&self, draft: Drafted<'_>) {
        drop(draft);
        self.control.gate().finished();
    }

    fn outcome_of(&self, record: &mut Record, collected: &Collected<'_>) -> Outcome {
        record.held = None;
        let loss = record.loss.take().filter(|(g, _)| *g == collected.generation());
        let place = collected.result();
        let heap = if place.heap != 0 || place.attached != 0 {
            self.heaps.get(usize::from(collected.owner())).and_then(|heap| lock(heap).clone())
        } else {
            None
        };
        Outcome::read(collected.ending(), &place, heap.as_ref(), loss.map(|(_, loss)| loss))
    }
}

/// Takes the outcome of one generation. They are in order, and asked for mostly in order.
fn take_kept(record: &mut Record, generation: u32) -> Option<Outcome> {
    let at = record.kept.iter().position(|(g, _)| *g == generation)?;
    let outcome = record.kept.remove(at).map(|(_, kept)| kept.into());
    if record.kept.is_empty() {
        // Millions of tasks may have been kept, and never will be again.
        record.kept = VecDeque::new();
    }
    outcome
}
