//! The supervisor's bell: rung by a worker or by the parent when there is something to look at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::layout::Control;
use crate::sync::Arc;
use crate::sys::EventFd;

/// A descriptor that the supervisor waits for, and the mark that spares needless rings.
#[derive(Debug)]
pub(crate) struct Bell {
    fd: EventFd,
    control: Arc<Control>,
}

impl Bell {
    pub(crate) fn new(control: Arc<Control>) -> io::Result<Self> {
        Ok(Self { fd: EventFd::new()?, control })
    }

    /// The same bell in another process.
    pub(crate) fn from_fd(fd: EventFd, control: Arc<Control>) -> Self {
        Self { fd, control }
    }

    /// Makes the supervisor look. A system call, unless it was rung and has not looked yet.
    pub(crate) fn ring(&self) {
        if self.control.gate().must_ring() {
            step!(both "bell.mark");
            self.fd.ring();
            step!(both "bell.rung");
        }
    }

    /// Rings whatever the mark says. A worker may die between setting the mark and ringing, so
    /// whoever looks after deaths does not rely on it.
    pub(crate) fn ring_anyway(&self) {
        self.fd.ring();
    }

    /// Takes the ring away, before looking: what comes later rings again.
    pub(crate) fn heard(&self) {
        self.fd.clear();
        step!(parent "bell.cleared");
        self.control.gate().heard();
        step!(parent "bell.heard");
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
