//! The smallest useful task: METG(50 %), after Slaughter et al., "Task Bench" (SC20).

use crate::common::{WORKERS, timed};
use crate::sheet::{Sheet, Size};
use crate::work::chain;

/// Lengths of a task that are tried, in seconds, from the longest.
const GRAINS: [f64; 16] = [
    1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6, 5e-7, 2e-7, 1e-7,
];
/// The first length is so many times what an empty task takes, and this at least.
const FIRST: f64 = 40.0;
const FIRST_MIN: f64 = 1e-4;
/// Links of the chain that measures how long one takes.
const LINKS: u64 = 5_000_000;
/// Tasks of one length, at least and at most.
const TASKS: (f64, f64) = (16.0, 300_000.0);
/// Runs of each length, of which the faster counts: what the host takes makes a run only longer.
const RUNS: usize = 2;

/// Two lengths in turn with less than this end the search. A single one may be an accident.
const LOW: f64 = 0.45;

/// Tries shorter and shorter tasks until all workers together do less than half of what they
/// could; writes the curve down, and the length at which it falls below a half.
pub fn find(sheet: &Sheet, how: &str, size: Size, mut run: impl FnMut(u64, u64) -> Option<u64>) {
    const TRIAL: u64 = 256;
    let (seconds, answer) = timed(|| run(TRIAL, 0));
    if answer.is_none() {
        return;
    }
    let link = timed(|| chain(1, LINKS)).0 / LINKS as f64;
    let longest = (FIRST * seconds / TRIAL as f64).max(FIRST_MIN);
    let first = GRAINS.iter().rposition(|&grain| grain >= longest).unwrap_or(0);
    let span = size.pick(0.03, 0.005);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for grain in &GRAINS[first..] {
        let links = (grain / link).max(1.0) as u64;
        let tasks = (span / grain).clamp(TASKS.0, TASKS.1) as u64;
        let alone = || one_by_one(tasks, links);
        let (mut sequential, mut wall) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..size.pick(RUNS, 1) {
            let (seconds, expected) = timed(alone);
            sequential = sequential.min(seconds);
            let (seconds, answer) = timed(|| run(tasks, links));
            assert_eq!(answer, Some(expected));
            wall = wall.min(seconds);
        }
        let efficiency = sequential / (WORKERS as f64 * wall);
        let length = sequential / tasks as f64;
        points.push((length, efficiency));
        let is_low = |point: &(f64, f64)| point.1 < LOW;
        if points.len() >= 2 && points[points.len() - 2..].iter().all(is_low) {
            break;
        }
    }
    sheet.points(&format!("curve {how}"), &points);
    let question = format!("metg {how}");
    match crossing(&points) {
        Some(length) => sheet.value(&question, length, None),
        None => sheet.note(&question, "two workers were never half busy, up to 10 ms a task"),
    }
}

/// Runs all chains, each after the end of the one before, as a worker does that is given them one
/// by one: else the processor begins a short one before the last has ended.
fn one_by_one(tasks: u64, links: u64) -> u64 {
    // Changes nothing, and the compiler cannot know.
    let none = std::hint::black_box(0);
    let (mut last, mut total) = (0, 0u64);
    for seed in 0..tasks {
        last = chain(seed ^ (last & none), links);
        total = total.wrapping_add(last);
    }
    total
}

/// Where the curve last falls below a half, between two points on a logarithmic scale; the
/// shortest length that was tried if it never does, and nothing if it is never above.
fn crossing(points: &[(f64, f64)]) -> Option<f64> {
    let falls = |pair: &&[(f64, f64)]| pair[0].1 >= 0.5 && pair[1].1 < 0.5;
    match points.windows(2).rfind(falls) {
        Some(pair) => {
            let [(long, above), (short, below)] = [pair[0], pair[1]];
            Some(long * (short / long).powf((above - 0.5) / (above - below)))
        }
        None => points.last().filter(|point| point.1 >= 0.5).map(|point| point.0),
    }
}
