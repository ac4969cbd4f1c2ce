//! How short a task that is submitted by itself may be, beside one that is spawned in a thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::common::grain::{alone, chain, efficiency, half_busy_at, seed};
use super::common::{Floor, Summary, Table, Unit, WORKERS, executor, in_turns, is_full, timed};
use super::window;
use wharf::{Executor, TaskHandle};

/// Links of the chains whose efficiency is measured: about 0.1 us to 50 us.
const LINKS: [u64; 10] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768];
/// About how long all chains of a measurement take together, in seconds.
const CHAINS_SECONDS: f64 = 0.1;
/// And how many they are at the most.
const TASKS_MAX: usize = 100_000;

/// The shortest task of which two workers are half busy: METG(50 %) of `submit`, with a window of
/// tasks under way, and with all of them submitted before the first is joined.
pub fn grain(table: &mut Table) {
    let rounds = if is_full() { 7 } else { 1 };
    let links: &[u64] = if is_full() { &LINKS } else { &LINKS[..2] };
    let executor = executor(|builder| builder);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build();
    let threads = threads.expect("threads start");
    let mut curves = [Vec::new(), Vec::new(), Vec::new()];
    for &links in links {
        let tasks = tasks_of(links);
        let results = in_turns(
            rounds,
            &mut [
                &mut || alone(tasks, links),
                &mut || submitted(&executor, tasks, links),
                &mut || held(&executor, tasks, links),
                &mut || spawned(&threads, tasks, links),
            ],
        );
        assert!(results.iter().flatten().all(|(_, sum)| *sum == results[0][0].1));
        let length = Summary::of(results[0].iter().map(|(seconds, _)| *seconds)).median;
        for (curve, times) in curves.iter_mut().zip(&results[1..]) {
            let busy = times.iter().map(|(seconds, _)| efficiency(length, *seconds));
            curve.push((length / tasks as f64, busy.collect::<Vec<f64>>()));
        }
    }
    show(table, &curves);
}

fn tasks_of(links: u64) -> usize {
    let (seconds, _) = alone(1000, links);
    let most = if is_full() { TASKS_MAX } else { 100 };
    ((CHAINS_SECONDS / (seconds / 1000.0)) as usize).clamp(100, most)
}

fn submit(executor: &Executor, n: usize, links: u64) -> TaskHandle<u64> {
    executor.submit(chain, (seed(n), links)).expect("a task is taken")
}

fn submitted(executor: &Executor, tasks: usize, links: u64) -> (f64, u64) {
    let mut sum = 0u64;
    let add = |end| sum = sum.wrapping_add(end);
    let (seconds, ()) = timed(|| window(tasks, |n| submit(executor, n, links), add));
    (seconds, sum)
}

fn held(executor: &Executor, tasks: usize, links: u64) -> (f64, u64) {
    timed(|| {
        let handles: Vec<_> = (0..tasks).map(|n| submit(executor, n, links)).collect();
        let ends = handles.into_iter().map(|handle| handle.join().expect("a task succeeds"));
        ends.fold(0, u64::wrapping_add)
    })
}

fn spawned(threads: &rayon::ThreadPool, tasks: usize, links: u64) -> (f64, u64) {
    let sum = AtomicU64::new(0);
    let (seconds, ()) = timed(|| {
        threads.scope(|scope| {
            for n in 0..tasks {
                let sum = &sum;
                scope.spawn(move |_| {
                    sum.fetch_add(chain(seed(n), links), Ordering::Relaxed);
                });
            }
        });
    });
    (seconds, sum.into_inner())
}

/// Rows for each length, and for where the curves come to one half.
fn show(table: &mut Table, curves: &[Vec<(f64, Vec<f64>)>; 3]) {
    let [windows, held, theirs] = curves;
    let ours = [("", windows), (", all held at once", held)];
    table.unit(Unit::Share);
    for (how, curve) in ours {
        for ((length, ours), (_, theirs)) in curve.iter().zip(theirs) {
            let [ours, theirs] = [ours, theirs].map(|busy| Summary::of(busy.iter().copied()));
            let what = format!("workers busy with tasks of {:.2} us{how}", length * 1e6);
            table.row(&what, ours, Some(("rayon scope.spawn", theirs)), Floor::None);
        }
    }
    let halves = |curve: &[(f64, Vec<f64>)]| {
        let round = |at: usize| curve.iter().map(|(x, y)| (*x, y[at])).collect::<Vec<_>>();
        Summary::of((0..curve[0].1.len()).map(|at| half_busy_at(&round(at))))
    };
    table.unit(Unit::Seconds);
    for ((how, curve), floor) in ours.into_iter().zip([Floor::AtMost(0.3e-6), Floor::None]) {
        let raw = Some(("rayon scope.spawn", halves(theirs)));
        table.row(&format!("METG(50 %) of single tasks{how}"), halves(curve), raw, floor);
    }
}
