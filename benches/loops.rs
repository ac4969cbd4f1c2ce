//! Loops over arrays beside rayon's: the same kernel over the same data, threads against processes.

mod common;

use std::time::Duration;

use common::grain::{chain, efficiency};
use common::peer::was_started_again;
use common::{Floor, Summary, Table, Unit, WORKERS};
use common::{executor, in_turns, is_full, latency, number, sum, timed, wants};
use rayon::prelude::*;
use wharf::{Array, ArrayMut, ChunkStart, Executor};

const MIB: usize = 1 << 20;
/// What the executor of this bench may hold.
const BUDGET_BYTES: u64 = 4 << 30;
/// A chunk of the arrays that are filled: 512 KiB, half of a core's cache.
const CHUNK: usize = 64 << 10;
/// How many elements the tasks have whose smallest useful length is looked for.
const TASKS: usize = 200_000;

fn main() {
    if was_started_again() {
        return;
    }
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build();
    let threads = threads.expect("threads start");
    let executor = executor(|b| b.memory_budget(BUDGET_BYTES).retain_memory(BUDGET_BYTES));
    let mut table = Table::new("loops");
    if wants("reduce") {
        reduce(&mut table, &executor, &threads);
    }
    if wants("fill") {
        fill(&mut table, &executor, &threads);
    }
    if wants("steps") {
        steps(&mut table, &executor, &threads);
    }
    if wants("grain") {
        grain(&mut table, &executor, &threads);
    }
    table.print();
}

fn write(out: &mut [f64], start: usize) {
    for (i, x) in out.iter_mut().enumerate() {
        *x = number(start + i);
    }
}

fn reduce(table: &mut Table, executor: &Executor, threads: &rayon::ThreadPool) {
    let len = if is_full() { 100_000_000 } else { 100_000 };
    let rounds = if is_full() { 11 } else { 2 };
    let mut array = executor.array::<f64>(len).expect("the budget holds it");
    executor.fill_chunks(&mut array, CHUNK, write, (ChunkStart,)).expect("it is filled");
    let array: Array<f64> = array.freeze();
    let vec: Vec<f64> = (0..len).map(number).collect();
    let expected: f64 = sum(&vec);
    let plain = || threads.install(|| vec.par_iter().map(|x| x * 1.0).sum::<f64>());
    let chunked = || threads.install(|| vec.par_chunks(CHUNK).map(sum).sum::<f64>());
    let ours = || executor.map_reduce(&array, sum, |a, b| a + b).expect("all is summed");
    let times = in_turns(
        rounds,
        &mut [&mut || time_of(expected, ours), &mut || time_of(expected, chunked), &mut || {
            time_of(expected, plain)
        }],
    );
    let rate = |at: usize| Summary::of(times[at].iter().map(|s| (len * 8) as f64 / s));
    table.unit(Unit::BytesPerSecond);
    let what = format!("sum of {len} f64, map_reduce");
    table.row(&what, rate(0), Some(("rayon par_chunks", rate(1))), Floor::RatioAtLeast(0.95));
    table.row(&what, rate(0), Some(("rayon par_iter", rate(2))), Floor::RatioAtLeast(0.95));
}

fn time_of(expected: f64, sum: impl FnOnce() -> f64) -> f64 {
    let (seconds, sum) = timed(sum);
    assert_eq!(sum, expected);
    seconds
}

fn fill(table: &mut Table, executor: &Executor, threads: &rayon::ThreadPool) {
    let len = if is_full() { 1024 * MIB / 8 } else { MIB / 8 };
    let rounds = if is_full() { 11 } else { 2 };
    let mut array: ArrayMut<f64> = executor.array(len).expect("the budget holds it");
    let mut vec = vec![0.0; len];
    let times = {
        let mut ours = || {
            let fill = || executor.fill_chunks(&mut array, CHUNK, write, (ChunkStart,));
            let (seconds, filled) = timed(fill);
            filled.expect("all is filled");
            assert_eq!(array[len - 1], number(len - 1));
            seconds
        };
        let mut theirs = || {
            let chunks = || {
                let chunks = vec.par_chunks_mut(CHUNK).enumerate();
                chunks.for_each(|(i, chunk)| write(chunk, i * CHUNK));
            };
            let seconds = timed(|| threads.install(chunks)).0;
            assert_eq!(vec[len - 1], number(len - 1));
            seconds
        };
        in_turns(rounds, &mut [&mut ours, &mut theirs])
    };
    let rate = |at: usize| Summary::of(times[at].iter().map(|s| (len * 8) as f64 / s));
    table.unit(Unit::BytesPerSecond);
    let what = format!("fill_chunks of {} MiB", len * 8 / MIB);
    let raw = Some(("rayon par_chunks_mut", rate(1)));
    table.row(&what, rate(0), raw, Floor::RatioAtLeast(0.95));
}

/// What a step costs over arrays that are so small that nothing else counts.
fn steps(table: &mut Table, executor: &Executor, threads: &rayon::ThreadPool) {
    let (rounds, steps) = if is_full() { (11, 5000) } else { (2, 50) };
    let mut array = executor.array::<f64>(1024).expect("the budget holds it");
    let mut vec = vec![0.0; 1024];
    let times = in_turns(
        rounds,
        &mut [
            &mut || {
                latency(steps, Duration::ZERO, || {
                    let filled = executor.fill_chunks(&mut array, 128, write, (ChunkStart,));
                    filled.expect("all is filled");
                })
                .median
            },
            &mut || {
                latency(steps, Duration::ZERO, || {
                    threads.install(|| {
                        let chunks = vec.par_chunks_mut(128).enumerate();
                        chunks.for_each(|(i, chunk)| write(chunk, i * 128));
                    });
                })
                .median
            },
        ],
    );
    let [ours, theirs] = [&times[0], &times[1]].map(|t| Summary::of(t.iter().copied()));
    table.unit(Unit::Seconds);
    let raw = Some(("rayon par_chunks_mut", theirs));
    table.row("a step over 8 chunks of 1 KiB", ours, raw, Floor::None);
}

fn chain_each(out: &mut [u64], links: u64) {
    out[0] = chain(out[0] | 1, links);
}

/// The smallest length of a task at which all workers together are still half busy: METG(50 %).
fn grain(table: &mut Table, executor: &Executor, threads: &rayon::ThreadPool) {
    let rounds = if is_full() { 7 } else { 1 };
    let mut array = executor.array::<u64>(if is_full() { TASKS } else { 100 }).expect("room");
    let mut vec = vec![0u64; array.len()];
    let mut own: Vec<f64> = Vec::new();
    let mut others: Vec<f64> = Vec::new();
    for _ in 0..rounds {
        own.push(smallest_grain(vec.len(), |links| {
            executor.for_each_chunk(&mut array, 1, chain_each, (links,)).expect("all is done");
        }));
        others.push(smallest_grain(vec.len(), |links| {
            threads.install(|| {
                vec.par_chunks_mut(1).with_max_len(1).for_each(|x| chain_each(x, links))
            });
        }));
    }
    table.unit(Unit::Seconds);
    let [own, others] = [own, others].map(Summary::of);
    table.row(
        "METG(50 %) of ranges",
        own,
        Some(("rayon, one a task", others)),
        Floor::AtMost(1e-7),
    );
}

/// Looks for the grain by halving what is between one that is too short and one that is not.
fn smallest_grain(tasks: usize, mut run: impl FnMut(u64)) -> f64 {
    let (mut short, mut long) = (0u64, 4096u64);
    let mut found = f64::NAN;
    while long - short > 1 + long / 32 {
        let links = short + (long - short) / 2;
        let (alone, _) = timed(|| {
            let mut x = 1;
            (0..tasks).for_each(|i| x = chain(x | i as u64, links));
            x
        });
        let (together, ()) = timed(|| run(links));
        let is_busy = efficiency(alone, together) >= 0.5;
        if is_busy {
            (long, found) = (links, alone / tasks as f64);
        } else {
            short = links;
        }
    }
    found
}
