//! A worker dies between any two accesses, and is buried as the supervisor does it. Whatever it
//! left behind, the others get the work done and nobody sleeps for ever.

use loom::thread;

use super::{FEW, SOME, Table, check, submit_late};
use crate::control::slot::Ending;
use crate::sync::{Arc, AtomicBool, Death, Ordering, mortal};
use crate::sys::{futex_wait, futex_wake, kill_sleepers};

/// More accesses than the worker of any model here has in its life.
const ACCESSES_MAX: u32 = 200;

/// Checks `model` for each access before which its worker may be killed. It gets the access, and
/// says whether the worker died there.
pub(super) fn check_deaths(preemptions: usize, model: fn(u32) -> bool) {
    for accesses in 0..ACCESSES_MAX {
        let struck = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&struck);
        check(preemptions, move || {
            if model(accesses) {
                seen.store(true, Ordering::Relaxed);
            }
        });
        if !struck.load(Ordering::Relaxed) {
            println!("killed before each of {accesses} accesses");
            return;
        }
    }
    panic!("the worker does not end within {ACCESSES_MAX} accesses");
}

/// A worker that is killed beside one that lives, and `tasks` for both. True: it was struck.
///
/// It runs its tasks, or is killed at the latest before it claims its first. With `ahead`, one of
/// the two is called before the tasks come.
fn pool_with_a_death(accesses: u32, tasks: usize, claims: bool, ahead: bool) -> bool {
    let table = Table::new(tasks, 2);
    let living = {
        let table = Arc::clone(&table);
        thread::spawn(move || table.work(1))
    };
    let dying = {
        let table = Arc::clone(&table);
        thread::spawn(move || {
            mortal(accesses, || {
                if claims {
                    table.work(0)
                } else {
                    let _ = table.next(0);
                }
            })
        })
    };
    if ahead {
        table.wake().call_ahead(0);
    }
    (0..tasks).for_each(|index| table.post(index));
    kill_sleepers();
    let death = dying.join().expect("its death was caught");
    table.bury(0);
    let lost = (0..tasks).filter(|&index| table.join(index) == Ending::Lost).count();
    assert!(lost <= 1, "a death costs one task");
    table.close();
    living.join().expect("worker");
    death == Err(Death::Struck)
}

#[test]
fn a_death_costs_one_task_at_most_and_leaves_nobody_asleep() {
    check_deaths(FEW, |accesses| pool_with_a_death(accesses, 1, true, false));
}

/// A worker that found more than one task was to wake another, and died after it had taken the
/// sleeper's bit away and before it woke it. Nobody ever woke that sleeper again.
#[test]
fn a_death_on_the_way_to_a_claim_leaves_nobody_asleep() {
    check_deaths(FEW, |accesses| pool_with_a_death(accesses, 2, false, false));
}

/// The push may have relied on the very worker that died on its way.
#[test]
fn a_death_of_one_who_was_called_ahead_leaves_nobody_asleep() {
    check_deaths(FEW, |accesses| pool_with_a_death(accesses, 1, true, true));
    check_deaths(FEW, |accesses| pool_with_a_death(accesses, 2, false, true));
}

#[test]
fn no_push_relies_on_one_who_was_called_ahead_and_is_dead() {
    check_deaths(SOME, |accesses| {
        let table = Table::new(1, 2);
        let dying = {
            let table = Arc::clone(&table);
            thread::spawn(move || mortal(accesses, || _ = table.next(0)))
        };
        table.wake().call_ahead(0);
        kill_sleepers();
        let death = dying.join().expect("its death was caught");
        table.bury(0);
        table.wake().sleep(1, None, || {
            table.post(0);
            assert_eq!(table.wake().awake(2), 2, "the other one is woken");
            true
        });
        death == Err(Death::Struck)
    });
}

/// Parent: as `Desk::lose_queued`. The task may be queued still, and no other worker is there.
fn lose_queued(table: &Table) {
    if table.slots[0].lose_queued().is_some() {
        futex_wake(table.slots[0].futex(), u32::MAX);
    }
}

/// A worker took the mark of a waiting submitter away and died before it woke it.
#[test]
fn a_death_lets_the_waiter_and_the_submitter_go_on() {
    check_deaths(SOME, |accesses| {
        let table = Table::new(1, 1);
        table.post(0);
        let waiting = {
            let table = Arc::clone(&table);
            thread::spawn(move || submit_late(&table))
        };
        let dying = {
            let table = Arc::clone(&table);
            thread::spawn(move || mortal(accesses, || table.run(0, 0)))
        };
        let supervisor = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let death = dying.join().expect("its death was caught");
                table.bury(0);
                lose_queued(&table);
                table.gate.finished();
                death == Err(Death::Struck)
            })
        };
        let slot = &table.slots[0];
        while let Ok(word) = slot.wait_mark(0) {
            futex_wait(slot.futex(), word, None);
        }
        waiting.join().expect("submitter");
        supervisor.join().expect("supervisor")
    });
}

/// The worker died between finishing a task and waking who waited for it, and before it was buried
/// another thread made room: it collected the slot, and with it the mark that somebody sleeps.
#[test]
fn a_death_lets_a_waiter_go_on_whose_slot_another_thread_collects() {
    check_deaths(SOME, |accesses| {
        let table = Table::new(1, 1);
        table.post(0);
        let dying = {
            let table = Arc::clone(&table);
            thread::spawn(move || mortal(accesses, || table.run(0, 0)))
        };
        let others = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let death = dying.join().expect("its death was caught");
                table.keep(0);
                table.bury(0);
                lose_queued(&table);
                death == Err(Death::Struck)
            })
        };
        let slot = &table.slots[0];
        while let Ok(word) = slot.wait_mark(0) {
            futex_wait(slot.futex(), word, None);
        }
        others.join().expect("supervisor")
    });
}
