//! Telling the processor what will be needed soon.

/// Fetches the first cache line of `what`, about to be written, from another core meanwhile. A
/// hint: changes nothing but time.
#[inline]
pub(crate) fn prefetch<T>(what: &T) {
    prefetch_at(std::ptr::from_ref(what).addr());
}

/// As [`prefetch`], at an address that need not be there any more.
///
/// The instruction by its name: the compiler's own hint becomes one that fetches a line for
/// reading, where it does not know that the processor has this one, and the write has to ask for
/// the line anew.
#[inline]
pub(crate) fn prefetch_at(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::asm;
        // SAFETY: prefetching is allowed at any address and changes no register. Processors that
        // cannot do it pass over it, but for some of the first of 2004.
        unsafe {
            asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
