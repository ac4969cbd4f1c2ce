//! What the tests share: executors, gates that hold tasks up, waiting under a deadline.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod footprint;
pub mod process;

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use wharf::Executor;

/// The longest that a test waits for something that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub fn executor(workers: usize) -> Executor {
    Executor::builder().workers(workers).build().expect("an executor can be built")
}

/// Holds tasks up, in whatever process, until it is opened: two named pipes.
pub struct Gate {
    folder: PathBuf,
    /// What lies in a pipe goes with its last descriptor, so this one stays open.
    exit: OnceLock<fs::File>,
}

impl Gate {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-gate-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // What a killed process of the same number has left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder for the gate");
        for pipe in ["entry", "exit"] {
            let made = std::process::Command::new("mkfifo").arg(folder.join(pipe)).status();
            assert!(made.expect("mkfifo runs").success());
        }
        Self { folder, exit: OnceLock::new() }
    }

    /// What a task needs to find the gate.
    pub fn path(&self) -> String {
        self.folder.to_str().expect("a plain path").to_owned()
    }

    /// The task: says that it is here, and waits for the gate to open.
    pub fn pass(path: &str) {
        // Opened for both, so that nobody has to be at the other end yet.
        let open = |name: &str| {
            fs::OpenOptions::new().read(true).write(true).open(format!("{path}/{name}"))
        };
        let mut entry = open("entry").expect("the gate is there");
        std::io::Write::write_all(&mut entry, b"!").expect("a byte fits");
        // The byte goes away with the last descriptor, so this one stays open.
        std::mem::forget(entry);
        // Waits for a writer, and reads until the last one is gone.
        let mut exit = fs::File::open(format!("{path}/exit")).expect("the gate is there");
        let _ = std::io::Read::read(&mut exit, &mut [0]);
    }

    pub fn pass_with(path: &str, value: u64) -> u64 {
        Self::pass(path);
        value
    }

    /// Waits until a task is at the gate.
    pub fn wait_for_entry(&self) {
        let mut entry = fs::File::open(self.folder.join("entry")).expect("the gate is there");
        let mut byte = [0];
        std::io::Read::read_exact(&mut entry, &mut byte).expect("a task came");
    }

    /// Opens the gate for all that wait and all that will come. Once more is no harm.
    pub fn open(&self) {
        self.exit.get_or_init(|| {
            let open = fs::OpenOptions::new().read(true).write(true).open(self.folder.join("exit"));
            let mut exit = open.expect("the gate is there");
            std::io::Write::write_all(&mut exit, &[b'!'; 4096]).expect("the pipe holds a page");
            exit
        });
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file that does not exist, and with it a thing that is done once among all processes.
pub struct Once(PathBuf);

impl Once {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wharf-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    pub fn path(&self) -> String {
        self.0.to_str().expect("a plain path").to_owned()
    }

    /// True for the first who asks.
    pub fn is_first(path: &str) -> bool {
        fs::OpenOptions::new().write(true).create_new(true).open(path).is_ok()
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A waker that tells when it was woken.
pub fn flag_waker() -> (Waker, Flag) {
    let (sender, receiver) = channel();
    (Waker::from(Arc::new(Signal(Mutex::new(sender)))), Flag(receiver))
}

struct Signal(Mutex<Sender<()>>);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().expect("nobody panics with it").send(());
    }
}

pub struct Flag(Receiver<()>);

impl Flag {
    pub fn wait(&self) {
        self.0.recv_timeout(DEADLINE).expect("the waker is woken in time");
    }
}

/// Waits for a future as an executor of futures does.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let (waker, woken) = flag_waker();
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => woken.wait(),
        }
    }
}

/// The names of segments in `/dev/shm` that belong to the process `pid`.
pub fn segments_of(pid: u32) -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").expect("/dev/shm can be read");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|n| n.starts_with("wharf-") && n.contains(&format!("-{pid}-"))).collect()
}

/// Waits for something that has to happen.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come to this: {what}");
        thread::yield_now();
    }
}

/// Lets each worker answer: as many tasks as there are workers, all at the same time.
pub fn roll_call(executor: &Executor) {
    fn answer(path: &str) -> u32 {
        Gate::pass(path);
        std::process::id()
    }
    let gate = Gate::new();
    let tasks: Vec<_> = (0..executor.workers())
        .map(|_| executor.submit(answer, (gate.path(),)).expect("the pool goes on"))
        .collect();
    tasks.iter().for_each(|_| gate.wait_for_entry());
    gate.open();
    let mut pids: Vec<u32> = tasks.into_iter().map(|t| t.join().expect("a pid")).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), executor.workers());
}

/// Runs `f` on a thread of its own, and returns when that sleeps.
pub fn asleep_in<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, T> {
    let (sender, receiver) = channel();
    let thread = scope.spawn(move || {
        // SAFETY: always allowed.
        sender.send(unsafe { libc::gettid() }).expect("it is awaited");
        f()
    });
    let stat = format!("/proc/self/task/{}/stat", receiver.recv().expect("it is sent"));
    let is_asleep = || {
        let stat = fs::read_to_string(&stat).expect("the thread is there");
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
    };
    wait_until("the thread sleeps", is_asleep);
    thread
}
