//! The ring as a queue: order, full, empty, laps, hints, and several at both ends.

use std::collections::VecDeque;
use std::thread;

use super::super::ring::{Front, Full, Reader, Ring};
use super::ROUNDS;
use crate::sync::{AtomicU64, Ordering};

/// Cells and hints with `laps` laps behind them.
struct Twin {
    cells: Vec<AtomicU64>,
    front: Front,
    tail: AtomicU64,
}

impl Twin {
    fn new(cells: usize, laps: usize) -> Self {
        let cells = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let twin = Self { cells, front: Front::default(), tail: AtomicU64::new(0) };
        for _ in 0..laps * twin.cells.len() {
            assert_eq!(twin.ring().push(99), Ok(()));
            assert_eq!(twin.ring().pop(), Some(99));
        }
        twin
    }

    fn ring(&self) -> Ring<'_> {
        Ring::over(&self.cells, &self.front, &self.tail)
    }
}

/// Pushes and pops in turn, as a queue in ordinary memory would take and give them.
fn check(cells: usize, laps: usize, steps: &[i32]) {
    let twin = Twin::new(cells, laps);
    let (mut queue, mut id) = (VecDeque::new(), 0);
    let mut pushed = (cells * laps) as u64;
    for &step in steps {
        for _ in 0..step {
            id += 1;
            let room = queue.len() < cells;
            assert_eq!(twin.ring().backlog(), queue.len() as u64);
            assert_eq!(twin.ring().pushed(), pushed);
            pushed += u64::from(room);
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
fn a_tail_that_is_moved_once_for_several_pushes_counts_and_takes_all_the_same() {
    for cells in [8, 16, 32] {
        for laps in [0, 1, 3] {
            check(cells, laps, &[1, -1, 3, -2, 5, -6, 15, -9, 20, -30, 40, -33, 7, -99, 8, -8]);
        }
    }
    // Pushers that have not moved it are behind, or gone.
    for behind in 0..16 {
        let twin = Twin::new(16, 2);
        (0..11).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
        twin.tail.store(32 + 11 - behind.min(11), Ordering::Relaxed);
        assert_eq!(twin.ring().push(11), Ok(()));
        assert!((0..12).all(|id| twin.ring().pop() == Some(id)) && twin.ring().is_empty());
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
        twin.front.head.store(12 - head_back, Ordering::Relaxed);
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
            let (twin, mut reader) = (Twin::new(4, laps), Reader::at(near));
            assert_eq!(twin.ring().pop_near(&mut reader), None, "{laps} {near}");
            for ids in [0..1, 1..5, 5..6] {
                ids.clone().for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
                assert_eq!(twin.ring().backlog(), ids.len() as u64);
                for id in ids {
                    assert_eq!(twin.ring().pop_near(&mut reader), Some(id), "{laps} {near}");
                }
                assert_eq!(twin.ring().pop_near(&mut reader), None);
            }
        }
    }
}

/// A ring that was overwritten and put in order may come to a position that somebody remembers: to
/// him it is empty there. He forgets it when `is_empty` says that it is not.
#[test]
fn who_is_ahead_of_the_front_finds_it_from_the_start() {
    let (twin, mut ahead) = (Twin::new(4, 2), Reader::at(10));
    (0..2).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
    assert_eq!(twin.ring().pop_near(&mut ahead), None);
    assert!(!twin.ring().is_empty());
    ahead.start_over();
    assert_eq!(twin.ring().pop_near(&mut ahead), Some(0));
}

/// The same, farther ahead: that one moved the head to where it was, and others, who begin there,
/// slept over what was pushed at the front.
#[test]
fn who_is_ahead_of_the_front_leads_nobody_astray() {
    let (twin, mut ahead) = (Twin::new(16, 2), Reader::at(42));
    (0..2).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
    assert_eq!(twin.ring().pop_near(&mut ahead), None);
    assert!(!twin.ring().is_empty());
    assert_eq!([twin.ring().pop(), twin.ring().pop()], [Some(0), Some(1)]);
}

/// With a tail that is behind, too, the ring was taken for garbled, and so for empty.
#[test]
fn a_head_that_is_a_whole_ring_behind_leads_to_the_front() {
    for pushed in 0..16 {
        let twin = Twin::new(16, 1);
        for id in 0..pushed {
            assert_eq!(twin.ring().push(id), Ok(()));
            assert_eq!(twin.ring().pop(), Some(id));
        }
        for head in 0..16 {
            twin.front.head.store(head, Ordering::Relaxed);
            assert!(twin.ring().is_empty(), "{pushed} {head}");
            twin.front.head.store(head, Ordering::Relaxed);
            assert_eq!(twin.ring().push(7), Ok(()));
            assert!(!twin.ring().is_empty(), "{pushed} {head}");
            assert_eq!(twin.ring().pop_near(&mut Reader::default()), Some(7), "{pushed} {head}");
        }
    }
}

#[test]
fn ids_that_others_popped_are_passed_over_by_who_remembers_them() {
    let twin = Twin::new(8, 1);
    let mut readers = [0, 3, 8].map(Reader::at);
    for id in 0..100 {
        assert_eq!(twin.ring().push(id), Ok(()));
        assert_eq!(twin.ring().pop_near(&mut readers[id as usize * 7 % 5 % 3]), Some(id));
    }
    assert!(readers.iter_mut().all(|reader| twin.ring().pop_near(reader).is_none()));
}

/// Twenty ids in 64 cells, two stretches and a half, and readers.
fn stretches(laps: usize) -> (Twin, [Reader; 3]) {
    let twin = Twin::new(64, laps);
    (0..20).for_each(|id| assert_eq!(twin.ring().push(id), Ok(())));
    (twin, Default::default())
}

#[test]
fn who_has_a_stretch_pops_it_alone_as_long_as_others_find_more() {
    for laps in [0, 1, 7] {
        let (twin, [mut a, mut b, mut c]) = stretches(laps);
        let ring = twin.ring();
        assert!(ring.pop_own(&mut a).is_none() && ring.peek_own(&a, 0).is_none());
        assert!(ring.take_stretch(&mut a, 9) && ring.take_stretch(&mut b, 9));
        assert!(!ring.take_stretch(&mut c, 9), "a line that is not full");
        assert_eq!(
            (ring.peek_own(&a, 0), ring.peek_own(&a, 7), ring.peek_own(&a, 8)),
            (Some(0), Some(7), None)
        );
        assert_eq!([ring.pop_own(&mut b), ring.pop_own(&mut a)], [Some(8), Some(0)]);
        // Who has none finds what is at the front, whoever's it is.
        assert_eq!([ring.pop_near(&mut c), ring.pop()], [Some(1), Some(2)]);
        assert_eq!((ring.pop_own(&mut a), ring.peek_own(&a, 0)), (Some(3), Some(4)));
        let rest: Vec<u32> = std::iter::from_fn(|| ring.pop_near(&mut c)).collect();
        assert!(rest.into_iter().eq((4..8).chain(9..20)));
        assert!(ring.pop_own(&mut a).is_none() && ring.pop_own(&mut b).is_none());
        assert!(ring.is_empty() && ring.backlog() == 0 && ring.popped() == 20 + 64 * laps as u64);
    }
}

/// A worker may come upon a long task, be stopped or die, when it has popped one of its stretch.
#[test]
fn ids_of_a_slow_owner_are_left_alone_only_for_a_while() {
    for ahead_max in [1, 2] {
        let (twin, [mut slow, mut fast, _]) = stretches(1);
        let ring = twin.ring();
        assert!(ring.take_stretch(&mut slow, ahead_max));
        assert_eq!(ring.pop_own(&mut slow), Some(0));
        let mut popped = Vec::new();
        for next in 20..100 {
            assert_eq!(ring.push(next), Ok(()));
            let own = ring.pop_own(&mut fast).or_else(|| {
                ring.take_stretch(&mut fast, ahead_max).then(|| ring.pop_own(&mut fast))?
            });
            popped.extend(own.or_else(|| ring.pop_near(&mut fast)));
        }
        let late = popped.iter().position(|id| *id == 7).expect("it is popped");
        assert!(late <= 8 * (ahead_max as usize + 1), "{ahead_max}: {late} others came first");
        assert!(ring.pop_own(&mut slow).is_none(), "all of it was popped by others");
        popped.sort_unstable();
        assert!(popped.iter().zip(1..).all(|(id, expected)| *id == expected), "{popped:?}");
    }
}

#[test]
fn whatever_is_written_where_stretches_are_counted_each_id_is_popped_once() {
    for given in [0, 1, 70, 80, 84, 95, 128, 1 << 40, u64::MAX - 1, u64::MAX] {
        let (twin, mut readers) = stretches(1);
        twin.front.given.store(given, Ordering::Relaxed);
        let ring = twin.ring();
        let mut popped = Vec::new();
        for next in 20..220 {
            assert_eq!(ring.push(next), Ok(()), "{given}");
            let reader = &mut readers[next as usize % 3];
            let own = ring
                .pop_own(reader)
                .or_else(|| ring.take_stretch(reader, 6).then(|| ring.pop_own(reader))?);
            popped.extend(own.or_else(|| ring.pop_near(reader)));
        }
        popped.extend(std::iter::from_fn(|| ring.pop()));
        popped.sort_unstable();
        assert!(popped.into_iter().eq(0..220), "{given}");
    }
}

#[test]
fn laps_wrap_around() {
    let twin = Twin::new(2, 0);
    let last = u64::from(u32::MAX);
    twin.cells.iter().for_each(|cell| cell.store(last << 32, Ordering::Relaxed));
    twin.front.head.store(last * 2, Ordering::Relaxed);
    twin.tail.store(last * 2, Ordering::Relaxed);
    for id in 0..7 {
        assert_eq!(twin.ring().push(id), Ok(()));
        assert_eq!(twin.ring().pop(), Some(id));
    }
}

#[test]
fn each_id_that_one_pushes_is_popped_by_one_of_several() {
    for cells in [4, 64] {
        one_pushes_three_pop(cells);
    }
}

fn one_pushes_three_pop(cells: usize) {
    const END: u32 = u32::MAX >> 1;
    let twin = Twin::new(cells, 1);
    let push = |id| {
        while twin.ring().push(id) == Err(Full) {
            thread::yield_now();
        }
    };
    let ring = twin.ring();
    let next = |reader: &mut Reader| {
        ring.pop_own(reader)
            .or_else(|| ring.take_stretch(reader, 6).then(|| ring.pop_own(reader))?)
            .or_else(|| ring.pop_near(reader))
    };
    let pop = |reader: &mut Reader| loop {
        match next(reader) {
            Some(id) => return (id != END).then_some(id),
            None => thread::yield_now(),
        }
    };
    let pop_all = || {
        let mut reader = Reader::default();
        std::iter::from_fn(|| pop(&mut reader)).collect()
    };
    let mut ids: Vec<u32> = thread::scope(|scope| {
        let poppers = [(); 3].map(|()| scope.spawn(pop_all));
        (0..ROUNDS).for_each(push);
        poppers.iter().for_each(|_| push(END));
        poppers.into_iter().flat_map(|p| -> Vec<u32> { p.join().expect("popper") }).collect()
    });
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..ROUNDS));
    assert!(twin.ring().is_empty());
}

/// Whether anything is queued is asked before each sleep, and then a look at one cell is enough.
#[test]
fn who_remembers_how_far_it_has_come_sees_what_is_queued_wherever_that_is() {
    for laps in [0, 1, 3] {
        for popped in 0..40 {
            let twin = Twin::new(16, laps);
            let ring = twin.ring();
            let mut reader = Reader::at((laps * 16) as u64);
            for id in 0..popped {
                assert!(ring.is_empty_near(&reader));
                assert_eq!(ring.push(id), Ok(()));
                assert!(!ring.is_empty_near(&reader));
                assert_eq!(ring.pop_near(&mut reader), Some(id));
            }
            // What others pop and push, who is behind sees as well.
            for id in 0..20 {
                assert!(ring.is_empty_near(&reader) && ring.is_empty());
                assert_eq!(ring.push(id), Ok(()));
                assert!(!ring.is_empty_near(&reader));
                assert_eq!(ring.pop(), Some(id));
            }
        }
    }
}

/// What it remembers may be wrong where the ring was overwritten.
#[test]
fn who_remembers_a_place_far_from_the_hint_is_not_believed() {
    for queued in [false, true] {
        let twin = Twin::new(16, 1);
        if queued {
            assert_eq!(twin.ring().push(7), Ok(()));
        }
        for near in [0, 15, 24, 25, 32, 48, 1 << 40, u64::MAX] {
            assert_eq!(twin.ring().is_empty_near(&Reader::at(near)), !queued, "{near}");
        }
    }
}
