//! On which core somebody fell asleep: there the kernel mostly wakes him, too.

use crate::sync::{AtomicU32, Ordering};
use crate::sys::present_core;

/// In place of a core: somebody asks for it.
const ASKED: u32 = u32::MAX;

/// The core on which somebody last fell asleep when he was asked. A hint.
///
/// Who is not asked does not look, since a look leads into the C library, and after a pause each
/// page of code counts.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct AsleepOn(AtomicU32);

impl AsleepOn {
    /// Who is about to fall asleep: says where, if that was asked.
    pub(crate) fn tell(&self) {
        if self.0.load(Ordering::Relaxed) == ASKED {
            self.0.store(present_core(), Ordering::Relaxed);
        }
    }

    /// Tells whether that was on the core of who asks, as far as is known, and asks for the next
    /// time.
    pub(crate) fn is_here(&self) -> Option<bool> {
        let core = self.0.load(Ordering::Relaxed);
        self.0.store(ASKED, Ordering::Relaxed);
        (core != ASKED).then(|| core == present_core())
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;
    use crate::sys::keep_to;

    #[test]
    fn who_falls_asleep_says_where_if_he_is_asked_and_once() {
        let here = present_core();
        keep_to(&[here as usize]).expect("a thread may stay where it is");
        let elsewhere = AsleepOn(AtomicU32::new(here + 1));
        elsewhere.tell();
        assert_eq!(elsewhere.is_here(), Some(false), "nobody had asked");
        assert_eq!(elsewhere.is_here(), None, "nobody has fallen asleep since");
        elsewhere.tell();
        assert_eq!(elsewhere.is_here(), Some(true));
    }
}
