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
/// So many are enough to nap on, by one who was woken in vain again and again.
const FEW: u64 = 4;
/// A worker that has slept for longer than this, in ticks, is seldom woken, and may be in vain.
const SELDOM_TICKS: u64 = 400 * TICKS_A_US;
/// So often in a row it naps then. Afterwards it sleeps, and is woken where it is wanted.
const NAPS_MOST: u32 = 8;
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

/// What others took since a worker last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A stream of short tasks: one in so many ticks.
    Stream(u64),
    /// Some tasks.
    Some,
    Nothing,
}

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
    /// How often in a row it was soon woken, and others took the tasks first.
    vain: u32,
    /// The latest wake-up was one of those.
    is_spare: bool,
    /// How many naps it has had since then.
    naps: u32,
}

impl Pace {
    /// Tells what others have taken since the last look.
    ///
    /// `now` is the processor's clock, `taken` counts the tasks that all have taken, as far as one
    /// knows, and `own` those of this worker.
    fn look(&mut self, now: u64, taken: u64, own: u64) -> Taken {
        let ticks = now.saturating_sub(self.looked_at);
        let all = taken.saturating_sub(self.taken);
        let others = all.saturating_sub(own.saturating_sub(self.own));
        (self.looked_at, self.taken, self.own) = (now, taken, own);
        if others >= STREAM && ticks / all < SHORT_TICKS {
            Taken::Stream(ticks / all)
        } else if others >= FEW {
            Taken::Some
        } else {
            Taken::Nothing
        }
    }

    /// Tells whether to nap, and how long, rather than to look for a task: the others seem to be
    /// enough.
    pub(super) fn lets_nap(&mut self, now: u64, taken: u64, own: u64) -> Option<Duration> {
        let is_stream = matches!(self.look(now, taken, own), Taken::Stream(_));
        self.naps = 0;
        if std::mem::take(&mut self.is_spare) && self.vain > 0 {
            return Some((NAP_LEAST * 2_u32.pow(self.vain - 1)).min(NAP_MOST));
        }
        (is_stream && now >= self.wanted_until).then_some(NAP_LEAST)
    }

    /// After a nap: as [`Pace::look`], `Nothing` also if it is time to sleep, so as to see whether
    /// it is woken in vain again.
    pub(super) fn look_up(&mut self, now: u64, taken: u64, own: u64) -> Taken {
        self.naps += 1;
        match self.look(now, taken, own) {
            Taken::Some if self.vain == 0 || self.naps >= NAPS_MOST => Taken::Nothing,
            taken => taken,
        }
    }

    /// It was woken or called, having slept for so many ticks, and others took the tasks first.
    pub(super) fn came_in_vain(&mut self, slept: u64) {
        const VAIN_MOST: u32 = 1 + (NAP_MOST.as_micros() / NAP_LEAST.as_micros()).ilog2();
        self.vain = if slept < SELDOM_TICKS { (self.vain + 1).min(VAIN_MOST) } else { 0 };
        self.is_spare = true;
    }

    /// It was woken or called, and has a task.
    pub(super) fn came_in_time(&mut self) {
        self.vain = 0;
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
            assert_eq!(
                pace.lets_nap(LATER + time, taken, own).is_some(),
                naps,
                "{taken} {own} {time}"
            );
            // Nothing was taken since.
            assert!(pace.lets_nap(LATER + time, taken, own).is_none());
        }
    }

    /// Two tasks of 1 us at a time took 11 us each: a worker that was woken for the second, which
    /// the first one's worker had by then, spun on the core of one who was at work.
    #[test]
    fn a_worker_that_is_woken_in_vain_again_and_again_naps_longer_and_longer() {
        let mut pace = Pace { looked_at: LATER, wanted_until: u64::MAX, ..Pace::default() };
        let come = |pace: &mut Pace, slept: u64| {
            pace.came_in_vain(slept);
            let nap = pace.lets_nap(LATER, 0, 0);
            assert_eq!(pace.lets_nap(LATER, 0, 0), None, "once for each time");
            nap.map(|nap| nap.as_micros())
        };
        let naps: Vec<_> = (0..7).map(|_| come(&mut pace, SELDOM_TICKS - 1)).collect();
        let longer = [50, 100, 200, 400, 400, 400, 400].map(Some);
        assert_eq!(naps, longer);
        // Not if that is seldom, nor once it has had a task.
        assert_eq!(come(&mut pace, SELDOM_TICKS), None);
        assert_eq!((come(&mut pace, 0), come(&mut pace, 0)), (Some(50), Some(100)));
        pace.came_in_time();
        assert_eq!(come(&mut pace, 0), Some(50));
    }

    #[test]
    fn it_naps_on_for_some_time_while_others_take_a_few_tasks() {
        for (vain, others, naps) in [(1, FEW, NAPS_MOST - 1), (1, FEW - 1, 0), (0, FEW, 0)] {
            let mut pace = Pace { looked_at: LATER, ..Pace::default() };
            (0..vain).for_each(|_| pace.came_in_vain(0));
            pace.lets_nap(LATER, 0, 0);
            let mut taken = 0;
            let naps_on = |_: &u32| {
                taken += others;
                pace.look_up(LATER, taken, 0) == Taken::Some
            };
            let count = (0..100).take_while(naps_on).count();
            assert_eq!(count, naps as usize, "{vain} times in vain, {others} tasks a nap");
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
                pace.lets_nap(now + time, taken, 0).is_some()
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
