//! Workers on cores of their own.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Gate, executor, roll_call};
use wharf::{Backend, Builder, Executor, TaskError};

/// The cores that this thread may run on, as the kernel lists them: `0-3,8`.
fn cores() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the kernel lists them").trim().to_owned()
}

/// As [`cores`], after all workers have come to the gate.
fn cores_at(gate: &str) -> String {
    Gate::pass(gate);
    cores()
}

/// On how many cores a task may run. It takes no time.
fn cores_of_a_task() -> u64 {
    // SAFETY: a set is a field of bits, and none of them set is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is writable, and as long as is said.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) }, 0);
    // SAFETY: it only reads the set.
    unsafe { libc::CPU_COUNT(&set) as u64 }
}

fn dies() {
    std::process::abort()
}

fn cores_of_a_thread() -> String {
    std::thread::spawn(cores).join().expect("it reads a file")
}

/// The numbers in a list of the kernel's.
fn numbers(list: &str) -> Vec<usize> {
    let number = |text: &str| text.parse().expect("a number");
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..number(last) + 1,
        None => number(part)..number(part) + 1,
    };
    list.split(',').flat_map(range).collect()
}

/// The cores of each worker, sorted.
fn of_each(executor: &Executor) -> Vec<Vec<usize>> {
    let gate = Gate::new();
    let submit = |_| executor.submit(cores_at, (gate.path(),)).expect("it is accepted");
    let tasks: Vec<_> = (0..executor.workers()).map(submit).collect();
    tasks.iter().for_each(|_| gate.wait_for_entry());
    gate.open();
    let lists = tasks.into_iter().map(|task| numbers(&task.join().expect("a list")));
    let mut lists: Vec<_> = lists.collect();
    lists.sort();
    lists
}

/// Workers of which each has an equal share of the cores, one at least.
fn shares(workers: usize) -> Vec<Vec<usize>> {
    let all = numbers(&cores());
    let each = (all.len() / workers).max(1);
    let start = |seat: usize| seat * each % all.len();
    let share = |seat| all[start(seat)..(start(seat) + each).min(all.len())].to_vec();
    let mut shares: Vec<_> = (0..workers).map(share).collect();
    shares.sort();
    shares
}

fn built(set: impl FnOnce(Builder) -> Builder) -> Executor {
    set(Executor::builder()).build().expect("an executor can be built")
}

#[test]
fn pinned_workers_share_the_cores_out_among_themselves() {
    for backend in [Backend::Processes, Backend::Threads] {
        for workers in [1, 2, 3] {
            let pool = built(|b| b.backend(backend).workers(workers).pin_workers(true));
            assert_eq!(of_each(&pool), shares(workers), "{backend:?}, {workers} workers");
            let of_a_thread = pool.submit(cores_of_a_thread, ()).unwrap().join().unwrap();
            assert!(shares(workers).contains(&numbers(&of_a_thread)), "{of_a_thread}");
        }
    }
}

#[test]
fn others_run_on_all_cores() {
    let all = numbers(&cores());
    assert_eq!(of_each(&executor(2)), [all.clone(), all.clone()]);
    let unpinned = built(|b| b.workers(2).pin_workers(true).pin_workers(false));
    assert_eq!(of_each(&unpinned), [all.clone(), all.clone()]);
    let here = built(|b| b.backend(Backend::Sequential).pin_workers(true));
    assert_eq!(numbers(&here.submit(cores, ()).unwrap().join().unwrap()), all);
    assert_eq!(numbers(&cores()), all, "the caller");
}

/// A worker that is woken on the caller's core, while the last of a large value is copied, moves to
/// the other core.
#[test]
fn workers_that_were_called_while_a_value_was_copied_run_on_all_cores_afterwards() {
    fn cores_and_len(values: &[u8]) -> (String, u64) {
        (cores(), values.len() as u64)
    }
    let all = numbers(&cores());
    let values = vec![1u8; 8 << 20];
    for backend in [Backend::Processes, Backend::Threads] {
        let pool = built(|b| b.backend(backend).workers(2).spin(Duration::ZERO));
        for _ in 0..50 {
            let shared = pool.share(&values).unwrap();
            let (cores, len) = pool.submit(cores_and_len, (&shared,)).unwrap().join().unwrap();
            assert_eq!((numbers(&cores), len), (all.clone(), 8 << 20), "{backend:?}");
        }
    }
}

/// A worker that was woken on another core, time and again, sleeps on its caller's.
#[test]
fn workers_that_were_kept_on_a_core_while_they_slept_run_on_all_cores_afterwards() {
    let all = numbers(&cores());
    for backend in [Backend::Processes, Backend::Threads] {
        let pool = built(|b| b.backend(backend).workers(2));
        for _ in 0..300 {
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(100) {}
            let tasks = [(); 2].map(|()| pool.submit(cores_of_a_task, ()).unwrap());
            for task in tasks {
                assert_eq!(task.join().unwrap(), all.len() as u64, "{backend:?}");
            }
        }
    }
}

#[test]
fn the_successor_of_a_pinned_worker_has_its_cores() {
    let pool = built(|b| b.workers(2).pin_workers(true));
    for _ in 0..2 {
        let task = pool.submit(dies, ()).unwrap();
        assert!(matches!(task.join(), Err(TaskError::WorkerDied { .. })));
        roll_call(&pool);
        assert_eq!(of_each(&pool), shares(2));
    }
}
