//! Calls ahead: a worker is woken for work that is about to be pushed, while its arguments are
//! still being copied.
//!
//! Who is called looks for the work when it is awake, for a while. Until then producers take it for
//! one that they have woken, since it looks at the ring when it comes.

use super::super::tries::Tries;
use super::{EARLY, Notice, Roused, Wake};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{TICKS_A_US, leave_core, present_core, ticks};

/// How long workers look for what a call was for, by the processor's clock: longer than the rest of
/// a copy takes, and waking up.
const CALLED_TICKS: u64 = 300 * TICKS_A_US;
/// The bit of a call that took long.
const FAR: u32 = 1 << 31;

/// What the parent and its workers know of calls ahead. Hints, but for `park`, which `called` leads
/// to.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Until when workers look for work, by the processor's clock; 0: no longer than otherwise.
    until: AtomicU64,
    /// The seat of the latest one that was called, plus 1; 0 once a push has relied on it.
    called: AtomicU32,
    /// The core of who called it.
    core: AtomicU32,
    /// How many calls in a row were in vain, and how many were left out since: [`Tries`].
    vain: AtomicU32,
    left_out: AtomicU32,
}

impl Wake<'_> {
    /// Producer: tells whether a call is worth while. Asked before each.
    pub(crate) fn pays_to_call(&self) -> bool {
        let mut tries = self.tries();
        let pays = tries.pays();
        self.ahead.left_out.store(tries.left_out, Ordering::Relaxed);
        pays
    }

    /// Producer: calls a worker for what will be pushed in a moment. One that searches goes on,
    /// else a sleeper is woken.
    pub(crate) fn call_ahead(&self) {
        self.ahead.core.store(present_core(), Ordering::Relaxed);
        self.ahead.until.store(ticks().saturating_add(CALLED_TICKS), Ordering::Relaxed);
        step!(parent "ahead.until");
        if self.anyone_searches() {
            return;
        }
        match self.wake_any(EARLY) {
            Some(roused) => {
                let far = if roused.may_be_far { FAR } else { 0 };
                self.ahead.called.store((roused.seat + 1) | far, Ordering::Relaxed);
            }
            None => self.ahead.until.store(0, Ordering::Relaxed),
        }
    }

    /// Producer: finds the one who was called and has not come yet, for the first who asks.
    pub(super) fn one_on_its_way(&self) -> Option<Notice> {
        if self.ahead.called.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let called = self.ahead.called.swap(0, Ordering::Relaxed);
        let seat = (called & !FAR).checked_sub(1)?;
        // PAIRS early: either this sees that it has come, or it sees the pushed work.
        let park = self.seats.get(seat as usize)?.pillow.park.load(Ordering::Relaxed);
        (park == EARLY).then_some(Notice::Woken(Roused { seat, may_be_far: called & FAR != 0 }))
    }

    /// Worker: leaves the core of who called for work that is to come, where it only would be in
    /// the way, if that can be.
    pub(crate) fn make_way(&self) {
        let core = self.ahead.core.load(Ordering::Relaxed);
        if self.left().is_some() && core == present_core() {
            leave_core(core);
        }
    }

    /// Worker: tells for how much longer to look for what a call was for, in ticks, if for any. Not
    /// on the core of who called.
    pub(crate) fn expects(&self) -> Option<u64> {
        let left = self.left()?;
        if self.ahead.core.load(Ordering::Relaxed) == present_core() {
            self.was_called(true);
            return None;
        }
        Some(left)
    }

    /// Worker: it has had a task, perhaps what a call was for.
    pub(crate) fn had_task(&self) {
        if self.left().is_some() {
            self.was_called(false);
        }
    }

    /// Worker: looked for what a call was for, in vain or not.
    pub(crate) fn was_called(&self, in_vain: bool) {
        let mut tries = self.tries();
        tries.note(in_vain);
        self.ahead.vain.store(tries.vain, Ordering::Relaxed);
        self.ahead.until.store(0, Ordering::Relaxed);
    }

    fn tries(&self) -> Tries {
        let read = |word: &AtomicU32| word.load(Ordering::Relaxed);
        Tries { vain: read(&self.ahead.vain), left_out: read(&self.ahead.left_out) }
    }

    /// For how much longer a call is to be heard, in ticks.
    fn left(&self) -> Option<u64> {
        let until = self.ahead.until.load(Ordering::Relaxed);
        let left = if until == 0 { 0 } else { until.saturating_sub(ticks()) };
        // A wild worker may have written any number.
        (1..=CALLED_TICKS).contains(&left).then_some(left)
    }
}
