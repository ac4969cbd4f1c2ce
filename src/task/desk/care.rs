//! The supervisor's side of the desk: what is done when the bell rings, a worker dies, or none will
//! come any more.

use super::{Desk, Loss, OVERWRITTEN, Record, Watcher};
use crate::control::{Phase, Slot};
use crate::memory::RemoteHeap;
use crate::sync::{Arc, Ordering, Weak, fence, lock};
use crate::sys::futex_wake;

impl Desk {
    /// Supervisor: looks after everything that is rung for.
    pub(crate) fn look_around(&self) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            let Some(generation) = self.ledger.posted(index) else { continue };
            if slot.phase(generation) != Phase::Finished {
                continue;
            }
            let mut record = lock(&self.records[index]);
            // Who drops its handle from now on looks at the slot: what was rung for is seen here,
            // or there.
            let is_kept = self.ledger.keep_from_abandoning(index, generation);
            let ended = if is_kept { Slot::ended_detached } else { Slot::ended };
            let taken = self.take(index, generation, &mut record, ended);
            drop(record);
            if taken.is_some() {
                self.control.gate().finished();
            }
        }
        let ended = |w: &mut Watcher| w.any_ring || self.has_ended(w.index, w.generation);
        let ended: Vec<Watcher> = lock(&self.watchers).extract_if(.., ended).collect();
        ended.into_iter().for_each(Watcher::wake);
        for heap in &self.heaps {
            if let Some(heap) = lock(heap).clone() {
                heap.flush();
            }
        }
        self.heap.trim();
    }

    /// Supervisor: seats a new worker's heap.
    pub(crate) fn seat_heap(&self, seat: usize, heap: Arc<RemoteHeap>) {
        let mut known = lock(&self.known);
        known.retain(|heap| heap.strong_count() > 0);
        known.push(Arc::downgrade(&heap));
        *lock(&self.heaps[seat]) = Some(heap);
    }

    /// Supervisor: the heap of a seat, if there is one.
    pub(crate) fn seated_heap(&self, seat: usize) -> Option<Arc<RemoteHeap>> {
        lock(&self.heaps[seat]).clone()
    }

    /// Any heap of this executor that a worker asks for by its number.
    pub(crate) fn find_heap(&self, id: u64) -> Option<Arc<RemoteHeap>> {
        lock(&self.known).iter().filter_map(Weak::upgrade).find(|heap| heap.id() == id)
    }

    /// Supervisor: settles everything that a dead worker leaves behind. Its heap lives as long as
    /// results in it are in use. True: it was running a task.
    pub(crate) fn bury(&self, seat: usize, loss: &Loss) -> bool {
        self.control.wake().forget(seat);
        step!(parent "bury.forgotten");
        let heap = lock(&self.heaps[seat]).clone();
        let mut was_running = false;
        for index in 0..self.records.len() {
            was_running |= self.lose_running(index, seat as u16, loss);
        }
        step!(parent "bury.lost");
        self.restore_slots();
        step!(parent "bury.restored");
        // What it finished lies in its heap; from here on only these outcomes keep the heap. Who
        // was just reading one holds the record's lock, and has what it needs when the lock is
        // free; who reads a plain one, without the lock, needs no heap.
        self.keep_finished();
        let used = (0..self.records.len()).filter(|&index| self.ledger.is_used(index));
        used.for_each(|index| drop(lock(&self.records[index])));
        // That of a thread is there for the next thread on the seat.
        if self.control.inner_depth().is_none() {
            if let Some(heap) = &heap {
                heap.retire();
            }
            step!(parent "bury.retired");
            *lock(&self.heaps[seat]) = None;
            self.control.seats()[seat].held_bytes.store(0, Ordering::SeqCst);
            step!(parent "bury.uncounted");
        }
        // It may have marked the bell as rung and not rung it.
        self.bell.heard();
        self.look_around();
        self.control.gate().open();
        if !self.mend_ring() {
            self.spoil();
        }
        step!(parent "bury.mended");
        self.control.wake().wake_all();
        was_running
    }

    /// Ends the task that a dead worker was running, or queues it again if it may be retried.
    ///
    /// The ledger is asked first: a table that was hardly used is not to be read for each death.
    fn lose_running(&self, index: usize, seat: u16, loss: &Loss) -> bool {
        if self.ledger.posted(index).is_none() {
            return false;
        }
        let slot = &self.control.slots()[index];
        let mut record = lock(&self.records[index]);
        if record.retries() > 0
            && self.end.get().is_none()
            && let Some(generation) = slot.requeue(seat, self.queued_at_ns())
        {
            record.mark().retries -= 1;
            drop(record);
            self.restart_time(index as u32, generation);
            return true;
        }
        let Some(generation) = slot.lose_running(seat) else { return false };
        // Of another generation, the word was forged, and the record would keep the reason for a
        // task to come. Who condemned the worker has left the reason already.
        let is_posted = self.ledger.posted(index) == Some(generation);
        if is_posted && record.loss().is_none_or(|(of, _)| *of != generation) {
            record.mark().loss = Some(Box::new((generation, loss.clone())));
        }
        true
    }

    /// Supervisor: so many workers have left for want of work. Who pushes a task rings then.
    pub(crate) fn set_vacant(&self, seats: u32) {
        self.vacant.store(seats, Ordering::SeqCst);
        // PAIRS vacant.
        fence(Ordering::SeqCst);
    }

    /// Supervisor: ends tasks whose slots were overwritten, and wakes who waits for a task.
    ///
    /// All of them, whatever the marks say: a worker may have died between finishing a task and
    /// waking who waits for it, or have overwritten the mark.
    fn restore_slots(&self) {
        let seats = self.control.seats().len();
        self.end_overwritten(|slot, generation, record| {
            // Whom the parent has condemned, it knows why.
            let is_doomed = matches!(record.loss(), Some((of, _)) if *of == generation);
            slot.lose_overwritten(generation, seats, is_doomed)
        });
    }

    /// Ends posted tasks as `end` does, which says whether it has, and wakes who sleeps on any slot
    /// that was ever used: a handle whose outcome was kept may have been led to believe that its
    /// task still runs.
    fn end_overwritten(&self, end: impl Fn(&Slot, u32, &Record) -> bool) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            if !self.ledger.is_used(index) {
                continue;
            }
            let mut record = lock(&self.records[index]);
            // Nobody collects between the look and the change. Who does so now has no need of us.
            if let Some(held) = self.ledger.hold(index)
                && end(slot, held.generation(), &record)
            {
                record.mark().loss =
                    Some(Box::new((held.generation(), Loss::Garbled(OVERWRITTEN))));
            }
            drop(record);
            // PAIRS sleepers. Mostly nobody sleeps, and a call for each slot that was ever used
            // would take longer than all else.
            fence(Ordering::SeqCst);
            if self.sleepers.load(Ordering::SeqCst) != 0 {
                futex_wake(slot.futex(), u32::MAX);
            }
        }
    }

    /// Supervisor: puts right what can be told from the parent's own memory.
    pub(crate) fn set_right(&self) {
        self.restore_slots();
        self.bell.heard();
        self.look_around();
        self.control.gate().open();
        if !self.mend_ring() {
            self.spoil();
        }
    }

    /// Supervisor: no worker is left, and none will come. Whatever has not ended was overwritten.
    pub(crate) fn settle(&self) {
        self.end_overwritten(|slot, generation, _| slot.lose_unended(generation));
        self.look_around();
        self.control.gate().open();
    }

    /// Supervisor: no worker will come. Queued tasks are lost for this reason, new ones are
    /// refused.
    pub(crate) fn give_up(&self, loss: Loss) {
        let _ = self.end.set(loss);
        fence(Ordering::SeqCst);
        self.lose_queued();
        self.control.gate().finished();
    }

    /// Tells whether no worker will come.
    pub(crate) fn is_broken(&self) -> bool {
        !self.control.is_here() || self.end.get().is_some()
    }

    /// Why no worker will come, if so.
    pub(crate) fn reason(&self) -> String {
        if !self.control.is_here() {
            return "this process is a fork of the one that built it; build one here".to_owned();
        }
        match self.end.get() {
            Some(Loss::Broken { reason }) => reason.to_string(),
            _ => "it was killed".to_owned(),
        }
    }

    /// Ends every queued task.
    #[cold]
    pub(crate) fn lose_queued(&self) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            let mut record = lock(&self.records[index]);
            if let Some(generation) = slot.lose_queued() {
                // As in `lose_running`.
                if self.ledger.posted(index) == Some(generation) {
                    let loss = self.end.get().cloned().unwrap_or(Loss::Cancelled);
                    record.mark().loss = Some(Box::new((generation, loss)));
                }
                drop(record);
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        self.look_around();
        self.control.gate().finished();
    }
}
