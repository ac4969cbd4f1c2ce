//! A worker's life: attach to what the parent has made, then run tasks until there are no more.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use memmap2::MmapRaw;

use super::entry::{Origin, WORKER_VARIABLE};
use super::execute::{self, Job};
use super::lifeline::{self, Lifeline};
use crate::control::{Bell, Control, FromParent, FromWorker, Hello, NO_CODE, Spin};
use crate::memory::{self, Budget, Heap, LocalHeap, Place};
use crate::sync::{Arc, Ordering};
use crate::sys::{self, EventFd, Image, ParentDeath, SegmentName, Socket};

/// The stack of the thread that runs tasks: what a main thread has by default.
const TASK_STACK_BYTES: usize = 8 << 20;
/// The exit code of a worker that could not start; the cause went to the parent.
const EXIT_FAILED: i32 = 70;
/// The exit code of a worker whose parent is gone.
pub(super) const EXIT_ORPHAN: i32 = 71;

/// All that a worker works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) control: Arc<Control>,
    pub(super) local: &'static LocalHeap,
    pub(super) bell: Bell,
    pub(super) seat: usize,
    pub(super) args_heap: u64,
    spin: Spin,
    searchers_max: u32,
    start: Option<(u64, Place)>,
    _args: MmapRaw,
}

/// Becomes a worker of the process that `origin` names. The way from here leads only out.
pub(super) fn run(origin: &Origin) -> ! {
    // SAFETY: no other thread runs yet: this is the start of the program, before or in `main`.
    unsafe { std::env::remove_var(WORKER_VARIABLE) };
    let Ok((socket, death)) = prepare(origin) else { sys::exit_now(EXIT_FAILED) };
    let Ok(Some(message)) = socket.receive() else { origin.leave() };
    let Some(FromParent::Hello(hello)) = FromParent::parse(&message.bytes) else {
        sys::exit_now(EXIT_FAILED)
    };
    let name = segment_name(&hello);
    let lifeline = Lifeline::install(socket, name);
    match attach(&hello, message.fds) {
        Ok(worker) => {
            let tasks = thread::Builder::new().name("wharf-worker".to_owned());
            let tasks = tasks.stack_size(TASK_STACK_BYTES).spawn(move || worker.serve());
            if let Err(error) = tasks {
                fail(lifeline, false, format!("no thread for tasks: {error}"));
            }
        }
        Err(cause) => fail(lifeline, false, cause),
    }
    lifeline::hold(lifeline, death)
}

fn prepare(origin: &Origin) -> io::Result<(Socket, ParentDeath)> {
    sys::sanitize_stdio()?;
    let socket = Socket::from_fd(sys::take_stdin()?);
    let death = ParentDeath::arm()?;
    // Armed too late if the parent died before; then somebody else is the parent now.
    if sys::parent_pid() != origin.parent {
        origin.leave();
    }
    sys::name_process(c"wharf-worker");
    sys::ignore_interrupts();
    execute::install_panic_hook();
    Ok((socket, death))
}

fn fail(lifeline: &Lifeline, in_start: bool, cause: String) -> ! {
    lifeline.tell(&FromWorker::Failed { in_start, cause });
    sys::exit_now(EXIT_FAILED)
}

fn segment_name(hello: &Hello) -> SegmentName {
    let name = CStr::from_bytes_until_nul(&hello.segment).unwrap_or_default();
    SegmentName::from_text(&name.to_string_lossy())
}

fn attach(hello: &Hello, fds: Vec<OwnedFd>) -> Result<Worker, String> {
    let say = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    if hello.image != Image::get().id().0 {
        return Err("the program on disk is another build than the one running".to_owned());
    }
    let fds: [OwnedFd; 3] = fds.try_into().map_err(|_| "descriptors are missing".to_owned())?;
    let [args, results, bell] = fds;
    let (slots, seats) = (hello.slots as u32, hello.seats as u32);
    let control = Control::attach(&segment_name(hello), slots, seats);
    let control = Arc::new(control.map_err(say("control segment"))?);
    let seat = hello.seat as usize;
    if seat >= control.seats().len() {
        return Err("there is no such seat".to_owned());
    }
    let args = sys::reserve(args.as_fd(), hello.heap_bytes, false).map_err(say("argument heap"))?;
    let base = NonNull::new(args.as_mut_ptr()).ok_or("argument heap: no address")?;
    memory::register(hello.args_heap, base, hello.heap_bytes);
    let ids = (hello.result_heap, hello.family);
    let budget = Budget::of_worker(Arc::clone(&control), seat);
    let heap = Heap::new(results, hello.heap_bytes, ids, budget, hello.retain_bytes, None);
    let heap = Arc::new(heap.map_err(say("result heap"))?);
    let local = LocalHeap::install(heap, Arc::clone(&control), seat);
    memory::fetch_with(lifeline::fetch);
    let start = (hello.start_code != NO_CODE).then_some((
        hello.start_code,
        Place { heap: hello.args_heap, offset: hello.start_offset, len: hello.start_len },
    ));
    Ok(Worker {
        bell: Bell::from_fd(EventFd::from_fd(bell), Arc::clone(&control)),
        control,
        local,
        seat,
        args_heap: hello.args_heap,
        spin: Spin::new(Duration::ZERO, Duration::from_nanos(hello.spin_ns)),
        searchers_max: hello.searchers_max as u32,
        start,
        _args: args,
    })
}

impl Worker {
    /// Runs the start function, then tasks until the executor closes.
    fn serve(mut self) {
        if let Some((code, place)) = self.start
            && let Err(cause) = execute::run_start(code, &place)
        {
            fail(Lifeline::get(), true, cause);
        }
        Lifeline::get().tell(&FromWorker::Ready);
        while let Some(index) = self.next() {
            self.run(index);
        }
        std::process::exit(0);
    }

    fn run(&self, index: u32) {
        // The ring lies in memory that a worker gone wild may write.
        if let Some(slot) = self.control.slots().get(index as usize) {
            Job { worker: self, slot }.run();
        }
    }

    /// Waits for a queued task. `None`: the executor closes and nothing is queued.
    fn next(&mut self) -> Option<u32> {
        let control = Arc::clone(&self.control);
        let (ring, wake) = (control.ring(), control.wake());
        let closing = || control.header().closing.load(Ordering::SeqCst) != 0;
        let mut woken = false;
        loop {
            if let Some(index) = ring.pop() {
                // Producers that saw a searcher have woken nobody, and the searcher wakes only one.
                if woken && !ring.is_empty() {
                    wake.notify();
                }
                return Some(index);
            }
            if closing() && ring.is_empty() {
                return None;
            }
            if self.spin.pays() && wake.search(self.seat, self.searchers_max) {
                let found = self.spin.until(|| ring.pop());
                wake.found(self.seat);
                if let Some(index) = found {
                    // A producer that saw this worker search has woken nobody.
                    if !ring.is_empty() {
                        wake.notify();
                    }
                    return Some(index);
                }
                // Before anything slow: a producer may have relied on this search.
                if !ring.is_empty() {
                    continue;
                }
            }
            self.reclaim();
            self.local.heap().trim();
            wake.sleep(self.seat, || !ring.is_empty() || closing() || self.local.has_release());
            woken = true;
        }
    }

    /// Counts a finished task, for the executor's statistics.
    ///
    /// Takes back what the parent has released: a worker that is never idle, and whose results are
    /// small, would otherwise keep the memory of earlier ones.
    pub(super) fn count_finished(&self) {
        let count = &self.control.seats()[self.seat].finished;
        // Nobody else writes it, so this is cheaper than an atomic addition.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.local.has_release() {
            self.reclaim();
        }
    }

    /// Takes back result memory; asks for more where the parent holds more than fits at a time.
    fn reclaim(&self) {
        if self.local.has_release() && self.local.reclaim() {
            self.bell.ring();
        }
    }
}
