//! Futexes under loom: a list of sleepers behind a lock, as in the kernel.
//!
//! The kernel reads the word and enrols the sleeper under one lock, and takes the same lock to
//! wake. A sleeper that nobody wakes stays asleep, whatever becomes of the word: loom reports the
//! deadlock.

use std::time::Duration;

use loom::sync::{Condvar, Mutex, MutexGuard};

use super::Word;
use crate::sync::{Death, Ordering, PoisonError, die, fence, is_mortal, live};

#[derive(Debug, Default)]
struct Sleepers {
    /// Address, and a number of its own for each sleep.
    asleep: Vec<(usize, u32)>,
    number: u32,
    killed: bool,
}

loom::lazy_static! {
    static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers::default());
    static ref CHANGED: Condvar = Condvar::new();
}

fn lock() -> MutexGuard<'static, Sleepers> {
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Word<'_> {
    fn value(self) -> u32 {
        match self {
            Self::Whole(word) => word.peek(),
            Self::LowHalf(word) => word.peek() as u32,
        }
    }
}

/// Sleeps if the word has the expected value, until it is woken. There is no time in a model: a
/// timeout of zero has passed at once, others never pass.
pub(crate) fn futex_wait<'w>(word: impl Into<Word<'w>>, expected: u32, timeout: Option<Duration>) {
    let word = word.into();
    if !live() || timeout == Some(Duration::ZERO) {
        return;
    }
    let mut sleepers = lock();
    fence(Ordering::SeqCst);
    if word.value() != expected {
        return;
    }
    sleepers.number += 1;
    let me = (word.address().addr(), sleepers.number);
    sleepers.asleep.push(me);
    while sleepers.asleep.contains(&me) {
        if sleepers.killed && is_mortal() {
            sleepers.asleep.retain(|other| *other != me);
            drop(sleepers);
            die(Death::InSleep);
        }
        sleepers = CHANGED.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Wakes at most `count` sleepers of the word. Returns how many.
pub(crate) fn futex_wake<'w>(word: impl Into<Word<'w>>, count: u32) -> u32 {
    let address = word.into().address().addr();
    if !live() {
        return 0;
    }
    let mut sleepers = lock();
    let mut woken = 0;
    sleepers.asleep.retain(|(other, _)| {
        let wake = *other == address && woken < count;
        woken += u32::from(wake);
        !wake
    });
    if woken > 0 {
        CHANGED.notify_all();
    }
    woken
}

/// Kills mortal threads in their sleep, now and later.
#[cfg(test)]
pub(crate) fn kill_sleepers() {
    lock().killed = true;
    CHANGED.notify_all();
}
