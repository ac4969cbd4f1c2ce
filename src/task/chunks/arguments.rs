//! Arguments of loops: the arrays that are cut, then what every chunk sees whole.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;

use super::{Chunked, Zip};
use crate::archive::{EncodeFailure, Encoder};
use crate::error::LoopError;
use crate::memory::{ArrayMut, Place, resolve};
use crate::task::argument::Argument;
use crate::task::param::ViewError;

/// An argument that each chunk of a loop sees whole: whatever a task takes, and `&ArrayMut`, which
/// nobody can write while the loop goes on.
pub trait LoopArgument {
    /// What the tasks get of it.
    #[doc(hidden)]
    type Argument: Argument;

    #[doc(hidden)]
    fn into_argument(self) -> Self::Argument;
}

#[diagnostic::do_not_recommend]
impl<A: Argument> LoopArgument for A {
    type Argument = A;

    fn into_argument(self) -> A {
        self
    }
}

impl<T: Pod> LoopArgument for &ArrayMut<T> {
    type Argument = Whole<T>;

    fn into_argument(self) -> Whole<T> {
        Whole { place: self.place(), family: self.family(), _elements: PhantomData }
    }
}

/// An array that is read whole, on its way to the tasks. Opaque.
pub struct Whole<T> {
    place: Place,
    family: u64,
    _elements: PhantomData<T>,
}

impl<T> fmt::Debug for Whole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Whole").field(&self.place).finish()
    }
}

impl<T: Pod> Argument for Whole<T> {
    type Stored = [T];

    fn store(&self, encoder: &mut Encoder) -> Result<u64, EncodeFailure> {
        let Place { heap, offset, len } = self.place;
        encoder.borrowed(self.family, &[heap, offset, len])
    }

    unsafe fn locate<'a>(at: NonNull<u8>) -> Result<&'a [T], ViewError> {
        // SAFETY: the caller promises that `store` wrote three words there.
        let [heap, offset, len] = unsafe { at.cast::<[u64; 3]>().read() };
        let start =
            resolve(&Place { heap, offset, len }).ok_or_else(ViewError::unreachable_heap)?;
        let elements = len as usize / size_of::<T>().max(1);
        // SAFETY: `resolve` found the place; the parent lends the array to the loop, so that nobody
        // writes it, and any bytes are values of `T`.
        Ok(unsafe { std::slice::from_raw_parts(start.cast::<T>().as_ptr(), elements) })
    }
}

/// A tuple of [`LoopArgument`]s, up to four.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of a loop",
    note = "pass a tuple of up to four, `()` for none: numbers, `&shared`, `&array`, `&array_mut`, \
            values that derive rkyv's traits, `ChunkStart`"
)]
pub trait LoopArguments {
    /// What the tasks get of them.
    #[doc(hidden)]
    type Arguments;

    #[doc(hidden)]
    fn into_arguments(self) -> Self::Arguments;
}

/// A tuple that another can be put behind.
pub trait Append<B> {
    /// Both, one after the other.
    type All;

    /// Puts them together.
    #[doc(hidden)]
    fn append(self, behind: B) -> Self::All;
}

macro_rules! zip {
    ($first:ident $(, $Z:ident)*) => {
        impl<$first: Chunked, $($Z: Chunked),*> Zip for ($first, $($Z,)*) {
            type Arguments = ($first::Argument, $($Z::Argument,)*);

            fn units(&self) -> Result<usize, LoopError> {
                #[allow(non_snake_case, reason = "one for each array")]
                let ($first, $($Z,)*) = self;
                let first = $first.units()?;
                #[allow(unused_mut, unused_variables, reason = "one array has no others")]
                let mut number = 1;
                $(
                    number += 1;
                    let other = $Z.units()?;
                    if other != first {
                        return Err(LoopError::Lengths { first, number, other });
                    }
                )*
                Ok(first)
            }

            fn unit_bytes(&self) -> usize {
                #[allow(non_snake_case, reason = "one for each array")]
                let ($first, $($Z,)*) = self;
                $first.unit_bytes() $(+ $Z.unit_bytes())*
            }

            fn into_arguments(self) -> Self::Arguments {
                #[allow(non_snake_case, reason = "one for each array")]
                let ($first, $($Z,)*) = self;
                ($first.into_cut(), $($Z.into_cut(),)*)
            }
        }
    };
}

zip!(Z0);
zip!(Z0, Z1);
zip!(Z0, Z1, Z2);
zip!(Z0, Z1, Z2, Z3);

impl<Z: Chunked> Zip for Z {
    type Arguments = (Z::Argument,);

    fn units(&self) -> Result<usize, LoopError> {
        Chunked::units(self)
    }

    fn unit_bytes(&self) -> usize {
        Chunked::unit_bytes(self)
    }

    fn into_arguments(self) -> Self::Arguments {
        (self.into_cut(),)
    }
}

macro_rules! loop_arguments {
    ($($A:ident),*) => {
        impl<$($A: LoopArgument),*> LoopArguments for ($($A,)*) {
            type Arguments = ($($A::Argument,)*);

            #[allow(non_snake_case, clippy::unused_unit, reason = "one for each, or none")]
            fn into_arguments(self) -> Self::Arguments {
                let ($($A,)*) = self;
                ($($A.into_argument(),)*)
            }
        }
    };
}

loop_arguments!();
loop_arguments!(A0);
loop_arguments!(A0, A1);
loop_arguments!(A0, A1, A2);
loop_arguments!(A0, A1, A2, A3);

/// Tuples of up to `$Z`s with up to `$A`s behind them.
macro_rules! append {
    ([$($Z:ident),*] [$($A:ident),*]) => {
        impl<$($Z,)* $($A),*> Append<($($A,)*)> for ($($Z,)*) {
            type All = ($($Z,)* $($A,)*);

            #[allow(non_snake_case, reason = "one for each")]
            fn append(self, behind: ($($A,)*)) -> Self::All {
                let (($($Z,)*), ($($A,)*)) = (self, behind);
                ($($Z,)* $($A,)*)
            }
        }
    };
    ([$($Z:ident),*]) => {
        append!([$($Z),*] []);
        append!([$($Z),*] [A0]);
        append!([$($Z),*] [A0, A1]);
        append!([$($Z),*] [A0, A1, A2]);
        append!([$($Z),*] [A0, A1, A2, A3]);
    };
}

append!([Z0]);
append!([Z0, Z1]);
append!([Z0, Z1, Z2]);
append!([Z0, Z1, Z2, Z3]);
