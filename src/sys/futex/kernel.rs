//! The system call.

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
        futex(word.address(), libc::FUTEX_WAIT, expected, timeout);
    }
}

/// Wakes at most `count` sleepers of the word, in any process. Returns how many. One system call.
pub(crate) fn futex_wake<'w>(word: impl Into<Word<'w>>, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    let address = word.into().address();
    // SAFETY: FUTEX_WAKE does not touch the memory, it uses the address as a key.
    let woken = unsafe { futex(address, libc::FUTEX_WAKE, count, std::ptr::null()) };
    debug_assert!(woken >= 0, "futex wake: {woken}");
    u32::try_from(woken).unwrap_or(0)
}

/// The system call, where it is needed: the C library's way to it is a page of code more, which is
/// cold after a pause. Negative: an error.
///
/// # Safety
///
/// As `operation` wants: for `FUTEX_WAIT` the word is live and aligned, and `timeout` null or a
/// time that can be read.
#[inline]
unsafe fn futex(
    word: *const u32,
    operation: libc::c_int,
    value: u32,
    timeout: *const libc::timespec,
) -> isize {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let result;
        // SAFETY: the kernel takes the number and the arguments in these registers, leaves all
        // others as they were but for those that are named, and does as the caller says.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_futex as isize => result,
                in("rdi") word,
                in("rsi") operation,
                in("rdx") value,
                in("r10") timeout,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: as the caller says.
    unsafe {
        libc::syscall(libc::SYS_futex, word, operation, value, timeout) as isize
    }
}
