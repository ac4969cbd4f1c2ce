//! The supervisor's thread before there is anything to supervise.
//!
//! A process takes longer to come up than all that the executor makes for it. So the thread starts
//! them first, and is told what they work with when that is there; they wait to be greeted.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::Supervisor;
use crate::error::BuildError;
use crate::executor::launch::{Launched, Launcher};
use crate::executor::office::Office;
use crate::executor::seat::Plan;
use crate::sync::Arc;
use crate::task::{Desk, Loss};

/// A thread that has not been told whom to supervise. Dropped, it ends the workers that it has
/// started, and is gone.
#[derive(Debug)]
pub(in crate::executor) struct Starting {
    work: Option<Sender<(Supervisor, LastWill)>>,
    thread: Option<JoinHandle<()>>,
}

impl Starting {
    /// Starts the thread, and so many workers if they are processes.
    pub(in crate::executor) fn start(
        launcher: Option<Arc<Launcher>>,
        workers: u32,
    ) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("wharf-supervisor".to_owned());
        let thread = thread.spawn(move || {
            let launched = launcher.map_or_else(Vec::new, |it| it.launch_many(workers));
            step!(parent "build.launched");
            wait_for_work(&waiting, launched);
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

fn wait_for_work(
    waiting: &Receiver<(Supervisor, LastWill)>,
    launched: Vec<Result<Launched, String>>,
) {
    let Ok((supervisor, last_will)) = waiting.recv() else {
        // The executor could not be built.
        return launched.into_iter().flatten().for_each(Launched::end);
    };
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
