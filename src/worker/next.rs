//! How a worker comes by its next task: from the ring, by searching, or asleep.

use std::time::{Duration, Instant};

use super::pace::{NAP_MOST, Pace, Taken, are_too_many};
use super::serve::Worker;
use super::stream::Stream;
use crate::control::{Nap, Spin};
use crate::sync::Ordering;
use crate::sys::{TICKS_A_US, ticks};

/// A worker that slept for longer than this, by the processor's clock, has run a task that came
/// alone.
const IN_A_ROW_TICKS: u64 = 200 * TICKS_A_US;
/// So many tasks in less than so long, waits included, are short, 4 us each at the most: one worker
/// may have several before it, though another could begin them a little sooner.
const COUNT: u64 = 8;
const COUNT_TICKS: u64 = COUNT * 4 * TICKS_A_US;
/// Of so many tasks ahead, the slots are fetched: one from another core takes about as long as a
/// short task.
const AHEAD: u64 = 2;

/// What a worker does next.
pub(super) enum Next {
    Task(u32),
    /// Nothing is queued, and the executor closes.
    Close,
    Leave {
        idle: bool,
    },
}

/// What came of a worker's search.
enum Searched {
    Found(u32),
    /// It has found nothing, and a producer may have relied on it.
    InVain,
    /// It has not searched.
    No,
}

/// How a worker without a task has passed some time.
enum Rest {
    /// It has found one.
    Found(u32),
    /// Not at all: there may be one.
    None,
    Napped,
    /// Somebody has ended its nap.
    Called,
    /// It was woken, or has orders.
    Slept,
    /// It leaves.
    TooLong,
}

/// What a worker has learned about when to look for the next task awake.
#[derive(Debug)]
pub(super) struct Search {
    spin: Spin,
    searchers_max: u32,
    /// Somebody slept until the end of the latest task.
    has_woken: bool,
    /// How long it slept before that task, in ticks.
    slept: Option<u64>,
    stream: Stream,
    /// How many ids of tasks it has had.
    taken: u64,
    /// How many that were when it last looked at the clock, and when that was.
    counted: u64,
    counted_at: u64,
    pace: Pace,
}

impl Search {
    pub(super) fn new(spin_ns: u64, searchers_max: u32) -> Self {
        let spin = Spin::new(Duration::ZERO, Duration::from_nanos(spin_ns));
        let (pace, taken) = (Pace::default(), 0);
        let (has_woken, slept, stream) = (false, None, Stream::default());
        let (counted, counted_at) = (0, 0);
        Self { spin, searchers_max, has_woken, slept, stream, taken, counted, counted_at, pace }
    }

    /// A task of this slot was run; somebody had to be woken at its end, or not.
    pub(super) fn note(&mut self, index: u32, has_woken: bool) {
        self.has_woken = has_woken;
        self.taken += 1;
        self.stream.note(index);
    }

    /// Tells whether it is worth while to pop several tasks by itself: the latest ones were short.
    /// Asked before each task, it says so once for some of them.
    fn are_tasks_short(&mut self) -> bool {
        if self.taken.wrapping_sub(self.counted) < COUNT {
            return false;
        }
        let since = std::mem::replace(&mut self.counted_at, ticks());
        self.counted = self.taken;
        self.counted_at.wrapping_sub(since) < COUNT_TICKS
    }

    /// Tells whether to look for the next task awake.
    ///
    /// Where nobody slept until the end of the latest task, which did not come alone, its caller is
    /// awake and may submit the next one soon. One that had to be woken wakes up for some time,
    /// perhaps on this very core.
    ///
    /// After a task that came alone nothing is tried out: the caller may have been put aside for
    /// this worker when it woke it, and goes on when it sleeps.
    fn pays(&mut self) -> bool {
        let is_in_a_row = self.slept.take().is_none_or(|slept| slept < IN_A_ROW_TICKS);
        let has_woken = std::mem::replace(&mut self.has_woken, true);
        if !is_in_a_row {
            return self.spin.is_worthwhile();
        }
        !has_woken && self.spin.is_on() || self.spin.pays()
    }

    /// Lets some tasks of a stream gather in the ring.
    fn let_gather(&mut self) {
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

impl Worker {
    /// Waits for a queued task, or for a reason to leave.
    pub(super) fn next(&mut self) -> Next {
        if self.is_due() {
            return Next::Leave { idle: false };
        }
        match self.pop() {
            Some(index) => Next::Task(index),
            None => self.wait(),
        }
    }

    /// Pops an id from this worker's stretch of the ring; it takes another where tasks are short.
    fn pop(&mut self) -> Option<u32> {
        let (ring, reader) = (self.control.ring(), &mut self.reader);
        let mut own = ring.pop_own(reader);
        if own.is_none() && self.search.are_tasks_short() {
            // As many as there may be workers have one each, which they pop at different speeds.
            let seats = self.control.seats().len() as u64;
            if ring.take_stretch(reader, 2 * seats) {
                own = ring.pop_own(reader);
            }
        }
        if own.is_none() {
            return ring.pop_near(reader);
        }
        for ahead in 0..AHEAD {
            let next = ring.peek_own(reader, ahead).map(|next| next as usize);
            if let Some(slot) = next.and_then(|next| self.control.slots().get(next)) {
                slot.foresee();
            }
        }
        own
    }

    /// As [`Worker::next`], when there was none just now.
    fn wait(&mut self) -> Next {
        let (mut idle_since, mut is_spare) = (None, false);
        // A call that came before this worker's latest task was for that.
        self.control.wake().had_task();
        loop {
            if self.closes() && self.control.ring().is_empty() {
                return Next::Close;
            }
            if self.seat().leave.load(Ordering::SeqCst) != 0 {
                return Next::Leave { idle: false };
            }
            let front = self.reader.front();
            let rest = self.rest(is_spare, &mut idle_since);
            match rest {
                Rest::Found(index) => return Next::Task(index),
                Rest::TooLong => return Next::Leave { idle: true },
                Rest::None | Rest::Napped | Rest::Called | Rest::Slept => {}
            }
            let (ring, pace) = (self.control.ring(), &mut self.search.pace);
            if let Some(index) = ring.pop_near(&mut self.reader) {
                // Producers that saw a searcher have woken nobody, and the searcher wakes only one.
                if !ring.is_empty() {
                    self.control.wake().notify();
                }
                match rest {
                    Rest::Called => {
                        pace.came_in_time();
                        pace.was_wanted(ticks());
                    }
                    Rest::Slept => pace.came_in_time(),
                    _ => {}
                }
                return Next::Task(index);
            }
            is_spare = match rest {
                Rest::Slept if self.reader.front() != front => {
                    pace.came_in_vain(self.search.slept.unwrap_or(0));
                    true
                }
                Rest::Called => {
                    pace.came_in_vain(0);
                    true
                }
                Rest::Napped => true,
                _ => false,
            };
            if !ring.is_empty() {
                // What it remembers may be wrong, if the ring was overwritten and put in order.
                self.reader.start_over();
            }
        }
    }

    /// Naps, looks for a task awake, or sleeps. One whom others can spare looks for none: it may be
    /// on the core of one of them, or of the caller, and only be in the way.
    fn rest(&mut self, is_spare: bool, idle_since: &mut Option<Instant>) -> Rest {
        match self.nap() {
            Nap::Called => return Rest::Called,
            Nap::Over => return Rest::Napped,
            Nap::None => {}
        }
        if !is_spare {
            match self.search() {
                Searched::Found(index) => return Rest::Found(index),
                // A producer may have relied on the search; several may have, and one task is all
                // that this worker takes.
                Searched::InVain if !self.control.ring().is_empty() => return Rest::None,
                Searched::InVain | Searched::No => {}
            }
        }
        if self.sleep(idle_since) { Rest::TooLong } else { Rest::Slept }
    }

    /// Sleeps until there may be something to do. True: this worker has had nothing to do for so
    /// long that it leaves.
    fn sleep(&mut self, idle_since: &mut Option<Instant>) -> bool {
        if std::mem::take(&mut self.owes_ring) {
            self.bell.ring();
        }
        self.reclaim();
        self.local.heap().trim();
        let left = self.terms.idle.map(|most| {
            let since = idle_since.get_or_insert_with(Instant::now);
            most.saturating_sub(since.elapsed())
        });
        let ring = self.control.ring();
        let has_work = || {
            let orders = self.closes() || self.seat().leave.load(Ordering::SeqCst) != 0;
            orders || !ring.is_empty() || self.local.has_release()
        };
        let asleep_at = ticks();
        let found = self.control.wake().sleep(self.seat, left, has_work);
        self.search.slept = Some(ticks().saturating_sub(asleep_at));
        !found && left.is_some_and(|left| left.is_zero()) && ring.is_empty()
    }

    fn closes(&self) -> bool {
        self.control.header().closing.load(Ordering::SeqCst) != 0
    }

    /// Naps as long as others take short tasks one after the other, and are enough for them. Unless
    /// there was no nap, the ring is to be looked at.
    fn nap(&mut self) -> Nap {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        let Search { pace, taken, .. } = &mut self.search;
        let Some(mut time) = pace.lets_nap(ticks(), self.reader.front(), *taken) else {
            return Nap::None;
        };
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

    /// Looks for a task for a while, where that pays and not too many do.
    fn search(&mut self) -> Searched {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        let (search, reader) = (&mut self.search, &mut self.reader);
        // Before producers may rely on the search: it takes as long as waking up does.
        wake.make_way();
        let is_called = wake.expects().is_some();
        let searches = is_called || !wake.is_in_the_way(self.seat) && search.pays();
        if !searches || !wake.search(self.seat, search.searchers_max) {
            return Searched::No;
        }
        let mut found = None;
        if !is_called {
            search.let_gather();
            found = search.spin.until(|| ring.pop_near(reader));
        }
        if found.is_none()
            && let Some(left) = wake.expects()
        {
            let start = ticks();
            // Wrapping: a clock that goes back ends it.
            while found.is_none() && ticks().wrapping_sub(start) < left {
                std::hint::spin_loop();
                found = ring.pop_near(reader);
            }
            wake.was_called(found.is_none());
        }
        wake.found(self.seat);
        let Some(index) = found else { return Searched::InVain };
        // A producer that saw this worker search has woken nobody.
        if !ring.is_empty() {
            wake.notify();
        }
        Searched::Found(index)
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
        search.pays() && search.spin.until(|| None::<()>).is_none()
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
}
