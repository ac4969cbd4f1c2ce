//! Calls ahead of a push: who is relied on, who hears one, and on which core that looks.

use super::super::{Control, Notice, Roused, Turn};
#[cfg(not(miri))]
use super::wake::on_core;
use crate::sys::present_core;
#[cfg(not(miri))]
use crate::sys::{allowed_cores, keep_to};

#[test]
fn who_is_called_ahead_is_relied_on_by_one_push() {
    let control = Control::on_heap(1, 2);
    let wake = control.wake();
    let push = |index| wake.notify_of(Some(index), || false);
    let is_called =
        |notice| matches!(notice, Notice::Woken(Roused { seat: 0, was_called: true, .. }));
    wake.sleep(0, None, || {
        wake.sleep(1, None, || {
            wake.call_ahead(present_core());
            assert_eq!(wake.awake(2), 1, "one is called");
            wake.call_ahead(present_core());
            assert_eq!(wake.awake(2), 1, "and nobody else");
            assert!(is_called(push(0)), "it is on its way");
            assert_eq!(wake.awake(2), 1, "nobody else was woken");
            let other = push(1);
            assert!(matches!(other, Notice::Woken(Roused { seat: 1, was_called: false, .. })));
            assert_eq!(wake.awake(2), 2);
            assert_eq!(push(2), Notice::Nobody);
            false
        });
        false
    });
    assert!(!wake.has_come(1), "it was not called");
    assert!(wake.has_come(0));
    assert!(wake.answer_call(0, Some(0)), "this is what relies on it");
    assert!(!wake.has_come(0) && !wake.relies(0));
}

/// A call that came while a worker was looking for the last time was left to that one, which slept.
#[test]
#[cfg_attr(miri, ignore = "half a millisecond of its clock is a few lines of code")]
fn who_searches_hears_a_call_however_soon_that_search_ends() {
    let control = Control::on_heap(1, 2);
    let wake = control.wake();
    let [here, elsewhere] = [present_core(), u32::MAX];
    wake.sleep(1, None, || {
        for (core, is_heard) in [(elsewhere, true), (here, false)] {
            assert!(wake.search(0, 1));
            wake.call_ahead(core);
            assert_eq!(wake.awake(2), 1, "the search goes on, and nobody else is called");
            wake.found(0);
            assert_eq!(wake.expects().is_some(), is_heard, "on another core than the caller's");
        }
        wake.call_ahead(elsewhere);
        assert_eq!(wake.awake(2), 2, "the search has ended");
        false
    });
}

#[test]
fn who_is_called_ahead_is_relied_on_when_it_looks_but_not_when_it_has_found_something() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    let push = |index| wake.notify_of(Some(index), || false);
    let call = || {
        wake.sleep(0, None, || {
            wake.call_ahead(present_core());
            false
        });
    };
    // What it has found, whether a push relies on it, and whether it need not look further.
    for (found, relied, are_others_seen_to) in [
        (Some(5), None, true),
        (Some(5), Some(5), true),
        (Some(5), Some(6), false),
        (None, Some(6), false),
        (None, None, true),
    ] {
        call();
        assert!(wake.has_come(0) && wake.has_called());
        if let Some(index) = relied {
            assert_eq!(wake.notify(), Notice::Nobody, "this is not about a task");
            assert_eq!(push(index), Notice::Called, "it is awake, and looks");
            assert!(wake.has_come(0), "it is to answer");
        }
        assert_eq!(wake.answer_call(0, found), are_others_seen_to, "{found:?} {relied:?}");
        assert_eq!(push(7), Notice::Nobody, "it looks no more");
        assert!(!wake.answer_call(0, found), "once is enough");
        wake.was_called(found.is_none());
        assert!(!wake.has_called());
    }
    // A death: whoever relied on it is seen to otherwise.
    call();
    assert!(matches!(push(5), Notice::Woken(Roused { seat: 0, .. })));
    wake.wake_all();
    assert!(!wake.relies(5) && !wake.has_come(0));
}

/// One who was called may have been stopped, or a worker gone wild may have named it.
#[test]
fn a_task_that_relies_on_one_who_was_called_may_do_so_no_more() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    wake.sleep(0, None, || {
        wake.call_ahead(present_core());
        false
    });
    assert!(!wake.relies(5) && !wake.rely_no_more(5));
    wake.notify_of(Some(5), || false);
    assert!(!wake.relies(6) && !wake.rely_no_more(6), "another does");
    assert!(wake.relies(5) && wake.rely_no_more(5) && !wake.relies(5));
    assert!(!wake.answer_call(0, Some(5)), "it looks after others when it comes");
}

/// Waking it took no time, since it came to the core of who called.
#[test]
fn who_is_called_ahead_for_another_core_may_be_far_from_it() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    wake.sleep(0, None, || {
        wake.call_ahead(u32::MAX);
        false
    });
    let far = Notice::Woken(Roused { seat: 0, may_be_far: true, was_called: true });
    assert_eq!(wake.notify_of(Some(0), || false), far);
}

/// There it would only be in the way.
#[test]
#[cfg(not(miri))]
fn who_is_called_ahead_does_not_look_on_the_core_of_its_caller() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    let call = || {
        wake.sleep(0, None, || {
            wake.call_ahead(present_core());
            false
        })
    };
    let look = || {
        wake.make_way();
        wake.expects().is_some()
    };
    // A call is soon over: one thread is both, which takes less time than to start another.
    let looks = |caller, worker| {
        let looks_once = |_| {
            keep_to(&[caller]).expect("it is allowed");
            let has_come = call();
            keep_to(&[worker]).expect("it is allowed");
            let looks = has_come && look();
            wake.answer_call(0, None);
            looks
        };
        on_core(caller, || (0..1000).any(looks_once))
    };
    let cores = allowed_cores().expect("there are some");
    assert!(!looks(cores[0], cores[0]));
    if let [first, second, ..] = cores[..] {
        assert!(looks(first, second));
    }
}

/// Between two copies a worker fell asleep, and had to be called for the second.
#[test]
#[cfg_attr(miri, ignore = "half a millisecond of its clock is a few lines of code")]
fn who_searches_during_the_first_of_several_copies_goes_on_and_who_does_not_is_left_alone() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    wake.keep_awake(u32::MAX);
    assert!(!wake.has_called(), "nobody searches");
    assert!(wake.search(0, 1));
    wake.keep_awake(u32::MAX);
    wake.found(0);
    assert!(wake.expects().is_some());
}

/// A worker that had looked for as long as one call asked took back what the next one had.
#[test]
#[cfg_attr(miri, ignore = "half a millisecond of its clock is a few lines of code")]
fn a_call_that_comes_while_a_worker_looks_for_an_earlier_one_is_heard() {
    let control = Control::on_heap(1, 1);
    let wake = control.wake();
    assert!(wake.search(0, 1));
    wake.was_called_in_vain();
    assert!(!wake.has_called(), "there was none");
    wake.call_ahead(u32::MAX);
    wake.was_called_in_vain();
    assert!(wake.expects().is_some(), "it is still to be heard");
    while wake.expects().is_some() {
        std::hint::spin_loop();
    }
    assert!(wake.has_called());
    wake.was_called_in_vain();
    assert!(!wake.has_called(), "it is over");
}

#[test]
#[cfg_attr(miri, ignore = "half a millisecond of its clock is a few lines of code")]
fn a_call_that_was_left_out_counts_only_if_a_task_had_to_wake_a_worker() {
    let called_after = |what: &dyn Fn(&Control)| {
        let control = Control::on_heap(1, 1);
        let wake = control.wake();
        assert_eq!(wake.begin_copy(0), Turn::Now);
        wake.was_called(true);
        assert_eq!(wake.begin_copy(0), Turn::Never);
        wake.note_left_out();
        wake.sleep(0, None, || {
            what(&control);
            true
        });
        [wake.begin_copy(1), wake.begin_copy(1)]
    };
    let push = |control: &Control| _ = control.wake().notify_of(Some(0), || false);
    // The task may come too late: another one may have this core for a while.
    let learned = |_| called_after(&push) == [Turn::Later, Turn::Now];
    assert!((0..1000).any(learned));
    let called = |control: &Control| {
        control.wake().call_ahead(present_core());
        push(control);
    };
    let cases = [
        ("no task", &(|control: &Control| _ = control.wake().notify()) as &dyn Fn(&Control)),
        ("it is taken", &|control| _ = control.wake().notify_of(Some(0), || true)),
        ("somebody was called in the end", &called),
    ];
    for (case, what) in cases {
        assert_eq!(called_after(what), [Turn::Never; 2], "{case}");
    }
}
