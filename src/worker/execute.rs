//! One task: arguments, call, result, hand-over.

use std::cell::Cell;
use std::mem;
use std::ptr::NonNull;

use super::lifeline;
use super::serve::Worker;
use super::shift::Shift;
use crate::archive::Report;
use crate::control::{
    Claim, Control, Ending, INLINE_ARGS_WORDS, INLINE_RESULT_WORDS, ResultPlace, Running, Slot,
};
use crate::memory::{Place, resolve};
use crate::sys::{Image, futex_wake};
use crate::task::{Frame, Run, Trampoline, encode_report, guard};

/// What a task that failed says of it, up to this length, may lie in memory until its worker has
/// nothing to do. To have the supervisor look after each took a third more than the failing itself.
const ACCOUNT_BYTES: u64 = 4096;

/// A popped slot, to be claimed and run.
pub(super) struct Job<'w> {
    pub(super) worker: &'w Worker,
    pub(super) slot: &'w Slot,
}

/// What became of a popped slot.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// How many tasks were run; items of a batch count each. 0: it was not to be had.
    pub(super) tasks: u64,
    /// Somebody slept until the end.
    pub(super) has_woken: bool,
    /// It has left memory that perhaps nobody will ask for, and of which the supervisor is to be
    /// told when there is time.
    pub(super) owes_ring: bool,
}

/// Inline arguments: a copy, since others can write to the slot, aligned as a block is.
#[repr(C, align(64))]
struct Inline([u64; INLINE_ARGS_WORDS]);

impl Job<'_> {
    // SAFETY: the section holds code alone; its name keeps it together (ARCHITECTURE.md, "Pages").
    #[unsafe(link_section = "wharf_work")]
    pub(super) fn run(self) -> Ran {
        let Claim::Run(running) = self.slot.claim(self.worker.seat as u16) else {
            return Ran::default();
        };
        if running.is_timed() {
            self.tell_begin();
        }
        let shift = self.worker.begin_shift(self.slot);
        let mut inline = Inline([0; INLINE_ARGS_WORDS]);
        let args = running.arguments(&mut inline.0);
        step!(worker "task.arguments");
        let start = if args.is_inline() {
            Some(NonNull::from(&inline).cast())
        } else {
            let heap = self.worker.args_heap;
            resolve(&Place { heap, offset: args.offset, len: args.len })
        };
        let this = Present { job: &self, running: &running, tasks: Cell::new(1) };
        let mut place = ResultPlace::default();
        let hand_over = |frame: &mut Frame<'_>| {
            step!(worker "task.called");
            // Else nobody will read it, so it need not be given away.
            if !running.is_detached() {
                frame.hand_over(&mut place);
            }
        };
        let outcome = match start {
            Some(start) => call(running.code(), start, args.len as usize, Some(&this), hand_over),
            None => Err(Box::new(Report::Code)),
        };
        let tasks = this.tasks.get();
        let ending = match outcome {
            Ok(()) => Ending::Done,
            Err(report) => {
                step!(worker "task.failed");
                place = encode_report(&report, INLINE_RESULT_WORDS);
                Ending::Failed
            }
        };
        step!(worker "task.placed");
        let worked = shift.map(Shift::end);
        let finished = running.finish(ending, &place);
        if finished.doomed {
            self.worker.bear_doom(self.slot, &place);
            return Ran { tasks, ..Ran::default() };
        }
        if finished.wake {
            futex_wake(self.slot.futex(), u32::MAX);
            step!(worker "task.woken");
        }
        // Detached only just before its end, it has left memory that nobody will ask for. So may
        // one that was to return a number and failed: of those, the parent alone knows.
        let has_failed = ending == Ending::Failed && place.holds_memory();
        let is_long = has_failed && place.len > ACCOUNT_BYTES;
        if finished.ring || is_long || finished.detached && place.holds_memory() {
            self.worker.ring();
        }
        step!(worker "task.told");
        self.worker.control.gate().finished_by_swap();
        if let Some(worked) = worked {
            self.worker.count_time(worked);
        }
        self.worker.count_finished(tasks);
        if self.worker.tie.is_process() {
            lifeline::forget_old_heaps();
        }
        Ran { tasks, has_woken: finished.wake, owes_ring: has_failed && !is_long }
    }

    /// Somebody wants to know that the task has begun.
    #[cold]
    fn tell_begin(&self) {
        self.worker.bell.ring();
        self.worker.control.gate().finished();
    }
}

/// The task that this worker runs, as a batch or a loop sees it.
struct Present<'j> {
    job: &'j Job<'j>,
    running: &'j Running<'j>,
    tasks: Cell<u64>,
}

impl Run for Present<'_> {
    fn control(&self) -> &Control {
        &self.job.worker.control
    }

    fn slot(&self) -> &Slot {
        self.job.slot
    }

    fn items_max(&self) -> u64 {
        self.job.worker.tasks_left()
    }

    fn tell(&self) {
        self.job.worker.control.gate().finished();
        if self.running.is_watched() {
            self.job.worker.bell.ring();
        }
    }

    fn count(&self, items: u64) {
        self.tasks.set(items);
    }
}

/// Runs the start function. The error is what went wrong, in words.
pub(super) fn run_start(code: u64, place: &Place) -> Result<(), String> {
    let start = resolve(place).ok_or("its arguments are not there")?;
    let called = call(code, start, place.len as usize, None, |_| {});
    called.map_err(|report| match *report {
        Report::Panicked { message, location, .. } => format!("panicked at {location}: {message}"),
        Report::Argument { number, cause } => format!("argument {number} does not decode: {cause}"),
        Report::Result { error } => error.to_string(),
        Report::Code => "its code was not found".to_owned(),
    })
}

/// Calls a trampoline, and `then` where it has a result. Panics of the task become reports.
fn call(
    code: u64,
    start: NonNull<u8>,
    len: usize,
    run: Option<&dyn Run>,
    then: impl FnOnce(&mut Frame<'_>),
) -> Result<(), Box<Report>> {
    let Some(address) = Image::get().address_at(code) else { return Err(Box::new(Report::Code)) };
    // SAFETY: `code` is what the parent, the same build, wrote for a `Trampoline`, and the address
    // lies in this image's code.
    let trampoline = unsafe { mem::transmute::<usize, Trampoline>(address) };
    // SAFETY: the parent stored these arguments for this trampoline and keeps them until the task
    // has ended; inline ones are a copy that lives as long as the call.
    let mut frame = unsafe { Frame::new(start, len, run) };
    match guard(|| trampoline(&mut frame))? {
        Ok(()) => {
            then(&mut frame);
            frame.dispose();
            Ok(())
        }
        Err(fault) => Err(fault.into_report()),
    }
}
