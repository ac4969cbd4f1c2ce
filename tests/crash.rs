//! A dead worker costs the one task that it ran.

mod common;

use std::process::Command;

use common::{Gate, executor};
use wharf::{Array, BuildError, Death, Executor, Serialized, TaskError};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;

/// Sends a signal to a process that the test started.
fn signal(pid: u32, signal: i32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(status.expect("kill runs").success());
}

fn identity(n: u64) -> u64 {
    n
}

fn overflow(n: u64) -> u64 {
    let mut room = [n; 512];
    std::hint::black_box(&mut room);
    if n == u64::MAX { 0 } else { overflow(n + 1) + room[0] }
}

/// Ends its own process in the way that is asked for.
fn die(way: &str) {
    match way {
        "exit 0" => std::process::exit(0),
        "exit 3" => std::process::exit(3),
        "abort" => std::process::abort(),
        "overflow" => drop(std::hint::black_box(overflow(0))),
        "kill" => signal(std::process::id(), SIGKILL),
        "terminate" => signal(std::process::id(), SIGTERM),
        "segfault" => signal(std::process::id(), SIGSEGV),
        other => panic!("no way to die: {other}"),
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn each_way_to_die_is_named_and_costs_one_task() {
    let executor = executor(2);
    for (way, expected) in [
        ("exit 0", Death::Code(0)),
        ("exit 3", Death::Code(3)),
        ("abort", Death::Signal(SIGABRT)),
        ("overflow", Death::Signal(SIGSEGV)),
        ("kill", Death::Signal(SIGKILL)),
        ("terminate", Death::Signal(SIGTERM)),
        ("segfault", Death::Signal(SIGSEGV)),
    ] {
        let before: Vec<_> = (0..20u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
        let dying = executor.submit(die, (way.to_owned(),)).unwrap();
        let after: Vec<_> = (0..20u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
        match dying.join() {
            Err(TaskError::WorkerDied { death, pid, task }) => {
                assert_eq!(death, expected, "{way}");
                assert!(pid != std::process::id() && task.ends_with("die"), "{way}: {pid} {task}");
            }
            other => panic!("{way}: {other:?}"),
        }
        for tasks in [before, after] {
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.join().unwrap(), n as u64, "{way}");
            }
        }
    }
    assert_eq!(executor.stats().deaths, 7);
}

#[test]
fn a_worker_killed_among_a_hundred_tasks_costs_exactly_one() {
    let executor = executor(2);
    let gate = Gate::new();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let held = executor.submit(Gate::pass_with, (gate.path(), 1000u64)).unwrap();
            gate.wait_for_entry();
            held
        })
        .collect();
    let queued: Vec<_> = (0..98u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
    signal(executor.worker_pids()[0], SIGKILL);
    let mut outcomes = Vec::new();
    for (n, task) in queued.into_iter().enumerate() {
        outcomes.push(task.join());
        assert!(matches!(outcomes[n], Ok(result) if result == n as u64));
    }
    gate.open();
    outcomes.extend(held.into_iter().map(|task| task.join()));
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((outcomes.len(), failed), (100, 1));
    assert_eq!(executor.submit(identity, (5u64,)).unwrap().join().unwrap(), 5);
}

#[test]
fn every_worker_can_be_killed_again_and_again_while_tasks_run() {
    let executor = executor(2);
    for round in 0..20u64 {
        let tasks: Vec<_> =
            (0..200u64).map(|n| executor.submit(identity, (round + n,)).unwrap()).collect();
        for pid in executor.worker_pids() {
            // It may have been replaced since; then there is nothing to kill.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let mut failed = 0;
        for (n, task) in tasks.into_iter().enumerate() {
            match task.join() {
                Ok(result) => assert_eq!(result, round + n as u64),
                Err(TaskError::WorkerDied { .. }) => failed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(failed <= 2, "two kills cost {failed} tasks");
    }
}

#[test]
fn a_result_outlives_its_worker_and_serves_the_successor() {
    fn make(n: u64) -> Array<u64> {
        let mut array = wharf::array::<u64>(n as usize).expect("memory");
        array.fill(n);
        array.freeze()
    }
    let executor = executor(1);
    let array = executor.submit(make, (100_000u64,)).unwrap().join().unwrap();
    let view = executor.submit(|| vec![7u64; 50_000], ()).unwrap().join_view().unwrap();
    let shared = executor.submit(|| vec![8u64; 50_000], ()).unwrap().into_shared().unwrap();
    let unjoined = executor.submit(|| vec![9u64; 50_000], ()).unwrap();
    while !unjoined.is_finished() {
        std::thread::yield_now();
    }
    assert!(executor.submit(die, ("kill".to_owned(),)).unwrap().join().is_err());
    let sum = |x: &[u64]| x.iter().sum::<u64>();
    assert_eq!(executor.submit(sum, (&array,)).unwrap().join().unwrap(), 10_000_000_000);
    assert_eq!(executor.submit(sum, (&shared,)).unwrap().join().unwrap(), 400_000);
    assert_eq!(view[49_999].to_native(), 7);
    assert_eq!(unjoined.join().unwrap(), vec![9; 50_000]);
    drop((array, view, shared));
    assert_eq!(executor.submit(make, (10u64,)).unwrap().join().unwrap()[9], 10);
}

#[test]
fn panics_carry_their_message_and_place_and_the_worker_goes_on() {
    struct Nasty;
    impl Drop for Nasty {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let executor = executor(1);
    let pids = executor.worker_pids();
    let panicked = |error: TaskError| match error {
        TaskError::Panicked { message, location, task, .. } => {
            assert!(location.contains("tests/crash.rs:"), "{location}");
            assert!(!task.is_empty());
            message
        }
        other => panic!("{other}"),
    };
    let text = executor.submit(|n: u64| assert!(n > 5, "only {n}"), (3u64,)).unwrap().join();
    assert_eq!(panicked(text.unwrap_err()), "only 3");
    fn payload() {
        std::panic::panic_any(5u8);
    }
    let payload = executor.submit(payload, ()).unwrap().join();
    assert_eq!(panicked(payload.unwrap_err()), "a panic with a payload that is no text");
    let nasty = executor.submit(|| drop(std::hint::black_box(Nasty)), ()).unwrap().join();
    assert_eq!(panicked(nasty.unwrap_err()), "in drop");
    let long = executor
        .submit(|n: u64| assert!(n > 5, "{}", "long ".repeat(10_000)), (3u64,))
        .unwrap()
        .join();
    assert_eq!(panicked(long.unwrap_err()).len(), 50_000);
    assert_eq!(executor.submit(identity, (1u64,)).unwrap().join().unwrap(), 1);
    assert_eq!(executor.worker_pids(), pids, "the worker was not replaced");
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Even(u64);

impl From<Even> for u64 {
    fn from(even: Even) -> Self {
        even.0
    }
}

impl TryFrom<u64> for Even {
    type Error = String;

    fn try_from(n: u64) -> Result<Self, String> {
        if n.is_multiple_of(2) { Ok(Self(n)) } else { Err(format!("{n} is odd")) }
    }
}

#[test]
fn an_argument_that_does_not_decode_fails_before_the_function_runs() {
    fn never(_: u64, Serialized(even): Serialized<Even>) -> u64 {
        even.0
    }
    let executor = executor(1);
    match executor.submit(never, (1u64, Serialized(Even(7)))).unwrap().join() {
        Err(TaskError::Decode { what, .. }) => assert_eq!(what, "argument 2"),
        other => panic!("{other:?}"),
    }
    fn even() -> Serialized<Even> {
        Serialized(Even(7))
    }
    match executor.submit(even, ()).unwrap().join() {
        Err(TaskError::Decode { what, .. }) => assert_eq!(what, "the result"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("seven is not even"),
    }
    assert_eq!(executor.submit(identity, (1u64,)).unwrap().join().unwrap(), 1);
}

#[test]
fn a_value_that_refuses_to_be_encoded_is_an_error_before_anything_is_sent() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it refuses"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Refuses {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let executor = executor(1);
    let refused = executor.submit(|_: Serialized<Refuses>| (), (Serialized(Refuses),));
    assert!(refused.unwrap_err().to_string().contains("it refuses"));
    match executor.submit(|| Serialized::<Refuses>::new(Refuses), ()).unwrap().join() {
        Err(TaskError::Result { error, .. }) => assert!(error.to_string().contains("it refuses")),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was encoded"),
    }
}

#[test]
fn killing_the_executor_cancels_what_is_queued() {
    let executor = executor(1);
    let gate = Gate::new();
    let done = executor.submit(identity, (4u64,)).unwrap();
    let running = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let queued = executor.submit(identity, (5u64,)).unwrap();
    executor.kill();
    assert_eq!(done.join().unwrap(), 4);
    assert!(matches!(running.join(), Err(TaskError::WorkerDied { .. })));
    assert!(matches!(queued.join(), Err(TaskError::Cancelled { .. })));
}

#[test]
fn on_start_runs_before_the_first_task_and_in_replacements() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static STARTED: AtomicU64 = AtomicU64::new(0);
    fn started() -> u64 {
        STARTED.load(Ordering::Relaxed)
    }
    let start = |n: u64, text: &str| {
        STARTED.fetch_add(n + text.len() as u64, Ordering::Relaxed);
    };
    let executor = Executor::builder().workers(1).on_start(start, (40u64, "ab".to_owned()));
    let executor = executor.build().unwrap();
    assert_eq!(executor.submit(started, ()).unwrap().join().unwrap(), 42);
    assert!(executor.submit(die, ("kill".to_owned(),)).unwrap().join().is_err());
    assert_eq!(executor.submit(started, ()).unwrap().join().unwrap(), 42);
}

#[test]
fn an_on_start_that_fails_is_an_error_with_the_cause() {
    fn refuse() {
        panic!("no licence");
    }
    let panics = Executor::builder().workers(2).on_start(refuse, ()).build();
    match panics {
        Err(BuildError::OnStart { cause, .. }) => assert!(cause.contains("no licence"), "{cause}"),
        other => panic!("{other:?}"),
    }
    let dies = Executor::builder().workers(2).on_start(die, ("exit 3".to_owned(),)).build();
    match dies {
        Err(BuildError::OnStart { cause, .. }) => assert!(cause.contains("exit code 3"), "{cause}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crash_loop_ends_with_the_reason() {
    let folder = std::env::temp_dir().join(format!("wharf-crash-loop-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    // Starts while the folder is there, and never again.
    let start = |path: &str| assert!(std::path::Path::new(path).exists(), "the folder is gone");
    let executor = Executor::builder().workers(2).on_start(start, (path,)).build().unwrap();
    std::fs::remove_dir(&folder).unwrap();
    let gate = Gate::new();
    let held = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    for pid in executor.worker_pids() {
        signal(pid, SIGKILL);
    }
    assert!(matches!(held.join(), Err(TaskError::WorkerDied { .. })));
    let queued = executor.submit(identity, (1u64,));
    let error = match queued {
        Ok(task) => task.join().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("the folder is gone"), "{error}");
    let refused = executor.submit(identity, (1u64,)).unwrap_err().to_string();
    assert!(refused.contains("the folder is gone"), "{refused}");
    assert!(executor.shutdown().is_err());
}
