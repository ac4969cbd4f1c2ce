//! What a trampoline works on: the arguments of one task, and the place for its result.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr::NonNull;

use super::argument::Argument;
use super::batch::Run;
use super::param::{View, ViewError};
use crate::archive::{
    Blocks, Encoded, Report, Returnable, Storable, checked_usize, encode, word_of,
};
use crate::control::{INLINE_RESULT_WORDS, ResultPlace};
use crate::error::ShareError;
use crate::memory::{Lease, LocalHeap};
use crate::sync::Arc;

/// The code of a task: finds the arguments, calls the function, stores the result.
///
/// Its own panics and the function's unwind to the caller.
pub(crate) type Trampoline = fn(&mut Frame<'_>) -> Result<(), Fault>;

/// The arguments of one task, in the worker. Opaque outside the crate.
pub struct Frame<'r> {
    /// All arguments, or the constant ones in front of an item.
    start: NonNull<u8>,
    len: usize,
    item: Option<Item>,
    /// The words of a result that its place holds; a longer one is stored in the heap.
    inline_words: usize,
    result: ResultBytes,
    run: Option<&'r dyn Run>,
}

/// An item of a batch: the last argument, in a block of its own.
#[derive(Debug, Clone, Copy)]
struct Item {
    start: NonNull<u8>,
    len: usize,
    /// Where the position of the batch's first item stands, and that of the present one.
    first: usize,
    entry: usize,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Why a task has no result, other than a panic. Opaque outside the crate.
#[derive(Debug)]
pub struct Fault(Box<Report>);

impl Fault {
    /// The argument with this number (from 1) does not decode.
    #[cold]
    pub(super) fn argument(number: u32, cause: &ViewError) -> Self {
        Self(Box::new(Report::Argument { number, cause: cause.to_string() }))
    }

    /// The result cannot be stored.
    #[cold]
    pub(super) fn result(error: ShareError) -> Self {
        Self(Box::new(Report::Result { error }))
    }

    pub(crate) fn into_report(self) -> Box<Report> {
        self.0
    }
}

/// A result that is encoded and not handed over yet. Dropped, its memory is free again.
#[derive(Debug, Default)]
pub(crate) enum ResultBytes {
    /// There is none, or it has no bytes.
    #[default]
    Nothing,
    /// A number: the first `len` bytes.
    Word {
        word: u64,
        len: u8,
    },
    Other(Box<OtherBytes>),
}

#[derive(Debug)]
pub(crate) struct OtherBytes {
    inline: [u64; INLINE_RESULT_WORDS],
    root_end: u64,
    encoded: Encoded,
}

impl<'r> Frame<'r> {
    /// Looks at `len` bytes of arguments at `start`.
    ///
    /// # Safety
    ///
    /// [`super::store`] wrote them for the trampoline that gets the frame, and they stay unchanged
    /// as long as it runs.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize, run: Option<&'r dyn Run>) -> Self {
        let inline_words = INLINE_RESULT_WORDS;
        Self { start, len, item: None, inline_words, result: ResultBytes::Nothing, run }
    }

    /// Looks at the constants and the items of a batch; the table of positions is read from byte
    /// `first` of the items on. [`Frame::turn_to`] chooses the item.
    ///
    /// # Safety
    ///
    /// As [`Frame::new`], for both blocks.
    pub(super) unsafe fn of_items(
        (start, len): (NonNull<u8>, usize),
        (items, items_len): (NonNull<u8>, usize),
        first: usize,
    ) -> Self {
        let item = Item { start: items, len: items_len, first, entry: first };
        let (item, inline_words) = (Some(item), INLINE_RESULT_WORDS);
        Self { start, len, item, inline_words, result: ResultBytes::Nothing, run: None }
    }

    /// Makes an item the last argument; its result may have so many words where it is stored.
    pub(super) fn turn_to(&mut self, item: u32, inline_words: usize) {
        if let Some(present) = &mut self.item {
            present.entry = present.first + item as usize * 8;
        }
        (self.inline_words, self.result) = (inline_words, ResultBytes::Nothing);
    }

    /// What a batch needs of the worker that runs it.
    pub(super) fn run(&self) -> Option<&'r dyn Run> {
        self.run
    }

    /// The arguments as words. `None`: they have another length.
    pub(super) fn words<const N: usize>(&self) -> Option<[u64; N]> {
        // SAFETY: the arguments have this length, and start at a multiple of 64.
        (self.len == N * 8).then(|| unsafe { self.start.cast::<[u64; N]>().read() })
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
        let fault = |cause| Fault::argument(index as u32 + 1, &cause);
        let (start, len, entry) = match &self.item {
            Some(item) if index + 1 == count => (item.start, item.len, Some(item.entry)),
            other => {
                let entries = count - usize::from(other.is_some());
                let table = self.len.checked_sub(entries * 8);
                (self.start, self.len, table.map(|at| at + index * 8))
            }
        };
        let entry = entry.filter(|at| at.is_multiple_of(8) && at.saturating_add(8) <= len);
        let entry = entry.ok_or_else(|| fault(ViewError::out_of_place()))?;
        // SAFETY: `entry` lies inside the arguments, at whose end is the table of positions.
        let entry = unsafe { start.add(entry) }.cast::<u64>();
        // SAFETY: in bounds as above, and aligned: `start` is to 64, `entry` to 8.
        let at = unsafe { entry.read() } as usize;
        if at > len {
            return Err(fault(ViewError::out_of_place()));
        }
        // SAFETY: `at` lies inside the arguments.
        let at = unsafe { start.add(at) };
        // SAFETY: the caller promises that `store` put an `A` there, which stays for the run.
        let stored = unsafe { A::locate(at) }.map_err(fault)?;
        P::view(stored).map_err(fault)
    }

    /// Encodes the result, small ones inline.
    pub(super) fn store_result<R: Returnable>(&mut self, result: &R) -> Result<(), Fault> {
        // An archive without bytes is stored by storing nothing.
        if size_of::<R::Archived>() == 0 {
            return Ok(());
        }
        self.result = if let Some((word, len)) = word_of(result) {
            ResultBytes::Word { word, len }
        } else {
            checked_usize(result).map_err(Fault::result)?;
            encode_result_within(result, self.inline_words).map_err(Fault::result)?
        };
        Ok(())
    }

    /// Gives the memory of the result to the parent and says in `place`, that of nothing, where it
    /// lies.
    #[inline]
    pub(crate) fn hand_over(&mut self, place: &mut ResultPlace) {
        self.result.hand_over(place);
    }

    /// Drops it; where there is nothing to drop, without the call, which leads into another page of
    /// code.
    #[inline]
    pub(crate) fn dispose(self) {
        match self.result {
            ResultBytes::Nothing | ResultBytes::Word { .. } => mem::forget(self),
            ResultBytes::Other(_) => drop(self),
        }
    }
}

/// Stores a report. Without memory for it, one that says so with the numbers fits into few words.
#[cold]
pub(crate) fn encode_report(report: &Report, inline_words: usize) -> ResultPlace {
    let stored = encode_result_within(report, inline_words);
    let stored =
        stored.or_else(|error| encode_result_within(&Report::Result { error }, inline_words));
    let mut place = ResultPlace::default();
    stored.unwrap_or_default().hand_over(&mut place);
    place
}

/// Encodes `value` and, behind it, the places of the arrays that it holds; in the heap if that has
/// more than so many words.
pub(super) fn encode_result_within<R: Storable>(
    value: &R,
    inline_words: usize,
) -> Result<ResultBytes, ShareError> {
    let local = LocalHeap::get().ok_or(ShareError::NotInTask)?;
    let mut inline = [0; INLINE_RESULT_WORDS];
    let root_end = Cell::new(0);
    let encoded = encode(
        &mut inline[..inline_words],
        local.heap().family(),
        |encoder| {
            encoder.value(value)?;
            root_end.set(encoder.end());
            encoder.table()
        },
        |len| Ok(Lease::own(local.heap(), local.allocate(len, false)?)),
    )?;
    // A thread may get hold of arrays that others have made.
    let is_foreign = |lease: &Arc<Lease>| lease.place().heap != local.heap().id();
    if encoded.blocks.as_ref().is_some_and(|blocks| blocks.attached.iter().any(is_foreign)) {
        return Err(ShareError::Foreign);
    }
    let root_end = root_end.get();
    Ok(ResultBytes::Other(Box::new(OtherBytes { inline, root_end, encoded })))
}

impl ResultBytes {
    /// As [`Frame::hand_over`]. A word stays where it is: moved, it would be read as a whole just
    /// after it was written in parts, for which a processor waits until they have left its core's
    /// queue of stores.
    #[inline]
    fn hand_over(&mut self, place: &mut ResultPlace) {
        match self {
            Self::Nothing => {}
            Self::Word { word, len } => {
                place.len = u64::from(*len);
                place.inline[0] = *word;
            }
            Self::Other(_) => self.hand_other_over(place),
        }
    }

    /// As [`ResultBytes::hand_over`], of one that is no word.
    #[inline(never)]
    fn hand_other_over(&mut self, place: &mut ResultPlace) {
        if let Self::Other(bytes) = mem::take(self) {
            (*bytes).hand_over(place);
        }
    }
}

impl OtherBytes {
    fn hand_over(self, place: &mut ResultPlace) {
        (place.len, place.inline) = (self.root_end, self.inline);
        if let Some(blocks) = self.encoded.blocks {
            let Blocks { own, attached } = *blocks;
            place.attached = attached.len() as u64;
            if let Some(block) = &own {
                (place.heap, place.offset) = (block.place().heap, block.place().offset);
            }
            if let Some(local) = LocalHeap::get() {
                attached.into_iter().chain(own.map(Arc::new)).for_each(|lease| local.give(lease));
            }
        }
    }
}
