//! What the parent knows of each slot by itself, whatever workers write into the table.
//!
//! An entry says whether the slot is idle, being filled, or holds a task that nobody has collected,
//! of which generation that is, whether memory is given back when it has ended, and whether anybody
//! will ask for its result. Who may fill a slot is decided here, and so a table full of nonsense is
//! a full table for nobody.

use crate::sync::{AtomicU64, Ordering};

const IDLE: u64 = 0;
const DRAFTED: u64 = 1;
const POSTED: u64 = 2;
/// Posted, and somebody collects it or puts it right.
const HELD: u64 = 3;
const STATE: u64 = 3;
const MARKED: u64 = 1 << 2;
const HEAVY: u64 = 1 << 3;
const USED: u64 = 1 << 4;
const LEAN: u64 = 1 << 5;
const GONE: u64 = 1 << 6;
const GENERATION_SHIFT: u32 = 32;

/// An entry for each slot: bits 0..=1 the state, 2 set if the record knows more of the task, 3 the
/// weight, 4 set once the slot was used, 5 set if the result holds no memory either, 6 set if the
/// handle of such a task is gone, 32..=63 the generation.
#[derive(Debug)]
pub(super) struct Ledger(Box<[AtomicU64]>);

/// Whether the end of a task gives memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nor will its result hold any: it is a number, or nothing.
    Lean,
    Light,
    Heavy,
}

impl Ledger {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(IDLE)).collect())
    }

    /// Takes a slot that is idle. Returns the generation of the task that will be posted to it.
    #[inline]
    pub(super) fn take(&self, index: usize) -> Option<u32> {
        let word = &self.0[index];
        let seen = word.load(Ordering::Relaxed);
        if seen & STATE != IDLE {
            return None;
        }
        // PAIRS slot-free: what the last collector read was read before this task writes.
        word.compare_exchange(seen, seen | DRAFTED, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(generation_of(seen))
    }

    /// The first of the idle slots that lie in a row before this one, of so many at most. A hint.
    pub(super) fn first_idle_before(&self, index: usize, most: usize) -> usize {
        let is_idle = |word: &&AtomicU64| word.load(Ordering::Relaxed) & STATE == IDLE;
        index - self.0[..index].iter().rev().take(most).take_while(is_idle).count()
    }

    /// The caller has taken the slot, and gives it back as it was.
    pub(super) fn put_back(&self, index: usize, generation: u32) {
        // PAIRS slot-free.
        self.0[index].store(word_of(generation, IDLE), Ordering::Release);
    }

    /// The caller has taken the slot, and is about to make its task ready: from then on others may
    /// collect it and say so here.
    #[inline]
    pub(super) fn post(&self, index: usize, generation: u32, weight: Weight) {
        let word = &self.0[index];
        let marked = word.load(Ordering::Relaxed) & MARKED;
        let state = match weight {
            Weight::Lean => POSTED | LEAN,
            Weight::Light => POSTED,
            Weight::Heavy => POSTED | HEAVY | MARKED,
        };
        // PAIRS ledger-posted: who holds the task sees the slot as it was drafted, or newer.
        word.store(word_of(generation, state | marked), Ordering::Release);
    }

    /// Says that the record knows more of the task that is about to be posted. The caller has taken
    /// the slot.
    pub(super) fn mark(&self, index: usize) {
        self.0[index].fetch_or(MARKED, Ordering::Relaxed);
    }

    /// The generation of the task that was posted to the slot and is not collected yet.
    pub(super) fn posted(&self, index: usize) -> Option<u32> {
        let word = self.0.get(index)?.load(Ordering::Acquire);
        (word & STATE >= POSTED).then_some(generation_of(word))
    }

    /// Takes the task that was posted to the slot and is not collected yet. The caller holds the
    /// record's lock.
    pub(super) fn hold(&self, index: usize) -> Option<Hold<'_>> {
        let word = &self.0[index];
        let posted = word.load(Ordering::Relaxed);
        if posted & STATE != POSTED {
            return None;
        }
        // PAIRS ledger-posted.
        word.compare_exchange(posted, posted | HELD, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Hold { word, posted })
    }

    /// As [`Ledger::hold`], a task of this generation.
    pub(super) fn hold_only(&self, index: usize, generation: u32) -> Option<Hold<'_>> {
        self.hold(index).filter(|held| held.generation() == generation)
    }

    /// Says that a task was collected that has ended, without the lock, if it is the one that was
    /// posted and the record knows nothing of it: what the caller has read of the slot is its
    /// outcome then, and the slot is idle. True: nobody will ask for it. `Gate::finished_by_swap`
    /// may follow.
    #[inline]
    pub(super) fn collect_plain(&self, index: usize, generation: u32) -> Option<bool> {
        let word = &self.0[index];
        let posted = word.load(Ordering::Relaxed);
        if posted & !(LEAN | GONE) != word_of(generation, POSTED) {
            return None;
        }
        let next = word_of(generation.wrapping_add(1), IDLE);
        // PAIRS ledger-posted, slot-free: what was read was read before the next task writes.
        word.compare_exchange(posted, next, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(posted & GONE != 0)
    }

    /// Says that nobody will ask what became of the task. False: it is not said here of this one,
    /// or somebody is about to collect it.
    #[inline]
    pub(super) fn abandon(&self, index: usize, generation: u32) -> bool {
        let posted = word_of(generation, POSTED | LEAN);
        let word = &self.0[index];
        word.compare_exchange(posted, posted | GONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Has who drops the handle look at the slot. False: it was dropped before.
    pub(super) fn keep_from_abandoning(&self, index: usize, generation: u32) -> bool {
        let posted = word_of(generation, POSTED | LEAN);
        let word = &self.0[index];
        let light = posted & !LEAN;
        let change = word.compare_exchange(posted, light, Ordering::Relaxed, Ordering::Relaxed);
        change.map_or_else(|seen| seen & GONE == 0, |_| true)
    }

    /// Tells whether nobody will ask for the task that was posted to the slot last.
    pub(super) fn is_abandoned(&self, index: usize) -> bool {
        self.0[index].load(Ordering::Relaxed) & GONE != 0
    }

    /// Tells whether a slot was ever taken. Where not, nobody has read an outcome under its
    /// record's lock.
    pub(super) fn is_used(&self, index: usize) -> bool {
        self.0[index].load(Ordering::Acquire) != IDLE
    }

    /// Whether memory is given back when the task has ended that was posted to the slot last.
    pub(super) fn weight(&self, index: usize) -> Weight {
        let word = self.0[index].load(Ordering::Relaxed);
        match word & (HEAVY | LEAN) {
            0 => Weight::Light,
            LEAN => Weight::Lean,
            _ => Weight::Heavy,
        }
    }
}

/// A posted task that nobody else collects or puts right. Dropped, it is posted as before.
#[must_use]
#[derive(Debug)]
pub(super) struct Hold<'l> {
    word: &'l AtomicU64,
    posted: u64,
}

impl Hold<'_> {
    pub(super) fn generation(&self) -> u32 {
        generation_of(self.posted)
    }

    /// Nobody will ask for the task.
    pub(super) fn is_abandoned(&self) -> bool {
        self.posted & GONE != 0
    }

    /// The task was collected, its slot is free. A swap: `Gate::finished_by_swap` may follow.
    #[inline]
    pub(super) fn collected(self) {
        let next = word_of(self.generation().wrapping_add(1), IDLE);
        // PAIRS slot-free.
        self.word.swap(next, Ordering::AcqRel);
        std::mem::forget(self);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.word.store(self.posted, Ordering::Release);
    }
}

fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

fn word_of(generation: u32, state: u64) -> u64 {
    u64::from(generation) << GENERATION_SHIFT | USED | state
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Posts the next task to slot 0.
    fn post(ledger: &Ledger, weight: Weight, is_marked: bool) -> u32 {
        let generation = ledger.take(0).expect("idle");
        if is_marked {
            ledger.mark(0);
        }
        ledger.post(0, generation, weight);
        generation
    }

    #[test]
    fn one_at_a_time_holds_a_posted_task_and_without_the_lock_only_a_plain_one() {
        let ledger = Ledger::new(1);
        assert!(
            ledger.hold(0).is_none() && ledger.collect_plain(0, 0).is_none() && !ledger.is_used(0)
        );
        let rows = [
            (Weight::Lean, false),
            (Weight::Lean, true),
            (Weight::Light, false),
            (Weight::Light, true),
            (Weight::Heavy, false),
            (Weight::Heavy, true),
        ];
        for (weight, is_marked) in rows.into_iter().cycle().take(18) {
            let generation = post(&ledger, weight, is_marked);
            assert!(ledger.is_used(0) && ledger.take(0).is_none());
            assert_eq!((ledger.posted(0), ledger.weight(0)), (Some(generation), weight));
            assert!(ledger.collect_plain(0, generation.wrapping_add(1)).is_none());
            assert!(ledger.hold_only(0, generation.wrapping_sub(1)).is_none());
            let held = ledger.hold_only(0, generation).expect("whoever held it has put it back");
            assert_eq!((held.generation(), ledger.posted(0)), (generation, Some(generation)));
            assert!(ledger.hold(0).is_none() && ledger.collect_plain(0, generation).is_none());
            let is_plain = weight != Weight::Heavy && !is_marked;
            if is_plain {
                drop(held);
                assert_eq!(ledger.collect_plain(0, generation), Some(false));
            } else {
                held.collected();
            }
            assert!(ledger.posted(0).is_none() && ledger.hold(0).is_none());
        }
    }

    #[test]
    fn only_a_lean_task_of_which_the_record_knows_nothing_is_abandoned_here() {
        let ledger = Ledger::new(1);
        for (weight, is_marked, is_lean) in [
            (Weight::Lean, false, true),
            (Weight::Lean, true, false),
            (Weight::Light, false, false),
            (Weight::Heavy, false, false),
        ] {
            let generation = post(&ledger, weight, is_marked);
            assert!(!ledger.abandon(0, generation.wrapping_add(1)));
            let held = ledger.hold(0).expect("it is posted");
            assert!(!held.is_abandoned() && !ledger.abandon(0, generation), "somebody collects it");
            drop(held);
            assert_eq!(ledger.abandon(0, generation), is_lean);
            assert_eq!(ledger.keep_from_abandoning(0, generation), !is_lean);
            assert_eq!(ledger.is_abandoned(0), is_lean);
            assert!(!ledger.abandon(0, generation), "once");
            assert_eq!((ledger.posted(0), ledger.weight(0)), (Some(generation), weight));
            let held = ledger.hold(0).expect("it is posted");
            assert_eq!(held.is_abandoned(), is_lean);
            drop(held);
            let collected = ledger.collect_plain(0, generation);
            assert_eq!(collected, (weight != Weight::Heavy && !is_marked).then_some(is_lean));
            if collected.is_none() {
                ledger.hold(0).expect("it is posted").collected();
            }
            assert!(!ledger.is_abandoned(0) && !ledger.abandon(0, generation));
        }
        let generation = post(&ledger, Weight::Lean, false);
        assert!(ledger.keep_from_abandoning(0, generation) && !ledger.abandon(0, generation));
        assert_eq!(ledger.collect_plain(0, generation), Some(false));
    }

    #[test]
    fn idle_slots_in_a_row_end_at_one_in_use_or_after_so_many() {
        let ledger = Ledger::new(8);
        assert_eq!(ledger.take(2), Some(0));
        for (index, most, expected) in
            [(0, 8, 0), (1, 8, 0), (2, 8, 0), (3, 8, 3), (8, 8, 3), (8, 2, 6), (8, 0, 8)]
        {
            assert_eq!(ledger.first_idle_before(index, most), expected, "{index} {most}");
        }
        ledger.put_back(2, 0);
        assert_eq!(ledger.first_idle_before(8, 8), 0);
    }

    #[test]
    fn a_slot_that_is_put_back_has_the_same_generation_and_no_mark() {
        let ledger = Ledger::new(1);
        for _ in 0..3 {
            assert_eq!(ledger.take(0), Some(0));
            ledger.mark(0);
            ledger.put_back(0, 0);
        }
        assert_eq!(post(&ledger, Weight::Light, false), 0);
        assert!(ledger.collect_plain(0, 0).is_some() && ledger.take(0) == Some(1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::control::{Claim, Ending, ResultPlace, Slot};
    use crate::sync::Arc;

    /// Who joins takes the task without a lock while another thread makes room: one of them gets
    /// it, whole, and who fills the slot next sees that both are done with it.
    #[test]
    fn a_task_is_collected_once_by_who_joins_it_or_by_who_makes_room() {
        loom::model(|| {
            let (ledger, slot) = (Arc::new(Ledger::new(1)), Arc::new(Slot::default()));
            let generation = ledger.take(0).expect("idle");
            let draft = slot.draft_as(generation);
            ledger.post(0, generation, Weight::Light);
            draft.publish(7, 0, 0, &[]);
            let Claim::Run(running) = slot.claim(1) else { panic!("it is queued") };
            let place = ResultPlace { len: 8, inline: [9; 8], ..ResultPlace::default() };
            let _ = running.finish(Ending::Done, &place);
            let joins = {
                let (ledger, slot) = (Arc::clone(&ledger), Arc::clone(&slot));
                thread::spawn(move || {
                    let plain = slot.plain(generation)?;
                    ledger.collect_plain(0, generation)?;
                    Some((plain.word, plain.len))
                })
            };
            let makes_room = || {
                let held = ledger.hold_only(0, generation)?;
                let collected = slot.ended(generation)?;
                let word = (collected.result().inline[0], collected.result().len as u8);
                drop(collected);
                held.collected();
                Some(word)
            };
            let kept = makes_room();
            if let Some(next) = ledger.take(0) {
                assert_eq!(next, generation + 1);
                let draft = slot.draft_as(next);
                ledger.post(0, next, Weight::Light);
                draft.publish(8, 0, 0, &[]);
                assert!(slot.is_queued());
            }
            let joined = joins.join().expect("joins");
            assert_eq!(joined.xor(kept), Some((9, 8)));
        });
    }
}
