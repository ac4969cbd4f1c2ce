//! What is done while there is nothing to take: looking, cutting up what has not begun, asking to
//! be told.

use std::task::Waker;

use super::parts::{Course, Part, Posted, Run};
use crate::control::Phase;
use crate::sync::Arc;

impl Course {
    /// Tells whether there is something to take. Looks no further than it has to.
    pub(super) fn is_ready(&mut self) -> bool {
        let most = if self.unordered { self.parts.len() } else { self.parts.len().min(1) };
        for part in self.parts.iter().take(most) {
            let Part::Posted(run, posted) = part else {
                if matches!(part, Part::Waiting(_)) {
                    continue;
                }
                return true;
            };
            if posted.batch.read_count() >= run.count {
                return true;
            }
            match self.desk.phase(posted.index, posted.generation) {
                // The ring is in order: what comes behind is queued, too.
                Phase::Queued => return false,
                Phase::Running => {
                    self.desk.open_batch(posted.index, posted.generation, &posted.batch);
                    if posted.batch.is_ready() {
                        return true;
                    }
                }
                Phase::Finished | Phase::Gone => return true,
            }
        }
        false
    }

    /// Gives away what has not begun of batches that run, if workers have nothing else to do.
    pub(super) fn cut(&mut self) {
        let phase = |part: &Part| match part {
            Part::Posted(_, posted) => self.desk.phase(posted.index, posted.generation),
            _ => Phase::Gone,
        };
        let (mut running, mut queued) = (0, self.waiting);
        for part in &self.parts {
            running += u64::from(phase(part) == Phase::Running);
            queued += usize::from(phase(part) == Phase::Queued);
            if queued > 0 || running >= self.workers() {
                return;
            }
        }
        let pieces = 2 * self.workers() as u32;
        let mut at = 0;
        while at < self.parts.len() {
            if let Some(rest) = self.cut_one(at) {
                let piece = rest.count.div_ceil(pieces).max(1);
                for start in (0..rest.count).step_by(piece as usize) {
                    let count = piece.min(rest.count - start);
                    let items = Arc::clone(&rest.items);
                    at += 1;
                    let run = Run { items, first: rest.first + start, count };
                    self.parts.insert(at, Part::Waiting(run));
                    self.waiting += 1;
                }
            }
            at += 1;
        }
        self.post_waiting();
    }

    fn cut_one(&mut self, at: usize) -> Option<Run> {
        let Part::Posted(run, posted) = &mut self.parts[at] else { return None };
        let limit = self.desk.cut(posted.index, posted.generation)?.min(run.count);
        let (first, count) = (run.first + limit, run.count - limit);
        run.count = limit;
        Some(Run { items: Arc::clone(&run.items), first, count })
    }

    /// Asks the workers to tell of the next item that ends, where it could be taken then, and of
    /// the batch that begins next. False: it has begun.
    pub(super) fn hasten(&self) -> bool {
        for (at, posted, phase) in self.begun() {
            if phase == Phase::Running && (self.unordered || at == 0) {
                self.desk.hasten(posted.index, posted.generation);
            }
            if phase == Phase::Queued && !self.desk.mark_start(posted.index, posted.generation) {
                return false;
            }
        }
        true
    }

    /// The batches that run, and the first that is queued: the ring is in order, and so what is
    /// queued behind that one begins later.
    fn begun(&self) -> impl Iterator<Item = (usize, &Posted, Phase)> {
        let posted = self.parts.iter().enumerate().filter_map(|(at, part)| match part {
            Part::Posted(_, posted) => Some((at, posted)),
            _ => None,
        });
        let with_phase = posted
            .map(|(at, posted)| (at, posted, self.desk.phase(posted.index, posted.generation)));
        let mut queued = false;
        with_phase
            .filter(|(.., phase)| matches!(phase, Phase::Running | Phase::Queued))
            .take_while(move |(.., phase)| !std::mem::replace(&mut queued, *phase == Phase::Queued))
    }

    /// Wakes `waker` when there may be something to take, or to give to an idle worker. False:
    /// there may be already.
    pub(super) fn watch(&self, waker: &Waker) -> bool {
        self.begun().all(|(_, Posted { index, generation, .. }, phase)| {
            // What begins after its mark is heard of; what began before is looked at once more, and
            // so is what is queued behind it.
            self.desk.watch_items(*index, *generation, waker)
                && (phase != Phase::Queued || self.desk.mark_start(*index, *generation))
        })
    }

    /// Takes back what has not begun, and leaves the rest to itself.
    fn abandon(&mut self) {
        if !self.desk.control().is_here() {
            return;
        }
        for part in self.parts.drain(..) {
            if let Part::Posted(_, posted) = part {
                self.desk.abandon(posted.index, posted.generation);
            }
        }
        for posted in self.ending.drain(..) {
            self.desk.abandon(posted.index, posted.generation);
        }
        self.waiting = 0;
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.abandon();
    }
}
