//! How a worker without a task sleeps: until it is woken, or for a nap.

use std::time::{Duration, Instant};

use super::home::Woken;
use super::pace::{NAP_MOST, Taken, are_too_many};
use super::search::Search;
use super::serve::Worker;
use crate::control::Nap;
use crate::sync::Ordering;
use crate::sys::{present_core, ticks};

impl Worker {
    /// Sleeps until there may be something to do. True: this worker has had nothing to do for so
    /// long that it leaves.
    pub(super) fn sleep(&mut self, idle_since: &mut Option<Instant>) -> bool {
        if std::mem::take(&mut self.owes_ring) {
            self.ring();
        }
        self.reclaim();
        self.local.heap().trim();
        let left = self.terms.idle.map(|most| idle_left(most, idle_since));
        let (ring, wake, taken) = (self.control.ring(), self.control.wake(), self.search.taken);
        let home = &mut self.search.home;
        let far_from_waker = || wake.is_waker_elsewhere(self.seat).then(present_core);
        let is_away = home.is_away(taken, far_from_waker);
        let has_work = || {
            let leaves = self.control.seats()[self.seat].leave.load(Ordering::SeqCst) != 0;
            let closes = self.control.header().closing.load(Ordering::SeqCst) != 0;
            let has_work = leaves || closes || !ring.is_empty_near(&self.reader);
            let has_work = has_work || self.local.has_release();
            // After its bit is set: who wakes it while it goes there is seen before it sleeps.
            if is_away && !has_work {
                home.keep_off();
            }
            has_work
        };
        let asleep_at = ticks();
        let found = wake.sleep(self.seat, left, has_work);
        if is_away {
            home.end();
        }
        let now = ticks();
        let way = if found { wake.called_before(self.seat, now) } else { 0 };
        self.search.has_slept(now.saturating_sub(asleep_at));
        self.search.home.was_woken(Woken { at: now, way, taken });
        !found && left.is_some_and(|left| left.is_zero()) && ring.is_empty()
    }

    pub(super) fn closes(&self) -> bool {
        self.control.header().closing.load(Ordering::SeqCst) != 0
    }

    /// Naps as long as others take short tasks one after the other, and are enough for them. Unless
    /// there was no nap, the ring is to be looked at.
    pub(super) fn nap(&mut self) -> Nap {
        let Search { pace, taken, .. } = &mut self.search;
        let Some(time) = pace.lets_nap(ticks(), self.reader.front(), *taken) else {
            return Nap::None;
        };
        self.nap_for(time)
    }

    /// As [`Worker::nap`], for so long at first.
    #[inline(never)]
    fn nap_for(&mut self, mut time: Duration) -> Nap {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        let Search { pace, taken, .. } = &mut self.search;
        let has_orders = || {
            let leaves = self.control.seats()[self.seat].leave.load(Ordering::Relaxed) != 0;
            let closes = self.control.header().closing.load(Ordering::Relaxed) != 0;
            leaves || closes || self.local.has_release()
        };
        loop {
            match wake.nap(self.seat, time, has_orders) {
                Nap::Over => {}
                none_or_called => return none_or_called,
            }
            let now = ticks();
            match pace.look_up(now, ring.popped(), *taken) {
                Taken::Stream(pace_ticks) if are_too_many(ring.backlog(), pace_ticks) => {
                    pace.was_wanted(now);
                    // So may others be that nap.
                    wake.end_nap();
                    return Nap::Over;
                }
                Taken::Stream(_) => {}
                Taken::Some if ring.is_empty() => {}
                Taken::Some | Taken::Nothing => return Nap::Over,
            }
            if time == NAP_MOST {
                pace.was_not();
            }
            time = (time * 2).min(NAP_MOST);
        }
    }
}

/// For how much longer a worker may be idle.
#[cold]
fn idle_left(most: Duration, idle_since: &mut Option<Instant>) -> Duration {
    let since = idle_since.get_or_insert_with(Instant::now);
    most.saturating_sub(since.elapsed())
}
