//! Processes by descriptors, which never come to mean another process.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::DEADLINE;

/// A process, child of this one or not, watched from before its end.
pub struct Watched {
    pidfd: OwnedFd,
    pid: u32,
}

impl Watched {
    pub fn open(pid: u32) -> Option<Self> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
        (fd >= 0).then(|| Self { pidfd: unsafe { OwnedFd::from_raw_fd(fd as i32) }, pid })
    }

    pub fn wait_for_end(&self) {
        assert!(self.ends_within(DEADLINE), "the process ends in time");
    }

    pub fn ends_within(&self, time: Duration) -> bool {
        is_ready(self.pidfd.as_fd(), time)
    }

    /// Kills the process if `parent` is its parent and it has not ended yet. True: it was killed.
    ///
    /// As long as it has not ended its number is its own, so what is read of it is true of it.
    pub fn kill_child_of(&self, parent: u32) -> bool {
        let is_child = parent_of(self.pid) == Some(parent);
        if !is_child || is_ready(self.pidfd.as_fd(), Duration::ZERO) {
            return false;
        }
        let (call, fd) = (libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd());
        // SAFETY: the pointer may be null, which asks for the signal without details.
        unsafe { libc::syscall(call, fd, libc::SIGKILL, std::ptr::null::<u8>(), 0) == 0 }
    }
}

/// Waits until something can be read, or a process has ended.
pub fn is_ready(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: `entry` is one entry, it and `timeout` live through the call, no mask is given.
    unsafe { libc::ppoll(&mut entry, 1, &timeout, std::ptr::null()) == 1 }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything: the state, the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The processes that `parent` has started and not yet waited for.
pub fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    pids.filter(|&pid| parent_of(pid) == Some(parent)).collect()
}
