//! What can go wrong, one enum a moment: building, sharing, submitting, joining, shutting down.
//!
//! Messages hold the numbers and the remedy. `io::Error`s of the system are kept as sources.

mod build;
mod looping;

use std::fmt;
use std::time::Duration;

use thiserror::Error;

pub use build::BuildError;
pub use looping::LoopError;

/// Why a value could not be put into shared memory.
#[derive(Debug, Clone, PartialEq, Eq, Error, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[non_exhaustive]
pub enum ShareError {
    /// The memory budget does not hold it. Drop what is no longer used, or raise
    /// `Builder::memory_budget`.
    #[error(
        "{asked} bytes were asked for, {left} are left of the memory budget; \
         drop shared values or raise Builder::memory_budget"
    )]
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes left of the budget.
        left: u64,
    },
    /// An archive larger than rkyv's relative pointers reach. Use an `Array`, split the value, or
    /// build with the feature `pointer_width_64`.
    #[error(
        "the archive passes {limit} bytes, the reach of rkyv's 32-bit pointers; \
         use Array, split the value, or enable the feature pointer_width_64"
    )]
    TooLarge {
        /// The largest archive possible in this build.
        limit: u64,
    },
    /// More blocks are alive than the heap can keep account of.
    #[error("{limit} blocks of shared memory are in use, the most that one heap holds; drop some")]
    TooManyBlocks {
        /// The limit that was reached.
        limit: u64,
    },
    /// The heap's addresses do not hold it: `RLIMIT_AS` or `RLIMIT_FSIZE` made the heap smaller
    /// than the budget wants. Raise the limit before the executor is built, or drop shared values.
    #[error(
        "{asked} bytes were asked for, which the {reserved} bytes of addresses of the heap do not \
         hold; raise RLIMIT_AS (ulimit -v) or RLIMIT_FSIZE (ulimit -f), or drop shared values"
    )]
    AddressSpace {
        /// Bytes asked for.
        asked: u64,
        /// Bytes of addresses that the heap has.
        reserved: u64,
    },
    /// This process is a fork of the one that built the executor. Build another one here.
    #[error("this process is a fork of the one that built the executor; build one here")]
    Forked,
    /// A `usize` or `isize` that does not fit rkyv's 32-bit archived form. Use `u64` or `i64`.
    #[error(
        "{value} does not fit the archived form of {kind}, which has 32 bits; use a 64-bit type"
    )]
    Truncated {
        /// The value's type.
        kind: String,
        /// The value in decimal.
        value: String,
    },
    /// A `Shared` or `Array` of another executor. Share the value with this one.
    #[error("a Shared or Array of another executor was passed; share the value with this executor")]
    Foreign,
    /// The value's own code, or its codec, refused to be encoded.
    #[error("the value cannot be encoded: {cause}")]
    Encode {
        /// What it said.
        cause: String,
    },
    /// `wharf::array` was called outside a task. Use `Executor::array` in the parent.
    #[error("wharf::array was called outside a task; use Executor::array")]
    NotInTask,
}

/// Why a task was not accepted.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The arguments could not be put into shared memory.
    #[error(transparent)]
    Arguments(#[from] ShareError),
    /// The task's code does not lie in the main program, so a worker cannot find it.
    #[error(
        "task {task} does not lie in the main program's code; \
         link the library that holds it statically"
    )]
    NotInImage {
        /// The task's name.
        task: &'static str,
    },
    /// A task has submitted a task to the executor that runs it, or to one outside that: it could
    /// wait for itself. Build another executor inside the task, and raise `Builder::max_depth`.
    #[error(
        "task {task} was submitted inside a task of the same executor, or of one nested in it; \
         build another executor there, with Builder::max_depth of the outermost raised"
    )]
    Nested {
        /// The task's name.
        task: &'static str,
    },
    /// The executor was killed or is shutting down.
    #[error("the executor is shut down, task {task} was not accepted")]
    Closed {
        /// The task's name.
        task: &'static str,
    },
    /// No worker can be started any more, or this process is a fork of the one that built the
    /// executor. The reason says which.
    #[error("the executor is broken: {reason}")]
    Broken {
        /// Why workers cannot be started.
        reason: String,
    },
}

/// Why `try_submit` gave the arguments back.
#[non_exhaustive]
pub enum TrySubmitError<A> {
    /// Every task slot is in use. Join some tasks, or raise `Builder::task_slots`.
    Full {
        /// The arguments, untouched.
        args: A,
        /// How many slots there are.
        slots: u32,
    },
    /// The task cannot be accepted at all.
    Refused {
        /// The arguments, untouched.
        args: A,
        /// Why.
        error: SubmitError,
    },
}

impl<A> TrySubmitError<A> {
    /// Returns the arguments that were refused.
    pub fn into_args(self) -> A {
        match self {
            Self::Full { args, .. } | Self::Refused { args, .. } => args,
        }
    }

    /// Tells whether the task table was full, so that a later try may succeed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl<A> fmt::Debug for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { slots, .. } => {
                f.debug_struct("Full").field("slots", slots).finish_non_exhaustive()
            }
            Self::Refused { error, .. } => {
                f.debug_struct("Refused").field("error", error).finish_non_exhaustive()
            }
        }
    }
}

impl<A> fmt::Display for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { slots, .. } => write!(
                f,
                "all {slots} task slots are in use; join tasks or raise Builder::task_slots"
            ),
            Self::Refused { error, .. } => error.fmt(f),
        }
    }
}

impl<A> std::error::Error for TrySubmitError<A> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Full { .. } => None,
            Self::Refused { error, .. } => Some(error),
        }
    }
}

/// How a worker process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// Killed by this signal.
    Signal(i32),
    /// Left with this exit code.
    Code(i32),
    /// Somebody else collected the exit status: SIGCHLD is ignored, or a handler of the program
    /// waits for any child.
    Unknown,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Unknown => f.write_str("unknown cause"),
        }
    }
}

/// Why a task has no result.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked. Its worker goes on.
    #[error("task {task} panicked at {location}: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
        /// File, line and column.
        location: String,
        /// The backtrace, if `RUST_BACKTRACE` asks for one.
        backtrace: Option<String>,
        /// The task's name.
        task: &'static str,
    },
    /// The worker that ran the task died. The worker was replaced, other tasks are not affected.
    #[error("worker {pid} died of {death} while it ran task {task}")]
    WorkerDied {
        /// How it ended.
        death: Death,
        /// The process that died.
        pid: u32,
        /// The task's name.
        task: &'static str,
    },
    /// An argument did not decode in the worker (the function was not called), or the result did
    /// not decode in the parent.
    #[error("{what} of task {task} does not decode: {cause}")]
    Decode {
        /// `argument N`, counted from 1, or `the result`.
        what: String,
        /// What the decoder said.
        cause: String,
        /// The task's name.
        task: &'static str,
    },
    /// The result could not be put into shared memory.
    #[error("the result of task {task} cannot be stored: {error}")]
    Result {
        /// Why not.
        error: ShareError,
        /// The task's name.
        task: &'static str,
    },
    /// The task was cancelled, or the executor was killed before it ran.
    #[error("task {task} was cancelled")]
    Cancelled {
        /// The task's name.
        task: &'static str,
    },
    /// The task ran longer than its deadline allowed. Its worker was replaced.
    #[error("task {task} ran longer than its deadline of {limit:?}, its worker was replaced")]
    DeadlineExceeded {
        /// The deadline, counted from the start of the run.
        limit: Duration,
        /// The task's name.
        task: &'static str,
    },
    /// An item of a map was not given to the workers: it cannot be stored, or there is no memory
    /// for it and nothing under way that would give some back. The inner error tells what to do.
    #[error("an item of task {task} was not submitted: {error}")]
    NotSubmitted {
        /// Why not.
        error: SubmitError,
        /// The task's name.
        task: &'static str,
    },
    /// This process is a fork of the one that submitted the task. Join it there.
    #[error("task {task} was submitted by the process that this one is a fork of; join it there")]
    Forked {
        /// The task's name.
        task: &'static str,
    },
    /// A task was joined inside a task of the same executor, or of one nested in it, which could
    /// wait for itself. It runs, and its result is thrown away.
    #[error(
        "task {task} was joined inside a task of the same executor, or of one nested in it, before \
         it had ended; join it outside"
    )]
    Nested {
        /// The task's name.
        task: &'static str,
    },
    /// No worker could be started to run the task.
    #[error("task {task} was not run: {reason}")]
    Broken {
        /// Why workers cannot be started.
        reason: String,
        /// The task's name.
        task: &'static str,
    },
}

/// Why the number of workers was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{workers} workers were asked for, this executor can have 1 to {most}; \
         raise Builder::workers_max"
)]
#[non_exhaustive]
pub struct ResizeError {
    /// The number asked for.
    pub workers: usize,
    /// The largest number possible.
    pub most: usize,
}

/// Why a shutdown was not orderly.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Tasks that were still queued could not be run, because no worker could be started.
    #[error("queued tasks could not be run: {reason}")]
    Broken {
        /// Why workers cannot be started.
        reason: String,
    },
    /// The supervising thread panicked, which is a bug in wharf.
    #[error("the supervisor panicked; please report this")]
    Supervisor,
}
