//! On which core somebody is who sleeps, or is in a call: there the kernel mostly lets him go on.

use crate::sync::{AtomicU32, Ordering};
use crate::sys::present_core;

/// In place of a core and one more: somebody asks for it, from the beginning on.
const ASKED: u32 = 0;

/// The core on which somebody was when he fell asleep, or called. A hint.
///
/// Says so once for each time that it is asked. Who is not asked does not look, since a look leads
/// into the C library, and after a pause each page of code counts.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(crate) struct Whereabouts(AtomicU32);

impl Whereabouts {
    /// Who falls asleep, or calls: says where, if that was asked.
    pub(crate) fn tell(&self) {
        if self.0.load(Ordering::Relaxed) == ASKED {
            self.0.store(present_core().wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Tells whether that was on the core of who asks, if it is known, and asks for the next time.
    pub(crate) fn is_here(&self) -> Option<bool> {
        let told = self.0.load(Ordering::Relaxed);
        self.0.store(ASKED, Ordering::Relaxed);
        (told != ASKED).then(|| told == present_core().wrapping_add(1))
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::sys::{allowed_cores, keep_to};

    #[test]
    fn who_falls_asleep_says_where_if_he_is_asked_and_once() {
        let on_one_core = |body: fn()| {
            let keep = || keep_to(&allowed_cores().expect("there are some")[..1]);
            let kept = move || keep().map(|()| body());
            thread::spawn(kept).join().expect("it ends well").expect("it is allowed");
        };
        on_one_core(|| {
            let place = Whereabouts::default();
            assert_eq!(place.is_here(), None, "nobody has said so yet");
            place.tell();
            assert_eq!(place.is_here(), Some(true));
            assert_eq!(place.is_here(), None, "nobody has fallen asleep since");
            let elsewhere = Whereabouts(AtomicU32::new(present_core() + 2));
            elsewhere.tell();
            assert_eq!(elsewhere.is_here(), Some(false), "nobody had asked");
        });
    }
}
