//! What changes with the number of workers, of tasks and of cores.

use std::time::Duration;

use super::common::host::resident_bytes;
use super::common::peer::{Mode, Peer};
use super::common::{Floor, Latency, Summary, Table, Unit};
use super::common::{executor, in_turns, is_full, timed};
use super::{beside, call, keep_a_window, round, submit, submit_then_join, window};
use wharf::Executor;

/// Throughput and round trip over the number of workers, most of them more than there are cores.
pub fn workers(table: &mut Table) {
    let counts: &[usize] = if is_full() { &[1, 2, 4, 8, 16, 32, 64] } else { &[1, 3] };
    let (rounds, tasks, calls) = if is_full() { (5, 200_000, 5000) } else { (1, 500, 20) };
    let measure = |workers: usize| {
        let executor = executor(|builder| builder.workers(workers));
        let rate = tasks as f64 / keep_a_window(&executor, tasks).seconds;
        (rate, round(100, calls, Duration::ZERO, &mut || call(&executor)).median)
    };
    let mut subjects: Vec<_> = counts.iter().map(|&count| move || measure(count)).collect();
    let mut subjects: Vec<&mut dyn FnMut() -> (f64, f64)> =
        subjects.iter_mut().map(|subject| subject as _).collect();
    let results = in_turns(rounds, &mut subjects);
    table.unit(Unit::TasksPerSecond);
    for (count, results) in counts.iter().zip(&results) {
        let rate = Summary::of(results.iter().map(|(rate, _)| *rate));
        table.row(&format!("{count} workers, 1000 tasks under way"), rate, None, Floor::None);
    }
    table.unit(Unit::Seconds);
    for (count, results) in counts.iter().zip(&results) {
        let trip = Summary::of(results.iter().map(|(_, trip)| *trip));
        table.row(&format!("{count} workers, round trip, p50"), trip, None, Floor::None);
    }
}

/// How many tasks a cost is measured over, in runs of fewer one after the other.
const TASKS_LEAST: usize = 1_000_000;

/// A task must not cost more where there are many, nor leave anything in memory.
pub fn growth(table: &mut Table) {
    let sizes: &[usize] =
        if is_full() { &[1000, 10_000, 100_000, 1_000_000, 10_000_000] } else { &[100, 1000] };
    let executor = &executor(|builder| builder);
    // Every slot of the table has been used then, and its memory is there.
    keep_a_window(executor, sizes[sizes.len() / 2]);
    // From the fewest to the most, and before anything else: what is left behind would show.
    let state = || (executor.stats().tasks_finished, resident(executor) as f64);
    let after = |&tasks: &usize| {
        keep_a_window(executor, tasks);
        state()
    };
    let residents: Vec<(u64, f64)> = sizes.iter().map(after).collect();
    costs(table, "1000 under way", sizes, Floor::RatioAtMost(1.1), |tasks, repeats| {
        timed(|| (0..repeats).for_each(|_| window(tasks, |_| submit(executor), |()| ()))).0
    });
    let end = state();
    costs(table, "held at once", &sizes[..sizes.len() - 1], Floor::None, |tasks, repeats| {
        timed(|| (0..repeats).for_each(|_| submit_then_join(executor, tasks))).0
    });
    table.unit(Unit::Bytes);
    for (tasks, bytes) in residents.iter().chain([&end]) {
        let what = format!("resident in all processes after {tasks} tasks");
        let first = Some(("after the fewest", Summary::of([residents[0].1])));
        table.row(&what, Summary::of([*bytes]), first, Floor::RatioAtMost(1.1));
    }
}

/// Adds a row for each of the sizes: what one of so many tasks costs, from the seconds that `run`
/// takes for all of them, so many times without a pause.
fn costs(
    table: &mut Table,
    what: &str,
    sizes: &[usize],
    floor: Floor,
    run: impl Fn(usize, usize) -> f64 + Copy,
) {
    let rounds = if is_full() { 5 } else { 1 };
    let cost = |tasks: usize| {
        let repeats = if is_full() { (TASKS_LEAST / tasks).max(1) } else { 1 };
        run(tasks, repeats) / (repeats * tasks) as f64
    };
    let mut subjects: Vec<_> = sizes.iter().map(|&tasks| move || cost(tasks)).collect();
    let mut subjects: Vec<&mut dyn FnMut() -> f64> =
        subjects.iter_mut().map(|subject| subject as _).collect();
    let results = in_turns(rounds, &mut subjects);
    let of = |at: usize| Summary::of(results[at].iter().copied());
    table.unit(Unit::Seconds);
    let name = format!("of {}", sizes[0]);
    for (at, tasks) in sizes.iter().enumerate() {
        let raw = (at > 0).then(|| (name.as_str(), of(0)));
        let floor = if at > 0 { floor } else { Floor::None };
        table.row(&format!("cost of one of {tasks} tasks, {what}"), of(at), raw, floor);
    }
}

fn resident(executor: &Executor) -> u64 {
    let workers = executor.worker_pids();
    workers.into_iter().chain([std::process::id()]).map(resident_bytes).sum()
}

/// Caller and worker take turns on one core, as in a container that has no more.
pub fn one_core(table: &mut Table) {
    let (rounds, calls) = if is_full() { (11, 10_000) } else { (2, 100) };
    let measure = || {
        pin_to_one_core();
        // Their processes are started by this thread, or one that it starts, and pinned like it.
        let executor = executor(|builder| builder.workers(1));
        let mut peer = Peer::start();
        in_turns(
            rounds,
            &mut [&mut || round(100, calls, Duration::ZERO, &mut || call(&executor)), &mut || {
                peer.round(Mode::Futex, |trip| round(100, calls, Duration::ZERO, trip))
            }],
        )
    };
    let results: Vec<Vec<Latency>> =
        std::thread::scope(|scope| scope.spawn(measure).join().expect("it measures"));
    beside(table, "round trip on one core", &results, &["futex"], Floor::None);
}

/// Leaves this thread, and all that it starts, the first core that it may use.
fn pin_to_one_core() {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of cores is an array of integers, for which zeros are valid.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cores` is of the size that is told, and outlives the call.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size, &raw mut cores) }, 0);
    let is_allowed = |core: &usize| {
        // SAFETY: the range below ends with the set.
        unsafe { libc::CPU_ISSET(*core, &cores) }
    };
    let first = (0..libc::CPU_SETSIZE as usize).find(is_allowed).expect("a thread has a core");
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `first` was found in a set of the same size.
    unsafe { libc::CPU_SET(first, &mut one) };
    // SAFETY: `one` is of the size that is told, and outlives the call.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size, &raw const one) }, 0);
}
