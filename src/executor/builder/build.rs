//! Building an executor: what is checked, started and made, in which order.

use std::thread;
use std::time::Duration;

use super::{Builder, OnStart};
use crate::control::{Bell, Control, NO_CODE};
use crate::error::{BuildError, ShareError, SubmitError};
use crate::executor::backend::{Backend, make_control, run_in_caller, system};
use crate::executor::counts::check;
use crate::executor::environment::{self, check_shared, worker_env};
use crate::executor::launch::Launcher;
use crate::executor::office::Office;
use crate::executor::seat::Plan;
use crate::executor::supervisor::Starting;
use crate::executor::{Executor, store_task};
use crate::memory::{self, Budget, Heap, Lease, Nesting, Upkeep};
use crate::sync::{Arc, Mutex};
use crate::sys::{self, Image};
use crate::task::Desk;

/// The longest spin that can be set.
const SPIN_MAX: Duration = Duration::from_millis(100);

impl Builder {
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
            // So many whatever becomes of them, so that a successor has its predecessor's cores.
            pinned_among: if self.is_pinned { workers } else { 0 },
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
