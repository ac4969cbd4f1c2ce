//! Loops over arrays: filled, updated and reduced in place, whatever happens to the workers.

mod common;

use std::time::Instant;

use common::{DEADLINE, Once, executor};
use wharf::{Array, ChunkStart, Executor, LoopError, ShareError, SubmitError, TaskError, rows};

/// Lengths around those of chunks, and of what is claimed at a time.
const LENGTHS: [usize; 9] = [0, 1, 2, 99, 100, 101, 1000, 4097, 100_000];

fn count_up(out: &mut [u64], start: usize) {
    out.iter_mut().enumerate().for_each(|(i, x)| *x = (start + i) as u64);
}

fn axpy(y: &mut [f64], x: &[f64], a: f64) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = a * x);
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

/// Numbers whose sum depends on the order in which they are added.
fn uneven(len: usize) -> Vec<f64> {
    (0..len).map(|i| 1.0 / (i as f64 + 1.0) * if i % 3 == 0 { -1e7 } else { 1.0 }).collect()
}

fn check_works(executor: &Executor) {
    let mut array = executor.array::<u64>(1000).unwrap();
    executor.fill_chunks(&mut array, 7, count_up, (ChunkStart,)).unwrap();
    assert!(array.iter().enumerate().all(|(i, &x)| x == i as u64));
}

#[test]
fn every_element_is_filled_once_whatever_the_chunks() {
    for workers in [1, 2, 3] {
        let executor = executor(workers);
        for len in LENGTHS {
            for chunk in [1, 2, 100, 5000, usize::MAX] {
                if len / chunk > 5000 {
                    continue;
                }
                let mut array = executor.array::<u64>(len).unwrap();
                executor.fill_chunks(&mut array, chunk, count_up, (ChunkStart,)).unwrap();
                let right = array.iter().enumerate().all(|(i, &x)| x == i as u64);
                assert!(right, "{workers} workers, {len} in chunks of {chunk}");
                // Not twice: what is there is added to.
                executor.for_each_chunk(&mut array, chunk, add, (1u64,)).unwrap();
                let right = array.iter().enumerate().all(|(i, &x)| x == i as u64 + 1);
                assert!(right, "{workers} workers, {len} in chunks of {chunk}, updated");
            }
        }
    }
}

fn add(x: &mut [u64], by: u64) {
    x.iter_mut().for_each(|x| *x += by);
}

#[test]
fn arrays_are_cut_in_step_and_other_arguments_are_seen_whole() {
    fn all(
        y: &mut [f64],
        z: &mut [u32],
        a: &[f64],
        b: &[u8],
        start: usize,
        whole: &[f64],
        shared: &str,
        k: u64,
    ) {
        assert_eq!([z.len(), a.len(), b.len()], [y.len(); 3]);
        assert_eq!((whole.len(), shared, k), (1000, "seen by all", 7));
        for i in 0..y.len() {
            assert_eq!(whole[start + i], a[i]);
            y[i] = a[i] + f64::from(b[i]);
            z[i] = (start + i) as u32;
        }
    }
    let executor = executor(2);
    let a = executor.array_from(&(0..1000).map(f64::from).collect::<Vec<_>>()).unwrap();
    let b = executor.array_from(&[2u8; 1000]).unwrap();
    let (mut y, mut z) = (executor.array(1000).unwrap(), executor.array(1000).unwrap());
    let text = executor.share(&"seen by all".to_owned()).unwrap();
    let others = (ChunkStart, &a, &text, 7u64);
    executor.fill_chunks((&mut y, &mut z, &a, &b), 33, all, others).unwrap();
    assert!((0..1000).all(|i| y[i] == i as f64 + 2.0 && z[i] == i as u32));
}

#[test]
fn a_matrix_is_cut_between_its_rows() {
    fn row_sums(sums: &mut [f64], matrix: &[f64], first: usize, columns: u64) {
        let rows = matrix.chunks_exact(columns as usize);
        assert_eq!(rows.len(), sums.len());
        for (i, (sum, row)) in sums.iter_mut().zip(rows).enumerate() {
            assert_eq!(row[0], (first + i) as f64);
            *sum = row.iter().sum();
        }
    }
    fn fill(block: &mut [f64], first: usize, columns: u64) {
        for (i, row) in block.chunks_exact_mut(columns as usize).enumerate() {
            row.fill((first + i) as f64);
        }
    }
    let executor = executor(2);
    for (height, width) in [(1usize, 1usize), (100, 3), (7, 1000), (0, 5)] {
        let mut matrix = executor.array::<f64>(height * width).unwrap();
        let mut sums = executor.array::<f64>(height).unwrap();
        let columns = width as u64;
        executor.fill_chunks(rows(&mut matrix, width), 3, fill, (ChunkStart, columns)).unwrap();
        let arrays = (&mut sums, rows(&matrix, width));
        executor.fill_chunks(arrays, 2, row_sums, (ChunkStart, columns)).unwrap();
        assert!((0..height).all(|i| sums[i] == (i * width) as f64), "{height} x {width}");
    }
}

#[test]
fn a_reduction_is_the_same_to_the_bit_whatever_the_workers() {
    let mut results: Vec<Vec<u64>> = Vec::new();
    for workers in [1, 2, 3, 5] {
        let executor = executor(workers);
        let sums = LENGTHS.map(|len| {
            let x = executor.array_from(&uneven(len)).unwrap();
            let again = executor.map_reduce(&x, sum, |a, b| a + b).unwrap();
            let sum = executor.map_reduce(&x, sum, |a, b| a + b).unwrap();
            assert_eq!(sum.to_bits(), again.to_bits());
            assert!((sum - uneven(len).iter().sum::<f64>()).abs() <= 1e-6 * sum.abs());
            sum.to_bits()
        });
        results.push(sums.to_vec());
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn reductions_return_what_tasks_return_and_see_arguments() {
    fn histogram(x: &[u32], y: &[u32], bins: u64) -> Vec<u64> {
        let mut counts = vec![0; bins as usize];
        x.iter().zip(y).for_each(|(x, y)| counts[((x + y) % bins as u32) as usize] += 1);
        counts
    }
    fn merge(mut a: Vec<u64>, b: Vec<u64>) -> Vec<u64> {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    }
    fn ends(x: &[u32], start: usize) -> (u64, u64, String) {
        (start as u64, (start + x.len()) as u64, "part".to_owned())
    }
    let executor = executor(2);
    let x = executor.array_from(&(0..70_000u32).collect::<Vec<_>>()).unwrap();
    let y = executor.array_from(&[1u32; 70_000]).unwrap();
    let counts = executor.map_reduce_with((&x, &y), histogram, (7u64,), merge).unwrap();
    assert_eq!(counts, [10_000; 7]);
    // Neighbours are combined, from left to right.
    let chain = executor.map_reduce_with(&x, ends, (ChunkStart,), |a, b| {
        assert_eq!(a.1, b.0);
        (a.0, b.1, a.2)
    });
    assert_eq!(chain.unwrap(), (0, 70_000, "part".to_owned()));
}

#[test]
fn a_pipeline_swaps_its_arrays_and_reads_what_it_wrote() {
    fn step(next: &mut [f64], now: &[f64], start: usize) {
        for (i, x) in next.iter_mut().enumerate() {
            let at = start + i;
            let (left, right) = (at.saturating_sub(1), (at + 1).min(now.len() - 1));
            *x = (now[left] + now[at] + now[right]) / 3.0;
        }
    }
    let executor = executor(2);
    let mut now = executor.array::<f64>(1000).unwrap();
    now[500] = 1000.0;
    let mut expected = now.to_vec();
    let mut next = executor.array::<f64>(1000).unwrap();
    for _ in 0..100 {
        executor.fill_chunks(&mut next, 64, step, (&now, ChunkStart)).unwrap();
        std::mem::swap(&mut now, &mut next);
        let mut after = vec![0.0; 1000];
        step(&mut after, &expected, 0);
        expected = after;
    }
    assert_eq!(now[..], expected[..]);
}

#[test]
fn a_panic_names_its_elements_and_the_rest_is_left_undone() {
    fn picky(x: &mut [u64], start: usize, bad: u64) {
        let start = start as u64;
        assert!(!(start..start + x.len() as u64).contains(&bad), "not {bad}");
        x.fill(1);
    }
    let executor = executor(2);
    for (bad, range) in [(0u64, 0..10), (555, 550..560), (1004, 1000..1005)] {
        let mut array = executor.array::<u64>(1005).unwrap();
        let error = executor.fill_chunks(&mut array, 10, picky, (ChunkStart, bad)).unwrap_err();
        let LoopError::Range { range: lost, error } = error else { panic!("{error}") };
        assert_eq!(lost, range);
        let TaskError::Panicked { message, .. } = error else { panic!("{error}") };
        assert_eq!(message, format!("not {bad}"));
        assert_eq!(array[bad as usize], 0);
        check_works(&executor);
    }
    assert_eq!(executor.stats().deaths, 0);
}

#[test]
fn a_range_whose_worker_died_is_filled_by_another() {
    fn fatal_once(x: &mut [u64], start: usize, bad: u64, path: &str) {
        if start as u64 <= bad && bad < (start + x.len()) as u64 && Once::is_first(path) {
            std::process::abort();
        }
        count_up(x, start);
    }
    fn sum_fatal_once(x: &[u64], start: usize, bad: u64, path: &str) -> u64 {
        if start as u64 <= bad && bad < (start + x.len()) as u64 && Once::is_first(path) {
            std::process::abort();
        }
        x.iter().sum()
    }
    for workers in [1, 2] {
        let executor = executor(workers);
        for bad in [0u64, 4999, 9999] {
            let mut array = executor.array::<u64>(10_000).unwrap();
            let once = Once::new(&format!("fill-{workers}-{bad}"));
            let args = (ChunkStart, bad, once.path());
            executor.fill_chunks(&mut array, 10, fatal_once, args).unwrap();
            assert!(array.iter().enumerate().all(|(i, &x)| x == i as u64), "{workers}, {bad}");
            let once = Once::new(&format!("sum-{workers}-{bad}"));
            let args = (ChunkStart, bad, once.path());
            let sum = executor.map_reduce_with(&array, sum_fatal_once, args, |a, b| a + b);
            assert_eq!(sum.unwrap(), 9999 * 5000);
            check_works(&executor);
        }
        assert_eq!(executor.stats().deaths, 6);
    }
}

#[test]
fn a_range_that_must_not_be_done_twice_is_named_when_its_worker_dies() {
    fn fatal(x: &mut [u64], start: usize, bad: u64) {
        if start as u64 <= bad && bad < (start + x.len()) as u64 {
            std::process::abort();
        }
        add(x, 1);
    }
    let executor = executor(2);
    for bad in [0u64, 4999, 9999] {
        let mut array = executor.array::<u64>(10_000).unwrap();
        let error = executor.for_each_chunk(&mut array, 10, fatal, (ChunkStart, bad)).unwrap_err();
        let LoopError::Range { range, error } = error else { panic!("{error}") };
        assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}");
        assert!(range.contains(&(bad as usize)), "{range:?} holds {bad}");
        assert!(array.iter().all(|&x| x <= 1), "nothing was done twice");
        check_works(&executor);
    }
}

#[test]
fn a_loop_that_kills_every_worker_ends_with_an_error() {
    fn fatal(_: &mut [u64]) {
        std::process::abort();
    }
    fn fatal_sum(_: &[u64]) -> u64 {
        std::process::abort();
    }
    let executor = executor(2);
    let mut array = executor.array::<u64>(10_000).unwrap();
    let filled = executor.fill_chunks(&mut array, 10, fatal, ());
    let summed = executor.map_reduce(&array, fatal_sum, |a, _| a).map(drop);
    for result in [filled, summed] {
        let Err(LoopError::Range { error, .. }) = result else { panic!("{result:?}") };
        assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}");
    }
    check_works(&executor);
}

#[test]
fn loops_come_to_their_end_while_workers_are_killed() {
    fn slow(x: &mut [u64], start: usize) {
        let end = Instant::now() + std::time::Duration::from_micros(20);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        count_up(x, start);
    }
    let executor = executor(3);
    let mut array = executor.array::<u64>(20_000).unwrap();
    let start = Instant::now();
    while executor.stats().deaths < 30 {
        assert!(start.elapsed() < DEADLINE);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(&pid) = executor.worker_pids().first() {
                    // SAFETY: no pointer is passed. The worker is a child that nobody else reaps,
                    // or it was, and then the number is not used again so soon.
                    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                }
            });
            array.fill(0);
            executor.fill_chunks(&mut array, 10, slow, (ChunkStart,)).unwrap();
        });
        assert!(array.iter().enumerate().all(|(i, &x)| x == i as u64));
    }
}

#[test]
fn more_loops_than_there_are_counters_go_on_at_a_time() {
    let executor = executor(2);
    std::thread::scope(|scope| {
        for thread in 0..40 {
            let executor = &executor;
            scope.spawn(move || {
                let x = executor.array_from(&uneven(1000 + thread)).unwrap();
                let mut y = executor.array::<f64>(1000 + thread).unwrap();
                for round in 0..20 {
                    let a = f64::from(round);
                    executor.fill_chunks((&mut y, &x), 10, axpy, (a,)).unwrap();
                    assert!(y.iter().zip(&x[..]).all(|(y, x)| *y == a * x));
                }
            });
        }
    });
}

#[test]
fn a_table_of_one_slot_is_enough() {
    let executor = Executor::builder().workers(2).task_slots(1).build().unwrap();
    for _ in 0..50 {
        check_works(&executor);
    }
}

#[test]
fn what_cannot_be_cut_is_refused_with_the_numbers() {
    fn two(_: &mut [u64], _: &[u64]) {}
    let (executor, other) = (executor(1), executor(1));
    let mut y = executor.array::<u64>(10).unwrap();
    let x = executor.array_from(&[0u64; 9]).unwrap();
    let foreign: Array<u64> = other.array_from(&[0u64; 10]).unwrap();
    let error = executor.fill_chunks((&mut y, &x), 1, two, ()).unwrap_err();
    assert!(matches!(error, LoopError::Lengths { first: 10, number: 2, other: 9 }), "{error}");
    let error = executor.fill_chunks(&mut y, 0, |_: &mut [u64]| (), ()).unwrap_err();
    assert!(matches!(error, LoopError::EmptyChunk), "{error}");
    for columns in [0, 3] {
        let error = executor.fill_chunks(rows(&mut y, columns), 1, |_: &mut [u64]| (), ());
        let error = error.unwrap_err();
        let expected = matches!(error, LoopError::Rows { len: 10, columns: c } if c == columns);
        assert!(expected, "{error}");
    }
    let error = executor.fill_chunks((&mut y, &foreign), 1, two, ()).unwrap_err();
    let refused = LoopError::Refused(SubmitError::Arguments(ShareError::Foreign));
    assert_eq!(error.to_string(), refused.to_string());
    // A chunk's start means nothing to a task by itself.
    let task = executor.submit(|start: usize| start as u64, (ChunkStart,)).unwrap();
    assert!(matches!(task.join(), Err(TaskError::Decode { .. })));
    check_works(&executor);
}

#[test]
fn loops_leave_no_memory_behind() {
    let executor = executor(2);
    let x = executor.array_from(&uneven(50_000)).unwrap();
    let mut y = executor.array::<f64>(50_000).unwrap();
    let mut held = Vec::new();
    for _ in 0..1000 {
        executor.fill_chunks((&mut y, &x), 100, axpy, (2.0,)).unwrap();
        executor.map_reduce(&y, sum, |a, b| a + b).unwrap();
        held.push(executor.stats().held_bytes);
    }
    // A worker's heap may come by a page late, when more results than before are there at once. A
    // block that stays in each loop would be 14 pages and more.
    let (early, late) = (held[100], held[999]);
    assert!(late <= early + 2 * 4096, "{early} bytes, then {late}");
}
