//! The right to read a block, and the duty to give it back.

use std::ptr::NonNull;
use std::slice;

use super::copier::{CALLED_BYTES_MIN, Copier};
use super::heap::{Grant, Heap};
use super::place::Place;
use super::remote::RemoteHeap;
use crate::sync::Arc;

/// A block in use, and the blocks that its contents refer to.
///
/// Given back when it is dropped, which is when the last `Shared`, `Array`, `Output` or running
/// task that reads it is gone.
#[derive(Debug)]
pub(crate) struct Lease {
    home: Home,
    place: Place,
    address: NonNull<u8>,
    attached: Vec<Arc<Lease>>,
    /// A worker is called when it is nearly filled.
    calls_ahead: bool,
}

#[derive(Debug)]
enum Home {
    /// This process's own heap. The grant is taken when the lease is dropped.
    Own { heap: Arc<Heap>, grant: Option<Grant> },
    /// A worker's heap.
    Remote { heap: Arc<RemoteHeap> },
}

// SAFETY: `address` points into memory that lives as long as `home`, is written by at most the one
// holder of an unfrozen array, and may be read by any thread.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    /// Takes over a block of this process's own heap.
    pub(crate) fn own(heap: &Arc<Heap>, grant: Grant) -> Self {
        let (place, address) = (heap.place(&grant), heap.address(&grant));
        let home = Home::Own { heap: Arc::clone(heap), grant: Some(grant) };
        Self { home, place, address, attached: Vec::new(), calls_ahead: false }
    }

    /// Has a worker called when the block is nearly filled, if it is large and `pays` says so.
    pub(crate) fn calling(mut self, pays: impl FnOnce() -> bool) -> Self {
        self.calls_ahead = self.place.len >= CALLED_BYTES_MIN as u64 && pays();
        self
    }

    /// Keeps other blocks as long as this one.
    pub(crate) fn with_attached(mut self, attached: Vec<Arc<Self>>) -> Self {
        self.attached = attached;
        self
    }

    /// Writes words into a block of this process's own heap, from word `at` on.
    pub(crate) fn write(&mut self, at: usize, words: &[u64]) {
        assert!(matches!(self.home, Home::Own { .. }));
        assert!((at * 8 + size_of_val(words)) as u64 <= self.place.len);
        // SAFETY: `at` and all words lie inside the block, as was just checked.
        let start = unsafe { self.address.cast::<u64>().add(at) };
        // SAFETY: as above; the mapping is writable, and who has the lease alone has the block.
        unsafe {
            start.copy_from_nonoverlapping(std::ptr::NonNull::from(words).cast(), words.len())
        };
    }

    /// Copies `bytes` to the start of a block of this process's own heap; large ones by several
    /// threads, where the heap is told so.
    pub(crate) fn copy_from(&mut self, bytes: &[u8]) {
        assert!(bytes.len() as u64 <= self.place.len);
        // Panics unless the heap is this process's own.
        let copier = self.copier();
        // SAFETY: the length was just checked, and the heap, which this process maps writable. Who
        // has the lease alone has the block.
        let block = unsafe { slice::from_raw_parts_mut(self.address.as_ptr(), bytes.len()) };
        copier.copy(bytes, block, true);
    }

    /// Who copies into the block, which is one of this process's own heap.
    ///
    /// # Panics
    ///
    /// If it is another process's: nobody writes to that.
    pub(crate) fn copier(&self) -> Copier {
        match &self.home {
            Home::Own { heap, .. } => heap.copier(self.calls_ahead),
            Home::Remote { .. } => unreachable!("no block of another process is filled"),
        }
    }

    /// Takes over a block that a worker says it has filled. `None`: no such place in its heap.
    pub(crate) fn remote(
        heap: &Arc<RemoteHeap>,
        place: Place,
        attached: Vec<Arc<Self>>,
    ) -> Option<Self> {
        let address = heap.address(&place)?;
        heap.lease(&place);
        let home = Home::Remote { heap: Arc::clone(heap) };
        Some(Self { home, place, address, attached, calls_ahead: false })
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn address(&self) -> NonNull<u8> {
        self.address
    }

    pub(crate) fn attached(&self) -> &[Arc<Self>] {
        &self.attached
    }

    /// The executor that the block belongs to.
    pub(crate) fn family(&self) -> u64 {
        match &self.home {
            Home::Own { heap, .. } => heap.family(),
            Home::Remote { heap } => heap.family(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Own { heap, grant } => {
                if let Some(grant) = grant.take() {
                    heap.free(grant);
                }
            }
            Home::Remote { heap } => heap.release(&self.place),
        }
    }
}
