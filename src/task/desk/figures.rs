//! What the desk counts and notes for the executor's statistics.

use super::{Desk, Outcome, Posting};
use crate::archive::{Body, Returnable};
use crate::error::TaskError;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::now_ns;
use crate::task::value_of;

#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Tasks carry the time when they were queued, and workers add up how long they wait and run.
    is_timed: bool,
    /// Of results that were decoded, and did not come with a slot or an entry.
    decoded_bytes: AtomicU64,
}

impl Desk {
    /// Measures how long tasks wait and run, if that is wanted.
    pub(crate) fn timed(mut self, wanted: bool) -> Self {
        self.figures.is_timed = wanted;
        self
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.figures.is_timed
    }

    /// The time, if tasks carry it.
    pub(super) fn queued_at_ns(&self) -> Option<u64> {
        self.is_timed().then(now_ns)
    }

    /// Notes that a task is queued now, if somebody wants to know.
    pub(super) fn stamp(&self, draft: &Posting<'_>) {
        if let Some(ns) = self.queued_at_ns() {
            draft.stamp(ns);
        }
    }

    /// What the task returned, decoded.
    pub(crate) fn value_of<R: Returnable>(
        &self,
        outcome: &Outcome,
        task: impl Fn() -> &'static str,
    ) -> Result<R, TaskError> {
        if let Outcome::Done(Body::Block(block)) = outcome {
            self.figures.decoded_bytes.fetch_add(block.len as u64, Ordering::Relaxed);
        }
        value_of(outcome, task)
    }

    pub(crate) fn decoded_bytes(&self) -> u64 {
        self.figures.decoded_bytes.load(Ordering::Relaxed)
    }
}
