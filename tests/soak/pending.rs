//! Handles under way: every one gets one verdict, in one of many ways.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use wharf::{Death, Executor, Returnable, TaskError, TaskHandle};

use crate::common::{block_on, flag_waker};
use crate::kinds::{kept, sum};
use crate::watch::{CANCELLED, Count, DIED, DROPPED, PANICKED, RIGHT, fail};

const SIGKILL: i32 = 9;

/// How often each process was killed, and how many tasks say that they died with it. A number may
/// be used again by a later process.
static GRAVES: Mutex<Option<HashMap<u32, (u64, u64)>>> = Mutex::new(None);

/// A task that was submitted and has no verdict yet.
pub trait Pending: Send {
    /// Asks for the outcome in a random way, and judges it.
    fn settle(self: Box<Self>, executor: &Executor, random: &mut Rng);
}

/// What is right for a task that is not killed and not cancelled.
pub enum Expected<R> {
    Value { digest: fn(&R) -> u64, value: u64 },
    Panic(String),
}

pub struct Ticket<R> {
    pub handle: TaskHandle<R>,
    pub expected: Expected<R>,
}

impl<R: Returnable + Send> Pending for Ticket<R> {
    fn settle(self: Box<Self>, _: &Executor, random: &mut Rng) {
        let Self { handle, expected } = *self;
        let mut cancelled = false;
        let outcome = match random.u8(..16) {
            0..8 => handle.join(),
            8 | 9 => join_by_and_by(handle),
            10 | 11 => block_on(handle),
            12 | 13 => {
                cancelled = handle.cancel();
                handle.join()
            }
            14 => return drop_it(handle),
            _ => {
                let mut handle = handle;
                let (waker, _flag) = flag_waker();
                match Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => return drop_it(handle),
                }
            }
        };
        match (outcome, expected) {
            (Err(TaskError::Cancelled { .. }), _) if cancelled => CANCELLED.raise(),
            (outcome, _) if cancelled => {
                fail(format_args!("cancelled, and yet {:?}", outcome.err()))
            }
            (Ok(result), Expected::Value { digest, value }) => {
                judge(digest(&result), value, &RIGHT)
            }
            (Err(TaskError::Panicked { message, .. }), Expected::Panic(text)) => {
                judge(message, text, &PANICKED)
            }
            (outcome, _) => died(outcome.err()),
        }
    }
}

/// A vector that becomes the argument of a second task without leaving shared memory.
pub struct Kept {
    pub handle: TaskHandle<Vec<u64>>,
    pub expected: u64,
}

impl Pending for Kept {
    fn settle(self: Box<Self>, executor: &Executor, random: &mut Rng) {
        let Self { handle, expected } = *self;
        if random.bool() {
            return match handle.join_view() {
                Ok(view) => judge(view.iter().map(|n| n.to_native()).sum(), expected, &RIGHT),
                Err(error) => died(Some(error)),
            };
        }
        match handle.into_shared() {
            Ok(shared) => {
                judge(shared.iter().map(|n| n.to_native()).sum(), expected, &RIGHT);
                let handle = kept(executor.submit(sum, (&shared,)));
                // Its task keeps what it reads.
                drop(shared);
                let expected = Expected::Value { digest: |sum| *sum, value: expected };
                Box::new(Ticket { handle, expected }).settle(executor, random);
            }
            Err(error) => died(Some(error)),
        }
    }
}

fn judge<T: PartialEq + std::fmt::Debug>(found: T, expected: T, verdict: &Count) {
    if found != expected {
        fail(format_args!("a wrong result: {found:?} instead of {expected:?}"));
    }
    verdict.raise();
}

/// The one way to fail that is always right: its worker was killed.
fn died(error: Option<TaskError>) {
    match error {
        Some(TaskError::WorkerDied { death: Death::Signal(SIGKILL), pid, .. }) => {
            grave(pid, |grave| grave.1 += 1);
            DIED.raise();
        }
        other => fail(format_args!("no right verdict: {other:?}")),
    }
}

/// Takes note of a worker that was killed.
pub fn killed(pid: u32) {
    grave(pid, |grave| grave.0 += 1);
}

fn grave(pid: u32, change: impl FnOnce(&mut (u64, u64))) {
    let mut graves = GRAVES.lock().expect("nobody panics with it");
    change(graves.get_or_insert_default().entry(pid).or_default());
}

/// Checks that no death has cost more than one task.
pub fn check_graves() {
    let graves = GRAVES.lock().expect("nobody panics with it");
    for (pid, (kills, tasks)) in graves.iter().flatten() {
        if tasks > kills {
            fail(format_args!("process {pid} was killed {kills} times and cost {tasks} tasks"));
        }
    }
}

fn drop_it<R>(handle: TaskHandle<R>) {
    drop(handle);
    DROPPED.raise();
}

fn join_by_and_by<R: Returnable>(mut handle: TaskHandle<R>) -> Result<R, TaskError> {
    loop {
        handle = match handle.join_timeout(Duration::from_micros(50)) {
            Ok(outcome) => return outcome,
            Err(handle) => handle,
        };
    }
}
