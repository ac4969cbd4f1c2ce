//! Callers submit tasks of all kinds while a killer takes their workers away.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use fastrand::Rng;
use wharf::Executor;

use crate::common::process::{Watched, children_of};
use crate::common::{DEADLINE, segments_of};
use crate::kinds::{self, World};
use crate::pending::{self, Pending};
use crate::watch::{self, CANCELLED, KILLS, STEPS, SUBMITTED, fail, settled};

/// Tasks of one executor, before it gives way to the next.
const ROUND_TASKS: u64 = 50_000;
const BUDGET_BYTES: u64 = 256 << 20;
/// The most tasks that one caller submits before it asks for any outcome.
const BURST_MAX: usize = 64;
/// The most handles that wait to be joined late, by whichever caller comes across them.
const LATE_MAX: usize = 500;
/// The longest that the killer waits between two looks.
const PAUSE_MAX_US: u64 = 2000;

/// The most blocks that show that nothing is in use.
const BLOCKS_MAX: u64 = 4096;
const PAGE: u64 = 4096;

/// What was left over, added up over all rounds. All zero where nothing leaks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    pub held_bytes: u64,
    pub descriptors: usize,
    pub mappings: usize,
    pub threads: usize,
    pub children: usize,
    pub names: usize,
}

/// Kills at least so many workers while at least so many tasks run. Returns rounds and leaks.
pub fn soak(kills: u64, tasks: u64, random: &mut Rng) -> (u64, Leaks) {
    let rounds = tasks.div_ceil(ROUND_TASKS).max(1);
    let mut leaks = Leaks::default();
    let before = traces();
    for n in 1..=rounds {
        watch::enter("workers: tasks");
        let share = |all: u64| all * n / rounds - all * (n - 1) / rounds;
        leaks.held_bytes += round(share(kills), share(tasks), random);
        watch::enter("workers: traces");
        // A thread that was joined, a process that was reaped may be seen for a moment longer.
        until(|| traces() == before);
        let now = traces();
        leaks.descriptors += now.descriptors.saturating_sub(before.descriptors);
        leaks.mappings += now.mappings.saturating_sub(before.mappings);
        leaks.threads += now.threads.saturating_sub(before.threads);
        leaks.children += now.children.saturating_sub(before.children);
        leaks.names += now.names.saturating_sub(before.names);
    }
    pending::check_graves();
    (rounds, leaks)
}

/// One executor, its callers and its killer. Returns the bytes that were not given back.
fn round(kills: u64, tasks: u64, random: &mut Rng) -> u64 {
    let executor = Executor::builder()
        .workers(random.usize(2..=4))
        .task_slots([8, 64, 1024, 4096][random.usize(..4)])
        .memory_budget(BUDGET_BYTES)
        .retain_memory(0)
        // The account of a panic would take a hundred times as long as the task.
        .env("RUST_BACKTRACE", "0")
        .spin(Duration::from_micros([0, 50][random.usize(..2)]))
        .build()
        .unwrap_or_else(|error| fail(format_args!("no executor: {error}")));
    let round = Round {
        executor: &executor,
        pot: Mutex::default(),
        submitted: (SUBMITTED.get(), SUBMITTED.get() + tasks),
        killed: (KILLS.get(), KILLS.get() + kills),
    };
    let cancelled = CANCELLED.get();
    std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        let mut fork = random.fork();
        let round = &round;
        scope.spawn(move || round.kill(&mut fork, &ended));
        for _ in 0..random.usize(2..=4) {
            let (mut fork, end) = (random.fork(), end.clone());
            scope.spawn(move || {
                round.call(&mut fork);
                drop(end);
            });
        }
    });
    let pot = std::mem::take(&mut *round.pot.lock().expect("nobody panics with it"));
    pot.into_iter().for_each(|late| late.settle(&executor, random));
    watch::enter("workers: counts");
    // A handle that was let go leaves a task behind that is still to run.
    let cancelled = CANCELLED.get() - cancelled;
    let ran = SUBMITTED.get() - round.submitted.0 - cancelled;
    let killed = KILLS.get() - round.killed.0;
    // A cancelled task may have run: its worker was to be killed anyway, and is not counted.
    let unasked = killed.saturating_sub(cancelled)..=killed;
    if !until(|| unasked.contains(&executor.stats().deaths)) {
        fail(format_args!("{} deaths of {killed} kills", executor.stats().deaths));
    }
    // A killed worker may have finished its last task, and not have counted it yet.
    if !until(|| executor.stats().tasks_finished + killed >= ran) {
        let finished = executor.stats().tasks_finished;
        fail(format_args!("{finished} tasks of {ran} were run, with {killed} kills"));
    }
    if settled() != SUBMITTED.get() {
        fail(format_args!("{} handles, {} verdicts", SUBMITTED.get(), settled()));
    }
    watch::enter("workers: memory");
    let leaked = leaked_bytes(&executor);
    watch::enter("workers: shutdown");
    executor.shutdown().unwrap_or_else(|error| fail(format_args!("no orderly end: {error}")));
    leaked
}

struct Round<'e> {
    executor: &'e Executor,
    /// Handles that are joined late.
    pot: Mutex<Vec<Box<dyn Pending>>>,
    /// What was counted when the round began, and what has to be counted before it ends.
    submitted: (u64, u64),
    killed: (u64, u64),
}

impl Round<'_> {
    fn call(&self, random: &mut Rng) {
        let mut world = World::new(self.executor, random);
        let mut burst = Vec::new();
        while SUBMITTED.get() < self.submitted.1 || KILLS.get() < self.killed.1 {
            for _ in 0..random.usize(1..BURST_MAX) {
                burst.push(kinds::submit(self.executor, &world, random));
            }
            random.shuffle(&mut burst);
            {
                let mut pot = self.pot.lock().expect("nobody panics with it");
                let late = burst.len() / 4;
                pot.extend(burst.drain(..late));
                random.shuffle(&mut pot);
                let room = pot.len().min(LATE_MAX);
                burst.extend(pot.drain(room..));
            }
            burst.drain(..).for_each(|pending| pending.settle(self.executor, random));
            if random.u8(..8) == 0 {
                world = World::new(self.executor, random);
            }
        }
    }

    /// Kills until there were enough, never further ahead than the tasks are.
    fn kill(&self, random: &mut Rng, ended: &Receiver<()>) {
        let ((_, kills), (first, tasks)) = (self.killed, self.submitted);
        let (wanted, all) = (kills - self.killed.0, tasks - first);
        while KILLS.get() < kills {
            // Nobody sends: it is the end of all callers, or the time has passed.
            let pause = Duration::from_micros(random.u64(..PAUSE_MAX_US));
            let _ = ended.recv_timeout(pause);
            let done = (KILLS.get() - self.killed.0, SUBMITTED.get() - first);
            if done.0 * all > done.1 * wanted {
                continue;
            }
            let mut pids = self.executor.worker_pids();
            random.shuffle(&mut pids);
            // Now and then all of them at once.
            let victims = if random.u8(..16) == 0 { pids.len() } else { 1 };
            kill(&pids[..victims.min(pids.len())]);
        }
    }
}

/// Kills workers of this process, all at once, and counts each.
///
/// Waits for their ends, so that none is counted again while it is dying.
pub fn kill(pids: &[u32]) {
    let workers = pids.iter().filter_map(|&pid| Some((pid, Watched::open(pid)?)));
    let this = std::process::id();
    let killed: Vec<_> = workers.filter(|(_, worker)| worker.kill_child_of(this)).collect();
    for (pid, worker) in killed {
        worker.wait_for_end();
        pending::killed(pid);
        KILLS.raise();
    }
}

/// What is held though everything was dropped.
///
/// Pages that small blocks have ever used stay with their heap, so first the workers get new ones,
/// and then all that the parent holds is filled with blocks: they fit if nothing is in use. They
/// are few, since a heap opens another range of addresses when it has thousands of blocks.
fn leaked_bytes(executor: &Executor) -> u64 {
    let deaths = executor.stats().deaths;
    let pids = executor.worker_pids();
    let count = pids.len() as u64;
    kill(&pids);
    if !until(|| executor.stats().deaths == deaths + count) {
        fail(format_args!("{count} workers were killed, and {} died", executor.stats().deaths));
    }
    let _ = until(|| executor.stats().workers as usize == executor.workers());
    let mut leaked = 0;
    // A task that was let go may run only now, and what it reads is held until then.
    let _ = until(|| {
        leaked = bytes_in_use(executor);
        leaked == 0
    });
    leaked
}

/// 0 if nothing is in use. Else how many bytes the parent's heap lacks when it is to be filled, or
/// those that are held beyond whole pages: what is in use of a dead worker's heap.
fn bytes_in_use(executor: &Executor) -> u64 {
    let before = executor.stats().held_bytes;
    let len = (before / BLOCKS_MAX).next_power_of_two().clamp(1 << 10, 1 << 15);
    let block = |_| executor.array::<u8>(len as usize);
    let blocks: Result<Vec<_>, _> = (0..before / len).map(block).collect();
    let blocks = blocks.unwrap_or_else(|error| fail(format_args!("no small block: {error}")));
    let after = executor.stats().held_bytes;
    drop(blocks);
    after.abs_diff(before).max(before % PAGE)
}

/// Waits for what has to come. False: it did not.
fn until(mut condition: impl FnMut() -> bool) -> bool {
    // Sooner than the watch, which does not know what was waited for.
    let deadline = Instant::now() + DEADLINE / 4;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    STEPS.raise();
    true
}

#[derive(Debug, PartialEq, Eq)]
struct Traces {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    children: usize,
    names: usize,
}

fn traces() -> Traces {
    let count = |folder: &str| std::fs::read_dir(folder).expect("/proc can be read").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc can be read");
    Traces {
        descriptors: count("/proc/self/fd"),
        mappings: maps.lines().filter(|line| line.contains("wharf-")).count(),
        threads: count("/proc/self/task"),
        children: children_of(std::process::id()).len(),
        names: segments_of(std::process::id()).len(),
    }
}
