//! A bounded ring of task ids, many producers and many consumers, that no death can wedge.
//!
//! Each cell is one word that tells lap, fullness and id, so a push or a pop is one
//! compare-and-swap on the cell. `head` and `tail` are hints: who finds one behind the cells walks
//! on from there. The idea of a lap in each cell is D. Vyukov's bounded MPMC queue; there the
//! position is claimed first and the cell filled later, and a death in between blocks everyone.
//! Here nothing is in between.

use crossbeam_utils::Backoff;

use crate::sync::{AtomicU64, Ordering};

/// A cell: bits 0..=30 the id, bit 31 set when full, bits 32..=63 the lap.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell(u64);

impl Cell {
    const FULL: u64 = 1 << 31;

    fn empty(lap: u32) -> Self {
        Self(u64::from(lap) << 32)
    }

    fn full(lap: u32, id: u32) -> Self {
        Self(u64::from(lap) << 32 | Self::FULL | u64::from(id))
    }

    fn lap(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn id(self) -> Option<u32> {
        (self.0 & Self::FULL != 0).then_some((self.0 & (Self::FULL - 1)) as u32)
    }
}

/// The ring takes no id: it is full, or what lies in it was not written by this code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Steps of one push or pop beyond those that walk the cells: each is lost to somebody else's push
/// or pop. Who has lost so many takes the ring for garbled, which costs time and nothing else.
const LOST_STEPS_MAX: usize = 4096;

/// How many ids are popped for each move of `head`: those of a cache line. All who pop would
/// otherwise hand its line round. A model has fewer cells than that.
const HEAD_STRIDE: u64 = if cfg!(loom) { 2 } else { 8 };

/// The ring, over cells that lie elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring<'c> {
    cells: &'c [AtomicU64],
    head: &'c AtomicU64,
    tail: &'c AtomicU64,
}

impl<'c> Ring<'c> {
    /// `cells.len()` must be a power of two.
    pub(crate) fn over(cells: &'c [AtomicU64], head: &'c AtomicU64, tail: &'c AtomicU64) -> Self {
        assert!(cells.len().is_power_of_two());
        Self { cells, head, tail }
    }

    /// Empties all cells. Nobody else may use the ring meanwhile.
    pub(crate) fn initialize(&self) {
        for cell in self.cells {
            cell.store(Cell::empty(0).0, Ordering::Relaxed);
        }
    }

    /// Empties all cells while others push and pop: ids are lost, and the ring is in order again.
    ///
    /// One thread at a time. Who pushed meanwhile and lost its id had queued its task before, and
    /// the caller sees that: it pushes all that is queued once more.
    pub(crate) fn reset(&self) {
        let shift = self.cells.len().trailing_zeros();
        // Laps ahead, so that nobody takes a cell or a hint for one that he has seen before.
        let lap = ((self.tail.load(Ordering::Relaxed) >> shift) as u32).wrapping_add(3);
        for cell in self.cells {
            // PAIRS id-visible: a swap reads the id that it throws away.
            cell.swap(Cell::empty(lap).0, Ordering::AcqRel);
        }
        step!(parent "ring.reset.cells");
        let start = u64::from(lap) << shift;
        self.tail.store(start, Ordering::Release);
        step!(parent "ring.reset.tail");
        self.head.store(start, Ordering::Release);
        step!(parent "ring.reset.head");
    }

    /// About how many ids were taken out so far. It jumps when the ring is put in order.
    pub(crate) fn popped(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// About how many ids are in the ring.
    pub(crate) fn backlog(&self) -> u64 {
        let front = self.front(self.head.load(Ordering::Acquire), &mut self.steps_max());
        // A hint: it may be behind, and a wild worker may have written it.
        let tail = self.tail.load(Ordering::Relaxed);
        front.map_or(0, |(head, _)| tail.saturating_sub(head)).min(self.cells.len() as u64)
    }

    /// How many ids the ring can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Adds `id` (below 2^31) at the end.
    pub(crate) fn push(&self, id: u32) -> Result<(), Full> {
        debug_assert!(u64::from(id) < Cell::FULL);
        let backoff = Backoff::new();
        for _ in 0..self.steps_max() {
            // PAIRS hint: a cell is seen at least as new as the hint that leads to it.
            let position = self.tail.load(Ordering::Acquire);
            let (cell, lap) = self.at(position);
            let seen = Cell(cell.load(Ordering::Acquire));
            if seen == Cell::empty(lap) {
                // { lap, empty } -> { lap, full, id }
                // PAIRS id-visible: the pop's Acquire sees what was written before this push.
                let full = Cell::full(lap, id).0;
                if cell.compare_exchange(seen.0, full, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    step!(parent "ring.push.cell");
                    self.advance(self.tail, position);
                    step!(parent "ring.push.tail");
                    return Ok(());
                }
                backoff.spin();
            } else if seen.lap() == lap {
                // { lap, full }: someone pushed here and did not move the hint yet.
                self.advance(self.tail, position);
            } else if seen == Cell::empty(lap.wrapping_add(1)) {
                // Pushed and popped already, the hint is far behind.
                self.advance(self.tail, position);
            } else if is_still(self.tail, position) {
                // { lap - 1, full }: not popped since the last time round. Any other cell under a
                // hint that stands still is garbled: one of a later lap was seen after the hint
                // had moved on, one of an earlier lap not before the hint had come here.
                return Err(Full);
            }
        }
        Err(Full)
    }

    /// Takes the id at the front. None in a garbled ring, too: the parent puts it in order.
    pub(crate) fn pop(&self) -> Option<u32> {
        self.pop_near(&mut self.head.load(Ordering::Acquire))
    }

    /// As [`Ring::pop`], by who remembers how far it has come: `near` is a position, whichever. Who
    /// pops again and again shares no line with others that way but those of the cells.
    pub(crate) fn pop_near(&self, near: &mut u64) -> Option<u32> {
        let backoff = Backoff::new();
        let mut steps = self.steps_max();
        loop {
            let (position, seen) = self.front(*near, &mut steps)?;
            *near = position;
            let id = seen.id()?;
            // { lap, full, id } -> { lap + 1, empty }
            let empty = Cell::empty(seen.lap().wrapping_add(1)).0;
            let (cell, _) = self.at(position);
            if cell.compare_exchange(seen.0, empty, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                step!(both "ring.pop.cell");
                *near = position.wrapping_add(1);
                if near.is_multiple_of(HEAD_STRIDE) {
                    // PAIRS hint.
                    self.head.fetch_max(*near, Ordering::Release);
                    step!(both "ring.pop.head");
                }
                return Some(id);
            }
            backoff.spin();
        }
    }

    /// Tells whether a pop would find nothing now.
    pub(crate) fn is_empty(&self) -> bool {
        let front = self.front(self.head.load(Ordering::Acquire), &mut self.steps_max());
        front.is_none_or(|(_, seen)| seen.id().is_none())
    }

    /// The first cell from a position on that was not popped in that position's lap, and what lies
    /// there: an id, or nothing, there and anywhere behind. `None`: the ring is garbled.
    fn front(&self, mut position: u64, steps: &mut usize) -> Option<(u64, Cell)> {
        while let Some(left) = steps.checked_sub(1) {
            *steps = left;
            let (cell, lap) = self.at(position);
            // PAIRS id-visible.
            let seen = Cell(cell.load(Ordering::Acquire));
            if seen.lap() == lap {
                return Some((position, seen));
            }
            // PAIRS hint: an older cell would be taken for one that was popped, and passed over.
            let head = self.head.load(Ordering::Acquire);
            if seen.lap() == lap.wrapping_add(1) {
                // Popped, perhaps pushed again.
                position = head.max(position.wrapping_add(1));
            } else {
                // Popped laps ago: what lies a whole ring behind the tail was. Any other is
                // garbled.
                let tail = self.tail.load(Ordering::Acquire);
                let known = head.max(tail.saturating_sub(self.cells.len() as u64));
                if known == position {
                    return None;
                }
                position = known;
            }
        }
        None
    }

    /// No walk over the cells takes more: each cell lets a hint pass in two laps at most.
    fn steps_max(&self) -> usize {
        4 * self.cells.len() + LOST_STEPS_MAX
    }

    fn at(&self, position: u64) -> (&'c AtomicU64, u32) {
        let index = position as usize & (self.cells.len() - 1);
        let lap = (position >> self.cells.len().trailing_zeros()) as u32;
        (&self.cells[index], lap)
    }

    /// Moves a hint from `position` to the next, unless someone did already.
    fn advance(&self, hint: &AtomicU64, position: u64) {
        let next = position.wrapping_add(1);
        // PAIRS hint.
        let _ = hint.compare_exchange(position, next, Ordering::Release, Ordering::Relaxed);
    }
}

/// Tells whether a hint has not moved on since it was read.
fn is_still(hint: &AtomicU64, position: u64) -> bool {
    hint.load(Ordering::Relaxed) == position
}
