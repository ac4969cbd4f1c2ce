//! The parent's side of the task table: what each slot's task holds, and what became of it.

mod care;
mod vacancy;

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

pub(crate) use vacancy::Vacancy;

use super::outcome::{Kept, Loss, Outcome};
use crate::archive::Encoded;
use crate::control::{Bell, Collected, Control, Draft, Full, INLINE_ARGS_WORDS, Phase};
use crate::memory::{Heap, Lease, RemoteHeap};
use crate::sync::{Arc, AtomicU32, AtomicUsize, Mutex, OnceLock, Ordering, Weak, lock};
use crate::sys::futex_wake;

/// Everything that submitting and joining need. Lives until the last handle is gone.
#[derive(Debug)]
pub(crate) struct Desk {
    control: Arc<Control>,
    heap: Arc<Heap>,
    bell: Arc<Bell>,
    records: Box<[Mutex<Record>]>,
    /// The result heap of each seat's present worker.
    heaps: Box<[Mutex<Option<Arc<RemoteHeap>>>]>,
    /// Every result heap in which something is in use, its worker dead or alive.
    known: Mutex<Vec<Weak<RemoteHeap>>>,
    watchers: Mutex<Vec<Watcher>>,
    /// Held by the thread that throws stale ids out of the ring.
    compacting: Mutex<()>,
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
}

impl Desk {
    pub(crate) fn new(control: Arc<Control>, heap: Arc<Heap>, bell: Arc<Bell>, cores: u32) -> Self {
        Self {
            records: control.slots().iter().map(|_| Mutex::default()).collect(),
            heaps: control.seats().iter().map(|_| Mutex::default()).collect(),
            control,
            heap,
            bell,
            known: Mutex::default(),
            watchers: Mutex::default(),
            compacting: Mutex::default(),
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
    pub(crate) fn try_draft(&self) -> Result<(u32, Draft<'_>), Unavailable> {
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
    pub(crate) fn draft(&self) -> Result<(u32, Draft<'_>), Unavailable> {
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
        let pending = self.control.slots().iter().zip(&self.records);
        pending.into_iter().any(|(slot, record)| slot.is_pending() && lock(record).held.is_some())
    }

    /// Hands a task to the workers, its arguments encoded in `inline` or in a block. Returns its
    /// generation.
    pub(crate) fn post(
        &self,
        index: u32,
        draft: Draft<'_>,
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
    pub(crate) fn post_bare(&self, index: u32, draft: Draft<'_>, code: u64) -> u32 {
        self.publish(index, draft, code, (0, 0), &[])
    }

    fn publish(
        &self,
        index: u32,
        draft: Draft<'_>,
        code: u64,
        (offset, len): (u64, u64),
        inline: &[u64],
    ) -> u32 {
        let generation = draft.generation();
        draft.publish(code, offset, len, inline);
        self.push(index);
        if self.end.get().is_some() {
            // The supervisor gave up between the look in `try_draft` and the push.
            self.lose_queued();
        }
        generation
    }

    /// Makes a queued slot known to the workers.
    fn push(&self, index: u32) {
        while self.control.ring().push(index) == Err(Full) {
            self.compact();
        }
        self.control.wake().notify();
    }

    /// Throws stale and doubled ids out of a full ring.
    ///
    /// Everything is taken out before anything goes back in: workers and other threads pop
    /// meanwhile, and who comes round to an id that he put back would take it for a double.
    fn compact(&self) {
        let _alone = lock(&self.compacting);
        let ring = self.control.ring();
        let mut is_kept = vec![false; self.control.slots().len()];
        let mut kept = VecDeque::new();
        loop {
            for _ in 0..ring.capacity() {
                let Some(index) = ring.pop() else { break };
                let slot = self.control.slots().get(index as usize);
                let queued = slot.is_some_and(|slot| slot.is_queued());
                if queued && !std::mem::replace(&mut is_kept[index as usize], true) {
                    kept.push_back(index);
                }
            }
            while let Some(&index) = kept.front() {
                if ring.push(index) == Err(Full) {
                    break;
                }
                is_kept[index as usize] = false;
                kept.pop_front();
            }
            // The ring has twice as many cells as there are slots; only others can have filled it.
            if kept.is_empty() {
                return;
            }
        }
    }

    /// After a death: queued tasks may have lost their place in the ring with whoever popped it.
    pub(crate) fn push_again(&self) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            if slot.is_queued() {
                self.push(index as u32);
            }
        }
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
                        drop(record);
                        self.step_back(index);
                        self.control.gate().finished();
                        return Some(outcome);
                    }
                }
                // Whoever made room holds the record's lock until the outcome is in it.
                Phase::Gone => {
                    let kept = take_kept(&mut lock(&self.records[index as usize]), generation);
                    return Some(kept.unwrap_or(Outcome::Garbled("its slot was overwritten")));
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
        self.control.slots().iter().any(|slot| slot.is_queued())
    }

    fn find_free(&self) -> Option<(u32, Draft<'_>)> {
        let slots = self.control.slots();
        let start = self.cursor.load(Ordering::Relaxed);
        for step in 0..slots.len() {
            let index = (start + step) % slots.len();
            if let Some(draft) = slots[index].draft() {
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
        let mut made_room = false;
        for (slot, record) in self.control.slots().iter().zip(&self.records) {
            if !slot.is_free_or_finished() {
                continue;
            }
            let mut record = lock(record);
            let Some(collected) = slot.collect_any() else { continue };
            made_room = true;
            let outcome = self.outcome_of(&mut record, &collected);
            if !collected.is_detached() {
                record.kept.push_back((collected.generation(), outcome.into()));
            }
            let waited = collected.is_waited();
            drop(collected);
            if waited {
                // The mark goes with the slot. A worker that died before it woke the sleeper left
                // nothing else behind by which `bury` could know.
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        // Who saw a slot while its outcome was being kept took it for one in use. Only then: called
        // for nothing, a submitter that has announced its sleep would never sleep.
        if made_room {
            self.control.gate().finished();
        }
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
