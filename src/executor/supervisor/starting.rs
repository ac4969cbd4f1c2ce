//! The supervisor's thread before there is anything to supervise.
//!
//! A process takes longer to come up than all that the executor makes for it. So the thread starts
//! them first, and is told what they work with when that is there; they wait to be greeted.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};

use super::Supervisor;
use crate::error::BuildError;
use crate::executor::launch::{Launched, Launcher, Refused};
use crate::executor::office::Office;
use crate::executor::seat::Plan;
use crate::sync::Arc;
use crate::task::{Desk, Loss};

type Work = (Supervisor, LastWill);

/// A thread that has not been told whom to supervise. Dropped, it ends the workers that it has
/// started, and is gone.
#[derive(Debug)]
pub(in crate::executor) struct Starting {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Starting {
    /// Starts the thread, and so many workers if they are processes, or as many as there is time
    /// for before the thread has its work.
    pub(in crate::executor) fn start(
        launcher: Option<Arc<Launcher>>,
        workers: u32,
    ) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("wharf-supervisor".to_owned());
        let thread = thread.spawn(move || {
            let mut early = None;
            let launched = launcher.map_or_else(
                || Ok(Vec::new()),
                |launcher| launcher.launch_many(workers, || has_time(&waiting, &mut early)),
            );
            step!(parent "build.launched");
            match early.map_or_else(|| waiting.recv(), Ok) {
                Ok(work) => supervise(work, launched),
                // The executor could not be built.
                Err(_) => Launched::end_all(launched.into_iter().flatten()),
            }
        });
        Ok(Self { work: Some(work), thread: Some(thread?) })
    }

    /// Lets the thread begin. It lives until the last worker has ended.
    pub(in crate::executor) fn supervise(
        mut self,
        desk: &Arc<Desk>,
        office: &Arc<Office>,
        plan: Plan,
    ) -> Result<JoinHandle<()>, BuildError> {
        let work =
            (Supervisor::new(desk, office, plan), LastWill(Arc::clone(desk), Arc::clone(office)));
        let is_taken = self.work.take().is_some_and(|thread| thread.send(work).is_ok());
        self.thread.take().filter(|_| is_taken).ok_or_else(LastWill::error)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the hook, and the executor is not built anyway.
            let _ = thread.join();
        }
    }
}

/// Takes the work if it is there. True: there may be some, and is none yet.
fn has_time(waiting: &Receiver<Work>, early: &mut Option<Work>) -> bool {
    match waiting.try_recv() {
        Ok(work) => {
            *early = Some(work);
            false
        }
        Err(TryRecvError::Disconnected) => false,
        Err(TryRecvError::Empty) => true,
    }
}

fn supervise((supervisor, last_will): Work, launched: Result<Vec<Launched>, Refused>) {
    span!(DEBUG "executor", workers = supervisor.workers);
    supervisor.run(launched);
    drop(last_will);
}

/// Ends all tasks if the supervisor panics. A bug must not leave anybody waiting: the workers end
/// with its thread.
struct LastWill(Arc<Desk>, Arc<Office>);

impl LastWill {
    const REASON: &str = "the supervisor panicked; please report this";

    fn error() -> BuildError {
        BuildError::Worker { seat: 0, cause: Self::REASON.to_owned() }
    }
}

impl Drop for LastWill {
    fn drop(&mut self) {
        if thread::panicking() {
            let lost = || Loss::Broken { reason: Self::REASON.into() };
            self.0.give_up(lost());
            for seat in 0..self.0.control().seats().len() {
                self.0.bury(seat, &lost());
            }
            self.1.announce(Err(Self::error()));
        }
    }
}
