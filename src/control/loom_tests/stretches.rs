//! Stretches of the ring: who has one and who has none pop each id once, and leave none behind.

use loom::thread;

use super::super::ring::Reader;
use super::{SOME, Table, check};
use crate::sync::Arc;

/// Worker: pops as `Worker::pop`, so many times.
fn pop(table: &Table, times: usize) -> Vec<u32> {
    let (ring, mut reader) = (table.ring(), Reader::default());
    let next = |_| {
        ring.pop_own(&mut reader)
            .or_else(|| ring.take_stretch(&mut reader, 2).then(|| ring.pop_own(&mut reader))?)
            .or_else(|| ring.pop_near(&mut reader))
    };
    (0..times).filter_map(next).collect()
}

#[test]
fn what_lies_in_stretches_is_popped_once_by_owners_and_others() {
    check(SOME, || {
        let table = Table::new(4, 1);
        (0..4).for_each(|id| table.ring().push(id).expect("eight cells"));
        let others = [2, 2].map(|times| {
            let table = Arc::clone(&table);
            thread::spawn(move || pop(&table, times))
        });
        let mut ids: Vec<u32> = table.ring().pop().into_iter().collect();
        table.ring().push(4).expect("a cell is empty");
        for other in others {
            ids.extend(other.join().expect("popper"));
        }
        ids.extend(std::iter::from_fn(|| table.ring().pop()));
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3, 4]);
        assert!(table.ring().is_empty() && table.ring().backlog() == 0);
    });
}

/// Who looks whether there is work must see what an owner has left in its stretch.
#[test]
fn what_an_owner_leaves_is_seen_by_who_is_about_to_sleep() {
    check(SOME, || {
        let table = Table::new(4, 1);
        (0..4).for_each(|id| table.ring().push(id).expect("eight cells"));
        let owner = {
            let table = Arc::clone(&table);
            thread::spawn(move || pop(&table, 1))
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || pop(&table, 2))
        };
        let popped = owner.join().expect("owner").len() + other.join().expect("other").len();
        assert_eq!(popped, 3);
        assert!(!table.ring().is_empty());
        assert!(table.ring().pop().is_some() && table.ring().pop().is_none());
    });
}
