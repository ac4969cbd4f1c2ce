//! What the parent knows of each slot by itself, whatever workers write into the table.
//!
//! An entry says whether the slot is idle, being filled, or holds a task that nobody has collected,
//! of which generation that is, and whether memory is given back when it has ended. Who may fill a
//! slot is decided here, and so a table full of nonsense is a full table for nobody.

use crate::control::{Draft, Slot};
use crate::sync::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const DRAFTED: u64 = 1;
const POSTED: u64 = 2;
const STATE: u64 = 3;
const HEAVY: u64 = 1 << 2;
const USED: u64 = 1 << 3;
const GENERATION_SHIFT: u32 = 32;

/// An entry for each slot: bits 0..=1 the state, 2 the weight, 3 set once the slot was used,
/// 32..=63 the generation.
#[derive(Debug)]
pub(super) struct Ledger(Box<[AtomicU64]>);

/// A slot that this thread fills. Dropped unpublished, it is idle again.
#[derive(Debug)]
pub(crate) struct Drafted<'d> {
    // Dropped first: the slot is free when its entry says so.
    draft: Draft<'d>,
    entry: Entry<'d>,
}

/// A slot whose task is about to be posted.
#[derive(Debug)]
pub(super) struct Posting<'d> {
    drafted: Drafted<'d>,
    weight: Weight,
}

/// Whether the end of a task gives memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Light,
    Heavy,
}

#[derive(Debug)]
struct Entry<'d> {
    word: &'d AtomicU64,
    generation: u32,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // PAIRS slot-free.
        self.word.store(word_of(self.generation, IDLE), Ordering::Release);
    }
}

impl<'d> Drafted<'d> {
    /// Makes the task a batch of so many items.
    pub(super) fn arrange(&self, items: u32) {
        self.draft.arrange(items);
    }

    /// Says whether the task's end will give memory back.
    pub(super) fn of(self, weight: Weight) -> Posting<'d> {
        Posting { drafted: self, weight }
    }
}

impl Posting<'_> {
    /// Notes when the task is queued.
    pub(super) fn stamp(&self, queued_at_ns: u64) {
        self.drafted.draft.stamp(queued_at_ns);
    }

    /// Writes the task and makes it claimable. Returns its generation.
    pub(super) fn publish(self, code: u64, (offset, len): (u64, u64), inline: &[u64]) -> u32 {
        let Drafted { draft, entry } = self.drafted;
        let generation = entry.generation;
        let state = if self.weight == Weight::Heavy { POSTED | HEAVY } else { POSTED };
        // Before the slot is ready: from then on others may collect it and say so here.
        entry.word.store(word_of(generation, state), Ordering::Relaxed);
        std::mem::forget(entry);
        draft.publish(code, offset, len, inline);
        generation
    }
}

impl Ledger {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(IDLE)).collect())
    }

    /// Takes a slot that is idle.
    pub(super) fn draft<'d>(&'d self, slots: &'d [Slot], index: usize) -> Option<Drafted<'d>> {
        let word = &self.0[index];
        let seen = word.load(Ordering::Relaxed);
        if seen & STATE != IDLE {
            return None;
        }
        // PAIRS slot-free: what the last collector read was read before this task writes.
        word.compare_exchange(seen, seen | DRAFTED, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let generation = (seen >> GENERATION_SHIFT) as u32;
        let entry = Entry { word, generation };
        Some(Drafted { draft: slots[index].draft_as(generation), entry })
    }

    /// The generation of the task that was posted to the slot and is not collected yet.
    pub(super) fn posted(&self, index: usize) -> Option<u32> {
        let word = self.0.get(index)?.load(Ordering::Acquire);
        (word & STATE == POSTED).then_some((word >> GENERATION_SHIFT) as u32)
    }

    /// Tells whether a slot was ever taken. Where not, nobody has read an outcome under its
    /// record's lock.
    pub(super) fn is_used(&self, index: usize) -> bool {
        self.0[index].load(Ordering::Acquire) != IDLE
    }

    /// Whether memory is given back when the task has ended that was posted to the slot last.
    pub(super) fn weight(&self, index: usize) -> Weight {
        let word = self.0[index].load(Ordering::Relaxed);
        if word & HEAVY == 0 { Weight::Light } else { Weight::Heavy }
    }

    /// The task of this generation was collected, its slot is free. The caller holds the record's
    /// lock, since before the slot was taken. A swap: `Gate::finished_by_swap` may follow.
    pub(super) fn collected(&self, index: usize, generation: u32) {
        // PAIRS slot-free.
        self.0[index].swap(word_of(generation.wrapping_add(1), IDLE), Ordering::AcqRel);
    }
}

fn word_of(generation: u32, state: u64) -> u64 {
    u64::from(generation) << GENERATION_SHIFT | USED | state
}
