//! Progress of maps and loops: what the observer hears, when, and what its panics do.

#[path = "progress/bars.rs"]
#[cfg(feature = "indicatif")]
mod bars;
mod common;
#[cfg(not(loom))]
#[path = "progress/streams.rs"]
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use common::{DEADLINE, Gate, Once, executor};
use wharf::{Array, ChunkStart, Executor, LoopError, Progress, TaskError};

fn double(n: u64) -> u64 {
    n * 2
}

/// Waits at the gate with one number, and with no other.
fn wait_at(path: &str, at: u64, n: u64) -> u64 {
    if n == at {
        Gate::pass(path);
    }
    n
}

/// Opens the gate when the time is over: who hears of nothing fails then, and does not hang.
fn under_deadline<T>(gate: &Gate, run: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (running, ended) = channel::<()>();
        scope.spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                gate.open();
            }
        });
        let value = run();
        drop(running);
        value
    })
}

/// The first call tells of the beginning, the last of all that was done, each of more than before.
fn check(seen: &[Progress], total: Option<u64>, done: u64) {
    let counts: Vec<u64> = seen.iter().map(|p| p.done).collect();
    assert_eq!((counts.first(), counts.last()), (Some(&0), Some(&done)), "{counts:?}");
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    assert!(seen.is_sorted_by_key(|p| p.elapsed), "{seen:?}");
    assert!(seen.iter().all(|p| p.total == total), "{seen:?}, and not {total:?}");
}

#[test]
fn a_map_tells_of_its_beginning_and_of_every_result_in_the_end() {
    let executor = executor(2);
    let caller = thread::current().id();
    for items in [0, 1, 100, 5000u64] {
        for (unordered, known) in [(false, true), (true, true), (false, false)] {
            // A filter does not know how many it will let through, unless there are none.
            let total = (known || items == 0).then_some(items);
            let mut seen = Vec::new();
            let observer = |progress| {
                assert_eq!(thread::current().id(), caller);
                seen.push(progress);
            };
            let sum: Result<u64, TaskError> = match (unordered, known) {
                (false, true) => executor.map(double, 0..items).progress(observer).sum(),
                (true, _) => executor.map(double, 0..items).unordered().progress(observer).sum(),
                _ => executor.map(double, (0..items).filter(|_| true)).progress(observer).sum(),
            };
            assert_eq!(sum.unwrap(), (0..items).map(double).sum::<u64>());
            check(&seen, total, items);
        }
    }
}

#[test]
fn a_map_that_is_dropped_tells_of_what_was_taken() {
    let executor = executor(2);
    for taken in [1, 7, 100] {
        let mut seen = Vec::new();
        let map = executor.map(double, 0u64..).progress(|progress| seen.push(progress));
        assert_eq!(map.take(taken as usize).count() as u64, taken);
        check(&seen, None, taken);
    }
    // Who never asked for a result hears of nothing.
    drop(executor.map(double, 0..9u64).progress(|progress| panic!("{progress:?}")));
}

/// Errors are results, and the one error of a map that could not begin is, too.
#[test]
fn items_that_fail_are_counted() {
    let picky = |n: u64| assert!(!n.is_multiple_of(3));
    let executor = Executor::builder().workers(2).memory_budget(1 << 20).build().unwrap();
    let mut seen = Vec::new();
    let map = executor.map(picky, 0..99u64).progress(|progress| seen.push(progress));
    assert_eq!(map.filter(Result::is_err).count(), 33);
    check(&seen, Some(99), 99);
    seen.clear();
    let (constants, items) = ((vec![0u8; 2 << 20],), 0..99u64);
    let refused = executor.map_with(|_: &[u8], n: u64| n, constants, items);
    assert_eq!(refused.progress(|progress| seen.push(progress)).count(), 1);
    check(&seen, Some(1), 1);
}

/// Results that came less than a pause before a slow item were once told of when that had ended:
/// a bar would have stood still for as long.
#[test]
fn what_was_returned_is_told_while_a_slow_item_runs() {
    const ITEMS: u64 = 50;
    let executor = executor(2);
    for slow in [1, 20, ITEMS - 1] {
        let gate = Gate::new();
        let mut heard = false;
        let observer = |progress: Progress| {
            // All in front of it; nothing behind it can be returned.
            if progress.done == slow {
                heard = true;
                gate.open();
            }
            assert!(heard || progress.done < slow);
        };
        let map = executor.map_with(wait_at, (gate.path(), slow), 0..ITEMS).progress(observer);
        let seen: Vec<u64> = under_deadline(&gate, || map.map(Result::unwrap).collect());
        assert!(seen.into_iter().eq(0..ITEMS) && heard, "{slow}");
    }
}

/// At the beginning, while a slow item runs, at the end: no result is lost, and the map goes on.
#[test]
fn a_panic_of_an_observer_reaches_the_caller_and_harms_nothing() {
    const ITEMS: u64 = 50;
    let executor = executor(2);
    for at in [0, 20, ITEMS] {
        let gate = Gate::new();
        let observer = |progress: Progress| {
            if progress.done == at {
                gate.open();
                panic!("as this test wants");
            }
            if progress.done == ITEMS {
                gate.open();
            }
        };
        // Nobody waits where there is no such item.
        let slow = if at == 0 { ITEMS } else { at };
        let mut map = executor.map_with(wait_at, (gate.path(), slow), 0..ITEMS).progress(observer);
        let (mut seen, mut panics) = (Vec::new(), 0);
        under_deadline(&gate, || {
            loop {
                match catch_unwind(AssertUnwindSafe(|| map.next())) {
                    Ok(Some(result)) => seen.push(result.unwrap()),
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
            }
        });
        assert!(seen.into_iter().eq(0..ITEMS), "{at}");
        assert_eq!(panics, 1, "{at}");
        assert!(map.next().is_none());
    }
    // The last call of a map that is dropped.
    let mut map = executor.map(double, 0u64..).progress(|p| assert!(p.done != 1));
    assert_eq!(map.next().unwrap().unwrap(), 0);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(map))).is_err());
    assert_eq!(executor.submit(double, (4u64,)).unwrap().join().unwrap(), 8);
}

fn count_up(out: &mut [u64], start: usize) {
    out.iter_mut().zip(start as u64..).for_each(|(x, n)| *x = n);
}

fn sum(x: &[u64]) -> u64 {
    x.iter().sum()
}

/// An array that counts up.
fn counted(executor: &Executor, len: usize) -> Array<u64> {
    let mut array = executor.array::<u64>(len).unwrap();
    executor.fill_chunks(&mut array, 100, count_up, (ChunkStart,)).unwrap();
    array.freeze()
}

#[test]
fn a_loop_tells_of_its_beginning_and_of_every_element_in_the_end() {
    let executor = executor(2);
    for len in [0, 1, 1000, 100_001] {
        let mut seen = Vec::new();
        let mut array = executor.array::<u64>(len).unwrap();
        let mut loops = executor.loops().progress(|progress| seen.push(progress));
        loops.fill_chunks(&mut array, 7, count_up, (ChunkStart,)).unwrap();
        loops.for_each_chunk(&mut array, 7, |x: &mut [u64]| x[0] += 1, ()).unwrap();
        let array = array.freeze();
        let whole = loops.map_reduce(&array, sum, |a, b| a + b).unwrap();
        assert_eq!(whole, (0..len as u64).sum::<u64>() + len.div_ceil(7) as u64);
        let error = loops.fill_chunks(&mut executor.array(1).unwrap(), 0, count_up, (ChunkStart,));
        assert!(matches!(error, Err(LoopError::EmptyChunk)));
        // Each began once; what could not begin was not heard of.
        let starts: Vec<usize> = (0..seen.len()).filter(|&at| seen[at].done == 0).collect();
        let ends = starts[1..].iter().copied().chain([seen.len()]);
        assert_eq!(starts.len(), 3, "{seen:?}");
        for (start, end) in starts.iter().zip(ends) {
            check(&seen[*start..end], Some(len as u64), len as u64);
        }
    }
}

/// Fills its chunk, but waits at the gate with that which starts at one element.
fn fill_and_wait(out: &mut [u64], start: usize, path: &str, at: u64) {
    wait_at(path, at, start as u64);
    count_up(out, start);
}

/// Of 16 chunks of 10, two workers claim two each at first. The one that starts at `slow` waits.
/// Calls `act` once all is done but what its worker holds.
fn with_a_slow_chunk(executor: &Executor, (slow, held): (u64, u64), mut act: impl FnMut()) {
    let gate = Gate::new();
    let (mut heard, mut done) = (false, 0);
    let observer = |progress: Progress| {
        done = progress.done;
        if !heard && done == 160 - held {
            heard = true;
            gate.open();
            act();
        }
        assert!(heard || done < 160 - held, "{done}: the slow one was taken for done");
    };
    let mut array = executor.array::<u64>(160).unwrap();
    let args = (ChunkStart, gate.path(), slow);
    let mut loops = executor.loops().progress(observer);
    under_deadline(&gate, || loops.fill_chunks(&mut array, 10, fill_and_wait, args)).unwrap();
    assert!(heard && done == 160, "{slow}: told of {done}");
    assert!(array.iter().zip(0..).all(|(&x, n)| x == n));
}

#[test]
fn what_is_done_of_a_loop_is_told_while_a_slow_chunk_runs() {
    let executor = executor(2);
    // What the worker has claimed and not done: itself and the next; itself alone.
    for row in [(0, 20), (10, 10), (150, 10)] {
        with_a_slow_chunk(&executor, row, || {});
    }
}

#[test]
fn a_panic_of_the_observer_of_a_loop_ends_it_and_harms_nothing() {
    let executor = executor(2);
    for _ in 0..5 {
        let held = executor.stats().held_bytes;
        let act = || panic!("as this test wants");
        let ended = catch_unwind(AssertUnwindSafe(|| with_a_slow_chunk(&executor, (0, 20), act)));
        assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"as this test wants"));
        let array = counted(&executor, 1000);
        assert_eq!(executor.map_reduce(&array, sum, |a, b| a + b).unwrap(), 499_500);
        drop(array);
        assert!(executor.stats().held_bytes <= held.max(1 << 16));
    }
}

/// What a dead worker had done of a sum is done again, and is not told of twice.
#[test]
fn a_loop_whose_workers_die_tells_of_all_in_the_end() {
    fn dies_once(x: &[u64], path: &str) -> u64 {
        if x.contains(&50_000) && Once::is_first(path) {
            std::process::abort();
        }
        sum(x)
    }
    let executor = executor(2);
    let array = counted(&executor, 100_000);
    let once = Once::new("progress-dies");
    let mut seen = Vec::new();
    let mut loops = executor.loops().progress(|progress| seen.push(progress));
    let whole = loops.map_reduce_with(&array, dies_once, (once.path(),), |a, b| a + b).unwrap();
    assert_eq!(whole, (0..100_000).sum::<u64>());
    check(&seen, Some(100_000), 100_000);
    assert_eq!(executor.stats().deaths, 1);
}
