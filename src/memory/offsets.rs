//! Where in a range of addresses a block goes: `offset-allocator`, as many as are needed.
//!
//! One allocator has a fixed number of nodes, which it writes when it is made. So the range is cut
//! into regions, the first with half of the addresses and few nodes, and the next region is made
//! when the ones before it are full.

use offset_allocator::{Allocation, Allocator};

/// Nodes of the first region; each further one has four times as many.
const FIRST_NODES: u32 = 8 * 1024;
/// Regions at most: 1.4 million blocks together.
pub(crate) const REGIONS_MAX: usize = 4;
/// The most units of a region; `offset-allocator` counts in 32 bits.
const REGION_UNITS_MAX: u64 = 1 << 30;

/// A block's addresses, in units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: u64,
    /// Where the block's region starts.
    pub(crate) base: u64,
    region: u8,
    allocation: DebugAllocation,
}

#[derive(Clone, Copy)]
struct DebugAllocation(Allocation);

impl std::fmt::Debug for DebugAllocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.offset.fmt(f)
    }
}

/// Addresses from 0 to a limit, in units.
pub(crate) struct Offsets {
    regions: Vec<Region>,
    units: u64,
}

struct Region {
    start: u64,
    units: u64,
    allocator: Allocator,
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offsets").field("units", &self.units).finish_non_exhaustive()
    }
}

impl Span {
    /// The number of the block's region, below `REGIONS_MAX`.
    pub(crate) fn region(&self) -> usize {
        self.region.into()
    }
}

impl Offsets {
    pub(crate) fn new(units: u64) -> Self {
        Self { regions: Vec::new(), units }
    }

    /// How many blocks there can be at a time.
    pub(crate) fn blocks_max() -> u64 {
        (0..REGIONS_MAX).map(|i| u64::from(FIRST_NODES) << (2 * i)).sum()
    }

    /// Finds room for `units`, in the oldest region that has it.
    pub(crate) fn allocate(&mut self, units: u64) -> Option<Span> {
        let units = u32::try_from(units).ok()?;
        let wanted = round_up(units.max(1))?;
        for index in 0..REGIONS_MAX {
            if index == self.regions.len() && !self.add_region() {
                return None;
            }
            let region = &mut self.regions[index];
            if let Some(allocation) = region.allocator.allocate(wanted) {
                let base = region.start;
                let start = base + u64::from(allocation.offset);
                let allocation = DebugAllocation(allocation);
                return Some(Span { start, base, region: index as u8, allocation });
            }
        }
        None
    }

    /// Gives room back. `span` came from `allocate` and was not given back before.
    pub(crate) fn free(&mut self, span: Span) {
        self.regions[usize::from(span.region)].allocator.free(span.allocation.0);
    }

    fn add_region(&mut self) -> bool {
        let start = self.regions.last().map_or(0, |last| last.start + last.units);
        // Half of what is left: any block that the budget admits fits into the first half of the
        // reservation, which is four times the budget.
        let units = ((self.units - start) / 2).min(REGION_UNITS_MAX);
        if units == 0 {
            return false;
        }
        let nodes = FIRST_NODES << (2 * self.regions.len());
        let allocator = Allocator::with_max_allocs(units as u32, nodes);
        self.regions.push(Region { start, units, allocator });
        true
    }
}

/// Rounds up to a size that has a bin of its own: four significant bits.
///
/// The allocator looks for a block in the bin above the size asked for, so a block of any other
/// size would not be found again when the same size is asked for. What is rounded are addresses;
/// the memory behind them is never touched.
fn round_up(units: u32) -> Option<u32> {
    let shift = (32 - units.leading_zeros()).saturating_sub(4);
    units.checked_add((1 << shift) - 1).map(|sum| sum >> shift << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_four_significant_bits() {
        for (units, rounded) in
            [(1, 1), (15, 15), (16, 16), (17, 18), (31, 32), (33, 36), (262_145, 294_912)]
        {
            assert_eq!(round_up(units), Some(rounded), "{units}");
        }
        assert_eq!(round_up(u32::MAX), None);
    }

    #[test]
    fn a_freed_block_is_found_again_by_the_same_size() {
        for units in [1, 3, 17, 1000, 4097, 262_145] {
            let mut offsets = Offsets::new(1 << 24);
            let first = offsets.allocate(units).expect("room");
            let _fence = offsets.allocate(1).expect("room");
            let start = first.start;
            offsets.free(first);
            assert_eq!(offsets.allocate(units).expect("room").start, start, "{units} units");
        }
    }

    #[test]
    fn blocks_beyond_one_region_go_to_the_next_and_never_overlap() {
        let mut offsets = Offsets::new(1 << 20);
        let mut spans: Vec<Span> =
            (0..FIRST_NODES * 2).map(|_| offsets.allocate(3).expect("room")).collect();
        let mut starts: Vec<u64> = spans.iter().map(|span| span.start).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|w| w[0] + 3 <= w[1]));
        assert!(offsets.regions.len() > 1);
        spans.drain(..).for_each(|span| offsets.free(span));
        assert!(offsets.allocate(1 << 19).is_some(), "everything was merged again");
        assert!(offsets.allocate(1 << 40).is_none());
    }
}
