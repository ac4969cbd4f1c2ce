//! Telling the processor what will be needed soon.

/// Fetches the first cache line of `what`, about to be written, from another core meanwhile. A
/// hint: changes nothing but time.
#[inline]
pub(crate) fn prefetch<T>(what: &T) {
    prefetch_at(std::ptr::from_ref(what).addr());
}

/// As [`prefetch`], at an address that need not be there any more.
#[inline]
pub(crate) fn prefetch_at(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: prefetching is allowed at any address, and every x86-64 knows the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::without_provenance(address)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
