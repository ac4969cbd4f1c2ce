//! How far maps and loops have come, for who wants to see it.

#[cfg(feature = "indicatif")]
mod bar;

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "indicatif")]
pub use bar::Bar;

use crate::sys::current_pid;

/// The shortest time between two calls of an observer, besides the first and the last.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// The same before a stream is left, which may not be polled again for a long time.
pub(super) const STREAM_PAUSE: Duration = Duration::from_millis(10);

/// How far a map or a loop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Results that a map has returned, errors included; elements, or rows, that a loop has done.
    pub done: u64,
    /// What `done` comes to in the end. `None`: the map's input does not know how long it is.
    pub total: Option<u64>,
    /// The time since the first call.
    pub elapsed: Duration,
}

/// Who is told of progress: a function, a progress bar, or nobody (`()`).
///
/// Made by [`Map::progress`](crate::Map::progress) and [`Loops::progress`](crate::Loops::progress).
pub trait Observer {
    /// Somebody is told at all.
    #[doc(hidden)]
    const LISTENS: bool = true;

    /// Something begins that may have an end.
    #[doc(hidden)]
    fn begin(&mut self, _total: Option<u64>) {}

    #[doc(hidden)]
    fn hear(&mut self, progress: Progress);

    /// No more is heard. `over`: it has come to its end, and was not given up.
    #[doc(hidden)]
    fn end(&mut self, _over: bool) {}
}

impl Observer for () {
    const LISTENS: bool = false;

    fn hear(&mut self, _: Progress) {}
}

impl<F: FnMut(Progress)> Observer for F {
    fn hear(&mut self, progress: Progress) {
        self(progress);
    }
}

/// What has been done, and when the observer was told of it.
///
/// Where nobody listens, each method is empty.
pub(super) struct Watch<P: Observer> {
    observer: P,
    total: Option<u64>,
    done: u64,
    told: Option<Told>,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    /// A fork has a copy, and nothing to tell.
    pid: u32,
    since: Instant,
    at: Instant,
    done: u64,
}

impl<P: Observer> fmt::Debug for Watch<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("done", &self.done).finish_non_exhaustive()
    }
}

impl<P: Observer> Watch<P> {
    pub(super) fn new(observer: P, total: Option<u64>) -> Self {
        Self { observer, total, done: 0, told: None, ended: false }
    }

    /// One more is done. The observer hears of it when it is its time.
    pub(super) fn count(&mut self) {
        if P::LISTENS {
            self.done += 1;
        }
    }

    /// Tells of what is new, unless the observer was told less than `pause` ago; the first time, of
    /// the beginning. A panic of the observer is passed on, and what it was told is not told again.
    pub(super) fn look(&mut self, pause: Duration) {
        if !P::LISTENS {
            return;
        }
        let Some(told) = self.told else { return self.begin() };
        if told.done != self.done {
            let now = Instant::now();
            if now - told.at >= pause {
                self.tell(told, now);
            }
        }
    }

    /// How long until something is to be told. `None`: nothing is new.
    pub(super) fn due(&self) -> Option<Duration> {
        let told = self.told.filter(|told| P::LISTENS && told.done != self.done)?;
        Some(PAUSE.saturating_sub(told.at.elapsed()))
    }

    /// Tells the last of what was begun. `over`: it has come to its end. Once.
    pub(super) fn end(&mut self, over: bool) {
        let Some(told) = self.told.filter(|_| P::LISTENS && !self.ended) else { return };
        self.ended = true;
        if told.done != self.done {
            self.tell(told, Instant::now());
        }
        self.observer.end(over);
    }

    fn begin(&mut self) {
        let now = Instant::now();
        let told = Told { pid: current_pid(), since: now, at: now, done: 0 };
        self.told = Some(told);
        self.observer.begin(self.total);
        let total = self.total;
        self.observer.hear(Progress { done: 0, total, elapsed: Duration::ZERO });
    }

    fn tell(&mut self, told: Told, now: Instant) {
        self.told = Some(Told { at: now, done: self.done, ..told });
        let (done, total) = (self.done, self.total);
        self.observer.hear(Progress { done, total, elapsed: now - told.since });
    }
}

/// A map need not be asked for more than its user wants: who drops it is told the last, too.
impl<P: Observer> Drop for Watch<P> {
    fn drop(&mut self) {
        let Some(told) = self.told.filter(|_| P::LISTENS) else { return };
        if !thread::panicking() && current_pid() == told.pid {
            self.end(false);
        }
    }
}

/// A [`Watch`], whatever its observer.
pub(super) trait Watcher {
    /// Tells of the beginning of what comes to so much.
    fn begin(&mut self, total: u64);

    /// So much is done by now, unless more was before.
    fn reach(&mut self, done: u64);

    fn look(&mut self);
}

impl<P: Observer> Watcher for Watch<P> {
    fn begin(&mut self, total: u64) {
        self.total = Some(total);
        Watch::begin(self);
    }

    fn reach(&mut self, done: u64) {
        self.done = self.done.max(done);
    }

    fn look(&mut self) {
        Watch::look(self, PAUSE);
    }
}
