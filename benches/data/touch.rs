//! How long after `share` two tasks have read what was shared.

use std::cell::RefCell;

use wharf::{Executor, Shared};

use super::common::peer::{Mode, Peer};
use super::common::{Floor, Latency, Summary, Table, Unit};
use super::common::{in_turns, is_full, latency_after, number};
use super::{GIB, pick, shown};

/// How many tasks that do nothing wake the workers up.
const CALLS: usize = 10;

fn nothing() {}

/// Shares a value anew each time, in memory that is warm, and reads it in two tasks at once: at
/// once, where the workers have fallen asleep meanwhile, and after some other tasks. Beside it, a
/// copy of as many bytes by this thread, and two processes that are then woken and answer.
pub fn touch(table: &mut Table, executor: &Executor, source: &Vec<f64>) {
    let bytes = size_of_val(&source[..]);
    let (rounds, calls) = if is_full() { (9, (GIB / bytes).clamp(3, 15)) } else { (2, 2) };
    let [mut one, mut two] = [Peer::start(), Peer::start()];
    let (mut warm, latest) = (vec![1.0; source.len()], RefCell::new(None));
    let share = || {
        // The old one first, whose memory is to be used again.
        latest.take();
        latest.replace(Some(executor.share(source).expect("there is room")));
    };
    let wake = || {
        let call = || executor.submit(nothing, ()).expect("it is taken").join().expect("it ends");
        (0..CALLS).for_each(|_| call());
    };
    let read = || {
        let shared = latest.borrow();
        read_twice(executor, shared.as_ref().expect("it was just shared"));
    };
    let results = in_turns(
        rounds,
        &mut [
            &mut || latency_after(calls, share, read),
            &mut || {
                let share = || {
                    share();
                    wake();
                };
                latency_after(calls, share, read)
            },
            &mut || {
                let copy = || std::hint::black_box(&mut warm).copy_from_slice(source);
                Peer::round_of([&mut one, &mut two], Mode::Futex, |ask| {
                    latency_after(calls, copy, ask)
                })
            },
        ],
    );
    let median = |rounds: &[Latency]| Summary::of(rounds.iter().map(|round| round.median));
    let raw = || Some(("two processes are woken", median(&results[2])));
    table.unit(Unit::Seconds);
    for (at, workers) in [(0, "asleep"), (1, "awake")] {
        let what = format!("two tasks read {}, just shared, workers {workers}", shown(bytes));
        table.row(&what, median(&results[at]), raw(), Floor::AtMost(20e-6));
    }
}

/// Reads two elements of what was shared in two tasks under way at a time.
pub fn read_twice(executor: &Executor, shared: &Shared<Vec<f64>>) {
    let indices = [0, shared.len() as u64 / 2];
    let submit = |index| executor.submit(pick, (shared, index)).expect("a task is taken");
    let tasks = indices.map(submit);
    for (task, index) in tasks.into_iter().zip(indices) {
        assert_eq!(task.join().expect("a task succeeds"), number(index as usize));
    }
}
