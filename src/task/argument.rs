//! What can be passed to a task, and how it is found again.

use std::ptr::NonNull;

use bytemuck::Pod;

use super::param::ViewError;
use crate::archive::{
    Archive, EncodeFailure, Encoder, Shared, Storable, checked_usize, read_place, root_of,
};
use crate::memory::{Array, elements, resolve};

/// A value that can be passed to a task: anything that is archived, `&Shared<T>`, `&Array<T>`.
///
/// | argument | what the task's parameter can be |
/// |---|---|
/// | `T` that derives rkyv's traits | `&ArchivedT` |
/// | a number, `bool`, `char` | itself |
/// | `Vec<f64>` and other vectors of numbers | `&[f64]` |
/// | `String` | `&str` |
/// | `Serialized<T>` | `Serialized<T>` |
/// | `&Shared<T>` | whatever `T` can be |
/// | `&Array<T>` | `&[T]`; with the feature `ndarray` also `ArrayView1<T>` |
/// | `&Shaped<T, D>` (feature `ndarray`) | `ArrayView<T, D>` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be passed to a task",
    label = "not an argument of a task",
    note = "to pass the value itself, derive it: \
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]",
    note = "a reference cannot cross processes: pass the value, or share it once with \
            Executor::share and pass &shared",
    note = "for somebody else's type that serde knows, wrap the value: wharf::Serialized(value)"
)]
pub trait Argument {
    /// What lies in shared memory for it.
    type Stored: ?Sized;

    /// Writes the argument and returns where it starts.
    #[doc(hidden)]
    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure>;

    /// Finds the argument again in a worker.
    ///
    /// # Safety
    ///
    /// `at` is what `store` returned, in memory that stays unchanged for `'a`.
    #[doc(hidden)]
    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a Self::Stored, ViewError>;
}

#[diagnostic::do_not_recommend]
impl<T: Storable> Argument for T {
    type Stored = T::Archived;

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        checked_usize(self).map_err(|failure| encoder.fail(failure))?;
        encoder.value(self)
    }

    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a T::Archived, ViewError> {
        // SAFETY: the caller promises that `store` wrote an archived `T` there, and that it stays.
        Ok(unsafe { at.cast::<T::Archived>().as_ref() })
    }
}

impl<T: Archive> Argument for &Shared<T> {
    type Stored = T::Archived;

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        encoder.reference(&self.place(), self.lease())
    }

    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a T::Archived, ViewError> {
        // SAFETY: the caller promises that `store` wrote a reference there.
        let place = unsafe { read_place(at) };
        let root = root_of::<T::Archived>(&place).ok_or_else(ViewError::unreachable_heap)?;
        // SAFETY: the parent referred to a valid archive and keeps it until the task has ended.
        Ok(unsafe { root.as_ref() })
    }
}

#[cfg(feature = "ndarray")]
impl<T: Pod, D: ndarray::Dimension> Argument for &crate::archive::Shaped<T, D> {
    type Stored = crate::archive::ArchivedShaped<T, D>;

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        encoder.value(*self)
    }

    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a Self::Stored, ViewError> {
        // SAFETY: the caller promises that `store` wrote an archived value there, and that it
        // stays.
        Ok(unsafe { at.cast::<Self::Stored>().as_ref() })
    }
}

impl<T: Pod> Argument for &Array<T> {
    type Stored = [T];

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        encoder.reference(&self.place(), self.lease())
    }

    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a [T], ViewError> {
        // SAFETY: the caller promises that `store` wrote a reference there.
        let place = unsafe { read_place(at) };
        let len = elements::<T>(&place).ok_or_else(ViewError::unreachable_heap)?;
        let start = resolve(&place).ok_or_else(ViewError::unreachable_heap)?.cast::<T>();
        // SAFETY: the parent referred to a frozen array of `T` and keeps it until the task has
        // ended.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) })
    }
}
