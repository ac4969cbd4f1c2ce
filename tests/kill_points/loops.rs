//! Loops over arrays, as part of the load: what a dead worker had claimed is done again, or named.

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

/// Fills an array, adds it up, and updates it, which is not done twice.
pub fn run(executor: &Executor, tally: &mut Tally) {
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
