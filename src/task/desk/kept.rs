//! Outcomes of one slot's tasks that have made room for others, until their handles ask.
//!
//! Who submits a million tasks before the first is joined has nearly all of them here, so most take
//! two words: numbers and nothing at all, in the order in which the tasks were submitted.

use std::collections::VecDeque;

use super::super::outcome::Outcome;
use crate::archive::Body;

/// What is kept of one slot. The words first: they lie on the first line of the slot's entry.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In the order of their generations: whoever keeps an outcome holds the record's lock since
    /// before the slot was idle, and what is kept after it is of a later task.
    words: VecDeque<Word>,
    /// Of all other kinds, mostly in that order, too.
    others: VecDeque<(u32, Outcome)>,
}

/// The result of a task that came with the slot's word.
#[derive(Debug)]
struct Word {
    generation: u32,
    /// Of bytes that are in use. Not shorter, so that all of this is written by whole words, and
    /// can be read by them at once.
    len: u32,
    word: u64,
}

const _: () = assert!(size_of::<Word>() == 16);

impl Kept {
    /// Keeps an outcome until its handle asks.
    pub(super) fn keep(&mut self, generation: u32, outcome: Outcome) {
        match outcome {
            Outcome::Done(Body::Word { word, len }) => self.keep_word(generation, word, len),
            other => self.others.push_back((generation, other)),
        }
    }

    /// As [`Kept::keep`], the first `len` bytes of a word.
    #[inline]
    pub(super) fn keep_word(&mut self, generation: u32, word: u64, len: u8) {
        let is_later = |last: &Word| generation.wrapping_sub(last.generation) as i32 > 0;
        debug_assert!(self.words.back().is_none_or(is_later), "{generation} after a later one");
        self.words.push_back(Word { generation, len: len.into(), word });
    }

    /// Takes the outcome of one generation.
    pub(super) fn take(&mut self, generation: u32) -> Option<Outcome> {
        if let Some((word, len)) = self.take_next(generation) {
            return Some(Outcome::word(word, len));
        }
        // They wrap, so what they are compared by is how far they are from the first.
        let first = self.words.front().map_or(0, |first| first.generation);
        let distance = |word: &Word| word.generation.wrapping_sub(first);
        let at = self.words.binary_search_by_key(&generation.wrapping_sub(first), distance);
        let taken = match at.ok().and_then(|at| self.words.remove(at)) {
            Some(Word { word, len, .. }) => Some(Outcome::word(word, len as u8)),
            None => self.take_other(generation),
        };
        self.shrink();
        taken
    }

    /// As [`Kept::take`], a word and its length, if it is that of the next one: they are asked for
    /// mostly in order.
    #[inline]
    pub(super) fn take_next(&mut self, generation: u32) -> Option<(u64, u8)> {
        let Word { word, len, .. } = match self.words.front() {
            Some(first) if first.generation == generation => self.words.pop_front()?,
            _ => return None,
        };
        self.shrink();
        Some((word, len as u8))
    }

    fn take_other(&mut self, generation: u32) -> Option<Outcome> {
        let at = self.others.iter().position(|(g, _)| *g == generation)?;
        self.others.remove(at).map(|(_, outcome)| outcome)
    }

    /// Gives the memory back if nothing is kept: millions may have been, and never will be again.
    #[inline]
    fn shrink(&mut self) {
        if self.words.is_empty() && self.others.is_empty() {
            *self = Self::default();
        }
    }

    /// The address of the outcome that will be asked for next, or 0.
    pub(super) fn front(&self) -> usize {
        self.words.front().map_or(0, |word| std::ptr::from_ref(word).addr())
    }

    /// The address where the next outcome goes, mostly, or something near 0.
    pub(super) fn end(&self) -> usize {
        let last = self.words.back().map_or(0, |word| std::ptr::from_ref(word).addr());
        last + size_of::<Word>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::super::outcome::Loss;
    use super::*;

    const COUNT: u32 = 100;

    /// What the task of a generation has come to: every seventh is lost.
    fn outcome_of(generation: u32) -> Outcome {
        if generation.is_multiple_of(7) {
            return Outcome::lost(Loss::Cancelled);
        }
        Outcome::Done(Body::Word { word: u64::from(generation) << 8, len: 8 })
    }

    fn is_of(outcome: &Outcome, generation: u32) -> bool {
        match outcome {
            Outcome::Done(Body::Word { word, len: 8 }) => *word == u64::from(generation) << 8,
            Outcome::Lost(_) => generation.is_multiple_of(7),
            _ => false,
        }
    }

    #[test]
    fn each_outcome_is_found_once_in_whatever_order_they_are_asked_for() {
        // In order, the last one first, from the middle on, here and there.
        for (factor, summand) in [(1, 0), (COUNT - 1, COUNT - 1), (1, COUNT / 2), (37, 0)] {
            let order = |at| (at * factor + summand) % COUNT;
            // Generations wrap.
            for first in [0, 1000, u32::MAX - COUNT / 2] {
                let generation = |at: u32| first.wrapping_add(at);
                let mut kept = Kept::default();
                (0..COUNT).map(generation).for_each(|g| kept.keep(g, outcome_of(g)));
                assert!(kept.take(generation(COUNT)).is_none(), "{factor}");
                for wanted in (0..COUNT).map(order).map(generation) {
                    let taken = kept.take(wanted).expect("it was kept");
                    assert!(is_of(&taken, wanted), "{factor}, {wanted}");
                    assert!(kept.take(wanted).is_none(), "{factor}, {wanted}");
                }
                assert_eq!((kept.words.capacity(), kept.others.capacity()), (0, 0), "{factor}");
            }
        }
    }

    #[test]
    fn what_was_not_kept_is_not_found_among_others() {
        let mut kept = Kept::default();
        let is_kept = |generation: &u32| generation.is_multiple_of(3);
        (0..COUNT)
            .filter(is_kept)
            .for_each(|generation| kept.keep(generation, outcome_of(generation)));
        for wanted in (0..COUNT).rev() {
            let found = kept.take(wanted).map(|taken| is_of(&taken, wanted));
            assert_eq!(found, is_kept(&wanted).then_some(true), "{wanted}");
        }
    }

    #[test]
    fn what_is_kept_after_some_were_taken_is_found_too() {
        let mut kept = Kept::default();
        for generation in 0..COUNT {
            kept.keep(generation, outcome_of(generation));
            if let Some(wanted) = generation.checked_sub(10) {
                assert!(kept.take(wanted).is_some_and(|taken| is_of(&taken, wanted)), "{wanted}");
            }
        }
    }
}
