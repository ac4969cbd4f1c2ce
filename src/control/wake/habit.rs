//! For which copy a worker is called ahead: for the one after which a task came last time.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No copy comes after so many others.
const NEVER: u32 = u32::MAX;
/// A task after more is taken for the first of many that follow one copy each.
const OTHERS_MOST: u32 = 16;

/// How many copies a caller makes before it pushes a task that needs a worker at once.
///
/// Who copies once for each task has a call for each copy, who copies twice has one for each second
/// copy, and who only copies has none. Hints: several threads may write them at once.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// How many others came before the copy that such a task followed last time; `NEVER`: a call
    /// was in vain since.
    usual: AtomicU32,
    /// How many were made since the latest task.
    copies: AtomicU32,
    /// How many tasks had been pushed when the latest was made.
    pushed: AtomicU64,
}

/// When to call for the task that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// During this copy.
    Now,
    /// During one of the next.
    Later,
    /// None is expected.
    Never,
}

impl Habit {
    /// A copy is made, after so many tasks. Tells when to call somebody for what follows.
    pub(super) fn turn(&self, pushed: u64) -> Turn {
        let is_first = self.pushed.swap(pushed, Ordering::Relaxed) != pushed;
        let others = if is_first { 0 } else { self.copies.load(Ordering::Relaxed) };
        self.copies.store(others.saturating_add(1), Ordering::Relaxed);
        match self.usual.load(Ordering::Relaxed) {
            usual if usual == others => Turn::Now,
            usual if usual < OTHERS_MOST && others < usual => Turn::Later,
            _ => Turn::Never,
        }
    }

    /// Nobody was called for the latest copy, and the next task needed a worker at once.
    pub(super) fn would_have_paid(&self) {
        let others = self.others();
        self.usual.store(if others < OTHERS_MOST { others } else { 0 }, Ordering::Relaxed);
    }

    /// Nothing came in time for who was called, or heard of a copy.
    pub(super) fn was_in_vain(&self) {
        if self.others() >= self.usual.load(Ordering::Relaxed) {
            self.usual.store(NEVER, Ordering::Relaxed);
        }
    }

    /// How many came before the latest.
    fn others(&self) -> u32 {
        self.copies.load(Ordering::Relaxed).saturating_sub(1)
    }
}
