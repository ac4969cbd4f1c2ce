//! What the user holds of a task.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::function::TaskName;
use super::outcome::{Outcome, bad_result};
use crate::archive::{Body, Output, Returnable, Shared, check, decode};
use crate::error::TaskError;
use crate::memory::Lease;
use crate::sync::Arc;

/// Of a handle whose outcome was taken: no slot has this index.
const TAKEN: u64 = u32::MAX as u64;

const ENDS: &str = "a wait without a deadline ends with an outcome";

/// A submitted task: wait for its result with [`join`](Self::join), or `.await` it.
///
/// Dropping the handle leaves the task to itself: it runs, and its result is thrown away.
#[must_use = "dropping the handle leaves the task to itself; `join` it for its result or error"]
pub struct TaskHandle<R> {
    desk: Arc<Desk>,
    name: TaskName,
    /// The slot, and in the upper half the generation; `TAKEN` once the outcome was. One word: who
    /// moves a handle just after it was made would wait for two halves.
    key: u64,
    _result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for TaskHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = !self.is_open() || self.is_finished();
        f.debug_struct("TaskHandle")
            .field("task", &(self.name)())
            .field("finished", &finished)
            .finish()
    }
}

impl<R> TaskHandle<R> {
    /// Tells whether the task has ended, so that joining does not wait. No system call.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let (index, generation) = self.key();
        self.desk.has_ended(index, generation)
    }

    /// Takes the task back, whether it runs or not. True: joining returns
    /// [`TaskError::Cancelled`]. False: it has ended, or its end is decided already.
    ///
    /// A task that is queued will not run. One that runs is stopped by killing its worker, which is
    /// replaced; other tasks do not notice. Where workers are threads, nothing stops it: it runs to
    /// its end, its result is thrown away, and joining waits for that.
    pub fn cancel(&self) -> bool {
        let (index, generation) = self.key();
        self.is_here() && self.desk.cancel(index, generation)
    }

    /// Tells whether the task is this process's, and not that of one that it is a fork of.
    fn is_here(&self) -> bool {
        self.desk.control().is_here()
    }

    /// Limits how long the task may run, as [`TaskOptions::deadline`](crate::TaskOptions::deadline)
    /// does. Counted from now if it runs already.
    pub fn deadline(self, limit: Duration) -> Self {
        if self.is_here() {
            let (index, generation) = self.key();
            self.desk.set_deadline(index, generation, limit);
        }
        self
    }

    /// The slot and the generation.
    pub(crate) fn key(&self) -> (u32, u32) {
        (self.key as u32, (self.key >> 32) as u32)
    }

    fn is_open(&self) -> bool {
        self.key != TAKEN
    }

    /// Waits until the task ends (`Some`, and the outcome is taken) or the deadline has passed.
    #[inline]
    fn wait(&mut self, deadline: Option<Instant>) -> Option<Outcome> {
        span!(TRACE "join", task = (self.name)());
        let (index, generation) = self.key();
        let outcome = self.desk.wait(index, generation, deadline);
        if outcome.is_some() {
            self.key = TAKEN;
        }
        outcome
    }

    fn take_body(&mut self) -> Result<Body, TaskError> {
        self.wait(None).expect(ENDS).into_body((self.name)())
    }
}

impl<R: Returnable> TaskHandle<R> {
    pub(crate) fn new(desk: Arc<Desk>, index: u32, generation: u32, name: TaskName) -> Self {
        let key = u64::from(generation) << 32 | u64::from(index);
        Self { desk, name, key, _result: PhantomData }
    }

    /// Waits until the task ends and returns its result.
    ///
    /// The result is decoded, which copies what it owns; [`join_view`](Self::join_view) reads it
    /// where it lies. Sleeps on one futex; no system call where the task has ended. While a long
    /// queue of short tasks is worked off it may return some 0.1 ms after the end: to be woken for
    /// each would take the workers' time.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Panicked`]: the function panicked; its message and place are in the error.
    /// - [`TaskError::WorkerDied`]: the process that ran it ended; only this task is concerned.
    /// - [`TaskError::Decode`]: an argument or the result did not decode.
    /// - [`TaskError::Result`]: the result did not fit into memory.
    /// - [`TaskError::Cancelled`]: [`cancel`](Self::cancel) took it back.
    /// - [`TaskError::DeadlineExceeded`]: it ran longer than it was allowed to.
    /// - [`TaskError::Broken`]: no worker can be started any more.
    /// - [`TaskError::Nested`]: this is a task of the same executor, which could wait for itself.
    /// - [`TaskError::Forked`]: this process is a fork of the one that submitted the task.
    pub fn join(mut self) -> Result<R, TaskError> {
        let outcome = self.wait(None);
        let value = self.desk.value_of(outcome.as_ref().expect(ENDS), self.name);
        outcome.into_iter().for_each(Outcome::dispose);
        value
    }

    /// Waits until the task ends and returns its result as it lies in shared memory, uncopied.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_view(mut self) -> Result<Output<R>, TaskError> {
        let body = self.take_body()?;
        Output::new(body).map_err(|bad| bad_result(bad, (self.name)()))
    }

    /// Waits until the task ends and turns its result into an argument for other tasks, uncopied.
    ///
    /// A result of up to 64 bytes came with the task's slot and is copied into the argument heap.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`TaskError::Result`] if the argument heap has no room for the
    /// copy.
    pub fn into_shared(mut self) -> Result<Shared<R>, TaskError> {
        let body = self.take_body()?;
        let checked = body.read(|bytes| check::<R>(bytes, body.attached()));
        checked.map_err(|bad| bad_result(bad, (self.name)()))?;
        let (lease, len) = match body {
            Body::Block(block) => (Arc::clone(&block.lease), block.len),
            came_with_the_slot => {
                let heap = self.desk.heap();
                let len = came_with_the_slot.read(<[u8]>::len);
                let grant = heap.allocate(len as u64).map_err(|error| TaskError::Result {
                    error: error.into(),
                    task: (self.name)(),
                })?;
                let start = heap.address(&grant).as_ptr();
                // SAFETY: the block has `len` bytes and nobody knows it yet; `bytes` has as many.
                let copy = |bytes: &[u8]| unsafe { start.copy_from(bytes.as_ptr(), len) };
                came_with_the_slot.read(copy);
                let attached = came_with_the_slot.attached().to_vec();
                (Arc::new(Lease::own(heap, grant).with_attached(attached)), len)
            }
        };
        // SAFETY: `check` accepted the archive, whose first `len` bytes these are.
        Ok(unsafe { Shared::from_lease(lease, len as u64) })
    }

    /// Waits until the task ends, at most `timeout`; gives the handle back if it did not.
    ///
    /// # Errors
    ///
    /// The outer error is the handle, when the time has passed. The inner ones are
    /// [`join`](Self::join)'s.
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        match self.wait(Instant::now().checked_add(timeout)) {
            Some(outcome) => Ok(self.desk.value_of(&outcome, self.name)),
            None => Err(self),
        }
    }
}

/// What the task returned, decoded. The outcome stays where it is: moved, it would be read as a
/// whole just after it was written in parts, and a processor waits for those.
pub(crate) fn value_of<R: Returnable>(
    outcome: &Outcome,
    task: impl Fn() -> &'static str,
) -> Result<R, TaskError> {
    let body = match outcome {
        Outcome::Done(body) => body,
        other => return Err(other.to_error(task())),
    };
    let value = body.read_stable(|bytes| decode(bytes, body.attached()));
    value.map_err(|bad| bad_result(bad, task()))
}

/// Woken by the executor's supervisor. Polling after the result was returned panics, as usual.
impl<R: Returnable> Future for TaskHandle<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.is_open(), "a TaskHandle was polled after it had returned its result");
        let (index, generation) = self.key();
        let pending = self.is_here()
            && !self.desk.is_nested()
            && self.desk.watch(index, generation, context.waker());
        if pending {
            return Poll::Pending;
        }
        let outcome = self.wait(None);
        Poll::Ready(self.desk.value_of(outcome.as_ref().expect(ENDS), self.name))
    }
}

impl<R> Drop for TaskHandle<R> {
    fn drop(&mut self) {
        if self.is_open() && self.is_here() {
            let (index, generation) = self.key();
            self.desk.detach(index, generation);
        }
    }
}
