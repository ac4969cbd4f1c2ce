//! Waiting for a task: spin where that is cheap and short, then sleep on the task's own slot.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::outcome::{Loss, Outcome};
use crate::control::{Phase, Spin};
use crate::sys::futex_wait;

/// The longest that a caller spins for a result. Longer waits are cheaper asleep.
const SPIN_MOST: Duration = Duration::from_micros(50);
/// The shortest: it spins only where a core is free and a worker is awake, so a try costs little.
const SPIN_LEAST: Duration = Duration::from_micros(4);

thread_local! {
    static SPIN: RefCell<Spin> = RefCell::new(Spin::new(SPIN_LEAST, SPIN_MOST));
}

impl Desk {
    /// Waits until the task ends or the deadline has passed (`None`).
    pub(super) fn wait(
        &self,
        index: u32,
        generation: u32,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        if !self.control().is_here() {
            // Collecting it would take it from the process whose task it is.
            return Some(Outcome::Lost(Loss::Forked));
        }
        match self.phase(index, generation) {
            Phase::Finished | Phase::Gone => {
                // A worker gone wild may have made it a running task again in between.
                if let Some(outcome) = self.try_outcome(index, generation) {
                    return Some(outcome);
                }
            }
            _ if self.is_nested() => {
                self.detach(index, generation);
                return Some(Outcome::Lost(Loss::Nested));
            }
            Phase::Queued if !self.control().wake().anyone_searches() => {
                // A worker was only just woken, and may be put on this very core: spinning would
                // keep it away.
            }
            Phase::Queued | Phase::Running => {
                if self.has_idle_core()
                    && let Some(outcome) = self.spin(index, generation)
                {
                    return Some(outcome);
                }
                self.rouse(index, generation);
            }
        }
        loop {
            let slot = &self.control().slots()[index as usize];
            let mark = slot.wait_mark(generation);
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if let Ok(word) = mark
                && timeout != Some(Duration::ZERO)
            {
                step!(parent "join.marked");
                futex_wait(slot.futex(), word, timeout);
                step!(parent "join.woken");
            }
            if let Some(outcome) = self.try_outcome(index, generation) {
                return Some(outcome);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return None;
            }
        }
    }

    /// Sleeps until the task ends, at most for a time, and leaves its outcome where it is. False:
    /// it may not have ended.
    pub(crate) fn ends_within(&self, index: u32, generation: u32, time: Duration) -> bool {
        self.rouse(index, generation);
        let slot = &self.control().slots()[index as usize];
        if let Ok(word) = slot.wait_mark(generation) {
            futex_wait(slot.futex(), word, Some(time));
        }
        matches!(self.phase(index, generation), Phase::Finished | Phase::Gone)
    }

    fn phase(&self, index: u32, generation: u32) -> Phase {
        self.control().slots()[index as usize].phase(generation)
    }

    fn spin(&self, index: u32, generation: u32) -> Option<Outcome> {
        let done = || match self.phase(index, generation) {
            Phase::Queued | Phase::Running => None,
            Phase::Finished | Phase::Gone => Some(()),
        };
        // A waker that runs inside another wait finds the cell in use, and sleeps at once.
        let spin = |spin: &mut Spin| if spin.pays() { spin.until(done) } else { done() };
        SPIN.with(|cell| cell.try_borrow_mut().ok().and_then(|mut learned| spin(&mut learned)))?;
        self.try_outcome(index, generation)
    }

    /// Wakes a sleeper if the task still waits for a worker that says it searches: one that was
    /// stopped while it searched would otherwise keep the task waiting.
    fn rouse(&self, index: u32, generation: u32) {
        let queued = self.phase(index, generation) == Phase::Queued;
        if queued && self.control().wake().anyone_searches() {
            self.control().wake().wake_one();
        }
    }
}
