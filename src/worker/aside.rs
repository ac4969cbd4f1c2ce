//! When a worker is in the way of who wakes it, again and again.
//!
//! The kernel often puts a woken worker on the core of who woke it, in the middle of that call. It
//! runs the task and sleeps, so that the other can go on, who submits the next task and wakes it
//! again: some 4 us a task, while the other core has nothing to do. Nobody else is woken, since
//! this one sleeps whenever a task comes.

use crate::control::Tries;
use crate::sys::TICKS_A_US;

/// So often in a row is no chance. Where tasks come alone, one after the other, callers and workers
/// are mostly apart before that.
const TIMES: u32 = 64;
/// Who slept for no longer than this, by the processor's clock, was woken again at once.
const AT_ONCE_TICKS: u64 = 20 * TICKS_A_US;
/// To leave a core takes some 50 us; if it took longer than this, the other one was not free.
const LEAVE_TICKS: u64 = 500 * TICKS_A_US;

/// How often a worker has put somebody aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    times: u32,
    tries: Tries,
}

impl Aside {
    /// Notes that a worker was woken for a task, having slept for so long, by somebody whom it has
    /// put aside. Tells whether to leave that one's core.
    pub(super) fn was_put(&mut self, slept: Option<u64>) -> bool {
        let at_once = slept.is_some_and(|slept| slept < AT_ONCE_TICKS);
        self.times = if at_once { self.times + 1 } else { 0 };
        if self.times < TIMES {
            return false;
        }
        self.times = 0;
        self.tries.pays()
    }

    /// Notes that nobody was put aside.
    pub(super) fn was_not(&mut self) {
        self.times = 0;
    }

    /// The worker has left, or has tried to, which took so long, and has found a task awake or not.
    pub(super) fn has_left(&mut self, ticks: u64, has_found: bool) {
        self.tries.note(!has_found || ticks > LEAVE_TICKS);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_woken_at_once_again_and_again_leaves_unless_that_is_in_vain() {
        let soon = Some(AT_ONCE_TICKS - 1);
        for (slept, in_between, expected) in [
            (soon, None, 100 / TIMES as usize),
            (Some(AT_ONCE_TICKS), None, 0),
            (None, None, 0),
            (soon, Some(Some(AT_ONCE_TICKS)), 0),
        ] {
            let mut aside = Aside::default();
            let leaves = |time: &u32| {
                let slept = in_between.filter(|_| time % TIMES == 1).unwrap_or(slept);
                let leaves = aside.was_put(slept);
                if leaves {
                    aside.has_left(0, true);
                }
                leaves
            };
            assert_eq!((0..100).filter(leaves).count(), expected, "{slept:?} {in_between:?}");
        }
        for (ticks, has_found, most) in
            [(LEAVE_TICKS + 1, true, 9), (0, false, 9), (LEAVE_TICKS, true, 100)]
        {
            let mut aside = Aside::default();
            let leaves = |_: &u32| {
                let leaves = aside.was_put(soon);
                if leaves {
                    aside.has_left(ticks, has_found);
                }
                leaves
            };
            let left = (0..100 * TIMES).filter(leaves).count();
            assert_eq!(left, most, "{ticks} {has_found}");
        }
        let mut aside = Aside::default();
        let leaves = |_: &u32| {
            aside.was_not();
            aside.was_put(soon)
        };
        assert_eq!((0..100).filter(leaves).count(), 0);
    }
}
