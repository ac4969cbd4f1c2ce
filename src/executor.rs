//! The parent's half: an executor owns worker processes, hands them tasks and takes their results.

mod backend;
mod breaker;
mod builder;
mod counts;
mod environment;
mod launch;
mod loops;
mod map;
mod office;
mod progress;
mod seat;
mod stats;
mod submit;
mod supervisor;
mod trace;

use std::fmt;
use std::thread::JoinHandle;

use bytemuck::Pod;

pub use backend::Backend;
pub use builder::Builder;
pub use loops::Loops;
pub use map::Map;
use office::Office;
#[cfg(feature = "indicatif")]
pub use progress::Bar;
pub use progress::{Observer, Progress};
pub use stats::{Stats, WorkerStats};
use submit::store_task;

use crate::archive::{Shared, Storable, encode};
use crate::error::{BuildError, ResizeError, ShareError, ShutdownError};
use crate::memory::{Array, ArrayMut, Grant, Heap, HeapError, Lease, array_bytes};
use crate::sync::Arc;
use crate::task::Desk;

/// A pool of worker processes that run ordinary functions over shared memory.
///
/// Workers are this same program, started again; they read arguments where they lie. `Send` and
/// `Sync`: any thread may submit. Dropping the executor shuts it down in order: what was submitted
/// still runs, and handles stay valid.
///
/// A fork of this process has no pool: there, each use is an error, and dropping does nothing.
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
    backend: Backend,
    desk: Arc<Desk>,
    office: Arc<Office>,
    supervisor: Option<JoinHandle<()>>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Executor");
        debug.field("backend", &self.backend).field("workers", &self.workers());
        debug.field("pids", &self.worker_pids()).finish()
    }
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

    /// Archives a value into shared memory, once, to be passed to any number of tasks.
    ///
    /// Counts the bytes first, then writes them straight into the mapping: one copy, no buffer.
    /// Slices of numbers of 32 MiB and more are copied past the processor's caches, by up to four
    /// threads, one for each core, which stay until the executor ends; with
    /// [`Backend::Sequential`] by the caller alone. Large arguments of tasks are, too, and the
    /// memory of arrays of 8 MiB and more is made ready so.
    ///
    /// Near the end of a slice of 1 MiB and more a worker is woken, and looks for a task for up to
    /// 0.5 ms, so that one which comes at once need not wait for that. After the first that is done
    /// where a task came last time: for each slice, for each second one, or for none.
    ///
    /// # Errors
    ///
    /// - [`ShareError::OutOfMemory`]: the budget does not hold it; drop shared values or raise it.
    /// - [`ShareError::TooLarge`]: above 2 GiB; use [`array`](Self::array), split it, or enable
    ///   `pointer_width_64`. Nothing was written.
    /// - [`ShareError::AddressSpace`]: a limit on addresses made the heap small; raise it.
    /// - [`ShareError::Forked`]: this process is a fork of the one that built the executor.
    /// - [`ShareError::TooManyBlocks`], [`ShareError::Foreign`], [`ShareError::Encode`]: see there.
    pub fn share<T: Storable>(&self, value: &T) -> Result<Shared<T>, ShareError> {
        span!(DEBUG "share", value = std::any::type_name::<T>());
        let heap = self.desk.heap();
        let encoded = encode(
            &mut [],
            heap.family(),
            |encoder| encoder.value(value).map(drop),
            |len| Ok(self.allocate(len)?.calling(|| self.desk.has_idle_core())),
        )?;
        let len = encoded.len;
        event!(DEBUG "shared", bytes = len);
        let lease = match encoded.into_block() {
            Some(block) => block,
            // A type without bytes still needs an address.
            None => self.allocate(1)?,
        };
        // SAFETY: the block holds the archive of `value` that was just encoded, `len` bytes long.
        Ok(unsafe { Shared::from_lease(Arc::new(lease), len) })
    }

    /// Creates an array of `len` zeros in shared memory, to be filled in place.
    ///
    /// Elements are aligned to 64 bytes; there is no limit of 2 GiB. Costs no copy and, where the
    /// memory was not used before, no pass over it.
    ///
    /// # Errors
    ///
    /// - [`ShareError::OutOfMemory`]: the budget does not hold it; drop shared values or raise it.
    /// - [`ShareError::AddressSpace`]: a limit on addresses made the heap small; raise it.
    /// - [`ShareError::TooManyBlocks`]: too many shared values are alive; drop some.
    /// - [`ShareError::Forked`]: this process is a fork of the one that built the executor.
    pub fn array<T: Pod>(&self, len: usize) -> Result<ArrayMut<T>, ShareError> {
        self.make_array(len, |heap, bytes| heap.allocate_zeroed(bytes))
    }

    /// Creates an array of `len` elements of any values, all to be written.
    ///
    /// As [`array`](Self::array), without the pass that turns used memory into zeros: the elements
    /// are what an earlier value has left there.
    ///
    /// ```
    /// let executor = wharf::Executor::builder().workers(1).build()?;
    /// let mut squares = executor.array_for_overwrite::<u64>(1000)?;
    /// (0..).zip(&mut squares[..]).for_each(|(n, square)| *square = n * n);
    /// assert_eq!(squares[30], 900);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`array`](Self::array).
    pub fn array_for_overwrite<T: Pod>(&self, len: usize) -> Result<ArrayMut<T>, ShareError> {
        self.make_array(len, |heap, bytes| heap.allocate_in_place(bytes))
    }

    fn make_array<T: Pod>(
        &self,
        len: usize,
        allocate: impl Fn(&Heap, u64) -> Result<Grant, HeapError>,
    ) -> Result<ArrayMut<T>, ShareError> {
        let heap = self.desk.heap();
        let bytes = array_bytes::<T>(len);
        span!(DEBUG "array", bytes = bytes);
        let grant = self.with_room(|| allocate(heap, bytes).map_err(ShareError::from))?;
        Ok(ArrayMut::new(Lease::own(heap, grant), len))
    }

    /// Copies `items` into an array in shared memory, by as many threads as
    /// [`share`](Self::share).
    ///
    /// # Errors
    ///
    /// As [`array`](Self::array).
    pub fn array_from<T: Pod>(&self, items: &[T]) -> Result<Array<T>, ShareError> {
        let bytes = array_bytes::<T>(items.len());
        span!(DEBUG "array_from", bytes = bytes);
        let mut lease = self.allocate(bytes)?.calling(|| self.desk.has_idle_core());
        lease.copy_from(bytemuck::cast_slice(items));
        Ok(ArrayMut::new(lease, items.len()).freeze())
    }

    /// What runs the tasks: what the builder was told, or what `WHARF_BACKEND` says.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// How many workers the executor keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.desk.workers() as usize
    }

    /// The process ids of the workers that have said they are ready and are not known to be dead.
    ///
    /// A successor may have finished a task before it is listed here. Empty where workers are no
    /// processes.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        let has_processes = self.backend == Backend::Processes;
        if has_processes && self.is_here() { self.office.pids() } else { Vec::new() }
    }

    /// Changes how many workers the executor keeps, 1 to [`Builder::workers_max`].
    ///
    /// Returns at once. Workers that are too many leave after their present task; new ones take
    /// tasks as soon as they are ready.
    ///
    /// # Errors
    ///
    /// [`ResizeError`]: the number is out of its range.
    pub fn resize(&self, workers: usize) -> Result<(), ResizeError> {
        let most = self.desk.control().seats().len();
        if !(1..=most).contains(&workers) {
            return Err(ResizeError { workers, most });
        }
        if self.is_here() {
            self.desk.set_workers(workers as u32);
            self.office.resize(workers as u32);
        }
        Ok(())
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
    /// [`TaskError::WorkerDied`](crate::TaskError::WorkerDied). Finished results stay
    /// valid. Threads cannot be killed: there, this waits for the running tasks, whose results stay
    /// valid too.
    pub fn kill(mut self) {
        // The lock of a fork may be held by a thread that it does not have.
        if self.is_here() {
            self.office.kill();
        }
        // Whatever it reports, the workers are gone.
        let _ = self.close();
    }

    /// Tells whether this process built the executor, and is not a fork of the one that did.
    fn is_here(&self) -> bool {
        self.desk.control().is_here()
    }

    fn close(&mut self) -> Result<(), ShutdownError> {
        let Some(supervisor) = self.supervisor.take() else { return Ok(()) };
        if !self.is_here() {
            // A forked child: the thread does not exist here, and the pool is not ours.
            std::mem::forget(supervisor);
            return Ok(());
        }
        self.office.close();
        // Arrays and shared values may keep the heap for longer.
        self.desk.heap().dismiss_crew();
        if self.desk.is_nested() {
            // A task that drops the executor which runs it cannot wait for its own end.
            return Ok(());
        }
        supervisor.join().map_err(|_| ShutdownError::Supervisor)?;
        if self.desk.is_broken() && !self.office.is_killed() {
            return Err(ShutdownError::Broken { reason: self.desk.reason() });
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<Lease, ShareError> {
        let heap = self.desk.heap();
        let grant = self.with_room(|| heap.allocate(len).map_err(ShareError::from))?;
        Ok(Lease::own(heap, grant))
    }

    /// Tries twice: finished tasks whose handles have not asked may hold argument memory.
    fn with_room<T>(&self, allocate: impl Fn() -> Result<T, ShareError>) -> Result<T, ShareError> {
        match allocate() {
            Err(error) if is_shortage(&error) => {
                self.desk.keep_finished();
                allocate()
            }
            result => result,
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Nobody is left to be told; `shutdown` tells.
        let _ = self.close();
    }
}

/// Tells whether memory that is given back may help.
fn is_shortage(error: &ShareError) -> bool {
    use ShareError::{AddressSpace, OutOfMemory, TooManyBlocks};
    matches!(error, OutOfMemory { .. } | AddressSpace { .. } | TooManyBlocks { .. })
}
