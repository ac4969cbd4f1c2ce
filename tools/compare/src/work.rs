//! The work that every system is given, and the place where its workers meet.

use std::fs::OpenOptions;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use serde::{Deserialize, Serialize};

use crate::common::sum;

/// Names the file in which workers meet; whoever starts this program makes it, of zeros.
const MEET_VARIABLE: &str = "COMPARE_MEET";
/// How long a worker waits for the other one, before it gives up with a panic.
const MEET_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes between the words of the two workers, so that they lie on lines of their own.
const STRIDE: usize = 128;

/// A chain of operations, each of which needs the one before. Without links it is the seed.
pub fn chain(seed: u64, links: u64) -> u64 {
    (0..links).fold(seed, |x, _| x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

/// What one of both workers does with an array, after both have come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Look {
    /// Counts up from one, so that each meeting is told from the last.
    pub round: u64,
    pub part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    Nothing,
    Element(u64),
    Everything,
}

impl Look {
    /// The same as plain numbers, for systems that send nothing else.
    pub fn to_words(self) -> [u64; 2] {
        let part = match self.part {
            Part::Nothing => u64::MAX,
            Part::Everything => u64::MAX - 1,
            Part::Element(at) => at,
        };
        [self.round, part]
    }

    pub fn from_words([round, part]: [u64; 2]) -> Self {
        let part = match part {
            u64::MAX => Part::Nothing,
            part if part == u64::MAX - 1 => Part::Everything,
            at => Part::Element(at),
        };
        Self { round, part }
    }

    /// Waits for the other worker, then looks.
    pub fn run(self, seat: usize, array: &[f64]) -> f64 {
        meet(self.round, seat);
        match self.part {
            Part::Nothing => 0.0,
            Part::Element(at) => array[at as usize],
            Part::Everything => sum(array),
        }
    }

    /// What `run` returns for this array.
    pub fn expected(self, array: &[f64]) -> f64 {
        match self.part {
            Part::Nothing => 0.0,
            Part::Element(at) => array[at as usize],
            Part::Everything => sum(array),
        }
    }
}

/// Returns when the workers of both seats have come, so that none does the other's part.
fn meet(round: u64, seat: usize) {
    cell(seat).store(round, Ordering::Release);
    let start = Instant::now();
    while cell(1 - seat).load(Ordering::Acquire) < round {
        assert!(start.elapsed() < MEET_TIMEOUT, "the other worker does not come");
        std::thread::yield_now();
    }
}

/// The word of one worker, the same for all processes.
fn cell(seat: usize) -> &'static AtomicU64 {
    static PLACE: OnceLock<MmapRaw> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let path = std::env::var_os(MEET_VARIABLE).expect("COMPARE_MEET names a file");
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.expect("the file of COMPARE_MEET can be opened");
        MmapOptions::new().len(2 * STRIDE).map_raw(&file).expect("it can be mapped")
    });
    assert!(seat < 2, "there are two seats");
    // SAFETY: `map_raw` mapped two strides, and `seat` is below two.
    let word = unsafe { place.as_ptr().add(seat * STRIDE) };
    // SAFETY: a mapping is aligned to a page and `STRIDE` keeps that for a word; the static holds
    // it for ever, and all processes reach it through atomics alone.
    unsafe { &*word.cast::<AtomicU64>() }
}
