//! Models of the protocols: loom runs every interleaving, and every value that a load may see.
//!
//! Run by `tools/loom.sh`. A sleeper that nobody wakes is a deadlock, which loom reports. In
//! `deaths` a worker is killed before each of its accesses in turn.

mod deaths;
mod leaving;
mod loops;
mod sleeping;
mod span;
mod stretches;

use loom::model::Builder;
use loom::thread;

use super::INLINE_ARGS_WORDS;
use super::gate::Gate;
use super::layout::Seat;
use super::release::Releases;
use super::ring::{Front, Reader, Ring};
use super::slot::{Claim, Ending, Phase, ResultPlace, Slot};
use super::wake::{Ahead, Bed, Wake};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use crate::sys::{futex_wait, futex_wake};

/// Preemptions of one execution where two threads meet. `LOOM_MAX_PREEMPTIONS` overrides this and
/// the other bounds.
const MANY: usize = 3;
/// As `MANY`, where whole workers meet.
const SOME: usize = 2;
/// As `MANY`, where a model is checked once for each instant of a death.
const FEW: usize = 1;

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// What a control segment holds, with as little of everything as a model can have.
struct Table {
    cells: Vec<AtomicU64>,
    front: Front,
    tail: AtomicU64,
    beds: [Bed; 1],
    ahead: Ahead,
    seats: Vec<Seat>,
    slots: Vec<Slot>,
    gate: Gate,
    closing: AtomicU32,
}

impl Table {
    fn new(slots: usize, seats: usize) -> Arc<Self> {
        Arc::new(Self {
            cells: (0..slots * 2).map(|_| AtomicU64::default()).collect(),
            front: Front::default(),
            tail: AtomicU64::default(),
            beds: [Bed::default()],
            ahead: Ahead::default(),
            seats: (0..seats).map(|_| Seat::default()).collect(),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            gate: Gate::default(),
            closing: AtomicU32::default(),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring::over(&self.cells, &self.front, &self.tail)
    }

    fn wake(&self) -> Wake<'_> {
        Wake::over(&self.beds, &self.seats, &self.ahead)
    }

    /// Parent: as `Desk::post`.
    fn post(&self, index: usize) {
        let draft = self.slots[index].draft().expect("the slot is free");
        draft.publish(7, 0, 200, &[]);
        self.push(index);
    }

    fn push(&self, index: usize) {
        self.ring().push(index as u32).expect("twice as many cells as slots");
        self.wake().notify_of(Some(index as u32), || false);
    }

    /// Parent: as `Desk::wait`, without spinning.
    fn join(&self, index: usize) -> Ending {
        let slot = &self.slots[index];
        while let Ok(word) = slot.wait_mark(0) {
            futex_wait(slot.futex(), word, None);
        }
        slot.collect(0).expect("nobody else collects").ending()
    }

    /// Worker: as `Worker::next`, with one look at the ring in place of spinning.
    fn next(&self, seat: usize) -> Option<u32> {
        let (ring, wake) = (self.ring(), self.wake());
        let closing = || self.closing.load(Ordering::SeqCst) != 0;
        let mut reader = Reader::default();
        let first = ring.pop_near(&mut reader);
        if first.is_some() {
            return first;
        }
        let found_one = |found, reader: &Reader| {
            if !wake.answer_call(seat, found) && found.is_some() && !ring.is_empty_near(reader) {
                wake.notify();
            }
            found
        };
        loop {
            if wake.has_come(seat) {
                let found = found_one(ring.pop_near(&mut reader), &reader);
                if found.is_some() {
                    return found;
                }
            }
            if closing() && ring.is_empty() {
                return None;
            }
            let searches = wake.search(seat, 1);
            let mut found = searches.then(|| ring.pop_near(&mut reader)).flatten();
            if searches {
                wake.found(seat);
            }
            if found.is_none() {
                if !searches || ring.is_empty() {
                    wake.sleep(seat, None, || !ring.is_empty_near(&reader) || closing());
                }
                found = ring.pop_near(&mut reader);
            }
            if found.is_some() {
                return found_one(found, &reader);
            }
        }
    }

    /// Worker: as `Job::run`. False: the claim was stale.
    fn run(&self, seat: usize, index: u32) -> bool {
        let slot = &self.slots[index as usize];
        let Claim::Run(running) = slot.claim(seat as u16) else { return false };
        let args = running.arguments(&mut [0; INLINE_ARGS_WORDS]);
        assert_eq!((running.code(), args.len), (7, 200), "the draft is visible");
        let place = ResultPlace { heap: 9, len: 11, ..ResultPlace::default() };
        if running.finish(Ending::Done, &place).wake {
            futex_wake(slot.futex(), u32::MAX);
        }
        self.gate.finished();
        true
    }

    fn work(&self, seat: usize) {
        while let Some(index) = self.next(seat) {
            self.run(seat, index);
        }
    }

    /// Parent: as the supervisor does it.
    fn close(&self) {
        self.closing.swap(1, Ordering::SeqCst);
        self.wake().wake_all();
    }

    /// Parent: as `Desk::keep_finished`.
    fn keep(&self, index: usize) {
        let slot = &self.slots[index];
        let Some(collected) = slot.collect_any() else { return };
        let waited = collected.is_waited();
        drop(collected);
        if waited {
            futex_wake(slot.futex(), u32::MAX);
        }
    }

    /// Parent: what `Desk::bury` does with the words of the segment.
    fn bury(&self, seat: usize) {
        self.wake().forget(seat);
        for slot in &self.slots {
            let _ = slot.lose_running(seat as u16);
            if slot.is_waited() {
                futex_wake(slot.futex(), u32::MAX);
            }
        }
        self.gate.open();
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.is_queued() {
                self.ring().push(index as u32).expect("twice as many cells as slots");
                self.wake().notify();
            }
        }
        self.wake().wake_all();
    }
}

/// Pops until `count` ids have come.
fn drain(table: &Table, count: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match table.ring().pop() {
            Some(id) => ids.push(id),
            None => thread::yield_now(),
        }
    }
    ids
}

#[test]
fn what_two_push_comes_out_once() {
    check(MANY, || {
        let table = Table::new(1, 1);
        let others = [1, 2].map(|id| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.ring().push(id).expect("two cells"))
        });
        let mut ids = drain(&table, 2);
        others.into_iter().for_each(|other| other.join().expect("pusher"));
        ids.sort_unstable();
        assert_eq!((ids, table.ring().pop()), (vec![1, 2], None));
    });
}

/// A popper that saw a hint, but not yet the cell that it led to, took the older cell for a popped
/// one and moved the hint past it: what was pushed there next was never popped.
#[test]
fn what_one_pushes_two_pop_once_and_no_cell_is_passed_over() {
    check(MANY, || {
        let table = Table::new(1, 1);
        (1..=2).for_each(|id| table.ring().push(id).expect("two cells"));
        let others = [2, 1].map(|pops| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let mut reader = Reader::default();
                (0..pops).filter_map(|_| table.ring().pop_near(&mut reader)).collect::<Vec<u32>>()
            })
        });
        let mut ids: Vec<u32> =
            others.into_iter().flat_map(|o| o.join().expect("popper")).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
        table.ring().push(3).expect("an empty ring");
        assert_eq!((table.ring().pop(), table.ring().pop()), (Some(3), None));
    });
}

#[test]
fn a_full_ring_takes_another_lap_while_it_is_popped() {
    check(MANY, || {
        let table = Table::new(1, 1);
        (1..=2).for_each(|id| table.ring().push(id).expect("two cells"));
        let pusher = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                while table.ring().push(3).is_err() {
                    thread::yield_now();
                }
            })
        };
        assert_eq!(drain(&table, 3), [1, 2, 3]);
        pusher.join().expect("pusher");
    });
}

#[test]
fn a_task_is_claimed_or_cancelled() {
    check(MANY, || {
        let table = Table::new(1, 1);
        table.post(0);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.run(0, 0))
        };
        let cancelled = table.slots[0].cancel(0);
        let ran = worker.join().expect("worker");
        assert_ne!(ran, cancelled);
        let wanted = if ran { Ending::Done } else { Ending::Lost };
        assert_eq!(table.slots[0].collect(0).expect("ended").ending(), wanted);
    });
}

#[test]
fn two_workers_claim_a_doubled_id_once_and_two_takers_collect_it_once() {
    check(MANY, || {
        let table = Table::new(1, 2);
        table.post(0);
        let others = [0, 1].map(|seat| {
            let table = Arc::clone(&table);
            thread::spawn(move || (table.run(seat, 0), table.slots[0].collect(0).is_some()))
        });
        let others = others.map(|other| other.join().expect("worker"));
        assert_eq!(others.iter().filter(|(ran, _)| *ran).count(), 1);
        let late = table.slots[0].collect_any().is_some();
        let collected = others.iter().filter(|(_, collected)| *collected).count();
        assert_eq!(collected + usize::from(late), 1);
        assert_eq!(table.slots[0].phase(0), Phase::Gone);
    });
}

#[test]
fn a_waiter_does_not_sleep_past_the_end_and_sees_the_result() {
    check(MANY, || {
        let table = Table::new(1, 1);
        table.post(0);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.run(0, 0))
        };
        let slot = &table.slots[0];
        while let Ok(word) = slot.wait_mark(0) {
            futex_wait(slot.futex(), word, None);
        }
        let place = slot.collect(0).expect("nobody else collects").result();
        assert_eq!((place.heap, place.len), (9, 11), "the result is visible");
        // The next task's writer comes after that reader.
        assert_eq!(slot.draft().expect("free").generation(), 1);
        worker.join().expect("worker");
    });
}

#[test]
fn a_submitter_does_not_sleep_past_the_slot_that_ends() {
    check(MANY, || {
        let table = Table::new(1, 1);
        table.post(0);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.run(0, 0))
        };
        submit_late(&table);
        worker.join().expect("worker");
    });
}

/// Parent: as `Desk::draft`, with a table whose only slot is taken.
fn submit_late(table: &Table) {
    while !table.slots[0].is_free_or_finished() {
        let round = table.gate.announce();
        if !table.slots[0].is_free_or_finished() {
            table.gate.sleep(round);
        }
    }
}

/// The mark was taken away with a store, which does not see what came before the ring that it
/// spared.
#[test]
fn a_ring_that_comes_while_the_supervisor_turns_to_look_is_seen() {
    check(MANY, || {
        let (gate, ended) = (Arc::new(Gate::default()), Arc::new(AtomicU64::default()));
        assert!(gate.must_ring());
        let ringer = {
            let (gate, ended) = (Arc::clone(&gate), Arc::clone(&ended));
            thread::spawn(move || {
                ended.store(1, Ordering::Release);
                gate.must_ring()
            })
        };
        gate.heard();
        let seen = ended.load(Ordering::Acquire) == 1;
        assert!(ringer.join().expect("ringer") || seen);
    });
}

#[test]
fn released_blocks_arrive_in_order_through_a_ring_that_is_too_small() {
    check(MANY, || {
        let cells = Arc::new([AtomicU64::default(), AtomicU64::default()]);
        let parent = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                let mut tail = 0;
                for offset in [0, 64, 128] {
                    while !Releases::over(&cells[..]).push(&mut tail, offset) {
                        thread::yield_now();
                    }
                }
            })
        };
        let (mut head, mut taken) = (0, Vec::new());
        while taken.len() < 3 {
            match Releases::over(&cells[..]).pop(&mut head) {
                Some(offset) => taken.push(offset),
                None => thread::yield_now(),
            }
        }
        assert_eq!(taken, [0, 64, 128]);
        parent.join().expect("parent");
    });
}
