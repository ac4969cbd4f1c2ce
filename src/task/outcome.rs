//! How a task ended, in the parent's own memory.

use std::time::Duration;

use crate::archive::{BadResult, Body, Report, decode};
use crate::control::{Ending, INLINE_RESULT_WORDS, ResultPlace};
use crate::error::{Death, ShareError, TaskError};
use crate::memory::{Lease, Place, RemoteHeap};
use crate::sync::Arc;

/// How a task ended, whatever its type. Two words, as [`Body`]: millions may be kept until somebody
/// asks.
pub(crate) enum Outcome {
    Done(Body),
    /// The worker's account of what went wrong.
    Failed(Box<Body>),
    Lost(Box<Loss>),
}

const _: () = assert!(size_of::<Option<Outcome>>() == 16);

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outcome")
    }
}

/// What is said of a task whose slot no longer tells of it.
pub(super) const OVERWRITTEN: &str = "its slot in the control segment was overwritten by a worker";

/// The longest archive that comes with the slot.
const INLINE_BYTES: u64 = (INLINE_RESULT_WORDS * 8) as u64;

/// Why no worker will finish a task.
#[derive(Debug, Clone)]
pub(crate) enum Loss {
    Died {
        death: Death,
        pid: u32,
    },
    Cancelled,
    Deadline {
        limit: Duration,
    },
    /// What the worker left in the slot makes no sense.
    Garbled(&'static str),
    Broken {
        reason: Arc<str>,
    },
    /// It is the task of the process that this one is a fork of.
    Forked,
    /// Waiting for it here could last for ever: this is a task of the same executor.
    Nested,
}

impl Outcome {
    /// Checks what a worker left in the slot, and takes over the memory of the result.
    #[inline]
    pub(super) fn read(
        ending: Ending,
        place: &ResultPlace,
        heap: Option<&Arc<RemoteHeap>>,
        loss: Option<Loss>,
    ) -> Self {
        if ending == Ending::Lost {
            return Self::lost(loss.unwrap_or(Loss::Garbled("the task was lost for no reason")));
        }
        match (read_body(place, heap), ending) {
            (Some(body), Ending::Done) => Self::Done(body),
            (Some(body), _) => Self::Failed(Box::new(body)),
            (None, _) => Self::garbled("its place lies outside the worker's memory"),
        }
    }

    /// A result that came with the slot's word: its first `len` bytes.
    #[inline]
    pub(super) fn word(word: u64, len: u8) -> Self {
        Self::Done(Body::Word { word, len })
    }

    /// Drops it; where there is nothing to drop, without the call, which leads into another page of
    /// code.
    #[inline]
    pub(super) fn dispose(self) {
        match self {
            Self::Done(Body::Word { .. }) => std::mem::forget(self),
            other => drop(other),
        }
    }

    #[cold]
    pub(crate) fn lost(loss: Loss) -> Self {
        Self::Lost(Box::new(loss))
    }

    #[cold]
    pub(super) fn garbled(cause: &'static str) -> Self {
        Self::lost(Loss::Garbled(cause))
    }

    /// Tells whether the worker died.
    pub(crate) fn is_death(&self) -> bool {
        matches!(self, Self::Lost(loss) if matches!(**loss, Loss::Died { .. }))
    }

    /// What is said of an item that has left no result, though its worker says that it has ended.
    pub(crate) fn missing() -> Self {
        Self::garbled("its entry was overwritten by a worker")
    }

    /// The error for what has left no result.
    pub(crate) fn to_error(&self, task: &'static str) -> TaskError {
        match self {
            Self::Done(_) => bad_result(BadResult("it is missing".to_owned()), task),
            Self::Failed(body) => report_error(body, task),
            Self::Lost(loss) => loss.to_error(task),
        }
    }

    /// The bytes of shared memory that the outcome holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        let body = match self {
            Self::Done(body) => body,
            Self::Failed(body) => body,
            Self::Lost(_) => return 0,
        };
        let own = match body {
            Body::Block(block) => block.lease.place().len,
            Body::Word { .. } | Body::Inline(_) => 0,
        };
        own + body.attached().iter().map(|lease| lease.place().len).sum::<u64>()
    }

    /// Tells whether a result lies in a block that would come with its entry if that were longer.
    pub(crate) fn fits_entry(&self) -> bool {
        const ENTRY_BYTES: u64 = (INLINE_RESULT_WORDS * 8) as u64;
        matches!(self, Self::Done(Body::Block(block)) if block.lease.place().len <= ENTRY_BYTES)
    }

    /// The archive of the result, or the error to return instead.
    pub(super) fn into_body(self, task: &'static str) -> Result<Body, TaskError> {
        match self {
            Self::Done(body) => Ok(body),
            other => Err(other.to_error(task)),
        }
    }
}

impl Loss {
    fn to_error(&self, task: &'static str) -> TaskError {
        match *self {
            Self::Died { death, pid } => TaskError::WorkerDied { death, pid, task },
            Self::Forked => TaskError::Forked { task },
            Self::Nested => TaskError::Nested { task },
            Self::Cancelled => TaskError::Cancelled { task },
            Self::Deadline { limit } => TaskError::DeadlineExceeded { limit, task },
            Self::Garbled(cause) => bad_result(BadResult(cause.to_owned()), task),
            Self::Broken { ref reason } => TaskError::Broken { reason: reason.to_string(), task },
        }
    }
}

/// The error for a result that does not decode.
pub(super) fn bad_result(bad: BadResult, task: &'static str) -> TaskError {
    TaskError::Decode { what: "the result".to_owned(), cause: bad.0, task }
}

fn report_error(body: &Body, task: &'static str) -> TaskError {
    if body.read(<[u8]>::is_empty) {
        // The worker had no memory left for an account.
        let error = ShareError::OutOfMemory { asked: 0, left: 0 };
        return TaskError::Result { error, task };
    }
    match body.read_stable(|bytes| decode::<Report>(bytes, &[])) {
        Ok(Report::Panicked { message, location, backtrace }) => {
            TaskError::Panicked { message, location, backtrace, task }
        }
        Ok(Report::Argument { number, cause }) => {
            TaskError::Decode { what: format!("argument {number}"), cause, task }
        }
        Ok(Report::Result { error }) => TaskError::Result { error, task },
        Ok(Report::Code) => {
            bad_result(BadResult("the task's code was not found in the worker".to_owned()), task)
        }
        Err(bad) => bad_result(bad, task),
    }
}

/// Gives back the memory of a result that was handed over and that nobody will ask for.
pub(crate) fn discard(place: &ResultPlace, heap: &Arc<RemoteHeap>) {
    drop(read_body(place, Some(heap)));
}

/// Takes over an archive and what is attached to it. `None`: a place that cannot be.
#[inline]
fn read_body(place: &ResultPlace, heap: Option<&Arc<RemoteHeap>>) -> Option<Body> {
    if place.heap != 0 || place.attached != 0 {
        return read_blocks(place, heap);
    }
    let body = || Body::inline(&place.inline, place.len as usize, Vec::new());
    (place.len <= INLINE_BYTES).then(body)
}

/// As [`read_body`], where the archive or what is attached to it lies in blocks.
fn read_blocks(place: &ResultPlace, heap: Option<&Arc<RemoteHeap>>) -> Option<Body> {
    const PLACE_BYTES: u64 = 24;
    // The table is copied, and memory behind it that nobody wrote would be made by that.
    if place.attached > RemoteHeap::blocks_max() {
        return None;
    }
    let table_at = place.len.checked_next_multiple_of(8)?;
    let bytes = if place.attached == 0 {
        place.len
    } else {
        table_at.checked_add(place.attached.checked_mul(PLACE_BYTES)?)?
    };
    if place.heap == 0 {
        if bytes > INLINE_BYTES {
            return None;
        }
        let end = (bytes / 8) as usize;
        let attached = attach(&place.inline[(table_at / 8) as usize..end], heap?)?;
        return Some(Body::inline(&place.inline, place.len as usize, attached));
    }
    let heap = heap?;
    let block = Place { heap: place.heap, offset: place.offset, len: bytes };
    let start = heap.address(&block)?;
    let attached = if place.attached == 0 {
        Vec::new()
    } else {
        // SAFETY: the block lies in the heap, and the table inside the block.
        let table = unsafe { start.add(table_at as usize) }.cast::<u64>();
        let words = (place.attached * 3) as usize;
        // SAFETY: in bounds as above, aligned to 8, and the worker has handed the block over.
        let words = unsafe { std::slice::from_raw_parts(table.as_ptr(), words) }.to_vec();
        attach(&words, heap)?
    };
    let lease = Lease::remote(heap, block, attached)?;
    Some(Body::block(Arc::new(lease), place.len as usize))
}

fn attach(words: &[u64], heap: &Arc<RemoteHeap>) -> Option<Vec<Arc<Lease>>> {
    let places = words.chunks_exact(3).map(|w| Place { heap: w[0], offset: w[1], len: w[2] });
    places.map(|place| Lease::remote(heap, place, Vec::new()).map(Arc::new)).collect()
}
