//! wharf, as its README uses it.

use wharf::{Array, Executor, ShareError, Shared, TaskHandle};

use super::{Plan, Pool, Put};
use crate::common;
use crate::work::{Look, chain};

/// What the executor may hold, and what it keeps warm, so that a run stays below 6 GiB.
const BUDGET_BYTES: u64 = 4 << 30;
const RETAIN_BYTES: u64 = 2 << 30;

struct Wharf {
    executor: Executor,
    held: Option<Held>,
}

enum Held {
    Shared(Shared<Vec<f64>>),
    Array(Array<f64>),
}

pub fn start(plan: Plan) -> impl Pool {
    let executor = common::executor(|builder| {
        let builder = builder.workers(plan.workers);
        builder.memory_budget(BUDGET_BYTES).retain_memory(RETAIN_BYTES)
    });
    Wharf { executor, held: None }
}

fn look(round: u64, part: u64, seat: u64, array: &[f64]) -> f64 {
    Look::from_words([round, part]).run(seat as usize, array)
}

fn arrive(round: u64, part: u64, seat: u64) -> f64 {
    look(round, part, seat, &[])
}

fn make(len: u64) -> Result<Array<f64>, ShareError> {
    let mut array = wharf::array_for_overwrite::<f64>(len as usize)?;
    array.fill(len as f64);
    Ok(array.freeze())
}

fn chain_in_place(place: &mut [u64], links: u64) {
    place[0] = chain(place[0], links);
}

impl Wharf {
    fn submit(&self, seed: u64, links: u64) -> TaskHandle<u64> {
        self.executor.submit(chain, (seed, links)).expect("a task is taken")
    }
}

impl Pool for Wharf {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.submit(seed, links).join().expect("a task succeeds")
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        let handles: Vec<_> = (0..tasks).map(|seed| self.submit(seed, links)).collect();
        let answers = handles.into_iter().map(|handle| handle.join().expect("a task succeeds"));
        answers.fold(0, u64::wrapping_add)
    }

    fn batched(&mut self, tasks: u64, links: u64) -> Option<u64> {
        let flipped = |links: u64, seed: u64| chain(seed, links);
        let answers = self.executor.map_with(flipped, (links,), 0..tasks);
        let answers = answers.map(|answer| answer.expect("an item succeeds"));
        Some(answers.fold(0, u64::wrapping_add))
    }

    fn ranges(&mut self, tasks: u64, links: u64) -> Option<u64> {
        let mut array = self.executor.array::<u64>(tasks as usize).expect("there is room");
        (0..tasks).zip(&mut array[..]).for_each(|(seed, place)| *place = seed);
        let done = self.executor.for_each_chunk(&mut array, 1, chain_in_place, (links,));
        done.expect("a loop succeeds");
        Some(array.iter().copied().fold(0, u64::wrapping_add))
    }

    fn put(&mut self, source: &Vec<f64>) -> Put {
        self.held = Some(Held::Shared(self.executor.share(source).expect("there is room")));
        Put::Copied
    }

    fn fill(&mut self, len: usize) -> bool {
        let mut array = self.executor.array_for_overwrite::<f64>(len).expect("there is room");
        array.fill(len as f64);
        self.held = Some(Held::Array(array.freeze()));
        true
    }

    fn both(&mut self, order: Look, _source: &[f64]) -> [f64; 2] {
        let [round, part] = order.to_words();
        let submit = |seat: u64| match &self.held {
            Some(Held::Shared(held)) => self.executor.submit(look, (round, part, seat, held)),
            Some(Held::Array(held)) => self.executor.submit(look, (round, part, seat, held)),
            None => self.executor.submit(arrive, (round, part, seat)),
        };
        let tasks = [0, 1].map(|seat| submit(seat).expect("a task is taken"));
        tasks.map(|task| task.join().expect("a task succeeds"))
    }

    fn release(&mut self) {
        self.held = None;
    }

    fn result(&mut self, len: usize, read: &mut dyn FnMut(&[f64])) -> bool {
        let task = self.executor.submit(make, (len as u64,)).expect("a task is taken");
        let array = task.join().expect("a task succeeds").expect("there is room");
        read(&array);
        true
    }
}
