//! Ordinary functions as tasks: the typing of parameters against arguments, for 0 to 8 of them.

use std::ptr::NonNull;

use bytemuck::Pod;

use super::argument::Argument;
use super::frame::{Fault, Frame, Trampoline};
use super::param::Fits;
use crate::archive::{EncodeFailure, Encoder, Returnable};
use crate::memory::{Array, ArrayMut};
use crate::sys::Image;

/// A function that can run as a task with arguments `A`: a fn item, or a closure that captures
/// nothing.
///
/// `M` names the parameters and is always inferred. Implemented for every function whose parameters
/// fit the arguments, see [`Argument`].
///
/// A closure that captures something does not compile:
///
/// ```compile_fail
/// # let executor = wharf::Executor::new().unwrap();
/// let offset = 1.0;
/// let _ = executor.submit(move |x: f64| x + offset, (2.0,));
/// ```
///
/// Pass what it needs as an argument:
///
/// ```
/// # let executor = wharf::Executor::builder().workers(1).build().unwrap();
/// let task = executor.submit(|x: f64, offset: f64| x + offset, (2.0, 1.0))?;
/// assert_eq!(task.join()?, 3.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot run as a task",
    label = "has a parameter or a result that a task cannot have, or is no function",
    note = "parameters: numbers, `&[f64]`, `&str`, `&ArchivedT` for a struct `T` that derives \
            rkyv's traits (not `T`, not `&T`), `Serialized<T>` for a `T` that derives serde's; \
            8 at most",
    note = "result: a number, `String`, `Vec`, `Array<T>`, `Serialized<T>`, or a type with \
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]",
    note = "arguments: a tuple with one member for each parameter, `(x,)` for one"
)]
pub trait TaskFn<M, A>: Copy + 'static {
    /// What joining the task returns.
    type Output: Returnable;

    /// How many arguments there are.
    #[doc(hidden)]
    const ARGUMENTS: usize;

    /// Writes the arguments, and at the end a table of their positions.
    #[doc(hidden)]
    fn store(args: &A, encoder: &mut Encoder) -> Result<(), EncodeFailure>;

    /// Calls the function with the arguments in `frame`.
    ///
    /// # Safety
    ///
    /// `frame` holds what `store` wrote.
    #[doc(hidden)]
    unsafe fn value(frame: &Frame<'_>) -> Result<Self::Output, Fault>;
}

/// A function that is known by its type alone.
#[diagnostic::on_unimplemented(
    message = "this closure captures a value, which cannot be sent to another process",
    label = "a task must be a fn item or a closure that captures nothing",
    note = "pass what it captures as an argument of the task"
)]
pub trait Stateless: Copy + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Copy + 'static> Stateless for F {}

/// What a function may return: anything [`Returnable`], or an [`ArrayMut`], which is frozen.
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`",
    note = "derive it: #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]",
    note = "or, for somebody else's type that serde knows, return wharf::Serialized<{Self}>",
    note = "or, for a flat array of numbers, fill wharf::array() and return it frozen"
)]
pub trait TaskOutput {
    /// What joining the task returns.
    type Joined: Returnable;

    /// Makes the joined form.
    #[doc(hidden)]
    fn finish(self) -> Self::Joined;
}

#[diagnostic::do_not_recommend]
impl<R: Returnable> TaskOutput for R {
    type Joined = R;

    fn finish(self) -> R {
        self
    }
}

impl<T: Pod> TaskOutput for ArrayMut<T> {
    type Joined = Array<T>;

    fn finish(self) -> Array<T> {
        self.freeze()
    }
}

/// The one value of a function's type, which has no bytes.
fn conjure<F: Copy + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "wharf: a task must be a fn item or a closure that captures nothing. \
             What a closure captures cannot be sent to another process: pass it as an argument. \
             Instead of a function pointer, give the function itself by its name"
        );
    }
    // SAFETY: reading no bytes is allowed at any aligned address. A value of the type exists, the
    // one that was given to `submit`, and the type is `Copy`: this is a copy of it.
    unsafe { NonNull::<F>::dangling().read() }
}

fn trampoline<F: TaskFn<M, A>, M, A>(frame: &mut Frame<'_>) -> Result<(), Fault> {
    // SAFETY: whoever made the frame promised that `store` of this function wrote its arguments.
    unsafe { call::<F, M, A>(frame) }
}

/// Calls the function with the arguments in `frame` and stores what it returns.
///
/// # Safety
///
/// `frame` holds what `store` wrote.
pub(super) unsafe fn call<F: TaskFn<M, A>, M, A>(frame: &mut Frame<'_>) -> Result<(), Fault> {
    span!(TRACE "task", name = std::any::type_name::<F>());
    // SAFETY: the caller's promise.
    let value = unsafe { F::value(frame) }?;
    frame.store_result(&value)
}

/// The task's code, as the workers find it. `None`: it does not lie in the main program.
pub(crate) fn code_of<F: TaskFn<M, A>, M, A>(_: F) -> Option<u64> {
    let code: Trampoline = trampoline::<F, M, A>;
    Image::get().offset_of(code as usize)
}

/// The task's name in errors: the function's path.
pub(crate) fn name_of<F>(_: &F) -> &'static str {
    std::any::type_name::<F>()
}

/// Tells a task's name. Half the size of the name, and handles come in millions.
pub(crate) type TaskName = fn() -> &'static str;

/// As [`name_of`], when it is needed.
pub(crate) fn namer_of<F>(_: &F) -> TaskName {
    std::any::type_name::<F>
}

/// Writes a task's arguments.
pub(crate) fn store<F: TaskFn<M, A>, M, A>(
    args: &A,
    encoder: &mut Encoder,
) -> Result<(), EncodeFailure> {
    F::store(args, encoder)
}

macro_rules! task_fn {
    ($count:literal $(, $P:ident $C:ident $index:tt)*) => {
        impl<F, R, $($P, $C),*> TaskFn<fn($($P),*), ($($C,)*)> for F
        where
            F: Stateless + Fn($($P),*) -> R + for<'a> Fn($($P::Item<'a>),*) -> R,
            R: TaskOutput,
            $($C: Argument<Stored: 'static>, $P: Fits<$C>,)*
        {
            type Output = R::Joined;

            const ARGUMENTS: usize = $count;

            #[allow(unused_variables, reason = "no arguments, nothing to store")]
            fn store(args: &($($C,)*), encoder: &mut Encoder) -> Result<(), EncodeFailure> {
                let positions: [u64; $count] = [$(args.$index.store(encoder)?),*];
                encoder.words(&positions).map(drop)
            }

            #[allow(unused_variables, reason = "no arguments, nothing to look at")]
            unsafe fn value(frame: &Frame<'_>) -> Result<R::Joined, Fault> {
                #[allow(
                    non_snake_case,
                    clippy::too_many_arguments,
                    reason = "one for each parameter"
                )]
                fn apply<R, $($P),*>(f: impl Fn($($P),*) -> R, $($P: $P),*) -> R {
                    f($($P),*)
                }
                let result = apply(
                    conjure::<F>(),
                    $(
                        // SAFETY: the caller promises what `store` wrote: this type lies there.
                        unsafe { frame.argument::<$P, $C>($index, $count) }?
                    ),*
                );
                Ok(result.finish())
            }
        }
    };
}

task_fn!(0);
task_fn!(1, P0 C0 0);
task_fn!(2, P0 C0 0, P1 C1 1);
task_fn!(3, P0 C0 0, P1 C1 1, P2 C2 2);
task_fn!(4, P0 C0 0, P1 C1 1, P2 C2 2, P3 C3 3);
task_fn!(5, P0 C0 0, P1 C1 1, P2 C2 2, P3 C3 3, P4 C4 4);
task_fn!(6, P0 C0 0, P1 C1 1, P2 C2 2, P3 C3 3, P4 C4 4, P5 C5 5);
task_fn!(7, P0 C0 0, P1 C1 1, P2 C2 2, P3 C3 3, P4 C4 4, P5 C5 5, P6 C6 6);
task_fn!(8, P0 C0 0, P1 C1 1, P2 C2 2, P3 C3 3, P4 C4 4, P5 C5 5, P6 C6 6, P7 C7 7);
