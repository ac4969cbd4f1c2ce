//! The heap that a task fills: that of its worker process, or that of its thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;

use bytemuck::Pod;

use super::array::ArrayMut;
use super::heap::{Grant, Heap};
use super::lease::Lease;
use crate::control::{Control, Releases};
use crate::error::ShareError;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, OnceLock, Ordering, lock};

static HERE: Here = Here { process: OnceLock::new(), has_guests: AtomicBool::new(false) };

struct Here {
    /// The heap of this process, if it is a worker.
    process: OnceLock<LocalHeap>,
    /// Some thread has had a heap of its own. Beside the other, so that a look at it is free.
    has_guests: AtomicBool,
}

thread_local! {
    /// The heap of this thread while it is a worker of an executor of this process.
    static CURRENT: RefCell<Option<Arc<LocalHeap>>> = const { RefCell::new(None) };
}

/// A worker's own heap, and the blocks of it that the parent holds.
#[derive(Debug)]
pub(crate) struct LocalHeap {
    heap: Arc<Heap>,
    control: Arc<Control>,
    seat: usize,
    given: Mutex<Given>,
    /// Where in the ring of releases the next one will come. Changed under the lock of `given`.
    head: AtomicUsize,
    /// Of the tasks that fill it, where the worker is no process of its own.
    nesting: Option<Nesting>,
}

/// How deep a task is nested in executors, and how deep executors may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nesting {
    pub(crate) depth: u32,
    pub(crate) limit: u32,
}

/// The heap that the code which asks for it fills.
#[derive(Debug, Clone)]
pub(crate) enum LocalRef {
    Process(&'static LocalHeap),
    Thread(Arc<LocalHeap>),
}

impl Deref for LocalRef {
    type Target = LocalHeap;

    fn deref(&self) -> &LocalHeap {
        match self {
            Self::Process(local) => local,
            Self::Thread(local) => local,
        }
    }
}

/// While it lives, this thread is a worker. What the thread was before, it is again afterwards.
#[derive(Debug)]
pub(crate) struct Entered {
    before: Option<Arc<LocalHeap>>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        // A thread that ends may have dropped its cell already.
        drop(CURRENT.try_with(|current| current.replace(before)));
    }
}

/// How deep the task of this thread is nested, if the thread is a worker.
pub(crate) fn nesting() -> Option<Nesting> {
    let nesting = |current: &RefCell<Option<Arc<LocalHeap>>>| current.borrow().as_ref()?.nesting;
    CURRENT.try_with(nesting).ok().flatten()
}

#[derive(Debug, Default)]
struct Given {
    /// By offset: what the parent holds, and how often. A task may return an array that an earlier
    /// one has returned too, and keep it itself.
    leases: HashMap<u64, (Arc<Lease>, u32)>,
}

impl LocalHeap {
    /// Makes `heap` the one that this process's tasks fill. Once, before the first task.
    pub(crate) fn install(heap: Arc<Heap>, control: Arc<Control>, seat: usize) -> LocalRef {
        LocalRef::Process(HERE.process.get_or_init(|| Self::new(heap, control, seat, None)))
    }

    /// Makes a heap for a worker that is a thread of this process.
    pub(crate) fn of_thread(
        heap: Arc<Heap>,
        control: Arc<Control>,
        seat: usize,
        nesting: Nesting,
    ) -> Arc<Self> {
        Arc::new(Self::new(heap, control, seat, Some(nesting)))
    }

    fn new(heap: Arc<Heap>, control: Arc<Control>, seat: usize, nesting: Option<Nesting>) -> Self {
        let (given, head) = (Mutex::default(), AtomicUsize::new(0));
        Self { heap, control, seat, given, head, nesting }
    }

    /// Makes this thread a worker that fills the heap.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        HERE.has_guests.store(true, Ordering::Relaxed);
        let entered = CURRENT.try_with(|current| current.replace(Some(Arc::clone(self))));
        Entered { before: entered.ok().flatten(), _of_this_thread: PhantomData }
    }

    /// The heap of this thread or else of this process, if it is a worker.
    pub(crate) fn get() -> Option<LocalRef> {
        match HERE.process.get() {
            Some(local) if !HERE.has_guests.load(Ordering::Relaxed) => {
                Some(LocalRef::Process(local))
            }
            process => {
                let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
                current.map(LocalRef::Thread).or(process.map(LocalRef::Process))
            }
        }
    }

    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.heap
    }

    /// Finds a block, after taking back what the parent has released.
    pub(crate) fn allocate(&self, len: u64, zeroed: bool) -> Result<Grant, ShareError> {
        self.reclaim();
        let grant = if zeroed { self.heap.allocate_zeroed(len) } else { self.heap.allocate(len) };
        grant.map_err(ShareError::from)
    }

    /// Notes that the parent holds a block from now on, once more if it does already.
    pub(crate) fn give(&self, lease: Arc<Lease>) {
        let mut given = lock(&self.given);
        given.leases.entry(lease.place().offset).or_insert((lease, 0)).1 += 1;
        step!(worker "result.given");
    }

    /// Takes back what the parent has released. True: the parent holds more releases than fit.
    pub(crate) fn reclaim(&self) -> bool {
        let seat = &self.control.seats()[self.seat];
        let releases = Releases::over(&seat.releases.0);
        let mut given = lock(&self.given);
        let mut head = self.head.load(Ordering::Relaxed);
        while let Some(offset) = releases.pop(&mut head) {
            let leases = &mut given.leases;
            if let Some((_, count)) = leases.get_mut(&offset) {
                *count -= 1;
                if *count == 0 {
                    leases.remove(&offset);
                    step!(worker "reclaim.freed");
                }
            }
        }
        self.head.store(head, Ordering::Relaxed);
        self.has_backlog()
    }

    /// Tells whether the parent holds releases that did not fit. One load.
    pub(crate) fn has_backlog(&self) -> bool {
        self.control.seats()[self.seat].backlog.load(Ordering::Acquire) != 0
    }

    /// Tells whether the parent has released something. One load.
    pub(crate) fn has_release(&self) -> bool {
        let seat = &self.control.seats()[self.seat];
        Releases::over(&seat.releases.0).is_waiting(self.head.load(Ordering::Relaxed))
    }
}

/// Creates an array of `len` zeros in this worker's result heap, to be filled and returned.
///
/// Call it inside a task: the array, frozen and returned (alone or inside a larger result), reaches
/// the caller without a copy. Threads that the task has started may call it too where workers are
/// processes; with another [`Backend`](crate::Backend) it belongs to the task's own thread.
///
/// ```
/// use wharf::{Array, Executor, ShareError};
///
/// fn squares(n: u64) -> Result<Array<f64>, ShareError> {
///     let mut out = wharf::array::<f64>(n as usize)?;
///     for (i, x) in out.iter_mut().enumerate() {
///         *x = (i * i) as f64;
///     }
///     Ok(out.freeze())
/// }
///
/// let executor = Executor::builder().workers(1).build()?;
/// let out = executor.submit(squares, (4u64,))?.join()??;
/// assert_eq!(&out[..], [0.0, 1.0, 4.0, 9.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`ShareError::OutOfMemory`]: the budget does not hold it; drop results that are no longer
///   used.
/// - [`ShareError::TooManyBlocks`]: too many results are alive; drop some.
/// - [`ShareError::NotInTask`]: this thread is no worker's; use `Executor::array`.
pub fn array<T: Pod>(len: usize) -> Result<ArrayMut<T>, ShareError> {
    make_array(len, true)
}

/// Creates an array of `len` elements of any values in this worker's result heap, all to be
/// written.
///
/// As [`array()`], without the pass that turns used memory into zeros: the elements are what an
/// earlier result of this worker has left there.
///
/// # Errors
///
/// As [`array()`].
pub fn array_for_overwrite<T: Pod>(len: usize) -> Result<ArrayMut<T>, ShareError> {
    make_array(len, false)
}

fn make_array<T: Pod>(len: usize, zeroed: bool) -> Result<ArrayMut<T>, ShareError> {
    let local = LocalHeap::get().ok_or(ShareError::NotInTask)?;
    let bytes = super::array::array_bytes::<T>(len);
    let grant = local.allocate(bytes, zeroed)?;
    Ok(ArrayMut::new(Lease::own(local.heap(), grant), len))
}
