//! Values archived once and read by any task.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{BoxedError, Fallible, Source, fail};
use rkyv::{Archive, Place as Slot, Portable, Serialize};

use super::array::ArchivedPlace;
use super::encode::{EncodeStrategy, Encoder, root_of};
use crate::memory::Lease;
use crate::sync::Arc;

/// A value in shared memory, archived once: a handle, cheap to clone.
///
/// Made by [`Executor::share`](crate::Executor::share), or from a result by
/// [`TaskHandle::into_shared`](crate::TaskHandle::into_shared). Pass it to tasks as `&shared`, or
/// by value inside other arguments. Here it dereferences to the archived form, `T::Archived`. The
/// memory goes back to its heap when the last clone is gone and the last task that got it ended.
pub struct Shared<T: Archive> {
    lease: Arc<Lease>,
    root: NonNull<T::Archived>,
}

// SAFETY: clones share memory that nobody writes, like an `Arc<T::Archived>`.
unsafe impl<T: Archive<Archived: Send + Sync>> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Archive<Archived: Send + Sync>> Sync for Shared<T> {}

impl<T: Archive> Shared<T> {
    /// Takes part in a lease whose block holds an archive of `T`.
    ///
    /// # Safety
    ///
    /// The first `len` bytes of the block are a valid archive of `T`, which this executor's parent
    /// encoded or checked.
    pub(crate) unsafe fn from_lease(lease: Arc<Lease>, len: u64) -> Self {
        let at = len as usize - size_of::<T::Archived>();
        // SAFETY: the caller promises an archive there, which ends with its root.
        let root = unsafe { lease.address().add(at) }.cast();
        Self { lease, root }
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The block up to the root's end.
    pub(crate) fn place(&self) -> crate::memory::Place {
        let start = self.lease.address().addr().get();
        let len = self.root.addr().get() + size_of::<T::Archived>() - start;
        crate::memory::Place { len: len as u64, ..self.lease.place() }
    }
}

impl<T: Archive> Deref for Shared<T> {
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        // SAFETY: `from_lease` was promised a valid archive; the lease keeps it, and nobody writes.
        unsafe { self.root.as_ref() }
    }
}

impl<T: Archive> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { lease: Arc::clone(&self.lease), root: self.root }
    }
}

impl<T: Archive<Archived: fmt::Debug>> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&**self).finish()
    }
}

/// A [`Shared`] inside an archive: what a task sees of a shared value that was passed inside
/// another argument. Dereferences to `T::Archived`.
#[derive(Portable)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub struct ArchivedShared<T> {
    place: ArchivedPlace,
    _value: PhantomData<T>,
}

impl<T: Archive> ArchivedShared<T> {
    /// The shared value. Costs a look-up of the heap.
    ///
    /// # Panics
    ///
    /// If this process cannot map the heap, which takes an exhausted address space.
    pub fn get(&self) -> &T::Archived {
        self.find().expect("the shared value's heap can be mapped")
    }

    /// As [`ArchivedShared::get`], `None` where that panics.
    pub(crate) fn find(&self) -> Option<&T::Archived> {
        let root = root_of::<T::Archived>(&self.place.to_native())?;
        // SAFETY: only the parent writes an `ArchivedShared`, from a `Shared` that it keeps as long
        // as the archive that holds `self`; one that a worker made up does not pass `check_bytes`.
        Some(unsafe { root.as_ref() })
    }
}

impl<T: Archive> Deref for ArchivedShared<T> {
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        self.get()
    }
}

impl<T: Archive<Archived: fmt::Debug>> fmt::Debug for ArchivedShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArchivedShared").field(self.get()).finish()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a task cannot return a Shared value; return the value itself, or an Array")]
struct ReturnedShared;

// SAFETY: no bytes are accepted. A task has no way to make a `Shared`, so one in a result is made
// up.
unsafe impl<T, C: Fallible<Error: Source> + ?Sized> CheckBytes<C> for ArchivedShared<T> {
    unsafe fn check_bytes(_: *const Self, _: &mut C) -> Result<(), C::Error> {
        fail!(ReturnedShared)
    }
}

impl<T: Archive> Archive for Shared<T> {
    type Archived = ArchivedShared<T>;
    type Resolver = ();

    fn resolve(&self, (): (), out: Slot<Self::Archived>) {
        rkyv::munge::munge!(let ArchivedShared { place, .. } = out);
        ArchivedPlace::write(&self.place(), place);
    }
}

impl<T: Archive> Serialize<EncodeStrategy> for Shared<T> {
    fn serialize(&self, serializer: &mut EncodeStrategy) -> Result<(), BoxedError> {
        let encoder: &mut Encoder = serializer;
        encoder.attach(self.lease())
    }
}
