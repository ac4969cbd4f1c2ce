//! What is left of a loop: a shared cursor over its chunks, from which workers claim ranges.
//!
//! Many chunks at first and few at the end, so that a long loop costs few claims and all workers
//! end at about the same time. A range is one compare-and-swap; who is going to claim one says so
//! beforehand in its own slot, so that a death at any instruction leaves a note of it.

use std::ops::Range;

use super::slot::Slot;
use crate::sync::{AtomicU64, Ordering};

/// How many loops of one executor can go on at a time; further ones wait.
pub(crate) const CURSORS: usize = 32;
/// The part of what is left that one claim takes, in terms of the workers' number.
const SHARE: u64 = 4;

/// A cursor in the control segment: the first chunk that nobody has claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'c>(&'c AtomicU64);

impl<'c> Cursor<'c> {
    pub(crate) fn over(word: &'c AtomicU64) -> Self {
        Self(word)
    }

    /// Parent: begins a loop. The slots of its runs are published afterwards.
    pub(crate) fn begin(&self) {
        // PAIRS task-visible.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Worker: claims the next range of `chunks`, of which `workers` want their share.
    ///
    /// Notes in its slot what it is going to claim, before it does.
    pub(crate) fn claim(&self, chunks: u64, workers: u64, slot: &Slot) -> Option<Range<u64>> {
        let mut at = self.0.load(Ordering::Relaxed);
        loop {
            let left = chunks.checked_sub(at).filter(|&left| left > 0)?;
            let end = at + (left / (SHARE * workers.max(1))).max(1);
            slot.note_range(at..end);
            step!(worker "loop.noted");
            // What the chunks hold is not handed over by the cursor, but by the slots.
            match self.0.compare_exchange_weak(at, end, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    step!(worker "loop.claimed");
                    return Some(at..end);
                }
                Err(seen) => at = seen,
            }
        }
    }

    /// Ends the loop early: nothing more is claimed.
    pub(crate) fn stop(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    /// Parent: the first chunk that was not claimed. A claim, as all that workers write.
    pub(crate) fn position(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
