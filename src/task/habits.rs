//! What a thread learns about waiting for tasks.

use std::cell::RefCell;
use std::time::Duration;

use super::delay::Delay;
use super::gather::Gather;
use super::patience::Patience;
use crate::control::Spin;
use crate::sys::{TICKS_A_US, ticks};

/// The longest that a caller spins for a result. Longer waits are cheaper asleep.
const SPIN_MOST: Duration = Duration::from_micros(50);
/// The shortest: it spins only where a core is free and a worker is awake, so a try costs little.
const SPIN_LEAST: Duration = Duration::from_micros(4);

/// How long a caller spins that had to wake a worker on another core, or was itself woken just
/// before. On another core a worker wakes up in some 50 us here, and so would its caller; two who
/// sleep in turns go on with that for ever, if none of them waits for the other awake.
const WAKING_MOST: Duration = Duration::from_micros(120);
/// A task that is waited for so soon after another, by the processor's clock, is one of many in a
/// row.
const IN_A_ROW_TICKS: u64 = 20 * TICKS_A_US;

/// How long a caller sleeps through the ends of short tasks, at least and at most.
const DOZE_LEAST: Duration = Duration::from_micros(50);
const DOZE_MOST: Duration = Duration::from_micros(400);
/// It sleeps for longer as long as no more than this part of what was queued is taken meanwhile.
const DOZE_SHARE: u64 = 4;
/// The end of a sleep of less than this, by the processor's clock, was that of a short task.
const SHORT_TICKS: u64 = 50 * TICKS_A_US;

thread_local! {
    static HABITS: RefCell<Habits> = RefCell::new(Habits::new());
}

/// What a thread has learned about waiting.
pub(super) struct Habits {
    /// For a task whose worker was awake.
    pub(super) awake: Spin,
    /// How long not to look whether it has ended.
    pub(super) patience: Patience,
    /// How many tasks to let end before the next look.
    pub(super) gather: Gather,
    /// For one whose worker had to be woken.
    pub(super) waking: Spin,
    /// Before a worker is woken while another is at work, or was called.
    pub(super) busy: Delay,
    pub(super) called: Delay,
    /// Before it sleeps where no core is free.
    pub(super) crowded: Delay,
    /// When it last waited asleep, in ticks.
    slept_until: Option<u64>,
    /// How often in a row it slept for a short time only.
    pub(super) short_sleeps: u32,
    /// How long it dozes next.
    pub(super) doze: Duration,
}

impl Habits {
    fn new() -> Self {
        Self {
            awake: Spin::new(SPIN_LEAST, SPIN_MOST),
            patience: Patience::default(),
            gather: Gather::default(),
            waking: Spin::all_or_nothing(WAKING_MOST),
            busy: Delay::for_busy(),
            called: Delay::for_called(),
            crowded: Delay::for_crowd(),
            slept_until: None,
            short_sleeps: 0,
            doze: DOZE_LEAST,
        }
    }

    pub(super) fn slept(&mut self, since: u64) {
        let now = ticks();
        let is_short = now.saturating_sub(since) < SHORT_TICKS;
        self.short_sleeps = if is_short { self.short_sleeps.saturating_add(1) } else { 0 };
        self.slept_until = Some(now);
    }

    /// Tells whether to spin for a task whose worker was woken, on another core or perhaps not.
    pub(super) fn may_wait_awake(&mut self, is_far: impl FnOnce() -> bool) -> bool {
        let is_recent = |at| ticks().saturating_sub(at) < IN_A_ROW_TICKS;
        self.slept_until.take().is_some_and(is_recent) || is_far()
    }

    /// Learns from a doze during which the backlog went from `before` to `after`.
    pub(super) fn dozed(&mut self, before: u64, after: u64) {
        let doze = if before.saturating_sub(after) <= before / DOZE_SHARE {
            self.doze * 2
        } else {
            self.doze / 2
        };
        self.doze = doze.clamp(DOZE_LEAST, DOZE_MOST);
    }

    /// Nothing has ended during a doze: these are no short tasks.
    pub(super) fn dozed_in_vain(&mut self) {
        (self.short_sleeps, self.doze) = (0, DOZE_LEAST);
    }
}

/// A waker that runs inside another wait finds the habits in use: then there is nothing to learn.
pub(super) fn learn<T>(from: impl FnOnce(&mut Habits) -> T) -> Option<T> {
    HABITS.with(|habits| habits.try_borrow_mut().ok().map(|mut habits| from(&mut habits)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A caller that computes between its tasks keeps its core busy, so the worker wakes up on
    /// another one. Both slept in turns, 70 us a task, where one of the two wake-ups would do.
    #[test]
    fn who_woke_a_worker_on_another_core_waits_for_it_awake() {
        let mut habits = Habits::new();
        let (far, near) = (|| true, || false);
        assert!(habits.may_wait_awake(far) && habits.may_wait_awake(far));
        assert!(!habits.may_wait_awake(near), "it may be on this very core");
        habits.slept(ticks());
        assert!(habits.may_wait_awake(near), "this is one task of many in a row");
        assert!(!habits.may_wait_awake(near));
    }

    #[test]
    fn who_dozes_sleeps_for_longer_only_while_the_queue_stays_long() {
        let (least, most) = (DOZE_LEAST, DOZE_MOST);
        for (rounds, before, after, expected) in [
            (1, 1000, 1000, 2 * least),
            (1, 1000, 750, 2 * least),
            (1, 1000, 749, least),
            (3, 1000, 990, most),
            (100, 1000, 990, most),
            (100, 1000, 0, least),
            // Somebody else has pushed meanwhile.
            (1, 1000, 2000, 2 * least),
        ] {
            let mut habits = Habits::new();
            (0..rounds).for_each(|_| habits.dozed(before, after));
            assert_eq!(habits.doze, expected, "{rounds} times from {before} to {after}");
        }
        let mut habits = Habits { doze: most, ..Habits::new() };
        habits.dozed(1000, 500);
        assert_eq!(habits.doze, most / 2);
    }
}
