//! Workers gone wild: whatever they write or say, every task gets a verdict and the parent lives.
//!
//! Each row runs in a program of its own, which the test starts: what is spoilt stays there. A row
//! fails if that program panics in any thread, hangs, crashes or leaves something behind.

mod common;
#[path = "hostile/wild.rs"]
mod wild;

use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::task::Context;
use std::{fs, panic, thread};

use common::{DEADLINE, Gate, flag_waker, segments_of};
use wharf::{Executor, SubmitError, TaskError, TaskHandle, TrySubmitError};
use wild::{Segment, TASK_SLOTS, WORKERS, spoil_heap, talk};

const ROW: &str = "WHARF_TEST_ROW";
/// Panics of any thread of this process.
static PANICS: AtomicU32 = AtomicU32::new(0);

fn identity(n: u64) -> u64 {
    n
}

fn lines(n: u64) -> Vec<String> {
    (0..n).map(|i| format!("line {i} of {n}")).collect()
}

/// Goes wild once: a task whose slot is made to look queued again is run again.
fn once(mark: &str) -> bool {
    fs::OpenOptions::new().write(true).create_new(true).open(format!("{mark}/wild")).is_ok()
}

fn spoil(mark: &str, what: &str, value: u64, dies: bool) -> u64 {
    if once(mark) {
        Segment::find().spoil(what, value);
        if dies {
            std::process::abort();
        }
    }
    1
}

/// Writes nonsense into the segment until it is killed, and says so after the first time.
fn storm(mark: &str, what: &str) {
    for value in 2.. {
        Segment::find().spoil(what, value);
        once(mark);
    }
}

/// Ends the program if it takes longer than any of this may.
fn watch(row: String) -> impl Drop {
    struct Watch(Option<std::sync::mpsc::Sender<()>>);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.take();
        }
    }
    let (sender, receiver) = channel::<()>();
    thread::spawn(move || {
        if receiver.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hung: {row}");
            std::process::abort();
        }
    });
    Watch(Some(sender))
}

/// An executor with tasks in every state.
struct Pool {
    executor: Executor,
    gate: Gate,
    handles: Vec<TaskHandle<u64>>,
    texts: Vec<TaskHandle<Vec<String>>>,
}

impl Pool {
    fn new(workers: usize) -> Self {
        let builder = Executor::builder().workers(workers).workers_max(WORKERS);
        let builder = builder.task_slots(TASK_SLOTS as u32);
        let executor = builder.memory_budget(256 << 20).build().expect("an executor");
        let pool = Self { executor, gate: Gate::new(), handles: Vec::new(), texts: Vec::new() };
        pool.executor.submit(identity, (0u64,)).unwrap().join().unwrap();
        pool
    }

    /// A task that runs until the gate is opened, and finished ones that nobody has joined.
    fn fill(&mut self) {
        let held = self.executor.submit(Gate::pass_with, (self.gate.path(), 7u64)).unwrap();
        self.gate.wait_for_entry();
        self.handles.push(held);
        let finished = (0..8u64).map(|n| self.executor.submit(identity, (n,)).unwrap());
        let finished: Vec<_> = finished.collect();
        let texts: Vec<_> =
            (1..4u64).map(|n| self.executor.submit(lines, (n * n * n * 40,)).unwrap()).collect();
        while !finished.iter().all(TaskHandle::is_finished)
            || !texts.iter().all(TaskHandle::is_finished)
        {
            thread::yield_now();
        }
        self.handles.extend(finished);
        self.texts.extend(texts);
    }

    fn queue(&mut self, tasks: u64) {
        for n in 0..tasks {
            match self.executor.try_submit(identity, (n,)) {
                Ok(task) => self.handles.push(task),
                Err(TrySubmitError::Full { .. }) => return,
                Err(TrySubmitError::Refused { error, .. }) => {
                    assert!(matches!(error, SubmitError::Broken { .. }), "{error}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Some tasks are dropped, one is polled, the others are joined: each tells what became of it.
    fn settle(&mut self, row: &str) {
        self.gate.open();
        for (n, task) in std::mem::take(&mut self.handles).into_iter().enumerate() {
            match n % 5 {
                0 => drop(task),
                1 => {
                    let mut task = pin!(task);
                    let (waker, woken) = flag_waker();
                    if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                        woken.wait();
                    }
                }
                _ => {
                    let verdict = task.join_timeout(DEADLINE);
                    verdict.map(drop).unwrap_or_else(|_| panic!("{row}: no verdict"));
                }
            }
        }
        for task in self.texts.drain(..) {
            let verdict = task.join_timeout(DEADLINE);
            verdict.map(drop).unwrap_or_else(|_| panic!("{row}: no verdict"));
        }
    }

    /// Ends the executor one way or the other.
    fn end(self, killed: bool) {
        self.gate.open();
        if killed {
            self.executor.kill();
        } else {
            let _ = self.executor.shutdown();
        }
    }
}

/// The executor still works after a death, all of it.
fn works(executor: &Executor, row: &str) {
    assert_eq!(died_of_forty(executor, row), 0, "{row}");
}

/// How many of forty tasks have died with their worker. All others are right.
fn died_of_forty(executor: &Executor, row: &str) -> u64 {
    let mut died = 0;
    let fresh: Vec<_> = (0..40u64).map(|n| executor.submit(identity, (n,)).unwrap()).collect();
    for (n, task) in fresh.into_iter().enumerate() {
        let value = task.join_timeout(DEADLINE).unwrap_or_else(|_| panic!("{row}: no verdict"));
        match value {
            Err(TaskError::WorkerDied { .. }) => died += 1,
            value => assert_eq!(value.unwrap(), n as u64, "{row}"),
        }
    }
    died
}

/// Spoils part of the segment, from a worker that dies of it or from one that does not notice.
fn spoil_row(what: &str) {
    let one_value = what.starts_with("state");
    for value in [0u64, 1, 2, 3].into_iter().take(if one_value { 1 } else { 4 }) {
        for dies in [true, false] {
            let row = format!("{what}, value {value}, dies: {dies}");
            let _watch = watch(row.clone());
            let mut pool = Pool::new(WORKERS);
            pool.fill();
            let args = (pool.gate.path(), what.to_owned(), value, dies);
            let wild = pool.executor.submit(spoil, args).unwrap();
            pool.queue(8);
            // A slot that says its task is being run by a worker that lives is believed until that
            // worker ends; the others are found out at the first death.
            let told_at_death = dies && what != "state 3";
            if told_at_death {
                while pool.executor.stats().deaths == 0 {
                    thread::yield_now();
                }
                pool.handles.push(wild);
                pool.settle(&row);
                if what != "held_bytes" && what != "everything" && what != "seats" {
                    works(&pool.executor, &row);
                }
                pool.end(value % 2 == 0);
            } else {
                pool.handles.push(wild);
                pool.queue(8);
                let (handles, texts) =
                    (std::mem::take(&mut pool.handles), std::mem::take(&mut pool.texts));
                // Asleep on their slots, and woken by the end of the executor.
                let joining: Vec<_> =
                    handles.into_iter().map(|task| thread::spawn(|| drop(task.join()))).collect();
                let texts = texts.into_iter().map(|task| thread::spawn(|| drop(task.join())));
                let texts: Vec<_> = texts.collect();
                pool.end(value % 2 == 0);
                joining.into_iter().chain(texts).for_each(|t| t.join().expect("a verdict"));
            }
        }
    }
}

/// A worker writes into the segment without end while the parent goes on.
fn storm_row(what: &str) {
    let _watch = watch(format!("storm of {what}"));
    let mut pool = Pool::new(WORKERS);
    pool.fill();
    let args = (pool.gate.path(), what.to_owned());
    let wild = pool.executor.submit(storm, args).unwrap();
    while !fs::exists(format!("{}/wild", pool.gate.path())).unwrap() {
        thread::yield_now();
    }
    for _ in 0..2000 {
        pool.queue(1);
        drop(pool.handles.pop());
    }
    let (handles, texts) = (std::mem::take(&mut pool.handles), std::mem::take(&mut pool.texts));
    pool.end(true);
    handles.into_iter().for_each(|task| drop(task.join()));
    texts.into_iter().for_each(|task| drop(task.join()));
    assert!(wild.join().is_err());
}

/// A worker overwrites results that it has handed over.
fn heap_row(value: u64) {
    let _watch = watch(format!("heap, value {value}"));
    let mut pool = Pool::new(1);
    let texts: Vec<_> =
        (1..60u64).map(|n| pool.executor.submit(lines, (n * n,)).unwrap()).collect();
    let viewed = pool.executor.submit(lines, (90u64,)).unwrap();
    let shared = pool.executor.submit(lines, (91u64,)).unwrap();
    pool.executor.submit(spoil_heap, (value,)).unwrap().join().unwrap();
    drop(viewed.join_view());
    drop(shared.into_shared());
    for (n, task) in texts.into_iter().enumerate() {
        match task.join() {
            Ok(lines) => assert!(lines.len() <= (n + 1) * (n + 1)),
            Err(error) => assert!(matches!(error, TaskError::Decode { .. }), "{error}"),
        }
    }
    works(&pool.executor, "heap");
    pool.queue(3);
    pool.settle("heap");
    pool.end(false);
}

/// A worker says to its parent what none says.
fn talk_row(what: &str) {
    for seed in [2u64, 3] {
        let row = format!("talk {what}, seed {seed}");
        let _watch = watch(row.clone());
        let mut pool = Pool::new(WORKERS);
        pool.fill();
        let deaths = pool.executor.stats().deaths;
        // The line breaks in both directions, so the verdict may be any.
        let wild = pool.executor.submit(talk, (what.to_owned(), seed)).unwrap();
        pool.queue(8);
        pool.gate.open();
        drop(wild.join_timeout(DEADLINE).unwrap_or_else(|_| panic!("{row}: no verdict")));
        pool.settle(&row);
        let deaths = || pool.executor.stats().deaths - deaths;
        // A worker whose own end is closed takes its parent for dead, and the name away.
        if what != "closed" {
            if ["absurd heaps", "flood"].contains(&what) {
                // It is ended only if the supervisor finds its line full of answers, and that may
                // be now: then it costs the task that the worker has gone on to, and no other.
                let died = died_of_forty(&pool.executor, &row);
                assert!(died <= deaths(), "{row}: {died} tasks died with {} workers", deaths());
            } else {
                // The supervisor may read only now what was said.
                while deaths() == 0 {
                    thread::yield_now();
                }
                works(&pool.executor, &row);
            }
            assert!(deaths() <= 1, "{row}: {} deaths", deaths());
            // Replaced if it was killed, and counted once.
            while pool.executor.worker_pids().len() != WORKERS {
                thread::yield_now();
            }
        }
        pool.end(seed % 2 == 0);
    }
}

/// Not a test by itself: one row, in a program of its own.
#[test]
fn wild_program() {
    let Ok(row) = std::env::var(ROW) else { return };
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        usual(info);
    }));
    match row.split_once(": ").expect("a row has two parts") {
        ("spoil", what) => spoil_row(what),
        ("storm", what) => storm_row(what),
        ("talk", what) => talk_row(what),
        ("heap", value) => heap_row(value.parse().expect("a number")),
        (other, _) => panic!("no row is called {other}"),
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    assert_eq!(segments_of(std::process::id()), Vec::<String>::new());
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children, "");
}

fn check(kind: &str, rows: &[&str]) {
    for row in rows {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wild_program", "--nocapture"])
            .env(ROW, format!("{kind}: {row}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let tail: String = text.chars().rev().take(3000).collect::<Vec<_>>().iter().rev().collect();
        let signal = output.status.signal();
        assert!(output.status.success(), "{kind} {row}: {:?} {signal:?}\n{tail}", output.status);
    }
}

#[test]
fn any_part_of_the_control_segment_may_be_overwritten() {
    check("spoil", &["everything", "magic and counts", "seats", "slots", "cells", "hints", "beds"]);
    check("spoil", &["cursors"]);
}

#[test]
fn any_word_of_the_head_and_of_a_seat_may_be_overwritten() {
    check("spoil", &["budget", "parent_bytes", "closing", "tail", "head", "sleeping", "searching"]);
    check("spoil", &["given", "napping", "serving", "ahead", "called 0", "called 1"]);
    check("spoil", &["waiting", "round", "rung", "park", "held_bytes", "finished", "releases"]);
}

#[test]
fn slots_may_be_put_into_any_state() {
    let states: Vec<String> = (0..16).map(|state| format!("state {state}")).collect();
    check("spoil", &states.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_worker_may_write_into_the_segment_without_end() {
    check("storm", &["hints", "cells", "slots", "beds", "everything"]);
}

#[test]
fn results_may_be_overwritten_after_they_were_handed_over() {
    check("heap", &["0", "1", "2", "3", "4"]);
}

#[test]
fn a_worker_may_say_anything_to_its_parent() {
    check("talk", &["random", "random kinds", "empty", "oversized", "truncated", "ready twice"]);
    check("talk", &["failed", "absurd heaps", "flood", "closed"]);
}
