//! A slot on the way to its task.

use super::{Desk, Weight};
use crate::control::{Draft, Slot};

/// A slot that this thread fills. Dropped unposted, by an error or by a panic of the user's code,
/// it goes to whoever waits for one.
///
/// Two words, which go from hand to hand in registers. The slot itself is not touched before the
/// task is written into it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Drafted<'d> {
    desk: &'d Desk,
    /// The slot, and in the upper half the generation of its task.
    key: u64,
}

/// A slot whose task is written now.
#[derive(Debug)]
pub(super) struct Posting<'d> {
    // Dropped first: the slot is free when the ledger says so.
    draft: Draft<'d>,
    drafted: Drafted<'d>,
    weight: Weight,
}

impl Desk {
    /// Takes the slot if the ledger says that it is idle.
    #[inline]
    pub(super) fn draft_at(&self, index: usize) -> Option<Drafted<'_>> {
        let generation = self.ledger.take(index)?;
        Some(Drafted { desk: self, key: u64::from(generation) << 32 | index as u64 })
    }
}

impl<'d> Drafted<'d> {
    pub(crate) fn index(&self) -> u32 {
        self.key as u32
    }

    fn generation(&self) -> u32 {
        (self.key >> 32) as u32
    }

    fn slot(&self) -> &'d Slot {
        &self.desk.control.slots()[self.index() as usize]
    }

    /// Begins to write the task, and says whether its end will give memory back.
    #[inline]
    pub(super) fn of(self, weight: Weight) -> Posting<'d> {
        Posting { draft: self.slot().draft_as(self.generation()), drafted: self, weight }
    }
}

impl Drop for Drafted<'_> {
    fn drop(&mut self) {
        self.desk.ledger.put_back(self.index() as usize, self.generation());
        self.desk.control.gate().finished();
    }
}

impl Posting<'_> {
    /// Makes the task a batch of so many items.
    pub(super) fn arrange(&self, items: u32) {
        self.draft.arrange(items);
    }

    /// Notes when the task is queued.
    pub(super) fn stamp(&self, queued_at_ns: u64) {
        self.draft.stamp(queued_at_ns);
    }

    /// Writes the task and makes it claimable. Returns its slot and generation.
    #[inline]
    pub(super) fn publish(
        self,
        code: u64,
        (offset, len): (u64, u64),
        inline: &[u64],
    ) -> (u32, u32) {
        let Self { draft, drafted, weight } = self;
        let (index, generation) = (drafted.index(), drafted.generation());
        let desk = drafted.desk;
        std::mem::forget(drafted);
        desk.ledger.post(index as usize, generation, weight);
        draft.publish(code, offset, len, inline);
        (index, generation)
    }
}
