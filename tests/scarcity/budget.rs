//! The memory budget is used up: by shared values, arrays, arguments, results.

use std::any::Any;
use std::time::Instant;

use wharf::{Array, Executor, ShareError, SubmitError, TaskError};

use crate::common::DEADLINE;
use crate::stage::{Row, Skip, says, works};

const MIB: usize = 1 << 20;
const BUDGET: usize = 16 * MIB;

pub const ROWS: &[Row] = &[
    Row { name: "a budget used up by shared values says how much is left", scene: shared },
    Row { name: "a budget used up by arrays says how much is left", scene: arrays },
    Row { name: "a budget used up by arguments says how much is left", scene: arguments },
    Row { name: "a budget used up by arrays of tasks says how much is left", scene: task_arrays },
    Row { name: "a budget used up by results says how much is left", scene: results },
    Row { name: "a budget used up by small values is used up to the end", scene: small_values },
    Row {
        name: "a panic with a long message and no memory is an error with numbers",
        scene: panic,
    },
];

type Asked = Result<Box<dyn Any>, ShareError>;

fn small_executor() -> Executor {
    let builder = Executor::builder().workers(1).memory_budget(BUDGET as u64);
    builder.retain_memory(0).build().expect("an executor")
}

/// Asks for three quarters of the budget and then for a half: refused with both numbers, until
/// the first is dropped. In the end as much is held as in the beginning.
fn check(ask: fn(&Executor, usize) -> Asked) -> Result<(), Skip> {
    let executor = small_executor();
    works(&executor);
    for _ in 0..3 {
        let first = ask(&executor, BUDGET / 4 * 3).expect("there is room");
        let error = ask(&executor, BUDGET / 2).expect_err("there is no room");
        let ShareError::OutOfMemory { asked, left } = error else { panic!("{error}") };
        assert!(asked >= BUDGET as u64 / 2 && left <= BUDGET as u64 / 4, "{error}");
        says(&error, &[&asked.to_string(), &left.to_string(), "Builder::memory_budget", "drop"]);
        drop(first);
        drop(ask(&executor, BUDGET / 2).expect("there is room again"));
    }
    works(&executor);
    // Small blocks keep some pages.
    wait_until_held(&executor, MIB);
    Ok(())
}

/// Waits until what was dropped has been given back, and no more than `most` bytes are held.
///
/// The supervisor gives back what the parent has dropped; a worker does so between tasks.
fn wait_until_held(executor: &Executor, most: usize) {
    let deadline = Instant::now() + DEADLINE;
    while executor.stats().held_bytes > most as u64 {
        let _ = executor.submit(|| (), ()).expect("a task").join();
        assert!(Instant::now() < deadline, "{} bytes are held", executor.stats().held_bytes);
    }
}

fn shared() -> Result<(), Skip> {
    check(|executor, bytes| Ok(Box::new(executor.share(&vec![7u8; bytes])?)))
}

fn arrays() -> Result<(), Skip> {
    check(|executor, bytes| {
        let mut array = executor.array::<u8>(bytes)?;
        array.fill(7);
        Ok(Box::new(array.freeze()))
    })
}

fn arguments() -> Result<(), Skip> {
    /// Keeps the memory of its argument, which would go with the end of the task.
    fn ask(executor: &Executor, bytes: usize) -> Asked {
        let task = executor.submit(|x: &[u8]| x.len() as u64, (vec![7u8; bytes],));
        let task = task.map_err(|error| match error {
            SubmitError::Arguments(error) => error,
            other => panic!("{other}"),
        })?;
        assert_eq!(task.join().expect("a result"), bytes as u64);
        Ok(Box::new(executor.array::<u8>(bytes)?))
    }
    check(ask)
}

fn fill(bytes: u64) -> Result<Array<u8>, ShareError> {
    let mut array = wharf::array::<u8>(bytes as usize)?;
    array.fill(7);
    Ok(array.freeze())
}

fn task_arrays() -> Result<(), Skip> {
    check(|executor, bytes| {
        let task = executor.submit(fill, (bytes as u64,)).expect("a task");
        Ok(Box::new(task.join().expect("a result")?))
    })
}

fn results() -> Result<(), Skip> {
    check(|executor, bytes| {
        let task = executor.submit(|n: u64| vec![7u8; n as usize], (bytes as u64,));
        match task.expect("a task").join_view() {
            Ok(view) => Ok(Box::new(view)),
            Err(TaskError::Result { error, .. }) => Err(error),
            Err(other) => panic!("{other}"),
        }
    })
}

/// Small blocks have a range of their own. When that was full, there was no room for more of them,
/// and the error spoke of hundreds of thousands of blocks, with half of the budget left.
fn small_values() -> Result<(), Skip> {
    const BLOCK: usize = 60_000;
    for budget in [BUDGET, 64 * MIB] {
        let executor = Executor::builder().workers(1).memory_budget(budget as u64).build();
        let executor = executor.expect("an executor");
        let mut held = Vec::new();
        let error = loop {
            match executor.array::<u8>(BLOCK) {
                Ok(array) => held.push(array),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ShareError::OutOfMemory { .. }), "{error}");
        assert!(held.len() * BLOCK > budget / 10 * 9, "{} blocks of {budget}", held.len());
        held.truncate(held.len() / 2);
        held.push(executor.array::<u8>(BLOCK).expect("there is room again"));
        drop(held);
        wait_until_held(&executor, budget / 5 * 4);
        works(&executor);
    }
    Ok(())
}

/// The account of a panic had no room, and the error was one of 0 bytes asked for and 0 left.
fn panic() -> Result<(), Skip> {
    let executor = small_executor();
    let mut held: Vec<Box<dyn Any>> = vec![Box::new(executor.array::<u8>(BUDGET / 8 * 7))];
    while let Ok(array) = executor.array::<u8>(64 << 10) {
        held.push(Box::new(array));
    }
    while let Ok(array) = executor.array::<u8>(4000) {
        held.push(Box::new(array));
    }
    let shout = |n: u64| assert!(n == 0, "{}", "long ".repeat(n as usize));
    match executor.submit(shout, (10_000u64,)).expect("a task").join() {
        Err(TaskError::Result { error: ShareError::OutOfMemory { asked, left }, .. }) => {
            assert!(asked >= 50_000 && left < asked, "{asked} {left}");
        }
        other => panic!("{other:?}"),
    }
    drop(held);
    wait_until_held(&executor, BUDGET / 2);
    match executor.submit(shout, (10_000u64,)).expect("a task").join() {
        Err(TaskError::Panicked { message, .. }) => assert_eq!(message.len(), 50_000),
        other => panic!("{other:?}"),
    }
    Ok(())
}
