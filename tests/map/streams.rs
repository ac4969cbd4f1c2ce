//! A map as a stream, under tokio and without it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use wharf::{Map, Returnable, TaskError};

use super::common::{DEADLINE, Gate, executor, flag_waker};
use super::{MANY, SIZES, Sizes, check_works, double};

async fn next<I, R>(map: &mut Map<'_, I, R>) -> Option<Result<R, TaskError>>
where
    I: Iterator<Item: wharf::Argument>,
    R: Returnable,
{
    poll_fn(|context| Pin::new(&mut *map).poll_next(context)).await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
}

#[test]
fn a_stream_yields_what_the_iterator_does() {
    let executor = executor(2);
    for sizes in SIZES {
        for items in [0, 1, 100, MANY] {
            let mut results = map!(sizes, executor.map(double, 0..items));
            let mut seen = block_on(async {
                let mut seen = Vec::new();
                while let Some(result) = next(&mut results).await {
                    seen.push(result.unwrap());
                }
                assert!(next(&mut results).await.is_none());
                seen
            });
            if sizes.unordered {
                seen.sort_unstable();
            }
            assert!(seen.into_iter().eq((0..items).map(|n| n * 2)), "{sizes:?}, {items} items");
        }
    }
}

#[test]
fn several_streams_in_one_thread_take_turns_with_awaited_tasks() {
    let executor = executor(2);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (executor, handle) = (&executor, runtime.handle().clone());
            scope.spawn(move || {
                handle.block_on(async {
                    let mut results = executor.map(double, 0..3000u64);
                    for n in 0..3000 {
                        assert_eq!(next(&mut results).await.unwrap().unwrap(), n * 2);
                        if n % 100 == 0 {
                            let task = executor.submit(double, (thread,)).unwrap();
                            assert_eq!(task.await.unwrap(), thread * 2);
                        }
                    }
                });
            });
        }
    });
}

/// Those in front of it are delivered while it runs, those behind it run elsewhere.
#[test]
fn a_slow_item_of_a_stream_does_not_hold_back_its_mates() {
    fn slow(path: &str, slow: u64, n: u64) -> u64 {
        if n == slow {
            Gate::pass(path);
        }
        n
    }
    let executor = executor(2);
    for batch in [0, 10, 64] {
        for at in [0, 5, 63] {
            for unordered in [false, true] {
                let gate = Gate::new();
                let sizes = Sizes { batch, window: 64, unordered };
                let constants = (gate.path(), at);
                let mut results = map!(sizes, executor.map_with(slow, constants, 0..64u64));
                let early = if unordered { 63 } else { at };
                let all = block_on(async {
                    let mut all = Vec::new();
                    for n in 0..64 {
                        if n == early {
                            assert!(!all.contains(&at), "{sizes:?}, {at} is slow");
                            gate.open();
                        }
                        all.push(next(&mut results).await.unwrap().unwrap());
                    }
                    all
                });
                assert_eq!(all.iter().sum::<u64>(), 63 * 32, "{sizes:?}, {at} is slow");
            }
        }
    }
}

#[test]
fn a_stream_is_woken_by_a_death_and_may_be_dropped_while_it_waits() {
    fn dies(path: &str, n: u64) -> u64 {
        if n == 3 {
            Gate::pass(path);
            std::process::abort();
        }
        n
    }
    let executor = executor(2);
    for unordered in [false, true] {
        for taken in [3, 4, 20] {
            let gate = Gate::new();
            let sizes = Sizes { batch: 5, window: 20, unordered };
            let mut results = map!(sizes, executor.map_with(dies, (gate.path(),), 0..20u64));
            let died = block_on(async {
                let mut died = 0;
                for n in 0..taken {
                    if n == 3 {
                        gate.wait_for_entry();
                        gate.open();
                    }
                    match next(&mut results).await.unwrap() {
                        Ok(_) => {}
                        Err(TaskError::WorkerDied { .. }) => died += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                died
            });
            assert!(died == usize::from(taken > 3) || unordered, "{sizes:?}, {taken} taken");
            gate.open();
        }
    }
    check_works(&executor);
}

#[test]
fn a_stream_that_waits_is_woken_once_its_item_ends() {
    fn gated(path: &str, n: u64) -> u64 {
        Gate::pass(path);
        n
    }
    let executor = executor(1);
    let (gate, (waker, woken)) = (Gate::new(), flag_waker());
    let mut results = executor.map_with(gated, (gate.path(),), 0..1u64);
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut results).poll_next(&mut context).is_pending());
    gate.wait_for_entry();
    gate.open();
    loop {
        woken.wait();
        match Pin::new(&mut results).poll_next(&mut context) {
            Poll::Ready(result) => {
                assert_eq!(result.unwrap().unwrap(), 0);
                return;
            }
            // Whoever waits for an item may be woken for another reason.
            Poll::Pending => {}
        }
    }
}
