//! Signals in a worker: the parent's death as a descriptor, and Ctrl-C left to the parent.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{check, process};

/// Becomes readable when the parent's spawning thread ends.
///
/// The signal is a real-time one that nobody else uses, blocked in every thread and read from a
/// descriptor: unlike SIGKILL it leaves the worker time to take the segment's name away.
#[derive(Debug)]
pub(crate) struct ParentDeath(OwnedFd);

impl ParentDeath {
    /// Arms the signal, and lets all others through, whatever the parent has blocked. Must run
    /// before the process starts threads, which inherit the mask.
    pub(crate) fn arm() -> io::Result<Self> {
        let signal = libc::SIGRTMAX() - 2;
        // SAFETY: a sigset_t is plain data, for which zero is a value.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` is writable.
        unsafe { libc::sigemptyset(&mut set) };
        // SAFETY: `set` is initialised, and the signal's number is valid.
        check(unsafe { libc::sigaddset(&mut set, signal) })?;
        // SAFETY: `set` is initialised, the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, ptr::null_mut()) } {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        // SAFETY: `set` is initialised.
        let fd = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) })?;
        // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        process::die_with_parent(signal)?;
        Ok(Self(fd))
    }
}

impl AsFd for ParentDeath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores SIGPIPE as std does, and leaves Ctrl-C and Ctrl-\ to the parent.
///
/// SIGCHLD gets its usual effect: where the parent ignores it, a task could not wait for a program
/// that it starts.
///
/// The terminal sends both to the whole process group. Workers follow the parent: if it ends, so do
/// they. The handler does nothing, and unlike an ignored signal it is not inherited by programs
/// that a task starts.
pub(crate) fn ignore_interrupts() {
    extern "C" fn nothing(_: libc::c_int) {}
    let nothing = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for (signal, handler) in [
        (libc::SIGPIPE, libc::SIG_IGN),
        (libc::SIGCHLD, libc::SIG_DFL),
        (libc::SIGINT, nothing),
        (libc::SIGQUIT, nothing),
    ] {
        // SAFETY: a sigaction is plain data, for which zero is a value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is initialised, and its handler touches nothing.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    }
}
