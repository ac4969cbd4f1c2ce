//! A few tasks at a time, all joined before the next few: a step of a computation that goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use wharf::Executor;

use super::common::grain::{alone, chain, seed};
use super::common::{Floor, Summary, Table, Unit, WORKERS, executor, in_turns, is_full, timed};

/// Links of the chains: about 0.7 us, 3.6 us, and 15 us.
const LINKS: [u64; 3] = [640, 3200, 12_800];
/// How many tasks are under way at a time.
const SIZES: [usize; 4] = [1, 2, 4, 8];

/// What a step takes of some tasks, beside as many that are spawned in threads, and one after the
/// other here.
pub fn bursts(table: &mut Table) {
    let (rounds, tasks) = if is_full() { (7, 8000) } else { (1, 16) };
    let executor = executor(|builder| builder);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build();
    let threads = threads.expect("threads start");
    table.unit(Unit::Seconds);
    for links in LINKS {
        for size in SIZES {
            let steps = tasks / size;
            let results = in_turns(
                rounds,
                &mut [
                    &mut || submitted(&executor, steps, size, links),
                    &mut || spawned(&threads, steps, size, links),
                    &mut || alone(steps * size, links),
                ],
            );
            assert!(results.iter().flatten().all(|(_, sum)| *sum == results[0][0].1));
            let of = |subject: usize| {
                Summary::of(results[subject].iter().map(|(seconds, _)| seconds / steps as f64))
            };
            let length = of(2).median * 1e6 / size as f64;
            let what = format!("a step of {size} tasks of {length:.1} us");
            table.row(&what, of(0), Some(("rayon scope.spawn", of(1))), Floor::None);
        }
    }
}

fn submitted(executor: &Executor, steps: usize, size: usize, links: u64) -> (f64, u64) {
    let submit = |n| executor.submit(chain, (seed(n), links)).expect("a task is taken");
    timed(|| {
        (0..steps).fold(0u64, |sum, step| {
            let handles: Vec<_> = (step * size..(step + 1) * size).map(submit).collect();
            let ends = handles.into_iter().map(|handle| handle.join().expect("a task succeeds"));
            ends.fold(sum, u64::wrapping_add)
        })
    })
}

fn spawned(threads: &rayon::ThreadPool, steps: usize, size: usize, links: u64) -> (f64, u64) {
    let sum = &AtomicU64::new(0);
    let spawn_all = |step: usize| {
        threads.in_place_scope(|scope| {
            for n in step * size..(step + 1) * size {
                scope.spawn(move |_| _ = sum.fetch_add(chain(seed(n), links), Ordering::Relaxed));
            }
        });
    };
    let (seconds, ()) = timed(|| (0..steps).for_each(spawn_all));
    (seconds, sum.load(Ordering::Relaxed))
}
