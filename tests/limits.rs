//! What a caller sets limits to: how long tasks run, how often, and how long workers live.

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{DEADLINE, Gate, executor, flag_waker};
use wharf::{Executor, TaskError, TaskHandle, TaskOptions};

/// Longer than any of these tests takes to get a task started, shorter than a coffee.
const SHORT: Duration = Duration::from_millis(60);

fn identity(n: u64) -> u64 {
    n
}

fn pid() -> u32 {
    std::process::id()
}

fn pass(path: &str) {
    Gate::pass(path);
}

/// Looks again and again until it is so, at most `DEADLINE`.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn check_works(executor: &Executor, tasks: u64) {
    let tasks: Vec<_> = (0..tasks).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64);
    }
}

/// Stops this process, as a debugger does; only SIGKILL ends it now.
fn stop() {
    // SAFETY: no pointer is passed.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn never_ends(how: &str) {
    if how == "stopped" {
        stop();
    }
    loop {
        std::hint::spin_loop();
    }
}

/// What ends a task early: checked for the task, its neighbours, and the executor.
fn check_ended_early(how: &'static str, end: impl Fn(&Executor) -> TaskHandle<()>) -> TaskError {
    let executor = executor(2);
    let before: Vec<_> = (0..50u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
    let task = end(&executor);
    let after: Vec<_> = (50..100u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
    let error = task.join().expect_err(how);
    for (n, task) in before.into_iter().chain(after).enumerate() {
        assert_eq!(task.join().unwrap(), n as u64, "{how}");
    }
    check_works(&executor, 100);
    assert_eq!(executor.stats().deaths, 0, "{how}: nobody died unasked");
    executor.shutdown().unwrap();
    error
}

#[test]
fn a_running_task_that_is_cancelled_ends_alone() {
    for how in ["running", "stopped"] {
        let gate = Gate::new();
        let error = check_ended_early(how, |executor| {
            let task = executor.submit(
                |path: &str, how: &str| {
                    Gate::pass(path);
                    never_ends(how);
                },
                (gate.path(), how.to_owned()),
            );
            let task = task.unwrap();
            gate.wait_for_entry();
            gate.open();
            assert!(task.cancel());
            assert!(!task.cancel(), "that is decided already");
            task
        });
        assert!(matches!(error, TaskError::Cancelled { .. }), "{how}: {error}");
    }
}

#[test]
fn a_task_that_has_ended_cannot_be_cancelled() {
    let executor = executor(1);
    let task = executor.submit(identity, (5u64,)).unwrap();
    eventually("the task ends", || task.is_finished());
    assert!(!task.cancel());
    assert_eq!(task.join().unwrap(), 5);
}

#[test]
fn a_task_over_its_deadline_ends_alone() {
    type Limit = fn(&Executor, &'static str) -> TaskHandle<()>;
    let rows: [(&'static str, Limit); 2] = [
        ("by options", |executor, how| {
            let options = TaskOptions::new().deadline(SHORT).retries(9);
            executor.submit_with(options, never_ends, (how.to_owned(),)).unwrap()
        }),
        ("by the handle", |executor, how| {
            executor.submit(never_ends, (how.to_owned(),)).unwrap().deadline(SHORT)
        }),
    ];
    for (way, limit) in rows {
        for how in ["running", "stopped"] {
            let error = check_ended_early(how, |executor| limit(executor, how));
            let named =
                matches!(error, TaskError::DeadlineExceeded { limit, .. } if limit == SHORT);
            assert!(named, "{way}, {how}: {error}");
            assert!(error.to_string().contains("60ms"), "{error}");
        }
    }
}

#[test]
fn a_deadline_counts_from_the_start_of_the_run() {
    let (executor, gate) = (executor(1), Gate::new());
    let first = executor.submit(pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let limit = TaskOptions::new().deadline(SHORT);
    let queued = executor.submit_with(limit, identity, (7u64,)).unwrap();
    let queued = queued.join_timeout(SHORT * 3).expect_err("it waits for the first");
    gate.open();
    first.join().unwrap();
    assert_eq!(queued.join().unwrap(), 7);
}

#[test]
fn the_longest_deadline_of_all_is_no_overflow() {
    let executor = executor(1);
    for limit in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let options = TaskOptions::new().deadline(limit);
        assert_eq!(executor.submit_with(options, identity, (1u64,)).unwrap().join().unwrap(), 1);
    }
}

#[test]
fn a_future_is_woken_by_a_cancellation_and_by_a_deadline() {
    let executor = executor(1);
    for by_deadline in [false, true] {
        let (gate, (waker, flag)) = (Gate::new(), flag_waker());
        let mut task = executor.submit(pass, (gate.path(),)).unwrap();
        gate.wait_for_entry();
        let mut context = std::task::Context::from_waker(&waker);
        let poll = std::pin::Pin::new(&mut task).poll(&mut context);
        assert!(poll.is_pending());
        if by_deadline {
            task = task.deadline(Duration::from_millis(1));
        } else {
            assert!(task.cancel());
        }
        flag.wait();
        assert!(task.join().is_err());
    }
}

/// Counts its runs in a file, and kills its process in the first `deaths` of them.
fn dies_at_first(counter: &str, deaths: u64) -> u64 {
    let file = fs::OpenOptions::new().create(true).append(true).open(counter);
    std::io::Write::write_all(&mut file.expect("the counter"), b"!").expect("a byte");
    let runs = fs::metadata(counter).expect("the counter").len();
    if runs <= deaths {
        std::process::abort();
    }
    runs
}

struct Counter(PathBuf);

impl Counter {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("wharf-counter-{}-{name}", std::process::id())))
    }

    fn path(&self) -> String {
        self.0.to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_task_is_tried_again_as_often_as_it_may_be() {
    for (retries, deaths, succeeds) in [(0, 0, true), (0, 1, false), (3, 3, true), (2, 3, false)] {
        let name = format!("retries-{retries}-{deaths}");
        let (executor, counter) = (executor(2), Counter::new(&name));
        let neighbours: Vec<_> =
            (0..50u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
        let options = TaskOptions::new().retries(retries);
        let task = executor.submit_with(options, dies_at_first, (counter.path(), deaths)).unwrap();
        match task.join() {
            Ok(runs) => assert!(succeeds && runs == deaths + 1, "{name}: {runs} runs"),
            Err(TaskError::WorkerDied { .. }) => assert!(!succeeds, "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
        let runs = fs::metadata(&counter.0).unwrap().len();
        assert_eq!(runs, if succeeds { deaths + 1 } else { u64::from(retries) + 1 }, "{name}");
        for (n, task) in neighbours.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n as u64, "{name}");
        }
    }
}

#[test]
fn a_panic_is_not_tried_again() {
    let (executor, counter) = (executor(1), Counter::new("panic"));
    let options = TaskOptions::new().retries(5);
    let fails = |counter: &str| {
        let runs = dies_at_first(counter, 0);
        assert!(runs == 0, "as ever");
    };
    let task = executor.submit_with(options, fails, (counter.path(),));
    assert!(matches!(task.unwrap().join(), Err(TaskError::Panicked { .. })));
    assert_eq!(fs::metadata(&counter.0).unwrap().len(), 1);
}

#[test]
fn a_worker_that_has_run_its_tasks_is_replaced_and_no_task_notices() {
    let executor = Executor::builder().workers(1).max_tasks_per_worker(3).build().unwrap();
    let tasks: Vec<_> = (0..12).map(|_| executor.submit(pid, ()).unwrap()).collect();
    let pids: Vec<u32> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    let all: HashSet<u32> = pids.iter().copied().collect();
    assert_eq!(all.len(), 4, "{pids:?}");
    for pid in all {
        assert_eq!(pids.iter().filter(|&&other| other == pid).count(), 3, "{pids:?}");
    }
    assert_eq!(executor.stats().deaths, 0);
}

#[test]
fn a_worker_that_has_grown_too_large_is_replaced_and_no_task_notices() {
    const LEAK: usize = 64 << 20;
    let executor =
        Executor::builder().workers(1).max_memory_per_worker(LEAK as u64 / 2).build().unwrap();
    let modest: HashSet<u32> =
        (0..20).map(|_| executor.submit(pid, ()).unwrap().join().unwrap()).collect();
    assert_eq!(modest.len(), 1);
    let leak = || {
        std::mem::forget(std::hint::black_box(vec![1u8; LEAK]));
        pid()
    };
    let leaker = executor.submit(leak, ()).unwrap().join().unwrap();
    assert!(modest.contains(&leaker));
    let next = executor.submit(pid, ()).unwrap().join().unwrap();
    assert_ne!(next, leaker);
    assert_eq!(executor.stats().deaths, 0);
}

/// Shared arguments are memory of the executor's, not of the worker's own.
#[test]
fn shared_memory_does_not_count_as_a_workers_own() {
    const LIMIT: u64 = 32 << 20;
    let executor = Executor::builder().workers(1).max_memory_per_worker(LIMIT).build().unwrap();
    let array = executor.array_from(&vec![1.0; 3 * (LIMIT as usize) / 8]).unwrap();
    let sum = |x: &[f64]| (x.iter().sum::<f64>(), pid());
    let pids: HashSet<u32> =
        (0..3).map(|_| executor.submit(sum, (&array,)).unwrap().join().unwrap().1).collect();
    assert_eq!(pids.len(), 1);
}

#[test]
fn idle_workers_leave_and_come_back_on_demand() {
    let builder = Executor::builder().workers(2).idle_timeout(Duration::from_millis(20));
    let executor = builder.build().unwrap();
    for round in 0..5u64 {
        eventually("idle workers leave", || executor.worker_pids().is_empty());
        match round {
            // From outside the submitting thread's own wait, too.
            0 => assert!(executor.submit(identity, (round,)).unwrap().join().is_ok()),
            1 => {
                let (waker, flag) = flag_waker();
                let mut task = executor.submit(identity, (round,)).unwrap();
                let mut context = std::task::Context::from_waker(&waker);
                if std::pin::Pin::new(&mut task).poll(&mut context).is_pending() {
                    flag.wait();
                    assert_eq!(task.join().unwrap(), round);
                }
            }
            _ => check_works(&executor, 1000),
        }
    }
    assert_eq!(executor.stats().deaths, 0);
    executor.shutdown().unwrap();
}

#[test]
fn workers_that_leave_just_when_tasks_come_lose_none() {
    let builder = Executor::builder().workers(2).idle_timeout(Duration::from_micros(50));
    let executor = builder.spin(Duration::ZERO).build().unwrap();
    for round in 0..300u64 {
        let task = executor.submit(identity, (round,)).unwrap();
        assert_eq!(task.join().unwrap(), round);
        let pause = Instant::now() + Duration::from_micros(round % 7 * 20);
        while Instant::now() < pause {
            std::hint::spin_loop();
        }
    }
    executor.shutdown().unwrap();
}

#[test]
fn the_number_of_workers_changes_while_tasks_run() {
    let executor = Executor::builder().workers(1).workers_max(4).build().unwrap();
    for workers in [3, 1, 4, 2, 2, 1] {
        let tasks: Vec<_> =
            (0..2000u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
        executor.resize(workers).unwrap();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().unwrap(), n as u64);
        }
        assert_eq!(executor.workers(), workers);
        eventually("as many as asked for", || executor.worker_pids().len() == workers);
    }
    assert_eq!(executor.stats().deaths, 0);
    for workers in [0, 5] {
        let error = executor.resize(workers).unwrap_err();
        assert_eq!((error.workers, error.most), (workers, 4));
        assert!(error.to_string().contains("Builder::workers_max"), "{error}");
    }
    executor.shutdown().unwrap();
}

#[test]
fn a_worker_that_is_too_many_ends_its_task_first() {
    let (executor, gates) = (executor(2), [Gate::new(), Gate::new()]);
    let pass = |path: &str| Gate::pass_with(path, 9);
    let tasks = gates.each_ref().map(|gate| executor.submit(pass, (gate.path(),)).unwrap());
    gates.iter().for_each(Gate::wait_for_entry);
    executor.resize(1).unwrap();
    gates.iter().for_each(Gate::open);
    for task in tasks {
        assert_eq!(task.join().unwrap(), 9);
    }
    check_works(&executor, 100);
    eventually("one is left", || executor.worker_pids().len() == 1);
    assert_eq!(executor.stats().deaths, 0);
}

#[test]
fn idle_workers_that_keep_dying_end_in_an_error_that_says_why() {
    let executor = executor(1);
    eventually("many deaths", || {
        for pid in executor.worker_pids() {
            // SAFETY: no pointer is passed. The pid is a child's that the executor has not reaped,
            // or a moment ago had not.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        executor.stats().deaths >= 16
    });
    let mut error = String::new();
    eventually("the executor refuses tasks", || match executor.try_submit(identity, (0u64,)) {
        Err(refused) => {
            error = refused.to_string();
            true
        }
        Ok(task) => {
            task.cancel();
            false
        }
    });
    assert!(error.contains("in a row") && error.contains("signal 9"), "{error}");
    assert!(executor.shutdown().unwrap_err().to_string().contains("in a row"));
}
