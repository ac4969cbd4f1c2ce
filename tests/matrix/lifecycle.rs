//! Faults around tasks: before the first one, after a result was sent, while the executor ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use wharf::{BuildError, Executor, TaskError};

use super::common::{Gate, executor};
use super::faults::{DEATHS, End, FAULTS, commit_all};
use super::places::fail_at_the_end_of_this_thread;
use super::trial::{
    LARGE_WORDS, Neighbours, WORKERS, as_good_as_new, asleep_in, check_end, trial, trial_of,
    without_a_trace,
};

fn passes_and_fails(path: &str, fault: &str) {
    Gate::pass(path);
    commit_all(fault);
}

/// `commit_all` panics where it is told to return an error.
fn faults() -> impl Iterator<Item = &'static (&'static str, End)> {
    FAULTS.iter().filter(|(fault, _)| *fault != "error")
}

fn starts(fault: &str) {
    commit_all(fault);
}

#[test]
fn a_fault_of_on_start_is_an_error_of_build_with_its_cause() {
    for (fault, end) in faults() {
        without_a_trace(fault, || {
            let start = Executor::builder().on_start(starts, ((*fault).to_owned(),));
            let built = start.workers(WORKERS).env("RUST_BACKTRACE", "0").build();
            let expected = match end {
                End::Returns | End::Refuses => {
                    return drop(built.unwrap_or_else(|error| panic!("{fault}: {error}")));
                }
                End::Panics(says, _) => (*says).to_owned(),
                End::Dies(death) => format!("it ended by {death}"),
            };
            match built {
                Err(BuildError::OnStart { cause, .. }) => {
                    assert!(cause.ends_with(&expected), "{fault}: {cause}");
                }
                other => panic!("{fault}: {other:?}"),
            }
        });
    }
}

/// Tokens in a folder: each is good for one fault, in whatever process.
struct Tokens(PathBuf);

impl Tokens {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-tokens-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder for the tokens");
        Self(folder)
    }

    fn add(&self, count: u64) {
        (0..count).for_each(|n| fs::write(self.0.join(n.to_string()), "").expect("a token"));
    }

    /// Fails as long as there are tokens.
    fn start(folder: &str, fault: &str) {
        let tokens = fs::read_dir(Path::new(folder)).expect("the folder is there");
        for token in tokens.flatten() {
            if fs::remove_file(token.path()).is_ok() {
                return commit_all(fault);
            }
        }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts that fail in a row, fewer than the executor bears.
const FAILED_STARTS: u64 = 2;

#[test]
fn a_fault_of_on_start_in_a_replacement_is_tried_again() {
    for (fault, end) in faults().filter(|(_, end)| *end != End::Returns) {
        let name = format!("{fault} in on_start of a replacement");
        without_a_trace(&name, || {
            let tokens = Tokens::new();
            let folder = tokens.0.to_str().expect("a plain path").to_owned();
            let start = Executor::builder().on_start(Tokens::start, (folder, (*fault).to_owned()));
            as_good_as_new(&name, start, |executor| {
                tokens.add(FAILED_STARTS);
                let dying = executor.submit(starts, ("SIGKILL".to_owned(),)).unwrap();
                let mut neighbours = Neighbours::of(executor);
                neighbours.queue(executor);
                assert!(matches!(dying.join(), Err(TaskError::WorkerDied { .. })), "{end:?}");
                neighbours.check(&name);
                1 + FAILED_STARTS
            });
        });
    }
}

fn leaves_a_thread(path: &str, fault: &str) -> Vec<u64> {
    let (path, fault) = (path.to_owned(), fault.to_owned());
    thread::spawn(move || passes_and_fails(&path, &fault));
    vec![7; LARGE_WORDS]
}

/// The task is over and costs nothing; the worker is replaced, and the result stays readable.
#[test]
fn a_fault_of_a_thread_that_outlives_its_task_costs_no_task() {
    for (fault, end) in faults() {
        let name = format!("{fault} in a thread that outlives its task");
        trial(&name, |executor| {
            let gate = Gate::new();
            let args = (gate.path(), (*fault).to_owned());
            let view = executor.submit(leaves_a_thread, args).unwrap().join_view().unwrap();
            gate.wait_for_entry();
            gate.open();
            // Nobody takes what the thread's panic carries, so std drops it, and aborts.
            let deaths = u64::from(matches!(end, End::Dies(_)) || *fault == "payload panics");
            super::trial::expect_deaths(&name, executor, deaths);
            assert!(view.iter().all(|word| *word == 7), "{name}");
            deaths
        });
    }
}

/// Destructors of thread-locals run when a worker leaves, after its last task.
#[test]
fn a_fault_of_a_worker_that_leaves_does_not_concern_the_shutdown() {
    for (fault, _) in faults() {
        without_a_trace(fault, || {
            let executor = Executor::builder().workers(1).env("RUST_BACKTRACE", "0");
            let executor = executor.build().unwrap();
            let task = |fault: &str| fail_at_the_end_of_this_thread(fault);
            executor.submit(task, ((*fault).to_owned(),)).unwrap().join().unwrap();
            executor.shutdown().unwrap_or_else(|error| panic!("{fault}: {error}"));
        });
    }
}

/// All workers die while the executor waits for the last tasks; those are run all the same.
#[test]
fn what_is_queued_is_run_though_all_workers_die_in_the_shutdown() {
    type End = (&'static str, fn(Executor));
    let ends: [End; 2] = [("shutdown", |e| e.shutdown().expect("it is orderly")), ("drop", drop)];
    for (fault, death) in DEATHS {
        for (end, act) in ends {
            let name = format!("{fault} while {end} waits");
            without_a_trace(&name, || {
                let executor = executor(WORKERS);
                let gate = Gate::new();
                let dying: Vec<_> = (0..WORKERS)
                    .map(|_| {
                        let args = (gate.path(), (*fault).to_owned());
                        executor.submit(passes_and_fails, args).unwrap()
                    })
                    .collect();
                dying.iter().for_each(|_| gate.wait_for_entry());
                let mut neighbours = Neighbours::of(&executor);
                neighbours.queue(&executor);
                thread::scope(|scope| {
                    asleep_in(scope, move || act(executor));
                    gate.open();
                });
                for task in dying {
                    check_end(&name, self::End::Dies(*death), "passes_and_fails", task.join());
                }
                neighbours.check(&name);
            });
        }
    }
}

/// A worker that dies is not waited for by `kill`, nor what is queued run.
#[test]
fn killing_an_executor_whose_workers_die_ends_every_task() {
    for (fault, _) in DEATHS {
        without_a_trace(fault, || {
            let executor = executor(WORKERS);
            let gate = Gate::new();
            let tasks: Vec<_> = (0..4 * WORKERS)
                .map(|_| {
                    let args = (gate.path(), (*fault).to_owned());
                    executor.submit(passes_and_fails, args).unwrap()
                })
                .collect();
            (0..WORKERS).for_each(|_| gate.wait_for_entry());
            gate.open();
            executor.kill();
            for task in tasks {
                let outcome = task.join();
                let ended = matches!(
                    outcome,
                    Err(TaskError::WorkerDied { .. } | TaskError::Cancelled { .. })
                );
                assert!(ended, "{fault}: {outcome:?}");
            }
        });
    }
}

/// All slots are held by tasks whose workers die. A submitter that waited for one called itself
/// each time that it looked for finished tasks, and never slept.
#[test]
fn a_submitter_that_waits_for_a_slot_gets_that_of_a_task_whose_worker_died() {
    for (fault, death) in DEATHS {
        let builder = Executor::builder().task_slots(WORKERS as u32);
        trial_of(fault, builder, |executor| {
            let gate = Gate::new();
            let args = || (gate.path(), (*fault).to_owned());
            let dying: Vec<_> =
                (0..WORKERS).map(|_| executor.submit(passes_and_fails, args()).unwrap()).collect();
            dying.iter().for_each(|_| gate.wait_for_entry());
            thread::scope(|scope| {
                let late = asleep_in(scope, || executor.submit(|| 1u64, ()).unwrap().join());
                gate.open();
                assert_eq!(late.join().unwrap().unwrap(), 1, "{fault}");
            });
            let ends = dying.into_iter().map(|task| task.join());
            ends.map(|end| check_end(fault, End::Dies(*death), "passes_and_fails", end)).sum()
        });
    }
}

/// The budget holds the arguments of one such task, and not of two. A submitter that waited for
/// memory gave its slot back meanwhile, which called all who wait: it never slept.
#[test]
fn a_submitter_that_waits_for_memory_gets_that_of_a_task_whose_worker_died() {
    const BUDGET: u64 = 4 << 20;
    const WORDS: usize = (3 << 20) / size_of::<u64>();
    fn holds(path: &str, fault: &str, words: &[u64]) -> u64 {
        passes_and_fails(path, fault);
        words.len() as u64
    }
    for (fault, death) in DEATHS {
        without_a_trace(fault, || {
            let executor = Executor::builder().workers(WORKERS).memory_budget(BUDGET);
            let executor = executor.build().unwrap();
            let gate = Gate::new();
            let args = |fault: &str| (gate.path(), fault.to_owned(), vec![0u64; WORDS]);
            let dying = executor.submit(holds, args(fault)).unwrap();
            gate.wait_for_entry();
            thread::scope(|scope| {
                let late = || executor.submit(holds, args("nothing")).unwrap().join();
                let late = asleep_in(scope, late);
                gate.open();
                assert_eq!(late.join().unwrap().unwrap(), WORDS as u64, "{fault}");
            });
            check_end(fault, End::Dies(*death), "holds", dying.join().map(drop));
        });
    }
}
