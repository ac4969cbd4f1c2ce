//! What the parent no longer needs in a worker's result heap: a ring of offsets, one to one.
//!
//! A cell holds 0 or an offset plus one; the parent fills cells in order and the worker empties
//! them in order, each with a position of its own that lies in its private memory. Neither can
//! leave the ring half changed.

use crate::sync::{AtomicU64, Ordering};

/// How many releases lie between two looks of the worker before the parent has to keep some.
pub(crate) const RELEASE_CELLS: usize = if cfg!(loom) { 2 } else { 128 };

/// The ring, over cells that lie in the worker's seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Releases<'c>(&'c [AtomicU64]);

impl<'c> Releases<'c> {
    pub(crate) fn over(cells: &'c [AtomicU64]) -> Self {
        Self(cells)
    }

    /// Adds an offset; false when the ring is full. Parent only, one thread at a time.
    #[must_use]
    pub(crate) fn push(&self, tail: &mut usize, offset: u64) -> bool {
        let cell = &self.0[*tail % self.0.len()];
        // PAIRS release-taken: the worker has taken what was here before.
        if cell.load(Ordering::Acquire) != 0 {
            return false;
        }
        // PAIRS release-given: the parent has finished reading the block.
        cell.store(offset + 1, Ordering::Release);
        step!(parent "release.push.cell");
        *tail += 1;
        true
    }

    /// Takes an offset. Worker only.
    pub(crate) fn pop(&self, head: &mut usize) -> Option<u64> {
        let cell = &self.0[*head % self.0.len()];
        // PAIRS release-given.
        let word = cell.load(Ordering::Acquire);
        if word == 0 {
            return None;
        }
        // PAIRS release-taken.
        cell.store(0, Ordering::Release);
        step!(worker "release.pop.cell");
        *head += 1;
        Some(word - 1)
    }

    /// Tells whether `pop` at this position would find something. Worker only.
    pub(crate) fn is_waiting(&self, head: usize) -> bool {
        self.0[head % self.0.len()].load(Ordering::Relaxed) != 0
    }

    /// Empties the ring for a new worker. Nobody else may use it meanwhile.
    pub(crate) fn clear(&self) {
        for cell in self.0 {
            cell.store(0, Ordering::Relaxed);
        }
    }
}
