//! What a task's parameters can be, and how they look at what is stored.

use std::borrow::Cow;
use std::fmt;

use bytemuck::Pod;
use serde::de::DeserializeOwned;

use super::argument::Argument;
use crate::archive::{
    ArchivedArray, ArchivedSerialized, ArchivedShared, ArchivedString, ArchivedVec, Codec,
    Serialized, primitive,
};

/// A type that a task's parameter may have: a reference, a number, `Serialized<T>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a task",
    note = "take a number by value, a slice `&[f64]`, a `&str`, the archived form `&ArchivedT`, \
            or `Serialized<T>`"
)]
pub trait Param {
    /// The parameter with the lifetime of one call.
    type Item<'a>;
}

/// A parameter that can look at an argument which is stored as an `S`.
#[diagnostic::on_unimplemented(
    message = "a parameter `{Self}` does not fit an argument that is stored as `{S}`",
    note = "the table in the documentation of wharf::Argument says which parameter fits which \
            argument"
)]
pub trait View<S: ?Sized>: Param {
    /// Looks at the argument. Only `Serialized` costs more than a few instructions.
    ///
    /// # Errors
    ///
    /// The argument does not decode.
    fn view(stored: &S) -> Result<Self::Item<'_>, ViewError>;
}

/// A parameter that can look at an argument `C`.
#[diagnostic::on_unimplemented(
    message = "an argument `{C}` does not fit a parameter `{Self}`",
    label = "the task takes `{Self}`",
    note = "an integer literal is an i32 unless it says otherwise: write `5u64`",
    note = "a struct is taken in its archived form: `&ArchivedT` for an argument `T`",
    note = "the table in the documentation of wharf::Argument says which parameter fits which \
            argument"
)]
pub trait Fits<C: Argument>: View<C::Stored> {}

#[diagnostic::do_not_recommend]
impl<C: Argument, P: View<C::Stored>> Fits<C> for P {}

/// Why an argument could not be looked at.
#[derive(Debug)]
pub struct ViewError(Cow<'static, str>);

impl ViewError {
    pub(super) fn unreachable_heap() -> Self {
        Self("its memory cannot be mapped in the worker".into())
    }

    pub(super) fn not_in_a_loop() -> Self {
        Self("only a loop has chunks".into())
    }

    pub(super) fn out_of_place() -> Self {
        Self("it does not lie inside the task's arguments".into())
    }
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ViewError {}

impl<T: ?Sized + 'static> Param for &T {
    type Item<'a> = &'a T;
}

impl<T: ?Sized + 'static> View<T> for &T {
    fn view(stored: &T) -> Result<&T, ViewError> {
        Ok(stored)
    }
}

impl View<ArchivedString> for &str {
    fn view(stored: &ArchivedString) -> Result<&str, ViewError> {
        Ok(stored.as_str())
    }
}

impl View<ArchivedShared<String>> for &str {
    fn view(stored: &ArchivedShared<String>) -> Result<&str, ViewError> {
        stored.find().map(ArchivedString::as_str).ok_or_else(ViewError::unreachable_heap)
    }
}

impl<T: Pod> View<ArchivedArray<T>> for &[T] {
    fn view(stored: &ArchivedArray<T>) -> Result<&[T], ViewError> {
        stored.find().ok_or_else(ViewError::unreachable_heap)
    }
}

impl<T: 'static, C: Codec> Param for Serialized<T, C> {
    type Item<'a> = Self;
}

impl<T: DeserializeOwned + 'static, C: Codec> View<ArchivedSerialized<T, C>> for Serialized<T, C> {
    fn view(stored: &ArchivedSerialized<T, C>) -> Result<Self, ViewError> {
        stored.decode().map(Self::new).map_err(|error| ViewError(error.to_string().into()))
    }
}

/// Primitives by value, and slices of them from every kind of vector.
macro_rules! primitives {
    ($($native:ty = $archived:ty),* $(,)?) => {$(
        impl Param for $native {
            type Item<'a> = Self;
        }

        impl View<$archived> for $native {
            fn view(stored: &$archived) -> Result<Self, ViewError> {
                Ok((*stored).into())
            }
        }

        impl View<ArchivedShared<$native>> for $native {
            fn view(stored: &ArchivedShared<$native>) -> Result<Self, ViewError> {
                stored.find().map(|&found| found.into()).ok_or_else(ViewError::unreachable_heap)
            }
        }

        impl View<ArchivedVec<$archived>> for &[$native] {
            fn view(stored: &ArchivedVec<$archived>) -> Result<&[$native], ViewError> {
                Ok(bytemuck::cast_slice(stored.as_slice()))
            }
        }

        impl View<ArchivedShared<Vec<$native>>> for &[$native] {
            fn view(stored: &ArchivedShared<Vec<$native>>) -> Result<&[$native], ViewError> {
                let vec = stored.find().ok_or_else(ViewError::unreachable_heap)?;
                Ok(bytemuck::cast_slice(vec.as_slice()))
            }
        }
    )*};
}

primitives! {
    u8 = u8,
    i8 = i8,
    u16 = primitive::ArchivedU16,
    u32 = primitive::ArchivedU32,
    u64 = primitive::ArchivedU64,
    u128 = primitive::ArchivedU128,
    i16 = primitive::ArchivedI16,
    i32 = primitive::ArchivedI32,
    i64 = primitive::ArchivedI64,
    i128 = primitive::ArchivedI128,
    f32 = primitive::ArchivedF32,
    f64 = primitive::ArchivedF64,
}

/// Types by value that have no slices: not every bit pattern is one of theirs.
macro_rules! scalars {
    ($($native:ty = $archived:ty => |$stored:ident| $to_native:expr),* $(,)?) => {$(
        impl Param for $native {
            type Item<'a> = Self;
        }

        impl View<$archived> for $native {
            fn view($stored: &$archived) -> Result<Self, ViewError> {
                Ok($to_native)
            }
        }

        impl View<ArchivedShared<$native>> for $native {
            fn view(stored: &ArchivedShared<$native>) -> Result<Self, ViewError> {
                let $stored = stored.find().ok_or_else(ViewError::unreachable_heap)?;
                Ok($to_native)
            }
        }
    )*};
}

scalars! {
    bool = bool => |stored| *stored,
    char = primitive::ArchivedChar => |stored| stored.to_native(),
    () = () => |_stored| (),
    usize = primitive::ArchivedUsize => |stored| stored.to_native() as usize,
    isize = primitive::ArchivedIsize => |stored| stored.to_native() as isize,
}

impl View<ArchivedVec<bool>> for &[bool] {
    fn view(stored: &ArchivedVec<bool>) -> Result<&[bool], ViewError> {
        Ok(stored.as_slice())
    }
}

#[cfg(feature = "ndarray")]
mod shaped {
    use bytemuck::Pod;
    use ndarray::{ArrayView, ArrayView1, Dimension, Ix1};

    use super::{Param, View, ViewError};
    use crate::archive::{ArchivedArray, ArchivedShaped};

    impl<T: 'static, D: Dimension + 'static> Param for ArrayView<'_, T, D> {
        type Item<'a> = ArrayView<'a, T, D>;
    }

    impl<T: Pod, D: Dimension + 'static> View<ArchivedShaped<T, D>> for ArrayView<'_, T, D> {
        fn view(stored: &ArchivedShaped<T, D>) -> Result<ArrayView<'_, T, D>, ViewError> {
            stored.view().ok_or_else(ViewError::unreachable_heap)
        }
    }

    impl<T: Pod> View<[T]> for ArrayView<'_, T, Ix1> {
        fn view(stored: &[T]) -> Result<ArrayView1<'_, T>, ViewError> {
            Ok(ArrayView1::from(stored))
        }
    }

    impl<T: Pod> View<ArchivedArray<T>> for ArrayView<'_, T, Ix1> {
        fn view(stored: &ArchivedArray<T>) -> Result<ArrayView1<'_, T>, ViewError> {
            stored.find().map(ArrayView1::from).ok_or_else(ViewError::unreachable_heap)
        }
    }
}
