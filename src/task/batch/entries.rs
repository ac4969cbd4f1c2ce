//! The results of a batch's items: an array of entries in the worker's heap, one for each item.
//!
//! ```text
//!   tag, then the result itself in words, or its offset in the heap
//!   tag: 0 = not there yet; bits 0..=1 ending, 2 in the heap,
//!        3..=23 blocks attached, 24..=63 length
//! ```
//!
//! The worker fills an entry when its item has ended, the tag last. The parent may read meanwhile,
//! and after the worker's death.

use crate::control::{Ending, INLINE_RESULT_WORDS, ResultPlace};
use crate::memory::{Lease, Place};
use crate::sync::{Arc, AtomicU64, Ordering};

const DONE: u64 = 1;
const FAILED: u64 = 2;
const ENDING: u64 = 3;
const IN_HEAP: u64 = 1 << 2;
const ATTACHED_SHIFT: u32 = 3;
const ATTACHED_MAX: u64 = (1 << 21) - 1;
const LEN_SHIFT: u32 = 24;
const LEN_MAX: u64 = (1 << 40) - 1;

/// The words of an entry, with its tag: the fewest and the most.
pub(super) const ENTRY_WORDS_MIN: usize = 2;
pub(crate) const ENTRY_WORDS_MAX: usize = 1 + INLINE_RESULT_WORDS;

/// The words of an entry for results whose archived type has so many bytes.
pub(crate) fn entry_words_for(bytes: usize) -> usize {
    (1 + bytes.div_ceil(8)).clamp(ENTRY_WORDS_MIN, ENTRY_WORDS_MAX)
}

/// The entries of one run, in whatever process.
#[derive(Debug)]
pub(super) struct Entries {
    lease: Arc<Lease>,
    count: u32,
    /// Of one entry.
    words: usize,
}

impl Entries {
    /// The bytes of a block for `count` entries.
    pub(super) fn bytes(count: u32, words: usize) -> u64 {
        u64::from(count) * words as u64 * 8
    }

    /// Takes over a block. `None`: it is too small.
    pub(super) fn over(lease: Lease, count: u32, words: usize) -> Option<Self> {
        let fits = lease.place().len >= Self::bytes(count, words);
        fits.then(|| Self { lease: Arc::new(lease), count, words })
    }

    pub(super) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// How many words of a result an entry holds.
    pub(super) fn inline_words(&self) -> usize {
        self.words - 1
    }

    fn cells(&self, item: u32) -> &[AtomicU64] {
        assert!(item < self.count);
        let start = self.lease.address().cast::<AtomicU64>();
        // SAFETY: `over` checked that the block holds `count` entries of `words` words.
        let start = unsafe { start.add(item as usize * self.words) };
        // SAFETY: in bounds as above, aligned since blocks are. The worker writes entries as
        // atomics alone; should it write otherwise, it does so from another process, and any bytes
        // are a value of an atomic. The lease keeps the mapping.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.words) }
    }

    /// Worker: says how an item ended. False: the place has numbers that no entry holds.
    #[must_use]
    pub(super) fn store(&self, item: u32, ending: Ending, place: &ResultPlace) -> bool {
        if place.attached > ATTACHED_MAX || place.len > LEN_MAX {
            return false;
        }
        let cells = self.cells(item);
        let mut tag = if ending == Ending::Done { DONE } else { FAILED };
        tag |= place.attached << ATTACHED_SHIFT | place.len << LEN_SHIFT;
        if place.heap != 0 {
            tag |= IN_HEAP;
            cells[1].store(place.offset, Ordering::Relaxed);
        } else {
            let words = place.inline_words();
            for (cell, word) in cells[1..].iter().zip(&place.inline[..words]) {
                cell.store(*word, Ordering::Relaxed);
            }
        }
        step!(worker "batch.placed");
        // PAIRS entry-stored.
        cells[0].store(tag, Ordering::Release);
        step!(worker "batch.stored");
        true
    }

    /// Tells whether the entry of an item is there.
    pub(super) fn is_stored(&self, item: u32) -> bool {
        self.cells(item)[0].load(Ordering::Relaxed) & ENDING != 0
    }

    /// Parent: how an item ended. A claim of the worker's, copied once.
    pub(super) fn read(&self, item: u32, heap: u64) -> Option<(Ending, ResultPlace)> {
        let cells = self.cells(item);
        // PAIRS entry-stored: the result is seen, and the rest of the entry.
        let tag = cells[0].load(Ordering::Acquire);
        let ending = match tag & ENDING {
            0 => return None,
            DONE => Ending::Done,
            _ => Ending::Failed,
        };
        let mut place = ResultPlace {
            len: tag >> LEN_SHIFT,
            attached: tag >> ATTACHED_SHIFT & ATTACHED_MAX,
            ..ResultPlace::default()
        };
        if tag & IN_HEAP != 0 {
            (place.heap, place.offset) = (heap, cells[1].load(Ordering::Relaxed));
        } else {
            let words = place.inline_words();
            if words > self.inline_words() {
                // No entry holds so much: nonsense, which is found out by its length.
                place.len = u64::MAX;
                return Some((ending, place));
            }
            for (word, cell) in place.inline.iter_mut().zip(&cells[1..=words]) {
                *word = cell.load(Ordering::Relaxed);
            }
        }
        Some((ending, place))
    }
}

/// Where the block of a run's entries lies, if the worker's word is true.
pub(super) fn entries_place(heap: u64, offset: u64, count: u32, words: usize) -> Place {
    Place { heap, offset, len: Entries::bytes(count, words) }
}
