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

    /// Finds memory for the parts of a block that hold none yet: huge pages where whole ones fit,
    /// and many pages of 4 KiB at once around them. Where the system refuses that, and in place of
    /// huge pages that nobody wants, they come one by one as they are written.
    pub(super) fn back(&self, grant: &Grant) {
        let end = grant.offset + grant.len;
        let starts = [grant.offset].into_iter().chain(grant.dirty.iter().map(|(at, len)| at + len));
        let ends = grant.dirty.iter().map(|&(at, _)| at).chain([end]);
        for (start, end) in starts.zip(ends) {
            // SAFETY: the piece lies in the block, which nobody else knows yet.
            let piece = |start, end| unsafe { self.bytes(start, end - start) };
            let (huge, huge_end) =
                (start.next_multiple_of(HUGE_BYTES), end / HUGE_BYTES * HUGE_BYTES);
            let around = match huge < huge_end {
                true if self.upkeep.huge_pages && self.collapse(piece(huge, huge_end)) => {
                    [(start, huge), (huge_end, end)]
                }
                true => return,
                false => [(start, end), (end, end)],
            };
            for (start, end) in around.into_iter().filter(|(start, end)| start < end) {
                if sys::populate(piece(start, end)).is_err() {
                    return;
                }
            }
        }
    }

    /// Puts whole huge pages under a piece. False: the system refuses.
    fn collapse(&self, piece: &mut [u8]) -> bool {
        let is_refused = AtomicBool::new(false);
        self.crew.fill(piece, HUGE_BYTES as usize, |_, part| {
            part.iter_mut().step_by(HUGE_BYTES as usize).for_each(|byte| *byte = 0);
            if sys::collapse(part).is_err() {
                is_refused.store(true, Ordering::Relaxed);
            }
        });
        !is_refused.into_inner()
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
