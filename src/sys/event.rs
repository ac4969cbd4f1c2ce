//! An event counter in a descriptor, and waiting on several descriptors at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::{check, retry};

/// An `eventfd`: rung by anyone who holds it, heard by `poll`.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
        Ok(Self(super::socket::above_stdio(unsafe { OwnedFd::from_raw_fd(fd) })?))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Makes the descriptor readable. A counter at its limit is rung already, so nothing is lost.
    pub(crate) fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is eight readable bytes, as eventfd asks.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes the descriptor unreadable until it is rung again.
    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: `count` is eight writable bytes, as eventfd asks.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor to wait for, and whether it became readable (or its other end went away).
#[derive(Debug)]
pub(crate) struct Interest<'fd> {
    pub(crate) fd: BorrowedFd<'fd>,
    pub(crate) ready: bool,
}

impl<'fd> Interest<'fd> {
    pub(crate) fn new(fd: BorrowedFd<'fd>) -> Self {
        Self { fd, ready: false }
    }
}

/// Looks at one descriptor after the other, and waits a little at the first.
///
/// `poll` refuses more descriptors than `RLIMIT_NOFILE`, which may have been lowered since they
/// were opened.
fn look_at_each(entries: &mut [libc::pollfd]) -> io::Result<()> {
    const PAUSE_MS: libc::c_int = 10;
    let mut timeout = PAUSE_MS;
    for entry in entries {
        // SAFETY: `entry` is one entry and lives through the call.
        retry(|| check(unsafe { libc::poll(entry, 1, timeout) }))?;
        timeout = 0;
    }
    Ok(())
}

/// Waits until one of `interests` is ready or `timeout` has passed.
pub(crate) fn poll(interests: &mut [Interest<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let mut entries: Vec<libc::pollfd> = interests
        .iter()
        .map(|i| libc::pollfd { fd: i.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // Rounded up: a wait that ends too early would be repeated without sleeping.
    let timeout = timeout
        .map_or(-1, |t| t.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX));
    let count = entries.len() as libc::nfds_t;
    // SAFETY: `entries` holds `count` entries and lives through the call.
    let polled = retry(|| check(unsafe { libc::poll(entries.as_mut_ptr(), count, timeout) }));
    match polled {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => look_at_each(&mut entries)?,
        other => drop(other?),
    }
    for (interest, entry) in interests.iter_mut().zip(&entries) {
        interest.ready = entry.revents != 0;
    }
    Ok(())
}
