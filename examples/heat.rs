//! Heat flow on a square plate: thousands of steps over the same two arrays, beside rayon's.
//!
//!     cargo run --release --example heat -- [MiB of a plate, 128] [steps, 2000]
//!
//! 128 MiB are 4096 x 4096 points. A step makes each inner point the mean of its four neighbours.
//! The plate starts as one mode of the square, whose decay is known exactly: by cos(pi / (n - 1)) a
//! step on n x n points. Both ways are checked against that, at every point.

use std::error::Error;
use std::f64::consts::PI;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use wharf::{ChunkStart, Executor, rows};

/// Rows that a worker takes at the least: some 512 KiB of a large plate.
const BLOCK_ROWS: usize = 16;
/// How far a point may be from its exact value after thousands of roundings.
const TOLERANCE: f64 = 1e-11;

/// One step for a block of rows, the first of which is row `first` of the plate.
fn step(new: &mut [f64], old: &[f64], first: usize, width: u64) {
    let width = width as usize;
    let height = old.len() / width;
    for (i, new) in new.chunks_exact_mut(width).enumerate() {
        let y = first + i;
        if y == 0 || y == height - 1 {
            new.fill(0.0);
            continue;
        }
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &old[y * width..(y + 1) * width]);
        (new[0], new[width - 1]) = (0.0, 0.0);
        let inner = new[1..width - 1].iter_mut();
        let vertical = above[1..].iter().zip(&below[1..]);
        let horizontal = here.iter().zip(&here[2..]);
        for ((new, (up, down)), (left, right)) in inner.zip(vertical).zip(horizontal) {
            *new = (up + down + left + right) * 0.25;
        }
    }
}

/// The mode at the start, for a block of rows.
fn start(plate: &mut [f64], first: usize, width: u64) {
    for (i, row) in plate.chunks_exact_mut(width as usize).enumerate() {
        let across = wave(first + i, width as usize);
        for (x, point) in row.iter_mut().enumerate() {
            *point = across * wave(x, width as usize);
        }
    }
}

fn wave(at: usize, points: usize) -> f64 {
    (PI * at as f64 / (points - 1) as f64).sin()
}

/// The largest error of a block of rows, `steps` steps after the start.
fn error(plate: &[f64], first: usize, width: u64, steps: u64) -> f64 {
    let width = width as usize;
    let decay = (PI / (width - 1) as f64).cos().powi(steps as i32);
    let rows = plate.chunks_exact(width).enumerate();
    rows.map(|(i, row)| {
        let across = wave(first + i, width) * decay;
        let errors =
            row.iter().enumerate().map(|(x, point)| (point - across * wave(x, width)).abs());
        errors.fold(0.0, f64::max)
    })
    .fold(0.0, f64::max)
}

fn with_wharf(
    executor: &Executor,
    n: usize,
    steps: u64,
) -> Result<(Duration, f64), Box<dyn Error>> {
    let width = n as u64;
    let mut old = executor.array::<f64>(n * n)?;
    let mut new = executor.array::<f64>(n * n)?;
    executor.fill_chunks(rows(&mut old, n), BLOCK_ROWS, start, (ChunkStart, width))?;
    executor.fill_chunks(rows(&mut new, n), BLOCK_ROWS, start, (ChunkStart, width))?;
    let clock = Instant::now();
    for _ in 0..steps {
        executor.fill_chunks(rows(&mut new, n), BLOCK_ROWS, step, (&old, ChunkStart, width))?;
        std::mem::swap(&mut old, &mut new);
    }
    let time = clock.elapsed();
    let args = (ChunkStart, width, steps);
    Ok((time, executor.map_reduce_with(rows(&old, n), error, args, f64::max)?))
}

fn with_rayon(threads: &rayon::ThreadPool, n: usize, steps: u64) -> (Duration, f64) {
    let width = n as u64;
    let block = BLOCK_ROWS * n;
    let (mut old, mut new) = (vec![0.0; n * n], vec![0.0; n * n]);
    threads.install(|| {
        for plate in [&mut old, &mut new] {
            let blocks = plate.par_chunks_mut(block).enumerate();
            blocks.for_each(|(i, rows)| start(rows, i * BLOCK_ROWS, width));
        }
        let clock = Instant::now();
        for _ in 0..steps {
            let blocks = new.par_chunks_mut(block).enumerate();
            blocks.for_each(|(i, rows)| step(rows, &old, i * BLOCK_ROWS, width));
            std::mem::swap(&mut old, &mut new);
        }
        let time = clock.elapsed();
        let blocks = old.par_chunks(block).enumerate();
        let errors = blocks.map(|(i, rows)| error(rows, i * BLOCK_ROWS, width, steps));
        (time, errors.reduce(|| 0.0, f64::max))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(128), |text| text.parse())?;
    let steps: u64 = arguments.next().map_or(Ok(2000), |text| text.parse())?;
    let n = ((mib << 17) as f64).sqrt() as usize;

    let executor = Executor::new()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(executor.workers()).build()?;
    println!("{n} x {n} points, {steps} steps, {} workers and as many threads", executor.workers());
    let (ours, our_error) = with_wharf(&executor, n, steps)?;
    let (theirs, their_error) = with_rayon(&threads, n, steps);
    for (name, time, error) in [("wharf", ours, our_error), ("rayon", theirs, their_error)] {
        let each = time.as_secs_f64() / steps as f64;
        let points = (n * n) as f64 / each / 1e6;
        println!(
            "{name}  {:8.1} us a step  {points:7.0} M points/s  error {error:.1e}",
            each * 1e6
        );
        assert!(error < TOLERANCE, "{name} differs from the exact decay by {error:e}");
    }
    println!("wharf takes {:.2} of rayon's time", ours.as_secs_f64() / theirs.as_secs_f64());
    executor.shutdown()?;
    Ok(())
}
