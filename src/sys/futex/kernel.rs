//! The system call.

use std::io;
use std::time::Duration;

use super::Word;

/// Sleeps while the word has the expected value, at most `timeout`. Returns early for any reason.
///
/// The caller looks at its condition again after every return: a wake-up, a changed word, a signal
/// and the end of the time are not told apart. One system call.
pub(crate) fn futex_wait<'w>(word: impl Into<Word<'w>>, expected: u32, timeout: Option<Duration>) {
    let word = word.into();
    // Miri refuses to read half of a word that others access as a whole, as the kernel does.
    #[cfg(miri)]
    if let Word::LowHalf(word) = word {
        if word.load(crate::sync::Ordering::SeqCst) as u32 == expected {
            std::thread::yield_now();
        }
        return;
    }
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is a live, aligned atomic for the whole call, and `timeout` is null or points
    // to a timespec on this frame. FUTEX_WAIT only reads both.
    unsafe {
        libc::syscall(libc::SYS_futex, word.address(), libc::FUTEX_WAIT, expected, timeout);
    }
}

/// Wakes at most `count` sleepers of the word, in any process. Returns how many. One system call.
pub(crate) fn futex_wake<'w>(word: impl Into<Word<'w>>, count: u32) -> u32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let address = word.into().address();
    // SAFETY: FUTEX_WAKE does not touch the memory, it uses the address as a key.
    let woken = unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE, count) };
    debug_assert!(woken >= 0, "futex wake: {}", io::Error::last_os_error());
    u32::try_from(woken).unwrap_or(0)
}
