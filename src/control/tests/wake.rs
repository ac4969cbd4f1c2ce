//! Sleeping and waking: the gate, the bell, the workers' beds, and what is released.

use std::thread;

use super::super::Control;
use super::super::gate::Gate;
use super::super::release::{RELEASE_CELLS, Releases};
use super::ROUNDS;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

#[test]
fn submitters_that_sleep_are_woken_by_the_next_end() {
    let (gate, ended) = (Gate::default(), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for wanted in 1..=ROUNDS / 20 {
                    while ended.load(Ordering::Relaxed) < wanted {
                        let round = gate.announce();
                        if ended.load(Ordering::Relaxed) < wanted {
                            gate.sleep(round);
                        }
                    }
                }
            });
        }
        for _ in 1..=ROUNDS / 20 {
            ended.fetch_add(1, Ordering::Release);
            gate.finished();
            thread::yield_now();
        }
    });
}

#[test]
fn the_bell_is_rung_once_until_it_was_heard() {
    let gate = Gate::default();
    for _ in 0..3 {
        assert!(gate.must_ring());
        assert!(!gate.must_ring() && !gate.must_ring());
        gate.heard();
    }
}

#[test]
fn a_searcher_spares_the_sleepers_and_the_dead_are_forgotten() {
    let control = Control::on_heap(1, 70);
    let wake = control.wake();
    assert!(!wake.wake_one() && !wake.anyone_searches());
    assert!(wake.search(69, 1));
    assert!(!wake.search(0, 1), "no more than one may search");
    assert!(wake.anyone_searches());
    wake.forget(69);
    assert!(!wake.anyone_searches());
    assert!(wake.search(2, 1));
    wake.found(2);
    assert!(!wake.anyone_searches());
    wake.sleep(69, None, || {
        assert_eq!(wake.awake(70), 69);
        wake.forget(69);
        assert!(!wake.wake_one(), "nobody sleeps but the dead");
        true
    });
    assert_eq!(wake.awake(70), 70);
}

#[test]
fn a_sleeper_is_woken_once() {
    let control = Control::on_heap(1, 2);
    let wake = control.wake();
    for seat in [0, 1] {
        wake.sleep(seat, None, || {
            wake.notify();
            assert_eq!(wake.awake(2), 2, "it was chosen");
            assert!(!wake.wake_one(), "and is not chosen again");
            false
        });
    }
}

#[test]
fn released_offsets_come_in_order_and_what_does_not_fit_is_refused() {
    let cells: Vec<AtomicU64> = (0..RELEASE_CELLS).map(|_| AtomicU64::new(0)).collect();
    let releases = Releases::over(&cells);
    let (mut tail, mut head) = (0, 0);
    for lap in 0..3 {
        let offsets = (0..RELEASE_CELLS as u64).map(|n| (lap * 1000 + n) * 64);
        for offset in offsets.clone() {
            assert!(releases.push(&mut tail, offset));
        }
        assert!(!releases.push(&mut tail, 1));
        for offset in offsets {
            assert_eq!(releases.pop(&mut head), Some(offset));
        }
        assert_eq!(releases.pop(&mut head), None);
    }
    assert!(releases.push(&mut tail, 64));
    releases.clear();
    assert_eq!(releases.pop(&mut head), None);
}
