//! Copying into a block, and calling a worker shortly before the end: what is copied is often for a
//! task that comes at once.

use super::crew::{Crew, Parting};
use crate::control::{Control, Turn};
use crate::sync::{Arc, AtomicU32, Mutex, Ordering, lock};
use crate::sys::{copy_non_temporal, present_core};

/// What is left of a copy by one thread when a worker is called.
const LAST_BYTES: usize = 1 << 20;
/// During shorter copies a worker that was awake mostly stays so.
pub(super) const CALLED_BYTES_MIN: usize = 1 << 20;
/// From here on several threads copy, and past the caches: those of a few cores hold less.
const LARGE_BYTES: usize = 32 << 20;
/// What one of several threads copies at a time.
const PIECE_BYTES: usize = 512 << 10;
/// So many pieces are left to the calling thread alone, besides the one that it is at: meanwhile a
/// worker comes. A piece takes 20 to 45 µs.
const LAST_PIECES: usize = 3;

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
    /// If that `is_last`, and long, a worker is called before the end for what comes next.
    pub(crate) fn copy(&self, source: &[u8], target: &mut [u8], is_last: bool) {
        assert_eq!(source.len(), target.len());
        let asks = is_last && source.len() >= CALLED_BYTES_MIN;
        let ahead = self.ahead.as_ref().filter(|_| asks);
        let turn = ahead.map(|ahead| ahead.wake().begin_copy(ahead.ring().pushed()));
        if source.len() >= LARGE_BYTES && self.crew.has_others() {
            let called = ahead.filter(|_| turn == Some(Turn::Now));
            copy_together(&self.crew, called, source, target);
        } else {
            copy_alone(ahead.zip(turn), source, target);
        }
        if let (Some(ahead), Some(Turn::Later | Turn::Never)) = (ahead, turn) {
            ahead.wake().note_left_out();
        }
    }
}

fn copy_alone(ahead: Option<(&Arc<Control>, Turn)>, source: &[u8], target: &mut [u8]) {
    let at = if ahead.is_some() { source.len() - LAST_BYTES } else { source.len() };
    let ((head, last), (new_head, new_last)) = (source.split_at(at), target.split_at_mut(at));
    let is_large = source.len() >= LARGE_BYTES;
    let copy = |source: &[u8], target: &mut [u8]| match is_large {
        true => copy_non_temporal(source, target),
        false => target.copy_from_slice(source),
    };
    copy(head, new_head);
    if let Some((ahead, turn)) = ahead {
        match turn {
            Turn::Now => ahead.wake().call_ahead(present_core()),
            Turn::Later => ahead.wake().keep_awake(present_core()),
            Turn::Never => {}
        }
        copy(last, new_last);
    }
}

/// Copies by several threads, past the caches.
///
/// The first one besides the calling thread that finds nothing more to do calls the worker: then
/// that comes to its core, which it leaves, and no other is woken for it. If none has come in time,
/// the calling thread calls at the end.
fn copy_together(crew: &Crew, ahead: Option<&Arc<Control>>, source: &[u8], target: &mut [u8]) {
    let pieces = Mutex::new(source.chunks(PIECE_BYTES).zip(target.chunks_mut(PIECE_BYTES)));
    let next = |left: usize| {
        let mut pieces = lock(&pieces);
        (pieces.len() > left).then(|| pieces.next()).flatten()
    };
    let core = Arc::new(AtomicU32::new(present_core()));
    let own = || {
        while let Some((source, target)) = next(0) {
            core.store(present_core(), Ordering::Relaxed);
            copy_non_temporal(source, target);
        }
    };
    let help = || {
        while let Some((source, target)) = next(LAST_PIECES) {
            copy_non_temporal(source, target);
        }
    };
    let call = |ahead: &Arc<Control>| -> Parting {
        let (ahead, core) = (Arc::clone(ahead), Arc::clone(&core));
        Box::new(move || ahead.wake().call_ahead(core.load(Ordering::Relaxed)))
    };
    crew.run(usize::MAX, own, &help, ahead.map(call));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_by_any_number_of_threads_and_whoever_is_called() {
        let lens = [0, 1, CALLED_BYTES_MIN, (12 << 20) + 5, LARGE_BYTES, LARGE_BYTES + 5];
        for len in lens.into_iter().filter(|len| !cfg!(miri) || *len < LARGE_BYTES) {
            let source: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            for threads in 1..=4 {
                let crew = Crew::on(threads);
                for calls in [false, true] {
                    for is_last in [false, true] {
                        // A new one each time, which calls for its first copy.
                        let ahead = calls.then(|| Arc::new(Control::on_heap(1, 2)));
                        let copier = Copier::new(crew.clone(), ahead);
                        let mut target = vec![0; len];
                        copier.copy(&source, &mut target, is_last);
                        assert!(target == source, "{len} by {threads} {calls} {is_last}");
                    }
                }
                crew.dismiss();
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

    /// A copy without a call after which a task has to wake a worker teaches when to call next. The
    /// task may come too late for that: another one may have this core for a while.
    #[test]
    fn a_worker_is_called_for_the_second_of_two_copies_if_a_task_came_after_two() {
        let is_learned = |_: usize| {
            let control = Arc::new(Control::on_heap(4, 1));
            let copier = Copier::new(Crew::ALONE, Some(Arc::clone(&control)));
            let (source, mut target) = (vec![1; CALLED_BYTES_MIN], vec![0; CALLED_BYTES_MIN]);
            let wake = control.wake();
            copier.copy(&source, &mut target, true);
            wake.was_called(true);
            copier.copy(&source, &mut target, true);
            wake.sleep(0, None, || {
                control.ring().push(0).expect("there is room");
                wake.notify_of(Some(0), || false);
                true
            });
            let mut calls = || {
                wake.sleep(0, None, || {
                    copier.copy(&source, &mut target, true);
                    true
                });
                wake.has_come(0)
            };
            let called = [calls(), calls()];
            // Of the next two the first keeps one awake that searches.
            wake.was_called(false);
            control.ring().push(1).expect("there is room");
            assert!(!wake.has_called() && wake.search(0, 1));
            copier.copy(&source, &mut target, true);
            wake.found(0);
            called == [false, true] && wake.has_called()
        };
        assert!((0..100).any(is_learned));
    }

    #[test]
    #[cfg_attr(miri, ignore = "copies a lot")]
    fn a_worker_is_called_once_for_a_copy_by_several_threads() {
        let control = Arc::new(Control::on_heap(1, 2));
        let crew = Crew::on(2);
        let copier = Copier::new(crew.clone(), Some(Arc::clone(&control)));
        let (source, mut target) = (vec![1; LARGE_BYTES], vec![0; LARGE_BYTES]);
        let wake = control.wake();
        wake.sleep(0, None, || {
            wake.sleep(1, None, || {
                copier.copy(&source, &mut target, true);
                // Perhaps by a thread that has helped, when the copy was done.
                crew.dismiss();
                assert_eq!(wake.awake(2), 1);
                true
            });
            false
        });
    }
}
