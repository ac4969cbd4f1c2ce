//! Bugs that were found and mended, each with its story.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, Gate, block_on, executor, flag_waker, roll_call, wait_until};
use wharf::{
    ArchivedArray, Array, Backend, BuildError, Death, Executor, Serialized, ShareError, TaskError,
    TaskHandle, TaskOptions,
};

fn one() -> u64 {
    1
}

/// Cancelled tasks leave their ids in the ring until it is full. Whoever then threw them out put
/// the ids of queued tasks back as he went; with other threads popping meanwhile he met an id that
/// he had put back himself, took it for a double and dropped it. The task was never run.
#[test]
fn cancelled_ids_may_fill_the_ring_and_no_queued_task_is_lost() {
    for _ in 0..5 {
        let executor = Executor::builder().workers(1).task_slots(8).build().unwrap();
        let gate = Gate::new();
        let busy = executor.submit(Gate::pass, (gate.path(),)).unwrap();
        gate.wait_for_entry();
        let queued: Vec<_> = (0..3).map(|_| executor.submit(one, ()).unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Ok(task) = executor.try_submit(one, ()) {
                            task.cancel();
                        }
                    }
                });
            }
        });
        gate.open();
        busy.join().unwrap();
        for task in queued {
            assert_eq!(task.join_timeout(DEADLINE).expect("it is run").unwrap(), 1);
        }
    }
}

/// Two threads of one task met the heap of another worker at the same instant, and both asked for
/// it. The second answer replaced the first mapping, under the slices that the first thread was
/// reading.
#[test]
fn threads_of_a_task_may_meet_another_worker_s_heap_together() {
    fn make(n: u64) -> Result<Array<u64>, ShareError> {
        let mut array = wharf::array::<u64>(n as usize)?;
        array.fill(1);
        Ok(array.freeze())
    }
    fn read(array: &ArchivedArray<u64>) -> u64 {
        let sum = || (0..50).map(|_| std::hint::black_box(array).iter().sum::<u64>()).sum::<u64>();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(sum)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a sum")).sum()
        })
    }
    for _ in 0..10 {
        let executor = executor(2);
        let array = executor.submit(make, (10_000u64,)).unwrap().join().unwrap().unwrap();
        // Each worker gets one: one of the two has not built the array.
        let tasks: Vec<_> =
            (0..2).map(|_| executor.submit(read, (array.clone(),)).unwrap()).collect();
        for task in tasks {
            assert_eq!(task.join().unwrap(), 8 * 50 * 10_000);
        }
    }
}

/// A future that had been polled was cancelled. No worker rings for such an end, so its waker was
/// never called.
#[test]
fn cancelling_wakes_who_polled() {
    let executor = executor(1);
    let gate = Gate::new();
    let busy = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let mut queued = pin!(executor.submit(one, ()).unwrap());
    let (waker, woken) = flag_waker();
    assert!(queued.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(queued.cancel());
    woken.wait();
    gate.open();
    busy.join().unwrap();
}

/// A thread that had the only free slot found that its arguments cannot be encoded, and gave the
/// slot back without a word to the thread that waited for one.
#[test]
fn a_slot_that_is_given_back_unused_goes_to_who_waits_for_it() {
    /// Says that it is being encoded, waits for the gate, and refuses.
    struct Refuses(String);
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Gate::pass(&self.0);
            Err(serde::ser::Error::custom("it refuses"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Refuses {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("it refuses"))
        }
    }
    let executor = Executor::builder().workers(1).task_slots(1).build().unwrap();
    let gate = Gate::new();
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            executor.submit(|_: Serialized<Refuses>| (), (Serialized(Refuses(gate.path())),))
        });
        gate.wait_for_entry();
        scope.spawn(|| sender.send(executor.submit(one, ()).unwrap().join()).unwrap());
        gate.open();
        assert!(refused.join().unwrap().is_err());
        assert_eq!(receiver.recv_timeout(DEADLINE).expect("it gets the slot").unwrap(), 1);
    });
}

/// Asking how much of the budget is left took a huge sum for an instant. Several threads at once
/// wrapped the count, and small allocations beside them were refused.
#[test]
fn refusals_leave_the_budget_as_it_was() {
    let executor = Executor::builder().workers(1).memory_budget(64 << 20).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|_| drop(executor.array::<u8>(1 << 30))));
        }
        for _ in 0..2000 {
            executor.array::<u8>(64 << 10).expect("there is room for a small one");
        }
    });
    assert!(executor.stats().held_bytes <= 1 << 20);
    executor.array::<u8>(32 << 20).expect("there is room for a large one");
}

/// Safe code could have rkyv check bytes of its own making as an archived array, and so get a slice
/// of any shared memory, such as an array that is being written.
#[test]
fn bytes_from_anywhere_are_no_archived_array() {
    let executor = executor(1);
    let array = executor.array::<u64>(8).unwrap();
    let pid = u64::from(std::process::id());
    for heap in 0..64 {
        let mut bytes = rkyv::util::AlignedVec::<16>::new();
        for word in [pid << 32 | heap, 0, 64] {
            bytes.extend_from_slice(&u64::to_le_bytes(word));
        }
        type Checked<'a> = Result<&'a ArchivedArray<u64>, rkyv::rancor::Error>;
        let checked: Checked<'_> = rkyv::access(&bytes);
        assert!(checked.is_err());
    }
    drop(array);
}

/// A waker is the user's code. One that panicked took the supervisor with it.
#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a waker panics, as this test wants");
        }
    }
    let executor = executor(1);
    let gate = Gate::new();
    let mut polled = pin!(executor.submit(Gate::pass, (gate.path(),)).unwrap());
    let panics = std::task::Waker::from(std::sync::Arc::new(Panics));
    assert!(polled.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    gate.open();
    fn die() {
        std::process::abort();
    }
    // Needs the supervisor: the worker has to be replaced.
    assert!(matches!(executor.submit(die, ()).unwrap().join(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(executor.submit(one, ()).unwrap().join().unwrap(), 1);
}

/// Stops a worker, and waits until it is.
fn stop(pid: u32) {
    // SAFETY: no pointer is passed. The worker is a child that was listed just now.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGSTOP) }, 0);
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is a child");
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T"))
    };
    wait_until("the worker is stopped", state);
}

/// A worker that was stopped while it had nothing to do never left, and the executor waited for it
/// for ever.
#[test]
fn an_executor_ends_though_an_idle_worker_is_stopped() {
    for stopped in 1..=2 {
        let executor = executor(2);
        roll_call(&executor);
        executor.worker_pids().into_iter().take(stopped).for_each(stop);
        executor.shutdown().unwrap();
    }
}

/// The same before it was ready: nobody had an executor yet to end, and `build` did not return.
#[test]
fn an_executor_is_not_built_for_ever_though_a_worker_is_stopped_before_it_is_ready() {
    fn stop_here() {
        // SAFETY: no pointer is passed.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    let built = Executor::builder().workers(2).on_start(stop_here, ()).build();
    match built {
        Err(BuildError::OnStart { cause, .. }) => {
            assert!(cause.contains(&Death::Signal(libc::SIGKILL).to_string()), "{cause}");
        }
        other => panic!("{other:?}"),
    }
}

/// A task was queued and the only worker stopped, between two tasks: no deadline ended that, since
/// one counts from the start of the run.
#[test]
fn a_task_with_a_deadline_runs_though_the_worker_that_was_woken_for_it_is_stopped() {
    let executor = executor(1);
    roll_call(&executor);
    let pid = executor.worker_pids()[0];
    stop(pid);
    let options = TaskOptions::new().deadline(Duration::from_secs(1));
    let task = executor.submit_with(options, std::process::id, ()).unwrap();
    assert_ne!(task.join().unwrap(), pid);
    assert_eq!(executor.stats().deaths, 1);
}

/// What a stopped worker runs is not taken from it without a deadline: somebody may be looking into
/// it, and continue it.
#[test]
fn a_task_whose_worker_is_stopped_and_continued_ends_as_usual() {
    let executor = executor(1);
    let gate = Gate::new();
    let task = executor.submit(Gate::pass_with, (gate.path(), 7u64)).unwrap();
    gate.wait_for_entry();
    let pid = executor.worker_pids()[0];
    stop(pid);
    gate.open();
    let options = TaskOptions::new().deadline(Duration::from_millis(500));
    let next = executor.submit_with(options, std::process::id, ()).unwrap();
    // Long enough for the supervisor to see that it waits for longer than it may run.
    let next = next.join_timeout(Duration::from_millis(1200)).expect_err("its worker is stopped");
    // SAFETY: no pointer is passed. The worker is a child that is stopped.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGCONT) }, 0);
    assert_eq!(task.join().unwrap(), 7);
    assert!(next.join().is_ok_and(|by| by == pid));
}

/// A thread that ran its own task put the news that it took too long into the slot that it had
/// filled. Others had moved the outcome out of there meanwhile, to make room for theirs: they got
/// the news, and the task itself passed for one in time.
#[test]
fn who_runs_too_long_in_one_thread_gets_the_news_himself() {
    fn busy(us: u64) -> u64 {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(us) {}
        us
    }
    let executor = Executor::builder().backend(Backend::Sequential).task_slots(2).build().unwrap();
    thread::scope(|scope| {
        for late in [true, true, false, false] {
            let executor = &executor;
            scope.spawn(move || {
                for us in 0..1000 {
                    let limit = if late { Duration::from_nanos(1) } else { Duration::MAX };
                    let options = TaskOptions::new().deadline(limit);
                    let ended = executor.submit_with(options, busy, (us % 16,)).unwrap().join();
                    let is_right = match &ended {
                        Err(TaskError::DeadlineExceeded { .. }) => late,
                        Ok(slept) => !late && *slept == us % 16,
                        Err(_) => false,
                    };
                    assert!(is_right, "late: {late}, {ended:?}");
                }
            });
        }
    });
}

fn fails(length: u64) -> u64 {
    panic!("{}", "x".repeat(length as usize));
}

/// What a task says of its failure lay in its worker's memory if it was to return a number and its
/// handle was dropped, until another task came by its slot. And where more was given back at a time
/// than fits between two looks of the worker, a worker that had taken all of that for the memory of
/// its next task never asked for the rest.
#[test]
fn failures_that_nobody_asks_for_take_no_more_memory_than_they_must() {
    const TASKS: u64 = 400;
    const ACCOUNT_BYTES: u64 = 3000;
    type Wait = fn(TaskHandle<u64>) -> u64;
    let waits: [Wait; 2] = [|task| task.join().unwrap(), |task| block_on(task).unwrap()];
    for (is_late, wait) in [(false, waits[0]), (true, waits[0]), (false, waits[1])] {
        // A worker that sleeps at once and says of a failure no more than its message; so many
        // slots that none is used twice.
        let builder = Executor::builder().workers(1).spin(Duration::ZERO).task_slots(1 << 17);
        let executor = builder.env("RUST_BACKTRACE", "0").build().unwrap();
        let round = || {
            let tasks = (0..TASKS).map(|_| executor.submit(fails, (ACCOUNT_BYTES,)).unwrap());
            if is_late {
                // They have failed when their handles go.
                let tasks: Vec<_> = tasks.collect();
                assert_eq!(wait(executor.submit(one, ()).unwrap()), 1);
                drop(tasks);
            } else {
                tasks.for_each(drop);
            }
            assert_eq!(wait(executor.submit(one, ()).unwrap()), 1);
        };
        (0..60).for_each(|_| round());
        // Where others keep the cores busy, the worker finds time for nothing but tasks now and
        // then, and has to hold more than ever before.
        let grows = || {
            (0..1000).for_each(|_| thread::yield_now());
            let before = executor.stats().held_bytes;
            (0..8).for_each(|_| round());
            executor.stats().held_bytes > before
        };
        let calm = (0..30).filter(|_| !grows()).count();
        assert!(calm >= 10, "late: {is_late}, {calm}, {}", executor.stats().held_bytes);
    }
}

/// A worker that was woken to take memory back, and found more than fits at a time, had asked for
/// the rest when it fell asleep, and did not hear of it until there was a task.
#[test]
fn who_is_woken_to_take_back_memory_takes_back_all_of_it() {
    fn make(n: u64) -> Result<Array<u8>, ShareError> {
        wharf::array::<u8>(n as usize).map(wharf::ArrayMut::freeze)
    }
    let builder = Executor::builder().workers(1).spin(Duration::ZERO).retain_memory(0);
    let executor = builder.build().unwrap();
    for _ in 0..20 {
        let tasks: Vec<_> =
            (0..1000).map(|_| executor.submit(make, (1u64 << 16,)).unwrap()).collect();
        let arrays: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap().unwrap()).collect();
        assert!(executor.stats().held_bytes >= 1000 << 16);
        drop(arrays);
        wait_until("all memory was given back", || executor.stats().held_bytes == 0);
    }
}
