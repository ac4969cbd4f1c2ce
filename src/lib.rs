//! A process-pool executor for numeric work: large arguments lie in shared memory, and every worker
//! process reads them where they lie.
//!
//! ```
//! use wharf::Executor;
//!
//! fn dot(x: &[f64], y: &[f64]) -> f64 {
//!     x.iter().zip(y).map(|(a, b)| a * b).sum()
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let executor = Executor::new()?;             // one worker process a core
//!     let x = executor.share(&vec![1.0; 4096])?;   // archived once; clones are handles
//!     let mut y = executor.array::<f64>(4096)?;    // built in place: no copy at all
//!     y.fill(2.0);
//!     let y = y.freeze();
//!
//!     let task = executor.submit(dot, (&x, &y))?;  // an ordinary function, ordinary slices
//!     assert_eq!(task.join()?, 8192.0);
//!     Ok(())
//! }
//! ```
//!
//! No registration, no attribute, no `init` call: workers are this same program, started again, and
//! never reach its `main`.
//!
//! # Which way for which value
//!
//! | the value | the way | copies | the task takes |
//! |---|---|---|---|
//! | a number, a small struct | by value | one | `f64`, `&ArchivedT` |
//! | a `Vec`, a `String`, a struct, used once | by value | one | `&[f64]`, `&str`, `&ArchivedT` |
//! | the same, used often | [`Executor::share`], pass `&shared` | one in all | the same |
//! | a large flat array | [`Executor::array`], pass `&array` | none | `&[T]` |
//! | a type that only serde knows | [`Serialized`] | encoded, decoded | `Serialized<T>` |
//! | a large result | [`array()`] in the task, returned | none | |
//! | arrays, in chunks | [`Executor::fill_chunks`], [`Executor::map_reduce`] | none | `&mut [T]` |
//!
//! # Failure
//!
//! A task that panics, or whose process dies, fails alone: [`TaskHandle::join`] returns the
//! [`TaskError`], the worker is replaced, and all other tasks go on.
//!
//! # Backends
//!
//! [`Builder::backend`] or the environment variable `WHARF_BACKEND` runs the same tasks in threads,
//! or in the caller, for debuggers and small inputs: [`Backend`] says what is not the same then.
//!
//! # Watching work
//!
//! [`Map::progress`] and [`Executor::loops`] tell how far maps and loops have come; with the
//! feature `indicatif`, `progress_bar` draws it. [`Executor::stats`] counts tasks, bytes and, with
//! [`Builder::timing`], how long tasks wait and run.
//!
//! With the feature `tracing` there are spans of the target `wharf`: `submit`, `join` and, in
//! workers, `task` at the level `TRACE`; `map`, `loop`, `share`, `array` and `array_from` at
//! `DEBUG`. Workers' starts and ends are events at `INFO`, failures at `WARN`, with process id and
//! seat; they come from the executor's supervisor, a thread of its own, in a span `executor`. Who
//! wants to see `task` sets a subscriber in [`Builder::on_start`]: each worker process has its own.
//!
//! # Limits
//!
//! Linux on a 64-bit little-endian machine. Archives (not arrays) hold 2 GiB unless the feature
//! `pointer_width_64` is on, and `usize` inside archives 32 bits, both by rkyv's format. An
//! executor cannot be built from a shared library that another program has loaded. The README has
//! them all.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "wharf needs Linux: memfd_create, futexes between processes, pidfds and /proc/self/exe"
);
#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("wharf needs a 64-bit little-endian machine: it maps archives as native numbers");

/// Emits a tracing event where the feature is on; costs nothing where it is not.
macro_rules! event {
    (
        $level:ident
        $message:literal $(, $field:ident = $(%$shown:ident)? $($value:expr)?)* $(,)?
    ) => {
        #[cfg(feature = "tracing")]
        tracing::event!(
            target: "wharf",
            tracing::Level::$level,
            $($field = $(%$shown)? $($value)?,)*
            $message
        );
        #[cfg(not(feature = "tracing"))]
        { let _ = $message; $( let _ = (&$($shown)? $($value)?); )* }
    };
}

/// Enters a tracing span until the end of the block where the feature is on; costs nothing where
/// it is not. Values are computed only if somebody wants to see them.
macro_rules! span {
    ($level:ident $name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        #[cfg(feature = "tracing")]
        let _entered = tracing::span!(
            target: "wharf",
            tracing::Level::$level,
            $name,
            $($field = $value,)*
        )
        .entered();
        #[cfg(not(feature = "tracing"))]
        { $( let _ = || $value; )* }
    };
}

/// Names a step of a protocol and the sides that take it: `worker`, `parent` or `both`. Tests end
/// processes there, with the feature `kill-points`; without it this is nothing at all.
macro_rules! step {
    ($sides:ident $name:literal) => {
        #[cfg(feature = "kill-points")]
        crate::sys::at_step(stringify!($sides), $name);
    };
}

mod error;
mod sync;
mod sys;

mod control;
mod memory;

mod archive;
mod task;

mod executor;
mod worker;

#[cfg(feature = "postcard")]
pub use archive::Postcard;
pub use archive::{
    ArchivedArray, ArchivedSerialized, ArchivedShared, AsSerialized, Codec, CodecError,
    MessagePack, Output, Returnable, Serialized, Shared, Storable,
};
#[cfg(feature = "ndarray")]
pub use archive::{ArchivedShaped, Shaped};
pub use error::{
    BuildError, Death, LoopError, ResizeError, ShareError, ShutdownError, SubmitError, TaskError,
    TrySubmitError,
};
#[cfg(feature = "indicatif")]
pub use executor::Bar;
pub use executor::{
    Backend, Builder, Executor, Loops, Map, Observer, Progress, Stats, WorkerStats,
};
pub use memory::{Array, ArrayMut, array, array_for_overwrite};
pub use task::{
    Append, Argument, ChunkStart, Chunked, Constants, LoopArgument, LoopArguments, Param, Rows,
    TaskFn, TaskHandle, TaskOptions, TaskOutput, View, ViewError, Zip, rows,
};
pub use worker::init;

/// What `fuzz/` calls; no part of the API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub use task::fuzzing;

/// Keeps the README's program running.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use bytemuck;
pub use rkyv;
