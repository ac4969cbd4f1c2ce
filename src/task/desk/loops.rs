//! What loops need of the desk: a cursor each, runs in slots, and what failed runs were at.

use std::ops::Range;

use super::{Desk, Drafted, Light};
use crate::control::{CURSORS, Collected, Cursor, INLINE_ARGS_WORDS, Phase};
use crate::sync::{Condvar, Mutex, PoisonError, lock};

/// Which cursors are taken, a bit each.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    taken: Mutex<u32>,
    returned: Condvar,
}

/// What a part of a loop was at when it failed.
#[derive(Debug)]
pub(super) struct Note {
    index: u32,
    generation: u32,
    range: Range<u64>,
}

const _: () = assert!(CURSORS <= u32::BITS as usize);

/// A cursor that one loop has to itself. Dropped, it goes to the next; all runs have ended by then.
#[derive(Debug)]
pub(crate) struct OwnedCursor<'d> {
    desk: &'d Desk,
    index: usize,
}

impl Desk {
    /// Takes a cursor for a loop; waits while as many loops as there are cursors go on.
    pub(crate) fn take_cursor(&self) -> OwnedCursor<'_> {
        let mut taken = lock(&self.cursors.taken);
        loop {
            let index = taken.trailing_ones() as usize;
            if index < CURSORS {
                *taken |= 1 << index;
                return OwnedCursor { desk: self, index };
            }
            taken = self.cursors.returned.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands part of a loop to the workers. Returns its slot and generation.
    ///
    /// The caller keeps what the words refer to until the run has ended.
    pub(crate) fn post_run(
        &self,
        draft: Drafted<'_>,
        code: u64,
        words: &[u64; INLINE_ARGS_WORDS],
    ) -> (u32, u32) {
        let index = draft.index() as usize;
        lock(&self.records[index]).mark().is_run = true;
        self.ledger.mark(index);
        self.publish(draft.of(Light), code, (0, size_of_val(words) as u64), words)
    }

    /// Keeps what a run was at that has failed. The caller holds its record's lock.
    pub(super) fn keep_note(&self, index: usize, failed: &Collected<'_>) {
        let (index, generation, range) = (index as u32, failed.generation(), failed.noted());
        lock(&self.notes).push(Note { index, generation, range });
    }

    /// What a run of this generation was at when it failed. Once.
    pub(crate) fn take_note(&self, index: u32, generation: u32) -> Option<Range<u64>> {
        let mut notes = lock(&self.notes);
        let is_it = |note: &Note| (note.index, note.generation) == (index, generation);
        let at = notes.iter().position(is_it)?;
        Some(notes.swap_remove(at).range)
    }

    /// What a run holds that it has not done yet, or is about to claim. A claim.
    pub(crate) fn noted_by(&self, (index, generation): (u32, u32)) -> Range<u64> {
        let slot = &self.control.slots()[index as usize];
        let runs = slot.phase(generation) == Phase::Running;
        if runs { slot.noted() } else { 0..0 }
    }

    /// Throws away what a run has left that nobody asks for.
    pub(crate) fn forget_run(&self, index: u32, generation: u32) {
        drop(self.try_outcome(index, generation));
        let _ = self.take_note(index, generation);
    }

    /// Takes a task back if it is queued still. False: it runs, or has ended.
    pub(crate) fn withdraw(&self, index: u32, generation: u32) -> bool {
        self.cancel_queued(index, generation)
    }
}

impl OwnedCursor<'_> {
    pub(crate) fn index(&self) -> u64 {
        self.index as u64
    }

    pub(crate) fn get(&self) -> Cursor<'_> {
        let cursor = self.desk.control.cursor(self.index);
        cursor.expect("the index is below the number of cursors")
    }
}

impl Drop for OwnedCursor<'_> {
    fn drop(&mut self) {
        *lock(&self.desk.cursors.taken) &= !(1 << self.index);
        self.desk.cursors.returned.notify_one();
    }
}
