//! The desk's end of the ring: queued tasks go in, and what went wrong in it is put right.

use super::{Desk, Loss};
use crate::control::{Full, Notice, Phase, Roused};
use crate::sync::{Ordering, lock};

/// How often a ring is put in order for one push. In order, it has room for twice the slots; only
/// a worker that keeps on writing into it can use all of these up.
const MENDS_MAX: u32 = 64;
/// No slot has this index.
pub(super) const NOBODY: u32 = u32::MAX;

/// What is known of the worker that the latest task waits for, beside the slot if it had to be
/// woken: waking it took long; it was called ahead; its seat.
const FAR: u64 = 1 << 32;
const CALLED: u64 = 1 << 33;
const SEAT_SHIFT: u32 = 34;

impl Desk {
    /// Makes a queued slot known to the workers.
    pub(in crate::task) fn push(&self, index: u32, generation: u32) {
        if self.control.ring().push(index).is_err() {
            self.mend_or_spoil();
        }
        let latest = self.woken.load(Ordering::Relaxed);
        let is_called = latest & CALLED != 0;
        // One that was woken just before takes its time.
        let may_be_soon = is_called || latest as u32 == NOBODY;
        let is_taken = || {
            // One who was called may have been so quick that this could not rely on it.
            self.control.wake().has_called() && self.phase(index, generation) != Phase::Queued
                || may_be_soon && self.is_soon_taken(index, generation, is_called)
        };
        let notice = self.control.wake().notify_of(Some(index), is_taken);
        let woken = match notice {
            Notice::Woken(roused) => with_slot(roused, index),
            Notice::Called => CALLED | u64::from(NOBODY),
            Notice::Awake | Notice::Nobody => NOBODY.into(),
        };
        if self.woken.load(Ordering::Relaxed) != woken {
            self.woken.store(woken, Ordering::Relaxed);
        }
        // PAIRS vacant: either this sees that workers have left, or the supervisor sees the task.
        if notice == Notice::Nobody && self.vacant.load(Ordering::Relaxed) != 0 {
            self.call_for_worker(index, generation);
        }
    }

    /// Makes room in the ring, which puts the task into it, or ends the executor.
    #[cold]
    fn mend_or_spoil(&self) {
        if !self.mend_ring() {
            self.spoil();
        }
    }

    /// Names the worker that had to be woken for the task in this slot, if any, and if no other
    /// task was pushed since. A hint.
    pub(crate) fn woken_for(&self, index: u32) -> Option<Roused> {
        let woken = self.woken.load(Ordering::Relaxed);
        let (may_be_far, was_called) = (woken & FAR != 0, woken & CALLED != 0);
        let roused = Roused { seat: (woken >> SEAT_SHIFT) as u32, may_be_far, was_called };
        (woken as u32 == index).then_some(roused)
    }

    /// Tells whether a task waits in the slot for a worker.
    pub(super) fn is_queued(&self, index: usize) -> bool {
        let Some(slot) = self.control.slots().get(index) else { return false };
        self.ledger.posted(index).is_some_and(|posted| slot.phase(posted) == Phase::Queued)
    }

    /// Puts the ring in order: every queued task is in it once, in the order in which they were.
    /// False: somebody garbles it again and again.
    ///
    /// Stale and doubled ids go, which may have filled it, and queued tasks come back whose ids
    /// went with a dead worker or were overwritten.
    pub(super) fn mend_ring(&self) -> bool {
        let _alone = lock(&self.mending);
        (0..MENDS_MAX).any(|_| self.try_mend().is_ok())
    }

    /// Everything is taken out before anything goes back in: workers and other threads pop
    /// meanwhile, and who comes round to an id that he put back would take it for a double.
    fn try_mend(&self) -> Result<(), Full> {
        let (ring, wake) = (self.control.ring(), self.control.wake());
        let mut is_kept = vec![false; self.control.slots().len()];
        let mut kept = Vec::new();
        for _ in 0..ring.capacity() {
            let Some(index) = ring.pop() else { break };
            let queued = self.is_queued(index as usize);
            if queued && !std::mem::replace(&mut is_kept[index as usize], true) {
                kept.push(index);
            }
        }
        ring.reset();
        let others = (0..is_kept.len()).filter(|&index| !is_kept[index] && self.is_queued(index));
        for index in kept.into_iter().chain(others.map(|index| index as u32)) {
            ring.push(index)?;
            wake.notify();
        }
        Ok(())
    }

    /// Ends the executor: its workers cannot be given tasks any more.
    pub(super) fn spoil(&self) {
        let reason = "a worker keeps overwriting the control segment; build a new executor";
        self.spoiled.store(true, Ordering::SeqCst);
        self.give_up(Loss::Broken { reason: reason.into() });
        self.bell.ring_anyway();
    }

    /// Supervisor: tells whether the workers have to be ended.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::SeqCst)
    }
}

fn with_slot(Roused { seat, may_be_far, was_called }: Roused, index: u32) -> u64 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(may_be_far, FAR) | flag(was_called, CALLED);
    u64::from(seat) << SEAT_SHIFT | flags | u64::from(index)
}
