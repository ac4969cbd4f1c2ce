//! Settings of an executor, and building it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::thread;
use std::time::Duration;

use super::backend::{Backend, make_control, run_in_caller, system};
use super::counts::{Wanted, check};
use super::environment::{self, check_shared, worker_env};
use super::launch::Launcher;
use super::office::Office;
use super::seat::{Plan, Terms};
use super::supervisor::Starting;
use super::{Executor, store_task};
use crate::archive::{EncodeFailure, Encoder};
use crate::control::{Bell, Control, NO_CODE};
use crate::error::{BuildError, ShareError, SubmitError};
use crate::memory::{self, Budget, Heap, Lease, Nesting, Place, Upkeep};
use crate::sync::{Arc, Mutex};
use crate::sys::{self, Image};
use crate::task::{Desk, TaskFn, code_of, name_of, store};

/// The longest that a worker spins for the next task.
const SPIN: Duration = Duration::from_micros(50);
/// The longest spin that can be set.
const SPIN_MAX: Duration = Duration::from_millis(100);

/// Settings of an [`Executor`]. The defaults are those of [`Executor::new`].
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
    /// [`Backend::Sequential`] it is what [`Executor::workers`] returns, and nothing else.
    pub fn workers(mut self, workers: usize) -> Self {
        self.wanted.workers = Some(workers);
        self
    }

    /// Sets how many workers [`Executor::resize`] may ask for, up to 1024. Default 64, or what
    /// [`workers`](Self::workers) asks for if that is more.
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

    /// Builds the executor and waits until all workers are ready: some two milliseconds for two.
    ///
    /// # Errors
    ///
    /// - [`BuildError::Setting`]: a setting is out of its range.
    /// - [`BuildError::Backend`]: `WHARF_BACKEND` names none that there is.
    /// - [`BuildError::Env`]: workers that are no processes cannot have a variable of their own.
    /// - [`BuildError::NotMainImage`]: this code lies in a shared library (inside Python, say).
    /// - [`BuildError::TooDeep`]: this is a task, and `max_depth` forbids executors in tasks.
    /// - [`BuildError::ControlSegment`]: `/dev/shm` is full, missing or read-only.
    /// - [`BuildError::Worker`], [`BuildError::OnStart`]: a worker failed; the cause is in the
    ///   error.
    /// - [`BuildError::OnStartArguments`]: the arguments of `on_start` cannot be stored.
    /// - [`BuildError::System`]: a system call failed; the error names the limit that was met.
    pub fn build(mut self) -> Result<Executor, BuildError> {
        let backend = self.backend.map_or_else(environment::backend, Ok)?;
        let nesting = self.check_place(backend)?;
        let cores = thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let counts = self.wanted.on(cores)?;
        check("spin (in ns)", self.spin.as_nanos() as u64, 0, SPIN_MAX.as_nanos() as u64)?;

        let workers = counts.workers;
        let launcher = (backend == Backend::Processes).then(|| {
            let env = std::mem::take(&mut self.env);
            Arc::new(Launcher::new(worker_env(env, cores, workers, nesting)))
        });
        let begin = |launcher: &Option<Arc<Launcher>>| {
            Starting::start(launcher.clone(), workers).map_err(system("starting a thread"))
        };
        // First of all, since processes take their time; but not where they might take what the
        // rest needs. An error from here on drops what was started, and ends it.
        let is_early = launcher.is_some() && sys::has_room_for(workers);
        let early = is_early.then(|| begin(&launcher)).transpose()?;
        let control = make_control(launcher.as_deref(), &counts, self.wanted.budget()?, nesting)?;
        step!(parent "build.segment");
        let desk = Arc::new(self.make_desk(control, backend, cores, workers)?);
        let start = self.on_start.take().map(|start| start.store(&desk)).transpose()?;

        let plan = Plan {
            launcher,
            nesting,
            family: desk.heap().family(),
            heap_bytes: desk.heap().len(),
            upkeep: self.upkeep(desk.control(), 4 * u64::from(workers)),
            spin: self.spin,
            // One core is left to the caller, who has to be awake to submit.
            searchers_max: cores.saturating_sub(1).max(1),
            terms: self.terms.of(backend),
            start_code: start.as_ref().map_or(NO_CODE, |(code, _)| *code),
            start_place: start.as_ref().map(|(_, lease)| lease.place()),
            _start: Mutex::new(start.map(|(_, lease)| lease)),
        };
        let office = Arc::new(Office::new(workers, Arc::clone(desk.bell())));
        if backend == Backend::Sequential {
            run_in_caller(&plan, &desk)?;
            return Ok(Executor { backend, desk, office, supervisor: None });
        }
        let starting = early.map_or_else(|| begin(&plan.launcher), Ok)?;
        let supervisor = starting.supervise(&desk, &office, plan)?;
        step!(parent "build.supervised");
        let executor = Executor { backend, desk, office, supervisor: Some(supervisor) };
        // An error drops the executor, and with it all that was started.
        executor.office.wait_until_ready()?;
        Ok(executor)
    }

    /// Makes the desk, and the heap of arguments that it has.
    fn make_desk(
        &self,
        control: Arc<Control>,
        backend: Backend,
        cores: u32,
        workers: u32,
    ) -> Result<Desk, BuildError> {
        let bell = Arc::new(Bell::new(Arc::clone(&control)).map_err(system("eventfd"))?);
        let family = memory::new_heap_id();
        let heaps = 2 * u64::from(workers) + 2;
        let heap_bytes = memory::reservation_bytes(control.budget_bytes(), heaps);
        sys::check_space(heap_bytes * (u64::from(workers) + 1))
            .map_err(system("reserving addresses"))?;
        let args = sys::memfd("wharf-arguments", heap_bytes).map_err(system("memfd_create"))?;
        let heap = Heap::new(
            args,
            heap_bytes,
            (family, family),
            Budget::of_parent(Arc::clone(&control)),
            self.upkeep(&control, 4),
            Some(Arc::clone(&bell)),
        );
        let heap = heap.map_err(system("mapping the argument heap"))?;
        let heap = Arc::new(heap.filled_by(backend.crew(cores)));
        let desk = Desk::new(control, heap, bell, cores).timed(self.timing);
        desk.set_workers(workers);
        Ok(desk)
    }

    /// How a heap keeps its memory that may keep one part in `share` of the budget.
    fn upkeep(&self, control: &Control, share: u64) -> Upkeep {
        Upkeep {
            retain_bytes: self.retain_bytes.unwrap_or(control.budget_bytes() / share),
            huge_pages: self.huge_pages,
        }
    }

    /// Checks that a worker can be started from here. Returns how deep it will be nested.
    fn check_place(&self, backend: Backend) -> Result<Nesting, BuildError> {
        if backend == Backend::Processes && !Image::get().is_main() {
            return Err(BuildError::NotMainImage);
        }
        let depth = crate::worker::depth().saturating_add(1);
        let limit = environment::depth_limit(self.max_depth);
        if depth > limit {
            return Err(BuildError::TooDeep { depth, limit });
        }
        if backend != Backend::Processes {
            check_shared(&self.env, backend)?;
            return Ok(Nesting { depth, limit });
        }
        sys::check_proc().map_err(|source| BuildError::System {
            what: "finding this program in /proc",
            source,
            remedy: "workers are started from there: mount it (mount -t proc proc /proc)".into(),
        })?;
        Ok(Nesting { depth, limit })
    }
}

impl OnStart {
    /// Stores the arguments, in the heap whatever their size: they are kept for replacements.
    fn store(self, desk: &Desk) -> Result<(u64, Arc<Lease>), BuildError> {
        let refused = SubmitError::NotInImage { task: self.task };
        let code = self.code.ok_or(BuildError::OnStartArguments(refused))?;
        let failed = |error: ShareError| BuildError::OnStartArguments(error.into());
        let stored = store_task(desk, &mut [], self.store).map_err(failed)?;
        let block = match stored.into_block() {
            Some(block) => block,
            // Nothing, too, is read from somewhere.
            None => Lease::own(desk.heap(), desk.heap().allocate(1).map_err(|e| failed(e.into()))?),
        };
        Ok((code, Arc::new(block)))
    }
}

impl Plan {
    /// The place of the start function's arguments.
    pub(super) fn start_place(&self) -> Place {
        self.start_place.unwrap_or(Place { heap: 0, offset: 0, len: 0 })
    }
}
