//! Loops over arrays.

use wharf::{Backend, ChunkStart, LoopError, TaskError, rows};

use super::{BACKENDS, executor};

fn count_up(out: &mut [u64], start: usize) {
    out.iter_mut().enumerate().for_each(|(i, x)| *x = (start + i) as u64);
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

/// Numbers whose sum depends on the order in which they are added.
fn uneven(len: usize) -> Vec<f64> {
    (0..len).map(|i| 1.0 / (i as f64 + 1.0) * if i % 3 == 0 { -1e7 } else { 1.0 }).collect()
}

pub fn arrays_are_filled_and_updated_in_place(backend: Backend) {
    fn add(x: &mut [u64], y: &[u64], whole: &[u64], by: u64) {
        assert_eq!(whole.len(), 5000);
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y + by);
    }
    let executor = executor(backend);
    for (len, chunk) in [(0, 3), (1, 1), (5000, 7), (5000, 5001)] {
        let whole = executor.array::<u64>(5000).unwrap();
        let mut x = executor.array::<u64>(len).unwrap();
        let y = executor.array_from(&vec![2u64; len]).unwrap();
        executor.fill_chunks(&mut x, chunk, count_up, (ChunkStart,)).unwrap();
        executor.for_each_chunk((&mut x, &y), chunk, add, (&whole, 1u64)).unwrap();
        assert!(x.iter().enumerate().all(|(i, &x)| x == i as u64 + 3), "{len} by {chunk}");
    }
}

pub fn a_reduction_is_the_same_to_the_bit_on_every_backend(backend: Backend) {
    for len in [0, 1, 100, 100_000] {
        let [one, other] = [backend, BACKENDS[0]].map(|backend| {
            let executor = executor(backend);
            let x = executor.array_from(&uneven(len)).unwrap();
            executor.map_reduce(&x, sum, |a, b| a + b).unwrap().to_bits()
        });
        assert_eq!(one, other, "{len}");
    }
}

pub fn a_panic_in_a_loop_names_its_elements(backend: Backend) {
    fn picky(x: &mut [u64], start: usize) {
        assert!(start != 14, "not here");
        x.fill(1);
    }
    let executor = executor(backend);
    let mut x = executor.array::<u64>(50).unwrap();
    let error = executor.fill_chunks(rows(&mut x, 1), 7, picky, (ChunkStart,)).unwrap_err();
    let LoopError::Range { range, error: TaskError::Panicked { message, .. } } = error else {
        panic!("{error}")
    };
    assert_eq!((range, &*message), (14..21, "not here"));
    executor.fill_chunks(&mut x, 7, count_up, (ChunkStart,)).unwrap();
    assert!(x.iter().enumerate().all(|(i, &x)| x == i as u64));
}
