//! The threads that fill large blocks: one core uses a part of what memory gives.

mod board;

pub(super) use board::Parting;

use board::Board;

use crate::sync::{Arc, Mutex, lock};

/// How many threads a block is worth at most: a few cores use up what memory gives.
const THREADS_MAX: usize = 4;
/// A block is worth a thread for each so many bytes: waking one takes up to 50 µs.
const PART_BYTES_MIN: usize = 4 << 20;

/// The threads that fill a block, the calling one included. The others are started for the first
/// block that is worth it, sleep between two blocks, and stay until they are dismissed.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    threads: usize,
    board: Option<Arc<Board>>,
}

impl Crew {
    /// The calling thread does all.
    pub(crate) const ALONE: Self = Self { threads: 1, board: None };

    /// As many threads as are worth it on so many cores.
    pub(crate) fn on(cores: u32) -> Self {
        let threads = (cores as usize).clamp(1, THREADS_MAX);
        Self { threads, board: (threads > 1).then(Arc::default) }
    }

    /// Calls `work` with all parts of `target`, in any order, and where each begins: at multiples
    /// of `unit`. Small blocks are one part.
    pub(crate) fn fill(
        &self,
        target: &mut [u8],
        unit: usize,
        work: impl Fn(usize, &mut [u8]) + Sync,
    ) {
        let threads = self.threads_for(target.len());
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
        self.run(threads, fill, &fill, None);
    }

    /// Tells whether there are others than the calling thread.
    pub(super) fn has_others(&self) -> bool {
        self.board.is_some()
    }

    /// How many threads so many bytes are worth.
    fn threads_for(&self, bytes: usize) -> usize {
        self.threads.min(bytes / PART_BYTES_MIN)
    }

    /// Runs `own` in this thread, and `help` in others that come before that has ended, in
    /// `threads` of them all at most.
    ///
    /// Whoever has helped, or this thread if nobody has, calls `parting` at the end of the work.
    /// This thread waits for nobody who does.
    pub(super) fn run(
        &self,
        threads: usize,
        own: impl FnOnce(),
        help: &(dyn Fn() + Sync),
        parting: Option<Parting>,
    ) {
        if let Some(board) = &self.board {
            return board.run(threads.min(self.threads) - 1, own, help, parting);
        }
        own();
        if let Some(parting) = parting {
            parting();
        }
    }

    /// Ends the other threads, for good. Not in a fork, which has none.
    pub(super) fn dismiss(&self) {
        if let Some(board) = &self.board {
            board.close();
        }
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
                    let crew = Crew::on(threads);
                    crew.fill(&mut target, unit, |at, part| {
                        assert_eq!(at % unit, 0);
                        part.iter_mut().zip(at..).for_each(|(byte, at)| *byte += at as u8 | 1);
                    });
                    crew.dismiss();
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
            let crew = Crew::on(threads);
            crew.fill(&mut vec![0; len], 1, |_, _| *lock(&parts) += 1);
            crew.dismiss();
            assert_eq!(*lock(&parts), expected, "{threads} threads, {len} bytes");
        }
    }
}
