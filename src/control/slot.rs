//! One task's place in the table: the state word, and where its arguments and its result lie.
//!
//! ```text
//!            publish        claim             finish
//!   Free -> Draft -> Ready <------> Running(w) ----> Done | Failed
//!    ^                 |     retry     | doom            |
//!    |                 |            Doomed(w)            |
//!    |                 |               | w died          |
//!    |                 +---------------+------> Lost     |
//!    +------- collect, generation + 1 ------------+------+
//! ```
//!
//! Every change is one compare-and-swap or one store by the only one who may change the word then.
//! In the parent, its ledger says who that is while a slot is filled or collected.
//! The claim writes the owner in the same instruction.

mod loss;
mod note;
mod result;
mod span;
mod stamp;
mod token;

pub(crate) use note::NOTED_ARGS_WORDS;
pub(crate) use result::{Plain, ResultPlace};
pub(crate) use span::{SPAN_MAX, Span};
pub(crate) use token::{Collected, Draft, Running};

use super::layout::{INLINE_ARGS_WORDS, INLINE_RESULT_WORDS};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{Word, prefetch};

const FREE: u64 = 0;
const DRAFT: u64 = 1;
const READY: u64 = 2;
const RUNNING: u64 = 3;
const DONE: u64 = 4;
const FAILED: u64 = 5;
const LOST: u64 = 6;
/// Running, but its worker is going to be killed: whatever it does, the task will be lost.
const DOOMED: u64 = 7;
const STATE: u64 = 0xf;

/// A thread of the parent sleeps on the word.
const WAITED: u64 = 1 << 4;
/// The supervisor wants to hear of the end: a waker is stored, or nobody will collect.
const WATCHED: u64 = 1 << 5;
/// Nobody holds a handle any more.
const DETACHED: u64 = 1 << 6;
/// The supervisor wants to hear of the beginning: the task has a deadline.
const TIMED: u64 = 1 << 7;

const OWNER_SHIFT: u32 = 8;
const OWNER: u64 = 0xffff << OWNER_SHIFT;
const GENERATION_SHIFT: u32 = 32;
/// The generation's lowest byte stands in the low half once more: who goes to sleep on the low half
/// of one task's word must not sleep on the next task's.
const ECHO_SHIFT: u32 = 24;
const GENERATION: u64 = !0 << ECHO_SHIFT;

/// A slot of the task table, four cache lines. The first holds all that a task without arguments
/// needs whose result is a number, and the first two what one needs with a few numbers.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Bits 0..=3 state, 4..=7 flags, 8..=23 owner, 24..=31 the generation's lowest byte, 32..=63
    /// generation. The low half is a futex.
    word: AtomicU64,
    /// The trampoline, as an offset in the image.
    code: AtomicU64,
    /// The arguments' place in the argument heap; `len` up to the inline size: they lie below.
    args_offset: AtomicU64,
    args_len: AtomicU64,
    /// The result's heap; 0: it lies here and below.
    result_heap: AtomicU64,
    result_len: AtomicU64,
    result_attached: AtomicU64,
    /// The first word of a result that lies in the slot: all of most.
    inline_first: AtomicU64,
    inline_args: [AtomicU64; INLINE_ARGS_WORDS],
    result_offset: AtomicU64,
    inline_rest: [AtomicU64; INLINE_RESULT_WORDS - 1],
}

/// Where a task's arguments lie: in the heap, or in the slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Arguments {
    pub(crate) fn is_inline(&self) -> bool {
        self.len <= (INLINE_ARGS_WORDS * 8) as u64
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The place holds the result.
    Done,
    /// The place holds an account of what went wrong.
    Failed,
    /// No worker will finish it; the parent knows why.
    Lost,
}

/// What a slot says about one generation of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Running,
    Finished,
    /// The slot has gone on to another task, or is free. (One that is free may also say how its
    /// latest task ended: the ledger knows.)
    Gone,
}

/// What a worker may do with the slot that it popped.
#[must_use]
#[derive(Debug)]
pub(crate) enum Claim<'s> {
    Run(Running<'s>),
    /// Cancelled, or pushed twice and claimed by another.
    Stale,
}

/// What a worker has to do after it finished a task.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Finished {
    pub(crate) wake: bool,
    pub(crate) ring: bool,
    pub(crate) detached: bool,
    /// The result is not wanted any more, and this process is going to be killed.
    pub(crate) doomed: bool,
}

impl Slot {
    /// Parent: begins a task in a slot that the caller alone may fill, whatever its word says now.
    pub(crate) fn draft_as(&self, generation: u32) -> Draft<'_> {
        self.word.store(word_of(generation) | DRAFT, Ordering::Relaxed);
        step!(parent "slot.draft");
        Draft::of(self, generation)
    }

    /// Parent: takes a free slot by the word alone, as models do, which keep no ledger.
    #[cfg(test)]
    pub(crate) fn draft(&self) -> Option<Draft<'_>> {
        let word = self.word.load(Ordering::Relaxed);
        if word & STATE != FREE {
            return None;
        }
        // PAIRS slot-free: what the last collector read was read before this task writes.
        let drafted = self.word.compare_exchange(
            word,
            generation_of(word) | DRAFT,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        // Made only by who won: a token that is made and dropped frees the slot of the winner.
        drafted.is_ok().then(|| Draft::of(self, (word >> GENERATION_SHIFT) as u32))
    }

    /// Worker: claims a queued task. The owner is on record from this instruction on.
    pub(crate) fn claim(&self, seat: u16) -> Claim<'_> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & STATE == READY {
            let claimed = word & !(STATE | OWNER) | RUNNING | u64::from(seat) << OWNER_SHIFT;
            // PAIRS task-visible: the worker sees what the draft wrote.
            match self.word.compare_exchange_weak(
                word,
                claimed,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    step!(worker "slot.claim");
                    return Claim::Run(Running::of(self, claimed));
                }
                Err(seen) => word = seen,
            }
        }
        Claim::Stale
    }

    /// Parent: what has become of the task.
    pub(crate) fn phase(&self, generation: u32) -> Phase {
        phase_of(self.word.load(Ordering::Acquire), generation)
    }

    /// Parent: announces a sleeper. Returns the futex value to sleep on, or why not to sleep.
    pub(crate) fn wait_mark(&self, generation: u32) -> Result<u32, Phase> {
        self.mark(generation, WAITED).map(|word| word as u32)
    }

    /// Parent: asks that the supervisor's bell be rung at the task's end.
    pub(crate) fn watch_mark(&self, generation: u32) -> Result<(), Phase> {
        self.mark(generation, WATCHED).map(drop)
    }

    /// Parent: leaves the task to itself; the supervisor's bell is rung at its end, unless nobody
    /// has to look then. An error means that it ended, and has to be collected.
    pub(crate) fn detach_mark(&self, generation: u32, is_light: bool) -> Result<(), Phase> {
        let flags = if is_light { DETACHED } else { WATCHED | DETACHED };
        self.mark(generation, flags).map(drop)
    }

    /// Parent: asks that the supervisor's bell be rung when the task begins.
    pub(crate) fn time_mark(&self, generation: u32) -> Result<(), Phase> {
        self.mark(generation, TIMED).map(drop)
    }

    fn mark(&self, generation: u32, flags: u64) -> Result<u64, Phase> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            match phase_of(word, generation) {
                Phase::Queued | Phase::Running => {}
                ended => return Err(ended),
            }
            let marked = word | flags;
            match self.word.compare_exchange_weak(word, marked, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    step!(parent "slot.mark");
                    return Ok(marked);
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Parent: a finished task's slot, to be read and freed by the caller, who alone may do so,
    /// whatever its word says meanwhile.
    pub(crate) fn ended(&self, generation: u32) -> Option<Collected<'_>> {
        self.ended_with(generation, 0)
    }

    /// Parent: as `ended`, if nobody holds a handle.
    pub(crate) fn ended_detached(&self, generation: u32) -> Option<Collected<'_>> {
        self.ended_with(generation, DETACHED)
    }

    fn ended_with(&self, generation: u32, flags: u64) -> Option<Collected<'_>> {
        // PAIRS result-visible: the collector sees what the worker wrote before it finished.
        let word = self.word.load(Ordering::Acquire);
        let is_it = generation_of(word) == word_of(generation) && word & flags == flags;
        let ending = ending_of(word).filter(|_| is_it)?;
        // Made only now: one that is made and dropped frees the slot.
        Some(Collected::of(self, word, ending))
    }

    /// Parent: as `ended`, by the word alone, as models do, which keep no ledger. One taker wins.
    #[cfg(test)]
    pub(crate) fn collect(&self, generation: u32) -> Option<Collected<'_>> {
        self.take(|word| generation_of(word) == word_of(generation) && ending_of(word).is_some())
    }

    /// Parent: frees a slot that the caller alone may take, whatever its word says now.
    pub(crate) fn free(&self, generation: u32) {
        // PAIRS slot-free.
        self.word.store(word_of(generation) | FREE, Ordering::Release);
        step!(parent "slot.free");
    }

    /// Parent: as `collect`, whatever task it is.
    #[cfg(test)]
    pub(crate) fn collect_any(&self) -> Option<Collected<'_>> {
        self.take(|word| ending_of(word).is_some())
    }

    /// Tells whether a thread of the parent has announced that it sleeps on the slot.
    #[cfg(all(test, loom))]
    pub(crate) fn is_waited(&self) -> bool {
        self.word.load(Ordering::Acquire) & WAITED != 0
    }

    /// Tells whether a worker could claim the slot now.
    #[cfg(test)]
    pub(crate) fn is_queued(&self) -> bool {
        self.word.load(Ordering::Relaxed) & STATE == READY
    }

    /// Tells whether the slot holds a task that has not ended.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.word.load(Ordering::Acquire) & STATE, DRAFT | READY | RUNNING | DOOMED)
    }

    /// Tells whether the slot can be drafted, or collected and then drafted.
    #[cfg(test)]
    pub(crate) fn is_free_or_finished(&self) -> bool {
        let word = self.word.load(Ordering::SeqCst);
        word & STATE == FREE || ending_of(word).is_some()
    }

    /// Has the processor fetch what most tasks touch here.
    #[inline]
    pub(crate) fn foresee(&self) {
        prefetch(&self.word);
        prefetch(&self.inline_args);
    }

    /// The low half of the word, to sleep on.
    pub(crate) fn futex(&self) -> Word<'_> {
        Word::LowHalf(&self.word)
    }

    #[cfg(test)]
    fn take(&self, which: impl Fn(u64) -> bool) -> Option<Collected<'_>> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let ending = ending_of(word).filter(|_| which(word))?;
            let drafted = generation_of(word) | DRAFT;
            // PAIRS result-visible: the collector sees what the worker wrote before it finished.
            match self.word.compare_exchange_weak(
                word,
                drafted,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    return Some(Collected::of(self, word, ending));
                }
                Err(seen) => word = seen,
            }
        }
    }
}

/// A word of this generation, without state, flags and owner.
fn word_of(generation: u32) -> u64 {
    u64::from(generation) << GENERATION_SHIFT | u64::from(generation & 0xff) << ECHO_SHIFT
}

fn generation_of(word: u64) -> u64 {
    word & GENERATION
}

fn ending_of(word: u64) -> Option<Ending> {
    match word & STATE {
        DONE => Some(Ending::Done),
        FAILED => Some(Ending::Failed),
        LOST => Some(Ending::Lost),
        _ => None,
    }
}

fn phase_of(word: u64, generation: u32) -> Phase {
    if generation_of(word) != word_of(generation) {
        return Phase::Gone;
    }
    match word & STATE {
        READY => Phase::Queued,
        RUNNING | DOOMED => Phase::Running,
        DONE | FAILED | LOST => Phase::Finished,
        _ => Phase::Gone,
    }
}
