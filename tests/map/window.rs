//! How far ahead a map draws, what it draws from, and what becomes of what was drawn.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use wharf::{Executor, TaskError};

use super::common::{Gate, executor};
use super::{Log, MANY, SIZES, Sizes, check_works, double, eventually, sizes};

/// The first item waits at a gate, the others do not.
fn gated(path: &str, n: u64) -> u64 {
    if n == 0 {
        Gate::pass(path);
    }
    n * 2
}

#[test]
fn the_window_is_respected_to_the_item() {
    /// Several of the largest window.
    const ITEMS: usize = if cfg!(debug_assertions) { 1500 } else { 3000 };
    let executor = executor(2);
    for window in [1, 2, 3, 10, 64, 1000] {
        for batch in [0, 1, 5, 100] {
            for unordered in [false, true] {
                let sizes = Sizes { batch, window, unordered };
                // Neither is `Send`: the input is drawn from in this thread alone.
                let (drawn, returned) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let (seen, given) = (Rc::clone(&drawn), Rc::clone(&returned));
                let input = (0..ITEMS as u64).inspect(move |_| {
                    seen.set(seen.get() + 1);
                    assert!(seen.get() - given.get() <= window, "{sizes:?}");
                });
                for result in map!(sizes, executor.map(double, input)) {
                    result.unwrap();
                    returned.set(returned.get() + 1);
                }
                assert_eq!((drawn.get(), returned.get()), (ITEMS, ITEMS), "{sizes:?}");
            }
        }
    }
}

/// Where results are held up the window is filled to the last item, and no further.
#[test]
fn a_held_up_map_draws_its_window_to_the_item() {
    let executor = executor(2);
    for (batch, window) in [(0, 1), (0, 5), (0, 100), (3, 100), (7, 20), (50, 8)] {
        let (gate, drawn) = (Gate::new(), AtomicU64::new(0));
        let input = (0..1000u64).inspect(|_| {
            drawn.fetch_add(1, Ordering::SeqCst);
        });
        let (path, mut returned) = (gate.path(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gate.wait_for_entry();
                eventually("the window is full", || drawn.load(Ordering::SeqCst) == window as u64);
                gate.open();
            });
            let results = map!(sizes(batch, window), executor.map_with(gated, (path,), input));
            for result in results {
                assert_eq!(result.unwrap(), returned * 2);
                returned += 1;
                let ahead = drawn.load(Ordering::SeqCst) + 1 - returned;
                assert!(ahead <= window as u64, "{ahead} items, a window of {window}");
            }
        });
        assert_eq!(returned, 1000);
    }
}

#[test]
fn an_endless_input_streams_through_and_a_drop_ends_it() {
    let executor = executor(2);
    for sizes in SIZES {
        let drawn = Cell::new(0u64);
        let input = (0u64..).inspect(|_| drawn.set(drawn.get() + 1));
        let results = map!(sizes, executor.map(double, input));
        let sum: u64 = results.take(MANY as usize).map(Result::unwrap).sum();
        if !sizes.unordered {
            assert_eq!(sum, MANY * (MANY - 1), "{sizes:?}");
        }
        // The default window is four batches a worker, and a batch has 4096 items at most.
        assert!(drawn.get() <= MANY + 4 * 2 * 4096, "{} drawn", drawn.get());
    }
    check_works(&executor);
}

#[test]
fn a_map_draws_nothing_before_it_is_asked() {
    let executor = executor(1);
    let input = (0..10u64).inspect(|_| panic!("it was drawn from"));
    drop(executor.map(double, input));
    assert_eq!(executor.stats().tasks_finished, 0);
}

#[test]
fn a_drop_takes_back_what_is_queued_and_leaves_what_runs() {
    fn noted(log: &str, gate: &str, n: u64) -> u64 {
        Log::note(log, n);
        if n == 2 {
            Gate::pass(gate);
        }
        n
    }
    // The mates of the item that runs, in its batch and in others, are taken back alike.
    for (batch, unordered) in [(1, false), (10, false), (1, true), (10, true)] {
        let executor = Executor::builder().workers(1).task_slots(16).build().unwrap();
        let before = executor.stats().held_bytes;
        let (log, gate) = (Log::new(), Gate::new());
        let sizes = Sizes { batch, window: 30, unordered };
        let constants = (log.path(), gate.path());
        let mut results = map!(sizes, executor.map_with(noted, constants, 0u64..));
        assert_eq!(results.next().unwrap().unwrap(), 0);
        assert_eq!(results.next().unwrap().unwrap(), 1);
        gate.wait_for_entry();
        drop(results);
        gate.open();
        check_works(&executor);
        assert_eq!(log.runs().len(), 3, "{sizes:?}: {:?}", log.runs());
        let all: Vec<_> = (0..16u64)
            .map(|_| executor.try_submit(double, (1u64,)).expect("every slot is free again"))
            .collect();
        all.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 2));
        assert!(executor.stats().held_bytes <= before + (1 << 20));
    }
}

#[test]
fn a_slow_first_item_holds_back_no_other_where_order_does_not_matter() {
    let executor = executor(2);
    for batch in [0, 1, 10, 100] {
        let gate = Gate::new();
        let sizes = Sizes { batch, window: 100, unordered: true };
        let results = map!(sizes, executor.map_with(gated, (gate.path(),), 0..100u64));
        let mut seen = Vec::new();
        for result in results {
            seen.push(result.unwrap() / 2);
            if seen.len() == 99 {
                assert!(!seen.contains(&0));
                gate.open();
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..100), "{sizes:?}");
    }
}

/// Those in front of it in its batch are delivered while it runs; those behind it run elsewhere.
#[test]
fn a_slow_item_does_not_hold_back_its_mates() {
    fn slow_in_the_middle(path: &str, slow: u64, n: u64) -> u64 {
        if n == slow {
            Gate::pass(path);
        }
        n
    }
    let executor = executor(2);
    for batch in [0, 10, 64] {
        for slow in [0, 5, 31, 63] {
            for unordered in [false, true] {
                let (gate, log) = (Gate::new(), format!("batch {batch}, {slow} is slow"));
                let sizes = Sizes { batch, window: 64, unordered };
                let constants = (gate.path(), slow);
                let mut results =
                    map!(sizes, executor.map_with(slow_in_the_middle, constants, 0..64u64));
                let before = if unordered { 63 } else { slow };
                let early: Vec<u64> =
                    results.by_ref().take(before as usize).map(Result::unwrap).collect();
                assert!(!early.contains(&slow), "{log}");
                gate.open();
                let mut all: Vec<u64> = early;
                all.extend(results.map(Result::unwrap));
                all.sort_unstable();
                assert!(all.into_iter().eq(0..64), "{log}");
            }
        }
    }
}

#[test]
fn a_panic_of_the_input_reaches_the_caller_and_harms_nothing() {
    let executor = executor(2);
    for sizes in SIZES {
        for at in [0, 1, 50, 99] {
            let input = (0..100u64).inspect(|&n| {
                if n == at {
                    std::panic::panic_any("the input panics, as this test wants");
                }
            });
            let mut results = map!(sizes, executor.map(double, input));
            let (mut seen, mut panics) = (Vec::new(), 0);
            loop {
                match catch_unwind(AssertUnwindSafe(|| results.next())) {
                    Ok(Some(result)) => seen.push(result.unwrap()),
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
            }
            seen.sort_unstable();
            let wanted = (0..100).filter(|&n| n != at).map(|n| n * 2);
            assert!(panics == 1 && seen.into_iter().eq(wanted), "{sizes:?}, panic at {at}");
        }
    }
    check_works(&executor);
}

#[test]
fn collecting_into_a_result_stops_at_the_first_error_without_harm() {
    fn odd_ones_fail(n: u64) -> u64 {
        assert!(n != 77, "item {n}");
        n
    }
    let executor = executor(2);
    for sizes in SIZES {
        let all = map!(sizes, executor.map(odd_ones_fail, 0u64..));
        match all.collect::<Result<Vec<_>, _>>() {
            Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "item 77"),
            other => panic!("{other:?}"),
        }
        check_works(&executor);
    }
}
