//! When a worker that was woken on another core had better be on its caller's.
//!
//! The kernel wakes a worker where it was last, if that core is idle. For a caller that computes
//! between its tasks that is another core than its own, and there the worker begins 20 to 150 us
//! after the call, if a host has to be asked for that core. On the caller's own core it begins
//! after 3, in the middle of the call, and the caller goes on when it sleeps. That is sooner for
//! who waits for a short task, and as soon for who goes on meanwhile: where a host is asked, the
//! call alone takes 6 to 30 us.

use std::time::Duration;

use crate::control::Tries;
use crate::sys::{KeptOff, TICKS_A_US, keep_off};

/// Who begins so long after it was called, by the processor's clock, is far.
const FAR_TICKS: u64 = 15 * TICKS_A_US;
/// Tasks that take less than this and than the way are worth it, if they are no more than so many
/// at a time.
const SHORT_TICKS: u64 = 30 * TICKS_A_US;
const FEW: u64 = 2;
/// It may have so many until it sleeps again, if it finds others awake.
const SOME: u64 = 16;
/// Shorter pauses between tasks a worker may pass awake, which it can on another core alone.
const PAUSE: Duration = Duration::from_micros(60);
/// So often it is kept on its caller's core while it sleeps, at first and at most: it is put back
/// as long as the kernel takes the other core for one that is ready, some milliseconds after its
/// last use in some cases.
const STAYS: u32 = 8;
const STAYS_MOST: u32 = 64;

/// What a worker has learned about where to sleep.
///
/// It costs who is near no more than some looks at `is_asked`, since after a pause each line of
/// code counts.
#[derive(Debug)]
pub(super) struct Home {
    /// It was far the last time, or is kept off a core.
    is_asked: bool,
    pause_ticks: u64,
    woken: Woken,
    /// Others took what that was for.
    is_in_vain: bool,
    /// How long it took from then on until the ring was empty, after few tasks.
    took: Option<u64>,
    /// When it was empty the last time, and how long before the next call.
    ended_at: u64,
    pause: u64,
    /// It was far for short tasks the last time. What it knows of its waker is of that time.
    was_far: bool,
    /// The core to keep off, so many times more.
    away: u32,
    left: u32,
    kept: Option<KeptOff>,
    /// How often that was to be the last time, and how many tasks it had had when that began.
    stays: u32,
    began: Option<u64>,
    tries: Tries,
}

/// When a worker was woken last, by the processor's clock.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Woken {
    pub(super) at: u64,
    /// How long before that it was called.
    pub(super) way: u64,
    /// How many tasks it had had by then.
    pub(super) taken: u64,
}

impl Home {
    /// For a worker that may spin for so long.
    pub(super) fn new(spin: Duration) -> Self {
        Self {
            is_asked: false,
            pause_ticks: (spin.max(PAUSE).as_micros() as u64).saturating_mul(TICKS_A_US),
            woken: Woken::default(),
            is_in_vain: false,
            took: None,
            ended_at: 0,
            pause: 0,
            was_far: false,
            away: 0,
            left: 0,
            kept: None,
            stays: STAYS,
            began: None,
            tries: Tries::default(),
        }
    }

    /// Notes that this worker was woken.
    pub(super) fn was_woken(&mut self, woken: Woken) {
        let was_asked = self.is_asked;
        self.is_asked = woken.way > FAR_TICKS || self.left > 0;
        if self.is_asked {
            self.note(woken);
        } else if was_asked {
            self.was_far = false;
        }
    }

    #[cold]
    #[inline(never)]
    fn note(&mut self, woken: Woken) {
        let called_at = woken.at.wrapping_sub(woken.way);
        self.pause = called_at.saturating_sub(self.ended_at);
        (self.woken, self.is_in_vain, self.took) = (woken, false, None);
    }

    /// Notes that others had taken what it was woken for. What it finds later is not that.
    pub(super) fn came_in_vain(&mut self) {
        self.is_in_vain = true;
    }

    /// Notes that it has had so many tasks, and that no other is there now.
    pub(super) fn has_ended(&mut self, taken: u64, now: impl FnOnce() -> u64) {
        if self.is_asked {
            self.note_end(taken, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_end(&mut self, taken: u64, now: impl FnOnce() -> u64) {
        let tasks = taken.wrapping_sub(self.woken.taken);
        if tasks > SOME {
            self.took = None;
            return;
        }
        self.ended_at = now();
        if self.took.is_none() && (1..=FEW).contains(&tasks) {
            self.took = Some(self.ended_at.saturating_sub(self.woken.at));
        }
    }

    /// Tells whether to keep this worker off a core while it sleeps now, having had so many tasks:
    /// twice in a row it was far for short ones there. Asks for the core that it is on, if who woke
    /// it called from another one.
    pub(super) fn is_away(
        &mut self,
        taken: u64,
        far_from_waker: impl FnOnce() -> Option<u32>,
    ) -> bool {
        self.is_asked && self.decide(taken, far_from_waker)
    }

    #[cold]
    #[inline(never)]
    fn decide(&mut self, taken: u64, far_from_waker: impl FnOnce() -> Option<u32>) -> bool {
        // Else it was woken for something else.
        if taken != self.woken.taken && !self.is_in_vain {
            match self.left {
                0 => self.begin(taken, far_from_waker),
                _ => self.go_on(),
            }
        }
        self.left > 0
    }

    /// Keeps this thread off that core.
    #[cold]
    #[inline(never)]
    pub(super) fn keep_off(&mut self) {
        self.kept = keep_off(self.away);
    }

    /// Ends that: the kernel may have it anywhere while it is awake.
    #[cold]
    #[inline(never)]
    pub(super) fn end(&mut self) {
        self.kept.take().into_iter().for_each(KeptOff::end);
    }

    /// It was far.
    fn begin(&mut self, taken: u64, far_from_waker: impl FnOnce() -> Option<u32>) {
        let is_short = self.is_short(self.woken.way);
        let was_far = std::mem::replace(&mut self.was_far, is_short);
        if !is_short {
            return;
        }
        let is_pause = self.pause >= self.pause_ticks;
        let core = far_from_waker().filter(|_| was_far && is_pause && self.tries.pays());
        let Some(core) = core else { return };
        // If it was put back soon, that was not long enough.
        let soon = 4 * u64::from(self.stays);
        let was_soon = self.began.is_some_and(|began| taken.wrapping_sub(began) < soon);
        self.stays = if was_soon { (2 * self.stays).min(STAYS_MOST) } else { STAYS };
        (self.was_far, self.began) = (false, Some(taken));
        (self.away, self.left) = (core, self.stays);
    }

    /// It was kept off that core.
    fn go_on(&mut self) {
        // The first time it may have been on its way still.
        let is_in_vain = self.woken.way > FAR_TICKS && self.left < self.stays;
        // Tasks at once count once.
        let counts = u32::from(self.pause > FAR_TICKS);
        self.left = if self.is_short(SHORT_TICKS) && !is_in_vain { self.left - counts } else { 0 };
        if self.left == 0 {
            self.tries.note(is_in_vain);
        }
    }

    fn is_short(&self, than: u64) -> bool {
        self.took.is_some_and(|took| took < than.min(SHORT_TICKS))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const US: u64 = TICKS_A_US;

    /// A call after a pause, the way to a worker, and some tasks.
    #[derive(Clone, Copy)]
    struct Trip {
        pause: u64,
        way: u64,
        tasks: u64,
        took: u64,
        /// The worker's core, where it is not the caller's.
        far: Option<u32>,
    }

    const FAR: Trip = Trip { pause: 100 * US, way: 40 * US, tasks: 1, took: US, far: Some(7) };
    const NEAR: Trip = Trip { way: 3 * US, far: None, ..FAR };

    struct Worker {
        home: Home,
        now: u64,
        taken: u64,
    }

    impl Worker {
        fn new() -> Self {
            Self { home: Home::new(Duration::ZERO), now: 1 << 40, taken: 5 }
        }

        /// Tells whether the worker is kept off its core afterwards.
        fn goes(&mut self, trip: Trip) -> bool {
            self.now += trip.pause + trip.way;
            let woken = Woken { at: self.now, way: trip.way, taken: self.taken };
            self.home.was_woken(woken);
            self.taken += trip.tasks;
            self.now += trip.took;
            self.home.has_ended(self.taken, || self.now);
            let is_away = self.home.is_away(self.taken, || trip.far);
            assert!(!is_away || self.home.away == 7);
            is_away
        }

        /// How often it is kept off its core until it is not, where that has just begun.
        fn stays(&mut self) -> u32 {
            1 + (0..1000).take_while(|_| self.goes(NEAR)).count() as u32
        }
    }

    /// A caller that computed for 100 us between its tasks waited for another core each time.
    #[test]
    fn who_is_far_twice_in_a_row_for_a_few_short_tasks_is_kept_off_its_core_for_a_while() {
        for trip in [FAR, Trip { tasks: FEW, took: SHORT_TICKS - 1, ..FAR }] {
            let mut worker = Worker::new();
            assert_eq!([trip; 2].map(|trip| worker.goes(trip)), [false, true]);
            assert_eq!(worker.stays(), STAYS);
            assert!((0..100).all(|_| !worker.goes(NEAR)), "it is near");
        }
    }

    #[test]
    fn nobody_is_kept_off_who_is_near_or_has_much_to_do_or_may_spend_the_pause_awake() {
        let long = Worker { home: Home::new(Duration::from_millis(1)), ..Worker::new() };
        for (trips, mut worker) in [
            ([FAR, NEAR], Worker::new()),
            ([FAR, Trip { took: SHORT_TICKS, ..FAR }], Worker::new()),
            ([FAR, Trip { tasks: FEW + 1, ..FAR }], Worker::new()),
            ([Trip { way: FAR_TICKS, ..FAR }; 2], Worker::new()),
            ([Trip { way: 20 * US, took: 20 * US, ..FAR }; 2], Worker::new()),
            ([Trip { pause: 50 * US, ..FAR }; 2], Worker::new()),
            ([Trip { far: None, ..FAR }; 2], Worker::new()),
            ([Trip { tasks: 0, ..FAR }; 2], Worker::new()),
            ([FAR; 2], long),
        ] {
            assert!((0..100).all(|time: usize| !worker.goes(trips[time % 2])));
        }
    }

    #[test]
    fn who_is_put_back_soon_is_kept_off_for_twice_as_long_the_next_time() {
        let mut worker = Worker::new();
        let mut back_after = |near: u64| {
            (0..near).for_each(|_| assert!(!worker.goes(NEAR)));
            assert_eq!([FAR; 2].map(|trip| worker.goes(trip)), [false, true]);
            worker.stays()
        };
        assert_eq!([0, 0, 10, 0, 0].map(&mut back_after), [8, 16, 32, STAYS_MOST, STAYS_MOST]);
        assert_eq!([4 * u64::from(STAYS_MOST), 0].map(&mut back_after), [STAYS, 2 * STAYS]);
    }

    #[test]
    fn wake_ups_for_nothing_and_tasks_at_once_do_not_count() {
        let mut worker = Worker::new();
        assert_eq!([FAR; 2].map(|trip| worker.goes(trip)), [false, true]);
        assert!((0..100).all(|_| worker.goes(Trip { pause: 0, ..NEAR })));
        assert!((0..100).all(|_| worker.goes(Trip { tasks: 0, ..NEAR })));
        assert_eq!(worker.stays(), STAYS);
    }

    /// Woken for what others took, it had napped, and found other tasks after that.
    #[test]
    fn what_is_found_after_a_wake_up_in_vain_says_nothing() {
        let mut worker = Worker::new();
        let finds_later = |worker: &mut Worker| {
            worker.now += FAR.pause + FAR.way;
            let woken = Woken { at: worker.now, way: FAR.way, taken: worker.taken };
            worker.home.was_woken(woken);
            worker.home.came_in_vain();
            (worker.now, worker.taken) = (worker.now + 300 * US, worker.taken + 1);
            worker.home.has_ended(worker.taken, || worker.now);
            worker.home.is_away(worker.taken, || FAR.far)
        };
        assert!(!worker.goes(FAR) && !finds_later(&mut worker));
        assert!(worker.goes(FAR) && finds_later(&mut worker));
        assert_eq!(worker.stays(), STAYS);
    }

    #[test]
    fn a_long_task_ends_it() {
        let mut worker = Worker::new();
        assert_eq!([FAR; 2].map(|trip| worker.goes(trip)), [false, true]);
        assert!(!worker.goes(Trip { took: SHORT_TICKS, ..NEAR }));
        assert!((0..100).all(|_| !worker.goes(NEAR)));
    }

    #[test]
    fn a_way_that_is_long_all_the_same_ends_it_and_it_is_tried_less_often_then() {
        let mut worker = Worker::new();
        let kept: Vec<bool> = (0..1000).map(|_| worker.goes(FAR)).collect();
        // The first time it may have been on its way to the other core still.
        assert_eq!(kept[..4], [false, true, true, false]);
        let count = kept.iter().filter(|kept| **kept).count();
        assert!((50..150).contains(&count), "{count}");
    }
}
