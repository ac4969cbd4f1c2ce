//! The parent's side of the task table: what each slot's task holds, and what became of it.

mod batches;
mod caller;
mod care;
mod collect;
mod draft;
mod figures;
mod kept;
mod ledger;
mod limits;
mod loops;
mod queue;
mod record;
mod room;

use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

pub(crate) use caller::Caller;
use caller::Calling;
pub(crate) use draft::Drafted;
use draft::Posting;
use figures::Figures;
use ledger::Ledger;
use ledger::Weight::{self, Heavy, Lean, Light};
use limits::Timed;
pub(crate) use loops::OwnedCursor;
use loops::{Cursors, Note};
use record::{Entry, Record};

use super::batch::Batch;
use super::outcome::{Loss, OVERWRITTEN, Outcome};
use crate::archive::{Blocks, Encoded};
use crate::control::{Bell, Control, INLINE_ARGS_WORDS, Phase};
use crate::memory::{Heap, RemoteHeap};
use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, Weak, lock,
};

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
    /// The slot that was pushed last, if a worker had to be woken for it, else `NOBODY`, and from
    /// bit 32 on what is known of who was woken or called.
    woken: AtomicU64,
    /// How many threads sleep on a slot, or are about to.
    pub(super) sleepers: AtomicU32,
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
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unavailable {
    Full,
    /// [`Desk::reason`] says why.
    Broken,
    /// This thread runs a task that must not use the executor.
    Nested,
}

/// The words of arguments of so many bytes that lie inline.
fn words_of(inline: &[u64; INLINE_ARGS_WORDS], len: u64) -> &[u64] {
    &inline[..len.div_ceil(8) as usize]
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
            woken: AtomicU64::new(queue::NOBODY.into()),
            sleepers: AtomicU32::new(0),
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
        self.awake() < self.cores
    }

    /// As [`Desk::has_idle_core`]; a worker runs or searches, too.
    pub(super) fn has_worker_and_idle_core(&self) -> bool {
        (1..self.cores).contains(&self.awake())
    }

    /// How many cores this process and its workers have.
    pub(super) fn cores(&self) -> u32 {
        self.cores
    }

    fn awake(&self) -> u32 {
        let present = self.workers().saturating_sub(self.vacant.load(Ordering::Relaxed));
        self.control.wake().awake(present)
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

    /// Hands a task to the workers, its arguments encoded in `inline` or in a block; `is_lean` if
    /// its result is a number or nothing. Returns its slot and generation.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    pub(crate) fn post(
        &self,
        draft: Drafted<'_>,
        code: u64,
        inline: &[u64; INLINE_ARGS_WORDS],
        encoded: Encoded,
        is_lean: bool,
    ) -> (u32, u32) {
        let Encoded { len, blocks } = encoded;
        let Some(blocks) = blocks else {
            let weight = if is_lean { Lean } else { Light };
            return self.publish(draft.of(weight), code, (0, len), words_of(inline, len));
        };
        self.post_with(blocks, draft, code, len, inline)
    }

    /// As [`Desk::post`], of a task that the memory of its arguments belongs to.
    #[inline(never)]
    fn post_with(
        &self,
        blocks: Box<Blocks>,
        draft: Drafted<'_>,
        code: u64,
        len: u64,
        inline: &[u64; INLINE_ARGS_WORDS],
    ) -> (u32, u32) {
        let own = blocks.own.as_ref().map(|block| block.place().offset);
        lock(&self.records[draft.index() as usize]).mark().held = Some(blocks);
        step!(parent "post.held");
        // In a block of their own, or inline beside those that they refer to.
        let (offset, inline) =
            own.map_or_else(|| (0, words_of(inline, len)), |offset| (offset, &[][..]));
        self.publish(draft.of(Heavy), code, (offset, len), inline)
    }

    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    fn publish(
        &self,
        draft: Posting<'_>,
        code: u64,
        place: (u64, u64),
        inline: &[u64],
    ) -> (u32, u32) {
        self.stamp(&draft);
        let (index, generation) = draft.publish(code, place, inline);
        self.push(index, generation);
        step!(parent "post.pushed");
        if self.end.get().is_some() {
            // The supervisor gave up between the look in `try_draft` and the push.
            self.lose_queued();
        }
        (index, generation)
    }

    /// Leaves a task to itself: whoever sees it end frees its slot.
    ///
    /// The supervisor wants to hear of that end only if it gives memory back. Else the slot is
    /// there for whoever submits a task, as others are whose tasks have ended. Of one that holds no
    /// memory in any case, the slot is not even looked at: a worker may be at it. (If it fails, the
    /// worker rings whoever asks for that: at once after a long account, else before it sleeps.)
    pub(crate) fn detach(&self, index: u32, generation: u32) {
        if !self.has_caller() && self.ledger.abandon(index as usize, generation) {
            return;
        }
        let slot = &self.control.slots()[index as usize];
        let is_light = self.ledger.weight(index as usize) != Heavy;
        if self.has_ended(index, generation) || slot.detach_mark(generation, is_light).is_err() {
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
        // Of a task whose outcome was kept, the slot may say anything.
        let watched = self.control.slots()[index as usize].watch_mark(generation).is_ok()
            && !self.has_ended(index, generation);
        if !watched {
            watchers.pop();
        }
        watched
    }

    /// How many tasks wait for a worker.
    pub(crate) fn count_queued(&self) -> usize {
        (0..self.control.slots().len()).filter(|&index| self.is_queued(index)).count()
    }
}
