//! How long after `share` two tasks have read what was shared.

use std::cell::RefCell;

use wharf::{Executor, Shared};

use super::common::peer::{Mode, Peer};
use super::common::{Floor, Latency, Summary, Table, Unit};
use super::common::{in_turns, is_full, latency_after, number};
use super::{GIB, pick, shown};

/// Shares a value anew each time, in memory that is warm, and reads it in two tasks at once. Beside
/// it, a copy of as many bytes by this thread, and two processes that are then woken and answer.
pub fn touch(table: &mut Table, executor: &Executor, source: &Vec<f64>) {
    let bytes = size_of_val(&source[..]);
    let (rounds, calls) = if is_full() { (9, (GIB / bytes).clamp(3, 15)) } else { (2, 2) };
    let [mut one, mut two] = [Peer::start(), Peer::start()];
    let (mut warm, latest) = (vec![1.0; source.len()], RefCell::new(None));
    let results = in_turns(
        rounds,
        &mut [
            &mut || {
                let share = || {
                    // The old one first, whose memory is to be used again.
                    latest.take();
                    latest.replace(Some(executor.share(source).expect("there is room")));
                };
                let read = || {
                    let shared = latest.borrow();
                    read_twice(executor, shared.as_ref().expect("it was just shared"));
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
    let what = format!("two tasks read {}, just shared", shown(bytes));
    let raw = Some(("two processes are woken", median(&results[1])));
    table.unit(Unit::Seconds);
    table.row(&what, median(&results[0]), raw, Floor::AtMost(20e-6));
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
