//! How long to let short tasks end that are joined one after the other.

use crate::sys::TICKS_A_US;

/// Tasks of which one ends in less than this, in ticks, are short.
const SHORT_TICKS: u64 = TICKS_A_US;
/// The longest pause.
const MOST_TICKS: u64 = 20 * TICKS_A_US;
/// Who has submitted fewer tasks after the one that it joins keeps the workers waiting.
const BEHIND_LEAST: u64 = 8;
/// A pause takes as long as this part of those tasks.
const SHARE: u64 = 4;

/// When and where a caller last waited for a task, by the processor's clock and by slots, which are
/// handed out in turn: so it tells how fast tasks end without a look at anything that a worker
/// touches.
///
/// A caller that joins short tasks in turn, and is faster than the workers, has come to the very
/// task that runs each time. Its looks there take the slot's line from the worker, and so does what
/// it reads ahead. So it waits until several have ended.
#[derive(Debug, Default)]
pub(super) struct Gather {
    at: u64,
    index: u32,
}

impl Gather {
    /// In how many ticks the next look at the task in slot `index` of `slots` is worth while; 0:
    /// now. `behind` tasks were submitted after it.
    pub(super) fn pause(&mut self, now: u64, index: u32, slots: u32, behind: u64) -> u64 {
        let ticks = now.saturating_sub(self.at);
        let joined = match index.checked_sub(self.index) {
            Some(joined) => joined,
            None => (index + slots).saturating_sub(self.index),
        };
        *self = Self { at: now, index };
        match ticks.checked_div(joined.into()) {
            Some(pace) if pace < SHORT_TICKS && behind >= BEHIND_LEAST => {
                (pace * behind / SHARE).min(MOST_TICKS)
            }
            _ => 0,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const HALF: u64 = TICKS_A_US / 2;
    const LATER: u64 = 1000 * TICKS_A_US;

    #[test]
    fn who_joins_short_tasks_in_turn_lets_a_part_of_those_behind_them_end() {
        for (from, to, ticks, behind, pause) in [
            (0, 10, 10 * HALF, 20, 5 * HALF),
            (0, 10, 10 * HALF, 1000, MOST_TICKS),
            (0, 10, 10 * HALF, 8, 2 * HALF),
            // The workers would soon have nothing to do.
            (0, 10, 10 * HALF, 7, 0),
            // Each of these is worth a look of its own.
            (0, 10, 10 * SHORT_TICKS, 1000, 0),
            (0, 1, HALF, 100, 25 * HALF),
            // Round the table.
            (90, 10, 20 * HALF, 20, 5 * HALF),
            // The same task once more, and what no table has.
            (10, 10, HALF, 100, 0),
            (u32::MAX - 1, 0, HALF, 100, 0),
        ] {
            let mut gather = Gather { at: LATER, index: from };
            assert_eq!(gather.pause(LATER + ticks, to, 100, behind), pause, "{from} {to} {ticks}");
            assert_eq!(gather.pause(LATER, to, 100, behind), 0, "the clock went back");
        }
        assert_eq!(Gather::default().pause(LATER, 3, 100, 50), 0, "nothing was joined before");
    }
}
