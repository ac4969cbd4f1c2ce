//! The parent's half: an executor owns worker processes, hands them tasks and takes their results.

mod builder;
mod seat;
mod supervisor;

use std::fmt;
use std::ptr::NonNull;
use std::thread::JoinHandle;

use bytemuck::Pod;

pub use builder::Builder;
use supervisor::Office;

use crate::archive::{EncodeFailure, Encoded, Encoder, Shared, Storable, encode};
use crate::control::INLINE_ARGS_WORDS;
use crate::error::{BuildError, ShareError, ShutdownError, SubmitError, TrySubmitError};
use crate::memory::{Array, ArrayMut, Lease, array_bytes};
use crate::sync::Arc;
use crate::task::{Desk, TaskFn, TaskHandle, Unavailable, Vacancy, code_of, namer_of, store};

/// A pool of worker processes that run ordinary functions over shared memory.
///
/// Workers are this same program, started again; they read arguments where they lie. `Send` and
/// `Sync`: any thread may submit. Dropping the executor shuts it down in order: what was submitted
/// still runs, and handles stay valid.
///
/// ```
/// use wharf::Executor;
///
/// fn dot(x: &[f64], y: &[f64]) -> f64 {
///     x.iter().zip(y).map(|(a, b)| a * b).sum()
/// }
///
/// let executor = Executor::builder().workers(2).build()?;
/// let x = executor.share(&vec![1.0; 1000])?;
/// let mut y = executor.array::<f64>(1000)?;
/// y.fill(2.0);
/// let y = y.freeze();
/// assert_eq!(executor.submit(dot, (&x, &y))?.join()?, 2000.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Executor {
    desk: Arc<Desk>,
    office: Arc<Office>,
    supervisor: Option<JoinHandle<()>>,
    /// Where the executor was built: a forked copy of it must not touch the workers.
    pid: u32,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Executor");
        debug.field("workers", &self.workers()).field("pids", &self.worker_pids()).finish()
    }
}

/// What an executor has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that are alive and ready.
    pub workers: u32,
    /// Tasks that workers have finished, failed ones included.
    pub tasks_finished: u64,
    /// Workers that died without being asked to leave.
    pub deaths: u64,
    /// Bytes of shared memory that the heaps hold, warm memory included.
    pub held_bytes: u64,
    /// Bytes that the heaps may hold.
    pub budget_bytes: u64,
}

impl Executor {
    /// Builds an executor with one worker for each core that this process may use.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Configures an executor.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Gives a task to the workers.
    ///
    /// `f` is a fn item or a closure that captures nothing, `args` a tuple of its arguments; the
    /// table at [`Argument`](crate::Argument) says what fits what. Arguments up to 128 bytes travel
    /// with the task; larger ones are archived into shared memory, once. What was passed by value
    /// is dropped before this returns, which for a large `Vec` takes as long as freeing it does.
    ///
    /// Sleeps while the task table is full of tasks that have not ended, and while the memory
    /// budget is used up by arguments of tasks under way. Costs no system call while a worker is
    /// awake.
    ///
    /// # Errors
    ///
    /// - [`SubmitError::Arguments`]: the arguments cannot be stored; the inner error says why.
    /// - [`SubmitError::NotInImage`]: the function lies in a shared library.
    /// - [`SubmitError::Broken`]: workers cannot be started any more; build a new executor.
    pub fn submit<F, M, A>(&self, f: F, args: A) -> Result<TaskHandle<F::Output>, SubmitError>
    where
        F: TaskFn<M, A>,
    {
        let name = namer_of(&f);
        let code = code_of(f).ok_or_else(|| SubmitError::NotInImage { task: name() })?;
        // Kept while this waits for memory: to give it back calls all who wait, this thread too.
        let mut vacancy = self.desk.vacancy(self.desk.draft().map_err(broken)?);
        let mut announced = None;
        loop {
            match self.post::<F, M, A>(&mut vacancy, code, &args) {
                Ok((index, generation)) => {
                    let handle = TaskHandle::new(Arc::clone(&self.desk), index, generation, name);
                    // Not by returning: if an argument's destructor panicked then, what is about
                    // to be returned would not be dropped.
                    drop(args);
                    return Ok(handle);
                }
                Err(error) => announced = self.wait_for_memory(error, announced)?,
            }
        }
    }

    /// As [`submit`](Self::submit), but never sleeps: gives the arguments back instead.
    ///
    /// # Errors
    ///
    /// [`TrySubmitError::Full`] while every slot holds a task that has not ended, and
    /// [`TrySubmitError::Refused`] for what `submit` refuses, or when the budget does not hold the
    /// arguments now.
    pub fn try_submit<F, M, A>(
        &self,
        f: F,
        args: A,
    ) -> Result<TaskHandle<F::Output>, TrySubmitError<A>>
    where
        F: TaskFn<M, A>,
    {
        let name = namer_of(&f);
        let Some(code) = code_of(f) else {
            let error = SubmitError::NotInImage { task: name() };
            return Err(TrySubmitError::Refused { args, error });
        };
        let mut vacancy = match self.desk.try_draft() {
            Ok(found) => self.desk.vacancy(found),
            Err(Unavailable::Full) => {
                let slots = self.desk.control().slots().len() as u32;
                return Err(TrySubmitError::Full { args, slots });
            }
            Err(other) => return Err(TrySubmitError::Refused { args, error: broken(other) }),
        };
        match self.post::<F, M, A>(&mut vacancy, code, &args) {
            Ok((index, generation)) => {
                let handle = TaskHandle::new(Arc::clone(&self.desk), index, generation, name);
                // As in `submit`.
                drop(args);
                Ok(handle)
            }
            Err(error) => Err(TrySubmitError::Refused { args, error: error.into() }),
        }
    }

    /// Archives a value into shared memory, once, to be passed to any number of tasks.
    ///
    /// Counts the bytes first, then writes them straight into the mapping: one copy, no buffer.
    ///
    /// # Errors
    ///
    /// - [`ShareError::OutOfMemory`]: the budget does not hold it; drop shared values or raise it.
    /// - [`ShareError::TooLarge`]: above 2 GiB; use [`array`](Self::array), split it, or enable
    ///   `pointer_width_64`. Nothing was written.
    /// - [`ShareError::TooManyBlocks`], [`ShareError::Foreign`], [`ShareError::Encode`]: see there.
    pub fn share<T: Storable>(&self, value: &T) -> Result<Shared<T>, ShareError> {
        let heap = self.desk.heap();
        let encoded = encode(
            &mut [],
            heap.family(),
            |encoder| encoder.value(value).map(drop),
            |len| self.allocate(len),
        )?;
        let block = match encoded.block {
            Some(block) => block,
            // A type without bytes still needs an address.
            None => self.allocate(1)?,
        };
        let lease = block.with_attached(encoded.attached);
        // SAFETY: the block holds the archive of `value` that was just encoded, `len` bytes long.
        Ok(unsafe { Shared::from_lease(Arc::new(lease), encoded.len) })
    }

    /// Creates an array of `len` zeros in shared memory, to be filled in place.
    ///
    /// Elements are aligned to 64 bytes; there is no limit of 2 GiB. Costs no copy and, where the
    /// memory was not used before, no pass over it.
    ///
    /// # Errors
    ///
    /// - [`ShareError::OutOfMemory`]: the budget does not hold it; drop shared values or raise it.
    /// - [`ShareError::TooManyBlocks`]: too many shared values are alive; drop some.
    pub fn array<T: Pod>(&self, len: usize) -> Result<ArrayMut<T>, ShareError> {
        let heap = self.desk.heap();
        let bytes = array_bytes::<T>(len);
        let grant = self.with_room(|| heap.allocate_zeroed(bytes).map_err(ShareError::from))?;
        Ok(ArrayMut::new(Lease::own(heap, grant), len))
    }

    /// Copies `items` into an array in shared memory.
    ///
    /// # Errors
    ///
    /// As [`array`](Self::array).
    pub fn array_from<T: Pod>(&self, items: &[T]) -> Result<Array<T>, ShareError> {
        let lease = self.allocate(array_bytes::<T>(items.len()))?;
        let start = lease.address().cast::<T>();
        // SAFETY: the block has the bytes of `items`, is aligned to 64, and nobody knows it yet.
        unsafe { start.copy_from_nonoverlapping(first_of(items), items.len()) };
        Ok(ArrayMut::new(lease, items.len()).freeze())
    }

    /// How many workers the executor keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.desk.workers() as usize
    }

    /// The process ids of the workers that have said they are ready and are not known to be dead.
    ///
    /// A successor may have finished a task before it is listed here.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.office.pids()
    }

    /// What the executor has done so far. Reads a few counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let control = self.desk.control();
        Stats {
            workers: self.office.pids().len() as u32,
            tasks_finished: control.tasks_finished(),
            deaths: self.office.deaths(),
            held_bytes: control.held_bytes(),
            budget_bytes: control.header().budget_bytes.load(crate::sync::Ordering::Relaxed),
        }
    }

    /// Runs what was submitted, ends the workers, and waits for that. Handles stay valid.
    ///
    /// # Errors
    ///
    /// - [`ShutdownError::Broken`]: queued tasks could not be run, since no worker could be
    ///   started.
    /// - [`ShutdownError::Supervisor`]: a bug in wharf; please report it.
    pub fn shutdown(mut self) -> Result<(), ShutdownError> {
        self.close()
    }

    /// Kills the workers at once. Queued tasks end with
    /// [`TaskError::Cancelled`](crate::TaskError::Cancelled), running ones with
    /// [`TaskError::WorkerDied`](crate::TaskError::WorkerDied). Finished results stay valid.
    pub fn kill(mut self) {
        self.office.kill();
        // Whatever it reports, the workers are gone.
        let _ = self.close();
    }

    fn close(&mut self) -> Result<(), ShutdownError> {
        let Some(supervisor) = self.supervisor.take() else { return Ok(()) };
        if crate::sys::current_pid() != self.pid {
            // A forked child: the thread does not exist here, and the pool is not ours.
            std::mem::forget(supervisor);
            return Ok(());
        }
        self.office.close();
        supervisor.join().map_err(|_| ShutdownError::Supervisor)?;
        match self.desk.broken().filter(|_| !self.office.is_killed()) {
            Some(reason) => Err(ShutdownError::Broken { reason: reason.to_string() }),
            None => Ok(()),
        }
    }

    /// Stores the arguments and hands the task to the workers. Returns its slot and generation.
    fn post<F: TaskFn<M, A>, M, A>(
        &self,
        vacancy: &mut Vacancy<'_>,
        code: u64,
        args: &A,
    ) -> Result<(u32, u32), ShareError> {
        if F::ARGUMENTS == 0 {
            let (index, draft) = vacancy.fill();
            return Ok((index, self.desk.post_bare(index, draft, code)));
        }
        let mut inline = [0; INLINE_ARGS_WORDS];
        let encoded = store_task(&self.desk, &mut inline, |to| store::<F, M, A>(args, to))?;
        let (index, draft) = vacancy.fill();
        Ok((index, self.desk.post(index, draft, code, &inline, encoded)))
    }

    fn allocate(&self, len: u64) -> Result<Lease, ShareError> {
        let heap = self.desk.heap();
        let grant = self.with_room(|| heap.allocate(len).map_err(ShareError::from))?;
        Ok(Lease::own(heap, grant))
    }

    /// Tries twice: finished tasks whose handles have not asked may hold argument memory.
    fn with_room<T>(&self, allocate: impl Fn() -> Result<T, ShareError>) -> Result<T, ShareError> {
        match allocate() {
            Err(ShareError::OutOfMemory { .. } | ShareError::TooManyBlocks { .. }) => {
                self.desk.keep_finished();
                allocate()
            }
            result => result,
        }
    }

    /// Sleeps until a task gives argument memory back; an error where none will.
    ///
    /// The first time it only announces that this thread is going to sleep: the caller tries once
    /// more in between, so that no end of a task is missed.
    fn wait_for_memory(
        &self,
        error: ShareError,
        announced: Option<(u32, bool)>,
    ) -> Result<Option<(u32, bool)>, ShareError> {
        match error {
            ShareError::OutOfMemory { .. } | ShareError::TooManyBlocks { .. } => {}
            other => return Err(other),
        }
        let gate = self.desk.control().gate();
        match announced {
            None => {
                let round = gate.announce();
                // Looked at before the next try: whoever holds memory now may give it back by then.
                let may_come = self.desk.holds_arguments();
                self.desk.keep_finished();
                Ok(Some((round, may_come)))
            }
            Some((_, false)) => Err(error),
            Some((round, true)) => {
                gate.sleep(round);
                Ok(None)
            }
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Nobody is left to be told; `shutdown` tells.
        let _ = self.close();
    }
}

/// Where a slice starts, as a pointer that is never null.
fn first_of<T>(items: &[T]) -> NonNull<T> {
    NonNull::from(items).cast()
}

fn broken(unavailable: Unavailable) -> SubmitError {
    match unavailable {
        Unavailable::Broken(reason) => SubmitError::Broken { reason: reason.to_string() },
        Unavailable::Full => SubmitError::Broken { reason: "the task table is full".to_owned() },
    }
}

/// Encodes a task's arguments: inline where they fit, else in a block of the argument heap.
fn store_task(
    desk: &Desk,
    inline: &mut [u64; INLINE_ARGS_WORDS],
    body: impl Fn(&mut Encoder) -> Result<(), EncodeFailure>,
) -> Result<Encoded, ShareError> {
    let heap = desk.heap();
    encode(inline, heap.family(), body, |len| Ok(Lease::own(heap, heap.allocate(len)?)))
}
