//! How short a task may be: chains of operations, and the length at which workers are half busy.
//!
//! METG(50 %), the minimum effective task granularity: after Slaughter et al., "Task Bench" (SC20).

use super::{WORKERS, timed};

/// A chain of operations that cannot overlap with the next task's.
pub fn chain(mut x: u64, links: u64) -> u64 {
    for _ in 0..links {
        x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    x
}

/// Where the chain of a task begins.
pub fn seed(task: usize) -> u64 {
    task as u64 | 1
}

/// Runs all chains here; returns how long that took, in seconds, and the sum of their ends.
///
/// One after the other, as tasks run in a worker: each waits for the end of the one before, which
/// the compiler cannot know to change nothing. Else the processor begins a short one before the
/// last has ended, and a task would seem shorter than it is.
pub fn alone(tasks: usize, links: u64) -> (f64, u64) {
    let none = std::hint::black_box(0);
    timed(|| {
        let ends = (0..tasks).scan(0, |last, task| {
            *last = chain(seed(task) ^ (*last & none), links);
            Some(*last)
        });
        ends.fold(0, u64::wrapping_add)
    })
}

/// The part of the workers' time that the chains alone would take.
pub fn efficiency(alone: f64, together: f64) -> f64 {
    alone / (together * WORKERS as f64)
}

/// The shortest length whose efficiency is one half: between the two measured ones around it, on a
/// logarithmic scale. `curve` has lengths in seconds, growing, and their efficiencies.
pub fn half_busy_at(curve: &[(f64, f64)]) -> f64 {
    let Some(above) = curve.iter().position(|(_, busy)| *busy >= 0.5) else { return f64::NAN };
    let (long, much) = curve[above];
    let Some(&(short, little)) = above.checked_sub(1).map(|below| &curve[below]) else {
        return long;
    };
    short * (long / short).powf((0.5 - little) / (much - little))
}
