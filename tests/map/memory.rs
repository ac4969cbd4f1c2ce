//! Memory: results and arguments larger than the budget stream through, and nothing is left.

use wharf::{Executor, TaskError};

use super::common::executor;
use super::{SIZES, Sizes, check_works, double, eventually, sizes};

const MIB: u64 = 1 << 20;

fn block(bytes: u64, n: u64) -> Vec<u8> {
    vec![n as u8; bytes as usize]
}

#[test]
fn results_larger_than_the_budget_stream_through() {
    // Bytes of a result, items, budget: each time several times what the budget holds. Decoding is
    // slow where nothing is optimized.
    let sizes = if cfg!(debug_assertions) {
        [(MIB / 2, 40, 4 * MIB), (MIB / 16, 120, 2 * MIB), (5000, 1000, MIB)]
    } else {
        [(8 * MIB, 200, 64 * MIB), (MIB, 300, 32 * MIB), (10_000, 5000, 8 * MIB)]
    };
    for (bytes, items, budget) in sizes {
        for workers in [1, 2] {
            let builder = Executor::builder().workers(workers).memory_budget(budget);
            let executor = builder.build().unwrap();
            for unordered in [false, true] {
                let sizes = Sizes { batch: 0, window: 0, unordered };
                let results = map!(sizes, executor.map_with(block, (bytes,), 0..items));
                let mut sum = 0;
                for result in results {
                    let result = result.unwrap();
                    assert_eq!(result.len() as u64, bytes);
                    sum += u64::from(result[0]);
                }
                assert_eq!(sum, (0..items).map(|n| n & 0xff).sum::<u64>(), "{bytes} {workers}");
            }
        }
    }
}

#[test]
fn arguments_larger_than_the_budget_stream_through() {
    for (bytes, items) in [(4 * MIB, 50u64), (300_000, 300), (20_000, 3000)] {
        let executor = Executor::builder().workers(2).memory_budget(32 * MIB).build().unwrap();
        for sizes in SIZES {
            let input = (0..items).map(|n| block(bytes, n));
            let sums =
                map!(sizes, executor.map(|x: &[u8]| x.len() as u64 + u64::from(x[7]), input));
            let sum: u64 = sums.map(Result::unwrap).sum();
            let wanted = (0..items).map(|n| bytes + (n & 0xff)).sum::<u64>();
            assert_eq!(sum, wanted, "{bytes} {sizes:?}");
        }
    }
}

/// Its neighbours, small and large, are not harmed.
#[test]
fn an_item_that_the_budget_cannot_hold_is_an_error_at_its_place() {
    let executor = Executor::builder().workers(2).memory_budget(8 * MIB).build().unwrap();
    for sizes in SIZES {
        let bytes = |n: u64| if n % 10 == 5 { 9 * MIB } else { n * 1000 };
        let input = (0..50u64).map(|n| vec![1u8; bytes(n) as usize]);
        let results = map!(sizes, executor.map(|x: &[u8]| x.len() as u64, input));
        let (mut errors, mut sum) = (0, 0);
        for (place, result) in results.enumerate() {
            match result {
                Ok(len) => sum += len,
                Err(TaskError::NotSubmitted { error, .. }) => {
                    errors += 1;
                    assert!(error.to_string().contains("9437"), "{error}");
                    assert!(sizes.unordered || place % 10 == 5, "{place}");
                }
                Err(other) => panic!("{other}"),
            }
        }
        let wanted = (0..50).filter(|n| n % 10 != 5).map(|n| n * 1000).sum::<u64>();
        assert_eq!((errors, sum), (5, wanted), "{sizes:?}");
    }
    check_works(&executor);
}

#[test]
fn several_maps_that_use_the_budget_up_all_come_through() {
    let executor = Executor::builder().workers(2).memory_budget(16 * MIB).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let input = (0..60).map(|n| block(MIB, n));
                let lengths = executor.map(|x: &[u8]| x.len() as u64, input);
                assert_eq!(lengths.map(Result::unwrap).sum::<u64>(), 60 * MIB);
            });
        }
    });
}

#[test]
fn maps_leave_no_memory_behind_however_they_end() {
    let executor = executor(2);
    fn text(n: u64) -> String {
        assert!(n % 100 != 99, "as this test wants");
        if n == 555 {
            std::process::abort();
        }
        "z".repeat(n as usize % 3000)
    }
    let round = || {
        for sizes in SIZES {
            for taken in [0, 10, 1000] {
                let results = map!(sizes, executor.map(text, 0..1000u64));
                assert_eq!(results.take(taken).count(), taken);
            }
        }
        // What was left to itself ends behind these.
        check_works(&executor);
    };
    round();
    let (mut after_one, mut after_many) = (0, 0);
    for n in 0..if cfg!(debug_assertions) { 2 } else { 4 } {
        round();
        let held = executor.stats().held_bytes;
        if n == 0 { after_one = held } else { after_many = held }
    }
    assert!(after_many <= after_one + MIB, "{after_one} bytes grew to {after_many}");
    let results = executor.map(double, 0..10u64);
    assert!(results.map(Result::unwrap).eq((0..10).map(|n| n * 2)));
    eventually("the workers are there", || executor.worker_pids().len() == 2);
    assert!(sizes(0, 0).window == 0);
}
