//! How fast others take tasks, and whether this worker is wanted beside them.

use std::time::Duration;

use crate::sys::TICKS_A_US;

/// How long a worker naps first, and at most: twice as long each time, if it is not wanted.
///
/// The kernel moves no thread to a core whose sleeps are all shorter than half a millisecond
/// (`sched_migration_cost_ns`): with short naps alone, the others may stay on one core.
pub(super) const NAP_LEAST: Duration = Duration::from_micros(50);
pub(super) const NAP_MOST: Duration = Duration::from_micros(400);
/// So many tasks that others took since the last look are a stream.
const STREAM: u64 = 32;
/// Tasks of a stream are short if one is taken in less than this, in ticks.
const SHORT_TICKS: u64 = TICKS_A_US;
/// Where one is taken in less than this, what it takes is the way between cores, and two workers
/// are slower than one, however long the queue.
const TINY_TICKS: u64 = TICKS_A_US * 3 / 20;
/// A queue that lasts for longer than this, at the pace of the others, is too long for them.
const LONG_TICKS: u64 = 20 * TICKS_A_US;
/// How long a worker does not nap that was wanted at the end of its latest nap, at least and at
/// most: twice as long each time. After each nap it may take the kernel some milliseconds to find
/// a core for everybody.
const WANTED_TICKS: u64 = 100 * TICKS_A_US;
const WANTED_TICKS_MAX: u64 = 1000 * WANTED_TICKS;

/// What a worker that has nothing to do sees of the others.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it last looked, how many tasks had been taken by then, and how many by itself.
    looked_at: u64,
    taken: u64,
    own: u64,
    /// It does not nap before then.
    wanted_until: u64,
    wanted_for: u64,
}

impl Pace {
    /// Tells in how many ticks one task was taken since the last look, if others have taken many.
    ///
    /// `now` is the processor's clock, `taken` counts the tasks that all have taken, as far as one
    /// knows, and `own` those of this worker.
    pub(super) fn look(&mut self, now: u64, taken: u64, own: u64) -> Option<u64> {
        let ticks = now.saturating_sub(self.looked_at);
        let all = taken.saturating_sub(self.taken);
        let others = all.saturating_sub(own.saturating_sub(self.own));
        (self.looked_at, self.taken, self.own) = (now, taken, own);
        (others >= STREAM).then(|| ticks / all).filter(|ticks| *ticks < SHORT_TICKS)
    }

    /// Tells whether to nap rather than to look for a task: the others seem to be enough.
    pub(super) fn lets_nap(&mut self, now: u64, taken: u64, own: u64) -> bool {
        self.look(now, taken, own).is_some() && now >= self.wanted_until
    }

    /// It was wanted while it napped.
    pub(super) fn was_wanted(&mut self, now: u64) {
        self.wanted_for = (self.wanted_for * 2).clamp(WANTED_TICKS, WANTED_TICKS_MAX);
        self.wanted_until = now.saturating_add(self.wanted_for);
    }

    /// It was not wanted for as long as it ever naps.
    pub(super) fn was_not(&mut self) {
        self.wanted_for /= 2;
    }
}

/// Tells whether so many queued tasks are too many for workers that take one in so many ticks.
pub(super) fn are_too_many(queued: u64, ticks: u64) -> bool {
    ticks >= TINY_TICKS && queued.saturating_mul(ticks) > LONG_TICKS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LATER: u64 = 1000 * TICKS_A_US;

    #[test]
    fn a_worker_naps_only_beside_others_that_take_short_tasks_in_a_row() {
        for (taken, own, time, naps) in [
            (1000, 0, 999 * TICKS_A_US, true),
            (1000, 968, 999 * TICKS_A_US, true),
            (1000, 969, 999 * TICKS_A_US, false),
            (1000, 0, 1000 * TICKS_A_US, false),
            (31, 0, 0, false),
            (0, 0, 0, false),
            // A ring that was put in order, or overwritten.
            (0, 1000, 0, false),
            (u64::MAX, u64::MAX, 0, false),
        ] {
            let mut pace = Pace { looked_at: LATER, ..Pace::default() };
            assert_eq!(pace.lets_nap(LATER + time, taken, own), naps, "{taken} {own} {time}");
            // Nothing was taken since.
            assert!(!pace.lets_nap(LATER + time, taken, own));
        }
    }

    #[test]
    fn a_queue_is_long_for_others_that_need_long_for_it() {
        let half = TICKS_A_US / 2;
        for (queued, ticks, too_many) in [
            (0, half, false),
            (40, half, false),
            (41, half, true),
            (u64::MAX, half, true),
            // Another worker would be in the way.
            (u64::MAX, TINY_TICKS - 1, false),
            (u64::MAX, TINY_TICKS, true),
        ] {
            assert_eq!(are_too_many(queued, ticks), too_many, "{queued} {ticks}");
        }
    }

    #[test]
    fn who_is_wanted_again_and_again_naps_less_and_less() {
        let (mut pace, mut now, mut taken) = (Pace::default(), LATER, 0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pace.was_wanted(now);
            let pause = pace.wanted_until - now;
            let mut naps = |time| {
                taken += time;
                pace.looked_at = now;
                pace.lets_nap(now + time, taken, 0)
            };
            assert!(!naps(pause - 1) && naps(pause));
            now += pause;
            pauses.push(pause);
        }
        assert!(pauses.is_sorted() && pauses[0] == WANTED_TICKS, "{pauses:?}");
        assert_eq!(pauses[11], WANTED_TICKS_MAX);
        // And more again when it is not.
        for halves in 0..15 {
            let mut pace = Pace { wanted_for: WANTED_TICKS_MAX, ..Pace::default() };
            (0..halves).for_each(|_| pace.was_not());
            pace.was_wanted(now);
            let expected = (WANTED_TICKS_MAX >> halves) * 2;
            let expected = expected.clamp(WANTED_TICKS, WANTED_TICKS_MAX);
            assert_eq!(pace.wanted_until - now, expected, "{halves}");
        }
    }
}
