//! A clock that all processes of the machine read alike.

/// Nanoseconds since some instant before this system's start. It never goes back.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable and of the type asked for. This clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// About how many [`ticks`] there are in a microsecond.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) const TICKS_A_US: u64 = 3000;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) const TICKS_A_US: u64 = 1000;

/// Reads the processor's own clock: for guesses that may be wrong by a factor of three.
///
/// A look at the real clock calls the C library, which calls the kernel's code in this process,
/// which reads the kernel's memory: half a microsecond for who has just been woken, and one
/// instruction here. How fast it runs depends on the processor, and it may go back.
#[inline]
pub(crate) fn ticks() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 has the instruction, and Linux lets a process use it that has not asked
    // for the contrary (PR_SET_TSC).
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    now_ns()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on() {
        let (start, instant) = (now_ns(), std::time::Instant::now());
        while instant.elapsed().as_micros() < 100 {}
        assert!(now_ns() - start >= 100_000);
    }

    #[test]
    fn ticks_tell_a_microsecond_from_ten() {
        let measure = || {
            let (start, instant) = (ticks(), std::time::Instant::now());
            while instant.elapsed().as_millis() < 2 {}
            (ticks().saturating_sub(start), instant.elapsed())
        };
        // The thread may be stopped between two looks at the clocks.
        let is_right = |(ticks, time): (u64, std::time::Duration)| {
            let wanted = time.as_micros() as u64 * TICKS_A_US;
            (wanted / 4..=wanted * 4).contains(&ticks)
        };
        assert!((0..1000).any(|_| is_right(measure())));
    }
}
