//! Watching work: progress.

use wharf::{Backend, ChunkStart, Progress, TaskError};

use super::executor;

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
