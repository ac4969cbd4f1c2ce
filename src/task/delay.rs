//! How long a caller delays a wake-up: a worker that is awake may take the task before. Or its own
//! sleep: the task may end before.

use crate::control::Tries;
use crate::sys::{TICKS_A_US, ticks};

/// The longest delay for a worker that is at work, by the processor's clock. Waking another takes
/// the caller 2 to 5 µs on its own core and 6 to 40 where a host is asked for another one; a delay
/// in vain costs no more.
const BUSY_TICKS: u64 = 4 * TICKS_A_US;
/// For one that was called ahead, and comes from its sleep to memory that it has not seen: it takes
/// 4 to 10 µs for its first task, and up to 30 if it is not there yet. The caller has copied 1 MiB
/// at least before, which takes about as long.
const CALLED_TICKS: u64 = 24 * TICKS_A_US;
/// Pauses between two looks at the task.
const PAUSES: u32 = 8;
/// So many of the longest delays may come in a row, and in the long run delays take one part in so
/// many of the time: among tasks that keep coming, a worker that is woken in vain learns to nap,
/// which costs nothing.
const IN_A_ROW: u64 = 2;
const SHARE: u64 = 32;

/// Of a caller that is about to sleep where workers have all cores, they may take more: being woken
/// takes longer than they do.
const CROWD_SHARE: u64 = 8;
/// And they are for nothing where each ends with its task so soon after the last: the tasks are so
/// short that their workers need no other core.
const CROWD_TICKS: u64 = 2 * BUSY_TICKS;

/// What a caller has learned about wake-ups that were not needed, and sleeps.
///
/// Of two short tasks that are submitted at once, the first one's worker is at work when the second
/// comes, and done with both before another could wake up. So whoever is about to wake one lets
/// those that are awake have a moment, if that has been enough lately.
#[derive(Debug)]
pub(super) struct Delay {
    most: u64,
    /// Delays take one part in so many of the time.
    share: u64,
    /// One that was not in vain does not count within so many ticks of another. 0: all count.
    free: u64,
    /// When the latest one ended that was not in vain.
    taken_at: u64,
    /// How many ticks of delays have not been earned back, and since when that counts.
    spent: u64,
    spent_at: u64,
    tries: Tries,
}

impl Delay {
    /// For a worker that is at work.
    pub(super) fn for_busy() -> Self {
        Self::of(BUSY_TICKS)
    }

    /// For one that was called ahead.
    pub(super) fn for_called() -> Self {
        Self::of(CALLED_TICKS)
    }

    /// For a caller that is about to sleep where no core seems free.
    pub(super) fn for_crowd() -> Self {
        Self { share: CROWD_SHARE, free: CROWD_TICKS, ..Self::of(BUSY_TICKS) }
    }

    fn of(most: u64) -> Self {
        let tries = Tries::default();
        Self { most, share: SHARE, free: 0, taken_at: 0, spent: 0, spent_at: 0, tries }
    }

    /// Waits for a moment, if that pays, until the task is taken, or has ended.
    pub(super) fn until(&mut self, is_taken: impl Fn() -> bool) -> bool {
        self.until_if(|| true, is_taken)
    }

    /// As [`Delay::until`], if `may_be` then says so, too.
    pub(super) fn until_if(
        &mut self,
        may_be: impl FnOnce() -> bool,
        is_taken: impl Fn() -> bool,
    ) -> bool {
        let start = ticks();
        if !self.pays(start) || !may_be() {
            return false;
        }
        let most = self.most;
        let has_time = || ticks().wrapping_sub(start) < most;
        // One look at least: this thread may have been put aside for all of the time.
        let taken = loop {
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            let taken = is_taken();
            if taken || !has_time() {
                break taken;
            }
        };
        self.note(taken, start, ticks());
        taken
    }

    /// Tells whether to wait now.
    fn pays(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.spent_at) / self.share;
        (self.spent, self.spent_at) = (self.spent.saturating_sub(earned), now);
        self.spent < IN_A_ROW * self.most && self.tries.pays()
    }

    /// A delay has ended.
    fn note(&mut self, taken: bool, start: u64, end: u64) {
        let is_free = taken && end.saturating_sub(self.taken_at) < self.free;
        if !is_free {
            self.spent = self.spent.saturating_add(end.saturating_sub(start));
        }
        if taken {
            self.taken_at = end;
        }
        self.tries.note(!taken);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MOST: u64 = 100;
    const SPENT_MOST: u64 = IN_A_ROW * MOST;

    #[test]
    fn a_wake_up_is_delayed_until_the_task_is_taken_or_for_a_moment() {
        for mut delay in [Delay::for_busy(), Delay::for_called(), Delay::for_crowd()] {
            assert!(delay.until(|| true) && !delay.until(|| false));
        }
    }

    #[test]
    fn wake_ups_are_delayed_less_often_while_that_is_in_vain() {
        // Time enough between them.
        let mut delays = {
            let (mut delay, mut now) = (Delay::of(MOST), 0);
            move |taken: bool| {
                now += SHARE * SPENT_MOST;
                let pays = delay.pays(now);
                if pays {
                    delay.note(taken, now, now + MOST);
                }
                pays
            }
        };
        assert!((0..100).all(|_| delays(true)));
        let tried: Vec<usize> = (0..100).filter(|_| delays(false)).collect();
        assert_eq!(tried, [0, 2, 6, 14, 30, 46, 62, 78, 94]);
        assert!((0..16).any(|_| delays(true)));
        assert!((0..100).all(|_| delays(true)));
    }

    #[test]
    fn delays_take_a_small_part_of_the_time() {
        let (mut delay, mut now) = (Delay::of(MOST), 1000 * SPENT_MOST);
        let step = SPENT_MOST / 8;
        let mut count = 0;
        for _ in 0..1000 {
            if delay.pays(now) {
                delay.note(true, now, now + step);
                count += 1;
            }
            now += step;
        }
        assert!((8..=8 + 1000 / SHARE + 1).contains(&count), "{count} of 1000");
        // What was earned while there was nothing to delay does not add up.
        assert!(delay.pays(u64::MAX / 2) && delay.spent == 0);
        // A clock that goes back earns nothing and takes nothing.
        delay.note(true, 0, SPENT_MOST);
        assert!(!delay.pays(0) && delay.spent == SPENT_MOST);
    }

    /// Two tasks of 1 us at a time took 10 us: two workers were on one core, the second behind the
    /// first, and the caller, who took both cores for theirs, slept and had to be woken.
    #[test]
    fn before_a_sleep_delays_cost_nothing_while_each_soon_ends_with_its_task() {
        // How many of a thousand delays are made of so many ticks each, at so many ticks' distance.
        let made = |mut delay: Delay, ticks: u64, distance: u64| {
            let mut now = 1000 * CROWD_TICKS;
            let mut one = |_: &u32| {
                now += distance;
                let pays = delay.pays(now);
                if pays {
                    delay.note(true, now, now + ticks);
                }
                pays
            };
            (0..1000).filter(|n| one(n)).count()
        };
        let short = BUSY_TICKS / 2;
        assert_eq!(made(Delay::for_crowd(), short, CROWD_TICKS - 1), 1000);
        // Else they take their share of the time, as others do.
        let far = CROWD_TICKS + short;
        let shares = [(Delay::for_crowd(), CROWD_SHARE), (Delay::for_busy(), SHARE)];
        for (delay, share) in shares {
            let most = 1000 * far / (share * short) + IN_A_ROW * BUSY_TICKS / short + 1;
            let count = made(delay, short, far) as u64;
            assert!((most / 2..=most).contains(&count), "{count} of {most}");
        }
        let mut vain = Delay::for_crowd();
        vain.note(true, 0, short);
        let spent = vain.spent;
        vain.note(false, short, 2 * short);
        assert!(vain.spent > spent, "one in vain counts however soon it comes");
    }
}
