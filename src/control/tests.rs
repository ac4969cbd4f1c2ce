//! The protocols on the heap: the same code as in a segment, with threads for the processes.
//!
//! `tools/miri.sh` runs these under Miri where it is installed, `loom_tests.rs` models them.

mod ahead;
mod ring;
mod slot;
mod wake;

use std::collections::{BTreeSet, VecDeque};
use std::thread;
use std::time::Duration;

use super::slot::{Claim, Ending, ResultPlace, Slot};
use super::{Control, INLINE_ARGS_WORDS, INLINE_RESULT_WORDS, Nap, Reader};
use crate::sync::Ordering;
use crate::sys::{futex_wait, futex_wake};

/// Rounds of a test with threads: few where each access is interpreted.
const ROUNDS: u32 = if cfg!(miri) { 40 } else { 20_000 };

/// How long a worker naps that does.
const NAP: Duration = Duration::from_micros(20);

/// An inline result of one word.
fn result(word: u64) -> ResultPlace {
    let mut inline = [0; INLINE_RESULT_WORDS];
    inline[0] = word;
    ResultPlace { len: 8, inline, ..ResultPlace::default() }
}

/// Two workers and `tasks` tasks in `slots` slots; each worker sleeps whenever it finds nothing, or
/// naps first, as long as another takes tasks.
fn check(slots: u32, tasks: u64, searchers_max: u32, naps: bool) {
    let control = Control::on_heap(slots, 2);
    let closing = &control.header().closing;
    let work = |seat: usize| {
        let (ring, wake) = (control.ring(), control.wake());
        let closing = || closing.load(Ordering::SeqCst) != 0;
        let mut reader = Reader::default();
        wake.enter(seat);
        while !(closing() && ring.is_empty()) {
            let mut index = ring.pop_near(&mut reader);
            if index.is_none() && wake.search(seat, searchers_max) {
                index = ring.pop_near(&mut reader);
                wake.found(seat);
            }
            let Some(index) = index else {
                if naps && wake.nap(seat, NAP, closing) != Nap::None {
                    continue;
                }
                wake.sleep(seat, None, || !ring.is_empty_near(&reader) || closing());
                continue;
            };
            if !ring.is_empty_near(&reader) {
                wake.notify();
            }
            let slot = &control.slots()[index as usize];
            let Claim::Run(running) = slot.claim(seat as u16) else { panic!("a stale id") };
            let mut inline = [0; INLINE_ARGS_WORDS];
            running.arguments(&mut inline);
            let word = inline[0];
            if running.finish(Ending::Done, &result(word + 1)).wake {
                futex_wake(slot.futex(), u32::MAX);
            }
            control.gate().finished();
        }
    };
    let collect = |slot: &Slot, generation| {
        while let Ok(word) = slot.wait_mark(generation) {
            futex_wait(slot.futex(), word, None);
        }
        slot.collect(generation).expect("nobody else collects").result().inline[0]
    };
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        (0..2).for_each(|seat| drop(scope.spawn(move || work(seat))));
        let mut pending = VecDeque::new();
        for task in 0..tasks {
            let index = (task % u64::from(slots)) as usize;
            let slot = &control.slots()[index];
            if pending.len() == slots as usize {
                let (oldest, generation) = pending.pop_front().expect("a full table");
                seen.insert(collect(&control.slots()[oldest], generation));
            }
            let draft = slot.draft().expect("it was collected");
            pending.push_back((index, draft.generation()));
            draft.publish(0, 0, 8, &[task]);
            control.ring().push(index as u32).expect("twice as many cells as slots");
            control.wake().notify();
        }
        for (index, generation) in pending {
            seen.insert(collect(&control.slots()[index], generation));
        }
        closing.store(1, Ordering::SeqCst);
        control.wake().wake_all();
    });
    assert!(seen.into_iter().eq(1..=tasks));
}

#[test]
fn a_small_pool_runs_every_task_once_and_loses_no_wake_up() {
    for (slots, searchers_max) in [(1, 0), (1, 1), (4, 0), (4, 1), (4, 2)] {
        for naps in [false, true] {
            check(slots, u64::from(ROUNDS / 10), searchers_max, naps);
        }
    }
}
