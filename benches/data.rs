//! What large arguments and results cost: sharing, access, passes over them, results in place.

mod common;
#[path = "data/pages.rs"]
mod pages;
#[path = "data/touch.rs"]
mod touch;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use common::peer::{was_started_again, with_fresh_memory};
use common::{Floor, Summary, Table, Unit, WORKERS};
use common::{executor, in_turns, is_full, latency, number, sum, timed, wants};
use pages::second;
use wharf::{Array, Builder, Executor, ShareError, Shared};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// What the executors of this bench may hold, and what they keep warm: it fits into 6 GiB, but for
/// the arrays of 4 GiB, which have 5.
const BUDGET_BYTES: u64 = 4 * GIB as u64;
const RETAIN_BYTES: u64 = 2 * GIB as u64;

fn main() {
    if was_started_again() {
        return;
    }
    let large = if is_full() { GIB } else { 4 * MIB };
    let middle = if is_full() { 64 * MIB } else { MIB };
    let small = if is_full() { MIB } else { 256 * KIB };
    let mut table = Table::new("data");
    if wants("share") {
        for bytes in [large, middle, small] {
            share(&mut table, bytes);
        }
    }
    if wants("pages") {
        for bytes in [large, middle] {
            pages::of_2_mib_or_4_kib(&mut table, bytes);
        }
    }
    if wants("access") {
        access(&mut table, small, large);
    }
    if wants("pass") {
        pass(&mut table, large);
        pass(&mut table, 4 * large);
    }
    if wants("result") {
        result_in_place(&mut table, middle);
    }
    table.print();
}

fn bounded(builder: Builder) -> Builder {
    builder.memory_budget(BUDGET_BYTES).retain_memory(RETAIN_BYTES)
}

fn shown(bytes: usize) -> String {
    match bytes {
        GIB.. => format!("{} GiB", bytes / GIB),
        MIB.. => format!("{} MiB", bytes / MIB),
        _ => format!("{} KiB", bytes / KIB),
    }
}

/// Whole numbers, so that their sum does not depend on the order of additions.
fn numbers(bytes: usize) -> Vec<f64> {
    (0..bytes / 8).map(number).collect()
}

fn speed(bytes: usize, rounds: &[f64]) -> Summary {
    Summary::of(rounds.iter().map(|seconds| bytes as f64 / seconds))
}

fn share(table: &mut Table, bytes: usize) {
    let source = numbers(bytes);
    share_cold(table, &source);
    // About a second of copying, at most.
    let repeats = if is_full() { (GIB / bytes).min(256) } else { 1 };
    let rounds = if is_full() { 9 } else { 2 };
    let executor = executor(bounded);
    let mut warm = vec![1.0; source.len()];
    drop(executor.share(&source).expect("there is room"));
    let results = in_turns(
        rounds,
        &mut [
            &mut || {
                let (mut seconds, mut release) = (0.0, 0.0);
                for _ in 0..repeats {
                    let (copied, shared) =
                        timed(|| executor.share(&source).expect("there is room"));
                    assert_eq!(shared[source.len() - 1], source[source.len() - 1]);
                    seconds += copied;
                    release += timed(|| drop(shared)).0;
                }
                [seconds, release].map(|sum| sum / repeats as f64)
            },
            &mut || {
                let copy = || {
                    (0..repeats)
                        .for_each(|_| std::hint::black_box(&mut warm).copy_from_slice(&source))
                };
                [timed(copy).0 / repeats as f64, 0.0]
            },
        ],
    );
    let times = |subject: usize, at: usize| -> Vec<f64> {
        results[subject].iter().map(|times| times[at]).collect()
    };
    let raw = Some(("memcpy, warm", speed(bytes, &times(1, 0))));
    table.unit(Unit::BytesPerSecond);
    let what = format!("share {}, warm", shown(bytes));
    let least = if bytes == GIB { 1.2 } else { 0.8 };
    table.row(&what, speed(bytes, &times(0, 0)), raw, Floor::RatioAtLeast(least));
    table.unit(Unit::Seconds);
    let what = format!("release of {}", shown(bytes));
    table.row(&what, Summary::of(times(0, 1)), None, Floor::None);
    touch::touch(table, &executor, &source);
    check_share(&executor, &source);
}

/// The first value that an executor shares, beside a copy into memory as fresh.
fn share_cold(table: &mut Table, source: &Vec<f64>) {
    let bytes = size_of_val(&source[..]);
    let rounds = if is_full() { 7 } else { 2 };
    let share = || {
        let executor = executor(bounded);
        let (seconds, shared) = timed(|| executor.share(source).expect("there is room"));
        assert_eq!(shared[source.len() - 1], source[source.len() - 1]);
        let touch = || timed(|| touch::read_twice(&executor, &shared)).0;
        [seconds, touch(), touch()]
    };
    let copy = || {
        with_fresh_memory(bytes, |target| {
            // SAFETY: `with_fresh_memory` mapped as many bytes as `source` has, apart from it, and
            // nobody else knows them.
            timed(|| unsafe { target.copy_from(source.as_ptr().cast(), bytes) }).0
        })
    };
    let alone = |seconds: f64| [seconds, 0.0, 0.0];
    let results = in_turns(
        rounds,
        &mut [&mut || second(share), &mut || alone(second(copy)), &mut || {
            alone(second(|| pages::faults(bytes)))
        }],
    );
    let times = |subject: usize, at: usize| -> Vec<f64> {
        results[subject].iter().map(|times| times[at]).collect()
    };
    table.unit(Unit::BytesPerSecond);
    let what = format!("share {}, cold", shown(bytes));
    let floor = if bytes == GIB { Floor::RatioAtLeast(4.0) } else { Floor::None };
    for (at, name, floor) in
        [(1, "memcpy, fresh", floor), (2, "faults of 4 KiB alone", Floor::None)]
    {
        let raw = Some((name, speed(bytes, &times(at, 0))));
        table.row(&what, speed(bytes, &times(0, 0)), raw, floor);
    }
    table.unit(Unit::Seconds);
    let what = format!("two tasks read {}, the first of all", shown(bytes));
    let [touches, again] = [1, 2].map(|at| Summary::of(times(0, at)));
    table.row(&what, touches, Some(("the next two", again)), Floor::None);
}

fn check_share(executor: &Executor, source: &Vec<f64>) {
    let shared = executor.share(source).expect("there is room");
    let task = executor.submit(sum, (&shared,)).expect("a task is taken");
    assert_eq!(task.join().expect("a task succeeds"), sum(source));
}

fn pick(numbers: &[f64], index: u64) -> f64 {
    numbers[index as usize]
}

/// A task that reads one element takes the same time whatever the size of what it reads.
fn access(table: &mut Table, small: usize, large: usize) {
    let executor = executor(bounded);
    let shared =
        [small, large].map(|bytes| executor.share(&numbers(bytes)).expect("there is room"));
    let arrays = [small, large].map(|bytes| in_place(&executor, bytes));
    let (rounds, calls) = if is_full() { (11, 5000) } else { (2, 50) };
    let of_shared = |shared: &Shared<Vec<f64>>| {
        let index = shared.len() / 2 + 1;
        let pause = Duration::ZERO;
        let touch = || {
            let task = executor.submit(pick, (shared, index as u64)).expect("a task is taken");
            assert_eq!(task.join().expect("a task succeeds"), number(index));
        };
        latency(calls, pause, touch).median
    };
    let of_array = |array: &Array<f64>| {
        let index = array.len() / 2 + 1;
        let touch = || {
            let task = executor.submit(pick, (array, index as u64)).expect("a task is taken");
            assert_eq!(task.join().expect("a task succeeds"), number(index));
        };
        latency(calls, Duration::ZERO, touch).median
    };
    let results = in_turns(
        rounds,
        &mut [
            &mut || of_shared(&shared[0]),
            &mut || of_shared(&shared[1]),
            &mut || of_array(&arrays[0]),
            &mut || of_array(&arrays[1]),
        ],
    );
    table.unit(Unit::Seconds);
    let name = format!("of {}", shown(small));
    for (kind, pair) in ["Shared", "Array"].iter().zip(results.chunks_exact(2)) {
        let [few, many] = [&pair[0], &pair[1]].map(|times| Summary::of(times.iter().copied()));
        let what = format!("one element of a {kind} of {}, p50", shown(large));
        let raw = Some((name.as_str(), few));
        table.row(&what, many, raw, Floor::RatioAtMost(1.1));
    }
}

fn in_place(executor: &Executor, bytes: usize) -> Array<f64> {
    let mut array = executor.array::<f64>(bytes / 8).expect("there is room");
    array.iter_mut().enumerate().for_each(|(index, place)| *place = number(index));
    array.freeze()
}

fn sum_part(numbers: &[f64], part: u64, parts: u64) -> f64 {
    let (start, end) =
        (part * numbers.len() as u64 / parts, (part + 1) * numbers.len() as u64 / parts);
    sum(&numbers[start as usize..end as usize])
}

/// All workers add up one array, beside as many threads of this process.
fn pass(table: &mut Table, bytes: usize) {
    let budget = BUDGET_BYTES.max((bytes + GIB) as u64);
    let executor = executor(|builder| bounded(builder).memory_budget(budget));
    let (seconds, array) = timed(|| in_place(&executor, bytes));
    let (expected, parts) = (sum(&array), WORKERS as u64);
    let by_workers = || {
        let submit =
            |part| executor.submit(sum_part, (&array, part, parts)).expect("a task is taken");
        let tasks: Vec<_> = (0..parts).map(submit).collect();
        tasks.into_iter().map(|task| task.join().expect("a task succeeds")).sum::<f64>()
    };
    let by_threads = || {
        std::thread::scope(|scope| {
            let start = |part| {
                scope.spawn({
                    let array = &array;
                    move || sum_part(array, part, parts)
                })
            };
            let threads: Vec<_> = (0..parts).map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("a sum")).sum::<f64>()
        })
    };
    let checked = |work: &dyn Fn() -> f64| {
        let (seconds, result) = timed(work);
        assert_eq!(result, expected);
        seconds
    };
    let first = checked(&by_workers);
    let rounds = if is_full() { 9 } else { 2 };
    let results =
        in_turns(rounds, &mut [&mut || checked(&by_workers), &mut || checked(&by_threads)]);
    table.unit(Unit::BytesPerSecond);
    let fill = format!("{} built in place, cold", shown(bytes));
    table.row(&fill, speed(bytes, &[seconds]), None, Floor::None);
    let what = format!("sum of {} in {WORKERS} workers", shown(bytes));
    let threads = || Some(("as many threads", speed(bytes, &results[1])));
    table.row(&format!("{what}, first pass"), speed(bytes, &[first]), threads(), Floor::None);
    table.row(&what, speed(bytes, &results[0]), threads(), Floor::RatioAtLeast(0.95));
}

/// Returns the array and how long its filling took in the worker, in nanoseconds.
fn make(len: u64) -> Result<(Array<f64>, u64), ShareError> {
    let mut array = wharf::array_for_overwrite::<f64>(len as usize)?;
    let start = Instant::now();
    array.fill(len as f64);
    let nanoseconds = start.elapsed().as_nanos() as u64;
    Ok((array.freeze(), nanoseconds))
}

/// Fills memory that the worker keeps; returns how long that took, in seconds.
fn fill_warm(len: u64) -> f64 {
    thread_local!(static KEPT: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) });
    KEPT.with_borrow_mut(|kept| {
        kept.resize(len as usize, 0.0);
        timed(|| std::hint::black_box(kept).fill(len as f64)).0
    })
}

/// A result that is built where the caller reads it, beside the filling alone.
fn result_in_place(table: &mut Table, bytes: usize) {
    // One worker: both subjects fill memory in the same process.
    let executor = executor(|builder| bounded(builder).workers(1));
    let len = (bytes / 8) as u64;
    let own = vec![len as f64; len as usize];
    let expected = len as f64 * len as f64;
    let result = || {
        let start = Instant::now();
        let task = executor.submit(make, (len,)).expect("a task is taken");
        let (array, nanoseconds) = task.join().expect("a task succeeds").expect("there is room");
        let joined = start.elapsed().as_secs_f64();
        assert_eq!(sum(&array), expected);
        [joined, start.elapsed().as_secs_f64(), nanoseconds as f64 * 1e-9]
    };
    let raw = || {
        let task = executor.submit(fill_warm, (len,)).expect("a task is taken");
        let filled = task.join().expect("a task succeeds");
        let (summed, result) = timed(|| sum(std::hint::black_box(&own)));
        assert_eq!(result, expected);
        [filled, filled + summed, filled]
    };
    for _ in 0..2 {
        result();
        raw();
    }
    let rounds = if is_full() { 25 } else { 2 };
    let results = in_turns(rounds, &mut [&mut || result(), &mut || raw()]);
    let of =
        |subject: usize, at: usize| Summary::of(results[subject].iter().map(|times| times[at]));
    table.unit(Unit::Seconds);
    let what = format!("result of {}", shown(bytes));
    let rows = [
        ("made and joined", "filling warm memory", 0, Floor::RatioAtMost(1.1)),
        ("made, joined and summed", "filling and summing warm memory", 1, Floor::None),
        ("its filling in the worker", "filling warm memory", 2, Floor::None),
    ];
    for (step, name, at, floor) in rows {
        table.row(&format!("{what}, {step}"), of(0, at), Some((name, of(1, at))), floor);
    }
}
