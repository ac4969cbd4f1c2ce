//! What becomes of tasks that fail, and of those beside them.
//!
//! ```text
//! cargo run --release --example failures
//! ```
//!
//! A panic is an error of its task, and its worker goes on. Where panics abort, as the profile of a
//! program may say, it ends the worker and costs the same one task: the worker is replaced.

use std::error::Error;
use std::process::{abort, exit};

use wharf::{Death, Executor, TaskError};

/// Tasks beside each one that fails.
const NEIGHBOURS: u64 = 20;
/// What the system calls the signal of `abort`.
const SIGABRT: i32 = 6;

/// How a task can end.
#[derive(Debug, PartialEq)]
enum End {
    Returned(Result<u64, String>),
    Panicked(String),
    Died(Death),
}

fn fail(how: &str) -> Result<u64, String> {
    match how {
        "returns" => Ok(5),
        "returns an error" => Err("it was not to be".to_owned()),
        "panics" => panic!("it was not to be"),
        "panics with a thread" => std::thread::scope(|scope| {
            scope.spawn(|| panic!("it was not to be"));
            Ok(5)
        }),
        "aborts" => abort(),
        "exits" => exit(0),
        other => Err(format!("no way to fail: {other}")),
    }
}

/// A panic's end: with its message where panics unwind, else that of its process.
fn panicked(message: &str) -> End {
    if cfg!(panic = "abort") {
        End::Died(Death::Signal(SIGABRT))
    } else {
        End::Panicked(message.to_owned())
    }
}

fn end_of(outcome: Result<Result<u64, String>, TaskError>) -> Result<End, TaskError> {
    match outcome {
        Ok(result) => Ok(End::Returned(result)),
        Err(TaskError::Panicked { message, .. }) => Ok(End::Panicked(message)),
        Err(TaskError::WorkerDied { death, .. }) => Ok(End::Died(death)),
        Err(other) => Err(other),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let executor = Executor::builder().workers(2).build()?;
    let rows = [
        ("returns", End::Returned(Ok(5))),
        ("returns an error", End::Returned(Err("it was not to be".to_owned()))),
        ("panics", panicked("it was not to be")),
        ("panics with a thread", panicked("a scoped thread panicked")),
        ("aborts", End::Died(Death::Signal(SIGABRT))),
        ("exits", End::Died(Death::Code(0))),
    ];
    let mut deaths = 0;
    for (how, expected) in rows {
        let before: Vec<_> = (0..NEIGHBOURS)
            .map(|n| executor.submit(|n: u64| n * n, (n,)))
            .collect::<Result<_, _>>()?;
        let task = executor.submit(fail, (how.to_owned(),))?;
        let after: Vec<_> = (0..NEIGHBOURS)
            .map(|n| executor.submit(|n: u64| n * n, (n,)))
            .collect::<Result<_, _>>()?;
        let end = end_of(task.join())?;
        assert_eq!(end, expected, "a task that {how}");
        for tasks in [before, after] {
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join()?, n * n, "beside a task that {how}");
            }
        }
        deaths += u64::from(matches!(end, End::Died(_)));
        assert_eq!(executor.stats().deaths, deaths, "a task that {how}");
        println!("a task that {how:<21} {end:?}");
    }
    println!("{deaths} workers died and were replaced, no other task was concerned");
    Ok(executor.shutdown()?)
}
