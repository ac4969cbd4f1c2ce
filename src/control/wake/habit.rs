//! For which copy a worker is called ahead: for the one that a task followed last time.

use super::super::tries::Tries;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No copy comes after so many others.
const NEVER: u32 = u32::MAX;
/// A task after more copies than these is taken for the first of many that follow one copy each.
const OTHERS_MOST: u32 = 15;

/// How many copies come before a task that needs a worker at once.
///
/// Who copies once for each task has a call for each copy, who copies twice has one for each second
/// copy, and who only copies has one for the first, and then none. Hints: where several threads
/// copy, each takes the others' copies and tasks for its own.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// How many others came before the copy that such a task followed last time; `NEVER`: a call
    /// was in vain since.
    expected: AtomicU32,
    /// How many were made since the latest task.
    copies: AtomicU32,
    /// How many tasks had been pushed when the latest was made.
    pushed: AtomicU64,
    /// What was expected at the latest call, and one more; 0: it is known what came of it.
    asked: AtomicU32,
    /// How many calls in a row were in vain, and how many would have paid since that were left out.
    vain: AtomicU32,
    left_out: AtomicU32,
}

/// When to call for the task that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// During this copy.
    Now,
    /// During one of the next.
    Later,
    /// None is expected.
    Never,
}

impl Habit {
    /// A copy begins, after so many tasks. Tells when to call somebody for what follows.
    pub(super) fn turn(&self, pushed: u64) -> Turn {
        let is_first = self.pushed.swap(pushed, Ordering::Relaxed) != pushed;
        let others = if is_first { 0 } else { self.copies.load(Ordering::Relaxed) };
        self.copies.store(others.saturating_add(1), Ordering::Relaxed);
        match self.expected.load(Ordering::Relaxed) {
            expected if expected > OTHERS_MOST || expected < others => Turn::Never,
            expected if expected > others => Turn::Later,
            expected => {
                self.asked.store(expected + 1, Ordering::Relaxed);
                Turn::Now
            }
        }
    }

    /// Nobody was called for the latest copy, and the next task needed a worker at once. Where
    /// calls were in vain again and again, that counts less and less often.
    pub(super) fn would_have_paid(&self) {
        let vain = self.vain.load(Ordering::Relaxed).saturating_sub(1);
        let mut tries = Tries { vain, left_out: self.left_out.load(Ordering::Relaxed) };
        let pays = tries.pays();
        self.left_out.store(tries.left_out, Ordering::Relaxed);
        if pays {
            let others = self.copies.load(Ordering::Relaxed).saturating_sub(1);
            self.expected.store(if others > OTHERS_MOST { 0 } else { others }, Ordering::Relaxed);
        }
    }

    /// Who was called has looked for the task, in vain or not. The first who says so counts.
    pub(super) fn was_called(&self, in_vain: bool) {
        let Some(expected) = self.asked.swap(0, Ordering::Relaxed).checked_sub(1) else { return };
        let vain = self.vain.load(Ordering::Relaxed).saturating_add(1);
        self.vain.store(if in_vain { vain } else { 0 }, Ordering::Relaxed);
        self.expected.store(if in_vain { NEVER } else { expected }, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A caller that copies so and so often before each task, and what comes of its calls.
    #[derive(Default)]
    struct Caller {
        habit: Habit,
        pushed: u64,
    }

    impl Caller {
        /// For which of so many copies a worker is called.
        fn copy(&self, copies: usize) -> Vec<usize> {
            (0..copies).filter(|_| self.habit.turn(self.pushed) == Turn::Now).collect()
        }

        /// Copies, then pushes a task. A call is in vain unless that comes next.
        fn copy_and_push(&mut self, copies: usize) -> Vec<usize> {
            let called = self.copy(copies);
            let is_there = called == [copies - 1];
            if !called.is_empty() {
                self.habit.was_called(!is_there);
            }
            if !is_there {
                self.habit.would_have_paid();
            }
            self.pushed += 1;
            called
        }
    }

    /// Calls for the first of two copies were in vain, and none was made for the second.
    #[test]
    fn a_worker_is_called_for_the_copy_that_a_task_followed_last_time() {
        let mut caller = Caller::default();
        assert_eq!(caller.copy_and_push(1), [0], "it may well be the last");
        for copies in [1, 2, 3, 1, 16, 1, 2] {
            let called = caller.copy_and_push(copies);
            assert!(called.len() <= 1, "{copies} {called:?}");
            for _ in 0..3 {
                assert_eq!(caller.copy_and_push(copies), [copies - 1]);
            }
        }
    }

    /// A series of copies without tasks made calls rare for the copies that tasks came after.
    #[test]
    fn nobody_is_called_while_a_caller_only_copies_and_it_takes_one_task_to_call_again() {
        for copies in [17, 100] {
            let mut caller = Caller::default();
            assert_eq!(caller.copy(1), [0]);
            caller.habit.was_called(true);
            assert_eq!(caller.copy_and_push(copies), [], "the call was in vain");
            for _ in 0..3 {
                assert_eq!(caller.copy_and_push(1), [0]);
            }
        }
    }

    /// Every second call was in vain for ever: of a worker that cannot leave its caller's core, or
    /// where one and two copies take turns.
    #[test]
    fn calls_that_are_always_in_vain_become_rare_until_one_is_not() {
        let mut caller = Caller::default();
        let mut calls = |in_vain: bool| {
            let called = !caller.copy(1).is_empty();
            if called {
                caller.habit.was_called(in_vain);
            }
            if !called || in_vain {
                caller.habit.would_have_paid();
            }
            caller.pushed += 1;
            called
        };
        let made = (0..400).filter(|_| calls(true)).count();
        assert!((20..40).contains(&made), "{made}");
        assert!((0..32).any(|_| calls(false)));
        assert!((0..100).all(|_| calls(false)));
    }

    #[test]
    fn what_came_of_a_call_is_said_once() {
        let caller = Caller::default();
        assert_eq!(caller.copy(1), [0]);
        caller.habit.was_called(false);
        caller.habit.was_called(true);
        caller.habit.turn(1);
        assert_eq!(caller.habit.turn(2), Turn::Now, "the second knew nothing of it");
    }

    #[test]
    fn any_numbers_will_do() {
        for word in [0, 1, OTHERS_MOST, OTHERS_MOST + 1, NEVER - 1, NEVER] {
            let habit = || {
                let [expected, copies, asked, vain, left_out] = [word; 5].map(AtomicU32::new);
                let pushed = AtomicU64::new(u64::MAX);
                Habit { expected, copies, pushed, asked, vain, left_out }
            };
            for in_vain in [false, true] {
                habit().was_called(in_vain);
            }
            habit().would_have_paid();
            let turn = habit().turn(u64::MAX);
            assert_eq!(turn == Turn::Now, word <= OTHERS_MOST, "{word}");
        }
    }
}
