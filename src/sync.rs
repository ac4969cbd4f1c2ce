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
