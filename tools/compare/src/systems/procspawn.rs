//! procspawn's pool of processes.
//!
//! Its own shared memory, `procspawn::serde::Shmem`, is no argument that its pool can send (1.0.2:
//! the worker panics as it decodes it). The shared memory of the channel below it is.

use ipc_channel_of_procspawn::ipc::IpcSharedMemory;
use procspawn::{JoinHandle, Pool as Processes};

use super::{Plan, Pool, Put, windowed};
use crate::bytes::{as_bytes, as_floats, as_floats_mut};
use crate::work::{Look, chain};

/// Tasks under way: each holds four descriptors until it ends.
const WINDOW: usize = 500;

struct Procspawn {
    processes: Processes,
    held: Option<IpcSharedMemory>,
}

pub fn start(plan: Plan) -> impl Pool {
    let processes = Processes::new(plan.workers).expect("workers start");
    Procspawn { processes, held: None }
}

impl Procspawn {
    fn spawn(&self, seed: u64, links: u64) -> JoinHandle<u64> {
        self.processes.spawn((seed, links), |(seed, links)| chain(seed, links))
    }
}

fn make(len: usize) -> IpcSharedMemory {
    let mut memory = IpcSharedMemory::from_byte(0, len * size_of::<f64>());
    // SAFETY: nobody else has the memory yet.
    let bytes = unsafe { memory.deref_mut() };
    as_floats_mut(bytes).fill(len as f64);
    memory
}

impl Pool for Procspawn {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.spawn(seed, links).join().expect("a task succeeds")
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        let join = |handle: JoinHandle<u64>| handle.join().expect("a task succeeds");
        windowed(tasks, WINDOW, |seed| self.spawn(seed, links), join)
    }

    fn put(&mut self, source: &Vec<f64>) -> Put {
        self.held = Some(IpcSharedMemory::from_bytes(as_bytes(source)));
        Put::Copied
    }

    fn fill(&mut self, len: usize) -> bool {
        self.held = Some(make(len));
        true
    }

    fn both(&mut self, look: Look, _source: &[f64]) -> [f64; 2] {
        let held = match &self.held {
            Some(memory) => memory.clone(),
            None => IpcSharedMemory::from_bytes(&[]),
        };
        let tasks = [0, 1].map(|seat: usize| {
            self.processes.spawn((look, seat, held.clone()), |(look, seat, held)| {
                let array = if held.is_empty() { &[] } else { as_floats(&held) };
                look.run(seat, array)
            })
        });
        tasks.map(|task| task.join().expect("a task succeeds"))
    }

    fn release(&mut self) {
        self.held = None;
    }

    fn result(&mut self, len: usize, read: &mut dyn FnMut(&[f64])) -> bool {
        let memory = self.processes.spawn(len, make).join().expect("a task succeeds");
        read(as_floats(&memory));
        true
    }
}

impl Drop for Procspawn {
    fn drop(&mut self) {
        self.processes.shutdown();
    }
}
