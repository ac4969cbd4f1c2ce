//! The budget: memfds never say that memory is short, so every allocation is admitted here.
//!
//! Each process counts what its heaps hold in a word of its own and reads the words of all others.
//! Nobody changes another's word, so a death leaves no wrong count: the dead worker's word is set
//! to zero with its heap. Two that ask at the same instant may both be refused what one could have
//! had.

use crate::control::Control;
use crate::sync::{Arc, AtomicU64, Ordering};

/// The share of the available memory that is the default budget: three quarters.
const DEFAULT_SHARE: (u64, u64) = (3, 4);
/// The default where the system does not tell how much memory it has.
const DEFAULT_BYTES: u64 = 1 << 30;

/// The default budget in bytes: a share of what is available when the executor is built.
pub(crate) fn default_budget() -> u64 {
    let (part, whole) = DEFAULT_SHARE;
    crate::sys::available_memory().map_or(DEFAULT_BYTES, |bytes| bytes / whole * part)
}

/// Admission to the budget for one holder: the parent, or the worker of a seat.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    control: Arc<Control>,
    seat: Option<usize>,
}

impl Budget {
    pub(crate) fn of_parent(control: Arc<Control>) -> Self {
        Self { control, seat: None }
    }

    pub(crate) fn of_worker(control: Arc<Control>, seat: usize) -> Self {
        Self { control, seat: Some(seat) }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Admits `bytes` more, or tells how many are left.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), u64> {
        // Without a trace if it is refused: others would be refused for what is not taken.
        if bytes > self.left() {
            return Err(self.left());
        }
        self.held().fetch_add(bytes, Ordering::SeqCst);
        step!(both "budget.taken");
        let (all, budget) = (self.control.held_bytes(), self.limit());
        if all <= budget {
            return Ok(());
        }
        self.give_back(bytes);
        Err(budget.saturating_sub(all.saturating_sub(bytes)))
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.control.held_bytes())
    }

    /// Counts `bytes` that exist already, whether the budget holds them or not.
    pub(crate) fn adopt(&self, bytes: u64) {
        self.held().fetch_add(bytes, Ordering::SeqCst);
        step!(parent "budget.adopted");
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.held().fetch_sub(bytes, Ordering::SeqCst);
        step!(both "budget.given");
    }

    /// Tells whether this process is the holder, and not a fork of it.
    pub(crate) fn is_here(&self) -> bool {
        self.control.is_here()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.control.budget_bytes()
    }

    fn held(&self) -> &AtomicU64 {
        match self.seat {
            Some(seat) => &self.control.seats()[seat].held_bytes,
            None => &self.control.header().parent_bytes,
        }
    }
}
