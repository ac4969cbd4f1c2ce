//! The program of a row: an executor under load until the step is passed, and what must hold then.

use std::io::Write;
use std::path::Path;
use std::process;
use std::time::Duration;

use wharf::{BuildError, Builder, Death, Executor};

use crate::common::footprint::Footprint;
use crate::common::{roll_call, wait_until};
use crate::load::{Load, RUNS_VARIABLE, SLOTS, Tally};
use crate::rows::{Action, Row, STEP_VARIABLE, Token};
use crate::steps::Side;
use crate::witness::state_of;

/// The exit code of a program whose load has never come to the step.
pub const NEVER_PASSED: i32 = 3;
/// What the program of orphans says when its workers have worked.
pub const READY: &str = "ready";

const NONE_LOST: &str = "no task lost, pool whole";
const ONE_LOST: &str = "one task lost, pool whole";
const ONE_LATE: &str = "one task over its deadline, pool whole";
const STOPPED_IDLE: &str = "no task lost, ended with the executor";
const WHILE_CLOSING: &str = "no task lost, executor closed";
pub const VERDICTS: [&str; 5] = [NONE_LOST, ONE_LOST, ONE_LATE, STOPPED_IDLE, WHILE_CLOSING];

const WORKERS: usize = 2;
/// Loads until the step must have been passed. Most steps are in each.
const ROUNDS_MAX: usize = 300;
/// After so many tasks a worker leaves, in most rows.
const TASKS_MAX: u64 = 20;
/// How long a task may run where a worker will be stopped. Far more than any needs.
const LIMIT: Duration = Duration::from_millis(1500);
/// Small blocks for arguments, more than a load needs at a time.
const BALLAST: usize = 300;

pub fn live(row: &Row) {
    let folder = std::env::current_dir().expect("the row has a folder");
    match row.side {
        _ if row.needs_orphans() => leave_orphans(row, &folder),
        Side::Worker => worker_row(row, &folder),
        Side::Parent => parent_row(row, &folder),
    }
}

/// Few slots, so that submitters wait; workers that leave often, so that others are started; no
/// memory that stays warm, so that it is given back, and what is held can be compared.
fn builder(folder: &Path, worker_order: String, tasks_max: u64) -> Builder {
    Executor::builder()
        .workers(WORKERS)
        .workers_max(WORKERS)
        .task_slots(SLOTS as u32)
        .memory_budget(64 << 20)
        .retain_memory(0)
        .max_tasks_per_worker(tasks_max)
        .env(STEP_VARIABLE, worker_order)
        .env(RUNS_VARIABLE, folder.join("runs"))
        .env("RUST_BACKTRACE", "0")
}

/// The order is for this process, which is killed here, or stopped and continued by the witness.
fn parent_row(row: &Row, folder: &Path) {
    let token = Token::of(folder);
    for _ in 0..ROUNDS_MAX {
        let builder = builder(folder, Side::Worker.name().to_owned(), TASKS_MAX);
        let executor = builder.build().expect("an executor can be built");
        let mut load = Load::new(&executor, folder, None);
        load.run();
        load.cancelled();
        load.lose_one();
        load.check_runs();
        executor.shutdown().expect("it ends in order");
        if token.taker().is_some() {
            return;
        }
    }
    eprintln!("{row} was not passed in {ROUNDS_MAX} loads");
    process::exit(NEVER_PASSED);
}

/// Waits to be killed, so that the workers are alone.
fn leave_orphans(row: &Row, folder: &Path) {
    let token = Token::of(folder);
    let builder = builder(folder, row.order(&token), TASKS_MAX);
    let executor = builder.build().expect("an executor can be built");
    roll_call(&executor);
    token.lay_out();
    print!("{READY}");
    std::io::stdout().flush().expect("somebody listens");
    loop {
        std::thread::park();
    }
}

fn worker_row(row: &Row, folder: &Path) {
    let before = Footprint::take();
    let token = Token::of(folder);
    if row.step.starts_with("start.") {
        while_building(row, folder, &token);
        assert_eq!(Footprint::take(), before, "something is left of an executor that was built");
    }
    for _ in 0..ROUNDS_MAX {
        if let Some(verdict) = worker_round(row, folder, &token) {
            assert_eq!(Footprint::take(), before, "something is left");
            println!("{verdict}");
            return;
        }
    }
    eprintln!("{row} was not passed in {ROUNDS_MAX} loads");
    process::exit(NEVER_PASSED);
}

/// A worker that does not come up is an error of the builder, and one that has just come up is
/// replaced.
fn while_building(row: &Row, folder: &Path, token: &Token) {
    token.lay_out();
    match builder(folder, row.order(token), TASKS_MAX).build() {
        Err(BuildError::Worker { cause, .. }) => {
            let signal = row.action.signal().unwrap_or(libc::SIGKILL);
            assert!(cause.contains(&Death::Signal(signal).to_string()), "{cause}");
        }
        Ok(executor) => {
            assert_eq!(row.step, "start.ready", "a worker has not come up");
            if row.action != Action::Stop {
                roll_call(&executor);
            }
            executor.shutdown().expect("it ends in order");
        }
        Err(error) => panic!("{error}"),
    }
    assert!(token.forget(), "no worker came to the step");
}

/// One executor's life. Returns what was to be seen, if a worker came to the step.
fn worker_round(row: &Row, folder: &Path, token: &Token) -> Option<&'static str> {
    // Each end of a worker puts right what a stopped one has left undone. Where one is stopped,
    // none ends of itself, unless the row is about that.
    let ends = row.action != Action::Stop || row.is_about_lives();
    let builder = builder(folder, row.order(token), if ends { TASKS_MAX } else { 0 });
    let executor = builder.build().expect("an executor can be built");
    let held = ballast(&executor);
    let limit = (row.action == Action::Stop).then_some(LIMIT);
    let mut load = Load::new(&executor, folder, limit);
    load.begin();
    // Only now: a worker that does not come up while building is an error of the builder.
    token.lay_out();
    load.run();
    match row.action {
        Action::Kill | Action::Abort => load.cancelled(),
        // Those that are left go on. A task that waits to be cancelled would have its deadline.
        Action::Stop => load.many_small(),
    }
    load.check_runs();
    let tally = load.tally;
    let verdict = token.taker().map(|pid| match row.action {
        Action::Stop => after_a_stop(&executor, &tally, pid),
        Action::Kill | Action::Abort => after_a_death(&executor, &tally, held),
    });
    executor.shutdown().expect("it ends in order");
    if verdict.is_some() {
        return verdict;
    }
    assert_eq!((tally.died, tally.late), (0, 0), "nobody was killed or stopped");
    // Passed while closing, when there was no task to lose.
    (!token.take_back()).then_some(WHILE_CLOSING)
}

fn ballast(executor: &Executor) -> u64 {
    let blocks: Vec<_> =
        (0..BALLAST).map(|_| executor.array::<u8>(4096).expect("memory")).collect();
    drop(blocks);
    executor.stats().held_bytes
}

/// At most the one task that the dead worker ran is lost, and the pool is as good as new.
fn after_a_death(executor: &Executor, tally: &Tally, held: u64) -> &'static str {
    assert!(tally.died <= 1 && tally.late == 0, "{tally:?}");
    roll_call(executor);
    // None, if the worker was condemned anyway.
    let deaths = executor.stats().deaths;
    assert!(tally.died <= deaths && deaths <= 1, "{deaths} deaths, {tally:?}");
    // What workers hold for the next task goes with them.
    wait_until("all workers are listed", || executor.worker_pids().len() == WORKERS);
    for pid in executor.worker_pids() {
        // SAFETY: no pointer is passed. The worker is a child that was listed just now.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    }
    wait_until(&format!("{held} bytes are held, as before"), || {
        executor.stats().held_bytes == held
    });
    roll_call(executor);
    if tally.died == 1 { ONE_LOST } else { NONE_LOST }
}

/// At most the one task that the stopped worker held is over its deadline. A worker that held none
/// is there still: the others go on, and the executor ends in spite of it.
fn after_a_stop(executor: &Executor, tally: &Tally, stopped: u32) -> &'static str {
    assert!(tally.late <= 1 && tally.died == 0, "{tally:?}");
    // It takes the token just before it stops; and it may have been condemned since.
    let has_come = || matches!(state_of(stopped), Some('T') | None);
    wait_until("the worker is stopped, or buried", has_come);
    if state_of(stopped).is_some() {
        assert_eq!(tally.late, 0, "its worker lives");
        return STOPPED_IDLE;
    }
    roll_call(executor);
    if tally.late == 1 { ONE_LATE } else { NONE_LOST }
}
