//! What an executor has done so far, in figures.

use std::time::Duration;

use super::{Backend, Builder, Executor};
use crate::control::Seat;
use crate::sync::Ordering;

/// What an executor has done so far: [`Executor::stats`].
///
/// Figures are read one after the other while tasks run on, and a worker counts a task just after
/// it has handed the result over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that are alive and ready.
    pub workers: u32,
    /// Tasks that workers have finished, failed ones included. Each item of a map is one, and each
    /// worker's part of a loop.
    pub tasks_finished: u64,
    /// Workers that died without being asked to leave.
    pub deaths: u64,
    /// Bytes of shared memory that the heaps hold, warm memory included.
    pub held_bytes: u64,
    /// Bytes that the heaps may hold.
    pub budget_bytes: u64,
    /// Bytes that were put into shared memory for tasks to read, all in all: shared values, arrays,
    /// arguments and items of maps. Arguments of up to 128 bytes travel with their task, and do not
    /// count.
    pub put_bytes: u64,
    /// Bytes that this process has copied into shared memory, and out of it: what was put there,
    /// but for arrays that were built in place, and results that were decoded. Results of up to 64
    /// bytes come with their task, and do not count; nor do arrays, or what is read in place.
    pub copied_bytes: u64,
    /// How long finished tasks had waited for a worker, together. `None`: nobody asked for it with
    /// [`Builder::timing`].
    ///
    /// Items of a map that were given to a worker together wait once; a task that is tried again
    /// waits anew.
    pub queue_time: Option<Duration>,
    /// How long finished tasks had run, together: from when a worker took the task until it had its
    /// result. `None`: as for `queue_time`.
    pub run_time: Option<Duration>,
    /// The share of each worker. With `Sequential`, the first has done it all.
    pub by_worker: Vec<WorkerStats>,
}

/// What one worker has done so far, together with those whose place it took.
///
/// A worker that dies leaves its sums to its successor; the task that it ran is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// As [`Stats::tasks_finished`].
    pub tasks_finished: u64,
    /// As [`Stats::queue_time`].
    pub queue_time: Option<Duration>,
    /// As [`Stats::run_time`].
    pub run_time: Option<Duration>,
}

impl Executor {
    /// What the executor has done so far. Reads a few counters.
    ///
    /// ```
    /// use wharf::Executor;
    ///
    /// let executor = Executor::builder().workers(2).timing(true).build()?;
    /// let array = executor.array_from(&[1.0; 1000])?;
    /// let sum = executor.submit(|x: &[f64]| x.iter().sum::<f64>(), (&array,))?;
    /// assert_eq!(sum.join()?, 1000.0);
    /// let stats = executor.stats();
    /// assert_eq!((stats.put_bytes, stats.copied_bytes), (8000, 8000));
    /// assert!(stats.run_time.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let control = self.desk.control();
        let (put_bytes, in_place_bytes) = self.desk.heap().granted_bytes();
        let encoded_bytes = put_bytes.saturating_sub(in_place_bytes);
        let by_worker = by_worker(control.seats(), self.workers(), self.desk.is_timed());
        let sum = |time: fn(&WorkerStats) -> Option<Duration>| {
            by_worker
                .iter()
                .map(time)
                .try_fold(Duration::ZERO, |sum, t| Some(sum.saturating_add(t?)))
        };
        Stats {
            workers: match self.backend {
                _ if !self.is_here() => 0,
                Backend::Sequential => 1,
                Backend::Processes | Backend::Threads => self.office.pids().len() as u32,
            },
            tasks_finished: control.tasks_finished(),
            deaths: if self.is_here() { self.office.deaths() } else { 0 },
            held_bytes: control.held_bytes(),
            budget_bytes: control.budget_bytes(),
            put_bytes,
            copied_bytes: encoded_bytes.saturating_add(self.desk.decoded_bytes()),
            queue_time: sum(|worker| worker.queue_time),
            run_time: sum(|worker| worker.run_time),
            by_worker,
        }
    }
}

impl Builder {
    /// Measures how long tasks wait and run, for [`Stats::queue_time`] and [`Stats::run_time`].
    ///
    /// Costs three looks at the clock a task. Default: no.
    pub fn timing(mut self, wanted: bool) -> Self {
        self.timing = wanted;
        self
    }
}

/// The figures of as many workers as there are, and of those above them that have done something.
fn by_worker(seats: &[Seat], workers: usize, is_timed: bool) -> Vec<WorkerStats> {
    // What a worker went wild on may be any number.
    let time = |ns: u64| is_timed.then(|| Duration::from_nanos(ns));
    let mut figures: Vec<WorkerStats> = seats
        .iter()
        .map(|seat| WorkerStats {
            tasks_finished: seat.finished.load(Ordering::Relaxed),
            queue_time: time(seat.queued_ns.load(Ordering::Relaxed)),
            run_time: time(seat.ran_ns.load(Ordering::Relaxed)),
        })
        .collect();
    let last = figures.iter().rposition(|worker| worker.tasks_finished > 0);
    figures.truncate(workers.max(last.map_or(0, |last| last + 1)));
    figures
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn figures_may_be_any_numbers_and_those_of_empty_seats_are_left_out() {
        let seats: Vec<Seat> = (0..6).map(|_| Seat::default()).collect();
        for (finished, workers, expected) in [(0, 2, 2), (7, 2, 4), (7, 5, 5), (u64::MAX, 1, 4)] {
            seats[3].finished.store(finished, Ordering::Relaxed);
            seats[3].ran_ns.store(u64::MAX, Ordering::Relaxed);
            let figures = by_worker(&seats, workers, true);
            assert_eq!(figures.len(), expected);
            let most = Some(Duration::from_nanos(u64::MAX));
            assert!(figures.get(3).is_none_or(|worker| worker.run_time == most));
            assert!(by_worker(&seats, workers, false).iter().all(|w| w.run_time.is_none()));
        }
    }
}
