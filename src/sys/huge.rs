//! Pages for shared memory, before they are written: of 2 MiB, which are 512 page faults fewer each
//! and one entry of the TLB, or many of 4 KiB at once.
//!
//! The system makes none for a memfd by itself, but when it is asked, from Linux 6.1 on. Both sides
//! have to map the file at a multiple of 2 MiB, or they see pages of 4 KiB.

use std::io;

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::check;

/// The size of a huge page on the machines that wharf runs on, in bytes.
pub(crate) const HUGE_BYTES: u64 = 2 << 20;
/// How often another place is tried for a mapping.
const PLACES_MAX: usize = 4;

/// Asks the system to put `bytes` onto huge pages. Their contents stay.
///
/// Start and length are multiples of [`HUGE_BYTES`], and in each huge page a byte was written.
/// Costs some 0.12 ms a MiB where the memory was not used before.
///
/// # Errors
///
/// The system is too old, its administrator forbids it, or no whole huge page is free.
pub(crate) fn collapse(bytes: &mut [u8]) -> io::Result<()> {
    let (start, len) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: this advice changes no contents and unmaps nothing.
    check(unsafe { libc::madvise(start, len, libc::MADV_COLLAPSE) }).map(drop)
}

/// Asks the system to find pages of 4 KiB for `bytes`, from the start of a page on. Their contents
/// stay.
///
/// Costs some 0.12 ms a MiB where the memory was not used before, half of what the faults would.
///
/// # Errors
///
/// The system is too old (5.14 is enough), or has no memory; then each page is found when it is
/// written, or not.
pub(crate) fn populate(bytes: &mut [u8]) -> io::Result<()> {
    let (start, len) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: this advice changes no contents and unmaps nothing.
    check(unsafe { libc::madvise(start, len, libc::MADV_POPULATE_WRITE) }).map(drop)
}

/// Tells whether a mapping starts where huge pages can be mapped.
pub(crate) fn is_aligned(map: &MmapRaw) -> bool {
    past_boundary(map) == 0
}

/// Makes a mapping that starts at a multiple of [`HUGE_BYTES`] if the system can be brought to it;
/// `map` maps the whole file somewhere.
///
/// A mapping is put right below another where there is room. So one that lies some bytes past a
/// boundary is followed by a filler of as many bytes, and then the next lies on one.
pub(super) fn align(map: impl Fn() -> io::Result<MmapRaw>) -> io::Result<MmapRaw> {
    let mut best = map()?;
    let mut fillers: Vec<MmapMut> = Vec::new();
    for _ in 0..PLACES_MAX {
        let past = past_boundary(&best);
        if past == 0 {
            break;
        }
        let (filler, next) = (MmapOptions::new().len(past).map_anon(), map());
        let (Ok(filler), Ok(next)) = (filler, next) else { break };
        fillers.push(filler);
        best = next;
    }
    Ok(best)
}

fn past_boundary(map: &MmapRaw) -> usize {
    map.as_ptr().addr() % HUGE_BYTES as usize
}
