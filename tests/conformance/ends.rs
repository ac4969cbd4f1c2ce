//! How a task ends, how its end is waited for, and what becomes of its slot.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use wharf::{Backend, Executor, SubmitError, TaskError, TaskHandle, TaskOptions, TrySubmitError};

use crate::common::{DEADLINE, Gate, block_on, flag_waker, wait_until};
use crate::{builder, executor};

/// Bytes of a value with blocks of its own. Decoding is slow where nothing is optimized.
const LARGE: u64 = if cfg!(debug_assertions) { 128 << 10 } else { 1 << 20 };

fn square(n: u64) -> u64 {
    n * n
}

fn bytes(n: u64) -> Vec<u8> {
    vec![1; n as usize]
}

/// Polls until the task has ended.
fn join_often<R: wharf::Returnable>(mut task: TaskHandle<R>) -> Result<R, TaskError> {
    loop {
        match task.join_timeout(Duration::from_micros(1)) {
            Ok(result) => return result,
            Err(again) => task = again,
        }
    }
}

pub fn a_task_can_be_waited_for_in_every_way(backend: Backend) {
    let executor = executor(backend);
    let submit = |n: u64| executor.submit(square, (n,)).unwrap();
    assert_eq!(submit(3).join().unwrap(), 9);
    assert_eq!(submit(4).join_view().unwrap().to_native(), 16);
    assert_eq!(submit(5).into_shared().unwrap().to_native(), 25);
    assert_eq!(submit(6).join_timeout(DEADLINE).expect("it ends").unwrap(), 36);
    assert_eq!(join_often(submit(7)).unwrap(), 49);
    assert_eq!(block_on(submit(8)).unwrap(), 64);
    let task = submit(9);
    while !task.is_finished() {
        thread::yield_now();
    }
    assert!(format!("{task:?}").contains("finished: true"), "{task:?}");
    assert_eq!(block_on(task).unwrap(), 81);
    let failed = block_on(executor.submit(|| -> () { panic!("it must") }, ()).unwrap());
    assert!(matches!(failed, Err(TaskError::Panicked { .. })));
}

/// Has a task of one thread at the gate, whatever the backend, while `check` runs in this one.
fn while_one_runs(executor: &Executor, check: impl FnOnce(&Gate)) {
    let gate = Gate::new();
    thread::scope(|scope| {
        let held = scope.spawn(|| executor.submit(Gate::pass, (gate.path(),)).unwrap().join());
        gate.wait_for_entry();
        check(&gate);
        gate.open();
        held.join().expect("no panic").unwrap();
    });
}

pub fn a_full_table_gives_the_arguments_back(backend: Backend) {
    let executor = builder(backend).workers(1).task_slots(1).build().unwrap();
    while_one_runs(&executor, |_| {
        let refused = executor.try_submit(|s: &str| s.len() as u64, ("mine".to_owned(),));
        match refused {
            Err(TrySubmitError::Full { args, slots: 1 }) => assert_eq!(args.0, "mine"),
            other => panic!("{other:?}"),
        }
    });
    let again = executor.try_submit(|s: &str| s.len() as u64, ("mine".to_owned(),));
    assert_eq!(again.unwrap().join().unwrap(), 4);
}

pub fn a_submitter_waits_for_a_slot(backend: Backend) {
    let executor = builder(backend).workers(1).task_slots(1).build().unwrap();
    thread::scope(|scope| {
        let mut waiting = None;
        while_one_runs(&executor, |_| {
            waiting = Some(scope.spawn(|| executor.submit(square, (5u64,)).unwrap().join()));
        });
        assert_eq!(waiting.expect("it was started").join().expect("no panic").unwrap(), 25);
    });
}

pub fn finished_tasks_make_room_before_they_are_joined(backend: Backend) {
    let executor = builder(backend).task_slots(8).build().unwrap();
    let squares: Vec<_> = (0..500u64).map(|n| executor.submit(square, (n,)).unwrap()).collect();
    let large: Vec<_> = (0..200u64).map(|n| executor.submit(bytes, (n * 9,)).unwrap()).collect();
    for (n, task) in squares.into_iter().enumerate().rev() {
        assert_eq!(task.join().unwrap(), (n * n) as u64);
    }
    for (n, task) in large.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().len(), n * 9);
    }
}

/// Who waits for short tasks out of a long queue dozes: for room in the table, and for the results.
pub fn a_long_queue_of_short_tasks_comes_to_its_end(backend: Backend) {
    for slots in [1, 2, 8, 64, 1024] {
        let executor = builder(backend).task_slots(slots).build().unwrap();
        for n in 0..4u64 {
            let submit = |k| executor.submit(square, (n + k,)).unwrap();
            let tasks: Vec<_> = (0..2000).map(submit).collect();
            for (k, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), (n + k) * (n + k), "{slots} slots");
            }
        }
    }
}

pub fn a_dropped_handle_gives_slot_and_memory_back(backend: Backend) {
    let budget = 32 * LARGE;
    let executor = builder(backend).task_slots(4).memory_budget(budget).build().unwrap();
    let mut refused = 0;
    for n in 0..200u64 {
        // Forty arguments and results pass the budget.
        let task = executor.submit(|x: &[u8]| x.to_vec(), (bytes(LARGE),)).unwrap();
        if n.is_multiple_of(2) {
            drop(task);
            continue;
        }
        match task.join() {
            Ok(value) => assert_eq!(value.len() as u64, LARGE),
            // A worker takes notice between tasks, so at this very instant there may be no room.
            Err(TaskError::Result { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused < 50, "{refused} of 100 results had no room");
    executor.shutdown().unwrap();
}

/// Whether the task was to return a number, which holds no memory, or something that may.
pub fn a_failure_that_nobody_asks_for_gives_its_memory_back(backend: Backend) {
    fn fails<T>(n: u64) -> T {
        panic!("{}", "x".repeat(n as usize));
    }
    let executor = builder(backend).retain_memory(0).build().unwrap();
    let before = executor.stats().held_bytes;
    let mut kept = Vec::new();
    for n in 0..8u64 {
        drop(executor.submit(fails::<u64>, (LARGE + n,)).unwrap());
        drop(executor.submit(fails::<Vec<u8>>, (LARGE + n,)).unwrap());
        kept.push(executor.submit(fails::<u64>, (LARGE + n,)).unwrap());
    }
    // The supervisor has been told of these before their handles are gone.
    wait_until("all of them have failed", || executor.stats().tasks_finished == 24);
    drop(executor.submit(square, (1u64,)).unwrap().join());
    drop(kept);
    // No task comes by their slots. Who runs tasks in the caller gives memory back after the next.
    assert_eq!(executor.submit(square, (3u64,)).unwrap().join().unwrap(), 9);
    wait_until("memory came back", || executor.stats().held_bytes < before + LARGE);
}

pub fn numbers_that_nobody_asks_for_make_room(backend: Backend) {
    for slots in [1, 2, 64] {
        let executor = builder(backend).task_slots(slots).build().unwrap();
        for n in 0..2000u64 {
            let task = executor.submit(square, (n,)).unwrap();
            // At any time: queued, running, ended.
            match n % 7 {
                0 => assert_eq!(task.join().unwrap(), n * n, "{slots} slots"),
                1 => drop(task.join_timeout(Duration::from_nanos(n))),
                _ => drop(task),
            }
        }
        executor.shutdown().unwrap();
    }
}

pub fn what_was_submitted_is_run_before_the_end(backend: Backend) {
    for by_drop in [false, true] {
        let executor = executor(backend);
        let tasks: Vec<_> = (0..300u64).map(|n| executor.submit(square, (n,)).unwrap()).collect();
        if by_drop {
            drop(executor);
        } else {
            executor.shutdown().unwrap();
        }
        for (n, task) in tasks.into_iter().enumerate() {
            assert!(task.is_finished());
            assert_eq!(task.join().unwrap(), (n * n) as u64);
        }
    }
}

pub fn results_stay_valid_after_a_kill(backend: Backend) {
    let executor = executor(backend);
    let finished: Vec<_> =
        (0..50u64).map(|n| executor.submit(bytes, (n * 100,)).unwrap()).collect();
    while !finished.iter().all(TaskHandle::is_finished) {
        thread::yield_now();
    }
    let view = executor.submit(bytes, (100_000u64,)).unwrap().join_view().unwrap();
    executor.kill();
    for (n, task) in finished.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().len(), n * 100);
    }
    assert!(view.iter().all(|byte| *byte == 1));
}

fn works_for(ms: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(ms) {
        std::hint::spin_loop();
    }
}

/// Makes the supervisor look around, and sees that it did.
fn one_round(executor: &Executor) {
    let gate = Gate::new();
    let mut task = pin!(executor.submit(Gate::pass, (gate.path(),)).unwrap());
    gate.wait_for_entry();
    let (waker, woken) = flag_waker();
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    gate.open();
    woken.wait();
}

pub fn a_task_over_its_deadline_has_the_error(backend: Backend) {
    let limit = Duration::from_millis(2);
    let options = TaskOptions::new().deadline(limit);
    let executor = executor(backend);
    let gate = Gate::new();
    let task = if backend != Backend::Threads {
        // Killed at any moment, a process may never come to a gate. A caller is timed by itself.
        let ms = if backend == Backend::Sequential { 10u64 } else { u64::MAX };
        executor.submit_with(options, works_for, (ms,)).unwrap()
    } else {
        let task = executor.submit_with(options, Gate::pass, (gate.path(),)).unwrap();
        gate.wait_for_entry();
        // Seen running, then over its time, then seen so: each look of the supervisor is followed
        // by a task that a waker has told of, two of them by a whole look.
        (0..2).for_each(|_| one_round(&executor));
        works_for(10);
        (0..2).for_each(|_| one_round(&executor));
        gate.open();
        task
    };
    let ended = task.join();
    let is_over = matches!(ended, Err(TaskError::DeadlineExceeded { limit: l, .. }) if l == limit);
    assert!(is_over, "{ended:?}");
    // And one that has time enough does not notice.
    let options = TaskOptions::new().deadline(DEADLINE).retries(3);
    assert_eq!(executor.submit_with(options, square, (4u64,)).unwrap().join().unwrap(), 16);
    assert_eq!(executor.submit(square, (3u64,)).unwrap().deadline(DEADLINE).join().unwrap(), 9);
    executor.shutdown().unwrap();
}

pub fn a_task_that_has_ended_cannot_be_cancelled(backend: Backend) {
    let executor = executor(backend);
    let task = executor.submit(square, (5u64,)).unwrap();
    while !task.is_finished() {
        thread::yield_now();
    }
    assert!(!task.cancel());
    assert_eq!(task.deadline(Duration::ZERO).join().unwrap(), 25);
    let refused: Result<TaskHandle<u64>, SubmitError> = executor.submit(square, (6u64,));
    assert_eq!(refused.unwrap().join().unwrap(), 36);
}
