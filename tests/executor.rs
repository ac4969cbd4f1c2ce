//! Handles of tasks that are queued or run while their caller goes on. What every backend answers,
//! in every form that the interface offers, is in `tests/conformance.rs`.

mod common;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::{Gate, executor};
use wharf::{TaskError, TaskHandle};

#[test]
fn a_queued_task_that_is_cancelled_does_not_run() {
    let executor = executor(1);
    let gate = Gate::new();
    let running = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let queued = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    assert!(queued.cancel() && !queued.cancel());
    assert!(matches!(queued.join(), Err(TaskError::Cancelled { .. })));
    gate.open();
    running.join().unwrap();
}

#[test]
fn join_timeout_gives_the_handle_back() {
    let executor = executor(1);
    let gate = Gate::new();
    let task = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let task = task.join_timeout(Duration::from_millis(5)).expect_err("it waits at the gate");
    assert!(!task.is_finished());
    gate.open();
    task.join_timeout(Duration::from_secs(60)).expect("it ends").unwrap();
}

#[test]
fn a_dropped_handle_leaves_the_task_to_itself() {
    let executor = executor(1);
    let gate = Gate::new();
    let first = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    for n in 0..500u64 {
        drop(executor.submit(|n: u64| vec![n; 100], (n,)).unwrap());
    }
    drop(first);
    gate.open();
    assert_eq!(executor.submit(|n: u64| n, (9u64,)).unwrap().join().unwrap(), 9);
    executor.shutdown().unwrap();
}

#[test]
fn handles_are_futures_that_the_supervisor_wakes() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    let executor = executor(1);
    let gate = Gate::new();
    let task = executor.submit(Gate::pass_with, (gate.path(), 7u64)).unwrap();
    gate.wait_for_entry();
    let (waker, woken) = common::flag_waker();
    let mut task = pin!(task);
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    gate.open();
    woken.wait();
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert_eq!(result.unwrap(), 7),
        Poll::Pending => panic!("woken before the end"),
    }
}

/// Who joins tasks of a few microseconds out of a long queue is not woken for each of them. Now and
/// then one takes long, or is the last, and all have their results.
#[test]
fn short_tasks_of_a_long_queue_are_joined_one_after_the_other() {
    fn busy(us: u64) -> u64 {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(us) {}
        us
    }
    let executor = executor(2);
    let length = |n: u64| if n % 1500 == 1499 { 2000 } else { n % 12 };
    for tasks in [3000u64, 5, 4000] {
        let queue: Vec<_> =
            (0..tasks).map(|n| executor.submit(busy, (length(n),)).unwrap()).collect();
        for (n, task) in (0..).zip(queue) {
            assert_eq!(task.join().unwrap(), length(n), "{n}");
        }
    }
}

/// A worker that naps while others take short tasks one after the other is back for longer ones,
/// though nobody calls it.
#[test]
fn all_workers_are_there_for_long_tasks_after_a_stream_of_short_ones() {
    for workers in [2, 3] {
        let executor = executor(workers);
        for _ in 0..10 {
            let mut under_way = VecDeque::new();
            for n in 0..10_000u64 {
                if under_way.len() == 100 {
                    let oldest: TaskHandle<u64> = under_way.pop_front().expect("100 tasks");
                    assert_eq!(oldest.join().unwrap(), n - 100);
                }
                under_way.push_back(executor.submit(|n: u64| n, (n,)).unwrap());
            }
            let gates: Vec<_> = (0..workers).map(|_| Gate::new()).collect();
            let pass = |gate: &Gate| executor.submit(Gate::pass, (gate.path(),)).unwrap();
            let tasks: Vec<_> = gates.iter().map(pass).collect();
            gates.iter().for_each(Gate::wait_for_entry);
            gates.iter().for_each(Gate::open);
            tasks.into_iter().for_each(|task| task.join().unwrap());
        }
    }
}
