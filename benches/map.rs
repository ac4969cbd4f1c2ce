//! What an item costs in a map that does next to nothing, beside threads and the plain iterator.

mod common;

use common::{Floor, Summary, Table, Unit, executor, in_turns, is_full, timed};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use wharf::Executor;

fn step(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7
}

/// The sum of all results, whatever made them.
fn wanted(items: u64) -> u64 {
    (0..items).map(step).fold(0, u64::wrapping_add)
}

/// Seconds for all items; the answer is checked.
fn seconds(items: u64, sum: impl FnOnce() -> u64) -> f64 {
    let (seconds, sum) = timed(sum);
    assert_eq!(sum, wanted(items), "all results, each once");
    seconds
}

fn sum_of(map: impl Iterator<Item = Result<u64, wharf::TaskError>>) -> u64 {
    map.map(|result| result.expect("an item succeeds")).fold(0, u64::wrapping_add)
}

fn main() {
    let mut table = Table::new("map");
    let (rounds, items) = if is_full() { (7, 1_000_000) } else { (2, 10_000) };
    let executor: Executor = executor(|builder| builder);
    let mut ordered = || seconds(items, || sum_of(executor.map(step, 0..items)));
    let mut unordered = || seconds(items, || sum_of(executor.map(step, 0..items).unordered()));
    let few = items / 20;
    let mut fixed = || 20.0 * seconds(few, || sum_of(executor.map(step, 0..few).batch(1)));
    let mut threads = || {
        let sum = |a: u64, b: u64| a.wrapping_add(b);
        seconds(items, || (0..items).into_par_iter().map(step).reduce(|| 0, sum))
    };
    let mut plain = || {
        let step = |n| std::hint::black_box(step(n));
        seconds(items, || (0..items).map(step).fold(0, u64::wrapping_add))
    };
    let results =
        in_turns(rounds, &mut [&mut ordered, &mut unordered, &mut fixed, &mut threads, &mut plain]);
    let rate = |at: usize| Summary::of(results[at].iter().map(|seconds| items as f64 / seconds));
    table.unit(Unit::TasksPerSecond);
    let rows = [
        ("in order", Floor::AtLeast(5e6)),
        ("unordered", Floor::AtLeast(5e6)),
        ("as if in batches of one", Floor::None),
    ];
    for (at, (name, floor)) in rows.into_iter().enumerate() {
        table.row(&format!("{items} items, {name}"), rate(at), Some(("rayon", rate(3))), floor);
    }
    table.row(&format!("{items} items, plain iterator"), rate(4), None, Floor::None);
    table.print();
}
