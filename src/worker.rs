//! The worker's half: the same program, started again, that runs tasks instead of `main`.

mod aside;
mod asleep;
mod entry;
mod execute;
mod home;
mod inside;
mod lifeline;
mod next;
mod pace;
mod pin;
mod search;
mod serve;
mod shift;
mod stream;

pub use entry::init;
pub(crate) use entry::{DEPTH_VARIABLE, ENTRY, WORKER_VARIABLE, depth, worker_token};
pub(crate) use inside::{Berth, CallingWorker, start_thread};
