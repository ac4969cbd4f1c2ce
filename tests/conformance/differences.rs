//! What cannot be the same, row by row of the table at `Backend`.

use std::cell::Cell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::thread;

use wharf::{Array, ArrayMut, Backend, BuildError, Death, ShareError, TaskError, TaskOptions};

use crate::common::{Gate, flag_waker};
use crate::life::eventually;
use crate::{builder, executor};

fn pid() -> u32 {
    std::process::id()
}

/// Where a task runs: its process, the name of its thread, and whether that is `caller`.
fn place(caller: &str) -> (u32, Option<String>, bool) {
    let thread = thread::current();
    (pid(), thread.name().map(str::to_owned), format!("{:?}", thread.id()) == caller)
}

#[test]
fn a_task_runs_in_a_process_in_a_thread_or_in_its_caller() {
    let caller = format!("{:?}", thread::current().id());
    let place = |backend| executor(backend).submit(place, (caller.clone(),)).unwrap().join();
    let worker = Some("wharf-worker".to_owned());
    let (other, name, _) = place(Backend::Processes).unwrap();
    assert!(other != pid() && name == worker, "{other} {name:?}");
    let (here, name, is_caller) = place(Backend::Threads).unwrap();
    assert!((here, name, is_caller) == (pid(), worker, false));
    let (here, _, is_caller) = place(Backend::Sequential).unwrap();
    assert!((here, is_caller) == (pid(), true));
}

#[test]
fn thread_locals_are_a_workers_own_or_the_callers() {
    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
    }
    fn count() -> u64 {
        COUNT.set(COUNT.get() + 1);
        COUNT.get()
    }
    for (backend, first) in
        [(Backend::Processes, 1), (Backend::Threads, 1), (Backend::Sequential, 101)]
    {
        COUNT.set(100);
        let executor = builder(backend).workers(1).build().unwrap();
        let tasks: Vec<_> = (0..5).map(|_| executor.submit(count, ()).unwrap()).collect();
        for (task, expected) in tasks.into_iter().zip(first..) {
            assert_eq!(task.join().unwrap(), expected, "{backend}");
        }
    }
}

/// In the order in which they are submitted, each to its end.
#[test]
fn a_sequential_task_has_ended_when_submit_returns() {
    static ORDER: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let executor = executor(Backend::Sequential);
    for n in 0..10u64 {
        let note = |n: u64| ORDER.lock().unwrap().push(n);
        let task = executor.submit(note, (n,)).unwrap();
        assert!(task.is_finished() && ORDER.lock().unwrap().last() == Some(&n));
        assert!(!task.cancel());
    }
    assert!(ORDER.lock().unwrap().iter().copied().eq(0..10));
}

#[test]
fn only_processes_have_process_ids() {
    for (backend, count) in
        [(Backend::Processes, 2), (Backend::Threads, 0), (Backend::Sequential, 0)]
    {
        let executor = executor(backend);
        let pids: HashSet<u32> = executor.worker_pids().into_iter().collect();
        assert!(pids.len() == count && !pids.contains(&pid()), "{backend}: {pids:?}");
    }
}

#[test]
fn a_crash_costs_a_process_its_task_and_nothing_else() {
    let executor = executor(Backend::Processes);
    let died = executor.submit(|| -> () { std::process::exit(3) }, ()).unwrap().join();
    assert!(matches!(died, Err(TaskError::WorkerDied { death: Death::Code(3), .. })), "{died:?}");
    assert_ne!(executor.submit(pid, ()).unwrap().join().unwrap(), pid());
}

/// Has much memory, waits at the gate, and then returns it, or panics.
fn pass_with_much(path: &str, panics: bool) -> ArrayMut<u8> {
    let array = wharf::array::<u8>(8 << 20).expect("memory");
    Gate::pass(path);
    assert!(!panics, "too late to be told");
    array
}

#[test]
fn a_thread_ends_a_cancelled_task_and_throws_its_result_away() {
    let builder = builder(Backend::Threads).workers(1).retain_memory(0);
    let executor = builder.memory_budget(64 << 20).build().unwrap();
    for round in 0..24 {
        let gate = Gate::new();
        let args = (gate.path(), round % 2 == 0);
        let task = executor.submit(pass_with_much, args).unwrap();
        gate.wait_for_entry();
        let queued = executor.submit(pid, ()).unwrap();
        assert!(task.cancel() && !task.cancel() && !task.is_finished(), "{round}");
        if round % 3 == 0 {
            drop(task);
            gate.open();
        } else {
            gate.open();
            let ended = task.join();
            assert!(matches!(ended, Err(TaskError::Cancelled { .. })), "{ended:?}");
        }
        assert_eq!(queued.join().unwrap(), pid());
    }
    eventually("what was thrown away is free", || executor.stats().held_bytes < 1 << 20);
    assert_eq!(executor.stats().deaths, 0);
    executor.shutdown().unwrap();
}

#[test]
fn a_future_of_a_cancelled_task_is_woken_when_its_thread_has_ended_it() {
    let executor = executor(Backend::Threads);
    for polled_first in [false, true] {
        let gate = Gate::new();
        let mut task = pin!(executor.submit(Gate::pass, (gate.path(),)).unwrap());
        gate.wait_for_entry();
        let (waker, woken) = flag_waker();
        let mut context = Context::from_waker(&waker);
        if polled_first {
            assert!(task.as_mut().poll(&mut context).is_pending());
        }
        assert!(task.cancel());
        assert!(task.as_mut().poll(&mut context).is_pending());
        gate.open();
        woken.wait();
        let ended = task.as_mut().poll(&mut context);
        assert!(matches!(ended, Poll::Ready(Err(TaskError::Cancelled { .. }))), "{ended:?}");
    }
}

#[test]
fn threads_cannot_be_killed_and_are_waited_for() {
    let executor = builder(Backend::Threads).workers(1).build().unwrap();
    let gate = Gate::new();
    let running = executor.submit(Gate::pass_with, (gate.path(), 6u64)).unwrap();
    gate.wait_for_entry();
    let queued: Vec<_> = (0..10).map(|_| executor.submit(pid, ()).unwrap()).collect();
    thread::scope(|scope| {
        let killed = scope.spawn(|| executor.kill());
        for task in queued {
            let ended = task.join();
            assert!(matches!(ended, Err(TaskError::Cancelled { .. })), "{ended:?}");
        }
        assert!(!killed.is_finished() && !running.is_finished());
        gate.open();
        killed.join().expect("no panic");
    });
    assert_eq!(running.join().unwrap(), 6);
}

/// Whose own memory cannot be told, nobody is replaced for it; who does not die, is not retried.
#[test]
fn threads_have_no_memory_of_their_own_and_no_retries() {
    let executor = builder(Backend::Threads).workers(1).max_memory_per_worker(1).build().unwrap();
    let thread = || format!("{:?}", thread::current().id());
    let first = executor.submit(thread, ()).unwrap().join().unwrap();
    for _ in 0..50 {
        assert_eq!(executor.submit(thread, ()).unwrap().join().unwrap(), first);
    }
    let options = TaskOptions::new().retries(5);
    let fails = || -> u64 { panic!("once") };
    let failed = executor.submit_with(options, fails, ()).unwrap().join();
    assert!(matches!(failed, Err(TaskError::Panicked { .. })));
    eventually("52 tasks were run", || executor.stats().tasks_finished == 52);
}

#[test]
fn a_variable_for_workers_is_refused_unless_this_process_has_it() {
    let path = std::env::var("PATH").expect("a PATH");
    for backend in [Backend::Threads, Backend::Sequential] {
        let built = builder(backend).env("WHARF_TEST_SHARED", "1").build();
        let Err(error @ BuildError::Env { .. }) = built else { panic!("{built:?}") };
        let text = error.to_string();
        assert!(
            text.contains("WHARF_TEST_SHARED") && text.contains(&backend.to_string()),
            "{text}"
        );
        builder(backend).env("PATH", &path).build().expect("it is so already");
        let last = builder(backend).env("PATH", "/").env("PATH", &path).build();
        last.expect("the last setting of a variable counts");
        builder(backend).env("PATH", &path).env("PATH", "/").build().expect_err("it is not so");
    }
    let executor = builder(Backend::Processes).env("WHARF_TEST_SHARED", "1").build().unwrap();
    let found = executor.submit(|| std::env::var("WHARF_TEST_SHARED").ok(), ()).unwrap();
    assert_eq!(found.join().unwrap().as_deref(), Some("1"));
}

/// Threads that a task starts are known to belong to it only where they have a process in common.
#[test]
fn an_array_is_to_be_had_in_a_task_and_in_threads_of_a_worker_process() {
    fn beside() -> Result<u64, ShareError> {
        let array = thread::spawn(|| wharf::array::<u64>(5)).join().expect("no panic");
        array.map(|array| array.len() as u64)
    }
    for (backend, expected) in [
        (Backend::Processes, Ok(5)),
        (Backend::Threads, Err(ShareError::NotInTask)),
        (Backend::Sequential, Err(ShareError::NotInTask)),
    ] {
        let executor = executor(backend);
        assert_eq!(executor.submit(beside, ()).unwrap().join().unwrap(), expected, "{backend}");
    }
    assert_eq!(wharf::array::<u64>(5).map(drop), Err(ShareError::NotInTask));
}

/// The blocks of a thread's results are known by their offsets. An array of the parent's at the
/// same offset, which a task can find in a static, would have been taken for one of them, and the
/// memory of a result would have been used again while it was read.
#[test]
fn a_task_cannot_return_an_array_that_its_thread_has_not_made() {
    static FOUND: Mutex<Option<Array<u64>>> = Mutex::new(None);
    fn found() -> Option<Array<u64>> {
        FOUND.lock().unwrap().clone()
    }
    for backend in [Backend::Threads, Backend::Sequential] {
        let executor = executor(backend);
        *FOUND.lock().unwrap() = Some(executor.array_from(&[1, 2, 3]).unwrap());
        let refused = executor.submit(found, ()).unwrap().join();
        let foreign = matches!(refused, Err(TaskError::Result { error: ShareError::Foreign, .. }));
        assert!(foreign, "{refused:?}");
        *FOUND.lock().unwrap() = None;
        assert!(executor.submit(found, ()).unwrap().join().unwrap().is_none());
    }
}

/// Several threads are the one worker of a sequential executor, and it counts for all of them.
#[test]
fn many_callers_run_their_own_tasks_at_the_same_time() {
    let executor = builder(Backend::Sequential).task_slots(8).build().unwrap();
    let gates: Vec<Gate> = (0..4).map(|_| Gate::new()).collect();
    thread::scope(|scope| {
        for gate in &gates {
            let executor = &executor;
            scope.spawn(move || {
                executor.submit(Gate::pass, (gate.path(),)).unwrap().join().unwrap();
                for n in 0..2000u64 {
                    let list = executor.submit(|n: u64| vec![n; 50], (n,)).unwrap();
                    assert_eq!(list.join().unwrap(), vec![n; 50]);
                }
            });
        }
        gates.iter().for_each(Gate::wait_for_entry);
        gates.iter().for_each(Gate::open);
    });
    assert_eq!(executor.stats().tasks_finished, 4 * 2001);
}
