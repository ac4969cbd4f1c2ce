//! Arrays inside archives: a place, not a copy.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::slice;

use bytemuck::Pod;
use rkyv::bytecheck::CheckBytes;
use rkyv::primitive::ArchivedU64;
use rkyv::rancor::{BoxedError, Fallible, Source, fail};
use rkyv::{Archive, Deserialize, Place as Slot, Portable, Serialize};

use super::decode::{DecodeStrategy, Decoder};
use super::encode::{EncodeStrategy, Encoder};
use crate::memory::{Array, Lease, Place, elements, resolve};
use crate::sync::Arc;

/// A place in shared memory, inside an archive.
#[derive(Clone, Copy, Portable)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub(super) struct ArchivedPlace {
    heap: ArchivedU64,
    offset: ArchivedU64,
    len: ArchivedU64,
}

impl ArchivedPlace {
    pub(super) fn write(place: &Place, out: Slot<Self>) {
        let (heap, offset) = (place.heap.into(), place.offset.into());
        // SAFETY: the struct has three words and no padding, so all of its bytes are initialised.
        unsafe { out.write_unchecked(Self { heap, offset, len: place.len.into() }) };
    }

    pub(super) fn to_native(self) -> Place {
        Place {
            heap: self.heap.to_native(),
            offset: self.offset.to_native(),
            len: self.len.to_native(),
        }
    }
}

/// An [`Array`] inside an archive: what a task sees of an array that was passed inside another
/// argument. Dereferences to `[T]`.
#[derive(Portable)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub struct ArchivedArray<T> {
    place: ArchivedPlace,
    _elements: PhantomData<T>,
}

impl<T: Pod> ArchivedArray<T> {
    /// The elements. Costs a look-up of the heap.
    ///
    /// # Panics
    ///
    /// If this process cannot map the heap, which takes an exhausted address space.
    pub fn as_slice(&self) -> &[T] {
        self.find().expect("the array's heap can be mapped")
    }

    /// As [`ArchivedArray::as_slice`], `None` where that panics.
    pub(crate) fn find(&self) -> Option<&[T]> {
        let place = self.place.to_native();
        let len = elements::<T>(&place)?;
        let start = resolve(&place)?.cast::<T>();
        // SAFETY: `resolve` found the place inside a mapping, aligned to 64; any bytes are values
        // of `T`; the archive that holds `self` keeps the block from being written.
        Some(unsafe { slice::from_raw_parts(start.as_ptr(), len) })
    }
}

impl<T: Pod> Deref for ArchivedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArchivedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("an array lies outside the memory of the worker that returned it")]
struct ForeignArray;

thread_local! {
    /// The blocks that came with the archive which this thread is checking.
    static EXPECTED: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// Runs a check of an archive that came with these blocks: arrays elsewhere are refused.
///
/// Outside of it all arrays are: bytes from anywhere could name memory that somebody writes.
pub(super) fn expecting<T>(attached: &[Arc<Lease>], check: impl FnOnce() -> T) -> T {
    let places = attached.iter().map(|lease| lease.place()).collect();
    let _outer = Outer(EXPECTED.replace(places));
    check()
}

/// What was expected before. A check is the user's code, too: expected again even if it panics.
struct Outer(Vec<Place>);

impl Drop for Outer {
    fn drop(&mut self) {
        EXPECTED.set(std::mem::take(&mut self.0));
    }
}

// SAFETY: the bytes are three words, for which every value is valid. The array lies in a block that
// the archive's holder keeps, and `find`, which makes it a slice, checks bounds each time.
unsafe impl<T: Pod, C: Fallible<Error: Source> + ?Sized> CheckBytes<C> for ArchivedArray<T> {
    unsafe fn check_bytes(value: *const Self, _: &mut C) -> Result<(), C::Error> {
        // SAFETY: the caller promises memory of this type's size and alignment.
        let array = unsafe { &*value };
        let place = array.place.to_native();
        let is_ours = EXPECTED.with_borrow(|places| places.contains(&place));
        if !is_ours || array.find().is_none() {
            fail!(ForeignArray);
        }
        Ok(())
    }
}

impl<T: Pod> Archive for Array<T> {
    type Archived = ArchivedArray<T>;
    type Resolver = ();

    fn resolve(&self, (): (), out: Slot<Self::Archived>) {
        rkyv::munge::munge!(let ArchivedArray { place, .. } = out);
        ArchivedPlace::write(&self.place(), place);
    }
}

impl<T: Pod> Serialize<EncodeStrategy> for Array<T> {
    fn serialize(&self, serializer: &mut EncodeStrategy) -> Result<(), BoxedError> {
        let encoder: &mut Encoder = serializer;
        encoder.attach(self.lease())
    }
}

impl<T: Pod> Deserialize<Array<T>, DecodeStrategy> for ArchivedArray<T> {
    fn deserialize(&self, decoder: &mut DecodeStrategy) -> Result<Array<T>, BoxedError> {
        let decoder: &mut Decoder = decoder;
        let lease = decoder.lease_of(&self.place.to_native());
        lease.and_then(Array::from_lease).ok_or_else(|| BoxedError::new(ForeignArray))
    }
}
