//! How often to try what may be in vain.

/// After this many tries in a row that were in vain, only one in 2^n is made.
const VAIN_MOST: u32 = 4;

/// What came of the latest tries.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tries {
    /// How many in a row were in vain.
    pub(crate) vain: u32,
    /// How many were left out since the latest.
    pub(crate) left_out: u32,
}

impl Tries {
    /// Tells whether to try now. Asked before each try.
    pub(crate) fn pays(&mut self) -> bool {
        let left_out = self.left_out.saturating_add(1);
        let pays = left_out >> self.vain.min(VAIN_MOST) != 0;
        self.left_out = if pays { 0 } else { left_out };
        pays
    }

    /// One was made.
    pub(crate) fn note(&mut self, in_vain: bool) {
        self.vain = if in_vain { self.vain.saturating_add(1) } else { 0 };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_vain_is_tried_less_often_until_it_is_not() {
        let mut tries = Tries::default();
        let mut made = |in_vain| {
            let pays = tries.pays();
            if pays {
                tries.note(in_vain);
            }
            pays
        };
        assert!((0..100).all(|_| made(false)));
        let tried: Vec<usize> = (0..100).filter(|_| made(true)).collect();
        assert_eq!(tried, [0, 2, 6, 14, 30, 46, 62, 78, 94]);
        assert!((0..16).any(|_| made(false)));
        assert!((0..100).all(|_| made(false)));
    }

    #[test]
    fn any_numbers_will_do() {
        let mut tries = Tries { vain: u32::MAX, left_out: u32::MAX };
        tries.note(true);
        assert!(tries.pays());
        assert_eq!(tries.left_out, 0);
    }
}
