//! One worker as its supervisor sees it: started, greeted, watched, buried.
//!
//! A worker that is a thread is greeted by the same words and heard over the same kind of socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::launch::{Launched, Launcher, failed};
use crate::control::{FromParent, Hello, NAME_BYTES_MAX, Releases};
use crate::error::Death;
use crate::memory::{
    Budget, Heap, Lease, LocalHeap, Nesting, Place, RemoteHeap, Upkeep, new_heap_id,
};
use crate::sync::{Arc, Mutex, Ordering};
use crate::sys::{self, EventFd, Exit, Image, PidFd, Socket};
use crate::task::Desk;
use crate::worker::{Berth, start_thread};

/// What all workers of an executor are started with.
#[derive(Debug)]
pub(super) struct Plan {
    /// `None`: workers are in this process.
    pub(super) launcher: Option<Arc<Launcher>>,
    pub(super) nesting: Nesting,
    pub(super) family: u64,
    pub(super) heap_bytes: u64,
    pub(super) upkeep: Upkeep,
    pub(super) spin: Duration,
    pub(super) searchers_max: u32,
    /// Among how many workers the cores are shared out; 0: each may run on all of them.
    pub(super) pinned_among: u32,
    pub(super) terms: Terms,
    pub(super) start_code: u64,
    pub(super) start_place: Option<Place>,
    /// Keeps the arguments of the start function for replacements.
    pub(super) _start: Mutex<Option<Arc<Lease>>>,
}

impl Plan {
    /// The place of the start function's arguments.
    pub(super) fn start_place(&self) -> Place {
        self.start_place.unwrap_or(Place { heap: 0, offset: 0, len: 0 })
    }
}

/// When a worker leaves by itself. Zero: never.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) tasks_max: u64,
    pub(super) memory_max: u64,
    pub(super) idle: Duration,
}

impl Terms {
    /// What threads can keep of them: they have no memory of their own.
    pub(super) fn of(self, backend: Backend) -> Self {
        if backend == Backend::Processes { self } else { Self { memory_max: 0, ..self } }
    }
}

/// A worker: a process, or a thread of this one.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    life: Life,
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

#[derive(Debug)]
enum Life {
    Process(PidFd),
    /// Rings when it ends.
    Thread {
        end: Arc<EventFd>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Process {
    /// Seats a worker: the process that was `launched` for it, else one that is started now.
    ///
    /// # Errors
    ///
    /// The step that failed, what the system said, and what to do about it.
    pub(super) fn start(
        plan: &Plan,
        desk: &Desk,
        seat: usize,
        launched: Option<Launched>,
    ) -> Result<Self, String> {
        let process = match &plan.launcher {
            Some(launcher) => {
                let launched = launched.map_or_else(|| launcher.launch(), Ok)?;
                Self::seat_process(plan, desk, seat, launched)?
            }
            None => Self::start_thread(plan, desk, seat)?,
        };
        event!(INFO "worker started", pid = process.pid, seat = seat);
        Ok(process)
    }

    /// Gives a process its seat, and sends it all that it needs.
    fn seat_process(
        plan: &Plan,
        desk: &Desk,
        seat: usize,
        launched: Launched,
    ) -> Result<Self, String> {
        let ids = (new_heap_id(), plan.family);
        let heap = match RemoteHeap::new(plan.heap_bytes, ids, desk.control(), seat) {
            Ok(heap) => Arc::new(heap),
            Err(error) => {
                Launched::end_all([launched]);
                return Err(failed("making its result heap")(error));
            }
        };
        step!(parent "spawn.heap");
        let Launched { pid, life, socket } = launched;
        let process = Self::new(pid, Life::Process(life), socket);
        // Before the greeting: the worker may have finished a task by the time that it returns.
        desk.seat_heap(seat, Arc::clone(&heap));
        step!(parent "spawn.seated");
        match process.greet(plan, desk, seat, &heap) {
            // It has ended. How says more, and is found out as of any other.
            Err(error) if is_of_the_dead(&error) => {}
            Err(error) => {
                process.kill();
                process.bury();
                return Err(failed("greeting it")(error));
            }
            Ok(()) => {}
        }
        step!(parent "spawn.greeted");
        Ok(process)
    }

    /// Starts a thread on the seat, which goes on with the seat's heap.
    fn start_thread(plan: &Plan, desk: &Desk, seat: usize) -> Result<Self, String> {
        let berth = seat_local(plan, desk, seat).map_err(failed("making its result heap"))?;
        let (ours, theirs) = Socket::pair().map_err(failed("socketpair"))?;
        let end = Arc::new(EventFd::new().map_err(failed("eventfd"))?);
        desk.control().seats()[seat].leave.store(0, Ordering::SeqCst);
        let hello = hello(plan, desk, seat, &berth.results);
        let thread = start_thread(&hello, berth, theirs, Arc::clone(&end));
        let thread = Some(thread.map_err(failed("starting a thread"))?);
        Ok(Self::new(sys::current_pid(), Life::Thread { end, thread }, ours))
    }

    fn new(pid: u32, life: Life, socket: Socket) -> Self {
        Self {
            pid,
            life,
            socket,
            mute: false,
            ready: false,
            since: Instant::now(),
            leaving: None,
            failed: false,
        }
    }

    /// Kills a process. A thread goes on: it leaves between two tasks.
    pub(super) fn kill(&self) {
        match &self.life {
            Life::Process(pidfd) => pidfd.kill(),
            Life::Thread { .. } => {}
        }
    }

    /// Readable when the worker has ended.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        match &self.life {
            Life::Process(pidfd) => pidfd.as_fd(),
            Life::Thread { end, .. } => end.as_fd(),
        }
    }

    /// Answers a worker that wants to read another worker's heap, or to write arguments, as loops
    /// do that fill arrays.
    pub(super) fn send_heap(&self, desk: &Desk, id: u64, writable: bool) -> io::Result<()> {
        let refused = || self.socket.send(&FromParent::NoHeap { id, writable }.to_bytes(), &[]);
        let heap_of = |bytes| FromParent::Heap { id, writable, bytes }.to_bytes();
        if writable {
            let heap = desk.heap();
            if heap.id() != id {
                return refused();
            }
            return self.socket.send(&heap_of(heap.len()), &[heap.fd()]);
        }
        let heap = desk.find_heap(id);
        let fd = heap.as_ref().and_then(|heap| sys::reopen_read_only(heap.fd()).ok());
        match (heap, fd) {
            (Some(heap), Some(fd)) => self.socket.send(&heap_of(heap.len()), &[fd.as_fd()]),
            _ => refused(),
        }
    }

    /// Tells whether somebody has stopped the process. Its number is its own until it is reaped.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.life, Life::Process(_)) && sys::is_stopped(self.pid)
    }

    /// Reaps the process or the thread.
    pub(super) fn bury(mut self) -> Death {
        let pidfd = match &mut self.life {
            Life::Process(pidfd) => pidfd,
            Life::Thread { thread, .. } => {
                let ended = thread.take().map(JoinHandle::join);
                return if let Some(Err(_)) = ended { Death::Unknown } else { Death::Code(0) };
            }
        };
        match pidfd.reap() {
            Exit::Signal(signal) => Death::Signal(signal),
            Exit::Code(code) => Death::Code(code),
            Exit::Unknown => Death::Unknown,
        }
    }

    fn greet(&self, plan: &Plan, desk: &Desk, seat: usize, heap: &RemoteHeap) -> io::Result<()> {
        let control = desk.control();
        control.introduce();
        Releases::over(&control.seats()[seat].releases.0).clear();
        step!(parent "greet.cleared");
        control.seats()[seat].leave.store(0, Ordering::SeqCst);
        let hello = hello(plan, desk, seat, heap);
        let args = sys::reopen_read_only(desk.heap().fd())?;
        let fds = [args.as_fd(), heap.fd(), desk.bell().as_fd()];
        self.socket.send(&FromParent::Hello(Box::new(hello)).to_bytes(), &fds)
    }
}

/// Tells whether a message could not be sent because the worker has ended.
fn is_of_the_dead(error: &io::Error) -> bool {
    // Before Linux 6.3 it was refused by one that ended in the middle of it.
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionRefused)
}

/// What a worker is told first.
pub(super) fn hello(plan: &Plan, desk: &Desk, seat: usize, heap: &RemoteHeap) -> Hello {
    let mut segment = [0; NAME_BYTES_MAX];
    let name = plan.launcher.as_ref().map_or("", |launcher| launcher.name().as_str()).as_bytes();
    segment[..name.len()].copy_from_slice(name);
    let (control, start) = (desk.control(), plan.start_place());
    Hello {
        image: Image::get().id().0,
        segment,
        slots: control.slots().len() as u64,
        seats: control.seats().len() as u64,
        seat: seat as u64,
        family: plan.family,
        args_heap: desk.heap().id(),
        result_heap: heap.id(),
        heap_bytes: plan.heap_bytes,
        retain_bytes: plan.upkeep.retain_bytes,
        huge_pages: plan.upkeep.huge_pages.into(),
        spin_ns: plan.spin.as_nanos() as u64,
        searchers_max: plan.searchers_max.into(),
        start_code: plan.start_code,
        start_offset: start.offset,
        start_len: start.len,
        timed: desk.is_timed().into(),
        pinned_among: plan.pinned_among.into(),
        tasks_max: plan.terms.tasks_max,
        memory_max: plan.terms.memory_max,
        idle_ns: plan.terms.idle.as_nanos() as u64,
    }
}

/// What a worker in this process works with: the heap of its seat, made when the first one sits
/// there, and kept for those that follow.
pub(super) fn seat_local(plan: &Plan, desk: &Desk, seat: usize) -> io::Result<Berth> {
    let (control, bell) = (Arc::clone(desk.control()), Arc::clone(desk.bell()));
    let seated = desk.seated_heap(seat);
    if let Some((results, local)) =
        seated.and_then(|heap| Some((Arc::clone(&heap), Arc::clone(heap.local()?))))
    {
        return Ok(Berth { control, bell, results, local });
    }
    let (ids, budget) =
        ((new_heap_id(), plan.family), Budget::of_worker(Arc::clone(&control), seat));
    let fd = sys::memfd("wharf-results", plan.heap_bytes)?;
    let heap = Heap::new(fd, plan.heap_bytes, ids, budget, plan.upkeep, None)?;
    let local = LocalHeap::of_thread(Arc::new(heap), Arc::clone(&control), seat, plan.nesting);
    let results = Arc::new(RemoteHeap::of_thread(Arc::clone(&local), &control, seat));
    desk.seat_heap(seat, Arc::clone(&results));
    Ok(Berth { control, bell, results, local })
}
