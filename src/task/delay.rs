//! How long a caller delays a wake-up: a worker that is awake may take the task before.

use std::time::Duration;

use crate::control::Spin;
use crate::sys::{TICKS_A_US, ticks};

/// The longest delay. Waking a worker takes the caller 2 to 5 us on its own core and 13 to 30 where
/// a host is asked for another one, so less than that is lost in vain.
const MOST: Duration = Duration::from_micros(4);
/// So many ticks of delays may come one after the other, and in the long run this part of the time:
/// among tasks that keep coming, a worker that is woken in vain learns to nap, which costs nothing.
const SPENT_MOST: u64 = 8 * TICKS_A_US;
const SHARE: u64 = 32;

/// What a caller has learned about wake-ups that were not needed.
///
/// Of two short tasks that are submitted at once, the first one's worker is at work when the second
/// comes, and done with both before another could wake up. So whoever is about to wake one lets
/// those that are awake have a moment, if that has been enough lately.
#[derive(Debug)]
pub(super) struct Delay {
    spin: Spin,
    /// How many ticks of delays have not been earned back, and since when that counts.
    spent: u64,
    spent_at: u64,
    /// A worker ran while this thread last waited, so it has a core of its own.
    is_beside: bool,
}

impl Default for Delay {
    fn default() -> Self {
        Self { spin: Spin::all_or_nothing(MOST), spent: 0, spent_at: 0, is_beside: false }
    }
}

impl Delay {
    /// This thread has waited for a worker awake until it had ended a task, or not so.
    pub(super) fn waited(&mut self, is_beside: bool) {
        self.is_beside = is_beside;
    }

    /// Waits for a moment, if that pays, until the task is taken.
    pub(super) fn until(&mut self, is_taken: impl Fn() -> bool) -> bool {
        let start = ticks();
        if !self.affords(start) || !self.spin.pays() {
            return false;
        }
        let taken = self.spin.until(|| is_taken().then_some(())).is_some();
        self.spend(start, ticks());
        taken
    }

    fn affords(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.spent_at) / SHARE;
        (self.spent, self.spent_at) = (self.spent.saturating_sub(earned), now);
        self.is_beside && self.spent < SPENT_MOST
    }

    fn spend(&mut self, start: u64, end: u64) {
        self.spent = self.spent.saturating_add(end.saturating_sub(start));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn beside() -> Delay {
        let mut delay = Delay::default();
        delay.waited(true);
        delay
    }

    #[test]
    fn a_wake_up_is_delayed_beside_a_worker_that_is_known_to_run() {
        let mut delay = Delay::default();
        assert!(!delay.until(|| true), "the one that is awake may be on this very core");
        delay.waited(true);
        assert!(delay.until(|| true) && delay.until(|| true));
        delay.waited(false);
        assert!(!delay.until(|| true));
    }

    #[test]
    fn a_wake_up_is_not_delayed_again_and_again_in_vain() {
        let mut delay = beside();
        let spun = std::cell::Cell::new(0);
        for _ in 0..64 {
            delay.spent = 0;
            let before = spun.get();
            assert!(!delay.until(|| spun.replace(before + 1) > u32::MAX - 1));
        }
        assert!((3..=16).contains(&spun.get()), "{} of 64 were delayed", spun.get());
    }

    #[test]
    fn delays_take_a_small_part_of_the_time() {
        let mut delay = beside();
        let mut now = 1000 * SPENT_MOST;
        let mut spend = |delay: &mut Delay, ticks| {
            let affords = delay.affords(now);
            if affords {
                delay.spend(now, now + ticks);
            }
            now += ticks;
            affords
        };
        let step = SPENT_MOST / 8;
        let delayed = (0..1000).filter(|_| spend(&mut delay, step)).count();
        assert!((8..=8 + 1000 / SHARE as usize + 1).contains(&delayed), "{delayed} of 1000");
        // What was earned while there was nothing to delay does not add up.
        delay.affords(u64::MAX / 2);
        assert_eq!(delay.spent, 0);
        // A clock that goes back earns nothing and takes nothing.
        delay.spend(10, 0);
        assert!(delay.affords(0) && delay.spent == 0);
    }
}
