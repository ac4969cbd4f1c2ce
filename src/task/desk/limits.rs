//! What a caller wants of a task besides its result: an end by a deadline, an end now, another try.

use std::time::{Duration, Instant};

use super::{Desk, Loss, Watcher};
use crate::control::Phase;
use crate::sync::{Ordering, lock};
use crate::sys::futex_wake;

/// A task whose run is to end within a time.
#[derive(Debug)]
pub(super) struct Timed {
    index: u32,
    generation: u32,
    limit: Duration,
    /// When the supervisor heard that it runs.
    started: Option<Instant>,
    /// When to look whether it runs, should the worker not say so: it may have been stopped just
    /// before. Each look doubles the pause to the next.
    look_at: Instant,
    pause: Duration,
}

impl Timed {
    /// When to look next. `None`: the time is over.
    fn next_look(&mut self, phase: Phase, now: Instant) -> Option<Instant> {
        if phase == Phase::Queued {
            self.started = None;
            if now >= self.look_at {
                self.pause = self.pause.saturating_mul(2);
                self.look_at = later(now, self.pause);
            }
            return Some(self.look_at);
        }
        let due = later(*self.started.get_or_insert(now), self.limit);
        (now < due).then_some(due)
    }
}

/// `pause` after `now`; a hundred years are as good as for ever.
fn later(now: Instant, pause: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + pause.min(FOR_EVER)
}

impl Desk {
    /// Takes a queued task back, or condemns the worker that runs it. False: its end is decided.
    pub(crate) fn cancel(&self, index: u32, generation: u32) -> bool {
        let slot = &self.control.slots()[index as usize];
        loop {
            if self.cancel_queued(index, generation)
                || self.doom(index, generation, Loss::Cancelled)
            {
                return true;
            }
            // A task goes from one to the other when it begins, and back when it is tried again.
            let over = matches!(slot.phase(generation), Phase::Finished | Phase::Gone);
            if over || slot.doomed().is_some() {
                return false;
            }
        }
    }

    pub(super) fn cancel_queued(&self, index: u32, generation: u32) -> bool {
        let slot = &self.control.slots()[index as usize];
        let mut record = lock(&self.records[index as usize]);
        if !slot.cancel(generation) {
            return false;
        }
        record.mark().loss = Some(Box::new((generation, Loss::Cancelled)));
        drop(record);
        step!(parent "cancel.recorded");
        futex_wake(slot.futex(), u32::MAX);
        self.control.gate().finished();
        // No worker rings for this end: whoever polled the handle would never be woken.
        let same = |w: &mut Watcher| w.index == index && w.generation == generation;
        let watcher: Vec<Watcher> = lock(&self.watchers).extract_if(.., same).collect();
        watcher.into_iter().for_each(Watcher::wake);
        true
    }

    /// Condemns the worker that runs the task. The supervisor kills it; its burial ends the task.
    fn doom(&self, index: u32, generation: u32, loss: Loss) -> bool {
        let slot = &self.control.slots()[index as usize];
        let mut record = lock(&self.records[index as usize]);
        if !slot.doom(generation) {
            return false;
        }
        // The burial waits for the record's lock before it looks for a reason.
        record.mark().loss = Some(Box::new((generation, loss)));
        drop(record);
        step!(parent "doom.recorded");
        self.condemned.store(1, Ordering::SeqCst);
        self.bell.ring_anyway();
        true
    }

    /// Supervisor: the seats whose workers are condemned. Each is killed, unless it has left.
    pub(crate) fn condemned(&self) -> Vec<usize> {
        if self.condemned.swap(0, Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        (0..self.records.len()).filter_map(|index| self.doomed(index)).collect()
    }

    /// Tells whether a seat's worker was condemned.
    pub(crate) fn is_condemned(&self, seat: usize) -> bool {
        (0..self.records.len()).any(|index| self.doomed(index) == Some(seat))
    }

    /// The seat whose worker is condemned for the task in a slot. The slot alone is a claim: who
    /// condemned the worker has left the reason in the record.
    fn doomed(&self, index: usize) -> Option<usize> {
        self.ledger.posted(index)?;
        let seat = self.control.slots()[index].doomed()?;
        let record = lock(&self.records[index]);
        let (generation, _) = record.loss()?;
        (self.ledger.posted(index) == Some(*generation)).then_some(seat.into())
    }

    /// Lets a task that is about to be posted run again, so often, when its worker dies.
    pub(crate) fn allow_retries(&self, index: u32, retries: u32) {
        lock(&self.records[index as usize]).mark().retries = retries;
        self.ledger.mark(index as usize);
    }

    /// Limits how long a task may run. The time counts from its start; from now if it runs already.
    pub(crate) fn set_deadline(&self, index: u32, generation: u32, limit: Duration) {
        if self.has_caller() {
            // It has ended, and there is no supervisor to take it off the list.
            return;
        }
        let look_at = later(Instant::now(), limit);
        let timed = Timed { index, generation, limit, started: None, look_at, pause: limit };
        let mut all = lock(&self.timed);
        all.retain(|t| t.index != index || t.generation != generation);
        all.push(timed);
        drop(all);
        // After it is on the list: the worker's ring finds it there. Who has ended needs no mark.
        let _ = self.control.slots()[index as usize].time_mark(generation);
        self.bell.ring_anyway();
    }

    /// Supervisor: condemns tasks whose time is over. Returns how long until the next look, and
    /// whether a task waits for longer than it may run.
    pub(crate) fn check_deadlines(&self) -> (Option<Duration>, bool) {
        let now = Instant::now();
        let (mut next, mut over, mut waits_long) = (None::<Instant>, Vec::new(), false);
        let mut ended = Vec::new();
        lock(&self.timed).retain_mut(|timed| {
            let slot = &self.control.slots()[timed.index as usize];
            let phase = slot.phase(timed.generation);
            if matches!(phase, Phase::Finished | Phase::Gone) {
                ended.push((timed.index, timed.generation));
                return false;
            }
            waits_long |= phase == Phase::Queued && now >= timed.look_at;
            let look = timed.next_look(phase, now);
            match look {
                Some(look) => next = Some(next.map_or(look, |at| at.min(look))),
                None => over.push((timed.index, timed.generation, timed.limit)),
            }
            look.is_some()
        });
        for (index, generation, limit) in over {
            self.doom(index, generation, Loss::Deadline { limit });
        }
        self.see_ended(&ended);
        (next.map(|at| at.saturating_duration_since(now)), waits_long)
    }

    /// Supervisor: tells of the ends of tasks once more. A worker that was stopped just when it had
    /// ended one has told nobody.
    fn see_ended(&self, ended: &[(u32, u32)]) {
        for &(index, generation) in ended {
            let slot = &self.control.slots()[index as usize];
            let owed = slot.owed(generation);
            if owed.wake {
                futex_wake(slot.futex(), u32::MAX);
            }
            // Whoever has made room in the slot has woken who slept on it, and nobody else. The
            // worker may also have marked the bell as rung, and that keeps others from ringing.
            if owed.ring || self.ledger.posted(index as usize) != Some(generation) {
                self.bell.ring_anyway();
            }
        }
        if !ended.is_empty() {
            self.control.gate().open();
        }
    }

    /// Supervisor: tells whether a seat's worker runs a task.
    pub(crate) fn runs_task(&self, seat: usize) -> bool {
        let slots = self.control.slots().iter().enumerate();
        slots.into_iter().any(|(index, slot)| {
            let Some(posted) = self.ledger.posted(index) else { return false };
            slot.phase(posted) == Phase::Running
                && slot.runner(posted).map(usize::from) == Some(seat)
        })
    }

    /// Supervisor: a task is queued again, so its time starts anew.
    pub(super) fn restart_time(&self, index: u32, generation: u32) {
        let mut all = lock(&self.timed);
        let timed = all.iter_mut().find(|t| t.index == index && t.generation == generation);
        if let Some(timed) = timed {
            timed.started = None;
        }
    }
}
