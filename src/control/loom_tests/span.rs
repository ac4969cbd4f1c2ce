//! A batch: its items are claimed by a worker while the parent cuts them off, or asks to be told.

use loom::thread;

use super::{MANY, Table, check};
use crate::control::slot::{Claim, Ending, ResultPlace};
use crate::sync::{Arc, AtomicU64, Ordering};

const ITEMS: u32 = 3;

/// A table with a batch in its slot, and the entries of its items.
fn batch() -> (Arc<Table>, Arc<Vec<AtomicU64>>) {
    let table = Table::new(1, 1);
    let draft = table.slots[0].draft().expect("the slot is free");
    draft.arrange(ITEMS);
    draft.publish(7, 0, 200, &[]);
    (table, Arc::new((0..ITEMS).map(|_| AtomicU64::default()).collect()))
}

/// Worker: as the trampoline of a batch. Returns the items that it has run.
fn run(table: &Table, entries: &[AtomicU64]) -> Vec<u32> {
    let Claim::Run(running) = table.slots[0].claim(0) else { return Vec::new() };
    let (span, mut ran) = (table.slots[0].span(), Vec::new());
    span.open(64);
    loop {
        let claim = span.claim();
        if claim.eager {
            table.gate.finished();
        }
        let Some(item) = claim.item else { break };
        // PAIRS entry-stored.
        entries[item as usize].store(1, Ordering::Release);
        ran.push(item);
    }
    let _ = running.finish(Ending::Done, &ResultPlace::default());
    table.gate.finished();
    ran
}

#[test]
fn an_item_is_claimed_or_cut_off() {
    check(MANY, || {
        let (table, entries) = batch();
        let worker = {
            let (table, entries) = (Arc::clone(&table), Arc::clone(&entries));
            thread::spawn(move || run(&table, &entries))
        };
        let cut = table.slots[0].span().cut();
        let ran = worker.join().expect("worker");
        let limit = cut.unwrap_or(ITEMS);
        if cut.is_some() {
            assert!(ran.len() as u32 <= limit, "what was cut off was not run");
        }
        assert!(ran.into_iter().eq(0..limit), "all others were, in order");
        let collected = table.slots[0].collect(0).expect("ended");
        assert_eq!(collected.span().claimed(), limit);
    });
}

/// The parent waits for one item after the other, and for no end of a task.
#[test]
fn who_asks_for_each_item_does_not_sleep_past_one() {
    check(MANY, || {
        let (table, entries) = batch();
        let worker = {
            let (table, entries) = (Arc::clone(&table), Arc::clone(&entries));
            thread::spawn(move || run(&table, &entries))
        };
        let span = table.slots[0].span();
        for entry in entries.iter() {
            // PAIRS entry-stored.
            let is_ready = || entry.load(Ordering::Acquire) == 1;
            while !is_ready() {
                let round = table.gate.announce();
                span.hasten();
                if !is_ready() {
                    table.gate.sleep(round);
                }
            }
        }
        assert_eq!(span.entries(), Some(64), "their place is known by then");
        worker.join().expect("worker");
    });
}
