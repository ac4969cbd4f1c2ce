//! Tasks that are taken from their workers, and workers that leave because nothing is to be done.

use std::time::Duration;

use loom::thread;

use super::{MANY, Table, check};
use crate::control::Notice;
use crate::control::slot::{Claim, Ending, ResultPlace};
use crate::sync::{Arc, AtomicU32, Ordering, fence};

/// The worker learns that the task was taken from it just when it was, and the task ends once.
#[test]
fn a_task_that_is_taken_from_its_worker_ends_once() {
    check(MANY, || {
        let table = Table::new(1, 1);
        table.post(0);
        let worker = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let Claim::Run(running) = table.slots[0].claim(0) else { panic!("it is queued") };
                running.finish(Ending::Done, &ResultPlace::default()).doomed
            })
        };
        let taken = table.slots[0].doom(0);
        assert_eq!(worker.join().expect("worker"), taken);
        assert_eq!(table.slots[0].lose_running(0).is_some(), taken);
        let ending = table.slots[0].collect_any().map(|collected| collected.ending());
        assert_eq!(ending, Some(if taken { Ending::Lost } else { Ending::Done }));
    });
}

/// A worker gives up waiting just when a task comes: it takes the task, or its supervisor sees the
/// task when the worker is gone, or who brought the task sees that the worker is gone.
#[test]
fn a_worker_that_leaves_for_want_of_work_leaves_no_task_behind() {
    check(MANY, || {
        let table = Table::new(1, 1);
        let vacant = Arc::new(AtomicU32::new(0));
        let worker = {
            let (table, vacant) = (Arc::clone(&table), Arc::clone(&vacant));
            thread::spawn(move || {
                let empty = || table.ring().is_empty();
                if table.wake().sleep(0, Some(Duration::ZERO), || !empty()) || !empty() {
                    return true;
                }
                // From here on its supervisor, as `Desk::set_vacant` and `Desk::count_queued`.
                vacant.store(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                table.slots[0].is_queued()
            })
        };
        let draft = table.slots[0].draft().expect("the slot is free");
        draft.publish(7, 0, 0, &[]);
        table.ring().push(0).expect("an empty ring");
        let rings = table.wake().notify() == Notice::Nobody && vacant.load(Ordering::Relaxed) != 0;
        assert!(worker.join().expect("worker") || rings, "the task is left behind");
    });
}
