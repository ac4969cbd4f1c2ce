//! Copying into a block, and calling a worker shortly before the end: what is copied is often for a
//! task that comes at once.

use super::crew::Crew;
use crate::control::Control;
use crate::sync::Arc;

/// What is left of a copy when a worker is called. One thread copies it in 50 to 100 us, and a
/// worker takes as long to wake up on another core.
const LAST_BYTES: usize = 1 << 20;
/// Shorter copies are over before a worker comes, and one that was awake may still be so.
pub(super) const CALLED_BYTES_MIN: usize = 4 << 20;
/// Parts begin where pages do.
const PAGE_BYTES: usize = 4096;

/// Who copies into a block.
#[derive(Debug, Clone)]
pub(crate) struct Copier {
    crew: Crew,
    /// Where to call a worker ahead.
    ahead: Option<Arc<Control>>,
}

impl Copier {
    /// The calling thread, which calls nobody.
    pub(crate) const ALONE: Self = Self { crew: Crew::ALONE, ahead: None };

    pub(super) fn new(crew: Crew, ahead: Option<Arc<Control>>) -> Self {
        Self { crew, ahead }
    }

    /// Copies `source` into `target`, which is as long.
    ///
    /// If that `is_last`, and long, a worker is called while the calling thread copies the end
    /// alone: then a core is free for who is called.
    pub(crate) fn copy(&self, source: &[u8], target: &mut [u8], is_last: bool) {
        let threads = self.crew.threads_for(source.len());
        let copy = |source: &[u8], target: &mut [u8]| {
            Crew::fill_by(threads, target, 1, |at, part| {
                part.copy_from_slice(&source[at..at + part.len()]);
            });
        };
        let is_long = source.len() >= CALLED_BYTES_MIN;
        let pays = |ahead: &&Control| is_last && is_long && ahead.wake().pays_to_call();
        let Some(ahead) = self.ahead.as_deref().filter(pays) else {
            return copy(source, target);
        };
        let at = source.len().saturating_sub(LAST_BYTES) / PAGE_BYTES * PAGE_BYTES;
        let (head, last) = target.split_at_mut(at);
        copy(&source[..at], head);
        ahead.wake().call_ahead();
        last.copy_from_slice(&source[at..]);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_by_any_number_of_threads_and_whoever_is_called() {
        let control = Arc::new(Control::on_heap(1, 2));
        for len in [0, 1, CALLED_BYTES_MIN, (12 << 20) + 5] {
            let source: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            for threads in 1..=4 {
                for ahead in [None, Some(&control)] {
                    let copier = Copier::new(Crew::on(threads), ahead.cloned());
                    for is_last in [false, true] {
                        let mut target = vec![0; len];
                        copier.copy(&source, &mut target, is_last);
                        assert!(target == source, "{len} by {threads} {ahead:?} {is_last}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_worker_is_called_during_the_last_copy_if_that_is_long() {
        let control = Arc::new(Control::on_heap(1, 1));
        let copier = Copier::new(Crew::ALONE, Some(Arc::clone(&control)));
        let wake = control.wake();
        let (source, mut target) = (vec![1; CALLED_BYTES_MIN], vec![0; CALLED_BYTES_MIN]);
        wake.sleep(0, None, || {
            copier.copy(&source, &mut target, false);
            assert_eq!(wake.awake(1), 0, "more is to come");
            copier.copy(&source[1..], &mut target[1..], true);
            assert_eq!(wake.awake(1), 0, "it is soon over");
            copier.copy(&source, &mut target, true);
            assert_eq!(wake.awake(1), 1);
            false
        });
    }
}
