//! The systems that are compared, behind one trait: what a program asks of a pool of workers.

pub mod crossbeam;
pub mod iceoryx;
pub mod ipc;
pub mod limits;
pub mod procspawn;
pub mod rayon;
pub mod wharf;

use crate::work::Look;

/// What `Pool::put` did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The system has no way to do that.
    Impossible,
    /// Workers see a copy.
    Copied,
    /// Workers see the caller's own memory: threads.
    Borrowed,
}

/// A pool with two workers. Every answer goes back to whoever asks, who checks it.
pub trait Pool {
    /// Runs one task and waits for its answer.
    fn call(&mut self, seed: u64, links: u64) -> u64;

    /// Submits tasks one by one, as many under way as the system takes well, and waits for all.
    /// The seeds count up from zero. Returns the sum of the answers.
    fn singly(&mut self, tasks: u64, links: u64) -> u64;

    /// The same by the system's own map, which puts many items into a message.
    fn batched(&mut self, _tasks: u64, _links: u64) -> Option<u64> {
        None
    }

    /// The same by a loop over an array, of which workers claim single elements.
    fn ranges(&mut self, _tasks: u64, _links: u64) -> Option<u64> {
        None
    }

    /// Makes the array known to both workers.
    fn put(&mut self, _source: &Vec<f64>) -> Put {
        Put::Impossible
    }

    /// Makes an array where workers read it, and fills it with its length. False: there is no such
    /// way, and the caller fills memory of its own and puts it.
    fn fill(&mut self, _len: usize) -> bool {
        false
    }

    /// Both workers look, each once, at what was put last. `source` is the caller's own array.
    fn both(&mut self, look: Look, source: &[f64]) -> [f64; 2];

    /// Gives the array up that was put last.
    fn release(&mut self) {}

    /// A worker fills an array with its length; the caller reads it. False: there is no such way.
    fn result(&mut self, _len: usize, _read: &mut dyn FnMut(&[f64])) -> bool {
        false
    }
}

/// What a pool is started for.
#[derive(Clone, Copy)]
pub struct Plan {
    pub workers: usize,
    /// The length of the arrays that will come, for systems that want to know it at the start.
    pub array_len: usize,
}

/// Starts a system by its name.
pub fn start(name: &str, plan: Plan) -> Option<Box<dyn Pool>> {
    Some(match name {
        "wharf" => Box::new(wharf::start(plan)),
        "rayon" => Box::new(rayon::start(plan)),
        "crossbeam-channel" => Box::new(crossbeam::start(plan)),
        "ipc-channel" => Box::new(ipc::start(plan)),
        "procspawn" => Box::new(procspawn::start(plan)),
        "iceoryx2 polling" => Box::new(iceoryx::start(plan, iceoryx::Wait::Poll)),
        "iceoryx2 events" => Box::new(iceoryx::start(plan, iceoryx::Wait::Event)),
        _ => return None,
    })
}

/// How many workers a system has for round trips. Two that poll would fill both cores of a small
/// machine and leave none to the caller, so there is one, which is all that a round trip needs.
pub fn workers_for_trips(name: &str) -> usize {
    if name == "iceoryx2 polling" { 1 } else { crate::common::WORKERS }
}

/// Keeps at most `window` tasks under way: `send` starts one, `take` waits for the oldest.
fn windowed<T>(
    tasks: u64,
    window: usize,
    mut send: impl FnMut(u64) -> T,
    mut take: impl FnMut(T) -> u64,
) -> u64 {
    let mut sent = std::collections::VecDeque::with_capacity(window);
    let mut total = 0u64;
    for seed in 0..tasks {
        if sent.len() == window {
            let oldest = sent.pop_front().expect("the window is full");
            total = total.wrapping_add(take(oldest));
        }
        sent.push_back(send(seed));
    }
    sent.into_iter().fold(total, |total, task| total.wrapping_add(take(task)))
}
