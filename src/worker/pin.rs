//! Cores of a worker's own.

use std::ops::Range;

use crate::control::Hello;
use crate::sys;

/// Keeps this thread, and all that it starts, on this worker's share of the cores, if that is
/// wanted. The error is what went wrong, in words.
pub(super) fn pin(seat: u64, pinned_among: u64) -> Result<(), String> {
    if pinned_among == 0 {
        return Ok(());
    }
    let pinned = sys::allowed_cores().and_then(|cores| {
        sys::keep_to(&cores[share_of(seat as usize, pinned_among as usize, cores.len())])
    });
    pinned.map_err(|error| format!("keeping to its cores: {}", sys::explain(&error)))
}

/// As [`pin`], as the greeting says.
pub(super) fn pin_as(hello: &Hello) -> Result<(), String> {
    pin(hello.seat, hello.pinned_among)
}

/// Which of so many cores belong to one of so many workers: as many to each, side by side. Where
/// there are more workers than cores, one each, in turns.
fn share_of(seat: usize, workers: usize, cores: usize) -> Range<usize> {
    let each = (cores / workers).max(1);
    let start = (seat * each) % cores.max(1);
    start..(start + each).min(cores)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_as_many_cores_as_the_others_and_none_of_theirs_while_there_are_enough() {
        for (workers, cores, expected) in [
            (2, 2, [0..1, 1..2, 0..1]),
            (2, 8, [0..4, 4..8, 0..4]),
            (3, 8, [0..2, 2..4, 4..6]),
            (3, 2, [0..1, 1..2, 0..1]),
            (3, 1, [0..1, 0..1, 0..1]),
            (1, 5, [0..5, 0..5, 0..5]),
            // What no system says.
            (3, 0, [0..0, 0..0, 0..0]),
        ] {
            let shares = [0, 1, 2].map(|seat| share_of(seat, workers, cores));
            assert_eq!(shares, expected, "{workers} workers, {cores} cores");
        }
    }
}
