//! How long not to look at a task that is about to end.

use crate::sys::TICKS_A_US;

/// Parts of a pause in which the time is counted.
const PARTS: u32 = 32;
/// The longest time, in pauses: some 0.3 us where a pause takes 9 ns.
const MOST: u32 = 32;
/// So many pauses are added when the first look was too early.
const STEP: u32 = 2;
/// A task that goes on for longer than this after the first look, by the processor's clock, is none
/// for whose end it is worth waiting blindly.
const SOON_TICKS: u64 = TICKS_A_US / 2;

/// How long a caller that spins lets a short task alone before it looks at its slot.
///
/// Who looks at a slot between the worker's claim and its finish takes the cache line away from the
/// worker, which has to fetch it once more: two ways between cores, on top of the four or so that
/// the task takes. So it learns when the first look finds the task ended: a little less each time
/// that it does, and much more when it does not.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// In parts of a pause.
    parts: u32,
}

impl Patience {
    /// Lets the task alone.
    pub(super) fn keep(&self) {
        (0..self.parts / PARTS).for_each(|_| std::hint::spin_loop());
    }

    /// The first look found the task ended.
    pub(super) fn was_rewarded(&mut self) {
        self.parts = self.parts.saturating_sub(1);
    }

    /// The first look was too early: the task ended so many ticks later.
    pub(super) fn was_not(&mut self, ticks: u64) {
        if ticks < SOON_TICKS {
            self.parts = (self.parts + STEP * PARTS).min(MOST * PARTS);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How patient one is after many tasks that each end so many pauses after they were begun.
    fn settled(pauses: u32) -> Vec<u32> {
        let mut patience = Patience::default();
        let wait = |patience: &mut Patience| {
            let kept = patience.parts / PARTS;
            if kept >= pauses {
                patience.was_rewarded()
            } else {
                patience.was_not(0)
            }
            kept
        };
        (0..1000).for_each(|_| _ = wait(&mut patience));
        (0..1000).map(|_| wait(&mut patience)).collect()
    }

    #[test]
    fn the_first_look_comes_just_after_the_end_but_for_a_few() {
        for pauses in [0, 1, 7, 15, 30] {
            let kept = settled(pauses);
            let early = kept.iter().filter(|kept| **kept < pauses).count();
            assert!(early <= 1000 / (STEP * PARTS - 1) as usize + 1, "{pauses}: {early} too early");
            assert!(kept.iter().all(|kept| *kept < pauses + STEP), "{pauses}: {kept:?}");
        }
    }

    #[test]
    fn tasks_that_take_long_are_not_waited_for_blindly() {
        let mut patience = Patience::default();
        (0..1000).for_each(|_| patience.was_not(SOON_TICKS));
        assert_eq!(patience.parts, 0);
        // Nor are short ones for longer than the most.
        assert!(settled(1000).iter().all(|kept| *kept == MOST));
    }
}
