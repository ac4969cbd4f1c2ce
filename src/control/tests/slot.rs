//! A slot's states: what each allows, what each refuses, and who wins.

use std::thread;

use super::super::slot::{Claim, Ending, Phase, Slot};
use super::{ROUNDS, result};
use crate::control::INLINE_ARGS_WORDS;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::futex_wait;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Draft,
    Ready,
    Running,
    Doomed,
    Done,
    Failed,
    Lost,
}

use State::{Done, Doomed, Failed, Lost, Ready, Running};

const STATES: [State; 8] = [State::Free, State::Draft, Ready, Running, Doomed, Done, Failed, Lost];
const SEAT: u16 = 3;

fn publish(slot: &Slot, word: u64) -> u32 {
    let draft = slot.draft().expect("the slot is free");
    let generation = draft.generation();
    draft.publish(word + 1, 0, 8, &[word]);
    generation
}

fn finish(slot: &Slot, seat: u16, ending: Ending, word: u64) {
    let Claim::Run(running) = slot.claim(seat) else { panic!("the slot is not ready") };
    let mut inline = [0; INLINE_ARGS_WORDS];
    assert_eq!(running.arguments(&mut inline).len, 8);
    assert_eq!((running.code(), inline[0]), (word + 1, word));
    let finished = running.finish(ending, &result(word * 2));
    assert!(!finished.wake && !finished.ring && !finished.detached);
}

fn slot_in(state: State) -> Slot {
    let slot = Slot::default();
    match state {
        State::Free => {}
        State::Draft => std::mem::forget(slot.draft()),
        Ready => drop(publish(&slot, 7)),
        Running => {
            publish(&slot, 7);
            std::mem::forget(slot.claim(SEAT));
        }
        Doomed => {
            publish(&slot, 7);
            std::mem::forget(slot.claim(SEAT));
            assert!(slot.doom(0));
        }
        Done | Failed => {
            let ending = if state == Done { Ending::Done } else { Ending::Failed };
            publish(&slot, 7);
            finish(&slot, SEAT, ending, 7);
        }
        Lost => {
            publish(&slot, 7);
            assert!(slot.cancel(0));
        }
    }
    slot
}

fn check(what: &str, try_it: fn(&Slot) -> bool, allowed: &[State]) {
    for state in STATES {
        let slot = slot_in(state);
        assert_eq!(try_it(&slot), allowed.contains(&state), "{what} in {state:?}");
        if !allowed.contains(&state) {
            let word = slot.futex();
            assert_eq!(format!("{word:?}"), format!("{:?}", slot_in(state).futex()), "{what}");
        }
    }
}

#[test]
fn a_slot_changes_only_as_its_state_allows() {
    let ended = [Done, Failed, Lost];
    check("draft", |slot| slot.draft().is_some(), &[State::Free]);
    check("claim", |slot| matches!(slot.claim(5), Claim::Run(_)), &[Ready]);
    let pending = [Ready, Running, Doomed];
    check("wait_mark", |slot| slot.wait_mark(0).is_ok(), &pending);
    check("watch_mark", |slot| slot.watch_mark(0).is_ok(), &pending);
    check("detach_mark", |slot| slot.detach_mark(0, false).is_ok(), &pending);
    check("time_mark", |slot| slot.time_mark(0).is_ok(), &pending);
    check("doom", |slot| slot.doom(0), &[Running]);
    check("doomed", |slot| slot.doomed() == Some(SEAT), &[Doomed]);
    check("requeue", |slot| slot.requeue(SEAT, None) == Some(0), &[Running]);
    check("cancel", |slot| slot.cancel(0), &[Ready]);
    check("lose_queued", |slot| slot.lose_queued() == Some(0), &[Ready]);
    check("lose_running", |slot| slot.lose_running(SEAT) == Some(0), &[Running, Doomed]);
    check("collect", |slot| slot.collect(0).is_some(), &ended);
    check("ended", |slot| slot.ended(0).is_some(), &ended);
    check("plain", |slot| slot.plain(0).is_some(), &[Done]);
    check("collect_any", |slot| slot.collect_any().is_some(), &ended);
    let others: [fn(&Slot) -> bool; 4] = [
        |slot| slot.collect(1).is_some(),
        |slot| slot.ended(1).is_some(),
        |slot| slot.plain(1).is_some(),
        |slot| slot.cancel(1),
    ];
    for generation in others {
        check("another generation", generation, &[]);
    }
    check("another generation", |slot| slot.wait_mark(1).is_ok(), &[]);
    check("another owner", |slot| slot.lose_running(SEAT + 1).is_some(), &[]);
    check("nobody detached it", |slot| slot.ended_detached(0).is_some(), &[]);
    check("is_queued", Slot::is_queued, &[Ready]);
    check("is_pending", Slot::is_pending, &[State::Draft, Ready, Running, Doomed]);
    check("is_free_or_finished", Slot::is_free_or_finished, &[State::Free, Done, Failed, Lost]);
}

#[test]
fn a_handle_sees_its_own_generation_and_no_other() {
    let phases = [
        (Ready, Phase::Queued),
        (Running, Phase::Running),
        (Doomed, Phase::Running),
        (Done, Phase::Finished),
        (Failed, Phase::Finished),
        (Lost, Phase::Finished),
        (State::Free, Phase::Gone),
        (State::Draft, Phase::Gone),
    ];
    for (state, phase) in phases {
        assert_eq!((slot_in(state).phase(0), slot_in(state).phase(1)), (phase, Phase::Gone));
    }
}

#[test]
fn a_slot_serves_one_generation_after_another() {
    let slot = Slot::default();
    for round in 0..5 {
        assert_eq!(publish(&slot, round), round as u32);
        finish(&slot, 1000 + round as u16, Ending::Done, round);
        let collected = slot.collect(round as u32).expect("it ended");
        assert_eq!(collected.ending(), Ending::Done);
        assert_eq!(collected.owner(), 1000 + round as u16);
        assert_eq!((collected.result().len, collected.result().inline[0]), (8, round * 2));
    }
}

#[test]
fn a_dropped_draft_is_free_and_a_dropped_run_has_failed() {
    let slot = Slot::default();
    drop(slot.draft());
    publish(&slot, 1);
    drop(slot.claim(0));
    let collected = slot.collect_any().expect("it ended");
    assert_eq!((collected.ending(), collected.result().len), (Ending::Failed, 0));
}

/// The result of a task that was taken from its worker is not written over the slot's next task,
/// and the worker learns that it has to go.
#[test]
fn a_worker_learns_at_its_tasks_end_that_the_task_was_taken_from_it() {
    let slot = Slot::default();
    publish(&slot, 1);
    let Claim::Run(running) = slot.claim(SEAT) else { panic!() };
    assert!(slot.doom(0) && !slot.doom(0));
    assert!(running.finish(Ending::Done, &result(1)).doomed);
    assert_eq!((slot.phase(0), slot.doomed()), (Phase::Running, Some(SEAT)));
    assert_eq!(slot.lose_running(SEAT), Some(0));
    assert_eq!(slot.collect_any().map(|collected| collected.ending()), Some(Ending::Lost));
}

#[test]
fn a_task_that_is_queued_again_keeps_its_generation_and_its_marks() {
    let slot = Slot::default();
    publish(&slot, 1);
    std::mem::forget(slot.claim(SEAT));
    slot.wait_mark(0).expect("not ended");
    assert_eq!(slot.requeue(SEAT, None), Some(0));
    let Claim::Run(running) = slot.claim(SEAT + 1) else { panic!() };
    assert!(running.finish(Ending::Done, &result(1)).wake);
    assert_eq!(slot.collect(0).map(|collected| collected.owner()), Some(SEAT + 1));
}

#[test]
fn what_the_parent_marked_reaches_the_worker_that_ends_the_task() {
    for (running_already, is_light) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let slot = Slot::default();
        publish(&slot, 1);
        let early = running_already.then(|| slot.claim(9));
        let before = slot.wait_mark(0).expect("not ended");
        slot.detach_mark(0, is_light).expect("not ended");
        let Claim::Run(running) = early.unwrap_or_else(|| slot.claim(9)) else { panic!() };
        assert!(running.is_detached());
        let finished = running.finish(Ending::Done, &result(1));
        assert!(finished.wake && finished.detached);
        assert_eq!(finished.ring, !is_light);
        // Asleep on the word as it was before: the word has changed, so this returns.
        futex_wait(slot.futex(), before, None);
        let collected = slot.ended_detached(0).expect("ended and detached");
        assert!(collected.is_detached());
        assert_eq!(collected.owner(), 9);
    }
}

#[test]
fn one_of_two_takers_collects_each_task_and_one_of_two_runs_it() {
    let slot = Slot::default();
    for generation in 0..ROUNDS / 20 {
        assert_eq!(publish(&slot, 5), generation);
        let sum = AtomicU32::new(0);
        thread::scope(|scope| {
            for seat in 0..2 {
                let (slot, sum) = (&slot, &sum);
                scope.spawn(move || {
                    let Claim::Run(running) = slot.claim(seat) else { return };
                    sum.fetch_add(1, Ordering::Relaxed);
                    let _ = running.finish(Ending::Done, &result(5));
                });
                scope.spawn(move || {
                    while !matches!(slot.phase(generation), Phase::Finished | Phase::Gone) {
                        thread::yield_now();
                    }
                    if slot.collect(generation).is_some() {
                        sum.fetch_add(100, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 101);
    }
}

/// A thread that lost the race for a free slot made the winner's token all the same, and dropped
/// it, which freed the slot: two tasks got the same slot and generation, and one got the result of
/// the other.
#[test]
fn who_loses_the_race_for_a_free_slot_leaves_it_to_the_winner() {
    let slot = Slot::default();
    let holders = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS * 50 {
                    let Some(draft) = slot.draft() else { continue };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    // Looked at for a while, so that the other has time to lose.
                    assert!((0..5).all(|_| slot.is_pending()), "it is still a draft");
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(draft);
                }
            });
        }
    });
}
