//! The figures of an executor: bytes that were put and copied, how long tasks waited and ran.

mod common;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use common::{Gate, Once, executor, wait_until};
use wharf::{Array, Executor, Stats, TaskOptions};

/// The bytes of the values below.
const BYTES: u64 = 80_000;
/// What an archive may take besides: its root, positions, padding.
const AROUND: u64 = 256;
/// How long the tasks below run at least.
const RUN: Duration = Duration::from_millis(20);

fn values() -> Vec<f64> {
    vec![0.5; BYTES as usize / 8]
}

fn len(x: &[f64]) -> u64 {
    x.len() as u64
}

fn make(bytes: u64) -> Vec<f64> {
    vec![0.5; bytes as usize / 8]
}

fn make_array(bytes: u64) -> Array<f64> {
    wharf::array::<f64>(bytes as usize / 8).expect("memory").freeze()
}

/// Runs for a time.
fn run_for(ms: u64) -> u64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(ms) {}
    ms
}

/// What an executor puts and copies in the course of something.
fn check(what: &str, act: fn(&Executor), put: RangeInclusive<u64>, copied: RangeInclusive<u64>) {
    let executor = executor(2);
    act(&executor);
    let stats = executor.stats();
    assert!(put.contains(&stats.put_bytes), "{what}: put {}", stats.put_bytes);
    assert!(copied.contains(&stats.copied_bytes), "{what}: copied {}", stats.copied_bytes);
}

#[test]
fn bytes_count_as_put_or_copied_by_the_way_that_they_go() {
    let (none, exactly, about) = (0..=0, BYTES..=BYTES, BYTES..=BYTES + AROUND);
    let join = |executor: &Executor| {
        let task = executor.submit(|a: u64, b: u64| a + b, (1u64, 2u64)).unwrap();
        assert_eq!(task.join().unwrap(), 3);
    };
    check("small arguments and results", join, none.clone(), none.clone());
    let share = |executor: &Executor| {
        let shared = executor.share(&values()).unwrap();
        for _ in 0..3 {
            let task = executor.submit(len, (&shared,)).unwrap();
            assert_eq!(task.join().unwrap(), BYTES / 8);
        }
    };
    check("a value that is shared", share, about.clone(), about.clone());
    let array = |executor: &Executor| drop(executor.array::<f64>(BYTES as usize / 8).unwrap());
    check("an array that is built in place", array, exactly.clone(), none.clone());
    let array_from = |executor: &Executor| drop(executor.array_from(&values()).unwrap());
    check("an array that is copied", array_from, exactly.clone(), exactly.clone());
    let by_value = |executor: &Executor| {
        assert_eq!(executor.submit(len, (values(),)).unwrap().join().unwrap(), BYTES / 8);
    };
    check("an argument by value", by_value, about.clone(), about.clone());
    let result = |executor: &Executor| {
        assert_eq!(executor.submit(make, (BYTES,)).unwrap().join().unwrap(), values());
    };
    check("a result that is decoded", result, none.clone(), about.clone());
    let view = |executor: &Executor| {
        let view = executor.submit(make, (BYTES,)).unwrap().join_view().unwrap();
        assert_eq!(view.len() as u64, BYTES / 8);
    };
    check("a result that is read in place", view, none.clone(), none.clone());
    let built = |executor: &Executor| {
        let array = executor.submit(make_array, (BYTES,)).unwrap().join().unwrap();
        assert_eq!(array.len() as u64, BYTES / 8);
    };
    check("an array that a task has built", built, none.clone(), none.clone());
    let items = |executor: &Executor| {
        let sum = executor.map(len, [values(), values()]).map(Result::unwrap).sum::<u64>();
        assert_eq!(sum, BYTES / 4);
    };
    let both = 2 * BYTES..=2 * (BYTES + AROUND);
    check("items of a map", items, both.clone(), both.clone());
    let results = |executor: &Executor| {
        assert_eq!(executor.map(make, [BYTES; 2]).filter(Result::is_ok).count(), 2);
    };
    check("results of a map", results, 0..=AROUND, both);
}

fn timed(workers: usize) -> Executor {
    Executor::builder().workers(workers).timing(true).build().unwrap()
}

/// The figures when so many tasks are counted. A worker adds the time first.
fn stats_after(executor: &Executor, tasks: u64) -> Stats {
    wait_until("every task is counted", || executor.stats().tasks_finished == tasks);
    executor.stats()
}

/// What is said of all is the sum of what is said of each.
fn check_sums(stats: &Stats) {
    let finished = stats.by_worker.iter().map(|worker| worker.tasks_finished).sum::<u64>();
    assert_eq!(finished, stats.tasks_finished);
    let sum = |time: Vec<Option<Duration>>| time.into_iter().sum::<Option<Duration>>();
    assert_eq!(sum(stats.by_worker.iter().map(|w| w.queue_time).collect()), stats.queue_time);
    assert_eq!(sum(stats.by_worker.iter().map(|w| w.run_time).collect()), stats.run_time);
}

#[test]
fn times_are_measured_only_where_that_is_asked_for() {
    for asked in [false, true] {
        let executor = Executor::builder().workers(2).timing(asked).build().unwrap();
        executor.submit(run_for, (1u64,)).unwrap().join().unwrap();
        let stats = stats_after(&executor, 1);
        let times = stats.by_worker.iter().flat_map(|worker| [worker.queue_time, worker.run_time]);
        let times: Vec<_> = times.chain([stats.queue_time, stats.run_time]).collect();
        assert_eq!(times.len(), 6);
        assert!(times.iter().all(|time| time.is_some() == asked), "{times:?}");
    }
}

/// One worker runs one task after the other: no time is counted twice, and what is between tasks is
/// nobody's run time.
#[test]
fn tasks_run_as_long_as_they_do() {
    let executor = timed(1);
    let start = Instant::now();
    for _ in 0..5 {
        executor.submit(run_for, (RUN.as_millis() as u64,)).unwrap().join().unwrap();
    }
    let stats = stats_after(&executor, 5);
    let (all, run) = (start.elapsed(), stats.run_time.unwrap());
    assert!((5 * RUN..=all).contains(&run), "{run:?} of {all:?}");
    assert!(stats.queue_time.unwrap() + run <= all, "{stats:?} in {all:?}");
    check_sums(&stats);
    // Of a map, whatever makes its batches, and of a loop.
    let start = Instant::now();
    let map = executor.map(run_for, [RUN.as_millis() as u64; 5]);
    assert_eq!(map.filter(Result::is_ok).count(), 5);
    let mut array = executor.array::<u64>(5).unwrap();
    fn fill(x: &mut [u64]) {
        x[0] = run_for(RUN.as_millis() as u64);
    }
    executor.fill_chunks(&mut array, 1, fill, ()).unwrap();
    let later = stats_after(&executor, 5 + 5 + 1);
    let (all, more) = (start.elapsed(), later.run_time.unwrap() - run);
    assert!((10 * RUN..=all).contains(&more), "{more:?} of {all:?}");
    check_sums(&later);
}

#[test]
fn tasks_wait_from_their_submission_until_a_worker_takes_them() {
    const TASKS: u32 = 4;
    let executor = timed(1);
    let gate = Gate::new();
    let start = Instant::now();
    let first = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let tasks: Vec<_> = (0..TASKS).map(|_| executor.submit(run_for, (0u64,)).unwrap()).collect();
    run_for(RUN.as_millis() as u64);
    gate.open();
    first.join().unwrap();
    tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 0));
    let stats = stats_after(&executor, u64::from(TASKS) + 1);
    let (all, waited) = (start.elapsed(), stats.queue_time.unwrap());
    assert!((TASKS * RUN..=(TASKS + 1) * all).contains(&waited), "{waited:?} in {all:?}");
    check_sums(&stats);
}

/// A task that was tried again had waited, it was said, since it was submitted: as long as its
/// first worker had run it.
#[test]
fn a_task_that_is_tried_again_waits_anew() {
    fn dies_first(path: &str) {
        run_for(3 * RUN.as_millis() as u64);
        if Once::is_first(path) {
            std::process::abort();
        }
    }
    let executor = timed(1);
    let once = Once::new("stats-again");
    let start = Instant::now();
    let options = TaskOptions::new().retries(1);
    executor.submit_with(options, dies_first, (once.path(),)).unwrap().join().unwrap();
    let stats = stats_after(&executor, 1);
    // The first run is nobody's: neither waited nor finished.
    let rest = start.elapsed() - 3 * RUN;
    assert!(stats.run_time.unwrap() >= 3 * RUN);
    assert!(stats.queue_time.unwrap() + stats.run_time.unwrap() <= rest, "{stats:?} in {rest:?}");
    assert_eq!(stats.deaths, 1);
}

#[test]
fn the_sums_of_workers_that_die_or_leave_stay() {
    fn die() {
        std::process::abort();
    }
    let executor = Executor::builder().workers(1).workers_max(3).timing(true).build().unwrap();
    let run = |tasks: u64| {
        for _ in 0..tasks {
            executor.submit(run_for, (RUN.as_millis() as u64,)).unwrap().join().unwrap();
        }
    };
    run(2);
    let before = stats_after(&executor, 2);
    assert!(executor.submit(die, ()).unwrap().join().is_err());
    run(1);
    let after = stats_after(&executor, 3);
    assert_eq!((after.deaths, after.by_worker.len()), (1, 1));
    assert!(after.run_time.unwrap() >= before.run_time.unwrap() + RUN);
    // Three at the gate at a time, so that each of three workers has run one.
    executor.resize(3).unwrap();
    let gate = Gate::new();
    let pass = |_| executor.submit(Gate::pass, (gate.path(),)).unwrap();
    let tasks: Vec<_> = (0..3).map(pass).collect();
    tasks.iter().for_each(|_| gate.wait_for_entry());
    gate.open();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    executor.resize(1).unwrap();
    wait_until("two have left", || executor.worker_pids().len() == 1);
    let last = stats_after(&executor, 6);
    assert_eq!(last.by_worker.len(), 3);
    assert!(last.by_worker.iter().all(|worker| worker.tasks_finished > 0), "{last:?}");
    check_sums(&last);
}
