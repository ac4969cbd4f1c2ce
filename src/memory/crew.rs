//! The threads that fill a large block: one core uses a part of what memory gives.

use std::thread;

use crate::sync::{Mutex, lock};

/// How many threads a block is worth at most: a few cores use up what memory gives.
const THREADS_MAX: usize = 4;
/// A block is worth a thread for each so many bytes: starting one takes 50 µs.
const PART_BYTES_MIN: usize = 4 << 20;

/// How many threads fill a block, the calling one included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crew {
    threads: usize,
}

impl Crew {
    /// The calling thread does all.
    pub(crate) const ALONE: Self = Self { threads: 1 };

    /// As many threads as are worth it on so many cores.
    pub(crate) fn on(cores: u32) -> Self {
        Self { threads: (cores as usize).clamp(1, THREADS_MAX) }
    }

    /// Calls `work` with all parts of `target`, in any order, and where each begins: at multiples
    /// of `unit`. Small blocks are one part.
    ///
    /// Threads that cannot be started are done without.
    pub(crate) fn fill(
        self,
        target: &mut [u8],
        unit: usize,
        work: impl Fn(usize, &mut [u8]) + Sync,
    ) {
        Self::fill_by(self.threads_for(target.len()), target, unit, work);
    }

    /// How many threads so many bytes are worth.
    pub(super) fn threads_for(self, bytes: usize) -> usize {
        self.threads.min(bytes / PART_BYTES_MIN)
    }

    /// As [`Crew::fill`], by so many threads.
    pub(super) fn fill_by(
        threads: usize,
        target: &mut [u8],
        unit: usize,
        work: impl Fn(usize, &mut [u8]) + Sync,
    ) {
        if threads < 2 {
            return work(0, target);
        }
        let len = target.len().div_ceil(threads).next_multiple_of(unit);
        let threads = target.len().div_ceil(len);
        let parts = Mutex::new(target.chunks_mut(len).enumerate());
        let next = || lock(&parts).next();
        let fill = || {
            while let Some((index, part)) = next() {
                work(index * len, part);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                let thread = thread::Builder::new().name("wharf-fill".to_owned());
                if thread.spawn_scoped(scope, fill).is_err() {
                    break;
                }
            }
            fill();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_filled_once_whatever_the_threads_and_the_length() {
        for threads in [1, 2, 3, 4, 64] {
            for len in [0, 1, 2 * PART_BYTES_MIN - 1, 2 * PART_BYTES_MIN, 3 * PART_BYTES_MIN + 7] {
                for unit in [1, 4096, 2 << 20] {
                    let mut target = vec![0; len];
                    Crew::on(threads).fill(&mut target, unit, |at, part| {
                        assert_eq!(at % unit, 0);
                        part.iter_mut().zip(at..).for_each(|(byte, at)| *byte += at as u8 | 1);
                    });
                    let wrong = (0..len).find(|&at| target[at] != at as u8 | 1);
                    assert_eq!(wrong, None, "{threads} threads, {len} bytes, units of {unit}");
                }
            }
        }
    }

    #[test]
    fn as_many_threads_as_there_are_parts_and_no_more() {
        for (threads, len, expected) in [
            (1, 16 * PART_BYTES_MIN, 1),
            (2, PART_BYTES_MIN, 1),
            (2, 2 * PART_BYTES_MIN, 2),
            (8, 3 * PART_BYTES_MIN, 3),
            (8, 100 * PART_BYTES_MIN, THREADS_MAX),
        ] {
            let parts = Mutex::new(0);
            Crew::on(threads).fill(&mut vec![0; len], 1, |_, _| *lock(&parts) += 1);
            assert_eq!(*lock(&parts), expected, "{threads} threads, {len} bytes");
        }
    }
}
