//! The ring as a queue: order, full, empty, laps, hints, and several at both ends.

use std::collections::VecDeque;
use std::thread;

use super::super::ring::{Full, Ring};
use super::ROUNDS;
use crate::sync::{AtomicU64, Ordering};

/// Cells and hints with `laps` laps behind them.
struct Twin {
    cells: Vec<AtomicU64>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl Twin {
    fn new(cells: usize, laps: usize) -> Self {
        let cells = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let twin = Self { cells, head: AtomicU64::new(0), tail: AtomicU64::new(0) };
        for _ in 0..laps * twin.cells.len() {
            assert_eq!(twin.ring().push(99), Ok(()));
            assert_eq!(twin.ring().pop(), Some(99));
        }
        twin
    }

    fn ring(&self) -> Ring<'_> {
        Ring::over(&self.cells, &self.head, &self.tail)
    }
}

/// Pushes and pops in turn, as a queue in ordinary memory would take and give them.
fn check(cells: usize, laps: usize, steps: &[i32]) {
    let twin = Twin::new(cells, laps);
    let (mut queue, mut id) = (VecDeque::new(), 0);
    for &step in steps {
        for _ in 0..step {
            id += 1;
            let room = queue.len() < cells;
            assert_eq!(twin.ring().backlog(), queue.len() as u64);
            assert_eq!(twin.ring().push(id), if room { Ok(()) } else { Err(Full) });
            queue.extend(room.then_some(id));
        }
        for _ in 0..-step {
            assert_eq!(twin.ring().pop(), queue.pop_front());
        }
        assert_eq!(twin.ring().is_empty(), queue.is_empty());
    }
}

#[test]
fn ids_come_out_in_order_until_it_is_empty_and_go_in_until_it_is_full() {
    for cells in [1, 2, 4, 8] {
        for laps in [0, 1, 5] {
            check(cells, laps, &[1, -1, -1, 2, -1, 9, -9, 3, -2, 20, -30, 1, -1]);
        }
    }
}

#[test]
fn the_largest_id_and_zero_are_ids_like_others() {
    let twin = Twin::new(2, 0);
    for id in [0, (1 << 31) - 1] {
        assert_eq!(twin.ring().push(id), Ok(()));
        assert_eq!(twin.ring().pop(), Some(id));
    }
}

#[test]
fn whoever_finds_a_hint_behind_goes_on_from_there() {
    for (head_back, tail_back) in [(1, 0), (0, 1), (2, 2), (4, 4), (5, 1), (12, 0), (12, 1)] {
        let twin = Twin::new(4, 3);
        twin.head.store(12 - head_back, Ordering::Relaxed);
        twin.tail.store(12 - tail_back, Ordering::Relaxed);
        assert!(twin.ring().is_empty(), "{head_back} {tail_back}");
        assert_eq!(twin.ring().backlog(), 0, "{head_back} {tail_back}");
        (0..4).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
        assert_eq!(twin.ring().push(4), Err(Full));
        (0..4).for_each(|id| assert_eq!(twin.ring().pop(), Some(id)));
        assert_eq!(twin.ring().pop(), None);
    }
}

#[test]
fn who_remembers_any_position_pops_what_the_others_would() {
    for laps in [0, 1, 2, 9] {
        let end = 4 * laps as u64;
        let behind = [0, end.saturating_sub(9), end.saturating_sub(4), end.saturating_sub(1)];
        // The latter are what somebody may have written into the hints, and others read.
        for near in behind.into_iter().chain([end, (end + 4) << 20, u64::MAX]) {
            let (twin, mut near) = (Twin::new(4, laps), near);
            assert_eq!(twin.ring().pop_near(&mut near), None, "{laps} {near}");
            for ids in [0..1, 1..5, 5..6] {
                ids.clone().for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
                assert_eq!(twin.ring().backlog(), ids.len() as u64);
                for id in ids {
                    assert_eq!(twin.ring().pop_near(&mut near), Some(id), "{laps} {near}");
                }
                assert_eq!(twin.ring().pop_near(&mut near), None);
            }
        }
    }
}

/// A ring that was overwritten and put in order may come to a position that somebody remembers: to
/// him it is empty there. He forgets it when `is_empty` says that it is not.
#[test]
fn who_is_ahead_of_the_front_finds_it_from_the_start() {
    let (twin, mut ahead) = (Twin::new(4, 2), 10);
    (0..2).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
    assert_eq!(twin.ring().pop_near(&mut ahead), None);
    assert!(!twin.ring().is_empty());
    assert_eq!(twin.ring().pop_near(&mut 0), Some(0));
}

#[test]
fn ids_that_others_popped_are_passed_over_by_who_remembers_them() {
    let twin = Twin::new(8, 1);
    let mut nears = [0, 3, 8];
    for id in 0..100 {
        assert_eq!(twin.ring().push(id), Ok(()));
        assert_eq!(twin.ring().pop_near(&mut nears[id as usize * 7 % 5 % 3]), Some(id));
    }
    assert!(nears.iter_mut().all(|near| twin.ring().pop_near(near).is_none()));
}

#[test]
fn laps_wrap_around() {
    let twin = Twin::new(2, 0);
    let last = u64::from(u32::MAX);
    twin.cells.iter().for_each(|cell| cell.store(last << 32, Ordering::Relaxed));
    twin.head.store(last * 2, Ordering::Relaxed);
    twin.tail.store(last * 2, Ordering::Relaxed);
    for id in 0..7 {
        assert_eq!(twin.ring().push(id), Ok(()));
        assert_eq!(twin.ring().pop(), Some(id));
    }
}

#[test]
fn each_id_that_one_pushes_is_popped_by_one_of_several() {
    const END: u32 = u32::MAX >> 1;
    let twin = Twin::new(4, 1);
    let push = |id| {
        while twin.ring().push(id) == Err(Full) {
            thread::yield_now();
        }
    };
    let pop = || loop {
        match twin.ring().pop() {
            Some(id) => return (id != END).then_some(id),
            None => thread::yield_now(),
        }
    };
    let mut ids: Vec<u32> = thread::scope(|scope| {
        let poppers = [(); 3].map(|()| scope.spawn(|| std::iter::from_fn(pop).collect()));
        (0..ROUNDS).for_each(push);
        poppers.iter().for_each(|_| push(END));
        poppers.into_iter().flat_map(|p| -> Vec<u32> { p.join().expect("popper") }).collect()
    });
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..ROUNDS));
    assert!(twin.ring().is_empty());
}
