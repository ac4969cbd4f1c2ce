//! Taking the outcomes of tasks out of their slots.
//!
//! Most are collected by the thread that joins them, by one change of the task's entry in the
//! ledger: the result is a word, and the record knows nothing of the task. All others are collected
//! by who holds the entry, and has taken the record's lock before.

use super::{Desk, OVERWRITTEN, Outcome, Record};
use crate::control::{Collected, Ending, Phase, Plain, Slot};
use crate::memory::RemoteHeap;
use crate::sync::{Arc, MutexGuard, lock};

/// What a task has left in its slot, which is free again.
pub(super) struct Taken {
    pub(super) outcome: Outcome,
    /// Nobody holds a handle.
    pub(super) is_detached: bool,
    /// A thread has announced that it sleeps on the slot.
    pub(super) is_waited: bool,
}

impl Desk {
    /// What became of the task. `None`: it has not ended.
    ///
    /// Called by who holds the handle, and so by one thread at a time.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    pub(crate) fn try_outcome(&self, index: u32, generation: u32) -> Option<Outcome> {
        if let Some(Plain { word, len, .. }) = self.take_plain(index as usize, generation) {
            self.handed_over(index);
            return Some(Outcome::word(word, len));
        }
        self.try_other_outcome(index, generation)
    }

    /// As [`Desk::try_outcome`], unless it is a word that lies in the slot.
    #[inline(never)]
    fn try_other_outcome(&self, index: u32, generation: u32) -> Option<Outcome> {
        let at = index as usize;
        let phase = self.phase(index, generation);
        if matches!(phase, Phase::Queued | Phase::Running) {
            return None;
        }
        let mut record = lock(&self.records[at]);
        // Whoever has made room in the slot held the lock until the outcome was in the record.
        if phase == Phase::Gone {
            if let Some((word, len)) = record.kept.take_next(generation) {
                self.records[at].note(&record);
                return Some(Outcome::word(word, len));
            }
            if let Some(kept) = record.kept.take(generation) {
                self.records[at].note(&record);
                return Some(kept);
            }
        }
        let taken = self.take(at, generation, &mut record, Slot::ended);
        let Some(taken) = taken else { return Some(self.outcome_of_gone(at, generation, record)) };
        drop(record);
        self.handed_over(index);
        Some(taken.outcome)
    }

    /// Tells those who wait for room that the task was taken, for whom it was.
    #[inline]
    fn handed_over(&self, index: u32) {
        self.control.gate().finished_by_swap();
        self.step_back(index);
    }

    /// What has become of the task. Of one whose outcome was kept, the slot is not believed that it
    /// is under way: a worker gone wild says so.
    pub(crate) fn phase(&self, index: u32, generation: u32) -> Phase {
        match self.control.slots()[index as usize].phase(generation) {
            Phase::Queued | Phase::Running
                if self.ledger.posted(index as usize) != Some(generation) =>
            {
                Phase::Gone
            }
            phase => phase,
        }
    }

    /// Tells whether there is an outcome to be taken.
    pub(crate) fn has_ended(&self, index: u32, generation: u32) -> bool {
        matches!(self.phase(index, generation), Phase::Finished | Phase::Gone)
    }

    /// Takes a task of which the record knows nothing, and whose result is a word. `None`: it is
    /// no such task, or another thread was first.
    ///
    /// Frees by a swap of the ledger's word. The caller tells those who wait for room.
    #[inline]
    pub(super) fn take_plain(&self, index: usize, generation: u32) -> Option<Plain> {
        let slot = &self.control.slots()[index];
        let mut plain = slot.plain(generation)?;
        // Still posted: nobody has taken it since the word was read. The slot says what it did
        // until the next task is written there, the ledger that it is free.
        plain.is_detached |= self.ledger.collect_plain(index, generation)?;
        step!(parent "collect.plain");
        Some(plain)
    }

    /// Takes a task that has ended, if `ended` says so. The caller holds the record's lock. `None`:
    /// it has not ended, or another thread was first, which has kept the outcome.
    pub(super) fn take(
        &self,
        index: usize,
        generation: u32,
        record: &mut Record,
        ended: fn(&Slot, u32) -> Option<Collected<'_>>,
    ) -> Option<Taken> {
        let held = self.ledger.hold_only(index, generation)?;
        let collected = ended(&self.control.slots()[index], generation)?;
        let outcome = self.outcome_of(index, record, &collected);
        let is_detached = collected.is_detached() || held.is_abandoned();
        let is_waited = collected.is_waited();
        drop(collected);
        held.collected();
        Some(Taken { outcome, is_detached, is_waited })
    }

    /// What became of a task that was in its slot a moment ago, or should be.
    #[cold]
    fn outcome_of_gone(
        &self,
        index: usize,
        generation: u32,
        mut record: MutexGuard<'_, Record>,
    ) -> Outcome {
        if let Some(kept) = record.kept.take(generation) {
            return kept;
        }
        if let Some(held) = self.ledger.hold_only(index, generation) {
            drop(record.take_marks());
            self.control.slots()[index].free(generation.wrapping_add(1));
            held.collected();
            drop(record);
            self.control.gate().finished_by_swap();
        }
        Outcome::garbled(OVERWRITTEN)
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
        let loss = marks.loss.filter(|loss| loss.0 == collected.generation());
        let wanted = place.holds_memory() || marks.batch.is_some();
        let heap = self.heap_at(collected, wanted);
        if let Some(batch) = marks.batch {
            batch.close(collected.span(), heap.as_ref());
        }
        Outcome::read(collected.ending(), &place, heap.as_ref(), loss.map(|loss| loss.1))
    }

    fn heap_at(&self, collected: &Collected<'_>, is_wanted: bool) -> Option<Arc<RemoteHeap>> {
        is_wanted.then(|| self.heap_of(collected.owner())).flatten()
    }
}
