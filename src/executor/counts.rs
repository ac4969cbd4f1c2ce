//! The settings that are counts: their defaults and their bounds.

use crate::control::{SEATS_MAX, SLOTS_MAX};
use crate::error::BuildError;
use crate::memory;

/// Task slots unless `task_slots` says otherwise: 256 KiB of table, which a core's cache holds and
/// which is written in a fraction of the time that a worker takes to start.
const TASK_SLOTS: u64 = 1024;
/// At least so many for each worker that there may be.
const SLOTS_A_SEAT: u64 = 8;
/// How many workers an executor can have unless `workers_max` says otherwise.
const WORKERS_MAX: u64 = 64;
/// The smallest memory budget.
const BUDGET_MIN: u64 = 1 << 20;

/// What the builder was told.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) workers: Option<usize>,
    pub(super) workers_max: Option<usize>,
    pub(super) task_slots: Option<u32>,
    pub(super) budget_bytes: Option<u64>,
}

/// How many of each an executor has.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) workers: u32,
    pub(super) seats: u32,
    pub(super) slots: u32,
}

impl Wanted {
    /// Fills in what was not said, and checks what was.
    pub(super) fn on(&self, cores: u32) -> Result<Counts, BuildError> {
        let workers = self.workers.map_or(u64::from(cores), |n| n as u64);
        check("workers", workers, 1, u64::from(SEATS_MAX))?;
        let seats = self.workers_max.map_or(workers.max(WORKERS_MAX), |n| n as u64);
        check("workers_max", seats, workers, u64::from(SEATS_MAX))?;
        let slots = self.task_slots.map_or(TASK_SLOTS.max(SLOTS_A_SEAT * seats), u64::from);
        check("task_slots", slots, 1, u64::from(SLOTS_MAX))?;
        self.budget_bytes.map(check_budget).transpose()?;
        let (workers, seats, slots) = (workers as u32, seats as u32, slots as u32);
        Ok(Counts { workers, seats, slots })
    }

    /// The memory budget in bytes. To find out what there is takes dozens of system calls.
    pub(super) fn budget(&self) -> Result<u64, BuildError> {
        self.budget_bytes.map_or_else(|| check_budget(memory::default_budget()), Ok)
    }
}

fn check_budget(bytes: u64) -> Result<u64, BuildError> {
    check("memory_budget", bytes, BUDGET_MIN, u64::MAX).map(|()| bytes)
}

/// Refuses a setting that is out of its bounds.
pub(super) fn check(
    setting: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), BuildError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(BuildError::Setting { setting, value, least, most })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_few_slots_unless_somebody_says_otherwise() {
        for (workers, workers_max, task_slots, expected) in [
            (1, None, None, 1024),
            (128, None, None, 1024),
            (1024, None, None, 8192),
            (2, Some(1024), None, 8192),
            (1024, None, Some(7), 7),
        ] {
            let workers = Some(workers);
            let wanted = Wanted { workers, workers_max, task_slots, ..Wanted::default() };
            assert_eq!(wanted.on(2).expect("possible counts").slots, expected, "{wanted:?}");
        }
    }
}
