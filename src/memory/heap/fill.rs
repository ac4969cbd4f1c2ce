//! What is written to a new block before anybody knows it.

use std::slice;

use super::{Grant, Heap};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, HUGE_BYTES};

impl Heap {
    /// Turns the parts of a block that hold old bytes into zeros.
    pub(super) fn zero(&self, grant: &mut Grant) {
        for (offset, len) in grant.dirty.drain(..) {
            // SAFETY: `dirty` lists parts of the block, which nobody else knows yet.
            let part = unsafe { self.bytes(offset, len) };
            self.crew.fill(part, 1, |_, part| part.fill(0));
        }
    }

    /// Puts the parts of a block that hold no memory yet onto huge pages, where whole ones fit.
    /// Where that fails they get pages of 4 KiB one by one, as they are written.
    pub(super) fn back_with_huge_pages(&self, grant: &Grant) {
        let end = grant.offset + grant.len;
        let starts = [grant.offset].into_iter().chain(grant.dirty.iter().map(|(at, len)| at + len));
        let ends = grant.dirty.iter().map(|&(at, _)| at).chain([end]);
        for (start, end) in starts.zip(ends) {
            let start = start.next_multiple_of(HUGE_BYTES);
            let end = end / HUGE_BYTES * HUGE_BYTES;
            if start >= end {
                continue;
            }
            // SAFETY: the piece lies in the block, which nobody else knows yet.
            let piece = unsafe { self.bytes(start, end - start) };
            let is_refused = AtomicBool::new(false);
            self.crew.fill(piece, HUGE_BYTES as usize, |_, part| {
                part.iter_mut().step_by(HUGE_BYTES as usize).for_each(|byte| *byte = 0);
                if sys::collapse(part).is_err() {
                    is_refused.store(true, Ordering::Relaxed);
                }
            });
            if is_refused.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// A part of the mapping.
    ///
    /// # Safety
    ///
    /// It lies inside a block that the caller has alone, in this process and in any other.
    #[expect(clippy::mut_from_ref, reason = "the caller has the block, the heap does not")]
    unsafe fn bytes(&self, offset: u64, len: u64) -> &mut [u8] {
        // SAFETY: the caller promises a part of a block, which `allocate` put inside the mapping.
        let start = unsafe { self.base().add(offset as usize) };
        // SAFETY: as above; mapped memory reads as some bytes, and nobody else has these.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), len as usize) }
    }
}
