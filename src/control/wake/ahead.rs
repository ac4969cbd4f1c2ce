//! Calls ahead: a worker is woken for work that is about to be pushed, while its arguments are
//! still being copied.
//!
//! Who is called looks for the work when it is awake, for a while. Until it has found some, or
//! gives up, one push takes it for one that it has woken. No other does: of several tasks that come
//! at once each finds its worker, and whoever has the first need not wake one for the next.

use super::habit::{Habit, Turn};
use super::{Notice, Roused, Wake};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::{TICKS_A_US, leave_core, present_core, ticks};

/// How long workers look for what a call was for, by the processor's clock: longer than the rest of
/// a copy takes, and waking up.
const CALLED_TICKS: u64 = 500 * TICKS_A_US;
/// After a copy without a call a task that comes within this would have found a worker there.
const UNHEARD_TICKS: u64 = CALLED_TICKS / 2;

/// What `called` says, beside a seat and an index: its worker was called, or a push relies on it.
const CALLED: u64 = 1 << 63;
const RELIED: u64 = 1 << 62;
/// The worker that was called has come, and looks.
const HERE: u64 = 1 << 61;
/// It may be on another core than who will push.
const FAR: u64 = 1 << 60;
const SEAT_SHIFT: u32 = 32;

/// What the parent and its workers know of calls ahead. Hints, but for `called`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Until when workers look for work, by the processor's clock; 0: no longer than otherwise.
    until: AtomicU64,
    /// Who was called and has not found anything yet, and the task that relies on it; 0: nobody.
    called: AtomicU64,
    /// Until when a call would be heard that was left out, by the processor's clock; 0: none was.
    unheard: AtomicU64,
    /// The core of who will push.
    core: AtomicU32,
    habit: Habit,
}

fn seat_of(called: u64) -> u32 {
    (called >> SEAT_SHIFT) as u16 as u32
}

fn with_seat(state: u64, seat: u32) -> u64 {
    state | u64::from(seat) << SEAT_SHIFT
}

fn is_relied_on(called: u64, index: u32) -> bool {
    called & RELIED != 0 && called as u32 == index
}

impl Wake<'_> {
    /// Producer: a copy begins, before which `pushed` tasks were pushed. Tells whether to call
    /// during it.
    pub(crate) fn begin_copy(&self, pushed: u64) -> Turn {
        self.ahead.unheard.store(0, Ordering::Relaxed);
        self.ahead.habit.turn(pushed)
    }

    /// Producer: a copy has ended during which it did not call.
    pub(crate) fn note_left_out(&self) {
        self.ahead.unheard.store(ticks().saturating_add(UNHEARD_TICKS), Ordering::Relaxed);
    }

    /// Producer: it had to wake somebody for a task. A call that it has left out just before would
    /// not have been in vain.
    pub(super) fn note_woken(&self) {
        let unheard = self.ahead.unheard.load(Ordering::Relaxed);
        if left_until(unheard).is_some_and(|left| left <= UNHEARD_TICKS) {
            self.ahead.unheard.store(0, Ordering::Relaxed);
            self.ahead.habit.would_have_paid();
        }
    }

    /// Producer: it will call during one of the next copies. Who searches goes on meanwhile.
    pub(crate) fn keep_awake(&self, core: u32) {
        if self.anyone_searches() {
            self.have_heard(core);
        }
    }

    /// Producer: calls a worker for what will be pushed in a moment, from the core `core`. One that
    /// searches goes on, or one that was called; else a sleeper is woken.
    pub(crate) fn call_ahead(&self, core: u32) {
        self.have_heard(core);
        step!(parent "ahead.until");
        // PAIRS heard: either this sees that the search has ended, or who searched sees the call.
        fence(Ordering::SeqCst);
        if self.anyone_searches() || self.ahead.called.load(Ordering::Relaxed) != 0 {
            return;
        }
        let far = if core == present_core() { 0 } else { FAR };
        match self.call_any(CALLED | far) {
            // A model takes the same ways each time.
            Some(Roused { seat, may_be_far: true, .. }) if !cfg!(loom) && far == 0 => {
                let _ = self.swap_called(with_seat(CALLED, seat), with_seat(CALLED | FAR, seat));
            }
            Some(_) => {}
            None => self.ahead.until.store(0, Ordering::Relaxed),
        }
    }

    /// Has who searches go on for what will be pushed from the core `core`.
    fn have_heard(&self, core: u32) {
        self.ahead.core.store(core, Ordering::Relaxed);
        self.ahead.until.store(ticks().saturating_add(CALLED_TICKS), Ordering::Relaxed);
    }

    /// Calls one of the sleepers, if nobody else is called.
    fn call_any(&self, state: u64) -> Option<Roused> {
        for (word, bed) in self.beds.iter().enumerate() {
            let mut sleeping = bed.sleeping.load(Ordering::Relaxed);
            while sleeping != 0 {
                let bit = sleeping & sleeping.wrapping_neg();
                let seat = word * 64 + bit.trailing_zeros() as usize;
                sleeping &= !bit;
                // Only a worker gone wild sets a bit without a seat.
                if seat >= self.seats.len() {
                    continue;
                }
                // PAIRS named: whoever finds its bit taken by this also finds itself named.
                self.swap_called(0, with_seat(state, seat as u32)).ok()?;
                step!(parent "ahead.called");
                if bed.sleeping.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
                    step!(parent "ahead.bit");
                    return Some(self.shake(seat));
                }
                self.take_call_back(seat as u32);
            }
        }
        None
    }

    /// It wakes up by itself, or somebody else has woken it, and it may never see that it is named.
    fn take_call_back(&self, seat: u32) {
        let mut called = self.ahead.called.load(Ordering::Relaxed);
        while called != 0 && seat_of(called) == seat && called & HERE == 0 {
            match self.swap_called(called, 0) {
                Ok(_) => {
                    if called & RELIED != 0 {
                        self.notify();
                    }
                    return;
                }
                Err(latest) => called = latest,
            }
        }
    }

    /// Producer: relies on the one who was called, for the task of this index, if no other does.
    pub(super) fn rely_on_called(&self, index: u32) -> Option<Notice> {
        let mut called = self.ahead.called.load(Ordering::Relaxed);
        while called & CALLED != 0 {
            let seat = seat_of(called);
            let relied = with_seat(RELIED, seat) | u64::from(index);
            // PAIRS early: either this comes first, and the worker looks at the ring afterwards, or
            // the worker does, and this fails.
            match self.swap_called(called, relied) {
                Ok(_) if called & HERE != 0 => return Some(Notice::Called),
                Ok(_) => {
                    let may_be_far = called & FAR != 0;
                    return Some(Notice::Woken(Roused { seat, may_be_far, was_called: true }));
                }
                Err(latest) => called = latest,
            }
        }
        None
    }

    /// Producer: the task of this index does not rely on the one who was called any more. True: it
    /// did until now, and who was called may never come.
    pub(crate) fn rely_no_more(&self, index: u32) -> bool {
        let called = self.ahead.called.load(Ordering::Relaxed);
        is_relied_on(called, index) && self.swap_called(called, 0).is_ok()
    }

    /// Producer: tells whether the task of this index relies on one who was called.
    pub(crate) fn relies(&self, index: u32) -> bool {
        is_relied_on(self.ahead.called.load(Ordering::Relaxed), index)
    }

    /// Producer: tells whether a call was made of which it is not known yet what came of it.
    pub(crate) fn has_called(&self) -> bool {
        self.ahead.until.load(Ordering::Relaxed) != 0
    }

    /// Worker: tells whether a call was for it, and that it has come.
    pub(crate) fn has_come(&self, seat: usize) -> bool {
        let called = self.ahead.called.load(Ordering::Relaxed);
        // PAIRS named.
        let is_mine = called != 0 && seat_of(called) as usize == seat;
        if is_mine && called & CALLED != 0 {
            // Else a push relies on it by now.
            let _ = self.swap_called(called, called | HERE);
            step!(worker "ahead.here");
        }
        is_mine
    }

    /// Worker: it has found the task of this index, or gives up what it was called for. It looks at
    /// the ring afterwards.
    ///
    /// True: every other task has its worker, as far as this one was called. If a push relies on
    /// this one for another task, it has to see to that.
    pub(crate) fn answer_call(&self, seat: usize, found: Option<u32>) -> bool {
        let mut called = self.ahead.called.load(Ordering::Relaxed);
        while called != 0 && seat_of(called) as usize == seat {
            // PAIRS early.
            match self.swap_called(called, 0) {
                Ok(_) => {
                    step!(worker "ahead.answered");
                    return called & CALLED != 0
                        || found.is_some_and(|index| is_relied_on(called, index));
                }
                Err(latest) => called = latest,
            }
        }
        false
    }

    /// Supervisor: nobody is called. Whoever relied on one that is dead is seen to by a burial.
    pub(super) fn forget_called(&self) {
        self.ahead.called.store(0, Ordering::SeqCst);
        step!(parent "ahead.forgotten");
    }

    fn swap_called(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.ahead.called.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed)
    }

    /// Worker: leaves the core of who will push what it was called for, where it only would be in
    /// the way, if that can be.
    pub(crate) fn make_way(&self) {
        let core = self.ahead.core.load(Ordering::Relaxed);
        if self.left().is_some() && core == present_core() {
            leave_core(core);
        }
    }

    /// Worker: tells for how much longer to look for what a call was for, in ticks, if for any. Not
    /// on the core of who will push it.
    pub(crate) fn expects(&self) -> Option<u64> {
        let left = self.left()?;
        if self.ahead.core.load(Ordering::Relaxed) == present_core() {
            self.was_called(true);
            return None;
        }
        Some(left)
    }

    /// Worker: it has had a task. True: perhaps one that a call was for, and there may be more,
    /// from another core.
    pub(crate) fn had_task(&self) -> bool {
        let was_called = self.left().is_some();
        if was_called {
            self.was_called(false);
        }
        was_called && self.ahead.core.load(Ordering::Relaxed) != present_core()
    }

    /// Worker: looked for what a call was for, in vain or not.
    pub(crate) fn was_called(&self, in_vain: bool) {
        self.ahead.habit.was_called(in_vain);
        self.ahead.until.store(0, Ordering::Relaxed);
    }

    /// Worker: has looked in vain for as long as a call was to be heard, unless there was another
    /// one meanwhile.
    pub(crate) fn was_called_in_vain(&self) {
        let until = self.ahead.until.load(Ordering::Relaxed);
        let is_over = until != 0 && left_until(until).is_none();
        let zero =
            || self.ahead.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        if is_over && zero().is_ok() {
            self.ahead.habit.was_called(true);
        }
    }

    /// For how much longer a call is to be heard, in ticks.
    fn left(&self) -> Option<u64> {
        left_until(self.ahead.until.load(Ordering::Relaxed))
    }
}

fn left_until(until: u64) -> Option<u64> {
    let left = if until == 0 { 0 } else { until.saturating_sub(ticks()) };
    // A wild worker may have written any number.
    (1..=CALLED_TICKS).contains(&left).then_some(left)
}
