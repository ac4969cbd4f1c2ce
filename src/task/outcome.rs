//! How a task ended, in the parent's own memory.

use std::time::Duration;

use crate::archive::{BadResult, Body, Report, decode};
use crate::control::{Ending, INLINE_RESULT_WORDS, ResultPlace};
use crate::error::{Death, ShareError, TaskError};
use crate::memory::{Lease, Place, RemoteHeap};
use crate::sync::Arc;

/// How a task ended, whatever its type.
pub(crate) enum Outcome {
    Done(Body),
    Failed(Body),
    Lost(Loss),
    /// What the worker left in the slot makes no sense.
    Garbled(&'static str),
}

/// An outcome that nobody has asked for yet. There may be millions, so the usual ones are small.
pub(super) enum Kept {
    /// A result of up to eight bytes.
    Word {
        word: u64,
        len: u8,
    },
    Other(Box<Outcome>),
}

impl From<Outcome> for Kept {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done(Body::Inline { words, len, attached })
                if len <= 8 && attached.is_empty() =>
            {
                Self::Word { word: words[0], len: len as u8 }
            }
            other => Self::Other(Box::new(other)),
        }
    }
}

impl From<Kept> for Outcome {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Word { word, len } => {
                let mut words = [0; INLINE_RESULT_WORDS];
                words[0] = word;
                Self::Done(Body::Inline { words, len: len.into(), attached: Vec::new() })
            }
            Kept::Other(outcome) => *outcome,
        }
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outcome")
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
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
    /// A worker has overwritten the task's slot.
    Overwritten,
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
    pub(super) fn read(
        ending: Ending,
        place: &ResultPlace,
        heap: Option<&Arc<RemoteHeap>>,
        loss: Option<Loss>,
    ) -> Self {
        if ending == Ending::Lost {
            return loss.map_or(Self::Garbled("the task was lost for no reason"), Self::Lost);
        }
        match (read_body(place, heap), ending) {
            (Some(body), Ending::Done) => Self::Done(body),
            (Some(body), _) => Self::Failed(body),
            (None, _) => Self::Garbled("its place lies outside the worker's memory"),
        }
    }

    /// What is said of an item that has left no result, though its worker says that it has ended.
    pub(crate) fn missing() -> Self {
        Self::Garbled("its entry was overwritten by a worker")
    }

    /// The error for what has left no result.
    pub(crate) fn into_error(self, task: &'static str) -> TaskError {
        let missing = |_| bad_result(BadResult("it is missing".to_owned()), task);
        self.into_body(task).map_or_else(|error| error, missing)
    }

    /// The bytes of shared memory that the outcome holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        let (Self::Done(body) | Self::Failed(body)) = self else { return 0 };
        let own = match body {
            Body::Block { lease, .. } => lease.place().len,
            Body::Inline { .. } => 0,
        };
        own + body.attached().iter().map(|lease| lease.place().len).sum::<u64>()
    }

    /// Tells whether a result lies in a block that would come with its entry if that were longer.
    pub(crate) fn fits_entry(&self) -> bool {
        const ENTRY_BYTES: u64 = (INLINE_RESULT_WORDS * 8) as u64;
        let Self::Done(Body::Block { lease, .. }) = self else { return false };
        lease.place().len <= ENTRY_BYTES
    }

    /// The archive of the result, or the error to return instead.
    pub(super) fn into_body(self, task: &'static str) -> Result<Body, TaskError> {
        Err(match self {
            Self::Done(body) => return Ok(body),
            Self::Failed(body) => report_error(&body, task),
            Self::Lost(Loss::Died { death, pid }) => TaskError::WorkerDied { death, pid, task },
            Self::Lost(Loss::Forked) => TaskError::Forked { task },
            Self::Lost(Loss::Nested) => TaskError::Nested { task },
            Self::Lost(Loss::Cancelled) => TaskError::Cancelled { task },
            Self::Lost(Loss::Deadline { limit }) => TaskError::DeadlineExceeded { limit, task },
            Self::Lost(Loss::Overwritten) => bad_result(BadResult(OVERWRITTEN.to_owned()), task),
            Self::Lost(Loss::Broken { reason }) => {
                TaskError::Broken { reason: reason.to_string(), task }
            }
            Self::Garbled(cause) => bad_result(BadResult(cause.to_owned()), task),
        })
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
    let len = place.len as usize;
    let body = || Body::Inline { words: place.inline, len, attached: Vec::new() };
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
        return Some(Body::Inline { words: place.inline, len: place.len as usize, attached });
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
    Some(Body::Block { lease: Arc::new(lease), len: place.len as usize })
}

fn attach(words: &[u64], heap: &Arc<RemoteHeap>) -> Option<Vec<Arc<Lease>>> {
    let places = words.chunks_exact(3).map(|w| Place { heap: w[0], offset: w[1], len: w[2] });
    places.map(|place| Lease::remote(heap, place, Vec::new()).map(Arc::new)).collect()
}
