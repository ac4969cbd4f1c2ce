//! A second process that answers over shared memory: the limit that a round trip is held against.
//!
//! It is the bench's own program, started again with a variable set. It gets the shared memory as
//! its standard input, and sleeps between the rounds in which it is asked, so that it disturbs
//! nobody.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};

/// What a process that is started again is to do: `answer:<pid of the parent>` or `exit`.
const VARIABLE: &str = "WHARF_BENCH_PEER";
/// How long `Mode::SpinThenFutex` spins.
const SPIN: Duration = Duration::from_micros(20);
/// Looks at the word between two looks at the clock.
const LOOKS: u32 = 32;
/// The bit of the last question of a round.
const LAST: u32 = 1 << 31;

/// How both sides wait for each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Spin,
    SpinThenFutex,
    Futex,
}

const MODES: [Mode; 3] = [Mode::Spin, Mode::SpinThenFutex, Mode::Futex];

/// What lies in the shared memory.
#[repr(C)]
struct Cells {
    order: Lane,
    ask: Lane,
    answer: Lane,
}

/// A word that one side writes and the other waits for, on a cache line of its own.
#[repr(C, align(128))]
struct Lane {
    word: AtomicU32,
    sleeping: AtomicU32,
}

impl Lane {
    fn post(&self, mode: Mode, value: u32) {
        self.word.store(value, Ordering::Release);
        if mode == Mode::SpinThenFutex {
            // Either this sees the sleeper, or the sleeper sees the value.
            fence(Ordering::SeqCst);
        }
        let asleep = || self.sleeping.load(Ordering::Relaxed) != 0;
        if mode == Mode::Futex || mode == Mode::SpinThenFutex && asleep() {
            futex_wake(&self.word);
        }
    }

    /// Waits until the word is not `seen` any more, and returns it.
    fn wait(&self, mode: Mode, seen: u32) -> u32 {
        let changed = || Some(self.word.load(Ordering::Acquire)).filter(|&word| word != seen);
        if mode != Mode::Futex {
            let start = Instant::now();
            loop {
                for _ in 0..LOOKS {
                    if let Some(word) = changed() {
                        return word;
                    }
                    std::hint::spin_loop();
                }
                if mode == Mode::SpinThenFutex && start.elapsed() >= SPIN {
                    break;
                }
            }
        }
        self.sleeping.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let word = loop {
            if let Some(word) = changed() {
                break word;
            }
            futex_wait(&self.word, seen);
        };
        self.sleeping.store(0, Ordering::Relaxed);
        word
    }
}

/// The shared memory, mapped.
struct Cabin(MmapRaw);

impl Cabin {
    fn map(file: &impl AsRawFd) -> Self {
        let options = MmapOptions::new().len(size_of::<Cells>()).map_raw(file.as_raw_fd());
        Self(options.expect("a page can be mapped"))
    }

    fn cells(&self) -> &Cells {
        // SAFETY: `map` mapped this many bytes, a mapping is aligned to a page and lives as long as
        // `self`; the file was made with zeros and both sides reach it through these atomics alone.
        unsafe { &*self.0.as_ptr().cast::<Cells>() }
    }
}

/// The other process.
pub struct Peer {
    cabin: Cabin,
    child: Child,
    rounds: u32,
    number: u32,
}

impl Peer {
    /// Starts it.
    pub fn start() -> Self {
        let file = nameless_file(size_of::<Cells>() as u64);
        let cabin = Cabin::map(&file);
        let child = again(&format!("answer:{}", std::process::id()))
            .stdin(Stdio::from(file))
            .spawn()
            .expect("the bench can be started again");
        Self { cabin, child, rounds: 0, number: 0 }
    }

    /// Begins a round: both sides wait by `mode` until `body` has ended. It gets a function that
    /// makes one round trip.
    pub fn round<R>(&mut self, mode: Mode, body: impl FnOnce(&mut dyn FnMut()) -> R) -> R {
        Self::round_of([self], mode, body)
    }

    /// As [`Peer::round`], of several: each is asked before the first answer is waited for.
    pub fn round_of<const N: usize, R>(
        mut peers: [&mut Self; N],
        mode: Mode,
        body: impl FnOnce(&mut dyn FnMut()) -> R,
    ) -> R {
        let code = MODES.iter().position(|&known| known == mode).unwrap_or(0) as u32;
        for peer in &mut peers {
            peer.rounds += 1;
            peer.cabin.cells().order.post(Mode::Futex, peer.rounds << 2 | code);
        }
        let mut numbers = peers.each_ref().map(|peer| peer.number);
        let cells = peers.each_ref().map(|peer| peer.cabin.cells());
        let result = body(&mut || ask(&cells, mode, &mut numbers, 0));
        ask(&cells, mode, &mut numbers, LAST);
        peers.iter_mut().zip(numbers).for_each(|(peer, number)| peer.number = number);
        result
    }
}

/// Asks each one question; the answer is the question. The numbers are those of the latest.
fn ask(cells: &[&Cells], mode: Mode, numbers: &mut [u32], last: u32) {
    let next = |number: u32| ((number & !LAST) + 1) | last;
    for (cells, number) in cells.iter().zip(&*numbers) {
        cells.ask.post(mode, next(*number));
    }
    for (cells, number) in cells.iter().zip(numbers) {
        let answer = cells.answer.wait(mode, *number);
        assert_eq!(answer, next(*number), "the peer answers what it is asked");
        *number = answer;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what a process that was started again is to do. True: `main` is to return.
pub fn was_started_again() -> bool {
    let Ok(order) = std::env::var(VARIABLE) else { return false };
    let Some(parent) = order.strip_prefix("answer:") else { return true };
    die_with_parent();
    if parent.parse() == Ok(std::os::unix::process::parent_id()) {
        answer();
    }
    true
}

/// Answers until it is killed.
fn answer() -> ! {
    let cabin = Cabin::map(&std::io::stdin());
    let cells = cabin.cells();
    let (mut order, mut seen) = (0, 0);
    loop {
        order = cells.order.wait(Mode::Futex, order);
        let mode = MODES[(order & 3) as usize];
        loop {
            seen = cells.ask.wait(mode, seen);
            cells.answer.post(mode, seen);
            if seen & LAST != 0 {
                break;
            }
        }
    }
}

/// Starts this program again, to end at once, and waits for that.
pub fn spawn_and_wait(count: usize) {
    let start = || again("exit").stdin(Stdio::null()).spawn().expect("the bench starts again");
    let children: Vec<Child> = (0..count).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().expect("a child can be waited for").success());
    }
}

/// Maps fresh shared memory of `len` bytes, runs `body` over its start, and unmaps it.
///
/// What is counted is what `body` counts.
pub fn with_fresh_memory<R>(len: usize, body: impl FnOnce(*mut u8) -> R) -> R {
    let file = nameless_file(len as u64);
    let map = MmapOptions::new().len(len).map_raw(&file).expect("shared memory can be mapped");
    body(map.as_mut_ptr())
}

fn again(order: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(VARIABLE, order);
    command
}

/// Makes a file in shared memory that has no name, so that nothing is left of it.
fn nameless_file(len: u64) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE);
    let file = options.open("/dev/shm").expect("/dev/shm takes files");
    file.set_len(len).expect("a file in /dev/shm can grow");
    file
}

/// Sleeps while the word is `expected`; returns early for any reason.
fn futex_wait(word: &AtomicU32, expected: u32) {
    let timeout = ptr::null::<libc::timespec>();
    // SAFETY: FUTEX_WAIT only reads the word, a live and aligned atomic; no timeout is passed.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, timeout);
    }
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE does not touch the memory, it uses the address as a key.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1);
    }
}

/// Ends this process with its parent's main thread, which started it.
fn die_with_parent() {
    // SAFETY: no pointer is passed.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}
