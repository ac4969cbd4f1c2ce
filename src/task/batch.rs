//! Batches: many items of a map as one task of one slot.
//!
//! The constants lie in one block of the argument heap, encoded once for the whole map; the items
//! of a batch in another, with a table of their positions. `run` is the worker's side, which stores
//! the result of each item as soon as it has ended; this is the parent's.

mod arguments;
mod entries;
mod run;

pub use arguments::Constants;
pub(crate) use entries::{ENTRY_WORDS_MAX, entry_words_for};
use entries::{Entries, entries_place};
pub(crate) use run::{Run, batch_code_of};

use super::outcome::Outcome;
use crate::control::Span;
use crate::memory::{Lease, Place, RemoteHeap};
use crate::sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering, lock};

/// Some items of a block, as one task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) constants: Place,
    pub(crate) items: Place,
    /// How many items the block holds.
    pub(crate) total: u32,
    /// The first that the task runs, and how many it runs at most.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The words of an entry.
    pub(crate) entry_words: usize,
}

/// The words of an order.
pub(crate) const ORDER_WORDS: usize = 8;

impl Order {
    pub(crate) fn to_words(self) -> [u64; ORDER_WORDS] {
        let Self { constants, items, total, first, count, entry_words } = self;
        [
            constants.heap,
            constants.offset,
            constants.len,
            items.heap,
            items.offset,
            items.len,
            u64::from(first) | u64::from(total) << 32,
            entry_words as u64 | u64::from(count) << 32,
        ]
    }

    fn from_words(words: [u64; ORDER_WORDS]) -> Self {
        let place =
            |at: usize| Place { heap: words[at], offset: words[at + 1], len: words[at + 2] };
        Self {
            constants: place(0),
            items: place(3),
            total: (words[6] >> 32) as u32,
            first: words[6] as u32,
            count: (words[7] >> 32) as u32,
            entry_words: words[7] as u32 as usize,
        }
    }
}

/// What the parent knows of a batch under way: shared by who waits for it and the slot's record.
///
/// Results that nobody has read are given back with the last of both, when no worker writes any
/// more: the record gives its part up when the task has ended.
#[derive(Debug)]
pub(crate) struct Batch {
    count: u32,
    entry_words: usize,
    opened: OnceLock<Opened>,
    ended: OnceLock<Ended>,
    /// The entries before this one were read.
    read: AtomicU32,
    /// The next outcome, if it was looked at before its time.
    peeked: OnceLock<Mutex<Option<Outcome>>>,
}

#[derive(Debug)]
struct Opened {
    heap: Arc<RemoteHeap>,
    entries: Entries,
}

/// What the slot said of a batch when its task had ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// How many items were claimed.
    pub(crate) claimed: u32,
    /// How long the worker took for them.
    pub(crate) elapsed_ns: u64,
}

impl Batch {
    pub(crate) fn new(count: u32, entry_words: usize) -> Arc<Self> {
        Arc::new(Self {
            count,
            entry_words,
            opened: OnceLock::new(),
            ended: OnceLock::new(),
            read: AtomicU32::new(0),
            peeked: OnceLock::new(),
        })
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Takes the entries over from the worker that runs the batch. The caller holds the record's
    /// lock, so that nobody does so twice.
    pub(super) fn open(&self, heap: &Arc<RemoteHeap>, offset: u64) {
        if self.is_open() {
            return;
        }
        let place = entries_place(heap.id(), offset, self.count, self.entry_words);
        let entries = Lease::remote(heap, place, Vec::new())
            .and_then(|lease| Entries::over(lease, self.count, self.entry_words));
        if let Some(entries) = entries {
            let _ = self.opened.set(Opened { heap: Arc::clone(heap), entries });
        }
    }

    /// The task has ended. The caller holds the record's lock, and the slot.
    pub(super) fn close(&self, span: Span<'_>, heap: Option<&Arc<RemoteHeap>>) {
        if let (Some(heap), Some(offset)) = (heap, span.entries()) {
            self.open(heap, offset);
        }
        let (claimed, elapsed_ns) = (span.claimed(), span.elapsed_ns());
        let _ = self.ended.set(Ended { claimed, elapsed_ns });
    }

    /// How the task ended, once it was collected.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.get().copied()
    }

    /// How many items were read: all up to the first that has not ended.
    pub(crate) fn read_count(&self) -> u32 {
        self.read.load(Ordering::Relaxed)
    }

    /// Tells whether the next item has ended.
    pub(crate) fn is_ready(&self) -> bool {
        let read = self.read_count();
        read < self.count && self.opened.get().is_some_and(|o| o.entries.is_stored(read))
    }

    /// Takes the next item's outcome. `None`: it has not ended.
    pub(crate) fn read_next(&self) -> Option<Outcome> {
        let peeked = self.peeked.get().and_then(|peeked| lock(peeked).take());
        let outcome = peeked.or_else(|| self.read_entry())?;
        self.read.fetch_add(1, Ordering::Relaxed);
        Some(outcome)
    }

    /// The bytes that the next item's outcome holds, without taking it. Once.
    pub(crate) fn peek_bytes(&self) -> Option<u64> {
        if self.peeked.get().is_some() {
            return None;
        }
        let outcome = self.read_entry()?;
        let bytes = outcome.held_bytes();
        let _ = self.peeked.set(Mutex::new(Some(outcome)));
        Some(bytes)
    }

    fn read_entry(&self) -> Option<Outcome> {
        let read = self.read_count();
        let opened = self.opened.get().filter(|_| read < self.count)?;
        let (ending, place) = opened.entries.read(read, opened.heap.id())?;
        Some(Outcome::read(ending, &place, Some(&opened.heap), None))
    }

    /// The first item, below `count`, that has not ended.
    pub(crate) fn stored_until(&self, count: u32) -> u32 {
        let read = self.read_count();
        let Some(opened) = self.opened.get() else { return read };
        let count = count.min(self.count);
        (read..count).find(|&item| !opened.entries.is_stored(item)).unwrap_or(count.max(read))
    }

    /// Passes over an item that has no entry and will get none.
    pub(crate) fn skip(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // A fork has copies of locks that may have been held, and the results are not its.
        if self.opened.get().is_some_and(|opened| !opened.heap.is_here()) {
            return;
        }
        while self.read_count() < self.count {
            match self.read_next() {
                Some(outcome) => drop(outcome),
                None => self.skip(),
            }
        }
    }
}
