//! Workers that search and sleep: no task waits while one of them could run it.

use std::time::Duration;

use loom::thread;

use super::{MANY, SOME, Table, check};
use crate::control::slot::Ending;
use crate::sync::Arc;
use crate::sys::futex_wake;

#[test]
fn no_work_is_left_with_everybody_asleep() {
    for (workers, tasks) in [(1, 1), (1, 2), (2, 1)] {
        check(SOME, move || {
            let table = Table::new(tasks, workers);
            let workers: Vec<_> = (0..workers)
                .map(|seat| {
                    let table = Arc::clone(&table);
                    thread::spawn(move || table.work(seat))
                })
                .collect();
            (0..tasks).for_each(|index| table.post(index));
            (0..tasks).for_each(|index| assert_eq!(table.join(index), Ending::Done));
            table.close();
            workers.into_iter().for_each(|worker| worker.join().expect("worker"));
        });
    }
}

/// The call that ends a nap may come when its worker sleeps by then, or is about to.
#[test]
fn a_late_call_to_one_who_naps_takes_no_wake_up_away() {
    check(SOME, || {
        let table = Table::new(1, 2);
        // Beside another one, which is at work.
        (0..2).for_each(|seat| table.wake().enter(seat));
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let _ = table.wake().nap(0, Duration::ZERO, || false);
                table.work(0);
            })
        };
        table.wake().end_nap();
        table.post(0);
        assert_eq!(table.join(0), Ending::Done);
        table.close();
        worker.join().expect("worker");
    });
}

/// Two tasks came while one worker searched and the other slept, and the search found neither: who
/// pushed them had relied on it. The searcher then took one, and told nobody of the other.
#[test]
fn two_tasks_reach_two_workers_though_only_one_of_them_searched() {
    check(SOME, || {
        let table = Table::new(2, 2);
        let workers = [0, 1].map(|seat| {
            let table = Arc::clone(&table);
            // Neither comes back for a second one.
            thread::spawn(move || table.next(seat))
        });
        (0..2).for_each(|index| table.post(index));
        let mut taken = workers.map(|worker| worker.join().expect("worker"));
        taken.sort_unstable();
        assert_eq!(taken, [Some(0), Some(1)]);
    });
}

/// A call ahead wakes one worker, and a push relies on it while it comes.
#[test]
fn who_is_called_ahead_takes_what_is_pushed_while_it_comes() {
    check(SOME, || {
        let table = Table::new(1, 1);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.work(0))
        };
        table.wake().call_ahead(0);
        table.post(0);
        assert_eq!(table.join(0), Ending::Done);
        table.close();
        worker.join().expect("worker");
    });
}

/// Calls one of two workers that sleep, and posts two tasks. It takes one and does not come back:
/// whoever had which, the other one is woken, which sleeps as long as this goes on.
fn call_one_of_two(post: impl Fn(&Arc<Table>)) {
    let table = Table::new(2, 2);
    let worker = {
        let table = Arc::clone(&table);
        thread::spawn(move || table.next(0))
    };
    while table.wake().awake(2) == 2 {
        thread::yield_now();
    }
    table.wake().sleep(1, None, || {
        table.wake().call_ahead(0);
        post(&table);
        assert!(worker.join().expect("worker").is_some());
        assert_eq!(table.wake().awake(2), 2, "a task is left, and one who sleeps");
        true
    });
}

#[test]
fn who_was_called_ahead_is_relied_on_for_one_task_alone() {
    check(MANY, || call_one_of_two(|table| (0..2).for_each(|index| table.post(index))));
}

/// Of two producers one relies on it, and what it finds may be the other's task.
#[test]
fn who_was_called_ahead_sees_to_the_task_that_relies_on_it() {
    let post_both = |table: &Arc<Table>| {
        let other = {
            let table = Arc::clone(table);
            thread::spawn(move || table.post(1))
        };
        table.post(0);
        other.join().expect("producer");
    };
    check(MANY, move || call_one_of_two(post_both));
}

/// It was named when it had woken up by itself and seen nothing, and a push relied on it while it
/// slept, or ran a task of its own.
#[test]
fn no_task_relies_on_one_who_did_not_hear_its_call() {
    fn call_while(wake_up: fn(&Table)) {
        let table = Table::new(1, 1);
        let [worker, other] = [|table: &Table| table.work(0), wake_up].map(|body| {
            let table = Arc::clone(&table);
            thread::spawn(move || body(&table))
        });
        table.wake().call_ahead(0);
        table.post(0);
        assert_eq!(table.join(0), Ending::Done);
        table.close();
        other.join().expect("another wake-up");
        worker.join().expect("worker");
    }
    check(MANY, || call_while(|table| _ = futex_wake(&table.seats[0].pillow.park, 1)));
    check(SOME, || call_while(|table| table.wake().wake_all()));
}

/// The same, where it wakes up for another's task, which takes long.
#[test]
fn no_task_relies_on_one_who_took_another_before_it_heard_its_call() {
    check(MANY, || {
        let table = Table::new(2, 2);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.next(0))
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.post(1))
        };
        table.wake().call_ahead(0);
        other.join().expect("producer");
        assert_eq!(worker.join().expect("worker"), Some(1));
        table.wake().sleep(1, None, || {
            table.post(0);
            assert_eq!(table.wake().awake(2), 2, "a task is left, and one who sleeps");
            true
        });
    });
}
