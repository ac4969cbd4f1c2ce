//! Workers that claim ranges of a loop, and one that dies between any two accesses.

use loom::thread;

use super::deaths::check_deaths;
use super::{FEW, MANY, Table, check};
use crate::control::Cursor;
use crate::control::slot::Slot;
use crate::sync::{Arc, AtomicU64, Death, Ordering, mortal};

/// The chunks of the loops here: one worker claims two of them at first, and then one at a time.
const CHUNKS: usize = 9;

/// A loop, and how often each of its chunks was done.
struct Loop {
    table: Arc<Table>,
    cursor: AtomicU64,
    done: [AtomicU64; CHUNKS],
}

impl Loop {
    fn new() -> Arc<Self> {
        let cursor = AtomicU64::default();
        Cursor::over(&cursor).begin();
        let done = std::array::from_fn(|_| AtomicU64::default());
        Arc::new(Self { table: Table::new(2, 1), cursor, done })
    }

    /// Worker: as the run of a loop.
    fn run(&self, slot: &Slot) {
        while let Some(range) = Cursor::over(&self.cursor).claim(CHUNKS as u64, 1, slot) {
            for chunk in range {
                self.done[chunk as usize].fetch_add(1, Ordering::Relaxed);
                slot.note_progress(chunk + 1);
            }
        }
    }
}

#[test]
fn each_chunk_is_claimed_once() {
    check(MANY, || {
        let all = Loop::new();
        let other = {
            let all = Arc::clone(&all);
            thread::spawn(move || all.run(&all.table.slots[0]))
        };
        all.run(&all.table.slots[1]);
        other.join().expect("worker");
        assert!(all.done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
    });
}

/// What a dead worker has not done of what it had claimed is in its note.
#[test]
fn a_death_leaves_a_note_of_what_was_claimed() {
    check_deaths(FEW, |accesses| {
        let all = Loop::new();
        let dying = {
            let all = Arc::clone(&all);
            thread::spawn(move || mortal(accesses, || all.run(&all.table.slots[0])))
        };
        all.run(&all.table.slots[1]);
        let death = dying.join().expect("its death was caught");
        let noted = all.table.slots[0].noted();
        for (chunk, done) in all.done.iter().enumerate() {
            let times = done.load(Ordering::Relaxed);
            assert!(times <= 1 && (times == 1 || noted.contains(&(chunk as u64))));
        }
        death == Err(Death::Struck)
    });
}
