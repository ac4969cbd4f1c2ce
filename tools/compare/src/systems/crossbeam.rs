//! A pool of threads behind crossbeam's channels: the least that a queue costs.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Plan, Pool};
use crate::work::{Look, chain};

enum Message {
    Task(u64, u64),
    Look(Look, usize),
}

enum Answer {
    Number(u64),
    Seen(usize, f64),
}

struct Crossbeam {
    messages: Option<Sender<Message>>,
    answers: Receiver<Answer>,
    threads: Vec<JoinHandle<()>>,
}

pub fn start(plan: Plan) -> impl Pool {
    let (messages, inbox) = unbounded();
    let (outbox, answers) = unbounded();
    let start = |_| {
        let (inbox, outbox) = (inbox.clone(), outbox.clone());
        std::thread::spawn(move || serve(&inbox, &outbox))
    };
    let threads = (0..plan.workers).map(start).collect();
    Crossbeam { messages: Some(messages), answers, threads }
}

fn serve(inbox: &Receiver<Message>, outbox: &Sender<Answer>) {
    for message in inbox {
        let answer = match message {
            Message::Task(seed, links) => Answer::Number(chain(seed, links)),
            Message::Look(look, seat) => Answer::Seen(seat, look.run(seat, &[])),
        };
        outbox.send(answer).expect("the caller waits for answers");
    }
}

impl Crossbeam {
    fn send(&self, message: Message) {
        let messages = self.messages.as_ref().expect("the pool has not ended");
        messages.send(message).expect("threads wait for tasks");
    }

    fn number(&self) -> u64 {
        match self.answers.recv() {
            Ok(Answer::Number(number)) => number,
            _ => panic!("a number was asked for"),
        }
    }
}

impl Pool for Crossbeam {
    fn call(&mut self, seed: u64, links: u64) -> u64 {
        self.send(Message::Task(seed, links));
        self.number()
    }

    fn singly(&mut self, tasks: u64, links: u64) -> u64 {
        (0..tasks).for_each(|seed| self.send(Message::Task(seed, links)));
        (0..tasks).fold(0, |total, _| total.wrapping_add(self.number()))
    }

    fn both(&mut self, look: Look, _source: &[f64]) -> [f64; 2] {
        (0..2).for_each(|seat| self.send(Message::Look(look, seat)));
        let mut seen = [f64::NAN; 2];
        for _ in 0..2 {
            match self.answers.recv() {
                Ok(Answer::Seen(seat, value)) => seen[seat] = value,
                _ => panic!("a look was asked for"),
            }
        }
        seen
    }
}

impl Drop for Crossbeam {
    fn drop(&mut self) {
        self.messages = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread ends with its messages");
        }
    }
}
