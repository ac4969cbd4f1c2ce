//! The executor: its start, its workers, its memory, its numbers.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wharf::{Array, Backend, Executor, ShareError};

use crate::common::DEADLINE;
use crate::{BACKENDS, builder, executor};

fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Waits until something is so that has to come.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        thread::yield_now();
    }
}

thread_local! {
    static STARTED: Cell<u64> = const { Cell::new(0) };
}

pub fn on_start_has_run_before_the_first_task(backend: Backend) {
    fn start(n: u64, values: &[f64]) {
        assert_eq!(values.len(), 1000);
        STARTED.set(STARTED.get() + n);
    }
    let executor = builder(backend).workers(3).on_start(start, (7u64, vec![0.5; 1000])).build();
    let executor = executor.unwrap();
    let tasks: Vec<_> = (0..100).map(|_| executor.submit(|| STARTED.get(), ()).unwrap()).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), 7);
    }
    STARTED.set(0);
}

pub fn several_executors_do_not_mind_each_other(backend: Backend) {
    let executors: Vec<Executor> = BACKENDS.into_iter().chain([backend]).map(executor).collect();
    let arrays: Vec<Array<u64>> = executors
        .iter()
        .zip(1..)
        .map(|(executor, k)| executor.array_from(&vec![k; 10_000]).unwrap())
        .collect();
    for _ in 0..20 {
        let tasks: Vec<_> = executors
            .iter()
            .zip(&arrays)
            .map(|(executor, array)| {
                executor.submit(|x: &[u64]| x.iter().sum::<u64>(), (array,)).unwrap()
            })
            .collect();
        for (task, k) in tasks.into_iter().zip(1..) {
            assert_eq!(task.join().unwrap(), 10_000 * k);
        }
    }
    for executor in executors {
        assert!(format!("{executor:?}").contains(&format!("{:?}", executor.backend())));
        executor.shutdown().unwrap();
    }
}

pub fn many_threads_submit_to_one_executor(backend: Backend) {
    let executor = builder(backend).task_slots(64).build().unwrap();
    let array = executor.array_from(&[1u64; 1000]).unwrap();
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let (executor, array) = (&executor, &array);
            scope.spawn(move || {
                for n in 0..300 {
                    let sum = executor.submit(add, (thread * 1000, n)).unwrap();
                    let list = |x: &[u64], n: u64| vec![n; x.len()];
                    let list = executor.submit(list, (array, n)).unwrap();
                    assert_eq!(sum.join().unwrap(), thread * 1000 + n);
                    assert_eq!(list.join().unwrap(), vec![n; 1000]);
                }
            });
        }
    });
    eventually("every task is counted", || executor.stats().tasks_finished == 2400);
}

pub fn the_statistics_count_every_task(backend: Backend) {
    let executor = builder(backend).memory_budget(64 << 20).build().unwrap();
    let fails = || -> u64 { panic!("as it should") };
    for n in 0..40u64 {
        assert_eq!(executor.submit(add, (n, 1u64)).unwrap().join().unwrap(), n + 1);
        drop(executor.submit(add, (n, 1u64)).unwrap());
        executor.submit(fails, ()).unwrap().join().unwrap_err();
    }
    eventually("every task is counted", || executor.stats().tasks_finished >= 120);
    let stats = executor.stats();
    assert_eq!((stats.tasks_finished, stats.deaths, stats.budget_bytes), (120, 0, 64 << 20));
    let workers = if backend == Backend::Sequential { 1 } else { 2 };
    assert_eq!((stats.workers, executor.workers()), (workers, 2));
    let array = executor.array::<u8>(20 << 20).unwrap();
    assert!(executor.stats().held_bytes >= 20 << 20);
    drop(array);
}

fn made(n: u64) -> Result<Array<u8>, ShareError> {
    let mut array = wharf::array::<u8>(n as usize)?;
    array.fill(1);
    Ok(array.freeze())
}

pub fn memory_comes_back_and_is_used_again(backend: Backend) {
    // Decoding is slow where nothing is optimized.
    let large: u64 = if cfg!(debug_assertions) { 1 << 20 } else { 10 << 20 };
    let budget = large * 6 + (4 << 20);
    let executor = builder(backend).memory_budget(budget).retain_memory(0).build().unwrap();
    // Alone each fits three times; what is dropped has to come back in time.
    for _ in 0..20 {
        let args = vec![1u8; large as usize];
        let task = executor.submit(|x: &[u8]| x.to_vec(), (args,)).unwrap();
        assert_eq!(task.join().unwrap().len() as u64, large);
        let array = executor.submit(made, (large,)).unwrap().join().unwrap().unwrap();
        assert_eq!(executor.submit(|x: &[u8]| x[0], (&array,)).unwrap().join().unwrap(), 1);
    }
    // Some tasks more: where the caller is the worker, that is when it looks.
    eventually("nothing is held for nobody", || {
        executor.submit(add, (1u64, 1u64)).unwrap().join().unwrap();
        executor.stats().held_bytes < 1 << 20
    });
}

pub fn the_number_of_workers_can_be_changed(backend: Backend) {
    let executor = builder(backend).workers(1).workers_max(4).build().unwrap();
    for workers in [4, 1, 3, 2] {
        executor.resize(workers).unwrap();
        assert_eq!(executor.workers(), workers);
        let tasks: Vec<_> = (0..200u64).map(|n| executor.submit(add, (n, 1u64)).unwrap()).collect();
        for (task, n) in tasks.into_iter().zip(1..) {
            assert_eq!(task.join().unwrap(), n);
        }
        let ready = if backend == Backend::Sequential { 1 } else { workers as u32 };
        eventually("as many workers as asked for", || executor.stats().workers == ready);
    }
    for workers in [0, 5] {
        let error = executor.resize(workers).unwrap_err();
        assert_eq!((error.workers, error.most), (workers, 4));
    }
    executor.shutdown().unwrap();
}

pub fn workers_that_leave_are_replaced_and_no_task_notices(backend: Backend) {
    // Counts in whatever a worker has of its own.
    static RUN: AtomicU64 = AtomicU64::new(0);
    fn count(n: u64) -> u64 {
        RUN.fetch_add(1, Ordering::Relaxed);
        n
    }
    let executor = builder(backend)
        .max_tasks_per_worker(3)
        .max_memory_per_worker(1 << 40)
        .idle_timeout(Duration::from_millis(1))
        .build()
        .unwrap();
    for round in 0..30u64 {
        let tasks: Vec<_> = (0..10u64).map(|n| executor.submit(count, (n,)).unwrap()).collect();
        for (task, n) in tasks.into_iter().zip(0..) {
            assert_eq!(task.join().unwrap(), n, "{round}");
        }
    }
    eventually("every task is counted", || executor.stats().tasks_finished == 300);
    assert_eq!(executor.stats().deaths, 0);
    executor.shutdown().unwrap();
}
