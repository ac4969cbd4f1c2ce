//! Shared memory: heaps, the budget they are admitted against, and what lies in them.
//!
//! A heap is one memfd with one writer: the parent's argument heap, or a worker's result heap.
//! Everybody else maps it read-only. A [`Lease`] is the right to read a block; the block goes back
//! to its heap with the last lease.

mod array;
mod budget;
mod copier;
mod crew;
mod heap;
mod lease;
mod local;
mod offsets;
mod place;
mod registry;
mod remote;
mod warm;

pub use array::{Array, ArrayMut};
pub(crate) use array::{array_bytes, elements};
pub(crate) use budget::{Budget, default_budget};
pub(crate) use copier::Copier;
pub(crate) use crew::Crew;
pub(crate) use heap::{Grant, Heap, HeapError, Upkeep};
pub(crate) use lease::Lease;
pub(crate) use local::{LocalHeap, LocalRef, Nesting, nesting};
pub use local::{array, array_for_overwrite};
pub(crate) use place::{ALIGN, Place, new_heap_id};
pub(crate) use registry::{Access, fetch_with, register, resolve, resolve_writable, unregister};
pub(crate) use remote::RemoteHeap;

/// The address space that each heap reserves when the budget is `budget_bytes`.
///
/// Four times the budget, so that no fragmentation of addresses can stop an allocation which the
/// budget admits; less where `ulimit -v` or `ulimit -f` forbid it.
pub(crate) fn reservation_bytes(budget_bytes: u64, heaps: u64) -> u64 {
    const PAGE: u64 = 2 << 20;
    let wanted = reservation_wanted(budget_bytes);
    let limit = crate::sys::reservation_limit(heaps).unwrap_or(u64::MAX);
    // A process has 47 bits of address space; three quarters of it for all heaps together.
    let space = (3 << 45) / heaps.max(1);
    (wanted.min(limit).min(space) / PAGE * PAGE).max(PAGE)
}

/// What each heap reserves where nothing forbids it, a multiple of the page size.
fn reservation_wanted(budget_bytes: u64) -> u64 {
    const LEAST: u64 = 64 << 20;
    const PAGE: u64 = 2 << 20;
    (budget_bytes.saturating_mul(4) / PAGE * PAGE).max(LEAST)
}
