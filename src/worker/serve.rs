//! A worker's life: attach to what the parent has made, then run tasks until there are no more.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use memmap2::MmapRaw;

use super::entry::{Origin, WORKER_VARIABLE};
use super::execute::{self, Job, Ran};
use super::inside::Tie;
use super::lifeline::{self, Lifeline};
use super::next::Next;
use super::pin::pin_as;
use super::search::Search;
use crate::control::{Bell, Control, FromParent, FromWorker, Hello, NO_CODE, Reader, Seat};
use crate::memory::{self, Access, Budget, Heap, LocalHeap, LocalRef, Place, Upkeep};
use crate::sync::{Arc, Ordering};
use crate::sys::{
    self, EventFd, Image, Interest, OwnMemory, ParentDeath, SegmentName, Socket, poll,
};
use crate::task::install_panic_hook;

/// The stack of the thread that runs tasks: what a main thread has by default.
pub(super) const TASK_STACK_BYTES: usize = 8 << 20;
/// How often a worker looks whether a parent that ends has ended.
const PARENT_PAUSE: Duration = Duration::from_millis(1);
/// The exit code of a worker that could not start; the cause went to the parent.
const EXIT_FAILED: i32 = 70;
/// The exit code of a worker that has finished a task which was taken from it meanwhile.
pub(super) const EXIT_CONDEMNED: i32 = 72;
/// The exit code of a worker whose parent is gone.
pub(super) const EXIT_ORPHAN: i32 = 71;

/// All that a worker works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) control: Arc<Control>,
    pub(super) local: LocalRef,
    pub(super) bell: Arc<Bell>,
    pub(super) tie: Tie,
    pub(super) seat: usize,
    pub(super) args_heap: u64,
    pub(super) search: Search,
    /// Where this worker is in the ring.
    pub(super) reader: Reader,
    /// The supervisor is to look around before this worker sleeps.
    pub(super) owes_ring: bool,
    /// The executor measures how long tasks wait and run.
    pub(super) is_timed: bool,
    start: Option<(u64, Place)>,
    pub(super) terms: Terms,
    /// Where the parent is another process.
    _args: Option<MmapRaw>,
}

/// When a worker leaves by itself.
#[derive(Debug)]
pub(super) struct Terms {
    /// So many tasks from now.
    tasks_left: Option<u64>,
    /// After a task that leaves it with more memory of its own.
    memory: Option<(OwnMemory, u64)>,
    /// When it has had nothing to do for so long.
    pub(super) idle: Option<Duration>,
}

/// Becomes a worker of the process that `origin` names. The way from here leads only out.
pub(super) fn run(origin: &Origin) -> ! {
    // SAFETY: no other thread runs yet: this is the start of the program, before or in `main`.
    unsafe { std::env::remove_var(WORKER_VARIABLE) };
    let Ok(socket) = sys::sanitize_stdio().and_then(|()| sys::take_stdin()).map(Socket::from_fd)
    else {
        sys::exit_now(EXIT_FAILED)
    };
    step!(worker "start.socket");
    let death = prepare(origin);
    step!(worker "start.prepared");
    if !is_greeted(&socket, death.as_ref().ok(), origin) {
        origin.leave();
    }
    let Ok(Some(message)) = socket.receive() else { origin.leave() };
    step!(worker "start.hello");
    let Some(FromParent::Hello(hello)) = FromParent::parse(&message.bytes) else {
        sys::exit_now(EXIT_FAILED)
    };
    let name = segment_name(&hello);
    let lifeline = Lifeline::install(socket, name);
    let death = death.unwrap_or_else(|error| {
        let cause = format!("asking for a signal at the parent's end: {}", sys::explain(&error));
        fail(lifeline, false, cause)
    });
    // Before anything of the task's thread is touched for the first time.
    match pin_as(&hello).and_then(|()| attach(&hello, message.fds)) {
        Ok(worker) => {
            let tasks = thread::Builder::new().name("wharf-worker".to_owned());
            let tasks = tasks.stack_size(TASK_STACK_BYTES).spawn(move || worker.serve());
            if let Err(error) = tasks {
                fail(lifeline, false, format!("no thread for tasks: {}", sys::explain(&error)));
            }
        }
        Err(cause) => fail(lifeline, false, cause),
    }
    lifeline::hold(lifeline, death)
}

fn prepare(origin: &Origin) -> io::Result<ParentDeath> {
    let death = ParentDeath::arm()?;
    // Armed too late if the parent died before; then somebody else is the parent now.
    if sys::parent_pid() != origin.parent {
        origin.leave();
    }
    sys::name_process(c"wharf-worker");
    sys::ignore_interrupts();
    install_panic_hook();
    Ok(death)
}

/// Waits for the greeting, which comes when the executor is built, or for the end of the line.
/// False: the parent is gone.
///
/// A fork of the parent has an end of the line, too, and may live on. Then only the signal tells,
/// and only of the thread that looks after workers: another may still be making the segment whose
/// name is to be taken away. So the whole process is waited for.
fn is_greeted(socket: &Socket, death: Option<&ParentDeath>, origin: &Origin) -> bool {
    let mut is_told = false;
    loop {
        let mut interests = vec![Interest::new(socket.as_fd())];
        interests.extend(death.filter(|_| !is_told).map(|death| Interest::new(death.as_fd())));
        if poll(&mut interests, is_told.then_some(PARENT_PAUSE)).is_err() || interests[0].ready {
            return true;
        }
        is_told |= interests.get(1).is_some_and(|death| death.ready);
        if is_told && sys::parent_pid() != origin.parent {
            return false;
        }
    }
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
    let say =
        |what: &'static str| move |error: io::Error| format!("{what}: {}", sys::explain(&error));
    if hello.image != Image::get().id().0 {
        return Err("the program on disk is another build than the one running".to_owned());
    }
    let fds: [OwnedFd; 3] = fds.try_into().map_err(|_| "descriptors are missing".to_owned())?;
    let [args, results, bell] = fds;
    let (slots, seats) = (hello.slots as u32, hello.seats as u32);
    let control = Control::attach(&segment_name(hello), slots, seats);
    let control = Arc::new(control.map_err(say("control segment"))?);
    step!(worker "start.control");
    let seat = hello.seat as usize;
    if seat >= control.seats().len() {
        return Err("there is no such seat".to_owned());
    }
    let args = sys::reserve(args.as_fd(), hello.heap_bytes, false).map_err(say("argument heap"))?;
    let base = NonNull::new(args.as_mut_ptr()).ok_or("argument heap: no address")?;
    memory::register(hello.args_heap, Access::Read, base, hello.heap_bytes);
    step!(worker "start.arguments");
    let ids = (hello.result_heap, hello.family);
    let huge_pages = hello.huge_pages != 0;
    let upkeep = Upkeep { retain_bytes: hello.retain_bytes, huge_pages };
    let budget = Budget::of_worker(Arc::clone(&control), seat);
    let heap = Heap::new(results, hello.heap_bytes, ids, budget, upkeep, None);
    let heap = Arc::new(heap.map_err(say("result heap"))?);
    let local = LocalHeap::install(heap, Arc::clone(&control), seat);
    memory::fetch_with(lifeline::fetch);
    step!(worker "start.results");
    let bell = Arc::new(Bell::from_fd(EventFd::from_fd(bell), Arc::clone(&control)));
    let terms = terms(hello).map_err(say("/proc/self/statm"))?;
    Ok(Worker {
        terms,
        _args: Some(args),
        ..Worker::new(hello, control, local, bell, Tie::Process)
    })
}

pub(super) fn terms(hello: &Hello) -> io::Result<Terms> {
    let unless_zero = |value: u64| (value != 0).then_some(value);
    let memory = unless_zero(hello.memory_max);
    let memory = memory.map(|most| Ok::<_, io::Error>((OwnMemory::open()?, most))).transpose()?;
    let idle = unless_zero(hello.idle_ns).map(Duration::from_nanos);
    Ok(Terms { tasks_left: unless_zero(hello.tasks_max), memory, idle })
}

/// Ends the process if the thread of tasks panics outside a task: a bug, or somebody has written
/// nonsense into the control segment. A worker that runs no tasks and lives would be waited for.
struct EndOfTasks;

impl Drop for EndOfTasks {
    fn drop(&mut self) {
        if thread::panicking() {
            sys::exit_now(EXIT_FAILED);
        }
    }
}

impl Worker {
    /// A worker as the greeting describes it, which does not leave by itself.
    pub(super) fn new(
        hello: &Hello,
        control: Arc<Control>,
        local: LocalRef,
        bell: Arc<Bell>,
        tie: Tie,
    ) -> Self {
        let start =
            Place { heap: hello.args_heap, offset: hello.start_offset, len: hello.start_len };
        Self {
            control,
            local,
            bell,
            tie,
            seat: hello.seat as usize,
            args_heap: hello.args_heap,
            search: Search::new(hello.spin_ns, hello.searchers_max as u32),
            reader: Reader::default(),
            owes_ring: false,
            is_timed: hello.timed != 0,
            start: (hello.start_code != NO_CODE).then_some((hello.start_code, start)),
            terms: Terms { tasks_left: None, memory: None, idle: None },
            _args: None,
        }
    }

    /// Serves, and ends the process.
    fn serve(mut self) {
        let _end = EndOfTasks;
        if let Err(cause) = self.work() {
            fail(Lifeline::get(), true, cause);
        }
        step!(worker "leave.exit");
        std::process::exit(0);
    }

    /// Runs the start function, then tasks until the executor closes. An error: the start function
    /// has failed, and why.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_work")]
    pub(super) fn work(&mut self) -> Result<(), String> {
        self.enter()?;
        loop {
            match self.next() {
                Next::Task(index) => self.run(index),
                Next::Close => return Ok(()),
                Next::Leave { idle } => {
                    self.leave(idle);
                    return Ok(());
                }
            }
        }
    }

    /// Runs the start function, and says that tasks may come.
    #[cold]
    fn enter(&self) -> Result<(), String> {
        self.start()?;
        step!(worker "start.done");
        self.tie.tell(&FromWorker::Ready);
        step!(worker "start.ready");
        self.control.wake().enter(self.seat);
        Ok(())
    }

    /// Says that no more tasks are to come.
    #[cold]
    fn leave(&self, idle: bool) {
        self.control.wake().leave(self.seat);
        self.tie.tell(&FromWorker::Leaving { idle });
        step!(worker "leave.told");
    }

    /// Runs the start function, if there is one.
    pub(super) fn start(&self) -> Result<(), String> {
        self.start.map_or(Ok(()), |(code, place)| execute::run_start(code, &place))
    }

    fn run(&mut self, index: u32) {
        // The ring lies in memory that a worker gone wild may write.
        let Some(slot) = self.control.slots().get(index as usize) else { return };
        let Ran { tasks, has_woken, owes_ring } = Job { worker: self, slot }.run();
        self.search.note(index, has_woken);
        self.owes_ring |= owes_ring;
        if let Some(left) = &mut self.terms.tasks_left {
            *left = left.saturating_sub(tasks);
        }
    }

    /// How many tasks this worker may still run.
    pub(super) fn tasks_left(&self) -> u64 {
        self.terms.tasks_left.unwrap_or(u64::MAX)
    }

    /// Tells whether the worker has done its part, or was asked to leave.
    pub(super) fn is_due(&self) -> bool {
        self.seat().leave.load(Ordering::Relaxed) != 0
            || self.terms.tasks_left == Some(0)
            || self.terms.memory.is_some() && self.is_too_large()
    }

    /// Tells whether this process holds more memory than it may.
    #[cold]
    fn is_too_large(&self) -> bool {
        self.terms.memory.as_ref().is_some_and(|(own, most)| own.bytes() > *most)
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.control.seats()[self.seat]
    }

    /// Counts finished tasks, for the executor's statistics.
    ///
    /// Takes back what the parent has released: a worker that is never idle, and whose results are
    /// small, would otherwise keep the memory of earlier ones.
    pub(super) fn count_finished(&self, tasks: u64) {
        self.add(&self.seat().finished, tasks);
        step!(worker "task.counted");
        self.reclaim();
    }

    /// Makes the supervisor look.
    #[cold]
    pub(super) fn ring(&self) {
        self.bell.ring();
    }

    /// Takes back result memory; asks for more where the parent holds more than fits at a time.
    ///
    /// A task that allocated memory may have taken back all that fitted, and has asked for no more.
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_work")]
    pub(super) fn reclaim(&self) {
        if (self.local.has_release() || self.local.has_backlog()) && self.local.reclaim() {
            self.ring();
        }
    }
}
