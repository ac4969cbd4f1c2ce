//! When a worker without a task looks for the next one awake.

use std::time::Duration;

use super::aside::Aside;
use super::home::Home;
use super::pace::Pace;
use super::stream::Stream;
use crate::control::Spin;
use crate::sys::{TICKS_A_US, ticks};

/// A worker that slept for longer than this, by the processor's clock, has run a task that came
/// alone.
const IN_A_ROW_TICKS: u64 = 200 * TICKS_A_US;
/// So many tasks in less than so long, waits included, are short, 4 us each at the most: one worker
/// may have several before it, though another could begin them a little sooner.
const COUNT: u64 = 8;
const COUNT_TICKS: u64 = COUNT * 4 * TICKS_A_US;

/// Where to look for the next task awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    No,
    Here,
    /// On another core: on this one the worker is in the way of who wakes it.
    Elsewhere,
}

/// What a worker has learned about when to look for the next task awake.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) spin: Spin,
    pub(super) searchers_max: u32,
    /// Somebody slept until the end of the latest task.
    has_woken: bool,
    /// The same, of any task since it last looked for one or slept.
    has_woken_any: bool,
    /// The latest task may be one that a worker was called for, and more may come at once.
    pub(super) expects_more: bool,
    /// How long it slept before that task, in ticks.
    pub(super) slept: Option<u64>,
    pub(super) aside: Aside,
    pub(super) home: Home,
    stream: Stream,
    /// How many ids of tasks it has had.
    pub(super) taken: u64,
    /// How many that were when it last looked at the clock, and when that was.
    counted: u64,
    counted_at: u64,
    pub(super) pace: Pace,
}

impl Search {
    pub(super) fn new(spin_ns: u64, searchers_max: u32) -> Self {
        Self {
            spin: Spin::new(Duration::ZERO, Duration::from_nanos(spin_ns)),
            searchers_max,
            has_woken: false,
            has_woken_any: false,
            expects_more: false,
            slept: None,
            aside: Aside::default(),
            home: Home::new(Duration::from_nanos(spin_ns)),
            stream: Stream::default(),
            taken: 0,
            counted: 0,
            counted_at: 0,
            pace: Pace::default(),
        }
    }

    /// A task of this slot was run; somebody had to be woken at its end, or not.
    pub(super) fn note(&mut self, index: u32, has_woken: bool) {
        self.has_woken = has_woken;
        self.has_woken_any |= has_woken;
        self.taken += 1;
        self.stream.note(index);
    }

    /// Notes that this worker has slept, for so long, after what it noted before.
    pub(super) fn has_slept(&mut self, ticks: u64) {
        self.slept = Some(ticks);
        self.has_woken_any = false;
    }

    /// Tells whether enough tasks were run to ask [`Search::are_tasks_short`].
    pub(super) fn may_be_short(&self) -> bool {
        self.taken.wrapping_sub(self.counted) >= COUNT
    }

    /// Tells whether it is worth while to pop several tasks by itself: the latest ones were short.
    /// Asked before each task, it says so once for some of them.
    pub(super) fn are_tasks_short(&mut self) -> bool {
        if !self.may_be_short() {
            return false;
        }
        let since = std::mem::replace(&mut self.counted_at, ticks());
        self.counted = self.taken;
        self.counted_at.wrapping_sub(since) < COUNT_TICKS
    }

    /// Tells whether to look for the next task awake, and where.
    ///
    /// Where nobody slept until the end of the latest task, which did not come alone, its caller is
    /// awake and may submit the next one soon. One that had to be woken wakes up for some time,
    /// perhaps on this very core.
    ///
    /// After a task that came alone nothing is tried out: the caller may have been put aside for
    /// this worker when it woke it, and goes on when it sleeps. If that is known, or that a caller
    /// fell asleep on this core that it has just woken, this worker would only be in the way; one
    /// whom that happens to again and again had better be on another core.
    pub(super) fn pays(
        &mut self,
        keeps_waker: impl FnOnce() -> bool,
        keeps_joiner: impl FnOnce() -> bool,
    ) -> Look {
        let slept = self.slept.take();
        let is_in_a_row = slept.is_none_or(|slept| slept < IN_A_ROW_TICKS);
        let has_woken = std::mem::replace(&mut self.has_woken, true);
        let has_woken_any = std::mem::take(&mut self.has_woken_any);
        if !is_in_a_row && !self.spin.is_worthwhile() {
            return Look::No;
        }
        if keeps_waker() {
            let leaves = self.aside.was_put(slept) && self.spin.is_on();
            return if leaves { Look::Elsewhere } else { Look::No };
        }
        self.aside.was_not();
        let pays = !is_in_a_row || !has_woken && self.spin.is_on() || self.spin.pays();
        // Where there are more cores, the kernel wakes it on one that is free.
        let pays = pays && !(has_woken_any && self.searchers_max <= 1 && keeps_joiner());
        if pays { Look::Here } else { Look::No }
    }

    /// Lets some tasks of a stream gather in the ring.
    pub(super) fn let_gather(&mut self) {
        let (start, pause) = (ticks(), self.stream.pause());
        if pause == 0 {
            return;
        }
        // Wrapping: a clock that goes back ends it.
        while ticks().wrapping_sub(start) < pause {
            std::hint::spin_loop();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Tells whether a worker that slept for so long before its latest task looks for the next one
    /// awake; it finds none.
    fn searches(search: &mut Search, slept: u64, has_woken: bool) -> bool {
        search.slept = Some(slept);
        search.note(0, has_woken);
        search.pays(|| false, || false) == Look::Here && search.spin.until(|| None::<()>).is_none()
    }

    /// A worker is often put on its caller's core, in the middle of the call that wakes it. After
    /// every sixteenth task that came alone it spun there for 16 us, to find out whether tasks came
    /// sooner now, and its caller had the result so much later.
    #[test]
    fn a_worker_tries_nothing_out_after_a_task_that_came_alone() {
        let mut search = Search::new(50_000, 1);
        let alone = 10 * IN_A_ROW_TICKS;
        let spun: Vec<bool> = (0..200).map(|_| searches(&mut search, alone, false)).collect();
        // It takes some misses to unlearn that waits may be short.
        assert!(spun[0] && !spun[10..].contains(&true), "{spun:?}");
        // Among tasks in a row it does, and stays awake for a caller that is.
        assert!((0..32).any(|_| searches(&mut search, 0, true)));
        assert!((0..32).all(|_| searches(&mut search, 0, false)));
    }

    /// The kernel put the worker on its caller's core. It stayed awake there for up to 50 us, for a
    /// caller that could only go on when it slept.
    #[test]
    fn a_worker_does_not_stay_awake_on_the_core_of_a_caller_that_it_keeps_from_it() {
        for (woken, keeps_waker, keeps_joiner, searchers_max, expected) in [
            ([false, false], false, true, 1, true),
            ([false, false], true, false, 1, false),
            ([false, false], true, false, 7, false),
            // Of two tasks that it had one after the other, one was slept for.
            ([false, true], false, true, 1, false),
            ([true, false], false, true, 1, false),
            ([true, false], false, false, 1, true),
            ([true, false], false, true, 7, true),
        ] {
            let mut search = Search::new(50_000, searchers_max);
            woken.into_iter().for_each(|has_woken| search.note(0, has_woken));
            let pays = search.pays(|| keeps_waker, || keeps_joiner);
            assert_eq!(
                pays == Look::Here,
                expected,
                "{woken:?} {keeps_waker} {keeps_joiner} {searchers_max}"
            );
            search.note(0, false);
            let pays = search.pays(|| false, || true);
            assert_eq!(pays, Look::Here, "that was before it looked");
        }
    }

    /// A caller went on submitting, and woke the same worker on its own core for each task, 1800
    /// times in a row, while the other core had nothing to do.
    #[test]
    fn a_worker_that_puts_its_caller_aside_again_and_again_looks_elsewhere_if_it_ever_looks() {
        for (spin_ns, keeps_waker, expected) in
            [(50_000, true, true), (0, true, false), (50_000, false, false)]
        {
            let mut search = Search::new(spin_ns, 1);
            let looks = (0..100).map(|_| {
                search.note(0, false);
                search.has_slept(0);
                search.pays(|| keeps_waker, || false)
            });
            let count = looks.filter(|look| *look == Look::Elsewhere).count();
            assert_eq!(count > 0, expected, "{spin_ns} {keeps_waker}");
        }
    }
}
