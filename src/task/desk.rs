//! The parent's side of the task table: what each slot's task holds, and what became of it.

mod care;
mod limits;
mod room;

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

use limits::Timed;

use super::outcome::{Kept, Loss, Outcome};
use crate::archive::Encoded;
use crate::control::{Bell, Collected, Control, Draft, Full, INLINE_ARGS_WORDS, Phase};
use crate::memory::{Heap, Lease, RemoteHeap};
use crate::sync::{Arc, AtomicU32, AtomicUsize, Mutex, OnceLock, Ordering, Weak, lock};

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
    /// Not 0: a worker is condemned, and not killed yet.
    condemned: AtomicU32,
    /// Tasks with a deadline that have not ended.
    timed: Mutex<Vec<Timed>>,
    /// Held by the thread that throws stale ids out of the ring.
    compacting: Mutex<()>,
    /// Where the search for a free slot goes on.
    cursor: AtomicUsize,
    workers: AtomicU32,
    /// How many workers have left because they had nothing to do.
    vacant: AtomicU32,
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
    /// How often the task may still be run again after its worker has died.
    retries: u32,
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
            records: control.slots().iter().map(|_| Mutex::default()).collect(),
            heaps: control.seats().iter().map(|_| Mutex::default()).collect(),
            control,
            heap,
            bell,
            known: Mutex::default(),
            watchers: Mutex::default(),
            condemned: AtomicU32::new(0),
            timed: Mutex::default(),
            compacting: Mutex::default(),
            cursor: AtomicUsize::new(0),
            workers: AtomicU32::new(0),
            vacant: AtomicU32::new(0),
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
        let present = self.workers().saturating_sub(self.vacant.load(Ordering::Relaxed));
        self.control.wake().awake(present) < self.cores
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
        let noticed = self.control.wake().notify();
        // PAIRS vacant: either this sees that workers have left, or the supervisor sees the task.
        if !noticed && self.vacant.load(Ordering::Relaxed) != 0 {
            self.bell.ring_anyway();
        }
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

    /// How many tasks wait for a worker.
    pub(crate) fn count_queued(&self) -> usize {
        self.control.slots().iter().filter(|slot| slot.is_queued()).count()
    }

    fn outcome_of(&self, record: &mut Record, collected: &Collected<'_>) -> Outcome {
        (record.held, record.retries) = (None, 0);
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
