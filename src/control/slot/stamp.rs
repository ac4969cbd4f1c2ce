//! When a task was queued, where somebody wants to know how long tasks wait.

use super::Slot;
use crate::sync::Ordering;

impl Slot {
    /// Parent, while the slot is a draft or its worker is dead: notes when the task is queued.
    ///
    /// It lies where the result's offset will, if there is one: nobody asks for that before the
    /// worker has written it.
    pub(crate) fn stamp(&self, queued_at_ns: u64) {
        self.result_offset.store(queued_at_ns, Ordering::Relaxed);
    }

    /// Worker, after the claim: when the task was queued. Nonsense if another worker went wild.
    pub(crate) fn queued_at_ns(&self) -> u64 {
        // PAIRS task-visible: the claim has seen what came before the slot was ready.
        self.result_offset.load(Ordering::Relaxed)
    }
}
