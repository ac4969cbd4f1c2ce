//! A bounded ring of task ids, many producers and many consumers, that no death can wedge.
//!
//! Each cell is one word that tells lap, fullness and id, so a push or a pop is one
//! compare-and-swap on the cell. `head` and `tail` are hints: who finds one behind the cells walks
//! on from there. The idea of a lap in each cell is D. Vyukov's bounded MPMC queue; there the
//! position is claimed first and the cell filled later, and a death in between blocks everyone.
//! Here nothing is in between.

mod stretch;

pub(crate) use stretch::Reader;

use crossbeam_utils::Backoff;

use crate::sync::{AtomicU64, Ordering};
use crate::sys::prefetch;

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

/// The cells of a cache line. So many ids are pushed or popped for each move of a hint, whose line
/// all would otherwise hand round. A model has fewer cells than that.
const LINE: u64 = if cfg!(loom) { 2 } else { 8 };

/// What those who pop share besides the cells.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Front {
    /// All cells before it were popped.
    pub(super) head: AtomicU64,
    /// From here on no stretch was given to a worker.
    pub(super) given: AtomicU64,
}

/// The ring, over cells that lie elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring<'c> {
    cells: &'c [AtomicU64],
    front: &'c Front,
    tail: &'c AtomicU64,
}

impl<'c> Ring<'c> {
    /// `cells.len()` must be a power of two.
    pub(crate) fn over(cells: &'c [AtomicU64], front: &'c Front, tail: &'c AtomicU64) -> Self {
        assert!(cells.len().is_power_of_two());
        Self { cells, front, tail }
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
        let latest = self.tail.load(Ordering::Relaxed).max(self.front.head.load(Ordering::Relaxed));
        let lap = ((latest >> shift) as u32).wrapping_add(3);
        for cell in self.cells {
            // PAIRS id-visible: a swap reads the id that it throws away.
            cell.swap(Cell::empty(lap).0, Ordering::AcqRel);
        }
        step!(parent "ring.reset.cells");
        let start = u64::from(lap) << shift;
        self.tail.store(start, Ordering::Release);
        step!(parent "ring.reset.tail");
        self.front.given.store(start, Ordering::Relaxed);
        self.front.head.store(start, Ordering::Release);
        step!(parent "ring.reset.head");
    }

    /// About how many ids were taken out so far. It jumps when the ring is put in order.
    pub(crate) fn popped(&self) -> u64 {
        let head = self.head();
        self.front_from(head, &mut self.steps_max()).map_or(head, |(front, _)| front)
    }

    /// About how many ids were put in so far. It jumps as [`Ring::popped`].
    pub(crate) fn pushed(&self) -> u64 {
        self.popped_and_backlog().map_or(0, |(popped, backlog)| popped.wrapping_add(backlog))
    }

    /// About how many ids are in the ring.
    pub(crate) fn backlog(&self) -> u64 {
        self.popped_and_backlog().map_or(0, |(_, backlog)| backlog)
    }

    /// `None`: the ring is garbled.
    fn popped_and_backlog(&self) -> Option<(u64, u64)> {
        let (front, _) = self.front_from(self.head(), &mut self.steps_max())?;
        // A hint: it is behind, and a wild worker may have written it.
        let hint = self.tail.load(Ordering::Relaxed).max(front);
        let is_pushed = |ahead: &u64| self.id_at(hint.wrapping_add(*ahead)).is_some();
        let ahead = (0..self.stride()).take_while(is_pushed).count() as u64;
        Some((front, (hint - front).saturating_add(ahead).min(self.cells.len() as u64)))
    }

    /// How many ids the ring can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Adds `id` (below 2^31) at the end.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_call")]
    pub(crate) fn push(&self, id: u32) -> Result<(), Full> {
        debug_assert!(u64::from(id) < Cell::FULL);
        let backoff = Backoff::new();
        // PAIRS hint: a cell is seen at least as new as the hint that leads to it.
        let mut hint = self.tail.load(Ordering::Acquire);
        let mut position = hint;
        for _ in 0..self.steps_max() {
            let (cell, lap) = self.at(position);
            let seen = Cell(cell.load(Ordering::Acquire));
            if seen == Cell::empty(lap) {
                // { lap, empty } -> { lap, full, id }
                // PAIRS id-visible: the pop's Acquire sees what was written before this push.
                let full = Cell::full(lap, id).0;
                if cell.compare_exchange(seen.0, full, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    step!(parent "ring.push.cell");
                    let next = position.wrapping_add(1);
                    if next.is_multiple_of(self.stride()) {
                        // PAIRS hint.
                        self.tail.fetch_max(next, Ordering::Release);
                        step!(parent "ring.push.tail");
                        // Workers have popped there since; by then it is here.
                        prefetch(self.at(next.wrapping_add(LINE)).0);
                    }
                    return Ok(());
                }
                backoff.spin();
                continue;
            }
            if seen.lap() == lap || seen == Cell::empty(lap.wrapping_add(1)) {
                // { lap, full }, or popped already: somebody has pushed here.
                position = position.wrapping_add(1);
                continue;
            }
            // { lap - 1, full }: not popped since the last time round. Or others have pushed a
            // whole ring since the hint was read. Any other cell under a hint that stands still is
            // garbled.
            let before = std::mem::replace(&mut hint, self.tail.load(Ordering::Acquire));
            if hint == before {
                return Err(Full);
            }
            position = hint;
        }
        Err(Full)
    }

    /// Takes the id at the front. None in a garbled ring, too: the parent puts it in order.
    pub(crate) fn pop(&self) -> Option<u32> {
        self.pop_near(&mut Reader::at(self.head()))
    }

    /// As [`Ring::pop`], by who remembers how far it has come. Who pops again and again shares no
    /// line with others that way but those of the cells.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_work")]
    pub(crate) fn pop_near(&self, reader: &mut Reader) -> Option<u32> {
        let near = &mut reader.near;
        let backoff = Backoff::new();
        let mut steps = self.steps_max();
        loop {
            let (position, seen) = self.front_from(*near, &mut steps)?;
            *near = position;
            let id = seen.id()?;
            if self.take(position, seen) {
                *near = position.wrapping_add(1);
                if near.is_multiple_of(LINE) {
                    self.move_head(*near);
                }
                return Some(id);
            }
            backoff.spin();
        }
    }

    /// Pops what was seen in a cell: an id. False: somebody else has popped it.
    fn take(&self, position: u64, seen: Cell) -> bool {
        let (cell, _) = self.at(position);
        // { lap, full, id } -> { lap + 1, empty }
        let empty = Cell::empty(seen.lap().wrapping_add(1)).0;
        let change = cell.compare_exchange(seen.0, empty, Ordering::AcqRel, Ordering::Relaxed);
        if change.is_ok() {
            step!(both "ring.pop.cell");
        }
        change.is_ok()
    }

    fn head(&self) -> u64 {
        self.front.head.load(Ordering::Acquire)
    }

    /// Moves `head` to where it is known that all before was popped.
    fn move_head(&self, front: u64) {
        // PAIRS hint.
        self.front.head.fetch_max(front, Ordering::Release);
        step!(both "ring.pop.head");
    }

    /// As [`Ring::move_head`], if it is a line behind.
    fn pass(&self, front: u64) {
        if front.saturating_sub(self.front.head.load(Ordering::Relaxed)) >= LINE {
            self.move_head(front);
        }
    }

    /// Tells whether a pop would find nothing now.
    ///
    /// One copy for all who ask: who wakes up after a pause has none of its code at hand.
    #[inline(never)]
    pub(crate) fn is_empty(&self) -> bool {
        let Some((front, seen)) = self.front_from(self.head(), &mut self.steps_max()) else {
            return true;
        };
        // Here and not in a pop: where that begins is what somebody remembers.
        self.pass(front);
        seen.id().is_none()
    }

    /// As [`Ring::is_empty`], by who remembers how far it has come: one look at a cell. Where the
    /// hint is ahead of that, or a line behind it, as after a ring was overwritten, it is not
    /// believed.
    pub(crate) fn is_empty_near(&self, reader: &Reader) -> bool {
        let (head, near) = (self.head(), reader.near);
        if near.wrapping_sub(head) >= LINE {
            return self.is_empty();
        }
        let (cell, lap) = self.at(near);
        // PAIRS id-visible.
        let seen = Cell(cell.load(Ordering::Acquire));
        if seen.lap() == lap { seen.id().is_none() } else { self.is_empty() }
    }

    /// The first cell from a position on that was not popped in that position's lap, and what lies
    /// there: an id, or nothing, there and anywhere behind. `None`: the ring is garbled.
    fn front_from(&self, mut position: u64, steps: &mut usize) -> Option<(u64, Cell)> {
        while let Some(left) = steps.checked_sub(1) {
            *steps = left;
            let (cell, lap) = self.at(position);
            // PAIRS id-visible.
            let seen = Cell(cell.load(Ordering::Acquire));
            if seen.lap() == lap {
                return Some((position, seen));
            }
            // PAIRS hint: an older cell would be taken for one that was popped, and passed over.
            let head = self.head();
            if seen.lap() == lap.wrapping_add(1) || seen == Cell::empty(lap.wrapping_add(2)) {
                // Popped, perhaps pushed again, perhaps popped once more.
                position = head.max(position.wrapping_add(1));
            } else {
                // Popped laps ago: what lies a whole ring behind the tail was, though that may be
                // a line behind itself. Any other is garbled.
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

    /// How many ids are pushed for each move of `tail`.
    fn stride(&self) -> u64 {
        if self.cells.len() as u64 >= 2 * LINE { LINE } else { 1 }
    }

    /// The id that lies at a position in its lap.
    fn id_at(&self, position: u64) -> Option<u32> {
        let (cell, lap) = self.at(position);
        let seen = Cell(cell.load(Ordering::Relaxed));
        (seen.lap() == lap).then(|| seen.id())?
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
}
