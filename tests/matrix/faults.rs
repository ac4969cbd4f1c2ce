//! The ways to fail, and how each of them ends.

use std::fmt;
use std::hint::black_box;
use std::panic;
use std::process::{abort, exit};
use std::ptr;
use std::thread;

use wharf::Death;

/// What a panic says here.
pub const SAYS: &str = "a panic, as this test wants";

const ABORTED: End = End::Dies(Death::Signal(libc::SIGABRT));

/// How a task ends that does something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    /// It goes on and returns its result.
    Returns,
    /// It is refused: what encodes or decodes returns an error.
    Refuses,
    /// `TaskError::Panicked` with this message and this in its location.
    Panics(&'static str, &'static str),
    Dies(Death),
}

/// Ways to fail, by what `commit` is told.
pub const FAULTS: &[(&str, End)] = &[
    ("nothing", End::Returns),
    ("error", End::Refuses),
    ("panic", End::Panics(SAYS, "tests/matrix/faults.rs:")),
    ("payload panics", End::Panics("a panic with a payload that is no text", "matrix/faults.rs:")),
    ("panic caught", End::Returns),
    ("panic passed on from a thread", End::Panics(SAYS, "an unknown place")),
    ("panic in a thread", End::Returns),
    ("panic inside a panic", ABORTED),
    ("panic in a panic's message", ABORTED),
    ("abort", ABORTED),
    ("abort in a thread", ABORTED),
    ("no memory", ABORTED),
    ("exit(0)", End::Dies(Death::Code(0))),
    ("exit(3)", End::Dies(Death::Code(3))),
    ("_exit(0)", End::Dies(Death::Code(0))),
    ("_exit(3)", End::Dies(Death::Code(3))),
    ("bad access", End::Dies(Death::Signal(libc::SIGSEGV))),
    ("stack overflow", End::Dies(Death::Signal(libc::SIGSEGV))),
    ("truncated file", End::Dies(Death::Signal(libc::SIGBUS))),
    ("SIGSEGV", End::Dies(Death::Signal(libc::SIGSEGV))),
    ("SIGBUS", End::Dies(Death::Signal(libc::SIGBUS))),
    ("SIGILL", End::Dies(Death::Signal(libc::SIGILL))),
    ("SIGKILL", End::Dies(Death::Signal(libc::SIGKILL))),
    ("SIGTERM", End::Dies(Death::Signal(libc::SIGTERM))),
];

/// The ways that end the process, each kind once, where trying all would only take time.
pub const DEATHS: &[(&str, Death)] = &[
    ("exit(0)", Death::Code(0)),
    ("_exit(3)", Death::Code(3)),
    ("abort", Death::Signal(libc::SIGABRT)),
    ("bad access", Death::Signal(libc::SIGSEGV)),
    ("SIGKILL", Death::Signal(libc::SIGKILL)),
];

/// Refuses to go quietly.
pub struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a panic in a destructor, as this test wants");
    }
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic while a message is made, as this test wants");
    }
}

/// Fails in the way that is asked for.
pub fn commit(fault: &str) -> Result<(), &'static str> {
    leave_no_core();
    match fault {
        "nothing" => {}
        "error" => return Err("it refuses"),
        "panic" => panic!("{SAYS}"),
        "payload panics" => panic::panic_any(PanicsWhenDropped),
        "panic caught" => drop(panic::catch_unwind(|| panic!("caught"))),
        "panic passed on from a thread" => {
            // The hook hears of this one only. Its account was taken for that of the other.
            drop(panic::catch_unwind(|| panic!("caught")));
            panic::resume_unwind(in_thread(|| panic!("{SAYS}")).expect_err("it panicked"));
        }
        "panic in a thread" => drop(in_thread(|| panic!("{SAYS}")).expect_err("it panicked")),
        "panic inside a panic" => {
            let _dropped_by_the_first = PanicsWhenDropped;
            panic!("{SAYS}");
        }
        "panic in a panic's message" => panic!("{PanicsWhenShown}"),
        "abort" => abort(),
        "abort in a thread" => drop(in_thread(|| abort())),
        "no memory" => run_out_of_memory(),
        "exit(0)" => exit(0),
        "exit(3)" => exit(3),
        "_exit(0)" => leave(0),
        "_exit(3)" => leave(3),
        "bad access" => access_nothing(),
        "stack overflow" => drop(black_box(overflow(0))),
        "truncated file" => read_past_the_end(),
        "SIGSEGV" => signal(libc::SIGSEGV),
        "SIGBUS" => signal(libc::SIGBUS),
        "SIGILL" => signal(libc::SIGILL),
        "SIGKILL" => signal(libc::SIGKILL),
        "SIGTERM" => signal(libc::SIGTERM),
        other => panic!("no way to fail: {other}"),
    }
    Ok(())
}

/// As `commit`, where no error can be returned.
pub fn commit_all(fault: &str) {
    commit(fault).expect("only errors of codecs are refusals");
}

fn in_thread(f: fn()) -> thread::Result<()> {
    thread::spawn(f).join()
}

/// A core file for each row would only take time.
fn leave_no_core() {
    set_limit(libc::RLIMIT_CORE, 0);
}

fn set_limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` is a value of the type asked for, and lives through the call.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

fn run_out_of_memory() {
    set_limit(libc::RLIMIT_AS, 1 << 20);
    drop(black_box(vec![1u8; 64 << 20]));
}

fn leave(code: i32) {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

fn signal(signal: i32) {
    // SAFETY: no pointer is passed.
    assert_eq!(unsafe { libc::kill(std::process::id() as i32, signal) }, 0);
    loop {
        thread::park();
    }
}

fn access_nothing() {
    let nowhere = black_box(ptr::without_provenance_mut::<u8>(64));
    // SAFETY: none: that nothing is mapped there, and this process ends, is what is wanted.
    unsafe { nowhere.write_volatile(1) };
}

fn overflow(n: u64) -> u64 {
    let mut room = [n; 512];
    black_box(&mut room);
    if n == u64::MAX { 0 } else { overflow(n + 1) + room[0] }
}

/// Reads a page of a mapped file that the file does not have.
fn read_past_the_end() {
    // SAFETY: the name is a terminated string.
    let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    let (protection, kind) = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new mapping, wherever there is room, replaces nothing.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, kind, fd, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: none: that the file ends before the page, and this process ends, is what is wanted.
    black_box(unsafe { page.cast::<u8>().read_volatile() });
}
