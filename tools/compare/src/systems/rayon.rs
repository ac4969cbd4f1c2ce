//! rayon: threads, which copy nothing and send nothing. What processes are held against.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Plan, Pool, Put};
use crate::work::{Look, chain};

struct Rayon {
    threads: ThreadPool,
}

pub fn start(plan: Plan) -> impl Pool {
    let threads = ThreadPoolBuilder::new().num_threads(plan.workers).build();
    Rayon { threads: threads.expect("threads start") }
}

impl Pool for Rayon {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.threads.install(|| chain(seed, links))
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        let mut answers = vec![0; tasks as usize];
        self.threads.in_place_scope(|scope| {
            for (seed, answer) in (0..tasks).zip(&mut answers) {
                scope.spawn(move |_| *answer = chain(seed, links));
            }
        });
        answers.into_iter().fold(0, u64::wrapping_add)
    }

    fn batched(&mut self, tasks: u64, links: u64) -> Option<u64> {
        let items = (0..tasks).into_par_iter();
        let answers = items.map(|seed| std::hint::black_box(chain(seed, links)));
        Some(self.threads.install(|| answers.reduce(|| 0, u64::wrapping_add)))
    }

    fn ranges(&mut self, tasks: u64, links: u64) -> Option<u64> {
        let mut array: Vec<u64> = (0..tasks).collect();
        let places = array.par_iter_mut().with_max_len(1);
        self.threads.install(|| places.for_each(|place| *place = chain(*place, links)));
        Some(array.into_iter().fold(0, u64::wrapping_add))
    }

    fn put(&mut self, _source: &Vec<f64>) -> Put {
        Put::Borrowed
    }

    fn both(&mut self, look: Look, source: &[f64]) -> [f64; 2] {
        let mut answers = [0.0; 2];
        self.threads.in_place_scope(|scope| {
            for (seat, answer) in answers.iter_mut().enumerate() {
                scope.spawn(move |_| *answer = look.run(seat, source));
            }
        });
        answers
    }

    fn result(&mut self, len: usize, read: &mut dyn FnMut(&[f64])) -> bool {
        let array = self.threads.install(|| vec![len as f64; len]);
        read(&array);
        true
    }
}
