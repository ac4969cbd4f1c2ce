//! The heaps that this process has mapped: from a heap's number to its address.

use std::cell::Cell;
use std::collections::HashMap;
use std::ptr::NonNull;

use super::place::Place;
use crate::sync::{AtomicUsize, OnceLock, Ordering, PoisonError, RwLock};

/// What a mapping is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy)]
struct Mapped {
    heap: u64,
    base: usize,
    len: u64,
}

static HEAPS: RwLock<Option<HashMap<(u64, Access), Mapped>>> = RwLock::new(None);
/// Counts removals; what a thread remembers is good while the count stands still.
static REMOVALS: AtomicUsize = AtomicUsize::new(0);
/// Maps a heap that is not mapped yet; set in workers, which can ask the parent for it.
static FETCH: OnceLock<fn(u64, Access) -> bool> = OnceLock::new();

thread_local! {
    /// By access: what was found last, and the count of removals then.
    static LAST: [Cell<Option<(usize, Mapped)>>; 2] = const { [const { Cell::new(None) }; 2] };
}

/// Makes a mapping known. It must stay mapped until [`unregister`].
pub(crate) fn register(heap: u64, access: Access, base: NonNull<u8>, len: u64) {
    let mut heaps = HEAPS.write().unwrap_or_else(PoisonError::into_inner);
    let mapped = Mapped { heap, base: base.as_ptr().expose_provenance(), len };
    heaps.get_or_insert_default().insert((heap, access), mapped);
}

/// Forgets a heap's mappings, which may go then.
pub(crate) fn unregister(heap: u64) {
    let mut heaps = HEAPS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(heaps) = heaps.as_mut() {
        heaps.remove(&(heap, Access::Read));
        heaps.remove(&(heap, Access::Write));
    }
    REMOVALS.fetch_add(1, Ordering::SeqCst);
}

/// Sets how this process gets hold of heaps that it has not mapped yet.
pub(crate) fn fetch_with(fetch: fn(u64, Access) -> bool) {
    let _ = FETCH.set(fetch);
}

/// Finds a place in this process: in bounds of a heap that is mapped, aligned to [`super::ALIGN`].
///
/// Costs a few nanoseconds where the thread's last place was in the same heap.
#[inline(never)]
pub(crate) fn resolve(place: &Place) -> Option<NonNull<u8>> {
    find(place, Access::Read)
}

/// As [`resolve`], in a mapping that may be written. Workers have one of the argument heap from the
/// first loop on that fills an array.
pub(crate) fn resolve_writable(place: &Place) -> Option<NonNull<u8>> {
    find(place, Access::Write)
}

fn find(place: &Place, access: Access) -> Option<NonNull<u8>> {
    let mapped = lookup(place.heap, access)?;
    if !place.fits(mapped.len) {
        return None;
    }
    let address = mapped.base + place.offset as usize;
    NonNull::new(std::ptr::with_exposed_provenance_mut(address))
}

fn lookup(heap: u64, access: Access) -> Option<Mapped> {
    let removals = REMOVALS.load(Ordering::SeqCst);
    if let Some((at, mapped)) = LAST.with(|last| last[access as usize].get())
        && at == removals
        && mapped.heap == heap
    {
        return Some(mapped);
    }
    let find = || {
        let heaps = HEAPS.read().unwrap_or_else(PoisonError::into_inner);
        heaps.as_ref().and_then(|heaps| heaps.get(&(heap, access)).copied())
    };
    let mapped = match (find(), FETCH.get()) {
        (None, Some(fetch)) if fetch(heap, access) => find(),
        (found, _) => found,
    }?;
    LAST.with(|last| last[access as usize].set(Some((removals, mapped))));
    Some(mapped)
}
