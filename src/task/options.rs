//! What a caller may ask for besides the result.

use std::time::Duration;

/// How a task is to be run: [`Executor::submit_with`](crate::Executor::submit_with).
///
/// Nothing is set at first: no deadline, no retries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "options do nothing until they are given to `submit_with`"]
pub struct TaskOptions {
    pub(crate) deadline: Option<Duration>,
    pub(crate) retries: u32,
}

impl TaskOptions {
    /// Options without a deadline and without retries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the task if it runs longer, with [`TaskError::DeadlineExceeded`].
    ///
    /// Counted from the start of the run, not of the waiting. Its worker is killed and replaced;
    /// other tasks do not notice. Should the task wait for longer than it may run, workers that
    /// were stopped (SIGSTOP) while they had no task are replaced, too. With a [`Backend`] other
    /// than processes it runs to its end, and has the error then.
    ///
    /// [`Backend`]: crate::Backend
    /// [`TaskError::DeadlineExceeded`]: crate::TaskError::DeadlineExceeded
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// Runs the task again, so often at most, when its worker dies while it runs.
    ///
    /// For tasks that may run twice. Not for panics and errors, which would come again, nor for
    /// deadlines and cancellation. The deadline of each run is counted anew.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}
