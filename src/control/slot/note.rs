//! What a running task notes in its slot for the case that it does not come to its end: which part
//! of a loop it is at.

use std::ops::Range;

use super::Slot;
use crate::control::INLINE_ARGS_WORDS;
use crate::sync::Ordering;

/// The words of the inline arguments that hold a note; a task with notes has none that long.
const AT: usize = INLINE_ARGS_WORDS - 2;
const END: usize = INLINE_ARGS_WORDS - 1;

/// How many words of inline arguments a task with notes can have.
pub(crate) const NOTED_ARGS_WORDS: usize = AT;

impl Slot {
    /// Worker: notes the range that it is going to claim. The one before has come to its end.
    pub(crate) fn note_range(&self, range: Range<u64>) {
        // In this order: whichever of the two is old, the range in between is empty.
        self.inline_args[AT].store(u64::MAX, Ordering::Relaxed);
        step!(worker "loop.cleared");
        // PAIRS note.
        self.inline_args[END].store(range.end, Ordering::Release);
        step!(worker "loop.bounded");
        self.inline_args[AT].store(range.start, Ordering::Release);
    }

    /// Worker: notes that the chunks before `at` are done.
    pub(crate) fn note_progress(&self, at: u64) {
        self.inline_args[AT].store(at, Ordering::Release);
    }

    /// Parent: what the worker was at when it died, or what it was going to claim. A claim.
    pub(crate) fn noted(&self) -> Range<u64> {
        // PAIRS note.
        let at = self.inline_args[AT].load(Ordering::Acquire);
        at..self.inline_args[END].load(Ordering::Acquire)
    }
}
