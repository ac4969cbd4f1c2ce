//! When to stop starting workers: those that do not come up, or die with nothing to do.

use std::time::Duration;

/// Starts that fail in a row, over all seats, before the executor gives up.
const FAILED_STARTS_MAX: u32 = 5;
/// Workers that die in a row, young and idle, before the executor gives up.
const IDLE_DEATHS_MAX: u32 = 16;
/// So many of them are replaced without a pause: somebody may be killing idle workers by hand.
const IDLE_DEATHS_FREE: u32 = 4;
/// A worker that lives longer was not killed by what it did when it started.
const YOUNG: Duration = Duration::from_secs(1);
/// The pause after a failed start; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Counts ends that come too soon, so that starting workers does not go on for ever.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failed_starts: u32,
    idle_deaths: u32,
    /// How many tasks were finished at the last idle death.
    finished: u64,
}

impl Breaker {
    /// How long to leave a seat empty.
    pub(super) fn pause(&self) -> Duration {
        match self.failed_starts.max(self.idle_deaths.saturating_sub(IDLE_DEATHS_FREE)) {
            0 => Duration::ZERO,
            n => (FIRST_PAUSE * 2_u32.saturating_pow(n - 1)).min(LAST_PAUSE),
        }
    }

    /// A worker came up.
    pub(super) fn started(&mut self) {
        self.failed_starts = 0;
    }

    /// A worker did not come up. Returns the reason to give up, if it is one.
    #[must_use]
    pub(super) fn failed_start(&mut self, cause: &str) -> Option<String> {
        self.failed_starts += 1;
        let starts = self.failed_starts;
        (starts >= FAILED_STARTS_MAX)
            .then(|| format!("{starts} workers in a row did not start, the last: {cause}"))
    }

    /// A worker died while it ran no task, `age` after it came up. `finished`: how many tasks were
    /// finished so far. Returns the reason to give up, if it is one.
    #[must_use]
    pub(super) fn idle_death(
        &mut self,
        age: Duration,
        finished: u64,
        cause: &str,
    ) -> Option<String> {
        if age > YOUNG || finished != self.finished {
            (self.idle_deaths, self.finished) = (0, finished);
        }
        self.idle_deaths += 1;
        let deaths = self.idle_deaths;
        (deaths >= IDLE_DEATHS_MAX).then(|| {
            format!("{deaths} workers in a row died before they ran a task, the last: {cause}")
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn failed_starts_in_a_row_end_it_and_a_good_one_begins_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            for n in 1..FAILED_STARTS_MAX {
                assert_eq!(breaker.failed_start("x"), None);
                assert_eq!(breaker.pause(), FIRST_PAUSE * 2_u32.pow(n - 1));
            }
            breaker.started();
            assert_eq!(breaker.pause(), Duration::ZERO);
        }
        let last = (0..FAILED_STARTS_MAX).filter_map(|_| breaker.failed_start("why")).last();
        assert_eq!(last.as_deref(), Some("5 workers in a row did not start, the last: why"));
    }

    #[test]
    fn idle_deaths_end_it_unless_tasks_are_finished_or_workers_grow_old() {
        for (age, finished_each) in [(SOON, 1), (YOUNG * 2, 0)] {
            let mut breaker = Breaker::default();
            for n in 0..100 {
                breaker.started();
                assert_eq!(breaker.idle_death(age, n * finished_each, "x"), None);
                assert_eq!(breaker.pause(), Duration::ZERO);
            }
        }
        let mut breaker = Breaker::default();
        let ends = (0..IDLE_DEATHS_MAX).filter_map(|_| {
            breaker.started();
            breaker.idle_death(SOON, 7, "signal 9")
        });
        assert_eq!(ends.count(), 1);
        assert_eq!(breaker.pause(), LAST_PAUSE);
    }
}
