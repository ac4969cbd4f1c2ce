//! Batches at the desk: posting them, looking into those that run, cutting off what has not begun.

use super::{Batch, Desk, Drafted, Heavy};
use crate::archive::Blocks;
use crate::control::{Phase, Slot};
use crate::memory::{Lease, RemoteHeap};
use crate::sync::{Arc, lock};

impl Desk {
    /// Hands a batch to the workers. `attached` is kept until the task has ended. Returns its slot
    /// and generation.
    pub(crate) fn post_batch(
        &self,
        draft: Drafted<'_>,
        code: u64,
        order: &[u64],
        batch: &Arc<Batch>,
        attached: Vec<Arc<Lease>>,
    ) -> (u32, u32) {
        let mut record = lock(&self.records[draft.index() as usize]);
        record.mark().held = Some(Box::new(Blocks { own: None, attached }));
        record.mark().batch = Some(Arc::clone(batch));
        drop(record);
        let posting = draft.of(Heavy);
        posting.arrange(batch.count());
        self.publish(posting, code, (0, size_of_val(order) as u64), order)
    }

    /// Finds the entries of a batch that runs, or has run, so that they can be read.
    pub(crate) fn open_batch(&self, index: u32, generation: u32, batch: &Batch) {
        if batch.is_open() {
            return;
        }
        // With the lock, nobody collects the task, and nobody buries its worker's heap.
        let _record = lock(&self.records[index as usize]);
        let slot = self.slot(index);
        if let Some(seat) = slot.runner(generation)
            && let Some(offset) = slot.span().entries()
            && let Some(heap) = self.heap_of(seat)
        {
            batch.open(&heap, offset);
        }
    }

    /// Asks the worker of a batch that runs to tell of its next item. The caller looks at the
    /// entries afterwards.
    pub(crate) fn hasten(&self, index: u32, generation: u32) {
        let _record = lock(&self.records[index as usize]);
        let slot = self.slot(index);
        if slot.phase(generation) == Phase::Running {
            slot.span().hasten();
        }
    }

    /// Asks to be told when a queued batch begins. False: it has begun.
    pub(crate) fn mark_start(&self, index: u32, generation: u32) -> bool {
        let slot = self.slot(index);
        slot.time_mark(generation).is_ok() && slot.phase(generation) == Phase::Queued
    }

    /// Ends a batch that runs before its first item that is not claimed. Returns how many items it
    /// has then; `None`: there was nothing to cut off.
    pub(crate) fn cut(&self, index: u32, generation: u32) -> Option<u32> {
        let _record = lock(&self.records[index as usize]);
        let slot = self.slot(index);
        (slot.phase(generation) == Phase::Running).then(|| slot.span().cut()).flatten()
    }

    /// Takes a batch back as far as nobody has begun it, and leaves the rest to itself.
    pub(crate) fn abandon(&self, index: u32, generation: u32) {
        if self.cancel_queued(index, generation) {
            drop(self.try_outcome(index, generation));
            return;
        }
        let _ = self.cut(index, generation);
        self.detach(index, generation);
    }

    fn slot(&self, index: u32) -> &Slot {
        &self.control.slots()[index as usize]
    }

    /// The heap of a seat's present worker.
    pub(super) fn heap_of(&self, seat: u16) -> Option<Arc<RemoteHeap>> {
        self.heaps.get(usize::from(seat)).and_then(|heap| lock(heap).clone())
    }
}
