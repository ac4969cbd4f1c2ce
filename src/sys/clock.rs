//! A clock that all processes of the machine read alike.

/// Nanoseconds since some instant before this system's start. It never goes back.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable and of the type asked for. This clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
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
}
