//! Two bells from the workers to the parent: a slot became free to collect, and look at the table.

use std::time::Duration;

use crate::sync::{AtomicU32, Ordering, fence, fence_after_swap};
use crate::sys::{futex_wait, futex_wake};

/// Where submitters wait for a full table, and the flag that the supervisor's bell was rung.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Not 0: a submitter sleeps, or is about to.
    waiting: AtomicU32,
    /// Changes whenever sleepers are woken. A futex.
    round: AtomicU32,
    /// Not 0: the supervisor was rung and has not looked yet.
    rung: AtomicU32,
}

impl Gate {
    /// Announces a submitter that will sleep unless it finds what it needs now. Returns the round.
    #[must_use]
    pub(crate) fn announce(&self) -> u32 {
        let round = self.round.load(Ordering::Acquire);
        self.waiting.store(1, Ordering::Relaxed);
        step!(parent "gate.announced");
        // PAIRS gate: either the submitter sees the finished task, or `finished` sees `waiting`.
        fence(Ordering::SeqCst);
        round
    }

    /// Sleeps until a task has finished since `announce` returned this round.
    pub(crate) fn sleep(&self, round: u32) {
        futex_wait(&self.round, round, None);
        step!(parent "gate.slept");
    }

    /// Sleeps for a time, or for less where others have announced themselves. Nobody is asked to
    /// wake this thread.
    pub(crate) fn doze(&self, time: Duration) {
        futex_wait(&self.round, self.round.load(Ordering::Relaxed), Some(time));
    }

    /// As [`Gate::sleep`], at most for a time. True: something has happened since `announce`.
    pub(crate) fn sleep_at_most(&self, round: u32, time: Duration) -> bool {
        futex_wait(&self.round, round, Some(time));
        self.round.load(Ordering::Acquire) != round
    }

    /// Lets waiting submitters go on. Called after a task was finished or a slot was freed.
    ///
    /// Only the first call after a wait costs a system call: it takes the mark away.
    pub(crate) fn finished(&self) {
        // PAIRS gate.
        fence(Ordering::SeqCst);
        self.let_go_on();
    }

    /// As [`Gate::finished`], after a swap that finished the task or freed the slot.
    #[inline]
    pub(crate) fn finished_by_swap(&self) {
        // PAIRS gate.
        fence_after_swap();
        self.let_go_on();
    }

    #[inline]
    fn let_go_on(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 && self.waiting.swap(0, Ordering::AcqRel) != 0
        {
            step!(both "gate.mark");
            self.round.fetch_add(1, Ordering::Release);
            step!(both "gate.round");
            futex_wake(&self.round, u32::MAX);
            step!(both "gate.woken");
        }
    }

    /// Lets waiting submitters go on, whatever the mark says. Called after a death: the worker may
    /// have taken the mark away and done no more.
    pub(crate) fn open(&self) {
        self.waiting.store(0, Ordering::SeqCst);
        step!(parent "gate.open.mark");
        self.round.fetch_add(1, Ordering::Release);
        step!(parent "gate.open.round");
        futex_wake(&self.round, u32::MAX);
    }

    /// Marks the bell as rung. True: the caller has to ring it, nobody did before.
    #[must_use]
    pub(crate) fn must_ring(&self) -> bool {
        self.rung.swap(1, Ordering::SeqCst) == 0
    }

    /// Takes the mark away, before the supervisor looks at the table.
    pub(crate) fn heard(&self) {
        // A swap and not a store: it reads the mark, and so sees what came before a ring that the
        // mark has spared.
        self.rung.swap(0, Ordering::SeqCst);
    }
}
