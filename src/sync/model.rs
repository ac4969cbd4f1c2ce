//! Atomics under loom, and threads that die between two of their accesses.
//!
//! A worker process can be killed anywhere. Its model is a thread that stops before its n-th
//! access: it unwinds, and whatever its destructors then do to shared words has no effect, for a
//! killed process runs none.

use std::cell::Cell;
use std::panic;
#[cfg(test)]
use std::panic::AssertUnwindSafe;

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{Ordering, fence};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Immortal,
    /// Accesses that are left.
    #[cfg_attr(not(test), expect(dead_code, reason = "only `mortal` makes it"))]
    Left(u32),
    Dead,
}

/// How a mortal thread died; also what unwinds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Before the access that it was not allowed.
    Struck,
    /// While it slept.
    InSleep,
}

loom::thread_local! {
    static LIFE: Cell<Life> = Cell::new(Life::Immortal);
}

/// Runs `life` as a process that is killed before access `accesses`, or in its sleep.
#[cfg(test)]
pub(crate) fn mortal<T>(accesses: u32, life: impl FnOnce() -> T) -> Result<T, Death> {
    LIFE.with(|cell| cell.set(Life::Left(accesses)));
    let ended = panic::catch_unwind(AssertUnwindSafe(life));
    LIFE.with(|cell| cell.set(Life::Immortal));
    match ended {
        Ok(value) => Ok(value),
        Err(payload) => {
            Err(*payload.downcast().unwrap_or_else(|other| panic::resume_unwind(other)))
        }
    }
}

/// Tells whether this thread can be killed.
pub(crate) fn is_mortal() -> bool {
    LIFE.with(|cell| cell.get() != Life::Immortal)
}

/// Kills this thread.
pub(crate) fn die(death: Death) -> ! {
    LIFE.with(|cell| cell.set(Life::Dead));
    panic::resume_unwind(Box::new(death))
}

/// One access more; the thread dies instead if none is left. False: it is dead already.
pub(crate) fn live() -> bool {
    match LIFE.with(Cell::get) {
        Life::Immortal => true,
        Life::Left(0) => die(Death::Struck),
        Life::Left(accesses) => {
            LIFE.with(|cell| cell.set(Life::Left(accesses - 1)));
            true
        }
        Life::Dead => false,
    }
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        #[allow(dead_code, reason = "what std's has, as far as the protocols use any of it")]
        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $int {
                if live() { self.0.load(order) } else { 0 }
            }

            /// What the kernel sees: no access of this thread.
            pub(crate) fn peek(&self) -> $int {
                self.0.load(Ordering::Relaxed)
            }

            pub(crate) fn store(&self, value: $int, order: Ordering) {
                if live() {
                    self.0.store(value, order);
                }
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                // To the dead every attempt succeeds, so that their loops end.
                if live() {
                    self.0.compare_exchange(current, new, success, failure)
                } else {
                    Ok(current)
                }
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(current, new, success, failure)
            }

            atomic!(@exchange $int: swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max);
        }
    };
    (@exchange $int:ty: $($method:ident),*) => {$(
        pub(crate) fn $method(&self, value: $int, order: Ordering) -> $int {
            if live() { self.0.$method(value, order) } else { 0 }
        }
    )*};
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
