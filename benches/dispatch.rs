//! What a task costs that does nothing: round trips awake and asleep, and tasks a second.

#[path = "dispatch/bursts.rs"]
mod bursts;
mod common;
#[path = "dispatch/grain.rs"]
mod grain;
#[path = "dispatch/scale.rs"]
mod scale;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::host::cpu_seconds;
use common::peer::{Mode, Peer, was_started_again};
use common::{Floor, Latency, Summary, Table, Unit};
use common::{executor, in_turns, is_full, latency, latency_after, timed, wants};
use crossbeam_utils::CachePadded;
use wharf::{Executor, Returnable, TaskHandle};

/// How long everybody is left alone before a call that finds them asleep.
const IDLE: Duration = Duration::from_millis(1);
/// How long the caller works between its calls, where it does.
const WORK: Duration = Duration::from_micros(100);
/// How many tasks are under way in the throughput with a window.
const WINDOW: usize = 1000;
/// How long to wait for the count of finished tasks, which follows their ends.
const COUNT_TIMEOUT: Duration = Duration::from_secs(60);

fn nothing() {}

fn main() {
    if was_started_again() {
        return;
    }
    let mut table = Table::new("dispatch");
    if wants("round-trips") {
        round_trips(&mut table);
    }
    if wants("bursts") {
        bursts::bursts(&mut table);
    }
    if wants("throughput") {
        throughput(&mut table);
    }
    if wants("one-core") {
        scale::one_core(&mut table);
    }
    if wants("grain") {
        grain::grain(&mut table);
    }
    if wants("workers") {
        scale::workers(&mut table);
    }
    if wants("growth") {
        scale::growth(&mut table);
    }
    table.print();
}

fn submit(executor: &Executor) -> TaskHandle<()> {
    executor.submit(nothing, ()).expect("an empty task is taken")
}

fn call(executor: &Executor) {
    submit(executor).join().expect("an empty task succeeds");
}

/// Measures one round of a subject: some calls that are not counted, then those that are.
fn round(warm_up: usize, calls: usize, pause: Duration, call: &mut dyn FnMut()) -> Latency {
    (0..warm_up).for_each(|_| call());
    latency(calls, pause, call)
}

/// Keeps the caller's core busy, as a program does that computes between its tasks.
fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK {
        std::hint::spin_loop();
    }
}

fn round_trips(table: &mut Table) {
    let usual = executor(|builder| builder);
    let sleepy = executor(|builder| builder.spin(Duration::ZERO));
    let [mut one, mut two] = [Peer::start(), Peer::start()];
    let (rounds, calls, sleeps, idles, busies) =
        if is_full() { (21, 10_000, 1500, 30, 500) } else { (2, 100, 20, 3, 10) };

    let awake = in_turns(
        rounds,
        &mut [
            &mut || round(500, calls, Duration::ZERO, &mut || call(&usual)),
            &mut || one.round(Mode::Spin, |trip| round(500, calls, Duration::ZERO, trip)),
            &mut || two.round(Mode::SpinThenFutex, |trip| round(500, calls, Duration::ZERO, trip)),
        ],
    );
    let names = ["spin", "spin 20 us then futex"];
    beside(table, "round trip, worker awake", &awake, &names, Floor::AtMost(0.5e-6));

    // Short rounds, so that the host treats both alike: it may let cores cool down for a while.
    // A call first that is not counted: before it, its processes were idle for a whole round of
    // the others, and not for a millisecond.
    let idle = in_turns(
        5 * rounds,
        &mut [&mut || round(1, idles, IDLE, &mut || call(&usual)), &mut || {
            one.round(Mode::Futex, |trip| round(1, idles, IDLE, trip))
        }],
    );
    beside(table, "round trip after 1 ms idle", &idle, &["futex"], Floor::RatioAtMost(1.15));

    let busy = in_turns(
        rounds,
        &mut [
            &mut || latency_after(busies, work, || call(&usual)),
            &mut || one.round(Mode::Futex, |trip| latency_after(busies, work, trip)),
            &mut || two.round(Mode::SpinThenFutex, |trip| latency_after(busies, work, trip)),
        ],
    );
    let names = ["futex", "spin 20 us then futex"];
    let what = "round trip after 100 us of the caller's work";
    beside(table, what, &busy, &names, Floor::RatioAtMost(1.15));

    let asleep = in_turns(
        rounds,
        &mut [&mut || round(10, sleeps, Duration::ZERO, &mut || call(&sleepy)), &mut || {
            one.round(Mode::Futex, |trip| round(10, sleeps, Duration::ZERO, trip))
        }],
    );
    let what = "round trip, spin(0), back to back";
    beside(table, what, &asleep, &["futex"], Floor::RatioAtMost(1.5));
}

/// Adds two rows, median and mean of single calls, for each raw limit.
fn beside(table: &mut Table, what: &str, results: &[Vec<Latency>], names: &[&str], floor: Floor) {
    let median = |at: usize| Summary::of(results[at].iter().map(|latency| latency.median));
    let mean = |at: usize| Summary::of(results[at].iter().map(|latency| latency.mean));
    for (raw, name) in (1..).zip(names) {
        table.row(&format!("{what}, p50"), median(0), Some((name, median(raw))), floor);
        table.row(&format!("{what}, mean"), mean(0), Some((name, mean(raw))), floor);
    }
}

/// What many tasks took: seconds until the last one's end, and processor seconds of all processes.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

/// Runs `work`, which ends `tasks` tasks, and checks that just so many were run.
fn cost(executor: &Executor, tasks: usize, work: impl FnOnce()) -> Cost {
    let cpu = || {
        let workers = executor.worker_pids();
        workers.into_iter().chain([std::process::id()]).map(cpu_seconds).sum::<f64>()
    };
    let before = executor.stats().tasks_finished;
    let cpu_before = cpu();
    let (seconds, ()) = timed(work);
    let cpu = cpu() - cpu_before;
    let deadline = Instant::now() + COUNT_TIMEOUT;
    while executor.stats().tasks_finished - before < tasks as u64 {
        assert!(Instant::now() < deadline, "tasks are missing: {:?}", executor.stats());
        std::thread::yield_now();
    }
    assert_eq!(executor.stats().tasks_finished - before, tasks as u64);
    Cost { seconds, cpu }
}

fn submit_then_join(executor: &Executor, tasks: usize) {
    let handles: Vec<_> = (0..tasks).map(|_| submit(executor)).collect();
    for handle in handles {
        handle.join().expect("an empty task succeeds");
    }
}

fn submit_all_then_join(executor: &Executor, tasks: usize) -> Cost {
    cost(executor, tasks, || submit_then_join(executor, tasks))
}

fn keep_a_window(executor: &Executor, tasks: usize) -> Cost {
    cost(executor, tasks, || {
        window(tasks, |_| submit(executor), |()| ());
    })
}

/// Submits so many tasks, a window of them at a time, and joins them in order.
fn window<R: Returnable>(
    tasks: usize,
    submit: impl Fn(usize) -> TaskHandle<R>,
    mut end: impl FnMut(R),
) {
    let mut join = |handle: TaskHandle<R>| end(handle.join().expect("a task succeeds"));
    let mut window = VecDeque::with_capacity(WINDOW);
    for task in 0..tasks {
        if window.len() == WINDOW {
            window.pop_front().into_iter().for_each(&mut join);
        }
        window.push_back(submit(task));
    }
    window.into_iter().for_each(join);
}

/// Nobody joins, so the end is the end of the shutdown.
#[expect(clippy::disallowed_methods, reason = "no event tells of the end of detached tasks")]
fn drop_then_shut_down(tasks: usize) -> Cost {
    let executor = executor(|builder| builder);
    let mut cost = cost(&executor, tasks, || {
        (0..tasks).for_each(|_| drop(submit(&executor)));
        let asleep = Duration::from_micros(200);
        while executor.stats().tasks_finished < tasks as u64 {
            std::thread::sleep(asleep);
        }
    });
    let (seconds, shut_down) = timed(|| executor.shutdown());
    shut_down.expect("an executor shuts down");
    cost.seconds += seconds;
    cost
}

/// The same in threads: what is spawned counts for its thread alone, so that nobody waits for a
/// counter.
fn spawn_in_scope(tasks: usize) -> Cost {
    let threads = rayon::current_num_threads();
    let counts: Vec<CachePadded<AtomicUsize>> = (0..threads).map(|_| Default::default()).collect();
    let cpu = || cpu_seconds(std::process::id());
    let cpu_before = cpu();
    let (seconds, ()) = timed(|| {
        rayon::scope(|scope| {
            for _ in 0..tasks {
                scope.spawn(|_| {
                    let thread = rayon::current_thread_index().expect("it runs in the pool");
                    counts[thread].fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    });
    assert_eq!(counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>(), tasks);
    Cost { seconds, cpu: cpu() - cpu_before }
}

fn throughput(table: &mut Table) {
    let (rounds, tasks) = if is_full() { (5, 1_000_000) } else { (2, 5000) };
    let executor = executor(|builder| builder);
    let results = in_turns(
        rounds,
        &mut [
            &mut || submit_all_then_join(&executor, tasks),
            &mut || keep_a_window(&executor, tasks),
            &mut || drop_then_shut_down(tasks),
            &mut || spawn_in_scope(tasks),
        ],
    );
    let rate =
        |costs: &Vec<Cost>| Summary::of(costs.iter().map(|cost| tasks as f64 / cost.seconds));
    let cpu = |costs: &Vec<Cost>| Summary::of(costs.iter().map(|cost| cost.cpu));
    let names = ["submit all, then join all", "1000 under way", "submit, drop, shut down"];
    table.unit(Unit::TasksPerSecond);
    for (name, costs) in names.iter().zip(&results) {
        let threads = Some(("rayon scope.spawn", rate(&results[3])));
        let what = format!("{tasks} tasks: {name}");
        table.row(&what, rate(costs), threads, Floor::RatioAtLeast(1.0));
    }
    table.unit(Unit::Seconds);
    for (name, costs) in names.iter().zip(&results) {
        let threads = Some(("rayon scope.spawn", cpu(&results[3])));
        table.row(&format!("their processor time: {name}"), cpu(costs), threads, Floor::None);
    }
}
