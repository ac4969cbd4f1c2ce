//! A block of some heap, as processes tell each other.

use crate::sync::{AtomicUsize, Ordering};

/// What every block is aligned to: a cache line, and the widest SIMD register.
pub(crate) const ALIGN: usize = 64;

/// `len` bytes at `offset` of a heap. A claim until [`super::resolve`] has found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) heap: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Place {
    /// Tells whether the place lies inside `len` bytes, aligned as every block is.
    pub(crate) fn fits(&self, len: u64) -> bool {
        self.offset.is_multiple_of(ALIGN as u64)
            && self.offset.checked_add(self.len).is_some_and(|end| end <= len)
    }
}

/// Makes a number that no other heap has: not in this process, nor in its ancestors.
pub(crate) fn new_heap_id() -> u64 {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) as u64;
    u64::from(crate::sys::current_pid()) << 32 | count & 0xffff_ffff
}
