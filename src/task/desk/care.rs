//! The supervisor's side of the desk: what is done when the bell rings, a worker dies, or none will
//! come any more.

use super::{Desk, Loss, Watcher};
use crate::control::Phase;
use crate::memory::RemoteHeap;
use crate::sync::{Arc, Ordering, Weak, fence, lock};
use crate::sys::futex_wake;

impl Desk {
    /// Supervisor: looks after everything that is rung for.
    pub(crate) fn look_around(&self) {
        for (index, slot) in self.control.slots().iter().enumerate() {
            let mut record = lock(&self.records[index]);
            if let Some(collected) = slot.collect_detached() {
                drop(self.outcome_of(&mut record, &collected));
                drop(collected);
                self.control.gate().finished();
            }
        }
        let ended = |w: &mut Watcher| {
            let phase = self.control.slots()[w.index as usize].phase(w.generation);
            matches!(phase, Phase::Finished | Phase::Gone)
        };
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

    /// Any heap of this executor that a worker asks for by its number.
    pub(crate) fn find_heap(&self, id: u64) -> Option<Arc<RemoteHeap>> {
        lock(&self.known).iter().filter_map(Weak::upgrade).find(|heap| heap.id() == id)
    }

    /// Supervisor: settles everything that a dead worker leaves behind. Returns its heap, which
    /// lives as long as results in it are in use.
    pub(crate) fn bury(&self, seat: usize, loss: &Loss) -> Option<Arc<RemoteHeap>> {
        self.control.wake().forget(seat);
        let heap = lock(&self.heaps[seat]).clone();
        for (index, slot) in self.control.slots().iter().enumerate() {
            let mut record = lock(&self.records[index]);
            if let Some(generation) = slot.lose_running(seat as u16) {
                record.loss = Some((generation, loss.clone()));
            }
            drop(record);
            // The worker may have died between finishing a task and waking who waits for it. The
            // mark stays until the slot is collected.
            if slot.is_waited() {
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        // What it finished lies in its heap; from here on only these outcomes keep the heap. Who
        // was just reading one holds the record's lock, and has what it needs when the lock is
        // free.
        self.keep_finished();
        self.records.iter().for_each(|record| drop(lock(record)));
        if let Some(heap) = &heap {
            heap.retire();
        }
        *lock(&self.heaps[seat]) = None;
        self.control.seats()[seat].held_bytes.store(0, Ordering::SeqCst);
        // It may have marked the bell as rung and not rung it.
        self.bell.heard();
        self.look_around();
        self.control.gate().open();
        self.push_again();
        self.control.wake().wake_all();
        heap
    }

    /// Supervisor: no worker will come. Queued tasks are lost for this reason, new ones are
    /// refused.
    pub(crate) fn give_up(&self, loss: Loss) {
        let _ = self.end.set(loss);
        fence(Ordering::SeqCst);
        self.lose_queued();
        self.control.gate().finished();
    }

    /// Why no worker will come, if so.
    pub(crate) fn broken(&self) -> Option<Arc<str>> {
        if !self.control.is_here() {
            let reason = "this process is a fork of the one that built it; build one here";
            return Some(Arc::from(reason));
        }
        Some(match self.end.get()? {
            Loss::Broken { reason } => Arc::clone(reason),
            Loss::Cancelled | Loss::Died { .. } | Loss::Forked => Arc::from("it was killed"),
        })
    }

    /// Ends every queued task.
    pub(crate) fn lose_queued(&self) {
        for (slot, record) in self.control.slots().iter().zip(&self.records) {
            let mut record = lock(record);
            if let Some(generation) = slot.lose_queued() {
                let loss = self.end.get().cloned().unwrap_or(Loss::Cancelled);
                record.loss = Some((generation, loss));
                drop(record);
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        self.look_around();
        self.control.gate().finished();
    }
}
