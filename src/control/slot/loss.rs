//! How a task ends without its worker: cancelled, taken from it, lost with it, overwritten.

use super::{
    DETACHED, DONE, DOOMED, DRAFT, FAILED, Finished, GENERATION_SHIFT, LOST, OWNER, OWNER_SHIFT,
    READY, RUNNING, STATE, Slot, WAITED, WATCHED, ending_of, generation_of, word_of,
};
use crate::sync::Ordering;

impl Slot {
    /// Parent: ends a queued task before a worker claims it. It is `Lost` then.
    pub(crate) fn cancel(&self, generation: u32) -> bool {
        let wanted = word_of(generation);
        self.lose(|word| word & STATE == READY && generation_of(word) == wanted).is_some()
    }

    /// Parent: condemns the worker that runs the task. True: the supervisor has to kill it, and
    /// only it: until its burial the slot says whom.
    pub(crate) fn doom(&self, generation: u32) -> bool {
        let wanted = word_of(generation);
        let running = |word| word & STATE == RUNNING && generation_of(word) == wanted;
        self.change(running, |word| word & !STATE | DOOMED).is_some()
    }

    /// Supervisor: the seat whose worker is condemned for this task.
    pub(crate) fn doomed(&self) -> Option<u16> {
        let word = self.word.load(Ordering::Acquire);
        (word & STATE == DOOMED).then_some(((word & OWNER) >> OWNER_SHIFT) as u16)
    }

    /// Supervisor: what the worker had to do that ended the task, if nobody has collected it yet.
    pub(crate) fn owed(&self, generation: u32) -> Finished {
        let word = self.word.load(Ordering::Acquire);
        let is_kept = generation_of(word) == word_of(generation) && ending_of(word).is_some();
        let has = |flag| is_kept && word & flag != 0;
        // A task that nobody holds may have left memory: see `Job::run`.
        Finished { wake: has(WAITED), ring: has(WATCHED | DETACHED), ..Finished::default() }
    }

    /// Supervisor: queues the task again that a dead worker was running, unless it was condemned
    /// for it; notes when that was, if somebody wants to know. The caller pushes its index. Returns
    /// its generation.
    pub(crate) fn requeue(&self, seat: u16, now_ns: Option<u64>) -> Option<u32> {
        let owned = RUNNING | u64::from(seat) << OWNER_SHIFT;
        let running = |word| word & (STATE | OWNER) == owned;
        if let Some(now_ns) = now_ns.filter(|_| running(self.word.load(Ordering::Acquire))) {
            self.stamp(now_ns);
        }
        self.change(running, |word| word & !(STATE | OWNER) | READY)
    }

    /// Supervisor: ends a queued task, whichever it is. Returns its generation.
    pub(crate) fn lose_queued(&self) -> Option<u32> {
        self.lose(|word| word & STATE == READY)
    }

    /// Supervisor: ends the task that a dead worker was running. Returns its generation.
    pub(crate) fn lose_running(&self, seat: u16) -> Option<u32> {
        let owner = u64::from(seat) << OWNER_SHIFT;
        self.lose(|word| matches!(word & STATE, RUNNING | DOOMED) && word & OWNER == owner)
    }

    /// Supervisor: ends the task of this generation if no protocol leaves such a word while it is
    /// posted and not collected, which a worker has overwritten then. `is_doomed`: the parent has
    /// condemned the worker that runs it. True: it was so.
    pub(crate) fn lose_overwritten(&self, generation: u32, seats: usize, is_doomed: bool) -> bool {
        let is_forged = |word| word & STATE == DOOMED && !is_doomed;
        let overwritten = |word| is_overwritten(word, generation, seats) || is_forged(word);
        self.change(overwritten, |_| word_of(generation) | LOST).is_some()
    }

    /// Supervisor: ends the task of this generation unless it has ended. True: it had not.
    pub(crate) fn lose_unended(&self, generation: u32) -> bool {
        let is_ended =
            |word| generation_of(word) == word_of(generation) && ending_of(word).is_some();
        self.change(|word| !is_ended(word), |_| word_of(generation) | LOST).is_some()
    }

    fn lose(&self, which: impl Fn(u64) -> bool) -> Option<u32> {
        self.change(which, |word| word & !STATE | LOST)
    }

    /// Changes a word that is as `which` says. Returns its generation.
    fn change(&self, which: impl Fn(u64) -> bool, to: impl Fn(u64) -> u64) -> Option<u32> {
        let mut word = self.word.load(Ordering::Acquire);
        while which(word) {
            let next = to(word);
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    step!(parent "slot.change");
                    return Some((word >> GENERATION_SHIFT) as u32);
                }
                Err(seen) => word = seen,
            }
        }
        None
    }
}

/// Tells whether no protocol leaves such a word while the task of this generation is posted and not
/// collected.
fn is_overwritten(word: u64, generation: u32, seats: usize) -> bool {
    if generation_of(word) != word_of(generation) {
        return true;
    }
    match word & STATE {
        RUNNING | DOOMED => (word & OWNER) >> OWNER_SHIFT >= seats as u64,
        // A draft is about to be published, or was: who holds the handle finds out.
        DRAFT | READY | DONE | FAILED | LOST => false,
        _ => true,
    }
}
