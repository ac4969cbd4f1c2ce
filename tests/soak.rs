//! A soak: workers and parents are killed at random while tasks of all kinds run, and nothing else
//! may come of it than that each death of a worker costs the one task that it ran.
//!
//! With `cargo test` it is short. `tools/soak.sh` runs it for long; so does
//! `cargo test --release --test soak -- KILLS TASKS PARENTS SEED`. The seed decides what is
//! submitted and what is killed, and about when; how threads meet, it does not.

mod common;
#[path = "soak/kinds.rs"]
mod kinds;
#[path = "soak/parents.rs"]
mod parents;
#[path = "soak/pending.rs"]
mod pending;
#[path = "soak/replace.rs"]
mod replace;
#[path = "soak/watch.rs"]
mod watch;
#[path = "soak/workers.rs"]
mod workers;

use std::time::{Duration, Instant};

use fastrand::Rng;
use parents::{Graves, STAGES};
use replace::Times;
use watch::{CANCELLED, DIED, DROPPED, KILLS, PANICKED, RIGHT, SUBMITTED, fail, settled};
use workers::Leaks;

/// How much is to be done.
struct Size {
    kills: u64,
    tasks: u64,
    parents: u64,
    /// How often the replacement of a worker is measured.
    measures: usize,
}

const SHORT: Size = Size { kills: 40, tasks: 10_000, parents: 10, measures: 5 };
/// More kills than this are a long run, which measures more often, too.
const MEASURES: usize = 200;

fn main() {
    if let Ok(seed) = std::env::var(parents::ROLE) {
        return parents::live(seed.parse().expect("a seed is a number"));
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let numbers: Result<Vec<u64>, _> = args.iter().map(|arg| arg.parse()).collect();
    let (size, seed) = match numbers.as_deref() {
        Ok([]) => (SHORT, None),
        Ok(&[kills, tasks, parents]) => (Size { kills, tasks, parents, measures: MEASURES }, None),
        Ok(&[kills, tasks, parents, seed]) => {
            (Size { kills, tasks, parents, measures: MEASURES }, Some(seed))
        }
        Ok(_) => panic!("KILLS TASKS PARENTS [SEED], or nothing"),
        // The name of a test is asked for.
        Err(_) if args.iter().any(|name| "soak".contains(name.as_str())) => (SHORT, None),
        Err(_) => {
            return println!("test result: ok. 0 passed; 0 failed; 0 ignored; 1 filtered out");
        }
    };
    soak(&size, seed.unwrap_or_else(|| fastrand::u64(..)));
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

fn soak(size: &Size, seed: u64) {
    watch::start(seed);
    println!("soak, seed {seed}");
    let mut random = Rng::with_seed(seed);
    let started = Instant::now();
    let (rounds, leaks) = workers::soak(size.kills, size.tasks, &mut random);
    print_workers(rounds, started.elapsed(), &leaks);
    let alone = replace::respawn_times(size.measures);
    let (quiet, killing) = replace::neighbour_pauses(size.measures, &mut random);
    print_times("SIGKILL to the successor's first result", &alone);
    print_times("longest pause of a worker, nobody killed", &quiet);
    print_times("the same while its neighbour is replaced", &killing);
    let started = Instant::now();
    let graves = parents::soak(size.parents, &mut random);
    print_parents(size.parents, started.elapsed(), &graves);
    if leaks != Leaks::default() {
        fail(format_args!("{leaks:?}"));
    }
    if (graves.strays, graves.processes_left, graves.names_left) != (0, 0, 0) {
        fail(format_args!("{graves:?}"));
    }
}

fn row(name: &str, value: impl std::fmt::Display) {
    println!("  {name:<42} {value:>14}");
}

/// A wrong result has ended the soak before this is printed, as has any other verdict.
fn print_workers(rounds: u64, time: Duration, leaks: &Leaks) {
    let seconds = time.as_secs_f64();
    row("executors", rounds);
    row("workers killed", KILLS.get());
    row("tasks", SUBMITTED.get());
    row("  right results", RIGHT.get());
    row("  panics, as asked", PANICKED.get());
    row("  died with their worker", DIED.get());
    row("  cancelled, as asked", CANCELLED.get());
    row("  handles dropped", DROPPED.get());
    row("wrong results", 0);
    row("handles without a verdict", SUBMITTED.get() - settled());
    row("bytes leaked", leaks.held_bytes);
    row("descriptors leaked", leaks.descriptors);
    row("mappings leaked", leaks.mappings);
    row("threads left", leaks.threads);
    row("children left", leaks.children);
    row("names in /dev/shm left", leaks.names);
    row("seconds", format_args!("{seconds:.1}"));
    row("kills per second", format_args!("{:.0}", KILLS.get() as f64 / seconds));
    row("tasks per second", format_args!("{:.0}", SUBMITTED.get() as f64 / seconds));
}

fn print_times(name: &str, times: &Times) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("  {name:<42} median {:.2} ms, worst {:.2} ms", ms(times.median), ms(times.worst));
}

fn print_parents(count: u64, time: Duration, graves: &Graves) {
    row("parents killed", count);
    for (stage, killed) in STAGES.iter().zip(graves.stages) {
        row(&format!("  {stage}"), killed);
    }
    row("  with all their workers", graves.with_workers);
    row("names swept up by the next executor", graves.swept);
    row("workers that came to main", graves.strays);
    row("processes left", graves.processes_left);
    row("names left", graves.names_left);
    row("seconds", format_args!("{:.1}", time.as_secs_f64()));
}
