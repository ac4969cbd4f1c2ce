//! Who sleeps, who searches, and waking exactly one sleeper for new work.
//!
//! Each worker has a bit in `sleeping` and one in `searching`. Bits and not counters: when a worker
//! dies, the supervisor clears its bits, and nothing else has to be put right.
//!
//! Who naps has neither: to producers it is at work. The bits of those are hints, and no wake-up
//! depends on them.

mod ahead;
mod habit;
mod nap;
mod whereabouts;

pub(crate) use ahead::Ahead;
pub(crate) use habit::Turn;
pub(crate) use nap::Nap;
pub(crate) use whereabouts::Whereabouts;

use std::time::Duration;

use super::layout::{Pillow, Seat};
use crate::sync::{AtomicU64, Ordering, fence, fence_after_swap};
use crate::sys::{TICKS_A_US, futex_wait, futex_wake, ticks};

/// 64 workers a word.
pub(crate) const BED_WORDS: usize = 16;

/// A wake-up that takes whoever calls for longer than this, by the processor's clock, may have
/// called a core out of its sleep, for which a virtual machine asks its host: from 6.5 µs on were
/// measured on one machine, 13 to 30 on another. One on the caller's own core takes 2 to 4, but up
/// to 15 where caches are cold, so what counts then is where the worker fell asleep. Where no host
/// is asked, all are short.
const FAR_TICKS: u64 = 4 * TICKS_A_US;

/// What `park` says: its worker sleeps or is about to, or was woken.
const ASLEEP: u32 = 0;
const NOTIFIED: u32 = 1;

/// In `called_at`: the call has not ended.
pub(super) const CALLING: u64 = 1;

/// The bits of 64 workers. The first two are read at every push, so they share a cache line.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Bed {
    sleeping: AtomicU64,
    searching: AtomicU64,
    napping: AtomicU64,
    /// Of all who take tasks, awake or not. Only a nap asks.
    serving: AtomicU64,
}

/// Who was there when work was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A worker that searches, or has taken the work by now. None was woken.
    Awake,
    /// One that was called ahead, and looks.
    Called,
    /// One that slept, and is on its way.
    Woken(Roused),
    /// All are at work, or there are none.
    Nobody,
}

/// A worker that was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roused {
    pub(crate) seat: u32,
    /// That took long: it may be on another core than who woke it.
    pub(crate) may_be_far: bool,
    /// A call ahead has woken it, a while ago.
    pub(crate) was_called: bool,
}

/// The protocol, over words that lie elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake<'c> {
    beds: &'c [Bed],
    seats: &'c [Seat],
    ahead: &'c Ahead,
}

impl<'c> Wake<'c> {
    pub(crate) fn over(beds: &'c [Bed], seats: &'c [Seat], ahead: &'c Ahead) -> Self {
        assert!(seats.len() <= beds.len() * 64);
        Self { beds: &beds[..seats.len().div_ceil(64)], seats, ahead }
    }

    /// Producer: called after work was pushed. Wakes a sleeper unless somebody searches already.
    pub(crate) fn notify(&self) -> Notice {
        self.notify_of(None, || false)
    }

    /// As [`Wake::notify`], after a task of this index was pushed: somebody may have been called
    /// for it. Asks, before it wakes a sleeper, whether it is taken.
    pub(crate) fn notify_of(&self, index: Option<u32>, is_taken: impl FnOnce() -> bool) -> Notice {
        // PAIRS sleep: either this sees the sleeper's bit, or the sleeper sees the pushed work.
        // PAIRS search: either this sees the searcher's bit gone, or the searcher sees the work.
        fence_after_swap();
        if self.anyone_searches() {
            return Notice::Awake;
        }
        if let Some(notice) = index.and_then(|index| self.rely_on_called(index)) {
            return notice;
        }
        if self.anyone_sleeps() && is_taken() {
            return Notice::Awake;
        }
        let Some(roused) = self.wake_any() else { return Notice::Nobody };
        if index.is_some() {
            self.note_woken();
        }
        Notice::Woken(roused)
    }

    /// Producer: tells whether a worker is awake and looking for work.
    pub(crate) fn anyone_searches(&self) -> bool {
        self.beds.iter().any(|bed| bed.searching.load(Ordering::Relaxed) != 0)
    }

    fn anyone_sleeps(&self) -> bool {
        self.beds.iter().any(|bed| bed.sleeping.load(Ordering::Relaxed) != 0)
    }

    /// How many workers are awake: running a task, searching, or starting.
    pub(crate) fn awake(&self, workers: u32) -> u32 {
        let at_rest =
            |bed: &Bed| bed.sleeping.load(Ordering::Relaxed) | bed.napping.load(Ordering::Relaxed);
        let at_rest: u32 = self.beds.iter().map(|bed| at_rest(bed).count_ones()).sum();
        workers.saturating_sub(at_rest)
    }

    /// Tells whether another worker than that of the seat runs a task, or looks for one.
    pub(crate) fn is_any_other_awake(&self, seat: usize) -> bool {
        self.beds.iter().enumerate().any(|(word, bed)| {
            let own = if word == seat / 64 { 1 << (seat % 64) } else { 0 };
            let at_rest =
                bed.sleeping.load(Ordering::Relaxed) | bed.napping.load(Ordering::Relaxed);
            bed.serving.load(Ordering::Relaxed) & !(at_rest | own) != 0
        })
    }

    /// Wakes the worker of a seat if it sleeps.
    pub(crate) fn wake_seat(&self, seat: usize) {
        let bit = 1 << (seat % 64);
        // PAIRS sleep: either this sees the sleeper's bit, or the sleeper sees what was left for
        // it.
        fence(Ordering::SeqCst);
        if self.beds[seat / 64].sleeping.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
            step!(parent "wake.seat.bit");
            self.shake(seat);
        }
    }

    /// Wakes one sleeper, never one that was woken already. False: nobody sleeps.
    pub(crate) fn wake_one(&self) -> bool {
        self.wake_any().is_some()
    }

    /// As [`Wake::wake_one`].
    fn wake_any(&self) -> Option<Roused> {
        for (word, bed) in self.beds.iter().enumerate() {
            let mut sleeping = bed.sleeping.load(Ordering::Relaxed);
            while sleeping != 0 {
                let bit = sleeping & sleeping.wrapping_neg();
                let before = bed.sleeping.fetch_and(!bit, Ordering::AcqRel);
                step!(both "wake.one.bit");
                let seat = word * 64 + bit.trailing_zeros() as usize;
                // Only a worker gone wild sets a bit without a seat.
                if before & bit != 0 && seat < self.seats.len() {
                    return Some(self.shake(seat));
                }
                sleeping = before & !bit;
            }
        }
        None
    }

    /// Wakes every worker, whatever the bits say: for shutting down, and after a death. A worker
    /// that died while it was waking another may have taken that one's bit and done no more.
    ///
    /// Takes all bits away first, since a bit that nobody stands behind keeps wake-ups from others.
    /// Who sleeps sets its bit again after it was woken; who searches is not seen until it sleeps,
    /// and producers wake one too many.
    pub(crate) fn wake_all(&self) {
        for bed in self.beds {
            bed.searching.store(0, Ordering::SeqCst);
            step!(parent "wake.all.searching");
            bed.sleeping.store(0, Ordering::SeqCst);
            step!(parent "wake.all.sleeping");
            bed.napping.store(0, Ordering::Relaxed);
        }
        self.forget_called();
        fence(Ordering::SeqCst);
        for seat in 0..self.seats.len() {
            self.shake(seat);
        }
    }

    /// Worker: starts to search, unless `searchers_max` others do. False: do not spin.
    pub(crate) fn search(&self, seat: usize, searchers_max: u32) -> bool {
        let searchers: u32 =
            self.beds.iter().map(|bed| bed.searching.load(Ordering::Relaxed).count_ones()).sum();
        if searchers >= searchers_max {
            return false;
        }
        self.beds[seat / 64].searching.fetch_or(1 << (seat % 64), Ordering::SeqCst);
        step!(worker "search.bit");
        true
    }

    /// Worker: stops searching, because it has found work or is going to sleep.
    ///
    /// The caller looks at the ring once more afterwards: a producer may have relied on the bit.
    pub(crate) fn found(&self, seat: usize) {
        self.beds[seat / 64].searching.fetch_and(!(1 << (seat % 64)), Ordering::SeqCst);
        step!(worker "search.end");
        // PAIRS search.
        fence_after_swap();
    }

    /// Worker: sleeps until it is notified, unless `has_work` finds something at the last moment.
    /// False: nobody has notified this worker; `timeout` may have passed.
    ///
    /// Who is going to leave then looks for work once more: what was pushed before the bit was
    /// taken away is seen, and who pushes later sees that the bit is gone.
    pub(crate) fn sleep(
        &self,
        seat: usize,
        timeout: Option<Duration>,
        has_work: impl FnOnce() -> bool,
    ) -> bool {
        let (bed, bit) = (&self.beds[seat / 64], 1 << (seat % 64));
        let Pillow { park, sleeper, .. } = &*self.seats[seat].pillow;
        park.store(ASLEEP, Ordering::Relaxed);
        step!(worker "sleep.park");
        // PAIRS notified: whoever clears the bit sees `park` armed.
        bed.sleeping.fetch_or(bit, Ordering::SeqCst);
        step!(worker "sleep.bit");
        // PAIRS sleep.
        fence_after_swap();
        let found = has_work();
        if !found {
            step!(worker "sleep.looked");
            sleeper.tell();
            futex_wait(park, ASLEEP, timeout);
            step!(worker "sleep.woken");
        }
        // Still set after a signal or at the last moment: no notifier has chosen this worker.
        let was_chosen = bed.sleeping.fetch_and(!bit, Ordering::SeqCst) & bit == 0;
        step!(worker "sleep.end");
        // PAIRS sleep.
        fence_after_swap();
        found || was_chosen
    }

    /// Worker: tells whether who woke it was put aside for it, in the middle of that call, on the
    /// same core as far as is known, and goes on when this one sleeps.
    pub(crate) fn keeps_waker_aside(&self, seat: usize) -> bool {
        let Pillow { called_at, waker, .. } = &*self.seats[seat].pillow;
        called_at.load(Ordering::Relaxed) & CALLING != 0 && waker.is_here() != Some(false)
    }

    /// Worker: tells whether who woke it called from another core, and asks for the next time. The
    /// first answer after some time may be an old one.
    pub(crate) fn is_waker_elsewhere(&self, seat: usize) -> bool {
        self.seats[seat].pillow.waker.is_here() == Some(false)
    }

    /// Worker: how long ago it was woken last, in ticks.
    pub(crate) fn called_before(&self, seat: usize, now: u64) -> u64 {
        now.saturating_sub(self.seats[seat].pillow.called_at.load(Ordering::Relaxed))
    }

    /// Supervisor: takes a dead worker's bits away. A wake-up that it had been given is lost; the
    /// caller pushes all queued work again.
    pub(crate) fn forget(&self, seat: usize) {
        let (bed, mask) = (&self.beds[seat / 64], !(1 << (seat % 64)));
        bed.sleeping.fetch_and(mask, Ordering::SeqCst);
        step!(parent "forget.sleeping");
        bed.searching.fetch_and(mask, Ordering::SeqCst);
        step!(parent "forget.searching");
        bed.napping.fetch_and(mask, Ordering::Relaxed);
        bed.serving.fetch_and(mask, Ordering::Relaxed);
        step!(parent "forget.hints");
    }

    /// Wakes whoever sits there.
    fn shake(&self, seat: usize) -> Roused {
        let Pillow { park, called_at, waker, .. } = &*self.seats[seat].pillow;
        // PAIRS notified.
        park.store(NOTIFIED, Ordering::Release);
        step!(both "shake.park");
        waker.tell();
        let start = ticks();
        called_at.store(start | CALLING, Ordering::Relaxed);
        futex_wake(park, 1);
        let took = ticks().saturating_sub(start);
        called_at.store(start & !CALLING, Ordering::Relaxed);
        step!(both "shake.woken");
        Roused { seat: seat as u32, may_be_far: took > FAR_TICKS, was_called: false }
    }

    /// Tells whether a worker that was woken is on another core: that took long, and it fell asleep
    /// on another one. Where it may be, asks it to say where it falls asleep next.
    ///
    /// Worth asking while the worker has not come: one that was put on the caller's core, in the
    /// middle of the call, has made that long, too.
    pub(crate) fn is_far(&self, roused: Roused) -> bool {
        let seat = self.seats.get(roused.seat as usize);
        roused.may_be_far && seat.is_some_and(|seat| seat.pillow.sleeper.is_here() == Some(false))
    }
}
