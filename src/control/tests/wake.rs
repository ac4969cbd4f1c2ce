//! Sleeping and waking: the gate, the bell, the workers' beds, and what is released.

use std::thread;
use std::time::Duration;

use super::super::Roused;
use super::super::gate::Gate;
use super::super::release::{RELEASE_CELLS, Releases};
use super::super::wake::{CALLING, Wake};
use super::super::{Control, Nap, Notice};
use super::ROUNDS;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(miri))]
use crate::sys::{allowed_cores, keep_to, ticks};

/// No test waits so long.
const LONG: Duration = Duration::from_secs(600);

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
fn a_sleeper_is_not_woken_for_what_others_have_taken() {
    let control = Control::on_heap(1, 2);
    let wake = control.wake();
    let not_asked = || unreachable!("there is nobody to be woken");
    assert_eq!(wake.notify_of(None, not_asked), Notice::Nobody);
    wake.sleep(0, None, || {
        assert!(wake.search(1, 1));
        assert_eq!(wake.notify_of(None, not_asked), Notice::Awake);
        wake.found(1);
        assert_eq!(wake.notify_of(None, || true), Notice::Awake);
        assert_eq!(wake.awake(2), 1, "it sleeps on");
        assert!(matches!(wake.notify_of(None, || false), Notice::Woken(_)));
        false
    });
}

/// Runs `body` on one of the cores that this process may use.
#[cfg(not(miri))]
pub(super) fn on_core<T: Send>(core: usize, body: impl FnOnce() -> T + Send) -> T {
    let body = || {
        keep_to(&[core]).expect("it is allowed");
        body()
    };
    thread::scope(|scope| scope.spawn(body).join()).expect("it ends well")
}

/// A caller waits awake for a worker on another core, and would keep one on its own from it.
#[test]
#[cfg(not(miri))]
fn a_worker_is_far_if_waking_it_took_long_and_it_slept_on_another_core() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    let sleep = || wake.sleep(0, Some(Duration::from_millis(1)), || false);
    let is_far = |seat, may_be_far| wake.is_far(Roused { seat, may_be_far, was_called: false });
    let cores = allowed_cores().expect("there are some");
    for &slept_on in cores.iter().take(2) {
        on_core(slept_on, sleep);
        on_core(cores[0], || {
            assert!(!is_far(0, false), "that took no time");
            assert!(!is_far(1, true), "there is no such seat");
            assert_eq!(is_far(0, true), slept_on != cores[0]);
            assert!(!is_far(0, true), "it has not slept since");
        });
    }
}

/// One that looks for tasks meanwhile would only be in the way.
#[test]
#[cfg(not(miri))]
fn a_worker_keeps_its_waker_aside_if_that_one_is_in_its_call_and_not_elsewhere() {
    let control = Control::on_heap(1, 1);
    let (wake, pillow) = (control.wake(), &control.seats()[0].pillow);
    let cores = allowed_cores().expect("there are some");
    let keeps_aside = || on_core(cores[0], || wake.keeps_waker_aside(0));
    assert!(!keeps_aside(), "nobody calls");
    pillow.called_at.store(CALLING, Ordering::Relaxed);
    assert!(keeps_aside(), "nobody has said where");
    for &core in cores.iter().take(2) {
        on_core(core, || pillow.waker.tell());
        assert_eq!(keeps_aside(), core == cores[0]);
    }
    // What a waker leaves that has died in its call.
    wake.sleep(0, None, || {
        wake.notify();
        false
    });
    assert!(!keeps_aside());
}

/// It then looks whether it had better sleep on the core of that one.
#[test]
#[cfg(not(miri))]
fn a_worker_knows_how_long_ago_it_was_called_and_whether_from_another_core() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    let cores = allowed_cores().expect("there are some");
    let before = ticks();
    for &core in cores.iter().take(2) {
        wake.sleep(0, None, || {
            on_core(core, || assert!(matches!(wake.notify(), Notice::Woken(_))));
            false
        });
        let now = ticks();
        assert!((0..=now - before).contains(&wake.called_before(0, now)));
        assert_eq!(wake.called_before(0, 0), 0, "a clock that goes back");
        let is_elsewhere = || on_core(cores[0], || wake.is_waker_elsewhere(0));
        assert_eq!(is_elsewhere(), core != cores[0]);
        assert!(!is_elsewhere(), "nobody has called since");
    }
}

#[test]
fn who_naps_is_left_alone_by_producers_until_it_is_called() {
    let control = Control::on_heap(1, 70);
    let wake = control.wake();
    [0, 3, 69].into_iter().for_each(|seat| wake.enter(seat));
    for caller in [Wake::end_nap, Wake::wake_all, |wake: &Wake<'_>| wake.leave(3)] {
        let nap = wake.nap(69, LONG, || {
            assert_eq!(wake.notify(), Notice::Nobody);
            assert_eq!((wake.awake(3), wake.anyone_searches()), (2, false));
            caller(&wake);
            assert_eq!(wake.awake(3), 3);
            false
        });
        assert_eq!(nap, Nap::Called);
    }
    assert_eq!(wake.nap(69, Duration::from_micros(1), || false), Nap::Over);
    assert_eq!(wake.nap(69, LONG, || true), Nap::None);
    assert_eq!(wake.awake(3), 3);
}

#[test]
fn a_call_is_for_one_who_naps() {
    let control = Control::on_heap(1, 3);
    let wake = control.wake();
    (0..3).for_each(|seat| wake.enter(seat));
    let nap = wake.nap(2, LONG, || {
        let nap = wake.nap(0, LONG, || {
            wake.end_nap();
            assert_eq!(wake.awake(3), 2, "the other naps on");
            false
        });
        assert_eq!(nap, Nap::Called);
        wake.end_nap();
        wake.end_nap();
        false
    });
    assert_eq!(nap, Nap::Called);
}

#[test]
fn the_last_who_takes_tasks_does_not_nap() {
    let control = Control::on_heap(1, 70);
    let wake = control.wake();
    let may_nap = |seat| {
        let mut asked = false;
        let nap = wake.nap(seat, LONG, || {
            asked = true;
            true
        });
        assert_eq!((nap, wake.awake(70)), (Nap::None, 70));
        asked
    };
    wake.enter(69);
    assert!(!may_nap(69), "it is alone");
    wake.enter(1);
    assert!(may_nap(69) && may_nap(1));
    let nap = wake.nap(69, LONG, || {
        let nap = wake.nap(1, LONG, || panic!("the other naps"));
        assert_eq!(nap, Nap::None);
        true
    });
    assert_eq!(nap, Nap::None);
    // One who sleeps is called by the next push.
    wake.sleep(1, None, || {
        assert_eq!(wake.nap(69, Duration::from_micros(1), || false), Nap::Over);
        true
    });
    wake.forget(1);
    assert!(!may_nap(69), "the other is dead");
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
