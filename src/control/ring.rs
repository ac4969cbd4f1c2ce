//! A bounded ring of task ids, many producers and many consumers, that no death can wedge.
//!
//! Each cell is one word that tells lap, fullness and id, so a push or a pop is one
//! compare-and-swap on the cell. `head` and `tail` are hints: whoever finds one behind the cells
//! moves it on. The idea of a lap in each cell is D. Vyukov's bounded MPMC queue; there the
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

    /// About how many ids are in the ring.
    pub(crate) fn backlog(&self) -> u64 {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        // Hints: one may be behind, and a wild worker may have written it.
        tail.saturating_sub(head).min(self.cells.len() as u64)
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
        let backoff = Backoff::new();
        for _ in 0..self.steps_max() {
            // PAIRS hint: an older cell would be taken for one that was popped, and passed over.
            let position = self.head.load(Ordering::Acquire);
            let (cell, lap) = self.at(position);
            // PAIRS id-visible.
            let seen = Cell(cell.load(Ordering::Acquire));
            match seen.id() {
                Some(id) if seen.lap() == lap => {
                    // { lap, full, id } -> { lap + 1, empty }
                    let empty = Cell::empty(lap.wrapping_add(1)).0;
                    let popped =
                        cell.compare_exchange(seen.0, empty, Ordering::AcqRel, Ordering::Relaxed);
                    if popped.is_ok() {
                        step!(both "ring.pop.cell");
                        self.advance(self.head, position);
                        step!(both "ring.pop.head");
                        return Some(id);
                    }
                    backoff.spin();
                }
                // { lap + 1 }: popped, perhaps pushed again, and the hint is behind.
                _ if seen.lap() == lap.wrapping_add(1) => self.advance(self.head, position),
                // { lap, empty }: nothing was pushed here, nor anywhere behind. Any other is
                // garbled, unless the hint has moved on: see `push`.
                _ if is_still(self.head, position) => return None,
                _ => {}
            }
        }
        None
    }

    /// Tells whether a pop would find nothing now.
    pub(crate) fn is_empty(&self) -> bool {
        for _ in 0..self.steps_max() {
            let position = self.head.load(Ordering::SeqCst);
            let (cell, lap) = self.at(position);
            let seen = Cell(cell.load(Ordering::SeqCst));
            if seen.lap() == lap {
                return seen.id().is_none();
            }
            if seen.lap() == lap.wrapping_add(1) {
                self.advance(self.head, position);
            } else if is_still(self.head, position) {
                return true;
            }
        }
        true
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
