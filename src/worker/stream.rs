//! Streams: tasks that come without waiting for each other, and how long to let them gather.

use crate::sys::TICKS_A_US;

/// So many tasks in a row from slots that rise are a stream: who has fewer under way, and joins
/// them all, gets the latest slot a second time.
const STREAM: u32 = 32;
/// How long the tasks of a stream gather, by the processor's clock, and those of one that flows.
const GATHER_TICKS: u64 = 3 * TICKS_A_US;
const FLOW_TICKS: u64 = 8 * TICKS_A_US;
/// A stream flows that has brought so many tasks from pause to pause, so often in a row at most.
const FLOW_TASKS: u32 = 8;
const FLOW_MOST: u32 = 64;
/// Times as often after a longer pause that has not brought more.
const FLOW_FACTOR: u32 = 4;

/// What a worker sees of the tasks that it is given.
///
/// Who takes each task of a stream at once has the submitter wait for every cache line, so a worker
/// that has emptied the ring lets some gather. The longer, the fewer lines go to and fro; but a
/// submitter that waits for these very tasks loses that time. So it is longer only while they come
/// all the time, and more of them in a longer time. After a pause that brought fewer that is found
/// out again: soon where it mostly is so, since any submitter may be put aside for a moment, and
/// seldom where it never is.
#[derive(Debug)]
pub(super) struct Stream {
    /// The latest task's slot, and how many in a row came from higher ones.
    index: u32,
    rising: u32,
    /// How many tasks came since the latest pause, and how many after the latest short one.
    tasks: u32,
    usual: u32,
    /// How often in a row enough came, and how often that must be before pauses are longer.
    flow: u32,
    flows_from: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self { index: 0, rising: 0, tasks: 0, usual: 0, flow: 0, flows_from: FLOW_MOST }
    }
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
        let was_long = self.flows();
        let more = self.usual.saturating_add(self.usual / 2);
        let are_enough = tasks >= if was_long { more } else { FLOW_TASKS };
        self.flow = if are_enough { self.flow.saturating_add(1) } else { 0 };
        match (was_long, are_enough) {
            (false, _) => self.usual = tasks,
            (true, true) => self.flows_from = (self.flows_from / 2).max(1),
            (true, false) => self.flows_from = (self.flows_from * FLOW_FACTOR).min(FLOW_MOST),
        }
        if self.flows() { FLOW_TICKS } else { GATHER_TICKS }
    }

    fn flows(&self) -> bool {
        self.flow >= self.flows_from
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many of 900 pauses are long of a worker that finds so many tasks for each microsecond of
    /// a pause, at most `most`, and half as many once in `few_in` pauses.
    fn long_pauses(rate: f64, most: u32, few_in: u32) -> usize {
        let mut stream = Stream { rising: STREAM, ..Stream::default() };
        let pauses = (0..1000_u32).map(|n| {
            let pause = stream.pause();
            stream.tasks = (((pause / TICKS_A_US) as f64 * rate) as u32).min(most);
            if n.is_multiple_of(few_in) {
                stream.tasks /= 2;
            }
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
            let long = long_pauses(rate, most, u32::MAX);
            assert!(long.abs_diff(expected) <= 1, "{rate} {most}: {long}");
        }
    }

    /// After one pause in twenty that brought less, 64 short ones followed: some executors took 100
    /// ns a task of a stream, for good, and others 80.
    #[test]
    fn tasks_gather_for_longer_though_that_brings_no_more_now_and_then() {
        for (few_in, least) in [(100, 850), (20, 700)] {
            let long = long_pauses(10.0, u32::MAX, few_in);
            assert!(long >= least, "one in {few_in}: {long}");
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
