//! What can go wrong when an executor is built.

use std::io;

use thiserror::Error;

use super::SubmitError;

/// Why an executor could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting of the builder is out of its range.
    #[error("{setting} is {value}, it must be in {least}..={most}")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// The value that was given.
        value: u64,
        /// The smallest value allowed.
        least: u64,
        /// The largest value allowed.
        most: u64,
    },
    /// The control segment could not be made. A full `/dev/shm` is the usual cause: lower
    /// `task_slots`, or give the container a larger `/dev/shm`. One that is missing or read-only
    /// has to be mounted.
    #[error("control segment of {bytes} bytes cannot be had from /dev/shm ({source}), {remedy}")]
    ControlSegment {
        /// The size asked for.
        bytes: u64,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        remedy: String,
    },
    /// A system call that every executor needs failed: a limit of the process was met, `/proc` is
    /// missing, or a seccomp filter refuses the call.
    #[error("{what} failed: {source}; {remedy}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// What the system said.
        source: io::Error,
        /// What to do about it: the limit that was met and its value, or what to allow.
        remedy: String,
    },
    /// This code lies in a shared library, not in the main program, so the program cannot be
    /// started again as a worker. Build the executor from a program of its own, or with
    /// `Backend::Threads`.
    #[error(
        "this code lies in a shared library, and its program cannot be started again as a worker; \
         run the executor in an executable that links wharf, or use Backend::Threads"
    )]
    NotMainImage,
    /// An executor was built inside a task, deeper than allowed.
    #[error(
        "an executor at nesting depth {depth} was refused, the limit is {limit}; \
         raise Builder::max_depth of the outermost executor if this is meant"
    )]
    TooDeep {
        /// The depth the new executor would have had.
        depth: u32,
        /// The deepest one allowed.
        limit: u32,
    },
    /// A worker could not be started. The cause names the step, and the limit that was met.
    #[error("worker {seat} did not start: {cause}")]
    Worker {
        /// The worker's index.
        seat: u32,
        /// What it, or the system, said.
        cause: String,
    },
    /// The function given to `Builder::on_start` failed in a worker.
    #[error("on_start failed in worker {seat}: {cause}")]
    OnStart {
        /// The worker's index.
        seat: u32,
        /// The panic, the decode error, or how the worker died.
        cause: String,
    },
    /// The environment variable `WHARF_BACKEND` names none that there is.
    #[error("WHARF_BACKEND is `{value}`, it must be processes, threads or sequential")]
    Backend {
        /// What it says.
        value: String,
    },
    /// Workers that are no processes cannot have an environment of their own.
    #[error(
        "Builder::env sets {key}, which workers have only as processes, and the backend is \
         {backend}; start the whole program with it, or use Backend::Processes"
    )]
    Env {
        /// The variable.
        key: String,
        /// The backend, as `WHARF_BACKEND` names it.
        backend: &'static str,
    },
    /// The arguments of `Builder::on_start` could not be stored.
    #[error("the arguments of on_start cannot be stored: {0}")]
    OnStartArguments(#[source] SubmitError),
}
