//! Workers that search and sleep: no task waits while one of them could run it.

use std::time::Duration;

use loom::thread;

use super::{SOME, Table, check};
use crate::control::slot::Ending;
use crate::sync::Arc;

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
