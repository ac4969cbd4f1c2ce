//! k-means clustering of points that lie in shared memory, beside rayon's threads.
//!
//!     cargo run --release --example kmeans -- [MiB of points, 256] [iterations, 30]
//!
//! Points of eight coordinates are drawn around sixteen centres, which the iterations have to find
//! again. Each iteration is one reduction: for each part of the points, the sums and counts of the
//! clusters that they belong to.

use std::error::Error;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use wharf::{ChunkStart, Executor, rows};

/// The coordinates of a point.
const DIMENSIONS: usize = 8;
const CLUSTERS: usize = 16;
/// How far the points lie around their centres.
const SPREAD: f64 = 0.05;
/// Points of a part, for the threads: as much as fits into a core's cache.
const PART: usize = 4096;

/// What a part of the points adds to each cluster: the sums of their coordinates, then how many.
type Sums = Vec<f64>;

/// A number in 0..1 that follows from `seed` alone. After Steele et al., "Fast splittable
/// pseudorandom number generators" (OOPSLA 2014).
fn uniform(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

fn centre(cluster: usize, axis: usize) -> f64 {
    uniform((cluster * DIMENSIONS + axis) as u64) * 10.0
}

/// Draws points around the centres in turn. `first` is the number of the first.
fn draw(points: &mut [f64], first: usize) {
    for (i, point) in points.chunks_exact_mut(DIMENSIONS).enumerate() {
        let number = first + i;
        for (axis, x) in point.iter_mut().enumerate() {
            let noise = uniform((1 << 40) + (number * DIMENSIONS + axis) as u64) - 0.5;
            *x = centre(number % CLUSTERS, axis) + SPREAD * noise;
        }
    }
}

/// Adds each point to the cluster whose centre is nearest.
fn assign(points: &[f64], centres: &[f64]) -> Sums {
    let mut sums = vec![0.0; CLUSTERS * (DIMENSIONS + 1)];
    for point in points.chunks_exact(DIMENSIONS) {
        let mut nearest = (f64::INFINITY, 0);
        for (cluster, centre) in centres.chunks_exact(DIMENSIONS).enumerate() {
            let squares = point.iter().zip(centre).map(|(a, b)| (a - b) * (a - b));
            let distance = squares.sum();
            if distance < nearest.0 {
                nearest = (distance, cluster);
            }
        }
        let cluster = &mut sums[nearest.1 * (DIMENSIONS + 1)..][..DIMENSIONS + 1];
        cluster.iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
        cluster[DIMENSIONS] += 1.0;
    }
    sums
}

fn add(mut a: Sums, b: Sums) -> Sums {
    a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
    a
}

/// The centres of what was added up. A cluster without points keeps its centre.
fn means(sums: &Sums, old: &[f64]) -> Vec<f64> {
    let clusters = sums.chunks_exact(DIMENSIONS + 1).zip(old.chunks_exact(DIMENSIONS));
    let mean = |(sums, old): (&[f64], &[f64])| -> Vec<f64> {
        let count = sums[DIMENSIONS];
        (0..DIMENSIONS)
            .map(|axis| if count > 0.0 { sums[axis] / count } else { old[axis] })
            .collect()
    };
    clusters.flat_map(mean).collect()
}

/// Begins near the true centres, so that every cluster is found.
fn first_centres() -> Vec<f64> {
    let axes = (0..CLUSTERS).flat_map(|cluster| (0..DIMENSIONS).map(move |axis| (cluster, axis)));
    axes.map(|(cluster, axis)| centre(cluster, axis) + 0.3 * uniform((7 * cluster + axis) as u64))
        .collect()
}

/// The largest distance of a coordinate from the true centre's.
fn error(centres: &[f64]) -> f64 {
    let distance = |(i, x): (usize, &f64)| (x - centre(i / DIMENSIONS, i % DIMENSIONS)).abs();
    centres.iter().enumerate().map(distance).fold(0.0, f64::max)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let iterations: u32 = arguments.next().map_or(Ok(30), |text| text.parse())?;
    let count = (mib << 20) / (DIMENSIONS * 8);

    let executor = Executor::new()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(executor.workers()).build()?;
    println!(
        "{count} points, {iterations} iterations, {} workers and as many threads",
        executor.workers()
    );

    let mut points = executor.array::<f64>(count * DIMENSIONS)?;
    executor.fill_chunks(rows(&mut points, DIMENSIONS), PART, draw, (ChunkStart,))?;
    let points = points.freeze();
    // Both read the same memory, in turns: what the machine does meanwhile hits them alike.
    let [mut ours, mut theirs] = [Search::new(), Search::new()];
    for _ in 0..iterations {
        ours.iterate(|centres| {
            let arrays = rows(&points, DIMENSIONS);
            Ok(executor.map_reduce_with(arrays, assign, (centres.clone(),), add)?)
        })?;
        theirs.iterate(|centres| {
            Ok(threads.install(|| {
                let parts = points.par_chunks(PART * DIMENSIONS);
                parts.map(|part| assign(part, centres)).reduce_with(add).expect("there are points")
            }))
        })?;
    }
    for (name, search) in [("wharf", &ours), ("rayon", &theirs)] {
        let each = search.time.as_secs_f64() / f64::from(iterations);
        let error = error(&search.centres);
        println!("{name}  {:8.2} ms an iteration  error {error:.1e}", each * 1e3);
        assert!(error < SPREAD, "{name} has lost a centre");
    }
    let ratio = ours.time.as_secs_f64() / theirs.time.as_secs_f64();
    println!("wharf takes {ratio:.2} of rayon's time");
    executor.shutdown()?;
    Ok(())
}

/// How far a search for the centres has come, and how long it took.
struct Search {
    centres: Vec<f64>,
    time: Duration,
}

impl Search {
    fn new() -> Self {
        Self { centres: first_centres(), time: Duration::ZERO }
    }

    fn iterate(
        &mut self,
        sums: impl FnOnce(&Vec<f64>) -> Result<Sums, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let clock = Instant::now();
        self.centres = means(&sums(&self.centres)?, &self.centres);
        self.time += clock.elapsed();
        Ok(())
    }
}
