//! One task: arguments, call, result, hand-over.

use std::mem;
use std::ptr::NonNull;

use super::lifeline;
use super::serve::{EXIT_CONDEMNED, Worker};
use crate::archive::Report;
use crate::control::{Claim, Ending, INLINE_ARGS_WORDS, ResultPlace, Slot};
use crate::memory::{Place, resolve};
use crate::sys::{Image, exit_now, futex_wake};
use crate::task::{Fault, Frame, ResultBytes, Trampoline, encode_result, guard};

/// A popped slot, to be claimed and run.
pub(super) struct Job<'w> {
    pub(super) worker: &'w Worker,
    pub(super) slot: &'w Slot,
}

/// Inline arguments: a copy, since others can write to the slot, aligned as a block is.
#[repr(C, align(64))]
struct Inline([u64; INLINE_ARGS_WORDS]);

impl Job<'_> {
    /// False: the task was not to be had.
    pub(super) fn run(self) -> bool {
        let Claim::Run(running) = self.slot.claim(self.worker.seat as u16) else { return false };
        if running.is_timed() {
            self.worker.bell.ring();
        }
        let mut inline = Inline([0; INLINE_ARGS_WORDS]);
        let args = running.arguments(&mut inline.0);
        let start = if args.is_inline() {
            Some(NonNull::from(&inline).cast())
        } else {
            let heap = self.worker.args_heap;
            resolve(&Place { heap, offset: args.offset, len: args.len })
        };
        let outcome = match start {
            Some(start) => call(running.code(), start, args.len as usize),
            None => Err(Report::Code),
        };
        let (ending, place) = match outcome {
            // Nobody will read it, so it need not be given away.
            Ok(_) if running.is_detached() => (Ending::Done, ResultPlace::default()),
            Ok(result) => (Ending::Done, result.map(ResultBytes::hand_over).unwrap_or_default()),
            Err(report) => (Ending::Failed, report_place(&report)),
        };
        let finished = running.finish(ending, &place);
        if finished.doomed {
            // The supervisor is about to kill this process: no other task may begin in it.
            exit_now(EXIT_CONDEMNED);
        }
        if finished.wake {
            futex_wake(self.slot.futex(), u32::MAX);
        }
        if finished.ring {
            self.worker.bell.ring();
        }
        self.worker.control.gate().finished();
        self.worker.count_finished();
        lifeline::forget_old_heaps();
        true
    }
}

/// Runs the start function. The error is what went wrong, in words.
pub(super) fn run_start(code: u64, place: &Place) -> Result<(), String> {
    let start = resolve(place).ok_or("its arguments are not there")?;
    match call(code, start, place.len as usize) {
        Ok(_) => Ok(()),
        Err(Report::Panicked { message, location, .. }) => {
            Err(format!("panicked at {location}: {message}"))
        }
        Err(Report::Argument { number, cause }) => {
            Err(format!("argument {number} does not decode: {cause}"))
        }
        Err(Report::Result { error }) => Err(error.to_string()),
        Err(Report::Code) => Err("its code was not found".to_owned()),
    }
}

/// Calls a trampoline. Panics of the task become reports.
fn call(code: u64, start: NonNull<u8>, len: usize) -> Result<Option<ResultBytes>, Report> {
    let address = Image::get().address_at(code).ok_or(Report::Code)?;
    // SAFETY: `code` is what the parent, the same build, wrote for a `Trampoline`, and the address
    // lies in this image's code.
    let trampoline = unsafe { mem::transmute::<usize, Trampoline>(address) };
    // SAFETY: the parent stored these arguments for this trampoline and keeps them until the task
    // has ended; inline ones are a copy that lives as long as the call.
    let mut frame = unsafe { Frame::new(start, len) };
    match guard(|| trampoline(&mut frame))? {
        Ok(()) => Ok(frame.take_result()),
        Err(fault) => Err(Fault::into(fault)),
    }
}

/// Stores a report. Without memory for it, one that says so with the numbers fits into the slot.
fn report_place(report: &Report) -> ResultPlace {
    let stored = encode_result(report).or_else(|error| encode_result(&Report::Result { error }));
    stored.map(ResultBytes::hand_over).unwrap_or_default()
}
