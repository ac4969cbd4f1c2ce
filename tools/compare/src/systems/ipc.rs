//! A pool of processes behind ipc-channel, whose shared memory carries arrays.

use std::process::{Child, Command};

use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory, channel};
use serde::{Deserialize, Serialize};

use super::{Plan, Pool, Put, windowed};
use crate::bytes::{as_bytes, as_floats, as_floats_mut};
use crate::work::{Look, chain};

/// What this program is told to be a worker.
pub const WORKER: &str = "ipc-worker";
/// Tasks under way. More would block: what fits into a socket is small.
const WINDOW: usize = 64;

#[derive(Serialize, Deserialize)]
enum Message {
    Task(u64, u64),
    Hold(IpcSharedMemory),
    Look(Look, usize),
    Release,
    Make(usize),
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Number(u64),
    Seen(f64),
    Made(IpcSharedMemory),
}

type Ends = (IpcSender<Message>, IpcReceiver<Answer>);

struct Worker {
    messages: IpcSender<Message>,
    answers: IpcReceiver<Answer>,
    child: Child,
}

struct Ipc(Vec<Worker>);

pub fn start(plan: Plan) -> impl Pool {
    // All are started before one is waited for.
    let started: Vec<_> = (0..plan.workers)
        .map(|_| {
            let (server, name) = IpcOneShotServer::<Ends>::new().expect("a server starts");
            let child = Command::new("/proc/self/exe").args([WORKER, &name]).spawn();
            (server, child.expect("a worker starts"))
        })
        .collect();
    let workers = started.into_iter().map(|(server, child)| {
        let (_, (messages, answers)) = server.accept().expect("a worker says hello");
        Worker { messages, answers, child }
    });
    Ipc(workers.collect())
}

/// Serves until the caller has gone.
pub fn serve(name: &str) {
    let hello = IpcSender::<Ends>::connect(name.to_owned()).expect("the caller listens");
    let (messages, inbox) = channel().expect("a channel is made");
    let (outbox, answers) = channel().expect("a channel is made");
    hello.send((messages, answers)).expect("the caller listens");
    let mut held: Option<IpcSharedMemory> = None;
    while let Ok(message) = inbox.recv() {
        let answer = match message {
            Message::Task(seed, links) => Answer::Number(chain(seed, links)),
            Message::Look(look, seat) => {
                let array = held.as_deref().map_or(&[][..], as_floats);
                Answer::Seen(look.run(seat, array))
            }
            Message::Make(len) => Answer::Made(make(len)),
            Message::Hold(memory) => {
                held = Some(memory);
                continue;
            }
            Message::Release => {
                held = None;
                continue;
            }
        };
        outbox.send(answer).expect("the caller waits for answers");
    }
}

/// In place: the bytes are written once, after the memory was made with zeros.
fn make(len: usize) -> IpcSharedMemory {
    let mut memory = IpcSharedMemory::from_byte(0, len * size_of::<f64>());
    // SAFETY: nobody else has the memory yet.
    let bytes = unsafe { memory.deref_mut() };
    as_floats_mut(bytes).fill(len as f64);
    memory
}

impl Worker {
    fn send(&self, message: Message) {
        self.messages.send(message).expect("a worker takes messages");
    }

    fn number(&self) -> u64 {
        match self.answers.recv() {
            Ok(Answer::Number(number)) => number,
            _ => panic!("a number was asked for"),
        }
    }
}

impl Ipc {
    fn hold(&self, memory: IpcSharedMemory) {
        self.0.iter().for_each(|worker| worker.send(Message::Hold(memory.clone())));
    }
}

impl Pool for Ipc {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.0[0].send(Message::Task(seed, links));
        self.0[0].number()
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        let worker = |seed: u64| &self.0[seed as usize % self.0.len()];
        let send = |seed| {
            worker(seed).send(Message::Task(seed, links));
            seed
        };
        windowed(tasks, WINDOW, send, |seed| worker(seed).number())
    }

    fn put(&mut self, source: &Vec<f64>) -> Put {
        self.hold(IpcSharedMemory::from_bytes(as_bytes(source)));
        Put::Copied
    }

    fn fill(&mut self, len: usize) -> bool {
        self.hold(make(len));
        true
    }

    fn both(&mut self, look: Look, _source: &[f64]) -> [f64; 2] {
        for (seat, worker) in self.0.iter().enumerate() {
            worker.send(Message::Look(look, seat));
        }
        [0, 1].map(|seat: usize| match self.0[seat].answers.recv() {
            Ok(Answer::Seen(value)) => value,
            _ => panic!("a look was asked for"),
        })
    }

    fn release(&mut self) {
        self.0.iter().for_each(|worker| worker.send(Message::Release));
    }

    fn result(&mut self, len: usize, read: &mut dyn FnMut(&[f64])) -> bool {
        self.0[0].send(Message::Make(len));
        match self.0[0].answers.recv() {
            Ok(Answer::Made(memory)) => read(as_floats(&memory)),
            _ => panic!("an array was asked for"),
        }
        true
    }
}

impl Drop for Ipc {
    fn drop(&mut self) {
        let children: Vec<Child> = self.0.drain(..).map(|worker| worker.child).collect();
        for mut child in children {
            child.wait().expect("a worker ends with its channel");
        }
    }
}
