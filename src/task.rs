//! Tasks: how a function and its arguments become a slot, and a slot a result.
//!
//! `function`, `argument` and `param` are the typing; `frame` is what a trampoline works on in the
//! worker; `desk` is the parent's side of the task table, `handle` what the user holds of it.

mod argument;
mod batch;
mod chunks;
mod delay;
mod desk;
mod frame;
mod function;
#[cfg(any(all(test, not(loom)), fuzzing))]
pub mod fuzzing;
mod gather;
mod guard;
mod habits;
mod handle;
mod options;
mod outcome;
mod param;
mod patience;
mod wait;

pub use argument::Argument;
pub use batch::Constants;
pub(crate) use batch::{Batch, ENTRY_WORDS_MAX, Order, Run, batch_code_of, entry_words_for};
pub use chunks::{Append, ChunkStart, Chunked, LoopArgument, LoopArguments, Rows, Zip, rows};
pub(crate) use chunks::{CURSORLESS, LoopOrder, RangeCode, fill_code, reduce_code};
pub(crate) use desk::{Caller, Desk, OwnedCursor, Unavailable};
pub use frame::Frame;
pub(crate) use frame::{Trampoline, encode_report};
pub use function::{TaskFn, TaskOutput};
pub(crate) use function::{TaskName, code_of, name_of, namer_of, store};
pub(crate) use guard::{guard, install_panic_hook};
pub use handle::TaskHandle;
pub(crate) use handle::value_of;
pub use options::TaskOptions;
pub(crate) use outcome::{Loss, Outcome, discard};
pub use param::{Param, View, ViewError};
