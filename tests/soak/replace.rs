//! How long it takes until a killed worker's successor works, and whether its neighbour notices.

use std::time::{Duration, Instant};

use fastrand::Rng;
use wharf::{Executor, TaskHandle};

use crate::common::executor;
use crate::watch::{self, STEPS, fail};
use crate::workers::kill;

/// Tasks that are queued while the neighbour is watched, and how long each works.
const TASKS: usize = 400;
const WORK: Duration = Duration::from_micros(50);

/// Median and worst of what was measured.
#[derive(Debug)]
pub struct Times {
    pub median: Duration,
    pub worst: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let worst = times.last().copied().unwrap_or_default();
        Self { median: times.get(times.len() / 2).copied().unwrap_or_default(), worst }
    }
}

fn pid() -> u32 {
    std::process::id()
}

/// Measures from SIGKILL to the first result of the successor, in a pool of one.
pub fn respawn_times(count: usize) -> Times {
    watch::enter("replacing: a worker alone");
    let executor = executor(1);
    let times = (0..count).map(|_| {
        let old = run(executor.submit(pid, ()));
        let old = old.unwrap_or_else(|| fail(format_args!("a task died unasked")));
        let killed = Instant::now();
        kill(&[old]);
        // The old worker may still take tasks for a moment, and die with one.
        while run(executor.submit(pid, ())).is_none_or(|pid| pid == old) {}
        let time = killed.elapsed();
        // It may have worked before it is listed.
        while executor.worker_pids().is_empty() {
            std::thread::yield_now();
        }
        STEPS.raise();
        time
    });
    Times::of(times.collect())
}

fn run<R: wharf::Returnable, E: std::fmt::Debug>(task: Result<TaskHandle<R>, E>) -> Option<R> {
    task.expect("a task is accepted").join().ok()
}

/// Works for a while. Who did, from when to when.
fn work(ns: u64) -> (u32, u64, u64) {
    let start = now_ns();
    let mut end = start;
    while end < start + ns {
        end = now_ns();
    }
    (std::process::id(), start, end)
}

/// A clock that is the same in all processes.
fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Measures the longest pause of one of two workers while there is work for it: without and with
/// the other being killed and replaced meanwhile.
pub fn neighbour_pauses(count: usize, random: &mut Rng) -> (Times, Times) {
    watch::enter("replacing: a neighbour at work");
    let executor = executor(2);
    let mut pauses = [Vec::new(), Vec::new()];
    for n in 0..2 * count {
        pauses[n % 2].push(longest_pause(&executor, n % 2 == 1, random));
        STEPS.raise();
    }
    let [quiet, killing] = pauses;
    (Times::of(quiet), Times::of(killing))
}

fn longest_pause(executor: &Executor, with_kill: bool, random: &mut Rng) -> Duration {
    while executor.worker_pids().len() < 2 {
        std::thread::yield_now();
    }
    let mut pids = executor.worker_pids();
    random.shuffle(&mut pids);
    let (neighbour, victim) = (pids[0], pids[1]);
    let tasks: Vec<_> =
        (0..TASKS).map(|_| executor.submit(work, (WORK.as_nanos() as u64,))).collect();
    if with_kill {
        kill(&[victim]);
    }
    let outcomes = tasks.into_iter().filter_map(run);
    let mut spans: Vec<_> = outcomes.filter(|(pid, ..)| *pid == neighbour).collect();
    spans.sort_unstable_by_key(|(_, start, _)| *start);
    let pauses = spans.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].2));
    Duration::from_nanos(pauses.max().unwrap_or_default())
}
