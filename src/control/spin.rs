//! How long to spin before sleeping, learned from how long waits last.

use std::time::{Duration, Instant};

/// Spins between two looks at the clock, which costs about as much as a few of them.
const SPINS_A_LOOK: u32 = 16;
/// What is left of spinning where waits are long: enough to catch an answer that is on its way.
const FLOOR: Duration = Duration::from_micros(2);

/// How many times the longest spin a wait may take that would have been short without sleeping.
const SLEPT_FACTOR: u32 = 3;

/// A spin length that learns: twice the usual wait while waits are short, next to none otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Spin {
    limit: Duration,
    most: Duration,
}

impl Spin {
    /// `most` zero never spins.
    pub(crate) fn new(most: Duration) -> Self {
        Self { limit: most, most }
    }

    /// Spins until `done` returns something or the learned time has passed.
    pub(crate) fn until<T>(&mut self, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        if self.most.is_zero() {
            return done();
        }
        let start = Instant::now();
        loop {
            for _ in 0..SPINS_A_LOOK {
                if let Some(found) = done() {
                    self.learn(start.elapsed());
                    return Some(found);
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= self.limit {
                self.limit = (self.limit / 2).max(FLOOR.min(self.most));
                return None;
            }
        }
    }

    /// Takes note of a wait that took this long, spinning and sleeping together.
    ///
    /// A wait that was slept through holds the time of one or two wake-ups, so waits of several
    /// times the longest spin may be short ones: without that, who has once begun to sleep would
    /// never find out that spinning pays again.
    pub(crate) fn learn(&mut self, wait: Duration) {
        if wait <= self.most {
            let wanted = (wait * 4).clamp(FLOOR.min(self.most), self.most);
            // Up at once, down slowly: one long wait among short ones is an outlier.
            self.limit = wanted.max(self.limit - self.limit / 8);
        } else if wait <= self.most * SLEPT_FACTOR {
            self.limit = self.most;
        }
    }
}
