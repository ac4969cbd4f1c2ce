//! What a trampoline works on: the arguments of one task, and the place for its result.

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;

use super::argument::Argument;
use super::chunks::Order;
use super::param::{View, ViewError};
use crate::archive::{Encoded, Report, Returnable, Storable, checked_usize, encode};
use crate::control::{Control, INLINE_RESULT_WORDS, ResultPlace, Slot};
use crate::error::ShareError;
use crate::memory::{Lease, LocalHeap};
use crate::sync::Arc;

/// The code of a task: finds the arguments, calls the function, stores the result.
///
/// Its own panics and the function's unwind to the caller.
pub(crate) type Trampoline = fn(&mut Frame<'_>) -> Result<(), Fault>;

/// The arguments of one task, in the worker. Opaque outside the crate.
pub struct Frame<'w> {
    start: NonNull<u8>,
    len: usize,
    result: Option<ResultBytes>,
    site: Option<Site<'w>>,
}

/// Where in shared memory a task runs: what it can tell its parent before it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'w> {
    pub(crate) control: &'w Control,
    pub(crate) slot: &'w Slot,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Why a task has no result, other than a panic.
#[derive(Debug)]
pub enum Fault {
    /// The argument with this number (from 1) does not decode.
    Argument(u32, ViewError),
    /// The result cannot be stored.
    Result(ShareError),
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Argument(number, cause) => Self::Argument { number, cause: cause.to_string() },
            Fault::Result(error) => Self::Result { error },
        }
    }
}

/// A result that is encoded and not handed over yet. Dropped, its memory is free again.
#[derive(Debug, Default)]
pub(crate) struct ResultBytes {
    inline: [u64; INLINE_RESULT_WORDS],
    root_end: u64,
    encoded: Encoded,
}

impl<'w> Frame<'w> {
    /// Looks at `len` bytes of arguments at `start`.
    ///
    /// # Safety
    ///
    /// [`super::store`] wrote them for the trampoline that gets the frame, and they stay unchanged
    /// as long as it runs.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize, site: Option<Site<'w>>) -> Self {
        Self { start, len, result: None, site }
    }

    /// Where the task runs. `None`: it is no task, but the start function of a worker.
    pub(super) fn site(&self) -> Option<Site<'w>> {
        self.site
    }

    /// The arguments as an order to run part of a loop. `None`: they are too short for one.
    pub(super) fn order(&self) -> Option<Order> {
        // SAFETY: `new` was promised `len` bytes at `start`, which are aligned to 64; any bytes are
        // an order.
        (self.len >= size_of::<Order>()).then(|| unsafe { self.start.cast::<Order>().read() })
    }

    /// Finds argument `index` of `count`, an `A`, and looks at it as a `P`.
    ///
    /// # Safety
    ///
    /// The arguments were stored from a tuple whose member `index` is an `A`. `'a` ends with the
    /// run.
    pub(super) unsafe fn argument<'a, P, A>(
        &self,
        index: usize,
        count: usize,
    ) -> Result<P::Item<'a>, Fault>
    where
        A: Argument,
        A::Stored: 'a,
        P: View<A::Stored>,
    {
        let fault = |cause| Fault::Argument(index as u32 + 1, cause);
        let table = self.len.checked_sub(count * 8).filter(|at| at.is_multiple_of(8));
        let entry = table.ok_or_else(|| fault(ViewError::out_of_place()))? + index * 8;
        // SAFETY: the table of positions ends the arguments, so `entry` lies inside them.
        let entry = unsafe { self.start.add(entry) }.cast::<u64>();
        // SAFETY: in bounds as above, and aligned: `start` is to 64, `table` to 8.
        let at = unsafe { entry.read() } as usize;
        if at > self.len {
            return Err(fault(ViewError::out_of_place()));
        }
        // SAFETY: `at` lies inside the arguments.
        let at = unsafe { self.start.add(at) };
        // SAFETY: the caller promises that `store` put an `A` there, which stays for the run.
        let stored = unsafe { A::locate(at) }.map_err(fault)?;
        P::view(stored).map_err(fault)
    }

    /// Encodes the result, small ones inline.
    pub(super) fn store_result<R: Returnable>(&mut self, result: &R) -> Result<(), Fault> {
        // An archive without bytes is stored by storing nothing.
        if size_of::<R::Archived>() > 0 {
            checked_usize(result).map_err(Fault::Result)?;
            self.result = Some(encode_result(result).map_err(Fault::Result)?);
        }
        Ok(())
    }

    pub(crate) fn take_result(&mut self) -> Option<ResultBytes> {
        self.result.take()
    }
}

/// Encodes `value` and, behind it, the places of the arrays that it holds.
pub(crate) fn encode_result<R: Storable>(value: &R) -> Result<ResultBytes, ShareError> {
    let local = LocalHeap::get().ok_or(ShareError::NotInTask)?;
    let mut inline = [0; INLINE_RESULT_WORDS];
    let root_end = Cell::new(0);
    let encoded = encode(
        &mut inline,
        local.heap().family(),
        |encoder| {
            encoder.value(value)?;
            root_end.set(encoder.end());
            encoder.table()
        },
        |len| Ok(Lease::own(local.heap(), local.allocate(len, false)?)),
    )?;
    // A thread may get hold of arrays that others have made.
    if encoded.attached.iter().any(|lease| lease.place().heap != local.heap().id()) {
        return Err(ShareError::Foreign);
    }
    Ok(ResultBytes { inline, root_end: root_end.get(), encoded })
}

impl ResultBytes {
    /// Gives the memory to the parent and says where the result lies.
    pub(crate) fn hand_over(self) -> ResultPlace {
        let Encoded { block, attached, .. } = self.encoded;
        let mut place = ResultPlace {
            len: self.root_end,
            attached: attached.len() as u64,
            inline: self.inline,
            ..ResultPlace::default()
        };
        if let Some(block) = &block {
            (place.heap, place.offset) = (block.place().heap, block.place().offset);
        }
        if let Some(local) = LocalHeap::get() {
            attached.into_iter().chain(block.map(Arc::new)).for_each(|lease| local.give(lease));
        }
        place
    }
}
