//! A function over many items: results in order, a bounded window, and items that fail.

mod common;
#[macro_use]
#[path = "common/sizes.rs"]
mod sizes;
#[path = "map/failures.rs"]
mod failures;
#[path = "map/memory.rs"]
mod memory;
#[cfg(not(loom))]
#[path = "map/streams.rs"]
mod streams;
#[path = "map/window.rs"]
mod window;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{DEADLINE, executor};
use sizes::{SIZES, Sizes, sizes};
use wharf::{Array, Executor, Serialized, ShareError, TaskError};

/// So many items need batches of every size; fewer where nothing is optimized.
const MANY: u64 = if cfg!(debug_assertions) { 5000 } else { 20_000 };

fn double(n: u64) -> u64 {
    n * 2
}

/// A file to which tasks append the number of each item that they run.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-map-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::File::create_new(&path).expect("a file for the log");
        Self(path)
    }

    fn path(&self) -> String {
        self.0.to_str().expect("a plain path").to_owned()
    }

    /// The task's end: one append is one system call, whole or not at all.
    fn note(path: &str, n: u64) {
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("the log is there");
        file.write_all(&n.to_le_bytes()).expect("a word is written");
    }

    /// How often each item was run.
    fn runs(&self) -> HashMap<u64, u32> {
        let bytes = fs::read(&self.0).expect("the log is there");
        let mut runs = HashMap::new();
        for word in bytes.chunks_exact(8) {
            *runs.entry(u64::from_le_bytes(word.try_into().unwrap())).or_default() += 1;
        }
        runs
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Looks again and again until it is so, at most `DEADLINE`.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// All workers answer.
fn check_works(executor: &Executor) {
    let tasks: Vec<_> = (0..50u64).map(|n| executor.submit(double, (n,)).unwrap()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64 * 2);
    }
}

#[test]
fn results_come_in_the_order_of_the_items() {
    for workers in [1, 2, 3] {
        let executor = executor(workers);
        for sizes in SIZES {
            for items in [0, 1, 2, 9, 1000, MANY] {
                let results = map!(sizes, executor.map(double, 0..items));
                let mut results = results.collect::<Result<Vec<u64>, TaskError>>().unwrap();
                if sizes.unordered {
                    results.sort_unstable();
                }
                let wanted: Vec<u64> = (0..items).map(|n| n * 2).collect();
                assert!(results == wanted, "{workers} workers, {items} items, {sizes:?}");
            }
        }
    }
}

#[test]
fn constants_are_passed_once_and_items_may_be_anything_that_a_task_takes() {
    fn many(a: u8, b: &str, c: &[f64], d: f32, e: bool, f: char, g: i64, item: u64) -> String {
        format!("{a} {b} {} {d} {e} {f} {g} {item}", c[item as usize])
    }
    let executor = executor(2);
    let numbers = executor.share(&(0..100).map(f64::from).collect::<Vec<f64>>()).unwrap();
    let constants = (1u8, "two".to_owned(), &numbers, 4.5f32, true, 'x', -7i64);
    let texts = executor.map_with(many, constants, 0..100u64);
    for (n, text) in texts.enumerate() {
        assert_eq!(text.unwrap(), format!("1 two {n} 4.5 true x -7 {n}"));
    }
    let words = (0..500u64).map(|n| "x".repeat(n as usize));
    let lengths = executor.map(|word: &str| word.len() as u64, words);
    assert!(lengths.map(Result::unwrap).eq(0..500));
    let arrays: Vec<Array<u32>> =
        (0..200u32).map(|n| executor.array_from(&[n; 3]).unwrap()).collect();
    let sums = executor.map_with(|x: u32, a: &[u32]| x + a.iter().sum::<u32>(), (1u32,), &arrays);
    assert!(sums.map(Result::unwrap).eq((0..200).map(|n| n * 3 + 1)));
    let owned = arrays.clone().into_iter();
    let nested = executor.map(|a: &wharf::ArchivedArray<u32>| a[2], owned);
    assert!(nested.map(Result::unwrap).eq(0..200));
    let keys = (0..50u64).map(|n| Serialized(serde_json::json!({ "n": n })));
    let values = executor.map(
        |Serialized(value): Serialized<serde_json::Value>| value["n"].as_u64().unwrap_or(0),
        keys,
    );
    assert!(values.map(Result::unwrap).eq(0..50));
    let shared = (0..100u64).map(|n| executor.share(&vec![n; 5]).unwrap());
    let read = executor.map(|v: &wharf::ArchivedShared<Vec<u64>>| v[4].to_native(), shared);
    assert!(read.map(Result::unwrap).eq(0..100));
}

#[test]
fn results_may_be_of_every_size_and_kind() {
    fn text(n: u64) -> String {
        "y".repeat(n as usize % 300)
    }
    fn filled(n: u64) -> Result<Array<u64>, ShareError> {
        let mut array = wharf::array::<u64>(n as usize * 10)?;
        array.fill(n);
        Ok(array.freeze())
    }
    fn nothing(_: u64) {}
    let executor = executor(2);
    for (n, result) in executor.map(text, 0..2000u64).enumerate() {
        assert_eq!(result.unwrap().len(), n % 300);
    }
    let arrays: Vec<_> =
        executor.map(filled, 0..200u64).map(|array| array.unwrap().unwrap()).collect();
    for (n, array) in arrays.iter().enumerate() {
        assert!(array.len() == n * 10 && array.iter().all(|&x| x == n as u64));
    }
    assert_eq!(executor.map(nothing, 0..5000u64).filter(Result::is_ok).count(), 5000);
}

/// Each map is drawn from in a thread of its own, with one table and one set of workers for all.
#[test]
fn several_maps_on_several_threads_share_the_workers_and_a_small_table() {
    for slots in [1, 2, 4, 4096] {
        let executor = Executor::builder().workers(2).task_slots(slots).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let executor = &executor;
                scope.spawn(move || {
                    for sizes in SIZES {
                        let items = thread * 1000..thread * 1000 + MANY / 5;
                        let wanted: u64 = items.clone().map(|n| n * 2).sum();
                        let results = map!(sizes, executor.map(double, items));
                        let sum: u64 = results.map(Result::unwrap).sum();
                        assert_eq!(sum, wanted, "{slots} slots, {sizes:?}");
                        let task = executor.submit(double, (thread,)).unwrap();
                        assert_eq!(task.join().unwrap(), thread * 2);
                    }
                });
            }
        });
    }
}

#[test]
fn a_worker_is_replaced_after_so_many_items_and_the_map_does_not_notice() {
    fn pid(_: u64) -> u32 {
        std::process::id()
    }
    let executor = Executor::builder().workers(2).max_tasks_per_worker(10).build().unwrap();
    for sizes in SIZES {
        let mut runs: HashMap<u32, u32> = HashMap::new();
        for pid in map!(sizes, executor.map(pid, 0..200u64)) {
            *runs.entry(pid.unwrap()).or_default() += 1;
        }
        assert_eq!(runs.values().sum::<u32>(), 200);
        assert!(runs.values().all(|&runs| runs <= 10), "{sizes:?}: {runs:?}");
    }
    assert_eq!(executor.stats().deaths, 0);
}

#[test]
fn the_number_of_workers_may_change_during_a_map() {
    let executor = Executor::builder().workers(2).workers_max(4).build().unwrap();
    for sizes in SIZES {
        let results = map!(sizes, executor.map(double, 0..MANY));
        let (mut sum, part) = (0, MANY as usize / 10);
        for (n, result) in results.enumerate() {
            if n % part == 0 {
                executor.resize(1 + n / part % 4).unwrap();
            }
            sum += result.unwrap();
        }
        assert_eq!(sum, MANY * (MANY - 1));
    }
}

#[test]
fn idle_workers_that_left_come_back_for_a_map() {
    let timeout = Duration::from_millis(5);
    let executor = Executor::builder().workers(2).idle_timeout(timeout).build().unwrap();
    for _ in 0..3 {
        eventually("the workers leave", || executor.worker_pids().is_empty());
        assert!(executor.map(double, 0..1000u64).map(Result::unwrap).eq((0..1000).map(|n| n * 2)));
    }
}

#[test]
fn finished_items_are_counted_as_tasks() {
    let executor = executor(2);
    assert_eq!(executor.map(double, 0..1000u64).count(), 1000);
    eventually("all are counted", || executor.stats().tasks_finished == 1000);
}
