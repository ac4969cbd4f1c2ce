//! The chunk that a call sees: the array's place travels with the arguments, and which part of it
//! the present chunk is stands in the thread that runs the loop.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

use bytemuck::Pod;

use crate::archive::{EncodeFailure, Encoder};
use crate::memory::{Place, resolve, resolve_writable};
use crate::task::argument::Argument;
use crate::task::param::{Param, View, ViewError};

thread_local! {
    /// The units of the chunk that this thread is at, while it runs part of a loop.
    static CURRENT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// While it lives, parameters of calls see the chunk that was set last.
///
/// Then those of the loop around it again, if there is one: a task may itself run a loop, of an
/// executor that works in its caller.
pub(super) struct InLoop(Option<(u64, u64)>);

impl InLoop {
    pub(super) fn enter() -> Self {
        Self(CURRENT.get())
    }

    pub(super) fn set_chunk(&self, units: Range<u64>) {
        CURRENT.set(Some((units.start, units.end)));
    }
}

impl Drop for InLoop {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// As an argument of a loop: where the chunk starts, in elements or rows. The parameter is a
/// `usize`. Elsewhere it does not decode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkStart;

/// An array that is read in chunks, on its way to the tasks. Opaque.
pub struct Cut<T>(Passage<T>);

/// An array that is written in chunks, on its way to the tasks. Opaque.
pub struct CutMut<T>(Passage<T>);

struct Passage<T> {
    place: Place,
    family: u64,
    unit: usize,
    _elements: PhantomData<T>,
}

/// A [`Cut`] in shared memory. Opaque.
#[repr(transparent)]
pub struct CutPlace<T>(StoredPlace<T>);

/// A [`CutMut`] in shared memory. Opaque.
#[repr(transparent)]
pub struct CutMutPlace<T>(StoredPlace<T>);

#[repr(C)]
struct StoredPlace<T> {
    heap: u64,
    offset: u64,
    len: u64,
    /// The elements of a unit.
    unit: u64,
    _elements: PhantomData<T>,
}

impl<T: Pod> Passage<T> {
    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        let Place { heap, offset, len } = self.place;
        encoder.borrowed(self.family, &[heap, offset, len, self.unit as u64])
    }
}

impl<T: Pod> StoredPlace<T> {
    fn place(&self) -> Place {
        Place { heap: self.heap, offset: self.offset, len: self.len }
    }

    /// The elements of the present chunk. `None`: they do not lie in the array.
    fn elements(&self) -> Option<Range<usize>> {
        let (start, end) = CURRENT.get()?;
        let range = start.checked_mul(self.unit)?..end.checked_mul(self.unit)?;
        let bytes = range.end.checked_mul(size_of::<T>() as u64)?;
        (range.start <= range.end && bytes <= self.len)
            .then_some(range.start as usize..range.end as usize)
    }

    /// The chunk's first element and how many there are, in the mapping that `resolve` finds.
    fn find(
        &self,
        resolve: fn(&Place) -> Option<NonNull<u8>>,
    ) -> Result<(NonNull<T>, usize), ViewError> {
        let base = resolve(&self.place()).ok_or_else(ViewError::unreachable_heap)?.cast::<T>();
        let range = self.elements().ok_or_else(ViewError::out_of_place)?;
        // SAFETY: `resolve` found the whole place, in which `elements` put the range.
        Ok((unsafe { base.add(range.start) }, range.len()))
    }
}

/// The two ways to pass an array: alike but for who may write.
macro_rules! passed {
    ($($passed:ident => $stored:ident),*) => {$(
        impl<T> fmt::Debug for $passed<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($passed)).field(&self.0.place).finish()
            }
        }

        impl<T> fmt::Debug for $stored<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($stored)).field("len", &self.0.len).finish()
            }
        }

        impl<T: Pod> Argument for $passed<T> {
            type Stored = $stored<T>;

            fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
                self.0.store(encoder)
            }

            unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a $stored<T>, ViewError> {
                // SAFETY: the caller promises that `store` wrote these words there.
                Ok(unsafe { at.cast::<$stored<T>>().as_ref() })
            }
        }
    )*};
}

passed!(Cut => CutPlace, CutMut => CutMutPlace);

/// How the parent makes them: whole arrays, cut between units of so many elements.
macro_rules! made {
    ($($passed:ident),*) => {$(
        impl<T> $passed<T> {
            pub(super) fn of(place: Place, family: u64) -> Self {
                Self(Passage { place, family, unit: 1, _elements: PhantomData })
            }

            pub(super) fn with_unit(mut self, unit: usize) -> Self {
                self.0.unit = unit;
                self
            }
        }
    )*};
}

made!(Cut, CutMut);

impl<T: Pod> View<CutPlace<T>> for &[T] {
    fn view(stored: &CutPlace<T>) -> Result<&[T], ViewError> {
        let (start, len) = stored.0.find(resolve)?;
        // SAFETY: `find` put the chunk inside the array. The parent lends it to the loop, and no
        // other array of the loop is the same one: it lends that one mutably.
        Ok(unsafe { slice::from_raw_parts(start.as_ptr(), len) })
    }
}

impl<T: 'static> Param for &mut [T] {
    type Item<'a> = &'a mut [T];
}

impl<T: Pod> View<CutMutPlace<T>> for &mut [T] {
    #[allow(clippy::mut_from_ref, reason = "what is stored is a place, and the chunk lies there")]
    fn view(stored: &CutMutPlace<T>) -> Result<&mut [T], ViewError> {
        let (start, len) = stored.0.find(resolve_writable)?;
        // SAFETY: `find` put the chunk inside the array, which the parent has lent to this loop
        // mutably. Each chunk is claimed once, and looked at once for each call.
        Ok(unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) })
    }
}

impl Argument for ChunkStart {
    type Stored = Self;

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        Ok(encoder.end())
    }

    unsafe fn locate<'a>(_: NonNull<u8>) -> Result<&'a Self, ViewError> {
        Ok(&Self)
    }
}

impl View<ChunkStart> for usize {
    fn view(_: &ChunkStart) -> Result<usize, ViewError> {
        let (start, _) = CURRENT.get().ok_or_else(ViewError::not_in_a_loop)?;
        Ok(start as usize)
    }
}

#[cfg(feature = "ndarray")]
mod shaped {
    use bytemuck::Pod;
    use ndarray::{ArrayView, ArrayViewMut, Dimension, Ix2};

    use super::{CutMutPlace, CutPlace, Param, View, ViewError};

    impl<T: 'static, D: Dimension + 'static> Param for ArrayViewMut<'_, T, D> {
        type Item<'a> = ArrayViewMut<'a, T, D>;
    }

    impl<T: Pod> View<CutPlace<T>> for ArrayView<'_, T, Ix2> {
        fn view(stored: &CutPlace<T>) -> Result<ArrayView<'_, T, Ix2>, ViewError> {
            let chunk = <&[T]>::view(stored)?;
            let columns = stored.0.unit as usize;
            let shape = (chunk.len() / columns.max(1), columns);
            ArrayView::from_shape(shape, chunk).map_err(|_| ViewError::out_of_place())
        }
    }

    impl<T: Pod> View<CutMutPlace<T>> for ArrayViewMut<'_, T, Ix2> {
        fn view(stored: &CutMutPlace<T>) -> Result<ArrayViewMut<'_, T, Ix2>, ViewError> {
            let chunk = <&mut [T]>::view(stored)?;
            let columns = stored.0.unit as usize;
            let shape = (chunk.len() / columns.max(1), columns);
            ArrayViewMut::from_shape(shape, chunk).map_err(|_| ViewError::out_of_place())
        }
    }
}
