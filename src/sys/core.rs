//! On which core a thread runs.

/// The core that the calling thread runs on, and may leave at any time. `None`: the system does not
/// tell.
///
/// No system call where the C library reads it from memory that the kernel keeps up to date (glibc
/// 2.35 and later), or calls the kernel's own code in user space.
#[inline]
pub(crate) fn core() -> Option<u32> {
    #[cfg(not(miri))]
    {
        // SAFETY: it takes nothing, and touches no memory of the program.
        u32::try_from(unsafe { libc::sched_getcpu() }).ok()
    }
    #[cfg(miri)]
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_on_some_core() {
        assert!(cfg!(miri) || core().is_some());
    }
}
