//! Fresh memory: what its pages cost, and what larger ones are worth.

use super::common::peer::with_fresh_memory;
use super::common::{Floor, Summary, Table, Unit, executor, in_turns, is_full, sum, timed};
use super::{bounded, numbers, shown, speed};

const PAGE: usize = 4 << 10;
/// Passes of a worker over what was shared; the first one maps it.
const PASSES: usize = 5;

/// Touches each page of fresh shared memory of `bytes`; returns how long that took, in seconds.
pub fn faults(bytes: usize) -> f64 {
    with_fresh_memory(bytes, |start| {
        let touch = || {
            for at in (0..bytes).step_by(PAGE) {
                // SAFETY: `with_fresh_memory` mapped `bytes` bytes, and `at` is less.
                let page = unsafe { start.add(at) };
                // SAFETY: it lies in that mapping, which nobody else knows.
                unsafe { page.write_volatile(1) };
            }
        };
        timed(touch).0
    })
}

/// Runs what takes fresh memory twice; the second run counts.
///
/// A host may take free memory away from a virtual machine seconds after it was used, and gives it
/// back at its own pace: then the host would be measured. Free memory is used last in, first out,
/// so that the second run gets what the first one had.
pub fn second<T>(take: impl Fn() -> T) -> T {
    drop(take());
    take()
}

/// What an executor takes with either kind of pages, in seconds.
struct Taken {
    share: f64,
    first_pass: f64,
    later_pass: f64,
}

/// The same value shared for the first time, then read, by executors that differ in this alone.
pub fn of_2_mib_or_4_kib(table: &mut Table, bytes: usize) {
    let source = numbers(bytes);
    let expected = sum(&source);
    let take = |huge: bool| {
        let executor = executor(|b| bounded(b).workers(1).huge_pages(huge));
        let (share, shared) = timed(|| executor.share(&source).expect("there is room"));
        let pass = || {
            let submit = || executor.submit(sum, (&shared,)).expect("a task is taken");
            let (seconds, total) = timed(|| submit().join().expect("a task succeeds"));
            assert_eq!(total, expected);
            seconds
        };
        let passes = [(); PASSES].map(|()| pass());
        let later_pass = Summary::of(passes[1..].iter().copied()).median;
        Taken { share, first_pass: passes[0], later_pass }
    };
    let rounds = if is_full() { 7 } else { 1 };
    let results =
        in_turns(rounds, &mut [&mut || second(|| take(true)), &mut || second(|| take(false))]);
    let size = shown(bytes);
    table.unit(Unit::BytesPerSecond);
    let mut row = |what: String, seconds: fn(&Taken) -> f64| {
        let [huge, usual] =
            [0, 1].map(|at| speed(bytes, &results[at].iter().map(seconds).collect::<Vec<_>>()));
        table.row(&what, huge, Some(("4 KiB pages", usual)), Floor::None);
    };
    row(format!("share {size}, cold, 2 MiB pages"), |taken| taken.share);
    row(format!("a worker's first pass over {size}"), |taken| taken.first_pass);
    row(format!("its later passes over {size}"), |taken| taken.later_pass);
}
