//! A heap with its writer: the parent's arguments, or the results of the worker that runs this.
//!
//! Small blocks lie in units of a cache line in the first eighth of the addresses, large ones on
//! pages of their own behind them. Memory stays warm when it is freed, up to a bound.

mod fill;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::MmapRaw;

use super::budget::Budget;
use super::copier::Copier;
use super::crew::Crew;
use super::offsets::{Offsets, REGIONS_MAX, Span};
use super::place::{ALIGN, Place};
use super::registry::{self, Access};
use super::warm::{Pages, Warm};
use crate::control::Bell;
use crate::error::ShareError;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};
use crate::sys;

/// Blocks from this size on lie on pages of their own.
pub(super) const LARGE_BYTES: u64 = 64 * 1024;
const PAGE: u64 = 4096;
/// Pages that are given back under one hold of the lock: 16 MiB, some 3 ms.
const TRIM_PAGES: u64 = 4096;

/// A memfd, mapped read-write, and what is where in it.
#[derive(Debug)]
pub(crate) struct Heap {
    id: u64,
    family: u64,
    map: MmapRaw,
    fd: OwnedFd,
    budget: Budget,
    upkeep: Upkeep,
    /// Who fills large blocks.
    crew: Crew,
    /// Rung when there is memory to give back; without it the owner looks by itself.
    bell: Option<Arc<Bell>>,
    trim_due: AtomicBool,
    /// The bytes of all blocks that were ever asked for, and of those that were to be zeros.
    granted_bytes: AtomicU64,
    in_place_bytes: AtomicU64,
    state: Mutex<State>,
}

/// What a heap does with memory that nobody uses, and with new memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upkeep {
    /// The bytes that stay warm when they are freed.
    pub(crate) retain_bytes: u64,
    /// New memory is put onto huge pages where whole ones fit.
    pub(crate) huge_pages: bool,
}

#[derive(Debug)]
struct State {
    small: Offsets,
    large: Offsets,
    /// Where the part of each region ends that small blocks have ever used, in pages.
    small_highs: [u64; REGIONS_MAX],
    /// The bytes of these parts.
    small_bytes: u64,
    warm: Warm,
}

/// A block, as the heap knows it.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    span: Span,
    pages: Option<Pages>,
    /// Parts that may hold old bytes, as (offset, length); the rest reads as zeros.
    dirty: Vec<(u64, u64)>,
}

/// Why there is no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeapError {
    OutOfMemory { asked: u64, left: u64 },
    TooManyBlocks { limit: u64 },
    AddressSpace { asked: u64, reserved: u64 },
    Forked,
}

impl Heap {
    /// Maps `fd`, a memfd of `len` bytes, which is heap number `id` of the executor `family`.
    pub(crate) fn new(
        fd: OwnedFd,
        len: u64,
        (id, family): (u64, u64),
        budget: Budget,
        mut upkeep: Upkeep,
        bell: Option<Arc<Bell>>,
    ) -> io::Result<Self> {
        let map = sys::reserve(fd.as_fd(), len, true)?;
        upkeep.huge_pages &= sys::is_aligned(&map);
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping has an address");
        // Mapped read-write once, so that one mapping serves both.
        registry::register(id, Access::Read, base, len);
        registry::register(id, Access::Write, base, len);
        let small_bytes = len / 8 / PAGE * PAGE;
        let state = State {
            small: Offsets::new(small_bytes / ALIGN as u64),
            large: Offsets::new((len - small_bytes) / PAGE),
            small_highs: [0; REGIONS_MAX],
            small_bytes: 0,
            warm: Warm::default(),
        };
        let (trim_due, state) = (AtomicBool::new(false), Mutex::new(state));
        let (granted_bytes, in_place_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            id,
            family,
            map,
            fd,
            budget,
            upkeep,
            crew: Crew::ALONE,
            bell,
            trim_due,
            granted_bytes,
            in_place_bytes,
            state,
        })
    }

    /// Lets these threads fill large blocks, and not the calling one alone.
    pub(crate) fn filled_by(mut self, crew: Crew) -> Self {
        self.crew = crew;
        self
    }

    /// Ends the threads besides the calling one that fill blocks. Not in a fork, which has none.
    pub(crate) fn dismiss_crew(&self) {
        self.crew.dismiss();
    }

    /// Who copies into a block, and calls a worker near the end if `calls_ahead`.
    pub(super) fn copier(&self, calls_ahead: bool) -> Copier {
        let ahead = calls_ahead.then(|| Arc::clone(self.budget.control()));
        Copier::new(self.crew.clone(), ahead)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The executor that the heap belongs to.
    pub(crate) fn family(&self) -> u64 {
        self.family
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// The bytes of all blocks that were ever asked for, and of those that were to be zeros. No
    /// lock: also in a fork.
    pub(crate) fn granted_bytes(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.granted_bytes), read(&self.in_place_bytes))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn place(&self, grant: &Grant) -> Place {
        Place { heap: self.id, offset: grant.offset, len: grant.len }
    }

    /// Where the mapping starts.
    pub(super) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).expect("a mapping has an address")
    }

    pub(crate) fn address(&self, grant: &Grant) -> NonNull<u8> {
        // SAFETY: `allocate` put the block inside the mapping.
        unsafe { self.base().add(grant.offset as usize) }
    }

    /// Finds a block of `len` bytes. Its contents are whatever was there.
    pub(crate) fn allocate(&self, len: u64) -> Result<Grant, HeapError> {
        if !self.budget.is_here() {
            return Err(HeapError::Forked);
        }
        if len > self.budget.limit() {
            return Err(HeapError::OutOfMemory { asked: len, left: self.left() });
        }
        let mut state = lock(&self.state);
        let is_small = len < LARGE_BYTES;
        let grant = if is_small {
            self.allocate_small(&mut state, len)?
        } else {
            self.allocate_large(&mut state, len)?
        };
        // With the lock, so that no other adds; readers need none.
        let granted_bytes = self.granted_bytes.load(Ordering::Relaxed).saturating_add(len);
        self.granted_bytes.store(granted_bytes, Ordering::Relaxed);
        drop(state);
        if grant.pages.is_some() {
            self.back(&grant);
        }
        Ok(grant)
    }

    /// As [`Heap::allocate`], for what is made where it lies, and not copied there.
    pub(crate) fn allocate_in_place(&self, len: u64) -> Result<Grant, HeapError> {
        let grant = self.allocate(len)?;
        self.in_place_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(grant)
    }

    /// As [`Heap::allocate_in_place`], and the block reads as zeros. Only memory that was used is
    /// written.
    pub(crate) fn allocate_zeroed(&self, len: u64) -> Result<Grant, HeapError> {
        let mut grant = self.allocate_in_place(len)?;
        self.zero(&mut grant);
        Ok(grant)
    }

    /// Gives a block back. Its memory stays warm; what is too much goes back with the next `trim`.
    pub(crate) fn free(&self, grant: Grant) {
        if !self.budget.is_here() {
            // A fork has a copy of the lock, which may have been held, and the block is not its.
            return;
        }
        let mut state = lock(&self.state);
        let Some(pages) = grant.pages else {
            state.small.free(grant.span);
            return;
        };
        state.large.free(grant.span);
        state.warm.put(pages);
        let surplus = state.warm.pages() * PAGE > self.upkeep.retain_bytes;
        drop(state);
        if surplus
            && !self.trim_due.swap(true, Ordering::AcqRel)
            && let Some(bell) = &self.bell
        {
            bell.ring();
        }
    }

    /// Gives warm memory back to the system until no more than the bound is left.
    ///
    /// Slow, 0.2 ms a MiB, so not on the path of a task; others get the lock in between.
    #[inline]
    pub(crate) fn trim(&self) {
        if self.trim_due.load(Ordering::Relaxed) && self.trim_due.swap(false, Ordering::AcqRel) {
            self.trim_now();
        }
    }

    /// As [`Heap::trim`], where that is due.
    #[cold]
    fn trim_now(&self) {
        while self.trim_step(&mut lock(&self.state), self.upkeep.retain_bytes) {}
    }

    fn allocate_small(&self, state: &mut State, len: u64) -> Result<Grant, HeapError> {
        let units = len.div_ceil(ALIGN as u64).max(1);
        let Some(span) = state.small.allocate(units) else {
            // The small range is full, or has too many blocks; there is room on pages.
            return self.allocate_large(state, len);
        };
        let offset = span.start * ALIGN as u64;
        // Each region is used from its start on; what lies between them is nobody's.
        let base = span.base * ALIGN as u64 / PAGE * PAGE;
        let old = state.small_highs[span.region()].max(base);
        let end = offset + units * ALIGN as u64;
        let high = end.next_multiple_of(PAGE).max(old);
        if let Err(left) = self.take(state, high - old) {
            state.small.free(span);
            return Err(HeapError::OutOfMemory { asked: len, left });
        }
        state.small_highs[span.region()] = high;
        state.small_bytes += high - old;
        let dirty = if offset < old { vec![(offset, end.min(old) - offset)] } else { Vec::new() };
        Ok(Grant { offset, len, span, pages: None, dirty })
    }

    fn allocate_large(&self, state: &mut State, len: u64) -> Result<Grant, HeapError> {
        let span = state.large.allocate(len.div_ceil(PAGE)).ok_or_else(|| self.no_room(len))?;
        let pages = Pages { start: span.start, len: len.div_ceil(PAGE) };
        let warm = state.warm.take(pages);
        let warm_pages: u64 = warm.iter().map(|part| part.len).sum();
        if let Err(left) = self.take(state, (pages.len - warm_pages) * PAGE) {
            warm.into_iter().for_each(|part| state.warm.put(part));
            state.large.free(span);
            return Err(HeapError::OutOfMemory { asked: len, left });
        }
        let offset = self.offset_of(pages);
        let dirty = warm.iter().map(|&part| (self.offset_of(part), part.len * PAGE));
        // The last page may reach behind the block; those bytes are nobody's.
        let dirty = dirty.map(|(at, n)| (at, n.min(offset + len - at))).collect();
        Ok(Grant { offset, len, span, pages: Some(pages), dirty })
    }

    /// Takes `bytes` of the budget; warm memory goes first where they are not left.
    fn take(&self, state: &mut State, bytes: u64) -> Result<(), u64> {
        loop {
            match self.budget.take(bytes) {
                Err(_) if self.trim_step(state, 0) => {}
                result => return result,
            }
        }
    }

    /// Gives some warm pages back. False: no more than `keep_bytes` are warm.
    fn trim_step(&self, state: &mut State, keep_bytes: u64) -> bool {
        let surplus = state.warm.pages().saturating_sub(keep_bytes / PAGE);
        let Some(pages) = state.warm.last(surplus.min(TRIM_PAGES)).filter(|p| p.len > 0) else {
            return false;
        };
        if sys::punch(self.fd(), self.offset_of(pages), pages.len * PAGE).is_err() {
            return false;
        }
        step!(both "heap.punched");
        state.warm.take(pages);
        self.budget.give_back(pages.len * PAGE);
        true
    }

    fn offset_of(&self, pages: Pages) -> u64 {
        self.len() / 8 / PAGE * PAGE + pages.start * PAGE
    }

    fn left(&self) -> u64 {
        self.budget.left()
    }

    fn no_room(&self, len: u64) -> HeapError {
        let (left, reserved) = (self.left(), self.len());
        if len > left {
            return HeapError::OutOfMemory { asked: len, left };
        }
        // Less than was wanted: a limit has cut the reservation.
        let is_cut = reserved < super::reservation_wanted(self.budget.limit());
        if is_cut || len > reserved / 16 {
            return HeapError::AddressSpace { asked: len, reserved };
        }
        HeapError::TooManyBlocks { limit: Offsets::blocks_max() }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        if !self.budget.is_here() {
            return;
        }
        self.dismiss_crew();
        registry::unregister(self.id);
        // Others may have it mapped for as long as they live; the memory goes now.
        let _ = sys::punch(self.fd(), 0, self.len());
        let state = lock(&self.state);
        self.budget.give_back(state.small_bytes + state.warm.pages() * PAGE);
    }
}

impl From<HeapError> for ShareError {
    fn from(error: HeapError) -> Self {
        match error {
            HeapError::OutOfMemory { asked, left } => Self::OutOfMemory { asked, left },
            HeapError::TooManyBlocks { limit } => Self::TooManyBlocks { limit },
            HeapError::AddressSpace { asked, reserved } => Self::AddressSpace { asked, reserved },
            HeapError::Forked => Self::Forked,
        }
    }
}
