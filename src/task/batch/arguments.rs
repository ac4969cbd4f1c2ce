//! Constant arguments in front of each item.

use super::super::argument::Argument;
use crate::archive::{EncodeFailure, Encoder};

/// The constant arguments of a map over items of type `T`: a tuple of up to seven.
///
/// Each is anything that is an [`Argument`]; the function takes them in front of the item. See
/// [`Executor::map_with`](crate::Executor::map_with).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the constant arguments of a map",
    note = "give a tuple of up to seven, `(x,)` for one; each must be an argument of a task"
)]
pub trait Constants<T> {
    /// The function's arguments: the constants, then the item.
    type Arguments;

    /// How many there are.
    #[doc(hidden)]
    const COUNT: usize;

    /// Writes them, and at the end a table of their positions.
    #[doc(hidden)]
    fn store(&self, encoder: &mut Encoder) -> Result<(), EncodeFailure>;
}

macro_rules! constants {
    ($count:literal $(, $C:ident $index:tt)*) => {
        impl<T, $($C: Argument),*> Constants<T> for ($($C,)*) {
            type Arguments = ($($C,)* T,);

            const COUNT: usize = $count;

            fn store(&self, encoder: &mut Encoder) -> Result<(), EncodeFailure> {
                let positions: [u64; $count] = [$(self.$index.store(encoder)?),*];
                encoder.words(&positions).map(drop)
            }
        }
    };
}

constants!(0);
constants!(1, C0 0);
constants!(2, C0 0, C1 1);
constants!(3, C0 0, C1 1, C2 2);
constants!(4, C0 0, C1 1, C2 2, C3 3);
constants!(5, C0 0, C1 1, C2 2, C3 3, C4 4);
constants!(6, C0 0, C1 1, C2 2, C3 3, C4 4, C5 5);
constants!(7, C0 0, C1 1, C2 2, C3 3, C4 4, C5 5, C6 6);
