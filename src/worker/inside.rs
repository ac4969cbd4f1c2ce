//! Workers in the parent's own process: its threads, or the caller itself.
//!
//! They run the same code over the same table and the same heaps. What differs is here: how they
//! tell their parent something, and what becomes of a task that was taken from them.

use std::io;
use std::thread::{self, JoinHandle};

use super::execute::Job;
use super::lifeline::Lifeline;
use super::pin::pin;
use super::serve::{EXIT_CONDEMNED, TASK_STACK_BYTES, Worker, terms};
use crate::control::{Bell, Control, FromWorker, Hello, ResultPlace, Slot};
use crate::memory::{LocalHeap, LocalRef, RemoteHeap};
use crate::sync::Arc;
use crate::sys::{EventFd, Socket, exit_now, futex_wake};
use crate::task::{Caller, discard, install_panic_hook};

/// How a worker is tied to its parent.
#[derive(Debug)]
pub(super) enum Tie {
    /// It is a process of its own, and has a lifeline.
    Process,
    /// It is a thread of the parent's process. The parent reads `results` as it does a process's.
    Thread { socket: Socket, results: Arc<RemoteHeap> },
    /// It is whoever submits a task, several threads at a time.
    Caller { results: Arc<RemoteHeap> },
}

impl Tie {
    pub(super) fn is_process(&self) -> bool {
        matches!(self, Self::Process)
    }

    /// Tells whether several threads are this worker.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Caller { .. })
    }

    pub(super) fn tell(&self, message: &FromWorker) {
        match self {
            Self::Process => Lifeline::get().tell(message),
            // Without a supervisor, which only a panic ends, there is nobody to be told.
            Self::Thread { socket, .. } => drop(socket.send(&message.to_bytes(), &[])),
            Self::Caller { .. } => {}
        }
    }
}

/// What a worker in the parent's process shares with the parent.
#[derive(Debug, Clone)]
pub(crate) struct Berth {
    pub(crate) control: Arc<Control>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) results: Arc<RemoteHeap>,
    /// The same heap, for its writer.
    pub(crate) local: Arc<LocalHeap>,
}

/// Starts a worker that is a thread. It talks over `socket`, and rings `end` when it has ended.
pub(crate) fn start_thread(
    hello: &Hello,
    berth: Berth,
    socket: Socket,
    end: Arc<EventFd>,
) -> io::Result<JoinHandle<()>> {
    install_panic_hook();
    let Berth { control, bell, results, local } = berth;
    let (tie, heap) = (Tie::Thread { socket, results }, LocalRef::Thread(Arc::clone(&local)));
    let mut worker = Worker::new(hello, control, heap, bell, tie);
    worker.terms = terms(hello)?;
    let (seat, among) = (hello.seat, hello.pinned_among);
    let thread = thread::Builder::new().name("wharf-worker".to_owned());
    thread.stack_size(TASK_STACK_BYTES).spawn(move || {
        let _end = Ending(end);
        let _entered = local.enter();
        let pinned = pin(seat, among).map_err(|cause| (false, cause));
        let worked = pinned.and_then(|()| worker.work().map_err(|cause| (true, cause)));
        if let Err((in_start, cause)) = worked {
            worker.tie.tell(&FromWorker::Failed { in_start, cause });
        }
    })
}

/// Tells the supervisor that the thread has ended, however it did.
struct Ending(Arc<EventFd>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// The worker that whoever submits a task is meanwhile.
#[derive(Debug)]
pub(crate) struct CallingWorker {
    worker: Worker,
    local: Arc<LocalHeap>,
}

impl CallingWorker {
    /// Runs the start function in this thread. The error is what went wrong, in words.
    pub(crate) fn start(hello: &Hello, berth: Berth) -> Result<Self, String> {
        install_panic_hook();
        let Berth { control, bell, results, local } = berth;
        let heap = LocalRef::Thread(Arc::clone(&local));
        let worker = Worker::new(hello, control, heap, bell, Tie::Caller { results });
        let _entered = local.enter();
        worker.start()?;
        Ok(Self { worker, local })
    }
}

impl Caller for CallingWorker {
    fn run(&self, index: u32) {
        let _entered = self.local.enter();
        if let Some(slot) = self.worker.control.slots().get(index as usize) {
            Job { worker: &self.worker, slot }.run();
        }
        self.local.heap().trim();
    }
}

impl Worker {
    /// The task was taken from this worker while it ran. A process ends: its supervisor is about to
    /// kill it, and no other task may begin in it. A thread cannot be killed; it has run the task
    /// to its end, throws the result away, and says so.
    #[cold]
    pub(super) fn bear_doom(&self, slot: &Slot, result: &ResultPlace) {
        let (Tie::Thread { results, .. } | Tie::Caller { results }) = &self.tie else {
            exit_now(EXIT_CONDEMNED)
        };
        discard(result, results);
        // The reason is in the record: who took the task has its lock until it is there.
        if slot.lose_running(self.seat as u16).is_some() {
            futex_wake(slot.futex(), u32::MAX);
        }
        self.bell.ring();
        self.control.gate().finished();
        self.reclaim();
    }
}
