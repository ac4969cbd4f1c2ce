//! A process may end, or be stopped, at every named step of every protocol.
//!
//! `tools/kill_points.sh`, or `cargo test --release --features kill-points --test kill_points`.
//! With words behind `--`, only the rows that have all of them run: `-- ring.pop worker`.
//!
//! The steps are read from the code: each `step!` in `src` is a row for each side that takes it and
//! for each of: SIGKILL, `abort`, SIGSTOP. A row is a program of its own, this one started again,
//! with an executor under a load of every kind that goes on until the step is passed; a step that
//! is never passed fails its row. So nobody writes a row, and a new step has its rows at once.

mod common;
#[path = "kill_points/load.rs"]
mod load;
#[path = "kill_points/loops.rs"]
mod loops;
#[path = "kill_points/program.rs"]
mod program;
#[path = "kill_points/rows.rs"]
mod rows;
#[path = "tidy/source.rs"]
#[allow(dead_code, reason = "the house rules use the rest")]
mod source;
#[path = "kill_points/steps.rs"]
mod steps;
#[path = "kill_points/witness.rs"]
mod witness;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rows::{Row, rows_of};
use steps::Side;

/// Rows that run at a time. Those that are stopped mostly wait.
const AT_A_TIME: usize = 5;

/// What has become of a row, and how long it took.
type Outcome = (Result<&'static str, String>, Duration);

fn main() {
    if let Ok(text) = std::env::var(rows::VARIABLE) {
        return program::live(&Row::parse(&text));
    }
    forbid_core_dumps();
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all = rows_of(&steps::of_the_code());
    let (rows, others): (Vec<Row>, Vec<Row>) = all.into_iter().partition(|row| row.matches(&words));
    let outcomes = run(&rows);
    print(&rows, &outcomes);
    let failed = outcomes.iter().filter(|(result, _)| result.is_err()).count();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out",
        rows.len() - failed,
        others.len()
    );
    std::process::exit(i32::from(failed > 0));
}

fn run(rows: &[Row]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((index, row)) = take(&next, rows) {
                    let started = Instant::now();
                    let outcome = (witness::watch(row), started.elapsed());
                    if let Err(cause) = &outcome.0 {
                        eprintln!("\n{row}: {cause}");
                    }
                    outcomes.lock().expect("nobody panics with it").push((index, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("nobody panics with it");
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn take<'r>(next: &AtomicUsize, rows: &'r [Row]) -> Option<(usize, &'r Row)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    rows.get(index).map(|row| (index, row))
}

fn print(rows: &[Row], outcomes: &[Outcome]) {
    println!("{:<20} {:<7} {:<6} {:<40} {:>6}", "step", "side", "action", "verdict", "ms");
    for (row, (result, time)) in rows.iter().zip(outcomes) {
        let Row { step, side, action } = row;
        let verdict = result.as_ref().map_or("FAILED", |verdict| verdict);
        let ms = time.as_millis();
        println!("{step:<20} {:<7} {:<6} {verdict:<40} {ms:>6}", side.name(), action.name());
    }
    for side in [Side::Worker, Side::Parent] {
        let of_side: Vec<_> = rows.iter().zip(outcomes).filter(|(r, _)| r.side == side).collect();
        let green = of_side.iter().filter(|(_, (result, _))| result.is_ok()).count();
        println!("{}: {green} of {} rows as promised", side.name(), of_side.len());
    }
}

/// Hundreds of processes abort here; nobody wants their memory.
fn forbid_core_dumps() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, 0);
}
