//! Watching work: progress, figures.

use std::time::{Duration, Instant};

use wharf::{Backend, ChunkStart, Progress, TaskError};

use super::life::eventually;
use super::{builder, executor};

fn count_up(out: &mut [u64], start: usize) {
    out.iter_mut().zip(start as u64..).for_each(|(x, n)| *x = n);
}

fn sum(x: &[u64]) -> u64 {
    x.iter().sum()
}

pub fn progress_is_told_from_the_beginning_to_the_end(backend: Backend) {
    let executor = executor(backend);
    for len in [0, 1, 1000u64] {
        let mut seen = Vec::new();
        let map = executor.map(|n: u64| n, 0..len).progress(|progress| seen.push(progress));
        let expected = (0..len).sum::<u64>();
        assert_eq!(map.sum::<Result<u64, TaskError>>().unwrap(), expected);
        check(&seen, len);
        seen.clear();
        let mut array = executor.array::<u64>(len as usize).unwrap();
        let mut loops = executor.loops().progress(|progress| seen.push(progress));
        loops.fill_chunks(&mut array, 7, count_up, (ChunkStart,)).unwrap();
        check(&seen, len);
        seen.clear();
        let array = array.freeze();
        let mut loops = executor.loops().progress(|progress| seen.push(progress));
        assert_eq!(loops.map_reduce(&array, sum, |a, b| a + b).unwrap(), expected);
        check(&seen, len);
    }
}

fn check(seen: &[Progress], total: u64) {
    let counts: Vec<u64> = seen.iter().map(|progress| progress.done).collect();
    assert_eq!((counts.first(), counts.last()), (Some(&0), Some(&total)));
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    assert!(seen.iter().all(|progress| progress.total == Some(total)));
}

pub fn the_statistics_tell_of_bytes_and_times(backend: Backend) {
    const RUN: Duration = Duration::from_millis(5);
    fn run(_: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        while start.elapsed() < RUN {}
        vec![7; 1000]
    }
    let executor = builder(backend).timing(true).build().unwrap();
    let start = Instant::now();
    let array = executor.array_from(&[1u64; 1000]).unwrap();
    drop(executor.array::<u64>(500).unwrap());
    for _ in 0..4 {
        assert_eq!(executor.submit(run, (&array,)).unwrap().join().unwrap(), vec![7; 1000]);
    }
    let items = executor.map_with(|_: &[u64], n: u64| n, (&array,), 0..100u64);
    assert_eq!(items.filter(Result::is_ok).count(), 100);
    eventually("every task is counted", || executor.stats().tasks_finished == 104);
    let (stats, all) = (executor.stats(), start.elapsed());
    // Constants and items of a map have blocks, of some bytes an item.
    let put = stats.put_bytes - 12_000;
    assert!((800..10_000).contains(&put), "{stats:?}");
    let copied = stats.copied_bytes - (8000 + put + 4 * 8000);
    assert!(copied <= 4 * 64, "{stats:?}");
    assert!((4 * RUN..=2 * all).contains(&stats.run_time.unwrap()), "{stats:?} in {all:?}");
    assert!(stats.queue_time.unwrap() <= 104 * all, "{stats:?} in {all:?}");
    let finished = stats.by_worker.iter().map(|worker| worker.tasks_finished).sum::<u64>();
    assert_eq!((finished, stats.by_worker.len()), (104, 2));
    let untimed = super::executor(backend);
    assert_eq!((untimed.stats().run_time, untimed.stats().queue_time), (None, None));
}
