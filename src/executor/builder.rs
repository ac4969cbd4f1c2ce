//! Settings of an executor.

mod build;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

use super::backend::Backend;
use super::counts::Wanted;
use super::seat::Terms;
use crate::archive::{EncodeFailure, Encoder};
use crate::task::{TaskFn, code_of, name_of, store};

/// The longest that a worker spins for the next task.
const SPIN: Duration = Duration::from_micros(50);

/// Settings of an [`Executor`](crate::Executor). The defaults are those of
/// [`Executor::new`](crate::Executor::new).
///
/// ```
/// use wharf::Executor;
///
/// let executor = Executor::builder().workers(2).task_slots(256).build()?;
/// assert_eq!(executor.workers(), 2);
/// # Ok::<(), wharf::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    backend: Option<Backend>,
    wanted: Wanted,
    terms: Terms,
    retain_bytes: Option<u64>,
    huge_pages: bool,
    spin: Duration,
    is_pinned: bool,
    max_depth: u32,
    pub(super) timing: bool,
    env: Vec<(OsString, OsString)>,
    on_start: Option<OnStart>,
}

/// What to run in each worker before its first task.
struct OnStart {
    task: &'static str,
    code: Option<u64>,
    store: StoreArguments,
}

type StoreArguments = Box<dyn Fn(&mut Encoder) -> Result<(), EncodeFailure> + Send>;

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("backend", &self.backend)
            .field("workers", &self.wanted.workers)
            .field("workers_max", &self.wanted.workers_max)
            .field("terms", &self.terms)
            .field("task_slots", &self.wanted.task_slots)
            .field("memory_budget", &self.wanted.budget_bytes)
            .field("retain_memory", &self.retain_bytes)
            .field("huge_pages", &self.huge_pages)
            .field("spin", &self.spin)
            .field("pin_workers", &self.is_pinned)
            .field("max_depth", &self.max_depth)
            .field("timing", &self.timing)
            .field("env", &self.env)
            .field("on_start", &self.on_start.as_ref().map(|start| start.task))
            .finish()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            backend: None,
            wanted: Wanted::default(),
            terms: Terms::default(),
            retain_bytes: None,
            huge_pages: true,
            spin: SPIN,
            is_pinned: false,
            max_depth: 1,
            timing: false,
            env: Vec::new(),
            on_start: None,
        }
    }

    /// Sets what runs the tasks: processes, threads, or the caller itself.
    ///
    /// Default: what the environment variable `WHARF_BACKEND` says (`processes`, `threads` or
    /// `sequential`), else processes. What is set here wins: a program that needs processes has
    /// them, and one that leaves the choice to whoever runs it does not call this.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Sets how many workers to keep, 1 to 1024.
    ///
    /// Default: the cores that this process may use (affinity and cgroup limits honoured). With
    /// [`Backend::Sequential`] it is what [`Executor::workers`](crate::Executor::workers) returns,
    /// and nothing else.
    pub fn workers(mut self, workers: usize) -> Self {
        self.wanted.workers = Some(workers);
        self
    }

    /// Sets how many workers [`Executor::resize`](crate::Executor::resize) may ask for, up to 1024.
    /// Default 64, or what [`workers`](Self::workers) asks for if that is more.
    ///
    /// Each takes 1.5 KiB of `/dev/shm`.
    pub fn workers_max(mut self, workers: usize) -> Self {
        self.wanted.workers_max = Some(workers);
        self
    }

    /// Replaces each worker after it has run so many tasks. For code that leaks.
    ///
    /// The worker leaves between two tasks, and no task notices. Default: never. Zero means never.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.terms.tasks_max = tasks;
        self
    }

    /// Replaces a worker when it has more than so many bytes of memory of its own between two
    /// tasks: its heap and stacks, not arguments and results in shared memory.
    ///
    /// Costs one system call a task. Default: never. Zero means never. Only for workers that are
    /// processes: threads have no memory of their own.
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.terms.memory_max = bytes;
        self
    }

    /// Lets workers leave that have had nothing to do for so long. They come back when tasks are
    /// queued, each within milliseconds.
    ///
    /// Default: they stay. Zero means that too.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.terms.idle = timeout;
        self
    }

    /// Sets how many tasks can be under way at a time, 1 to 1,048,576. Default 1024, or 8 for each
    /// of [`workers_max`](Self::workers_max) where that is more.
    ///
    /// Each takes 272 bytes of `/dev/shm`. `submit` sleeps while all slots hold tasks that have not
    /// ended; results that nobody has joined yet do not count.
    pub fn task_slots(mut self, slots: u32) -> Self {
        self.wanted.task_slots = Some(slots);
        self
    }

    /// Sets how many bytes of shared memory arguments and results may hold together, at least 1
    /// MiB.
    ///
    /// A result counts until it is dropped and its worker has taken notice, at the end of its
    /// present task.
    ///
    /// Default: three quarters of the memory that is available when the executor is built, or of
    /// what the cgroup's limit leaves.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.wanted.budget_bytes = Some(bytes);
        self
    }

    /// Sets how many bytes of freed memory each heap keeps for the next use. Part of the budget.
    ///
    /// Kept memory is filled at the speed of memory; memory fresh from the system at a tenth of
    /// that. Default: a quarter of the budget for arguments, as much for the results of all
    /// workers.
    pub fn retain_memory(mut self, bytes: u64) -> Self {
        self.retain_bytes = Some(bytes);
        self
    }

    /// Puts large values and arrays onto pages of 2 MiB where the system gives them.
    ///
    /// On a virtual machine, new memory of 64 MiB was filled some three times as fast as on pages
    /// of 4 KiB, and first read by a worker nearly twice as fast; 1 GiB some 1.2 times (0.25 to 3)
    /// and 1.3 times. Later passes took much the same time.
    ///
    /// Needs Linux 6.1; without it, or where no whole huge page is free, pages of 4 KiB are used.
    /// An array then takes its memory when it is made, and not as it is written. Default: yes.
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// Sets an environment variable of the workers.
    ///
    /// Unless they are set, here or in this process, workers get `OMP_NUM_THREADS` and its like for
    /// OpenBLAS, MKL, BLIS, Accelerate, NumExpr and rayon as their share of the cores.
    ///
    /// Only workers that are processes have an environment: with another [`Backend`], building is
    /// an error unless this process has the variable with this value already.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets how deep executors may be nested: tasks that build executors whose tasks build
    /// executors.
    ///
    /// Default 1: a task may not build an executor. Only the outermost executor's setting counts.
    pub fn max_depth(mut self, depth: u32) -> Self {
        self.max_depth = depth;
        self
    }

    /// Sets how long an idle worker looks for a task before it sleeps, at most; 0 to 100 ms.
    ///
    /// Workers learn how long to spin from how long they wait, so this is only the bound. Default
    /// 50 µs. Zero: sleep at once, for machines that are shared.
    ///
    /// Beside others that take many tasks of less than a microsecond each, a worker that finds none
    /// rests for a moment, whatever is submitted: few workers are faster at those than many. What
    /// they leave is late by up to 0.4 ms for each worker that rests, or until its caller sleeps.
    pub fn spin(mut self, most: Duration) -> Self {
        self.spin = most;
        self
    }

    /// Keeps each worker on cores of its own: its share of those that the thread which builds the
    /// executor may use, one at least. Where there are more workers than cores, and for those that
    /// [`Executor::resize`](crate::Executor::resize) adds, the shares are given in turns. The
    /// caller may run on all cores.
    ///
    /// The threads that a task starts stay there, too, and so does memory that the worker is the
    /// first to touch where cores have memory of their own (NUMA): the results that it makes, not
    /// its arguments. For steady work on a machine of one's own: elsewhere a worker waits for its
    /// core while others are free. Default: no. Does nothing with [`Backend::Sequential`].
    ///
    /// ```
    /// let executor = wharf::Executor::builder().workers(2).pin_workers(true).build()?;
    /// # Ok::<(), wharf::BuildError>(())
    /// ```
    pub fn pin_workers(mut self, wanted: bool) -> Self {
        self.is_pinned = wanted;
        self
    }

    /// Runs `f` once in every worker before its first task, in replacements of dead ones too; with
    /// [`Backend::Sequential`] once, in the thread that builds the executor.
    ///
    /// If it panics, or kills its worker, [`build`](Self::build) fails with the cause.
    pub fn on_start<F, M, A>(mut self, f: F, args: A) -> Self
    where
        F: TaskFn<M, A, Output = ()>,
        A: Send + 'static,
    {
        self.on_start = Some(OnStart {
            task: name_of(&f),
            code: code_of(f),
            store: Box::new(move |encoder| store::<F, M, A>(&args, encoder)),
        });
        self
    }
}
