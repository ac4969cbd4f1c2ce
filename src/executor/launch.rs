//! Starting worker processes, up to where they wait for the first word from their parent.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::sys::{self, PidFd, SegmentName, Socket};
use crate::worker::{ENTRY, WORKER_VARIABLE, worker_token};

/// A segment's name, taken away when it is dropped.
#[derive(Debug)]
struct OwnedName(SegmentName);

impl Drop for OwnedName {
    fn drop(&mut self) {
        let _ = sys::unlink(&self.0);
        step!(parent "name.unlinked");
    }
}

/// What the worker processes of an executor are started with. Once nobody holds it, the control
/// segment has no name.
#[derive(Debug)]
pub(super) struct Launcher {
    name: OwnedName,
    env: Vec<(OsString, OsString)>,
}

impl Launcher {
    /// `env` is what workers get besides the parent's own environment.
    pub(super) fn new(env: Vec<(OsString, OsString)>) -> Self {
        Self { name: OwnedName(SegmentName::new()), env }
    }

    /// The control segment's.
    pub(super) fn name(&self) -> &SegmentName {
        &self.name.0
    }

    /// Starts so many workers, as long as there is time.
    ///
    /// # Errors
    ///
    /// The first one that could not be started, and why. Those before it are ended, so that they
    /// take no descriptors and processes from whoever goes on.
    pub(super) fn launch_many(
        &self,
        workers: u32,
        mut has_time: impl FnMut() -> bool,
    ) -> Result<Vec<Launched>, Refused> {
        let mut launched = Vec::new();
        for seat in 0..workers as usize {
            if !has_time() {
                break;
            }
            match self.launch() {
                Ok(worker) => launched.push(worker),
                Err(cause) => {
                    Launched::end_all(launched);
                    return Err(Refused { seat, cause });
                }
            }
        }
        Ok(launched)
    }

    /// Starts a worker.
    ///
    /// The program is `/proc/self/exe`, the same file even when it was replaced or deleted. Started
    /// by `posix_spawn`, so that it costs the same whatever the size of this process.
    ///
    /// # Errors
    ///
    /// The step that failed, what the system said, and what to do about it.
    pub(super) fn launch(&self) -> Result<Launched, String> {
        std::hint::black_box(&raw const ENTRY);
        let (ours, theirs) = Socket::pair().map_err(failed("socketpair"))?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(program) = std::env::args_os().next() {
            command.arg0(program);
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command.env(WORKER_VARIABLE, worker_token(self.name()));
        let child = command.stdin(Stdio::from(theirs.into_fd())).spawn();
        let mut child = child.map_err(failed("starting /proc/self/exe"))?;
        let pid = child.id();
        step!(parent "spawn.started");
        let life = PidFd::open(pid).map_err(|error| {
            // Without a descriptor it could not be watched. Not reaped yet, so the pid is its own.
            let _ = child.kill();
            let _ = child.wait();
            failed("pidfd_open or pidfd_send_signal")(error)
        })?;
        step!(parent "spawn.watched");
        Ok(Launched { pid, life, socket: ours })
    }
}

/// A worker that waits for the first word.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) life: PidFd,
    pub(super) socket: Socket,
}

impl Launched {
    /// Ends workers that are not wanted.
    pub(super) fn end_all(launched: impl IntoIterator<Item = Self>) {
        let launched: Vec<Self> = launched.into_iter().collect();
        launched.iter().for_each(|worker| worker.life.kill());
        for worker in launched {
            let _ = worker.life.reap();
        }
    }
}

/// A worker could not be started.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) seat: usize,
    pub(super) cause: String,
}

/// Says which step failed, why, and what to do about it.
pub(super) fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {}", sys::explain(&error))
}
