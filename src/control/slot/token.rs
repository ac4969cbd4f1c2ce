//! Tokens: holding one is the proof of what its holder may do with the slot.

use std::ops::Range;

use super::Arguments;
use super::{
    DETACHED, DONE, Ending, FAILED, FREE, Finished, GENERATION, GENERATION_SHIFT, OWNER,
    OWNER_SHIFT, READY, ResultPlace, STATE, Slot, Span, TIMED, WAITED, WATCHED, word_of,
};
use crate::control::INLINE_ARGS_WORDS;
use crate::sync::Ordering;

/// A slot that this thread of the parent is filling. Dropped unpublished, it is free again.
#[derive(Debug)]
pub(crate) struct Draft<'s> {
    slot: &'s Slot,
    generation: u32,
}

impl<'s> Draft<'s> {
    /// The caller has just made the slot a draft.
    pub(super) fn of(slot: &'s Slot, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The generation that the task will have.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Makes the task a batch of so many items.
    pub(crate) fn arrange(&self, items: u32) {
        self.slot.span().arrange(items);
    }

    /// Notes when the task is queued.
    pub(crate) fn stamp(&self, queued_at_ns: u64) {
        self.slot.stamp(queued_at_ns);
    }

    /// Writes the task and makes it claimable. The caller pushes the slot's index next.
    ///
    /// `len` bytes of arguments lie in `inline`, or at `offset` in the argument heap.
    pub(crate) fn publish(self, code: u64, offset: u64, len: u64, inline: &[u64]) {
        let slot = self.slot;
        slot.code.store(code, Ordering::Relaxed);
        step!(parent "publish.code");
        slot.args_offset.store(offset, Ordering::Relaxed);
        step!(parent "publish.offset");
        slot.args_len.store(len, Ordering::Relaxed);
        step!(parent "publish.len");
        for (cell, word) in slot.inline_args.iter().zip(inline) {
            cell.store(*word, Ordering::Relaxed);
            step!(parent "publish.word");
        }
        // PAIRS task-visible.
        slot.word.store(word_of(self.generation) | READY, Ordering::Release);
        step!(parent "publish.ready");
        std::mem::forget(self);
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.slot.word.store(word_of(self.generation) | FREE, Ordering::Release);
    }
}

/// A task that this worker has claimed. Dropped unfinished, it fails without an account.
#[derive(Debug)]
pub(crate) struct Running<'s> {
    slot: &'s Slot,
    /// The slot's word as the claim has left it.
    claimed: u64,
}

impl<'s> Running<'s> {
    /// The caller has just claimed the slot.
    pub(super) fn of(slot: &'s Slot, claimed: u64) -> Self {
        Self { slot, claimed }
    }

    /// Tells whether the supervisor wants to hear of the beginning.
    pub(crate) fn is_timed(&self) -> bool {
        self.claimed & TIMED != 0
    }

    pub(crate) fn code(&self) -> u64 {
        self.slot.code.load(Ordering::Relaxed)
    }

    /// Copies the place of the arguments, and the arguments if they are inline.
    pub(crate) fn arguments(&self, inline: &mut [u64; INLINE_ARGS_WORDS]) -> Arguments {
        let args = Arguments {
            offset: self.slot.args_offset.load(Ordering::Relaxed),
            len: self.slot.args_len.load(Ordering::Relaxed),
        };
        if args.is_inline() {
            let words = args.len.div_ceil(8) as usize;
            for (word, cell) in inline[..words].iter_mut().zip(&self.slot.inline_args) {
                *word = cell.load(Ordering::Relaxed);
            }
        }
        args
    }

    /// Tells whether nobody will read the result.
    pub(crate) fn is_detached(&self) -> bool {
        self.slot.word.load(Ordering::Relaxed) & DETACHED != 0
    }

    /// Tells whether the supervisor wants to hear of the end.
    pub(crate) fn is_watched(&self) -> bool {
        self.slot.word.load(Ordering::Relaxed) & WATCHED != 0
    }

    /// Hands the result over. If the task was taken from this worker, or the slot overwritten, it
    /// is left alone.
    pub(crate) fn finish(self, ending: Ending, place: &ResultPlace) -> Finished {
        const CLAIM: u64 = GENERATION | OWNER | STATE;
        let (slot, claimed) = (self.slot, self.claimed & CLAIM);
        std::mem::forget(self);
        let mut word = slot.word.load(Ordering::Relaxed);
        if word & CLAIM == claimed {
            slot.write_result(place);
        }
        let state = if ending == Ending::Done { DONE } else { FAILED };
        while word & CLAIM == claimed {
            let finished = word & !STATE | state;
            // PAIRS result-visible.
            match slot.word.compare_exchange_weak(
                word,
                finished,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    step!(worker "slot.finish");
                    return Finished {
                        wake: word & WAITED != 0,
                        ring: word & WATCHED != 0,
                        detached: word & DETACHED != 0,
                        doomed: false,
                    };
                }
                Err(seen) => word = seen,
            }
        }
        Finished { doomed: true, ..Finished::default() }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let again = Running { slot: self.slot, claimed: self.claimed };
        let failed = again.finish(Ending::Failed, &ResultPlace::default());
        if failed.wake {
            crate::sys::futex_wake(self.slot.futex(), u32::MAX);
        }
    }
}

/// A finished task's slot, held for reading. Dropped, it is free for the next generation.
#[derive(Debug)]
pub(crate) struct Collected<'s> {
    slot: &'s Slot,
    word: u64,
    ending: Ending,
}

impl<'s> Collected<'s> {
    /// The caller has just taken the finished slot, whose word was `word`.
    pub(super) fn of(slot: &'s Slot, word: u64, ending: Ending) -> Self {
        Self { slot, word, ending }
    }

    pub(crate) fn generation(&self) -> u32 {
        (self.word >> GENERATION_SHIFT) as u32
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    /// The worker that ran the task.
    pub(crate) fn owner(&self) -> u16 {
        ((self.word & OWNER) >> OWNER_SHIFT) as u16
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.word & DETACHED != 0
    }

    /// Tells whether a thread has announced that it sleeps on the slot.
    pub(crate) fn is_waited(&self) -> bool {
        self.word & WAITED != 0
    }

    /// What the task was at, if it is part of a loop. A claim.
    pub(crate) fn noted(&self) -> Range<u64> {
        self.slot.noted()
    }

    pub(crate) fn result(&self) -> ResultPlace {
        self.slot.read_result()
    }

    /// The words of a batch.
    pub(crate) fn span(&self) -> Span<'_> {
        self.slot.span()
    }
}

impl Drop for Collected<'_> {
    fn drop(&mut self) {
        self.slot.free(self.generation().wrapping_add(1));
    }
}
