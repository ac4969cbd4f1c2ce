//! What a worker tells of a task that failed.

use crate::error::ShareError;

/// The account of a failed task, archived in place of its result.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) enum Report {
    Panicked {
        message: String,
        location: String,
        backtrace: Option<String>,
    },
    Argument {
        number: u32,
        cause: String,
    },
    Result {
        error: ShareError,
    },
    /// The task's code is not where the parent says; only a worker gone wild can cause it.
    Code,
}
