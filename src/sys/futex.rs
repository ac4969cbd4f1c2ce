//! Shared futexes: sleep on a word of shared memory, wake those who do.

#[cfg(not(loom))]
mod kernel;
#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub(crate) use kernel::{futex_wait, futex_wake};
#[cfg(all(test, loom))]
pub(crate) use model::kill_sleepers;
#[cfg(loom)]
pub(crate) use model::{futex_wait, futex_wake};

use crate::sync::{AtomicU32, AtomicU64};

/// A word to sleep on: all of a 32-bit atomic, or the low half of a 64-bit one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'w> {
    Whole(&'w AtomicU32),
    LowHalf(&'w AtomicU64),
}

impl<'w> From<&'w AtomicU32> for Word<'w> {
    fn from(word: &'w AtomicU32) -> Self {
        Self::Whole(word)
    }
}

impl Word<'_> {
    /// Where the 32 bits lie: on a little-endian machine (asserted in lib.rs) the low half has the
    /// whole word's address.
    fn address(self) -> *const u32 {
        match self {
            Self::Whole(word) => std::ptr::from_ref(word).cast(),
            Self::LowHalf(word) => std::ptr::from_ref(word).cast(),
        }
    }
}
