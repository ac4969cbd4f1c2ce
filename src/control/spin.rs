//! How long to spin before sleeping, learned from how long waits last.

use std::time::{Duration, Instant};

/// Spins between two looks at the clock, which costs about as much as a few of them.
const SPINS_A_LOOK: u32 = 16;
/// Spinning for less than this is not worth a look at the clock.
const LEAST: Duration = Duration::from_micros(2);

/// How many times the longest spin a wait may take that would have been short without sleeping.
const SLEPT_FACTOR: u32 = 3;

/// A spin length that learns: several times the usual wait while waits are short, else none.
#[derive(Debug, Clone)]
pub(crate) struct Spin {
    limit: Duration,
    least: Duration,
    most: Duration,
}

impl Spin {
    /// `most` zero never spins, `least` zero stops spinning while waits are long.
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        Self { limit: most, least, most }
    }

    /// Tells whether waits have been short enough of late. If not, sleeping at once is best: on a
    /// core of its own a spinner is of no use, and on the core of the one it waits for it is in the
    /// way.
    pub(crate) fn pays(&self) -> bool {
        self.limit >= LEAST
    }

    /// Spins until `done` returns something or the learned time has passed.
    pub(crate) fn until<T>(&mut self, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        if !self.pays() {
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
                self.limit = (self.limit / 2).max(self.least);
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
            let wanted = (wait * 4).max(LEAST).min(self.most);
            // Up at once, down slowly: one long wait among short ones is an outlier.
            self.limit = wanted.max(self.limit - self.limit / 8);
        } else if wait <= self.most * SLEPT_FACTOR {
            self.limit = self.most;
        }
    }
}
