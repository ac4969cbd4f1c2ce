//! Where the operating system ends: every system call of the crate, as `io::Result`s.
//!
//! The only user of `libc`. Descriptors are `OwnedFd`s from their first instant.

mod affinity;
mod birthplace;
mod clock;
mod event;
mod futex;
mod huge;
mod image;
mod limits;
mod memory;
mod non_temporal;
mod prefetch;
mod process;
mod remedy;
mod signal;
mod socket;
#[cfg(feature = "kill-points")]
mod step;

pub(crate) use affinity::{KeptOff, allowed_cores, keep_off, keep_to, leave_core, present_core};
pub(crate) use birthplace::Birthplace;
pub(crate) use clock::{TICKS_A_US, now_ns, ticks};
pub(crate) use event::{EventFd, Interest, poll};
#[cfg(all(test, loom))]
pub(crate) use futex::kill_sleepers;
pub(crate) use futex::{Word, futex_wait, futex_wake};
pub(crate) use huge::{HUGE_BYTES, collapse, is_aligned, populate};
pub(crate) use image::Image;
pub(crate) use limits::{
    OwnMemory, available_memory, check_space, has_room_for, reservation_limit,
};
pub(crate) use memory::{
    Segment, SegmentName, anonymous, memfd, owner_is_gone, page_size, punch, reopen_read_only,
    reserve, unlink,
};
pub(crate) use non_temporal::copy_non_temporal;
pub(crate) use prefetch::{prefetch, prefetch_at};
pub(crate) use process::{
    Exit, PidFd, check_proc, current_pid, exit_now, is_stopped, name_process, parent_of,
    parent_pid, sanitize_stdio, take_stdin,
};
pub(crate) use remedy::{explain, limits_in_force, remedy, segment_remedy};
pub(crate) use signal::{ParentDeath, ignore_interrupts};
pub(crate) use socket::{Socket, peer_of_stdin, stdin_is_a_line};
#[cfg(feature = "kill-points")]
pub(crate) use step::at_step;

use std::io;

/// Turns the `-1` of a system call into its `errno`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Repeats a system call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
