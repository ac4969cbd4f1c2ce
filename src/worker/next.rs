//! How a worker comes by its next task: from the ring, by searching, or asleep.

use std::time::Instant;

use super::search::Look;
use super::serve::Worker;
use crate::control::{Nap, Wake};
use crate::sync::Ordering;
use crate::sys::{TICKS_A_US, leave_core, present_core, ticks};

/// Of so many tasks ahead, the slots are fetched: one from another core takes about as long as a
/// short task.
const AHEAD: u64 = 2;

/// After a task that a worker was called for it looks for another for so long, by the processor's
/// clock: several are often submitted at once.
const MORE_TICKS: u64 = 20 * TICKS_A_US;

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

impl Rest {
    /// Tells whether the worker was woken for tasks that others took first. One that was called is
    /// to look for what is to come, whatever they took while it slept.
    fn was_in_vain(&self, has_front_moved: bool, is_called: bool) -> bool {
        matches!(self, Self::Slept) && has_front_moved && !is_called
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
        if self.reader.has_stretch() || self.search.may_be_short() {
            self.pop_stretch()
        } else {
            self.control.ring().pop_near(&mut self.reader)
        }
    }

    /// As [`Worker::pop`], where there may be a stretch.
    #[inline(never)]
    fn pop_stretch(&mut self) -> Option<u32> {
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
        let (mut idle_since, mut is_spare, mut is_called) = (None, false, false);
        self.search.home.has_ended(self.search.taken, ticks);
        // A call that came before this worker's latest task was for that.
        self.search.expects_more |= self.control.wake().had_task();
        loop {
            if is_called && let Some(index) = self.look_for_what_is_to_come() {
                return Next::Task(index);
            }
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
                let wake = self.control.wake();
                if !wake.answer_call(self.seat, Some(index)) && !ring.is_empty_near(&self.reader) {
                    wake_another(wake);
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
            is_called = self.control.wake().has_come(self.seat);
            is_spare = match rest {
                _ if rest.was_in_vain(self.reader.front() != front, is_called) => {
                    pace.came_in_vain(self.search.slept.unwrap_or(0));
                    self.search.home.came_in_vain();
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
                // PAIRS heard: so may a call.
                Searched::InVain if self.control.wake().expects().is_some() => return Rest::None,
                Searched::InVain | Searched::No => {}
            }
        }
        if self.sleep(idle_since) { Rest::TooLong } else { Rest::Slept }
    }

    /// Looks for the task that this worker was called for. No producer takes it for one that
    /// searches: one task relies on it, and the others find another worker.
    #[inline(never)]
    fn look_for_what_is_to_come(&mut self) -> Option<u32> {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        wake.make_way();
        let mut found = ring.pop_near(&mut self.reader);
        if found.is_none()
            && let Some(left) = wake.expects()
        {
            found = look_as_called(wake, left, || ring.pop_near(&mut self.reader));
            self.search.expects_more = found.is_some();
        }
        let are_others_seen_to = wake.answer_call(self.seat, found);
        // A push may have relied on this worker until then.
        found = found.or_else(|| ring.pop_near(&mut self.reader));
        if found.is_some() && !are_others_seen_to && !ring.is_empty() {
            wake_another(wake);
        }
        found
    }

    /// Looks for a task for a while, where that pays and not too many do.
    fn search(&mut self) -> Searched {
        let wake = self.control.wake();
        let search = &mut self.search;
        let more = std::mem::take(&mut search.expects_more).then_some(MORE_TICKS);
        let is_called = more.is_some() || wake.expects().is_some();
        let keeps_waker = || wake.keeps_waker_aside(self.seat);
        let keeps_joiner = || self.control.header().joiner.is_here() == Some(true);
        let look = if is_called { Look::Here } else { search.pays(keeps_waker, keeps_joiner) };
        if look == Look::No || !wake.search(self.seat, search.searchers_max) {
            return Searched::No;
        }
        if look == Look::Elsewhere {
            return self.look_elsewhere();
        }
        self.look_awake(more, is_called)
    }

    /// As [`Worker::look_awake`], on another core, if one is free. Who wakes this worker sees that
    /// it searches, and goes on meanwhile.
    #[cold]
    fn look_elsewhere(&mut self) -> Searched {
        let (start, wake) = (ticks(), self.control.wake());
        let searched = if !wake.is_any_other_awake(self.seat) && leave_core(present_core()) {
            self.look_awake(None, false)
        } else {
            wake.found(self.seat);
            Searched::InVain
        };
        let took = ticks().saturating_sub(start);
        self.search.aside.has_left(took, matches!(searched, Searched::Found(_)));
        searched
    }

    /// The rest of a search that has begun.
    #[inline(never)]
    fn look_awake(&mut self, more: Option<u64>, is_called: bool) -> Searched {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        let (search, reader) = (&mut self.search, &mut self.reader);
        let mut found = None;
        if !is_called {
            search.let_gather();
            found = search.spin.until(|| ring.pop_near(reader));
        }
        if found.is_none()
            && let Some(left) = more.or_else(|| wake.expects())
        {
            found = match more {
                Some(_) => look(left, || ring.pop_near(reader)),
                None => look_as_called(wake, left, || ring.pop_near(reader)),
            };
            search.expects_more = found.is_some();
        }
        wake.found(self.seat);
        let Some(index) = found else { return Searched::InVain };
        // A producer that saw this worker search has woken nobody.
        if !ring.is_empty() {
            wake_another(wake);
        }
        Searched::Found(index)
    }
}

/// There is more to do than this worker can take.
#[cold]
fn wake_another(wake: Wake<'_>) {
    wake.notify();
}

/// Looks for what a call is for, for so many ticks. A call that came meanwhile is heard afterwards.
fn look_as_called<T>(wake: Wake<'_>, ticks: u64, find: impl FnMut() -> Option<T>) -> Option<T> {
    let found = look(ticks, find);
    match found {
        Some(_) => wake.was_called(false),
        None => wake.was_called_in_vain(),
    }
    found
}

/// Looks until something is found, or so many ticks have passed.
fn look<T>(ticks_most: u64, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let start = ticks();
    // Wrapping: a clock that goes back ends it.
    while ticks().wrapping_sub(start) < ticks_most {
        std::hint::spin_loop();
        let found = find();
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A worker that was called ahead did not look at all if others had taken tasks while it slept.
    #[test]
    fn a_worker_that_was_called_is_not_spare_whatever_others_took_while_it_slept() {
        for (rest, has_front_moved, is_called, expected) in [
            (Rest::Slept, true, false, true),
            (Rest::Slept, true, true, false),
            (Rest::Slept, false, false, false),
            (Rest::Napped, true, false, false),
            (Rest::None, true, false, false),
        ] {
            assert_eq!(rest.was_in_vain(has_front_moved, is_called), expected);
        }
    }
}
