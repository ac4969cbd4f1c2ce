//! Telling a process from a fork of it, without a system call.

use memmap2::MmapMut;

use super::process::current_pid;
use super::{check, page_size};
use crate::sync::{AtomicU32, Ordering};

/// Where something was made: in this process, or in the one that this process is a fork of.
#[derive(Debug)]
pub(crate) struct Birthplace {
    /// Starts with a 1, which the kernel takes away in a forked copy.
    page: Option<MmapMut>,
    pid: u32,
}

impl Birthplace {
    pub(crate) fn new() -> Self {
        let page = MmapMut::map_anon(page_size()).ok().and_then(|mut page| {
            let (start, len) = (page.as_mut_ptr().cast(), page.len());
            // SAFETY: the range is the private anonymous mapping that was just made.
            check(unsafe { libc::madvise(start, len, libc::MADV_WIPEONFORK) }).ok()?;
            page[..4].copy_from_slice(&1u32.to_ne_bytes());
            Some(page)
        });
        Self { page, pid: current_pid() }
    }

    /// Tells whether this is the process that it was made in. One load.
    pub(crate) fn is_here(&self) -> bool {
        match &self.page {
            Some(page) => {
                // SAFETY: the page is mapped as long as `self`, aligned, and has at least 4 bytes;
                // in this process nobody writes to it after `new`.
                let mark = unsafe { &*page.as_ptr().cast::<AtomicU32>() };
                mark.load(Ordering::Relaxed) == 1
            }
            None => current_pid() == self.pid,
        }
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;

    #[test]
    fn a_birthplace_is_here_and_costs_a_page() {
        let place = Birthplace::new();
        assert!(place.is_here() && place.page.is_some());
    }
}
