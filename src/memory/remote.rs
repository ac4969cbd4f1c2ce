//! A worker's result heap as the parent sees it: only read, and released by telling the worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::MmapRaw;

use super::budget::Budget;
use super::heap::LARGE_BYTES;
use super::local::LocalHeap;
use super::offsets::Offsets;
use super::place::Place;
use super::registry::{self, Access};
use crate::control::{Control, Releases};
use crate::sync::{Arc, Mutex, Ordering, lock};
use crate::sys;

/// A result heap, for as long as anything in it is in use; its worker may be dead by then.
#[derive(Debug)]
pub(crate) struct RemoteHeap {
    id: u64,
    family: u64,
    seat: usize,
    source: Source,
    control: Arc<Control>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Source {
    /// A worker process's, mapped read-only.
    Mapped { map: MmapRaw, fd: OwnedFd },
    /// That of a worker in this process, whose mapping is read.
    Local(Arc<LocalHeap>),
}

#[derive(Debug)]
struct State {
    /// The worker lives and takes releases.
    alive: bool,
    tail: usize,
    backlog: Vec<u64>,
    leased_bytes: u64,
}

impl RemoteHeap {
    /// Makes and maps a heap for the worker that will sit on `seat`.
    pub(crate) fn new(
        len: u64,
        (id, family): (u64, u64),
        control: &Arc<Control>,
        seat: usize,
    ) -> io::Result<Self> {
        let fd = sys::memfd("wharf-results", len)?;
        let map = sys::reserve(fd.as_fd(), len, false)?;
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping has an address");
        registry::register(id, Access::Read, base, len);
        Ok(Self::over(Source::Mapped { map, fd }, (id, family), control, seat))
    }

    /// Takes part in the heap of a worker in this process. As long as its seat is there, so is it.
    pub(crate) fn of_thread(local: Arc<LocalHeap>, control: &Arc<Control>, seat: usize) -> Self {
        let ids = (local.heap().id(), local.heap().family());
        Self::over(Source::Local(local), ids, control, seat)
    }

    fn over(source: Source, (id, family): (u64, u64), control: &Arc<Control>, seat: usize) -> Self {
        let state = State { alive: true, tail: 0, backlog: Vec::new(), leased_bytes: 0 };
        let control = Arc::clone(control);
        Self { id, family, seat, source, control, state: Mutex::new(state) }
    }

    /// The heap with its writer, where that is in this process.
    pub(crate) fn local(&self) -> Option<&Arc<LocalHeap>> {
        match &self.source {
            Source::Mapped { .. } => None,
            Source::Local(local) => Some(local),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn family(&self) -> u64 {
        self.family
    }

    /// Tells whether this process mapped the heap, and is not a fork of the one that did.
    pub(crate) fn is_here(&self) -> bool {
        self.control.is_here()
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.source {
            Source::Mapped { map, .. } => map.len() as u64,
            Source::Local(local) => local.heap().len(),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Mapped { fd, .. } => fd.as_fd(),
            Source::Local(local) => local.heap().fd(),
        }
    }

    /// Finds a block that the worker says it has filled. `None`: it does not lie in the heap, or is
    /// longer than the budget allows.
    pub(crate) fn address(&self, place: &Place) -> Option<NonNull<u8>> {
        let may_be = place.len <= self.control.budget_bytes();
        if place.heap != self.id || !place.fits(self.len()) || !may_be {
            return None;
        }
        let base = match &self.source {
            Source::Mapped { map, .. } => NonNull::new(map.as_mut_ptr())?,
            Source::Local(local) => local.heap().base(),
        };
        // SAFETY: `fits` checked that the block lies inside the mapping.
        Some(unsafe { base.add(place.offset as usize) })
    }

    /// The most blocks that one result can refer to: as many as a heap can have.
    pub(crate) fn blocks_max() -> u64 {
        2 * Offsets::blocks_max()
    }

    /// Takes note that a block is in use by the parent.
    pub(crate) fn lease(&self, place: &Place) {
        // Wrapping: a worker may hand over one block many times, whatever it says of its length.
        let mut state = lock(&self.state);
        state.leased_bytes = state.leased_bytes.wrapping_add(place.len);
        if !state.alive {
            // An item's result, which is read after its worker's end: from here on it is counted,
            // as what was leased before that end is since.
            self.budget().adopt(place.len);
        }
    }

    /// Ends the use of a block: the worker may use it again.
    pub(crate) fn release(&self, place: &Place) {
        if !self.control.is_here() {
            return;
        }
        let mut state = lock(&self.state);
        state.leased_bytes = state.leased_bytes.wrapping_sub(place.len);
        if state.alive {
            state.backlog.push(place.offset);
            self.flush_locked(&mut state);
            drop(state);
            if let Some(local) = self.local() {
                // Its worker may be the caller of the next task, whenever that comes.
                local.reclaim();
            }
            if place.len >= LARGE_BYTES {
                // Asleep, it would keep the memory until the next task.
                self.control.wake().wake_seat(self.seat);
            }
            return;
        }
        self.budget().give_back(place.len);
        // Whole pages go back at once, the rest with the heap.
        let page = sys::page_size() as u64;
        let start = place.offset.next_multiple_of(page);
        let end = (place.offset + place.len) / page * page;
        if start < end {
            let _ = sys::punch(self.fd(), start, end - start);
        }
    }

    /// Supervisor: hands over releases that did not fit before. The worker that has asked for them
    /// may be asleep by now, and would keep their memory until there are tasks.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.state);
        let did_not_fit = !state.backlog.is_empty();
        self.flush_locked(&mut state);
        drop(state);
        if did_not_fit {
            self.control.wake().wake_seat(self.seat);
        }
    }

    /// The worker is dead: what is leased is the parent's to account for from now on.
    pub(crate) fn retire(&self) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.alive, false) {
            state.backlog = Vec::new();
            self.budget().adopt(state.leased_bytes);
        }
    }

    fn flush_locked(&self, state: &mut State) {
        if !state.alive {
            return;
        }
        let seat = &self.control.seats()[self.seat];
        let releases = Releases::over(&seat.releases.0);
        while let Some(&offset) = state.backlog.last() {
            if !releases.push(&mut state.tail, offset) {
                break;
            }
            state.backlog.pop();
        }
        seat.backlog.store(u32::from(!state.backlog.is_empty()), Ordering::Release);
        step!(parent "release.backlog");
    }

    fn budget(&self) -> Budget {
        Budget::of_parent(Arc::clone(&self.control))
    }
}

impl Drop for RemoteHeap {
    fn drop(&mut self) {
        // A heap with its writer goes by itself.
        if self.local().is_some() || !self.control.is_here() {
            return;
        }
        registry::unregister(self.id);
        // Other workers may have it mapped for as long as they live; the memory goes now.
        let _ = sys::punch(self.fd(), 0, self.len());
    }
}
