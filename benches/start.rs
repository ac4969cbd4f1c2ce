//! What it costs to start an executor, to end it, and to replace a worker that died.

mod common;

use common::peer::{spawn_and_wait, was_started_again};
use common::{Floor, Summary, Table, WORKERS, executor, in_turns, is_full, timed};
use wharf::{Executor, TaskError};

fn double(x: u64) -> u64 {
    2 * x
}

fn pid() -> u32 {
    std::process::id()
}

fn abort() {
    std::process::abort()
}

fn main() {
    if was_started_again() {
        return;
    }
    let rounds = if is_full() { 21 } else { 2 };
    let mut table = Table::new("start");
    let single = executor(|builder| builder.workers(1));
    let results = in_turns(
        rounds,
        &mut [
            &mut || {
                let (seconds, executor) = timed(build_to_first_result);
                let (shutdown, shut_down) = timed(|| executor.shutdown());
                shut_down.expect("an executor shuts down");
                [seconds, shutdown]
            },
            &mut || [timed(|| spawn_and_wait(1)).0, 0.0],
            &mut || [timed(|| spawn_and_wait(WORKERS)).0, 0.0],
            &mut || [timed(|| replace_a_worker(&single)).0, 0.0],
        ],
    );
    let [build, one, both, replaced] = &results[..] else { unreachable!("four subjects ran") };
    let of = |rounds: &[[f64; 2]]| Summary::of(rounds.iter().map(|times| times[0]));
    let shutdowns = Summary::of(build.iter().map(|times| times[1]));
    let one = || Some(("a bare process", of(one)));
    let both = Some(("two bare processes", of(both)));
    table.row("build to first result", of(build), one(), Floor::AtMost(2.4e-3));
    table.row("build to first result", of(build), both, Floor::AtMost(2.4e-3));
    table.row("shutdown", shutdowns, None, Floor::None);
    table.row("abort to successor's first result", of(replaced), one(), Floor::None);
    table.print();
}

fn build_to_first_result() -> Executor {
    let executor = executor(|builder| builder);
    let task = executor.submit(double, (21u64,)).expect("a task is taken");
    assert_eq!(task.join().expect("a task succeeds"), 42);
    executor
}

/// Kills the only worker by a task; what comes next runs in its successor.
fn replace_a_worker(executor: &Executor) {
    let task = executor.submit(abort, ()).expect("a task is taken");
    let dead = match task.join() {
        Err(TaskError::WorkerDied { pid, .. }) => pid,
        other => panic!("the worker should have died: {other:?}"),
    };
    let task = executor.submit(pid, ()).expect("a task is taken");
    assert_ne!(task.join().expect("a task succeeds"), dead);
}
