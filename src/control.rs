//! The control segment: a table of tasks, a ring of task ids, wake-ups, and what each worker owes.
//!
//! Everything in it is an atomic, so both halves of the program may hold references to it however
//! the other half writes. `control/README.md` describes the protocols and argues why a process may
//! die between any two instructions.

mod bell;
mod cursor;
mod gate;
mod layout;
mod message;
mod release;
mod ring;
mod slot;
mod spin;
mod tries;
mod wake;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use bell::Bell;
pub(crate) use cursor::{CURSORS, Cursor};
pub(crate) use layout::{
    Control, INLINE_ARGS_WORDS, INLINE_RESULT_WORDS, SEATS_MAX, SLOTS_MAX, Seat, control_bytes,
};
pub(crate) use message::{FromParent, FromWorker, Hello, NAME_BYTES_MAX, NO_CODE};
pub(crate) use release::Releases;
pub(crate) use ring::{Full, Reader};
pub(crate) use slot::{
    Claim, Collected, Draft, Ending, NOTED_ARGS_WORDS, Phase, Plain, ResultPlace, Running,
    SPAN_MAX, Slot, Span,
};
pub(crate) use spin::Spin;
pub(crate) use tries::Tries;
pub(crate) use wake::{Nap, Notice, Roused, Turn, Wake};
