//! Slots for new tasks: finding a free one, and making room where finished tasks fill the table.

use super::{Desk, Drafted, Unavailable};
use crate::control::Phase;
use crate::sync::{Ordering, lock};
use crate::sys::futex_wake;

impl Desk {
    /// Finds a free slot; finished tasks whose handles have not asked make room.
    pub(crate) fn try_draft(&self) -> Result<(u32, Drafted<'_>), Unavailable> {
        if let Some(reason) = self.broken() {
            return Err(Unavailable::Broken(reason));
        }
        if self.is_nested() {
            return Err(Unavailable::Nested);
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
    pub(super) fn step_back(&self, index: u32) {
        let (at, after) = (index as usize, index as usize + 1);
        if self.cursor.load(Ordering::Relaxed) == after {
            let _ = self.cursor.compare_exchange(after, at, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Moves what finished tasks left in their slots into their records, and frees the slots and
    /// the memory of the arguments.
    pub(crate) fn keep_finished(&self) {
        let mut made_room = false;
        for (index, slot) in self.control.slots().iter().enumerate() {
            let Some(generation) = self.ledger.posted(index) else { continue };
            if slot.phase(generation) != Phase::Finished {
                continue;
            }
            let mut record = lock(&self.records[index]);
            let Some(collected) = slot.collect(generation) else { continue };
            made_room = true;
            let outcome = self.outcome_of(index, &mut record, &collected);
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
        // Who saw a slot while its outcome was being kept took it for one in use. Only then: called
        // for nothing, a submitter that has announced its sleep would never sleep.
        if made_room {
            self.control.gate().finished();
        }
    }
}
