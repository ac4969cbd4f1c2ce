//! Maps and loops over arrays, as part of the load: an item is lost with its worker; what a dead
//! worker had claimed of a loop is done again, or named.

use std::thread;
use std::time::Duration;

use wharf::{ArrayMut, ChunkStart, Executor, LoopError, TaskError};

use crate::load::Tally;

/// What a loop goes over, and the sum of what it fills in.
const LEN: usize = 4000;
const SUM: u64 = (LEN * (LEN - 1) / 2) as u64;

fn fill(x: &mut [u64], start: usize) {
    x[0] = start as u64;
}

fn increment(x: &mut [u64]) {
    x[0] += 1;
}

fn total(executor: &Executor, array: &ArrayMut<u64>) -> u64 {
    let sum = executor.map_reduce(array, |x: &[u64]| x.iter().sum::<u64>(), |a, b| a + b);
    sum.expect("what was lost is done again")
}

fn slow_at_first(n: u64) -> u64 {
    // The item waits for as long as its mates need to be cut off, and more.
    let end = std::time::Instant::now() + Duration::from_millis(if n == 0 { 3 } else { 0 });
    while std::time::Instant::now() < end {
        thread::yield_now();
    }
    n * 2
}

/// Maps items; each has one verdict, and a death costs one of them.
fn map(executor: &Executor, tally: &mut Tally) {
    for (items, batch) in [(400u64, 0), (40, 20)] {
        let mut count = 0;
        for (n, result) in executor.map(slow_at_first, 0..items).batch(batch).enumerate() {
            count += 1;
            match result {
                Ok(value) => {
                    assert_eq!(value, n as u64 * 2);
                    tally.right += 1;
                }
                Err(TaskError::WorkerDied { .. }) => tally.died += 1,
                Err(error) => panic!("item {n}: {error}"),
            }
        }
        assert_eq!(count, items);
    }
}

/// Maps items. Fills an array, adds it up, and updates it, which is not done twice.
pub fn run(executor: &Executor, tally: &mut Tally) {
    map(executor, tally);
    let mut array = executor.array::<u64>(LEN).expect("memory");
    let filled = executor.fill_chunks(&mut array, 1, fill, (ChunkStart,));
    filled.expect("what was lost is done again");
    assert!(array.iter().enumerate().all(|(i, x)| *x == i as u64));
    assert_eq!(total(executor, &array), SUM);
    match executor.for_each_chunk(&mut array, 1, increment, ()) {
        Ok(()) => assert_eq!(total(executor, &array), SUM + LEN as u64),
        Err(LoopError::Range { error: TaskError::WorkerDied { .. }, .. }) => tally.died += 1,
        Err(error) => panic!("{error}"),
    }
}
