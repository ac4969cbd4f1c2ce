//! Where a task's result lies, as its worker says.

use std::iter;

use super::{DETACHED, DONE, STATE, Slot, WAITED, generation_of, word_of};
use crate::control::INLINE_RESULT_WORDS;
use crate::sync::{AtomicU64, Ordering};

/// Where a result lies: in a worker's heap, or (heap 0) in these words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResultPlace {
    pub(crate) heap: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// How many blocks belong to the result besides its own; they are listed behind it.
    pub(crate) attached: u64,
    pub(crate) inline: [u64; INLINE_RESULT_WORDS],
}

/// What a task has left whose result is a word: its first `len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) word: u64,
    pub(crate) len: u8,
    pub(crate) is_detached: bool,
    pub(crate) is_waited: bool,
}

impl ResultPlace {
    /// How many words come with the slot, or an entry, the list of blocks included. A claim, which
    /// may be more than there are.
    pub(crate) fn inline_words(&self) -> usize {
        const PLACE_WORDS: u64 = 3;
        if self.heap != 0 {
            return 0;
        }
        self.len.div_ceil(8).saturating_add(self.attached.saturating_mul(PLACE_WORDS)) as usize
    }

    /// Tells whether memory belongs to the result besides the slot.
    pub(crate) fn holds_memory(&self) -> bool {
        self.heap != 0 || self.attached != 0
    }
}

impl Slot {
    /// Parent: what a task has left that has ended well, if that is a word.
    #[inline]
    pub(crate) fn plain(&self, generation: u32) -> Option<Plain> {
        // PAIRS result-visible.
        let word = self.word.load(Ordering::Acquire);
        let len = self.result_len.load(Ordering::Relaxed);
        let is_done = generation_of(word) == word_of(generation) && word & STATE == DONE;
        let holds_memory = self.result_heap.load(Ordering::Relaxed) != 0
            || self.result_attached.load(Ordering::Relaxed) != 0;
        if !is_done || holds_memory || len > size_of::<u64>() as u64 {
            return None;
        }
        let first = || self.inline_first.load(Ordering::Relaxed);
        Some(Plain {
            word: if len == 0 { 0 } else { first() },
            len: len as u8,
            is_detached: word & DETACHED != 0,
            is_waited: word & WAITED != 0,
        })
    }

    /// The words of a result that lies here.
    fn inline_result(&self) -> impl Iterator<Item = &AtomicU64> {
        iter::once(&self.inline_first).chain(&self.inline_rest)
    }

    pub(super) fn write_result(&self, place: &ResultPlace) {
        self.result_heap.store(place.heap, Ordering::Relaxed);
        step!(worker "result.heap");
        if place.heap != 0 {
            self.result_offset.store(place.offset, Ordering::Relaxed);
        }
        step!(worker "result.offset");
        self.result_len.store(place.len, Ordering::Relaxed);
        step!(worker "result.len");
        self.result_attached.store(place.attached, Ordering::Relaxed);
        step!(worker "result.attached");
        let words = place.inline.iter().take(place.inline_words());
        for (cell, word) in self.inline_result().zip(words) {
            cell.store(*word, Ordering::Relaxed);
            step!(worker "result.word");
        }
    }

    pub(super) fn read_result(&self) -> ResultPlace {
        let mut place = ResultPlace {
            heap: self.result_heap.load(Ordering::Relaxed),
            offset: self.result_offset.load(Ordering::Relaxed),
            len: self.result_len.load(Ordering::Relaxed),
            attached: self.result_attached.load(Ordering::Relaxed),
            inline: [0; INLINE_RESULT_WORDS],
        };
        let words = place.inline_words();
        for (word, cell) in place.inline.iter_mut().take(words).zip(self.inline_result()) {
            *word = cell.load(Ordering::Relaxed);
        }
        place
    }
}
