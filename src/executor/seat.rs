//! One worker as its supervisor sees it: started, greeted, watched, buried.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::builder::OwnedName;
use crate::control::{FromParent, Hello, NAME_BYTES_MAX, Releases};
use crate::error::Death;
use crate::memory::{Lease, Place, RemoteHeap, new_heap_id};
use crate::sync::{Arc, Mutex, Ordering};
use crate::sys::{self, Exit, Image, PidFd, Socket};
use crate::task::Desk;
use crate::worker::{ENTRY, WORKER_VARIABLE, worker_token};

/// What all workers of an executor are started with.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: OwnedName,
    pub(super) family: u64,
    pub(super) heap_bytes: u64,
    pub(super) retain_bytes: u64,
    pub(super) spin: Duration,
    pub(super) searchers_max: u32,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) terms: Terms,
    pub(super) start_code: u64,
    pub(super) start_place: Option<Place>,
    /// Keeps the arguments of the start function for replacements.
    pub(super) _start: Mutex<Option<Arc<Lease>>>,
}

/// When a worker leaves by itself. Zero: never.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) tasks_max: u64,
    pub(super) memory_max: u64,
    pub(super) idle: Duration,
}

/// A worker process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: PidFd,
    pub(super) socket: Socket,
    /// Nothing more is heard of it: it closed its end, or said what none of ours says. The socket
    /// stays open; a worker that finds the other end closed takes its parent for dead.
    pub(super) mute: bool,
    pub(super) ready: bool,
    /// Since when: started, then ready.
    pub(super) since: Instant,
    /// It has said that it leaves. `Some(true)`: because there was nothing to do.
    pub(super) leaving: Option<bool>,
    /// It has said that it cannot work.
    pub(super) failed: bool,
}

impl Process {
    /// Starts a worker for `seat` and sends it all that it needs.
    ///
    /// The program is `/proc/self/exe`, the same file even when it was replaced or deleted. Started
    /// by `posix_spawn`, so that it costs the same whatever the size of this process.
    ///
    /// # Errors
    ///
    /// The step that failed, what the system said, and what to do about it.
    pub(super) fn start(plan: &Plan, desk: &Desk, seat: usize) -> Result<Self, String> {
        std::hint::black_box(&raw const ENTRY);
        let ids = (new_heap_id(), plan.family);
        let heap = RemoteHeap::new(plan.heap_bytes, ids, desk.control(), seat);
        let heap = heap.map_err(step("making its result heap"))?;
        step!(parent "spawn.heap");
        let (ours, theirs) = Socket::pair().map_err(step("socketpair"))?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(program) = std::env::args_os().next() {
            command.arg0(program);
        }
        command.envs(plan.env.iter().map(|(key, value)| (key, value)));
        command.env(WORKER_VARIABLE, worker_token(&plan.name.0));
        let child = command.stdin(Stdio::from(theirs.into_fd())).spawn();
        let mut child = child.map_err(step("starting /proc/self/exe"))?;
        let pid = child.id();
        step!(parent "spawn.started");
        let pidfd = PidFd::open(pid).map_err(|error| {
            // Without a descriptor it could not be watched. Not reaped yet, so the pid is its own.
            let _ = child.kill();
            let _ = child.wait();
            step("pidfd_open or pidfd_send_signal")(error)
        })?;
        let process = Self {
            pid,
            pidfd,
            socket: ours,
            mute: false,
            ready: false,
            since: Instant::now(),
            leaving: None,
            failed: false,
        };
        // Before the greeting: the worker may have finished a task by the time that it returns.
        let heap = Arc::new(heap);
        step!(parent "spawn.watched");
        desk.seat_heap(seat, Arc::clone(&heap));
        step!(parent "spawn.seated");
        if let Err(error) = process.greet(plan, desk, seat, &heap) {
            process.pidfd.kill();
            process.pidfd.reap();
            return Err(step("greeting it")(error));
        }
        step!(parent "spawn.greeted");
        Ok(process)
    }

    /// Answers a worker that wants to read another worker's heap.
    pub(super) fn send_heap(&self, desk: &Desk, id: u64) -> io::Result<()> {
        let heap = desk.find_heap(id);
        let fd = heap.as_ref().and_then(|heap| sys::reopen_read_only(heap.fd()).ok());
        match (heap, fd) {
            (Some(heap), Some(fd)) => {
                let message = FromParent::Heap { id, bytes: heap.len() };
                self.socket.send(&message.to_bytes(), &[fd.as_fd()])
            }
            _ => self.socket.send(&FromParent::NoHeap { id }.to_bytes(), &[]),
        }
    }

    /// Tells whether somebody has stopped the process. Its number is its own until it is reaped.
    pub(super) fn is_stopped(&self) -> bool {
        sys::is_stopped(self.pid)
    }

    /// Reaps the process.
    pub(super) fn bury(&self) -> Death {
        match self.pidfd.reap() {
            Exit::Signal(signal) => Death::Signal(signal),
            Exit::Code(code) => Death::Code(code),
            Exit::Unknown => Death::Unknown,
        }
    }

    fn greet(&self, plan: &Plan, desk: &Desk, seat: usize, heap: &RemoteHeap) -> io::Result<()> {
        let mut segment = [0; NAME_BYTES_MAX];
        let name = plan.name.0.as_str().as_bytes();
        segment[..name.len()].copy_from_slice(name);
        let control = desk.control();
        control.introduce();
        Releases::over(&control.seats()[seat].releases.0).clear();
        step!(parent "greet.cleared");
        control.seats()[seat].leave.store(0, Ordering::SeqCst);
        let start = plan.start_place();
        let hello = Hello {
            image: Image::get().id().0,
            segment,
            slots: control.slots().len() as u64,
            seats: control.seats().len() as u64,
            seat: seat as u64,
            family: plan.family,
            args_heap: desk.heap().id(),
            result_heap: heap.id(),
            heap_bytes: plan.heap_bytes,
            retain_bytes: plan.retain_bytes,
            spin_ns: plan.spin.as_nanos() as u64,
            searchers_max: plan.searchers_max.into(),
            start_code: plan.start_code,
            start_offset: start.offset,
            start_len: start.len,
            tasks_max: plan.terms.tasks_max,
            memory_max: plan.terms.memory_max,
            idle_ns: plan.terms.idle.as_nanos() as u64,
        };
        let args = sys::reopen_read_only(desk.heap().fd())?;
        let fds = [args.as_fd(), heap.fd(), desk.bell().as_fd()];
        self.socket.send(&FromParent::Hello(Box::new(hello)).to_bytes(), &fds)
    }
}

/// Says which step failed, why, and what to do about it.
fn step(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {}", sys::explain(&error))
}
