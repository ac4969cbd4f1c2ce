//! Slots for new tasks: finding a free one, and making room where finished tasks fill the table.

use super::collect::Taken;
use super::{Desk, Drafted, Unavailable};
use crate::control::{Phase, Slot};
use crate::sync::{Ordering, lock};
use crate::sys::{futex_wake, prefetch};

/// How many slots ahead of the one that is filled the processor is told of the next: about the time
/// that a cache line takes from another core.
const AHEAD: usize = 8;
/// Where so many tasks were submitted after one that has ended, the next few have mostly, too.
const FAR_BEHIND: u64 = 4 * AHEAD as u64;
/// How many slots a submitter that may sleep looks at before it asks how long the queue is. Tasks
/// end nearly in the order in which they were submitted.
const LOOK: usize = 64;
/// How many slots a joiner goes back at most: as many as a table has that nobody has sized.
const BACK_MOST: usize = 1024;

impl Desk {
    /// Finds a free slot; finished tasks whose handles have not asked make room.
    #[inline]
    pub(crate) fn try_draft(&self) -> Result<Drafted<'_>, Unavailable> {
        self.find_free(usize::MAX).ok_or_else(|| self.why_unavailable())
    }

    #[cold]
    fn why_unavailable(&self) -> Unavailable {
        if self.is_broken() {
            Unavailable::Broken
        } else if self.is_nested() {
            Unavailable::Nested
        } else {
            Unavailable::Full
        }
    }

    /// As [`Desk::try_draft`]; sleeps while every slot holds a task that has not ended.
    #[inline]
    pub(crate) fn draft(&self) -> Result<Drafted<'_>, Unavailable> {
        match self.find_free(LOOK) {
            Some(draft) => Ok(draft),
            None => self.wait_for_draft(),
        }
    }

    #[cold]
    fn wait_for_draft(&self) -> Result<Drafted<'_>, Unavailable> {
        // At once: who may not wait for room has none to doze for.
        if self.is_broken() || self.is_nested() {
            return Err(self.why_unavailable());
        }
        loop {
            // Before all slots are looked at: a worker that is nearly as fast as this thread lets
            // it find one each time, behind hundreds that have not ended.
            let has_dozed = self.doze_for_room();
            match self.try_draft() {
                Err(Unavailable::Full) if has_dozed => self.dozed_in_vain(),
                Err(Unavailable::Full) => {}
                result => return result,
            }
            let round = self.control.gate().announce();
            match self.try_draft() {
                Err(Unavailable::Full) => self.sleep_for_room(round),
                result => return result,
            }
        }
    }

    /// Goes round from where the latest slot was found, at most so far. One whose task has ended
    /// makes room on the way, so that nobody has to look through all of them while there is room.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    fn find_free(&self, most: usize) -> Option<Drafted<'_>> {
        if self.is_broken() || self.is_nested() {
            return None;
        }
        let slots = self.control.slots();
        let start = self.cursor.load(Ordering::Relaxed);
        prefetch(&slots[self.after(start, AHEAD - 1)]);
        for step in 0..slots.len().min(most) {
            let index = self.after(start, step);
            let mut draft = self.draft_at(index);
            if draft.is_none() && self.keep(index) {
                self.control.gate().finished_by_swap();
                draft = self.draft_at(index);
                self.records[self.after(index, AHEAD / 2)].foresee_keeping();
                prefetch(&self.records[self.after(index, AHEAD)]);
            }
            if draft.is_some() {
                self.cursor.store(self.after(index, 1), Ordering::Relaxed);
                return draft;
            }
        }
        None
    }

    /// About how many tasks were submitted after the one in this slot: so many slots were handed
    /// out. Nothing that a worker touches is looked at.
    pub(crate) fn behind(&self, index: u32) -> u64 {
        let (next, count) = (self.cursor.load(Ordering::Relaxed), self.records.len());
        let behind = (next + count - 1).saturating_sub(index as usize);
        (if behind < count { behind } else { behind - count }) as u64
    }

    /// Has the processor fetch the slot that is joined some tasks later, by who joins them in the
    /// order in which they were submitted; a task that was submitted long before has ended by then.
    #[inline]
    pub(crate) fn foresee_end(&self, index: u32) {
        if self.behind(index) >= FAR_BEHIND {
            self.control.slots()[self.after(index as usize, AHEAD)].foresee();
        }
    }

    /// As [`Desk::foresee_end`], of a task that has made room for others: what was kept of those
    /// that were submitted after it.
    #[inline]
    pub(crate) fn foresee_kept(&self, index: u32) {
        self.records[self.after(index as usize, AHEAD)].foresee_taking();
        prefetch(&self.records[self.after(index as usize, 2 * AHEAD)]);
    }

    /// The slot so many after another, at most once round.
    fn after(&self, index: usize, steps: usize) -> usize {
        let (at, count) = (index + steps, self.records.len());
        if at < count { at } else { (at - count).min(count - 1) }
    }

    /// Uses the latest slots again that are free by now: who joins what it has submitted before it
    /// submits more stays with memory that is warm in both processes' caches, or at least mapped. A
    /// page that neither has touched yet takes the caller some 15 µs, and then the worker 3.
    pub(super) fn step_back(&self, index: u32) {
        let index = index as usize;
        if self.cursor.load(Ordering::Relaxed) == self.after(index, 1) {
            let first = self.ledger.first_idle_before(index, BACK_MOST);
            // Another thread may have gone on meanwhile. It is a hint.
            self.cursor.store(first, Ordering::Relaxed);
        }
    }

    /// Makes room in all slots whose tasks have ended, and in the memory of their arguments.
    pub(crate) fn keep_finished(&self) {
        let made_room = (0..self.records.len()).fold(false, |made, index| made | self.keep(index));
        // Who saw a slot while its outcome was being kept took it for one in use. Only then: called
        // for nothing, a submitter that has announced its sleep would never sleep.
        if made_room {
            self.control.gate().finished();
        }
    }

    /// Moves what a finished task has left in its slot into its record, and frees the slot and the
    /// memory of the arguments. False: its task has not ended, or another thread was first.
    ///
    /// Frees by a swap. The caller tells those who wait for room.
    fn keep(&self, index: usize) -> bool {
        let slot = &self.control.slots()[index];
        let Some(generation) = self.ledger.posted(index) else { return false };
        if slot.phase(generation) != Phase::Finished {
            return false;
        }
        let abandoned = self.ledger.is_abandoned(index).then(|| self.take_plain(index, generation));
        let taken = abandoned.flatten().map(|taken| taken.is_waited);
        // Of one that nobody asks for there is nothing to keep.
        let taken = taken.or_else(|| self.keep_outcome(index, generation));
        let Some(is_waited) = taken else { return false };
        if is_waited {
            // Nobody looks at the mark any more. A worker that died before it woke the sleeper
            // left nothing else behind by which `bury` could know.
            futex_wake(slot.futex(), u32::MAX);
        }
        true
    }

    /// Moves the outcome into the record. Tells whether a thread may sleep on the slot.
    fn keep_outcome(&self, index: usize, generation: u32) -> Option<bool> {
        let mut record = lock(&self.records[index]);
        if let Some(plain) = self.take_plain(index, generation) {
            if !plain.is_detached {
                record.kept.keep_word(generation, plain.word, plain.len);
                self.records[index].note(&record);
            }
            return Some(plain.is_waited);
        }
        let taken = self.take(index, generation, &mut record, Slot::ended);
        let Taken { outcome, is_detached, is_waited } = taken?;
        if !is_detached {
            record.kept.keep(generation, outcome);
            self.records[index].note(&record);
        }
        Some(is_waited)
    }
}
