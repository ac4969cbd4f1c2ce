//! What can go wrong in a loop over arrays.

use std::ops::Range;

use thiserror::Error;

use super::{SubmitError, TaskError};

/// Why a loop over arrays did not come to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoopError {
    /// The function failed for part of the loop. What was not begun by then was left undone; what
    /// the loop writes is in an unknown state.
    #[error("the loop failed at {} to {}: {error}", range.start, range.end)]
    Range {
        /// The elements, or rows, that were lost: one chunk where the function panicked; where its
        /// process died, all that it had claimed.
        range: Range<usize>,
        /// What went wrong there.
        #[source]
        error: TaskError,
    },
    /// The loop was not begun, or not all of it: its arguments cannot be stored, or the executor is
    /// broken.
    #[error(transparent)]
    Refused(#[from] SubmitError),
    /// The arrays have different lengths. Cut them to the same length, or pass those that are not
    /// to be cut among the arguments.
    #[error(
        "arrays of one loop have as many elements (or rows) each: the first has {first}, \
         number {number} has {other}"
    )]
    Lengths {
        /// The elements, or rows, of the first array.
        first: usize,
        /// Which array differs, from 1.
        number: usize,
        /// How many it has.
        other: usize,
    },
    /// An array does not consist of whole rows.
    #[error("an array of {len} elements has no whole number of rows of {columns}")]
    Rows {
        /// The elements of the array.
        len: usize,
        /// The elements of a row.
        columns: usize,
    },
    /// Chunks of no elements come to no end. Pass 1 or more.
    #[error("a chunk has at least one element, this one has 0")]
    EmptyChunk,
    /// A worker has overwritten the control segment, and parts of the loop may not have been run.
    #[error("a worker overwrote the control segment; parts of the loop may not have been run")]
    Overwritten,
}
