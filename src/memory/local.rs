//! The result heap of the worker that this process is.

use std::collections::HashMap;

use bytemuck::Pod;

use super::array::ArrayMut;
use super::heap::{Grant, Heap};
use super::lease::Lease;
use crate::control::{Control, Releases};
use crate::error::ShareError;
use crate::sync::{Arc, AtomicUsize, Mutex, OnceLock, Ordering, lock};

static LOCAL: OnceLock<LocalHeap> = OnceLock::new();

/// A worker's own heap, and the blocks of it that the parent holds.
#[derive(Debug)]
pub(crate) struct LocalHeap {
    heap: Arc<Heap>,
    control: Arc<Control>,
    seat: usize,
    given: Mutex<Given>,
    /// Where in the ring of releases the next one will come. Changed under the lock of `given`.
    head: AtomicUsize,
}

#[derive(Debug, Default)]
struct Given {
    /// By offset: what the parent holds, and how often. A task may return an array that an earlier
    /// one has returned too, and keep it itself.
    leases: HashMap<u64, (Arc<Lease>, u32)>,
}

impl LocalHeap {
    /// Makes `heap` the one that this process's tasks fill. Once, before the first task.
    pub(crate) fn install(heap: Arc<Heap>, control: Arc<Control>, seat: usize) -> &'static Self {
        let (given, head) = (Mutex::default(), AtomicUsize::new(0));
        LOCAL.get_or_init(|| Self { heap, control, seat, given, head })
    }

    /// The heap of this process, if it is a worker.
    pub(crate) fn get() -> Option<&'static Self> {
        LOCAL.get()
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
        seat.backlog.load(Ordering::Acquire) != 0
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
/// the caller without a copy.
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
/// - [`ShareError::NotInTask`]: this is not a worker; use `Executor::array`.
pub fn array<T: Pod>(len: usize) -> Result<ArrayMut<T>, ShareError> {
    let local = LocalHeap::get().ok_or(ShareError::NotInTask)?;
    let bytes = super::array::array_bytes::<T>(len);
    let grant = local.allocate(bytes, true)?;
    Ok(ArrayMut::new(Lease::own(local.heap(), grant), len))
}
