//! The parent's operations on a control segment into which somebody writes anything.

use std::task::Waker;

use super::super::desk::{Desk, Unavailable};
use super::super::outcome::Loss;
use crate::archive::Encoded;
use crate::control::{Bell, Claim, Control, Ending, INLINE_ARGS_WORDS, ResultPlace};
use crate::error::Death;
use crate::memory::{Budget, Heap, Upkeep};
use crate::sync::{Arc, Ordering};
use crate::sys;

const SLOTS: u32 = 4;
const SEATS: u32 = 2;
const HEAP_BYTES: u64 = 1 << 20;
const HEAP_ID: u64 = 2;

/// A desk without processes: the input plays the workers.
struct Game {
    desk: Desk,
    control: Arc<Control>,
    handles: Vec<(u32, u32)>,
}

impl Game {
    fn new() -> Self {
        let control = Arc::new(Control::on_heap(SLOTS, SEATS));
        let bell = Arc::new(Bell::new(Arc::clone(&control)).expect("an eventfd"));
        let memory = sys::memfd("wharf-fuzzing", HEAP_BYTES).expect("a memfd");
        let budget = Budget::of_parent(Arc::clone(&control));
        let upkeep = Upkeep { retain_bytes: 0, huge_pages: false };
        let heap = Heap::new(memory, HEAP_BYTES, (HEAP_ID, HEAP_ID), budget, upkeep, None);
        let desk = Desk::new(Arc::clone(&control), Arc::new(heap.expect("a heap")), bell, 2);
        desk.set_workers(SEATS);
        Self { desk, control, handles: Vec::new() }
    }

    /// Parent: submits. A table of the parent's own making is full only of its own tasks.
    fn submit(&mut self) {
        match self.desk.try_draft() {
            Ok(draft) => {
                let (inline, is_lean) =
                    ([0; INLINE_ARGS_WORDS], self.handles.len().is_multiple_of(2));
                let key = self.desk.post(draft, 7, &inline, Encoded::default(), is_lean);
                self.handles.push(key);
            }
            Err(Unavailable::Full | Unavailable::Broken | Unavailable::Nested) => {}
        }
    }

    /// Worker: pops, claims, and perhaps finishes.
    fn work(&self, seat: u16, finishes: bool) {
        let Some(index) = self.control.ring().pop() else { return };
        let Some(slot) = self.control.slots().get(index as usize) else { return };
        let Claim::Run(running) = slot.claim(seat) else { return };
        if finishes {
            let place = ResultPlace { len: 8, ..ResultPlace::default() };
            let _ = running.finish(Ending::Done, &place);
        } else {
            std::mem::forget(running);
        }
    }

    /// A worker writes anything anywhere.
    fn scribble(&self, at: usize, word: u64) {
        let words = self.control.words();
        words[at % words.len()].store(word, Ordering::SeqCst);
    }

    /// A worker changes some bits of a slot's word, of the slot that a handle knows.
    fn flip(&self, which: usize, bits: u64) {
        if let Some(&(index, _)) = self.handles.get(which % self.handles.len().max(1)) {
            let words = self.control.words();
            let at = words.len() - (SLOTS - index) as usize * 32;
            words[at].fetch_xor(bits, Ordering::SeqCst);
        }
    }

    fn bury(&self, seat: usize) {
        let _ = self.desk.bury(seat, &Loss::Died { death: Death::Unknown, pid: 1 });
    }

    /// All workers have ended and none will come: every task has an outcome, and none has two.
    fn end(mut self) {
        (0..SEATS as usize).for_each(|seat| self.bury(seat));
        self.desk.give_up(Loss::Cancelled);
        self.desk.settle();
        for (index, generation) in self.handles.drain(..) {
            assert!(self.desk.try_outcome(index, generation).is_some(), "a task without an end");
        }
        assert_eq!(self.desk.count_queued(), 0);
        self.desk.keep_finished();
    }
}

/// Plays the input: a byte for the operation, and what it needs.
pub fn table(input: &[u8]) {
    let mut game = Game::new();
    let mut rest = input.iter().copied();
    let mut word =
        |bytes: u32| (0..bytes).fold(0, |w, _| w << 8 | u64::from(rest.next().unwrap_or(0)));
    for _ in 0..input.len().min(200) {
        let operation = word(1);
        match operation & 15 {
            0 | 1 => game.submit(),
            2 => game.work((operation >> 4) as u16 % 3, true),
            3 => game.work((operation >> 4) as u16 % 3, false),
            4 => game.scribble(word(2) as usize, word(8)),
            5 => game.flip(word(1) as usize, word(8)),
            6 => game.flip(word(1) as usize, word(1)),
            7 => {
                if let Some(&(index, generation)) = game.handles.last()
                    && game.desk.try_outcome(index, generation).is_some()
                {
                    game.handles.pop();
                }
            }
            8 => game.desk.keep_finished(),
            9 => game.desk.look_around(),
            10 => game.bury((operation >> 4) as usize % SEATS as usize),
            11 => game.handles.pop().map_or((), |(index, g)| game.desk.detach(index, g)),
            12 => {
                if let Some(&(index, generation)) = game.handles.first() {
                    game.desk.cancel(index, generation);
                    game.desk.watch(index, generation, Waker::noop());
                }
            }
            13 => game.desk.set_right(),
            14 => {
                let garbage = word(1) as u8;
                let words = game.control.words();
                words
                    .iter()
                    .for_each(|w| w.store(u64::from_ne_bytes([garbage; 8]), Ordering::SeqCst));
            }
            // Whatever the counts say, memory is admitted or refused.
            _ => {
                let budget = Budget::of_parent(Arc::clone(&game.control));
                if budget.take(word(8)).is_ok() {
                    budget.give_back(1);
                }
            }
        }
    }
    game.end();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::control::Phase;
    use crate::sync::{Arc, AtomicU32};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bursts of two tasks crept through the table by one slot each, and every eighth touched a
    /// page that the caller had to ask the kernel for, and then the worker, for 20 µs together.
    #[test]
    fn who_joins_all_tasks_before_it_submits_more_uses_the_same_slots_again() {
        let mut game = Game::new();
        for tasks in [1, 2, 3, 4, 2, 1] {
            (0..tasks).for_each(|_| game.submit());
            let slots: Vec<u32> = game.handles.iter().map(|&(index, _)| index).collect();
            assert_eq!(slots, (0..tasks).collect::<Vec<u32>>());
            (0..tasks).for_each(|_| game.work(0, true));
            for (index, generation) in game.handles.drain(..) {
                assert!(game.desk.try_outcome(index, generation).is_some());
            }
        }
        game.end();
    }

    /// Who was called had the task before the push could rely on that, and another was woken.
    #[test]
    fn nobody_is_woken_for_a_task_that_one_who_was_called_has_taken() {
        let mut game = Game::new();
        let control = Arc::clone(&game.control);
        let wake = control.wake();
        wake.sleep(0, None, || {
            wake.call_ahead(u32::MAX);
            false
        });
        assert!(wake.has_come(0) && wake.answer_call(0, None));
        wake.sleep(1, None, || {
            game.submit();
            assert_eq!(wake.awake(SEATS), SEATS, "the task is not taken");
            false
        });
        game.work(0, false);
        let (index, generation) = game.handles[0];
        wake.sleep(1, None, || {
            game.desk.push(index, generation);
            assert_eq!(wake.awake(SEATS), SEATS - 1, "it sleeps on");
            true
        });
        game.end();
    }

    /// The joining thread slept on such a slot, and no death woke it; nor the future.
    #[test]
    fn a_kept_outcome_is_found_though_a_worker_says_that_the_task_goes_on() {
        const RUNNING: u64 = 3;
        const READY: u64 = 2;
        const DONE: u64 = 4;
        for state in [READY, RUNNING] {
            let mut game = Game::new();
            let woken = Arc::new(Count::default());
            let waker = Waker::from(Arc::clone(&woken));
            game.submit();
            let (index, generation) = game.handles[0];
            assert!(game.desk.watch(index, generation, &waker));
            game.work(0, true);
            game.desk.keep_finished();
            // The slot says what it did, until the next task is written there.
            game.flip(0, DONE ^ state);
            let slot = &game.control.slots()[index as usize];
            assert!(matches!(slot.phase(generation), Phase::Queued | Phase::Running));
            assert_eq!(game.desk.phase(index, generation), Phase::Gone);
            game.desk.look_around();
            assert_eq!(woken.0.load(Ordering::Relaxed), 1, "who polled is told");
            assert!(!game.desk.watch(index, generation, &waker), "and need not wait any more");
            game.end();
        }
    }
}
