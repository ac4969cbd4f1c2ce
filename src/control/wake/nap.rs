//! Naps: sleeping for a moment while others do the work, without being called for it.
//!
//! Who pushes short tasks one after the other finds the workers at a task nearly every time, and
//! would wake those that sleep for nothing. So they nap. To producers who naps is at work, as with
//! a task of that length: no push looks for it, and it looks at the ring before it sleeps. That is
//! why nothing here needs an order: a bit that is wrong costs the time of a nap.

use std::time::Duration;

use super::Wake;
use crate::sync::{Ordering, fence};
use crate::sys::futex_wait;

/// How a nap ended.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nap {
    /// There was none: all others nap already, or there is something to do.
    None,
    /// Somebody has called this worker.
    Called,
    /// The time has passed.
    Over,
}

impl Wake<'_> {
    /// Worker: begins to take tasks.
    pub(crate) fn enter(&self, seat: usize) {
        self.beds[seat / 64].serving.fetch_or(1 << (seat % 64), Ordering::Relaxed);
    }

    /// Worker: takes no more tasks, and leaves those that are queued to the others.
    pub(crate) fn leave(&self, seat: usize) {
        self.beds[seat / 64].serving.fetch_and(!(1 << (seat % 64)), Ordering::Relaxed);
        self.end_nap();
    }

    /// Worker: sleeps for a time, or until it is called. That time is for one who naps alone;
    /// among more of them it is longer, so that one of them wakes up so often.
    ///
    /// `has_orders` tells whether there is something to do other than tasks.
    pub(crate) fn nap(
        &self,
        seat: usize,
        time: Duration,
        has_orders: impl FnOnce() -> bool,
    ) -> Nap {
        let (bed, bit) = (&self.beds[seat / 64], 1 << (seat % 64));
        let park = &self.seats[seat].pillow.park;
        park.store(0, Ordering::Relaxed);
        bed.napping.fetch_or(bit, Ordering::AcqRel);
        // Of two who begin at once and are all there are, at least one sees the other. And who
        // closes the executor sees `park` armed, or has closed it by now.
        fence(Ordering::SeqCst);
        let (mut nappers, mut is_anyone_left) = (0, false);
        for bed in self.beds {
            let napping = bed.napping.load(Ordering::Relaxed);
            nappers += napping.count_ones();
            is_anyone_left |= bed.serving.load(Ordering::Relaxed) & !napping != 0;
        }
        let naps = is_anyone_left && !has_orders();
        if naps {
            futex_wait(park, 0, Some(time * nappers));
        }
        let was_called = bed.napping.fetch_and(!bit, Ordering::AcqRel) & bit == 0;
        match (naps, was_called) {
            (false, _) => Nap::None,
            (true, true) => Nap::Called,
            (true, false) => Nap::Over,
        }
    }

    /// Calls one who naps, if anyone does: more is queued than the others can do, or this thread
    /// is going to sleep, and a core is free.
    pub(crate) fn end_nap(&self) {
        for (word, bed) in self.beds.iter().enumerate() {
            let napping = bed.napping.load(Ordering::Relaxed);
            let bit = napping & napping.wrapping_neg();
            let seat = word * 64 + bit.trailing_zeros() as usize;
            // Only a worker gone wild sets a bit without a seat.
            if bit != 0
                && bed.napping.fetch_and(!bit, Ordering::AcqRel) & bit != 0
                && seat < self.seats.len()
            {
                self.shake(seat);
                return;
            }
        }
    }
}
