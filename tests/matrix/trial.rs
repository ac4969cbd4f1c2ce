//! What holds whatever happens: neighbours get their results, the pool goes on, nothing is left.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::{Mutex, PoisonError};

use wharf::{Builder, Executor, Shared, TaskError, TaskHandle};

use super::common::Gate;
use super::common::footprint::Footprint;
pub use super::common::{asleep_in, roll_call, wait_until};
use super::faults::End;

pub const WORKERS: usize = 2;
/// Tasks that are queued before a fault, and as many after it.
const NEIGHBOURS: u64 = 8;
/// Results of this many words do not fit into a slot; each second one is so large.
pub const LARGE_WORDS: usize = 10_000;
/// More than the arguments of any trial need at a time, in small blocks and in large ones.
const SMALL_BALLAST: usize = 300;
const LARGE_BALLAST: usize = 16 << 20;

/// Runs `body` alone in this process, and checks that nothing is left of it.
pub fn without_a_trace<T>(name: &str, body: impl FnOnce() -> T) -> T {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Footprint::take();
    let result = body();
    assert_eq!(Footprint::take(), before, "{name} left something");
    result
}

/// Runs `body`, which costs some workers and says how many, on an executor of its own. Checks
/// that the pool is then as good as new, and that nothing is left of it.
pub fn trial(name: &str, body: impl FnOnce(&Executor) -> u64) {
    trial_of(name, Executor::builder(), body);
}

pub fn trial_of(name: &str, builder: Builder, body: impl FnOnce(&Executor) -> u64) {
    without_a_trace(name, || as_good_as_new(name, builder, body));
}

/// Runs a trial within `without_a_trace`, for one that needs files beside its executor: what opens
/// or removes them is seen by the other tests of this process.
pub fn as_good_as_new(name: &str, builder: Builder, body: impl FnOnce(&Executor) -> u64) {
    let builder = builder.workers(WORKERS);
    // Panics that nobody keeps are printed; where they came from is known here.
    let executor = builder.env("RUST_BACKTRACE", "0").build().expect("an executor can be built");
    let held = ballast(&executor);
    let deaths = body(&executor);
    expect_deaths(name, &executor, deaths);
    roll_call(&executor);
    assert_eq!(executor.stats().deaths, deaths, "{name}");
    // What workers hold for the next task goes with them.
    wait_until("all workers are listed", || executor.worker_pids().len() == WORKERS);
    for pid in executor.worker_pids() {
        // SAFETY: no pointer is passed. The worker is a child that nobody has reaped.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0, "{name}");
    }
    expect_deaths(name, &executor, deaths + WORKERS as u64);
    let what = format!("{name}: {held} bytes are held, as before");
    wait_until(&what, || executor.stats().held_bytes == held);
    roll_call(&executor);
}

/// Waits until as many workers have died.
pub fn expect_deaths(name: &str, executor: &Executor, deaths: u64) {
    wait_until(&format!("{name}: {deaths} deaths"), || executor.stats().deaths >= deaths);
    assert_eq!(executor.stats().deaths, deaths, "{name}");
}

/// Uses more memory for arguments than a trial will, and gives it back, so that what the heap
/// keeps warm is the same before and after. Returns what is held then.
fn ballast(executor: &Executor) -> u64 {
    let small: Vec<_> =
        (0..SMALL_BALLAST).map(|_| executor.array::<u8>(4096).expect("memory")).collect();
    let large = executor.array::<u8>(LARGE_BALLAST).expect("memory");
    drop((small, large));
    executor.stats().held_bytes
}

/// What neighbours do: some return little, some much.
pub fn neighbour(n: u64, x: &[u64]) -> Vec<u64> {
    let words = if n.is_multiple_of(2) { 3 } else { LARGE_WORDS };
    vec![n + x[n as usize]; words]
}

/// Tasks beside the one that fails, which all have to go well.
pub struct Neighbours {
    table: Shared<Vec<u64>>,
    queued: Vec<(u64, TaskHandle<Vec<u64>>)>,
}

impl Neighbours {
    pub fn of(executor: &Executor) -> Self {
        let table = (0..2 * NEIGHBOURS).map(|n| n * 100).collect::<Vec<u64>>();
        Self { table: executor.share(&table).expect("memory"), queued: Vec::new() }
    }

    pub fn queue(&mut self, executor: &Executor) {
        for _ in 0..NEIGHBOURS {
            let n = self.queued.len() as u64;
            let task = executor.submit(neighbour, (n, &self.table)).expect("it is accepted");
            self.queued.push((n, task));
        }
    }

    pub fn check(self, name: &str) {
        for (n, task) in self.queued {
            let result = task.join().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((result[0], result.last()), (n * 101, Some(&(n * 101))), "{name}");
        }
    }
}

/// Fails in the midst of others: one that runs at the same time, and some before and behind.
pub fn among_neighbours<T, R>(
    name: &str,
    executor: &Executor,
    submit: impl FnOnce(&Executor) -> T,
    outcome: impl FnOnce(T) -> R,
) -> R {
    let gate = Gate::new();
    let running = executor.submit(Gate::pass_with, (gate.path(), 1000u64)).expect("it is accepted");
    gate.wait_for_entry();
    let mut neighbours = Neighbours::of(executor);
    neighbours.queue(executor);
    let task = submit(executor);
    neighbours.queue(executor);
    let outcome = outcome(task);
    neighbours.check(name);
    gate.open();
    assert_eq!(running.join().expect("it was not concerned"), 1000, "{name}");
    outcome
}

/// Compares how a task has ended with how it should have. Returns how many workers that costs.
pub fn check_end(name: &str, end: End, task: &str, outcome: Result<(), TaskError>) -> u64 {
    match (end, outcome) {
        (End::Returns, Ok(())) => 0,
        (
            End::Refuses,
            Err(
                TaskError::Decode { task: found, cause, .. }
                | TaskError::Result { task: found, error: wharf::ShareError::Encode { cause } },
            ),
        ) => {
            assert!(found.ends_with(task) && cause.contains("it refuses"), "{name}: {cause}");
            0
        }
        (
            End::Panics(says, at),
            Err(TaskError::Panicked { message, location, task: found, .. }),
        ) => {
            assert_eq!(message, says, "{name}");
            assert!(location.contains(at) && found.ends_with(task), "{name}: {location} {found}");
            0
        }
        (End::Dies(expected), Err(TaskError::WorkerDied { death, pid, task: found })) => {
            assert_eq!(death, expected, "{name}");
            assert!(pid > 1 && pid != process::id() && found.ends_with(task), "{name}: {found}");
            1
        }
        (end, outcome) => panic!("{name}: {end:?} was expected, not {outcome:?}"),
    }
}

/// Runs what has to panic in this process. The panic goes no further.
pub fn panics(name: &str, f: impl FnOnce()) {
    let payload = panic::catch_unwind(AssertUnwindSafe(f));
    std::mem::forget(payload.expect_err(name));
}

/// A check that sees nothing would prove nothing.
#[test]
fn what_is_left_is_seen() {
    let open = || fs::File::open("/dev/null").expect("it is there");
    panics("a descriptor is seen", || drop(without_a_trace("a file", open)));
    panics("an executor is seen", || {
        drop(without_a_trace("an executor", || super::common::executor(1)));
    });
    without_a_trace("a file that was closed", || drop(open()));
}
