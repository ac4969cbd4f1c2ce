//! How long to spin before sleeping, learned from how long waits last.

use std::time::{Duration, Instant};

/// Spins between two looks at the clock, which costs about as much as a few of them.
const SPINS_A_LOOK: u32 = 16;
/// Spinning for less than this is not worth a look at the clock.
const WORTHWHILE: Duration = Duration::from_micros(2);
/// How long to spin while waits are short, at least: some waits among them are longer, and to stop
/// spinning because of one costs more than to spin through it.
const STEADY: Duration = Duration::from_micros(32);
/// How many waits are slept through before spinning is tried again.
const SLEEPS_A_PROBE: u32 = 16;

/// A spin length that learns: several times the usual wait while waits are short, else none.
///
/// Where waits are long it does not even look at the clock: the way to sleep and back is then the
/// time that counts. Once in a while it spins all the same, to find out whether waits are short
/// again.
#[derive(Debug, Clone)]
pub(crate) struct Spin {
    limit: Duration,
    least: Duration,
    most: Duration,
    /// How long a try lasts that finds out whether waits are short again.
    probe: Duration,
    slept: u32,
}

impl Spin {
    /// `most` zero never spins, `least` zero stops spinning while waits are long.
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        Self { limit: most, least, most, probe: STEADY.min(most), slept: 0 }
    }

    /// For waits that are worth `most` or nothing.
    pub(crate) fn all_or_nothing(most: Duration) -> Self {
        Self { probe: most, ..Self::new(Duration::ZERO, most) }
    }

    /// Tells whether to spin at all.
    pub(crate) fn is_on(&self) -> bool {
        self.most >= WORTHWHILE
    }

    /// Tells whether the latest waits were short.
    pub(crate) fn is_worthwhile(&self) -> bool {
        self.limit >= WORTHWHILE
    }

    /// Tells whether to spin this time. If not, sleeping at once is best: on a core of its own a
    /// spinner is of no use, and on the core of the one it waits for it is in the way.
    pub(crate) fn pays(&mut self) -> bool {
        if self.is_worthwhile() {
            return true;
        }
        self.slept += 1;
        self.slept.is_multiple_of(SLEEPS_A_PROBE) && self.is_on()
    }

    /// Spins until `done` returns something or the learned time has passed.
    pub(crate) fn until<T>(&mut self, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        let mut look = || {
            for _ in 0..SPINS_A_LOOK {
                if let Some(found) = done() {
                    return Some(found);
                }
                std::hint::spin_loop();
            }
            None
        };
        // The shortest waits are not worth a look at the clock.
        if let Some(found) = look() {
            self.learn(Duration::ZERO);
            return Some(found);
        }
        let start = Instant::now();
        let probes = self.limit < WORTHWHILE;
        let limit = if probes { self.probe } else { self.limit };
        loop {
            if let Some(found) = look() {
                self.learn(start.elapsed());
                return Some(found);
            }
            if start.elapsed() >= limit {
                self.limit = if probes { self.least } else { (limit / 2).max(self.least) };
                return None;
            }
        }
    }

    /// Takes note of a wait that spinning has ended.
    fn learn(&mut self, wait: Duration) {
        let wanted = (wait * 4).max(STEADY).min(self.most);
        // Up at once, down slowly: one long wait among short ones is an outlier.
        self.limit = wanted.max(self.limit - self.limit / 8);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn misses(spin: &mut Spin) -> bool {
        spin.pays() && spin.until(|| None::<()>).is_none()
    }

    #[test]
    fn long_waits_end_spinning_until_a_probe_finds_a_short_one() {
        let mut spin = Spin::new(Duration::ZERO, Duration::from_micros(50));
        let spun = (0..1000).filter(|_| misses(&mut spin)).count();
        assert!((60..=75).contains(&spun), "{spun} of 1000 waits were spun through");
        let found = (0..=SLEEPS_A_PROBE).find(|_| spin.pays());
        assert!(found.is_some() && spin.until(|| Some(())).is_some());
        assert!(spin.pays());
    }

    #[test]
    fn one_that_is_worth_all_or_nothing_tries_for_the_whole_time_once_in_a_while() {
        let most = Duration::from_millis(2);
        let mut spin = Spin::all_or_nothing(most);
        let tried = |spin: &mut Spin| {
            let start = Instant::now();
            misses(spin).then(|| start.elapsed())
        };
        let tries: Vec<Duration> = (0..64).filter_map(|_| tried(&mut spin)).collect();
        let learning = tries.iter().skip_while(|time| **time < most).count();
        assert!(tries.len() < 32 && learning >= 3, "{tries:?}");
        assert!(tries[tries.len() - 3..].iter().all(|time| *time >= most), "{tries:?}");
    }

    #[test]
    fn a_bound_of_zero_never_spins_and_a_least_one_always_does() {
        let mut never = Spin::new(Duration::ZERO, Duration::ZERO);
        assert!((0..1000).all(|_| !never.pays()));
        let least = Duration::from_micros(4);
        let mut always = Spin::new(least, Duration::from_micros(50));
        assert!((0..100).all(|_| misses(&mut always)));
    }
}
