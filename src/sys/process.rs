//! Processes: naming them, watching them end, ending with the parent.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{check, retry};

pub(crate) fn current_pid() -> u32 {
    std::process::id()
}

pub(crate) fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// The parent of a process. `None`: no such process, or no `/proc`.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    stat(pid, 4)?.parse().ok()
}

/// When the process started, in clock ticks since boot. `None`: no such process, or no `/proc`.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat(pid, 22)?.parse().ok()
}

/// Tells whether a process was stopped by a signal, and not continued yet. In doubt it was not.
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid, 3).as_deref() == Some("T")
}

/// A field of the process's line in proc(5), numbered as there, from 3 on.
fn stat(pid: u32, field: usize) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end.
    let (_, rest) = line.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(field - 3).map(str::to_owned)
}

/// Tells whether the process that started at `start` is dead. In doubt it is not.
///
/// A `/proc` that hides other processes (`hidepid`) hides living ones, too; signal 0 finds them.
pub(super) fn is_gone(pid: u32, start: u64) -> bool {
    match start_time(pid) {
        Some(found) => found != start,
        None => {
            let Ok(pid) = libc::pid_t::try_from(pid) else { return true };
            // SAFETY: no pointer is passed, and signal 0 is never delivered.
            let found = check(unsafe { libc::kill(pid, 0) });
            found.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
        }
    }
}

/// Checks that `/proc` can tell which program this is: workers are started from there.
pub(crate) fn check_proc() -> io::Result<()> {
    fs::metadata("/proc/self/exe").map(drop)
}

/// How a child process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Signal(i32),
    Code(i32),
    /// Somebody else reaped it, or SIGCHLD is ignored.
    Unknown,
}

/// A child process by descriptor: never another process, even when its pid is used again.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Opens a child that was not reaped yet.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = check(fd as libc::c_int)?;
        // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
        let process = Self(super::socket::above_stdio(unsafe { OwnedFd::from_raw_fd(fd) })?);
        // A worker that cannot be killed would be waited for in vain, so this is found out now.
        match process.signal(0) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(process),
        }
    }

    /// Sends SIGKILL. A process that ended already is no error.
    pub(crate) fn kill(&self) {
        let _ = self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        let fd = self.0.as_raw_fd();
        // SAFETY: a null siginfo is allowed and means the same as kill(2).
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        check(sent as libc::c_int).map(drop)
    }

    /// Reaps the process, waiting for its end.
    pub(crate) fn reap(&self) -> Exit {
        // SAFETY: all fields of siginfo_t are integers and pointers, for which zero is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.0.as_raw_fd() as libc::id_t;
        // SAFETY: `info` is writable and of the type asked for.
        let wait = || check(unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, libc::WEXITED) });
        if retry(wait).is_err() {
            return Exit::Unknown;
        }
        // SAFETY: waitid succeeded with WEXITED, so it filled the SIGCHLD fields.
        let status = unsafe { info.si_status() };
        match info.si_code {
            libc::CLD_EXITED => Exit::Code(status),
            libc::CLD_KILLED | libc::CLD_DUMPED => Exit::Signal(status),
            _ => Exit::Unknown,
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens `/dev/null` for those of stdin, stdout and stderr that are closed.
///
/// Otherwise the next descriptor opened would become one of them, and a `println!` of a task would
/// write into it. Std does this before `main`, which a worker does not reach.
pub(crate) fn sanitize_stdio() -> io::Result<()> {
    for fd in libc::STDIN_FILENO..=libc::STDERR_FILENO {
        // SAFETY: no pointer is passed.
        if check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).is_err() {
            // SAFETY: the path is a terminated string. The lowest free descriptor is `fd`.
            check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
        }
    }
    Ok(())
}

/// Takes the descriptor that was passed as stdin, and leaves `/dev/null` in its place.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::fcntl(libc::STDIN_FILENO, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let null = fs::File::open("/dev/null")?;
    // SAFETY: no pointer is passed, both descriptors are open.
    check(unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) })?;
    Ok(fd)
}

/// Names the process for `ps` and `top`, at most 15 bytes.
pub(crate) fn name_process(name: &std::ffi::CStr) {
    // SAFETY: `name` is a terminated string, of which the kernel copies at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Asks for `signal` when the parent's thread that spawned this process ends.
pub(crate) fn die_with_parent(signal: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(drop)
}

/// Ends the process at once: no destructors, no `atexit`, no flushing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}
