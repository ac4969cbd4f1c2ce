//! Arrays that a loop cuts into chunks, in step, and what a task sees of the chunk it is given.

mod arguments;
mod cut;
mod ranges;

use bytemuck::Pod;

pub use arguments::{Append, LoopArgument, LoopArguments};
pub use cut::ChunkStart;
use cut::{Cut, CutMut};
pub(crate) use ranges::{CURSORLESS, LoopOrder, RangeCode, fill_code, reduce_code};

use super::argument::Argument;
use crate::error::LoopError;
use crate::memory::{Array, ArrayMut};

/// An array that a loop cuts into chunks: `&array` and `&array_mut` to read, `&mut array_mut` to
/// write, and [`Rows`] of them.
///
/// Its chunk is a parameter of the loop's function: `&[T]`, or `&mut [T]` where it is written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cut into chunks",
    note = "pass `&array`, or `&mut array` to fill it; several as a tuple; `rows(&array, columns)` \
            to cut between rows"
)]
pub trait Chunked {
    /// What the tasks get of it.
    #[doc(hidden)]
    type Argument: Argument;

    /// How many elements, or rows, it has.
    #[doc(hidden)]
    fn units(&self) -> Result<usize, LoopError>;

    /// How many bytes a unit has.
    #[doc(hidden)]
    fn unit_bytes(&self) -> usize;

    #[doc(hidden)]
    fn into_cut(self) -> Self::Argument;
}

/// Arrays that a loop cuts in step: one, or a tuple of up to four.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cut into chunks",
    note = "pass `&array`, or `&mut array` to fill it; several as a tuple of up to four"
)]
pub trait Zip {
    /// What the tasks get of them, a tuple.
    #[doc(hidden)]
    type Arguments;

    /// How many elements, or rows, they have: each as many as the first.
    #[doc(hidden)]
    fn units(&self) -> Result<usize, LoopError>;

    /// How many bytes a unit has of all of them together.
    #[doc(hidden)]
    fn unit_bytes(&self) -> usize;

    #[doc(hidden)]
    fn into_arguments(self) -> Self::Arguments;
}

/// An array of rows, for a loop that is to cut between rows: made by [`rows`].
#[derive(Debug, Clone, Copy)]
#[must_use = "rows do nothing until they are given to a loop"]
pub struct Rows<A> {
    array: A,
    columns: usize,
}

/// Cuts a flat array between rows of `columns` elements: a loop over it counts rows.
///
/// The function gets whole rows, one after the other, as `&[T]` or `&mut [T]`; with the feature
/// `ndarray` also as `ArrayView2<T>` or `ArrayViewMut2<T>`.
pub fn rows<A>(array: A, columns: usize) -> Rows<A> {
    Rows { array, columns }
}

/// What can be cut, as it is and between rows.
macro_rules! chunked {
    ($($array:ty => $argument:ident),*) => {$(
        impl<T: Pod> Chunked for $array {
            type Argument = $argument<T>;

            fn units(&self) -> Result<usize, LoopError> {
                Ok(self.len())
            }

            fn unit_bytes(&self) -> usize {
                size_of::<T>()
            }

            fn into_cut(self) -> $argument<T> {
                $argument::of(self.place(), self.family())
            }
        }

        impl<T: Pod> Chunked for Rows<$array> {
            type Argument = $argument<T>;

            fn units(&self) -> Result<usize, LoopError> {
                let (len, columns) = (self.array.len(), self.columns);
                if columns == 0 || !len.is_multiple_of(columns) {
                    return Err(LoopError::Rows { len, columns });
                }
                Ok(len / columns)
            }

            fn unit_bytes(&self) -> usize {
                size_of::<T>() * self.columns
            }

            fn into_cut(self) -> $argument<T> {
                self.array.into_cut().with_unit(self.columns)
            }
        }
    )*};
}

chunked!(&Array<T> => Cut, &ArrayMut<T> => Cut, &mut ArrayMut<T> => CutMut);
