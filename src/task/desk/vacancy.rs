//! A slot on the way to its task.

use std::time::Duration;

use super::{Desk, Drafted};

/// A slot for a task whose arguments are being stored. Dropped unfilled, by an error or by a panic
/// of the user's code, it goes to whoever waits for one.
#[derive(Debug)]
pub(crate) struct Vacancy<'d> {
    desk: &'d Desk,
    slot: Option<(u32, Drafted<'d>)>,
    limit: Option<Duration>,
}

impl Desk {
    /// Keeps a slot until it is filled.
    pub(crate) fn vacancy<'d>(&'d self, slot: (u32, Drafted<'d>)) -> Vacancy<'d> {
        Vacancy { desk: self, slot: Some(slot), limit: None }
    }
}

impl<'d> Vacancy<'d> {
    /// Limits how long the task may run, should it run in this thread, whom nobody else watches.
    pub(crate) fn limit(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// Takes the slot, to be filled now. Once. The task may run again so often when its worker
    /// dies.
    pub(crate) fn fill(&mut self, retries: u32) -> (u32, Drafted<'d>) {
        let (index, draft) = self.slot.take().expect("a vacancy is filled once");
        if retries > 0 {
            self.desk.allow_retries(index, retries);
        }
        if let Some(limit) = self.limit.take() {
            self.desk.limit_calling(index, limit);
        }
        (index, draft)
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            self.desk.control().gate().finished();
        }
    }
}
