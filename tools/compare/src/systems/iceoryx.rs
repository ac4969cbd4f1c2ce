//! A pool of processes over iceoryx2's publish-subscribe, which copies nothing.
//!
//! iceoryx2 carries messages and knows no tasks: each worker has a service for orders and one for
//! answers, and gets every second task. Arrays are samples of a service that both subscribe to.

mod ports;

use std::process::{Child, Command};

use iceoryx2::prelude::*;

use super::{Plan, Pool, Put, windowed};
use crate::work::{Look, chain};
pub use ports::Wait;
use ports::{Inbox, Order, Outbox, array_inbox, array_outbox};

/// What this program is told to be a worker.
pub const WORKER: &str = "iceoryx-worker";
/// Tasks under way.
const WINDOW: usize = 128;

const TASK: u64 = 0;
const LOOK: u64 = 1;
const RELEASE: u64 = 2;
const MAKE: u64 = 3;
const QUIT: u64 = 4;

struct Worker {
    orders: Outbox,
    answers: Inbox,
    child: Child,
}

struct Iceoryx {
    workers: Vec<Worker>,
    arrays: Option<ports::ArrayOutbox>,
    results: Option<ports::ArrayInbox>,
    /// Services live as long as their node.
    _node: Node<ipc::Service>,
}

pub fn start(plan: Plan, wait: Wait) -> impl Pool {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>().expect("a node is made");
    let base = format!("compare/{}", std::process::id());
    let has_arrays = plan.array_len > 0;
    let outbox = || array_outbox(&node, &format!("{base}/array"), plan.array_len);
    let arrays = has_arrays.then(outbox);
    let results = has_arrays.then(|| array_inbox(&node, &format!("{base}/result")));
    let len = plan.array_len.to_string();
    let mut workers: Vec<Worker> = (0..plan.workers)
        .map(|seat| {
            let orders = Outbox::new(&node, &format!("{base}/order/{seat}"), wait);
            let answers = Inbox::new(&node, &format!("{base}/answer/{seat}"), wait);
            let name = wait.name();
            let args = [WORKER, &base, &seat.to_string(), name, &len];
            let child = Command::new("/proc/self/exe").args(args).spawn();
            Worker { orders, answers, child: child.expect("a worker starts") }
        })
        .collect();
    // Each says hello once it can hear.
    workers.iter_mut().for_each(|worker| assert_eq!(worker.answers.receive()[0], 0));
    Iceoryx { workers, arrays, results, _node: node }
}

/// Serves until it is told to quit.
pub fn serve(words: &[String]) {
    let [base, seat, wait, len] = words else { panic!("{WORKER} BASE SEAT WAIT LENGTH") };
    set_log_level(LogLevel::Error);
    let wait = Wait::of(wait);
    let seat: usize = seat.parse().expect("a seat is a number");
    let len: usize = len.parse().expect("a length is a number");
    let node = NodeBuilder::new().create::<ipc::Service>().expect("a node is made");
    let orders = Inbox::new(&node, &format!("{base}/order/{seat}"), wait);
    let answers = Outbox::new(&node, &format!("{base}/answer/{seat}"), wait);
    let arrays = (len > 0).then(|| array_inbox(&node, &format!("{base}/array")));
    let has_results = len > 0 && seat == 0;
    let results = has_results.then(|| array_outbox(&node, &format!("{base}/result"), len));
    answers.send([0; 3]);
    let mut held = None;
    loop {
        let [kind, a, b] = orders.receive();
        let answer = match kind {
            TASK => chain(a, b),
            LOOK => {
                let newer = arrays.as_ref().and_then(|arrays| arrays.receive().expect("it works"));
                held = newer.or(held);
                let array = held.as_ref().map_or(&[][..], |sample| sample.payload());
                Look::from_words([a, b]).run(seat, array).to_bits()
            }
            RELEASE => {
                held = None;
                0
            }
            MAKE => {
                let results = results.as_ref().expect("this worker makes arrays");
                let sample = results.loan_slice_uninit(a as usize).expect("there is room");
                sample.write_from_fn(|_| a as f64).send().expect("it is sent");
                a
            }
            _ => return,
        };
        answers.send([answer, 0, 0]);
    }
}

impl Worker {
    fn ask(&self, order: Order) -> u64 {
        self.orders.send(order);
        self.answers.receive()[0]
    }
}

impl Pool for Iceoryx {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.workers[0].ask([TASK, seed, links])
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        let worker = |seed: u64| &self.workers[seed as usize % self.workers.len()];
        let send = |seed| {
            worker(seed).orders.send([TASK, seed, links]);
            seed
        };
        windowed(tasks, WINDOW, send, |seed| worker(seed).answers.receive()[0])
    }

    fn put(&mut self, source: &Vec<f64>) -> Put {
        let arrays = self.arrays.as_ref().expect("the plan told of arrays");
        let sample = arrays.loan_slice_uninit(source.len()).expect("there is room");
        sample.write_from_slice(source).send().expect("it is sent");
        Put::Copied
    }

    fn fill(&mut self, len: usize) -> bool {
        let arrays = self.arrays.as_ref().expect("the plan told of arrays");
        let sample = arrays.loan_slice_uninit(len).expect("there is room");
        sample.write_from_fn(|_| len as f64).send().expect("it is sent");
        true
    }

    fn both(&mut self, look: Look, _source: &[f64]) -> [f64; 2] {
        let [round, part] = look.to_words();
        self.workers.iter().for_each(|worker| worker.orders.send([LOOK, round, part]));
        [0, 1].map(|seat: usize| f64::from_bits(self.workers[seat].answers.receive()[0]))
    }

    fn release(&mut self) {
        self.workers.iter().for_each(|worker| assert_eq!(worker.ask([RELEASE, 0, 0]), 0));
    }

    fn result(&mut self, len: usize, read: &mut dyn FnMut(&[f64])) -> bool {
        assert_eq!(self.workers[0].ask([MAKE, len as u64, 0]), len as u64);
        let results = self.results.as_ref().expect("the plan told of arrays");
        read(results.receive().expect("it works").expect("a result was sent").payload());
        true
    }
}

impl Drop for Iceoryx {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.orders.send([QUIT, 0, 0]));
        for worker in &mut self.workers {
            worker.child.wait().expect("a worker quits");
        }
    }
}
