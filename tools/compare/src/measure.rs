//! The questions that are asked of every system.

use std::cell::Cell;
use std::time::Duration;

use crate::common::{WORKERS, latency, number, sum, timed};
use crate::cpu::CpuClock;
use crate::grain;
use crate::sheet::{Sheet, Size};
use crate::systems::{self, Plan, Pool, Put};
use crate::work::{Look, Part};

/// How long everybody is left alone before a call that finds them asleep.
pub const IDLE: Duration = Duration::from_millis(1);
/// Calls that are not counted.
const WARM_UP: u64 = 100;
const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// The most tasks of one throughput.
const TASKS_MAX: u64 = 2_000_000;

thread_local!(static MEETINGS: Cell<u64> = const { Cell::new(0) });

/// A look that no worker has had yet.
fn look(part: Part) -> Look {
    MEETINGS.set(MEETINGS.get() + 1);
    Look { round: MEETINGS.get(), part }
}

fn build(name: &str, plan: Plan) -> Box<dyn Pool> {
    systems::start(name, plan).unwrap_or_else(|| panic!("no system is called {name}"))
}

/// Round trips, throughput and the smallest useful task.
pub fn tasks(name: &str, size: Size) {
    let sheet = Sheet::of(name);
    let plan = |workers| Plan { workers, array_len: 0 };
    let mut pool = build(name, plan(systems::workers_for_trips(name)));
    trips(&sheet, &mut *pool, size);
    if systems::workers_for_trips(name) != WORKERS {
        // One ends before the other begins.
        drop(pool);
        pool = build(name, plan(WORKERS));
    }
    let pool = &mut *pool;
    throughput(&sheet, "single", size, |tasks| Some(pool.singly(tasks, 0)));
    throughput(&sheet, "batched", size, |tasks| pool.batched(tasks, 0));
    grain::find(&sheet, "single", size, |tasks, links| Some(pool.singly(tasks, links)));
    grain::find(&sheet, "batched", size, |tasks, links| pool.batched(tasks, links));
    grain::find(&sheet, "ranges", size, |tasks, links| pool.ranges(tasks, links));
}

fn trips(sheet: &Sheet, pool: &mut dyn Pool, size: Size) {
    let seed = Cell::new(0);
    let mut call = || {
        seed.set(seed.get() + 1);
        assert_eq!(pool.call(seed.get(), 0), seed.get());
    };
    let (warm, ()) = timed(|| (0..WARM_UP).for_each(|_| call()));
    let budget = size.pick(0.4, 0.02);
    for (question, pause) in [("trip", Duration::ZERO), ("idle", IDLE)] {
        let each = warm / WARM_UP as f64 + pause.as_secs_f64();
        let calls = ((budget / each) as usize).clamp(20, 50_000);
        let clock = CpuClock::start();
        let latency = latency(calls, pause, &mut call);
        let cpu = clock.seconds() / calls as f64;
        sheet.value(question, latency.median, Some(cpu));
        sheet.value(&format!("{question} mean"), latency.mean, None);
    }
}

/// As many empty tasks as take a while, after fewer and fewer that warm up.
fn throughput(sheet: &Sheet, how: &str, size: Size, mut run: impl FnMut(u64) -> Option<u64>) {
    let enough = size.pick(0.3, 0.01);
    let mut tasks = 128u64;
    loop {
        let clock = CpuClock::start();
        let (seconds, total) = timed(|| run(tasks));
        let Some(total) = total else { return };
        assert_eq!(total, tasks * (tasks - 1) / 2, "every seed comes back, once");
        if seconds >= enough || tasks == TASKS_MAX {
            let cpu = clock.seconds() / tasks as f64;
            sheet.value(&format!("rate {how}"), tasks as f64 / seconds, Some(cpu));
            return;
        }
        let fitting = (tasks as f64 * 1.2 * enough / seconds) as u64;
        tasks = fitting.clamp(2 * tasks, 10 * tasks).min(TASKS_MAX);
    }
}

/// A pool whose workers have answered, for arrays of so many bytes.
fn ready(name: &str, bytes: usize) -> Box<dyn Pool> {
    let mut pool = build(name, Plan { workers: WORKERS, array_len: bytes / 8 });
    meet(&mut *pool);
    pool
}

/// Arrays on the way in, and on the way out if `has_results`.
pub fn arrays(name: &str, bytes: usize, shown: &str, repeats: usize, has_results: bool) {
    let sheet = Sheet::of(name);
    let mut pool = ready(name, bytes);
    let pool = &mut *pool;
    if look_at_arrays(&sheet, pool, bytes, shown, repeats) {
        make_arrays(&sheet, pool, bytes, shown, repeats);
    }
    if has_results {
        results(&sheet, pool, bytes, shown, repeats);
    }
}

/// Touches memory and gives it back, so that the host has it ready for whoever comes next: a
/// virtual machine's memory that was not used for a while is the host's, and slow to get back.
pub fn settle(mib: usize) {
    let mut memory = memmap2::MmapMut::map_anon(mib * MIB).expect("memory can be mapped");
    // Without huge pages it only takes longer.
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
}

/// From nothing to an array that the caller has filled and both workers have touched.
fn make_arrays(sheet: &Sheet, pool: &mut dyn Pool, bytes: usize, shown: &str, repeats: usize) {
    let len = bytes / 8;
    for _ in 0..repeats {
        let look = look(Part::Element(len as u64 / 2 + 1));
        let clock = CpuClock::start();
        let (seconds, answers) = timed(|| {
            if pool.fill(len) {
                return pool.both(look, &[]);
            }
            let array = vec![len as f64; len];
            pool.put(&array);
            pool.both(look, &array)
        });
        assert_eq!(answers, [len as f64; 2]);
        sheet.value(&format!("make warm {shown}"), seconds, Some(clock.seconds()));
        pool.release();
    }
}

/// What both workers need to reach an array, and to add it all up. False: there is no such way.
fn look_at_arrays(
    sheet: &Sheet,
    pool: &mut dyn Pool,
    bytes: usize,
    shown: &str,
    repeats: usize,
) -> bool {
    let source: Vec<f64> = (0..bytes / 8).map(number).collect();
    settle(bytes / MIB);
    let middle = Part::Element(source.len() as u64 / 2 + 1);
    for turn in 0..=repeats {
        let kind = if turn == 0 { "cold" } else { "warm" };
        let clock = CpuClock::start();
        let (put, how) = timed(|| pool.put(&source));
        if how == Put::Impossible {
            return false;
        }
        let touch = seconds_of_both(pool, look(middle), &source);
        let cpu = clock.seconds();
        let clock = CpuClock::start();
        let pass = seconds_of_both(pool, look(Part::Everything), &source);
        if how == Put::Copied {
            sheet.value(&format!("put {kind} {shown}"), put, None);
        }
        sheet.value(&format!("reach {kind} {shown}"), put + touch, Some(cpu));
        sheet.value(&format!("sum {kind} {shown}"), pass, Some(clock.seconds()));
        pool.release();
    }
    true
}

fn seconds_of_both(pool: &mut dyn Pool, look: Look, source: &[f64]) -> f64 {
    let (seconds, answers) = timed(|| pool.both(look, source));
    assert_eq!(answers, [look.expected(source); 2]);
    seconds
}

/// Waits until both workers are there.
fn meet(pool: &mut dyn Pool) {
    seconds_of_both(pool, look(Part::Nothing), &[]);
}

/// An array that a worker fills and the caller adds up.
fn results(sheet: &Sheet, pool: &mut dyn Pool, bytes: usize, shown: &str, repeats: usize) {
    let len = bytes / 8;
    settle(bytes / MIB);
    for turn in 0..=repeats {
        let kind = if turn == 0 { "cold" } else { "warm" };
        let clock = CpuClock::start();
        let mut total = 0.0;
        let (seconds, is_there) = timed(|| pool.result(len, &mut |array| total = sum(array)));
        if !is_there {
            return;
        }
        assert_eq!(total, len as f64 * len as f64, "the array holds its length everywhere");
        sheet.value(&format!("result {kind} {shown}"), seconds, Some(clock.seconds()));
    }
}

/// From nothing to an answer of both workers, and back to nothing.
pub fn start(name: &str, repeats: usize) {
    let sheet = Sheet::of(name);
    for _ in 0..repeats {
        let clock = CpuClock::start();
        let (seconds, pool) = timed(|| {
            let mut pool = build(name, Plan { workers: WORKERS, array_len: 0 });
            meet(&mut *pool);
            pool
        });
        sheet.value("start", seconds, Some(clock.seconds()));
        sheet.value("stop", timed(|| drop(pool)).0, None);
    }
}
