//! Atomics and locks: the standard library's, or loom's under `--cfg loom`.
//!
//! The only file that names `std::sync::atomic`, so that the protocols in
//! [`control`](crate::control) can be model-checked without a change.

#[cfg(loom)]
mod model;

#[cfg(all(test, loom))]
pub(crate) use model::mortal;
#[cfg(loom)]
pub(crate) use model::{AtomicU32, AtomicU64, Death, Ordering, die, fence, is_mortal, live};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

/// Locks `mutex`, also after a panic of a holder.
///
/// Every critical section of this crate leaves its data consistent at each step that can panic, so
/// a poisoned lock says nothing that a caller could act on.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A `SeqCst` fence, where the store that the other side must not miss was a read-modify-write of
/// the calling thread, or came before one.
///
/// On x86-64 that instruction is a full barrier itself, and one more costs some 30 cycles in which
/// nothing goes on (Intel, Software Developer's Manual, volume 3A, "Loads and Stores Are Not
/// Reordered with Locked Instructions"). The language does not promise so much of a swap, so
/// elsewhere, and for models, it is a fence.
#[inline]
pub(crate) fn fence_after_swap() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}
