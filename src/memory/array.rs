//! Flat arrays in shared memory: filled in place, then read by every task.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use bytemuck::Pod;

use super::lease::Lease;
use super::place::{ALIGN, Place};
use crate::sync::Arc;

/// A flat array in shared memory that this process alone may read and write.
///
/// Made by [`Executor::array`](crate::Executor::array) in the parent and by
/// [`wharf::array`](crate::array) in a task. It dereferences to `[T]`; [`freeze`](Self::freeze)
/// turns it into a handle that tasks read.
pub struct ArrayMut<T> {
    lease: Lease,
    start: NonNull<T>,
    len: usize,
}

/// A flat array in shared memory that does not change any more: a handle, cheap to clone.
///
/// Passed to a task as `&array`, where the parameter is `&[T]`, or by value inside other arguments.
/// It dereferences to `[T]`. The memory goes back to its heap with the last clone.
pub struct Array<T> {
    lease: Arc<Lease>,
    start: NonNull<T>,
    len: usize,
}

// SAFETY: an `ArrayMut` owns its memory alone, like a `Vec<T>`.
unsafe impl<T: Send> Send for ArrayMut<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for ArrayMut<T> {}
// SAFETY: clones share memory that nobody writes, like an `Arc<[T]>`.
unsafe impl<T: Send + Sync> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Array<T> {}

/// The bytes that an array needs; more than any budget where they cannot be counted.
pub(crate) fn array_bytes<T>(len: usize) -> u64 {
    const { assert!(align_of::<T>() <= ALIGN, "array elements are aligned to 64 bytes at most") };
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize);
    bytes.map_or(u64::MAX, |bytes| bytes as u64)
}

impl<T: Pod> ArrayMut<T> {
    /// Takes over a block of at least `len` elements that reads as values of `T`.
    pub(crate) fn new(lease: Lease, len: usize) -> Self {
        assert!(lease.place().len >= array_bytes::<T>(len));
        let start = lease.address().cast();
        Self { lease, start, len }
    }

    /// The block, cut to the array's length.
    pub(crate) fn place(&self) -> Place {
        Place { len: size_of_val::<[T]>(self) as u64, ..self.lease.place() }
    }

    /// The executor that the array belongs to.
    pub(crate) fn family(&self) -> u64 {
        self.lease.family()
    }

    /// Ends the writing: the array becomes a handle that tasks can read. Costs no copy.
    #[must_use]
    pub fn freeze(self) -> Array<T> {
        Array { lease: Arc::new(self.lease), start: self.start, len: self.len }
    }
}

impl<T> Deref for ArrayMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` checked the length; blocks are aligned to 64, their bytes are values of a
        // `Pod` type, and no other process writes to a block that it was not given.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for ArrayMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` is the only access: the lease is not shared.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Array<T> {
    /// Takes part in a lease whose block holds values of `T`, as many as fit.
    ///
    /// `None`: the block's length is no multiple of the element's.
    pub(crate) fn from_lease(lease: Arc<Lease>) -> Option<Self>
    where
        T: Pod,
    {
        let len = elements::<T>(&lease.place())?;
        let start = lease.address().cast();
        Some(Self { lease, start, len })
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The block, cut to the array's length.
    pub(crate) fn place(&self) -> Place {
        Place { len: size_of_val::<[T]>(self) as u64, ..self.lease.place() }
    }

    /// The executor that the array belongs to.
    pub(crate) fn family(&self) -> u64 {
        self.lease.family()
    }
}

/// How many elements a place holds. `None`: its length is no multiple of theirs.
pub(crate) fn elements<T: Pod>(place: &Place) -> Option<usize> {
    let size = size_of::<T>() as u64;
    if size == 0 {
        return (place.len == 0).then_some(0);
    }
    place.len.is_multiple_of(size).then(|| (place.len / size) as usize)
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `freeze` or `from_lease` checked the length; blocks are aligned to 64, their
        // bytes are values of a `Pod` type, and nobody writes to a frozen block.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { lease: Arc::clone(&self.lease), start: self.start, len: self.len }
    }
}

impl<T: fmt::Debug> fmt::Debug for ArrayMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
