//! Tasks that run in the thread that submits them.
//!
//! To the desk such an executor is one whose workers have all left for want of work: who pushes a
//! task finds nobody to wake, calls for a worker, and is that worker then.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::{Desk, Loss, Outcome};
use crate::control::Slot;
use crate::memory::nesting;
use crate::sync::{Mutex, lock};

/// Claims and runs tasks in the thread that calls it.
pub(crate) trait Caller: fmt::Debug + Send + Sync {
    /// Runs the task in this slot to its end.
    fn run(&self, index: u32);
}

/// What runs tasks, and how long they may take.
#[derive(Debug)]
pub(super) struct Calling {
    caller: Box<dyn Caller>,
    /// By slot: the limits of tasks that are about to be posted.
    limits: Mutex<HashMap<u32, Duration>>,
}

impl Desk {
    /// Makes whoever submits a task the worker that runs it. Once, before the first task.
    pub(crate) fn run_in_caller(&self, caller: Box<dyn Caller>) {
        let calling = Calling { caller, limits: Mutex::default() };
        if self.calling.set(Box::new(calling)).is_ok() {
            self.set_vacant(1);
        }
    }

    /// Tells whether tasks have ended when they are submitted.
    pub(super) fn has_caller(&self) -> bool {
        self.calling.get().is_some()
    }

    /// Limits how long a task may run that is about to be posted, should it run in this thread.
    pub(crate) fn limit_calling(&self, index: u32, limit: Duration) {
        if let Some(calling) = self.calling.get() {
            lock(&calling.limits).insert(index, limit);
        }
    }

    /// Tells whether this thread runs a task that must not wait for one of this executor.
    ///
    /// Only executors that were built inside tasks may be used there: whoever waits in a task waits
    /// for one that is nested deeper, and so nobody for himself.
    pub(crate) fn is_nested(&self) -> bool {
        let Some(inner) = self.control.inner_depth() else { return false };
        nesting().is_some_and(|nesting| nesting.depth >= inner)
    }

    /// Sees that a task is run which nobody noticed.
    #[cold]
    pub(super) fn call_for_worker(&self, index: u32, generation: u32) {
        let Some(calling) = self.calling.get() else { return self.bell.ring_anyway() };
        // Whose id it is does not matter: each thread that pushes one takes one away.
        let _ = self.control.ring().pop();
        let limit = lock(&calling.limits).remove(&index);
        let start = Instant::now();
        calling.caller.run(index);
        if let Some(limit) = limit.filter(|limit| start.elapsed() > *limit) {
            self.overrun(index, generation, limit);
        }
        self.heap.trim();
    }

    /// Puts the news that a task ran too long in the place of its outcome. Nobody has asked for
    /// that yet: this thread is about to return the handle. Others may have made room in the slot.
    fn overrun(&self, index: u32, generation: u32, limit: Duration) {
        let mut record = lock(&self.records[index as usize]);
        let taken = self.take(index as usize, generation, &mut record, Slot::ended);
        let unwanted = taken.map(|taken| taken.outcome).or_else(|| record.kept.take(generation));
        record.kept.keep(generation, Outcome::lost(Loss::Deadline { limit }));
        drop(record);
        drop(unwanted);
        self.control.gate().finished();
    }
}
