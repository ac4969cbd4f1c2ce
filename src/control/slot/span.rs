//! The span of a batch: which of its items are claimed, where it ends, who wants to hear of each.
//!
//! A batch is one task of one slot. Its worker claims item after item in one word; the parent may
//! cut off what is not claimed yet by a change of the same word, and run it elsewhere.

use super::{Ending, OWNER, OWNER_SHIFT, Phase, Slot, ending_of, generation_of, phase_of, word_of};
use crate::sync::{AtomicU64, Ordering};

/// Bits 0..=27 the next item, 28..=55 the end, 63 the wish to hear of each item.
const ITEM_BITS: u32 = 28;
const ITEM: u64 = (1 << ITEM_BITS) - 1;
const EAGER: u64 = 1 << 63;

/// The most items of a batch.
pub(crate) const SPAN_MAX: u32 = 1 << 20;

/// How often the parent tries to cut a batch whose items are claimed meanwhile: they are short
/// then, and cutting is of no use.
const CUTS_TRIED: u32 = if cfg!(loom) { 3 } else { 64 };

/// The words of a slot that a batch uses while it runs. They lie where a result would: a batch has
/// none of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'s> {
    word: &'s AtomicU64,
    /// Where the entries lie in the heap of the worker, plus one; 0: nowhere yet.
    entries: &'s AtomicU64,
    elapsed_ns: &'s AtomicU64,
}

/// What a worker may do with a batch next.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemClaim {
    /// The item to run. `None`: none is left.
    pub(crate) item: Option<u32>,
    /// The parent waits for what was stored before: tell it.
    pub(crate) eager: bool,
}

impl Slot {
    pub(crate) fn span(&self) -> Span<'_> {
        let [word, entries, elapsed_ns, ..] = &self.inline_rest;
        Span { word, entries, elapsed_ns }
    }

    /// Parent: the seat whose worker runs the task, or has finished it.
    pub(crate) fn runner(&self, generation: u32) -> Option<u16> {
        let word = self.word.load(Ordering::Acquire);
        let runs = phase_of(word, generation) == Phase::Running;
        let finished = matches!(ending_of(word), Some(Ending::Done | Ending::Failed));
        (runs || finished && generation_of(word) == word_of(generation))
            .then_some(((word & OWNER) >> OWNER_SHIFT) as u16)
    }
}

impl Span<'_> {
    /// Parent, before the slot is published: `items` items, none claimed.
    pub(crate) fn arrange(&self, items: u32) {
        debug_assert!(items <= SPAN_MAX);
        self.entries.store(0, Ordering::Relaxed);
        self.elapsed_ns.store(0, Ordering::Relaxed);
        self.word.store(u64::from(items) << ITEM_BITS, Ordering::Relaxed);
    }

    /// Worker: says where the entries of the items will be, before the first claim.
    pub(crate) fn open(&self, offset: u64) {
        // PAIRS entries-open: whoever sees the place sees that all entries are empty.
        self.entries.store(offset + 1, Ordering::Release);
        step!(worker "batch.opened");
    }

    /// Worker: claims the next item. What it stored of earlier ones is told if the parent asks.
    pub(crate) fn claim(&self) -> ItemClaim {
        // PAIRS eager: either this sees the wish, or the parent sees what was stored before this.
        let before = self.word.fetch_add(1, Ordering::AcqRel);
        step!(worker "batch.claimed");
        let eager = before & EAGER != 0;
        if eager {
            self.word.fetch_and(!EAGER, Ordering::AcqRel);
        }
        let next = before & ITEM;
        ItemClaim { item: (next < end_of(before)).then_some(next as u32), eager }
    }

    /// Worker: how long the items have taken.
    pub(crate) fn note_elapsed(&self, ns: u64) {
        self.elapsed_ns.store(ns, Ordering::Relaxed);
    }

    /// Parent: where the entries lie.
    pub(crate) fn entries(&self) -> Option<u64> {
        // PAIRS entries-open.
        self.entries.load(Ordering::Acquire).checked_sub(1)
    }

    /// Parent: how long the items took, as the worker says.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns.load(Ordering::Relaxed)
    }

    /// Parent: how many items were claimed, as the worker says.
    pub(crate) fn claimed(&self) -> u32 {
        let word = self.word.load(Ordering::Acquire);
        (word & ITEM).min(end_of(word)) as u32
    }

    /// Parent: ends the batch before the first item that is not claimed. Returns that item; `None`:
    /// there is nothing to cut off. The caller has seen to it that the slot stays the batch's.
    pub(crate) fn cut(&self) -> Option<u32> {
        let mut word = self.word.load(Ordering::Acquire);
        for _ in 0..CUTS_TRIED {
            let next = word & ITEM;
            if next >= end_of(word) {
                return None;
            }
            let cut = word & !(ITEM << ITEM_BITS) | next << ITEM_BITS;
            match self.word.compare_exchange_weak(word, cut, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    step!(parent "batch.cut");
                    return Some(next as u32);
                }
                Err(seen) => word = seen,
            }
        }
        None
    }

    /// Parent: asks to be told of the next item that ends. It looks at the entries afterwards.
    pub(crate) fn hasten(&self) {
        // PAIRS eager.
        self.word.fetch_or(EAGER, Ordering::AcqRel);
        step!(parent "batch.hastened");
    }
}

fn end_of(word: u64) -> u64 {
    word >> ITEM_BITS & ITEM
}
