//! How long tasks wait and run, where the executor measures it.

use super::serve::Worker;
use crate::control::Slot;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::now_ns;

/// A task's time in this worker, as it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shift {
    queued_ns: u64,
    began_at_ns: u64,
}

/// The same, when it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worked {
    queued_ns: u64,
    ran_ns: u64,
}

impl Shift {
    pub(super) fn end(self) -> Worked {
        let ran_ns = now_ns().saturating_sub(self.began_at_ns);
        Worked { queued_ns: self.queued_ns, ran_ns }
    }
}

impl Worker {
    /// The worker has just claimed the slot. `None`: nobody wants to know, and no clock is read.
    pub(super) fn begin_shift(&self, slot: &Slot) -> Option<Shift> {
        self.is_timed.then(|| {
            let began_at_ns = now_ns();
            // A stamp that was overwritten may lie ahead.
            let queued_ns = began_at_ns.saturating_sub(slot.queued_at_ns());
            Shift { queued_ns, began_at_ns }
        })
    }

    /// Adds what a task took to the sums of the seat.
    pub(super) fn count_time(&self, worked: Worked) {
        let seat = self.seat();
        self.add(&seat.queued_ns, worked.queued_ns);
        self.add(&seat.ran_ns, worked.ran_ns);
    }

    /// Adds to a sum of the seat.
    pub(super) fn add(&self, sum: &AtomicU64, n: u64) {
        if self.tie.is_shared() {
            sum.fetch_add(n, Ordering::Relaxed);
        } else {
            // Nobody else writes it, so this is cheaper than an atomic addition.
            sum.store(sum.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }
}
