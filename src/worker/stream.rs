//! Streams: tasks that come without waiting for each other, and how long to let them gather.

use crate::sys::TICKS_A_US;

/// So many tasks in a row from slots that rise are a stream: who has fewer under way, and joins
/// them all, gets the latest slot a second time.
const STREAM: u32 = 32;
/// How long the tasks of a stream gather, by the processor's clock, and those of one that flows.
const GATHER_TICKS: u64 = 3 * TICKS_A_US;
const FLOW_TICKS: u64 = 8 * TICKS_A_US;
/// A stream flows that has brought so many tasks from pause to pause, so often in a row.
const FLOW_TASKS: u32 = 8;
const FLOW: u32 = 64;

/// What a worker sees of the tasks that it is given.
///
/// Who takes each task of a stream at once has the submitter wait for every cache line, so a worker
/// that has emptied the ring lets some gather. The longer, the fewer lines go to and fro; but a
/// submitter that waits for these very tasks loses that time. So it is longer only while they come
/// all the time, and more of them in a longer time.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The latest task's slot, and how many in a row came from higher ones.
    index: u32,
    rising: u32,
    /// How many tasks came since the latest pause, and how many after the latest short one.
    tasks: u32,
    usual: u32,
    /// How often in a row enough came.
    flow: u32,
}

impl Stream {
    /// A task of this slot was run.
    pub(super) fn note(&mut self, index: u32) {
        self.rising = if index > self.index { self.rising.saturating_add(1) } else { 0 };
        self.index = index;
        self.tasks = self.tasks.saturating_add(1);
    }

    /// How many ticks to wait before the next look at an empty ring.
    pub(super) fn pause(&mut self) -> u64 {
        if self.rising < STREAM {
            return 0;
        }
        let tasks = std::mem::take(&mut self.tasks);
        let more = self.usual.saturating_add(self.usual / 2);
        let enough = if self.flows() { more } else { FLOW_TASKS };
        if !self.flows() {
            self.usual = tasks;
        }
        self.flow = if tasks >= enough { self.flow.saturating_add(1) } else { 0 };
        if self.flows() { FLOW_TICKS } else { GATHER_TICKS }
    }

    fn flows(&self) -> bool {
        self.flow >= FLOW
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many of 900 pauses are long of a worker that finds so many tasks for each microsecond of
    /// a pause, at most `most`.
    fn long_pauses(rate: f64, most: u32) -> usize {
        let mut stream = Stream { rising: STREAM, ..Stream::default() };
        let pauses = (0..1000).map(|_| {
            let pause = stream.pause();
            stream.tasks = (((pause / TICKS_A_US) as f64 * rate) as u32).min(most);
            pause
        });
        pauses.skip(100).filter(|pause| *pause == FLOW_TICKS).count()
    }

    #[test]
    fn tasks_gather_for_longer_only_where_more_come_then() {
        // A window that is full, or a burst that has ended, brings no more in a longer time.
        for (rate, most, expected) in
            [(10.0, u32::MAX, 900), (10.0, 45, 900), (10.0, 44, 14), (10.0, 20, 14), (2.0, 99, 0)]
        {
            let long = long_pauses(rate, most);
            assert!(long.abs_diff(expected) <= 1, "{rate} {most}: {long}");
        }
    }

    #[test]
    fn only_tasks_from_slots_that_rise_gather() {
        let mut stream = Stream::default();
        let mut pauses = |indices: &[u32]| {
            indices.iter().for_each(|index| stream.note(*index));
            stream.pause() > 0
        };
        let rising: Vec<u32> = (1..=STREAM).collect();
        assert!(!pauses(&rising[1..]) && pauses(&[STREAM + 1]));
        assert!(!pauses(&[STREAM + 1]), "the same slot again");
        assert!(!pauses(&rising) && pauses(&[STREAM + 1, STREAM + 2]));
    }
}
