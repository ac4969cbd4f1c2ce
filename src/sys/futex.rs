//! Shared futexes: sleep on a word of shared memory, wake those who do.

use std::io;
use std::time::Duration;

use crate::sync::AtomicU32;

/// Sleeps while `*word == expected`, at most `timeout`. Returns early for any reason.
///
/// The caller looks at its condition again after every return: a wake-up, a changed word, a signal
/// and the end of the time are not told apart. One system call.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is a live, aligned 32-bit atomic for the whole call, and `timeout` is null or
    // points to a timespec on this frame. FUTEX_WAIT only reads both.
    unsafe {
        libc::syscall(libc::SYS_futex, address(word), libc::FUTEX_WAIT, expected, timeout);
    }
}

/// Wakes at most `count` sleepers of `word`, in any process. Returns how many. One system call.
pub(crate) fn futex_wake(word: &AtomicU32, count: u32) -> u32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: FUTEX_WAKE does not touch the memory, it uses the address as a key.
    let woken = unsafe { libc::syscall(libc::SYS_futex, address(word), libc::FUTEX_WAKE, count) };
    debug_assert!(woken >= 0, "futex wake: {}", io::Error::last_os_error());
    u32::try_from(woken).unwrap_or(0)
}

fn address(word: &AtomicU32) -> *const u32 {
    std::ptr::from_ref(word).cast()
}
