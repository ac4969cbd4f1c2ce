//! What the machine itself takes: the least that a system of processes can hope for.

use std::cell::RefCell;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};

use crate::common::peer::{Mode, Peer, spawn_and_wait, with_fresh_memory};
use crate::common::{WORKERS, latency, sum, timed};
use crate::cpu::CpuClock;
use crate::sheet::{Sheet, Size};

/// Round trips of one word between two processes.
pub fn trips(size: Size) {
    let mut peer = Peer::start();
    for (name, mode) in [("limit: spin", Mode::Spin), ("limit: futex", Mode::Futex)] {
        let sheet = Sheet::of(name);
        for (question, pause) in [("trip", Duration::ZERO), ("idle", crate::measure::IDLE)] {
            if mode == Mode::Spin && !pause.is_zero() {
                // Both would spin through the pause: no limit of those who sleep.
                continue;
            }
            let calls = size.pick(if pause.is_zero() { 10_000 } else { 200 }, 50);
            let clock = CpuClock::start();
            let latency = peer.round(mode, |trip| latency(calls, pause, trip));
            let cpu = clock.seconds() / calls as f64;
            sheet.value(question, latency.median, Some(cpu));
            sheet.value(&format!("{question} mean"), latency.mean, None);
        }
    }
}

/// Copies into shared memory that is fresh or warm; passes over it by two threads.
pub fn arrays(bytes: usize, name: &str, repeats: usize) {
    let source: Vec<f64> = (0..bytes / 8).map(crate::common::number).collect();
    crate::measure::settle(bytes / (1 << 20));
    let sheet = Sheet::of("limit: memcpy");
    let report = |question: &str, work: &mut dyn FnMut()| {
        let clock = CpuClock::start();
        let (seconds, ()) = timed(work);
        sheet.value(&format!("{question} {name}"), seconds, Some(clock.seconds()));
    };
    let copy = |target: *mut u8| {
        // SAFETY: both callers pass memory of as many bytes as `source` has, mapped apart from it,
        // that nobody else knows.
        unsafe { target.copy_from(source.as_ptr().cast(), bytes) }
    };
    with_fresh_memory(bytes, |target| report("put cold", &mut || copy(target)));
    let warm = MmapOptions::new().len(bytes).map_anon().expect("memory can be mapped");
    let warm = MmapRaw::from(warm);
    copy(warm.as_mut_ptr());
    let expected = sum(&source);
    for _ in 0..repeats {
        report("put warm", &mut || copy(warm.as_mut_ptr()));
        report("sum warm", &mut || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..WORKERS)
                    .map(|_| scope.spawn(|| sum(std::hint::black_box(&source))))
                    .collect();
                for thread in threads {
                    assert_eq!(thread.join().expect("a sum"), expected);
                }
            });
        });
    }
}

/// Fills an array and adds it up, in the same thread.
pub fn result(bytes: usize, name: &str, repeats: usize) {
    let sheet = Sheet::of("limit: fill");
    let len = bytes / 8;
    let expected = len as f64 * len as f64;
    let kept = RefCell::new(Vec::new());
    crate::measure::settle(bytes / (1 << 20));
    for turn in 0..=repeats {
        let kind = if turn == 0 { "cold" } else { "warm" };
        let clock = CpuClock::start();
        let (filled, ()) = timed(|| {
            let mut kept = kept.borrow_mut();
            kept.resize(len, 0.0);
            std::hint::black_box(&mut kept[..]).fill(len as f64);
        });
        let (summed, total) = timed(|| sum(&kept.borrow()));
        assert_eq!(total, expected);
        sheet.value(&format!("result {kind} {name}"), filled + summed, Some(clock.seconds()));
    }
}

/// Two bare processes that start and end.
pub fn start(repeats: usize) {
    let sheet = Sheet::of("limit: two processes");
    for _ in 0..repeats {
        sheet.value("start", timed(|| spawn_and_wait(WORKERS)).0, None);
    }
}
