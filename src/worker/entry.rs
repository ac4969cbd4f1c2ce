//! The way in: before `main` looks at anything, a worker goes its own way.
//!
//! The loader runs the functions in `.init_array` before `main`. Ours looks for the worker's token
//! in the environment; where there is none it costs one look-up.

use std::ffi::{OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use super::serve;
use crate::memory;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, SegmentName};

/// Marks a process as a worker: `early:<pid of the parent>:<name of the segment>`, or `main:...`.
pub(crate) const WORKER_VARIABLE: &str = "WHARF_WORKER";
/// How deep executors are nested: 0 outside, 1 inside a task of the outermost.
pub(crate) const DEPTH_VARIABLE: &str = "WHARF_DEPTH";

type InitFunction = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// What the loader calls. The code that starts workers refers to it, so that no linker drops it.
#[used]
#[cfg_attr(not(any(miri, loom)), unsafe(link_section = ".init_array"))]
pub(crate) static ENTRY: InitFunction = enter;

/// The program has called `init`, and so will its workers.
static INIT_CALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn enter(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    if let Some((When::Early, origin)) = token() {
        serve::run(&origin);
    }
}

/// Makes this program's workers start in `main` instead of before it. Call it first thing there.
///
/// Only needed by a program that wants no code of a library to run before `main`, or whose workers
/// need what other libraries set up before `main`. In the parent it returns at once; in a worker it
/// does not return.
///
/// ```no_run
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     wharf::init();
///     let executor = wharf::Executor::new()?;
///     assert_eq!(executor.submit(|x: f64| x.sqrt(), (4.0,))?.join()?, 2.0);
///     Ok(())
/// }
/// ```
pub fn init() {
    if let Some((When::Main, origin)) = token() {
        serve::run(&origin);
    }
    INIT_CALLED.store(true, Ordering::Release);
}

/// Tells whether workers are to wait for the program's call of `init`.
fn waits_for_init() -> bool {
    INIT_CALLED.load(Ordering::Acquire)
}

/// How deep this thread is nested: in tasks of this process, or as this process is.
pub(crate) fn depth() -> u32 {
    if let Some(nesting) = memory::nesting() {
        return nesting.depth;
    }
    std::env::var(DEPTH_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The token for a worker of this process.
pub(crate) fn worker_token(segment: &SegmentName) -> String {
    let when = if waits_for_init() { "main" } else { "early" };
    format!("{when}:{}:{}", sys::current_pid(), segment.as_str())
}

enum When {
    Early,
    Main,
}

/// Where a worker comes from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) parent: u32,
    segment: SegmentName,
}

impl Origin {
    /// Ends a worker whose parent is gone. Takes the segment's name away: nobody else may be left.
    pub(super) fn leave(&self) -> ! {
        let _ = sys::unlink(&self.segment);
        sys::exit_now(serve::EXIT_ORPHAN)
    }

    /// Tells whether this process is a worker whose parent has died since.
    ///
    /// It has the parent's socket for its standard input. So may a program have that a worker
    /// started before it called `init`; but the parent of that is a worker.
    fn is_orphan(&self) -> bool {
        sys::peer_of_stdin() == Some(self.parent)
            && sys::parent_of(sys::parent_pid()) != Some(self.parent)
    }
}

/// What makes this process a worker. A worker that is an orphan already ends here: it must not
/// become a second run of the program.
fn token() -> Option<(When, Origin)> {
    let token = std::env::var_os(WORKER_VARIABLE)?;
    let (when, origin) = split(&token)?;
    if sys::parent_pid() == origin.parent {
        // Or set by somebody who is no executor: then no socket lies where a worker has its own.
        return sys::stdin_is_a_line().then_some((when, origin));
    }
    if origin.is_orphan() {
        origin.leave();
    }
    // Inherited by a program that a worker started, and stale: its parent is somebody else.
    None
}

fn split(token: &OsStr) -> Option<(When, Origin)> {
    let token = str::from_utf8(token.as_bytes()).ok()?;
    let mut parts = token.splitn(3, ':');
    let when = match parts.next()? {
        "early" => When::Early,
        "main" => When::Main,
        _ => return None,
    };
    let parent = parts.next()?.parse().ok()?;
    Some((when, Origin { parent, segment: SegmentName::from_text(parts.next()?) }))
}
