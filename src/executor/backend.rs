//! What runs the tasks: processes, threads, or the caller itself.

use std::fmt;
use std::io;

use super::counts::Counts;
use super::launch::Launcher;
use super::seat::{Plan, hello, seat_local};
use crate::control::{Control, control_bytes};
use crate::error::BuildError;
use crate::memory::{Crew, Nesting};
use crate::sync::Arc;
use crate::sys::{self, SegmentName};
use crate::task::Desk;
use crate::worker::CallingWorker;

/// What runs an executor's tasks: [`Builder::backend`](crate::Builder::backend).
///
/// The same code runs over the same shared memory: results, errors and types are the same,
/// floating-point results bit by bit. What is not the same:
///
/// | | `Processes` | `Threads` | `Sequential` |
/// |---|---|---|---|
/// | a task runs | in a worker process | in a thread of this process | in `submit`, in its thread |
/// | a crash (abort, signal, `exit`) costs | the task | the program | the program |
/// | a panic where panics abort | the task | the program | the program |
/// | global state | one a worker | the program's | the program's |
/// | thread-locals | one a worker | one a worker | the caller's |
/// | standard input | empty | the program's | the program's |
/// | `cancel` of a running task | ends it at once | takes effect at its end | finds it ended |
/// | a deadline | ends it at once | takes effect at its end | takes effect at its end |
/// | `kill` | ends running tasks | waits for running tasks | finds none running |
/// | `worker_pids` | theirs | empty | empty |
/// | `Stats::workers` | ready processes | ready threads | 1, the caller |
/// | `on_start` | in each process | in each thread | once, in `build` |
/// | `Builder::env` | sets it | an error unless it is so | an error unless it is so |
/// | `OMP_NUM_THREADS` and its like | a share of the cores | the program's | the program's |
/// | `max_tasks_per_worker`, `idle_timeout` | replace processes | replace threads | nothing |
/// | `pin_workers` | keeps processes to cores | keeps threads to cores | nothing |
/// | `max_memory_per_worker` | replaces processes | nothing | nothing |
/// | `retries` | after a crash | nothing | nothing |
/// | [`array`](crate::array()) in threads of a task | works | `NotInTask` | `NotInTask` |
/// | `max_depth` in threads of a task | holds | not known there | not known there |
/// | arrays that a task may return | those of its process | those of its thread | those of tasks |
/// | a task that uses the executor that runs it | has no access to it | `Nested` | `Nested` |
/// | inside a shared library of another program | an error | works | works |
/// | needs `/dev/shm` and `/proc` | yes | no | no |
///
/// With `Threads` and `Sequential`, a panic hook keeps the accounts of tasks' panics and passes all
/// other panics on to the hook that was there before the first such executor. A hook that the
/// program sets later comes first, and then the place of a task's panic is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// Worker processes: a task that crashes its process fails alone.
    #[default]
    Processes,
    /// Threads of this process, for code that does not crash; they start faster, and a debugger or
    /// profiler sees them without further ado.
    Threads,
    /// No workers: `submit` runs the task and then returns. For debuggers and small inputs.
    Sequential,
}

impl Backend {
    const ALL: [Self; 3] = [Self::Processes, Self::Threads, Self::Sequential];

    /// What the environment variable `WHARF_BACKEND` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::Sequential => "sequential",
        }
    }

    /// The threads that fill the parent's large blocks.
    pub(super) fn crew(self, cores: u32) -> Crew {
        if self == Self::Sequential { Crew::ALONE } else { Crew::on(cores) }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes a control segment. It has a name where workers are processes: they have to find it.
pub(super) fn make_control(
    launcher: Option<&Launcher>,
    counts: &Counts,
    budget: u64,
    nesting: Nesting,
) -> Result<Arc<Control>, BuildError> {
    let &Counts { slots, seats, .. } = counts;
    let Some(launcher) = launcher else {
        let control = Control::private(slots, seats, budget, nesting.depth);
        return Ok(Arc::new(control.map_err(system("mapping the task table"))?));
    };
    sweep();
    let control = Control::create(launcher.name(), slots, seats, budget).map_err(|source| {
        let bytes = control_bytes(slots, seats) as u64;
        let remedy = sys::segment_remedy(&source);
        BuildError::ControlSegment { bytes, source, remedy }
    })?;
    Ok(Arc::new(control))
}

/// Makes whoever submits a task its worker. Runs the start function in this thread.
pub(super) fn run_in_caller(plan: &Plan, desk: &Arc<Desk>) -> Result<(), BuildError> {
    let berth = seat_local(plan, desk, 0).map_err(system("making a result heap"))?;
    let hello = hello(plan, desk, 0, &berth.results);
    let worker = CallingWorker::start(&hello, berth)
        .map_err(|cause| BuildError::OnStart { seat: 0, cause })?;
    desk.run_in_caller(Box::new(worker));
    Ok(())
}

/// Takes away names of executors that were killed together with all their workers.
fn sweep() {
    for name in SegmentName::list() {
        if sys::owner_is_gone(&name) {
            let _ = sys::unlink(&name);
        }
    }
}

/// The error of a system call that every executor needs.
pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> BuildError {
    move |source| BuildError::System { what, remedy: sys::remedy(&source), source }
}
