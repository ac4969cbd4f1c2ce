//! Stretches: cells of a line that one worker pops, and others leave alone while there are more.
//!
//! Workers that pop side by side at the front hand the line of its cells round, once for each id,
//! and none of them knows what it will have next. Who has a stretch has the line, and can have the
//! tasks behind it fetched in time.
//!
//! To have one is a preference and nothing else. Its ids are in the ring until they are popped one
//! by one, for whoever looks at the front. So nobody has to know who has which, a death leaves ids
//! in the ring and nothing to be put right, and an id waits for a slow owner only as long as all
//! others find stretches of their own, not far from it.

use std::ops::Range;

use super::{Cell, LINE, Ring};
use crate::sync::Ordering;

/// Where one who pops again and again is in the ring.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// All cells before it were popped.
    pub(super) near: u64,
    /// What is left of its stretch.
    own: Range<u64>,
}

impl Reader {
    /// One that has come so far, or believes so: any position will do.
    pub(crate) fn at(near: u64) -> Self {
        Self { near, own: 0..0 }
    }

    /// As far as it has come: at the front, after a pop by [`Ring::pop_near`] that has found
    /// nothing.
    pub(crate) fn front(&self) -> u64 {
        self.near
    }

    /// Tells whether something is left of a stretch.
    pub(crate) fn has_stretch(&self) -> bool {
        !self.own.is_empty()
    }

    /// Forgets how far it has come.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }
}

impl Ring<'_> {
    /// Pops the next id of the reader's stretch, if it has one.
    pub(crate) fn pop_own(&self, reader: &mut Reader) -> Option<u32> {
        for position in reader.own.by_ref() {
            let (cell, lap) = self.at(position);
            // PAIRS id-visible.
            let seen = Cell(cell.load(Ordering::Acquire));
            // Else somebody has popped it who found nothing else, or the ring was put in order.
            if seen.lap() == lap
                && let Some(id) = seen.id()
                && self.take(position, seen)
            {
                return Some(id);
            }
        }
        None
    }

    /// The id that the reader will pop next but so many from its stretch, if nobody else does.
    pub(crate) fn peek_own(&self, reader: &Reader, ahead: u64) -> Option<u32> {
        let position = reader.own.start.saturating_add(ahead);
        if position >= reader.own.end {
            return None;
        }
        self.id_at(position)
    }

    /// Gives the reader a stretch, unless few ids are queued, or some are left that were pushed
    /// more than `ahead_max` stretches before it: then these are to be popped first.
    pub(crate) fn take_stretch(&self, reader: &mut Reader, ahead_max: u64) -> bool {
        let given = self.front.given.load(Ordering::Relaxed);
        let start = given.max(self.head()).saturating_add(LINE - 1) & !(LINE - 1);
        let end = start.saturating_add(LINE);
        if self.id_at(end - 1).is_none() || !self.is_near_front(start, ahead_max) {
            return false;
        }
        // A hint: where two are given the same, each pops what the other has not.
        let taken = &self.front.given;
        let change = taken.compare_exchange(given, end, Ordering::Relaxed, Ordering::Relaxed);
        if change.is_ok() {
            step!(worker "ring.stretch");
            reader.own = start..end;
        }
        change.is_ok()
    }

    /// Tells whether all that lies more than so many stretches before a position was popped.
    fn is_near_front(&self, position: u64, ahead_max: u64) -> bool {
        // A cell that is left alone until the tail comes round makes the ring full; half of all may
        // hold ids.
        let ahead_max = ahead_max.saturating_mul(LINE).min(self.cells.len() as u64 / 4);
        let is_near = |front: u64| position.saturating_sub(front) <= ahead_max;
        let head = self.head();
        if is_near(head) {
            return true;
        }
        // Who pops stretches does not move `head`.
        let front = self.front_from(head, &mut self.steps_max());
        front.is_some_and(|(front, _)| {
            self.pass(front);
            is_near(front)
        })
    }
}
