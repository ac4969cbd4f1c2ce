//! One task under `catch_unwind`: arguments, call, result, hand-over.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr::NonNull;
use std::thread;

use super::lifeline;
use super::serve::Worker;
use crate::archive::Report;
use crate::control::{Claim, Ending, INLINE_ARGS_WORDS, ResultPlace, Slot};
use crate::memory::{Place, resolve};
use crate::sync::OnceLock;
use crate::sys::{Image, futex_wake};
use crate::task::{Fault, Frame, ResultBytes, Site, Trampoline, encode_result};

/// How many panics are kept an account of.
const ACCOUNTS_MAX: usize = 4;
/// What is said of a panic whose payload is neither a `String` nor a `&str`.
const NO_TEXT: &str = "a panic with a payload that is no text";
/// What is said where a panic's place is not known.
const NO_PLACE: &str = "an unknown place";

thread_local! {
    /// Set while this thread runs a task: the hook keeps an account of a panic then.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// The hook's accounts of the latest panics of a task, oldest first: while one unwinds,
    /// destructors may panic too, and catch it.
    static PANICS: RefCell<VecDeque<Account>> = const { RefCell::new(VecDeque::new()) };
}

struct Account {
    message: String,
    location: String,
    backtrace: Option<String>,
}

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
        step!(worker "task.arguments");
        let start = if args.is_inline() {
            Some(NonNull::from(&inline).cast())
        } else {
            let heap = self.worker.args_heap;
            resolve(&Place { heap, offset: args.offset, len: args.len })
        };
        let outcome = match start {
            Some(start) => {
                let site = Site { control: &self.worker.control, slot: self.slot };
                call(running.code(), start, args.len as usize, Some(site))
            }
            None => Err(Report::Code),
        };
        step!(worker "task.called");
        let (ending, place) = match outcome {
            // Nobody will read it, so it need not be given away.
            Ok(_) if running.is_detached() => (Ending::Done, ResultPlace::default()),
            Ok(result) => (Ending::Done, result.map(ResultBytes::hand_over).unwrap_or_default()),
            Err(report) => (Ending::Failed, report_place(&report)),
        };
        step!(worker "task.placed");
        let finished = running.finish(ending, &place);
        if finished.doomed {
            self.worker.bear_doom(self.slot, &place);
            return true;
        }
        if finished.wake {
            futex_wake(self.slot.futex(), u32::MAX);
            step!(worker "task.woken");
        }
        if finished.ring {
            self.worker.bell.ring();
        }
        step!(worker "task.told");
        self.worker.control.gate().finished();
        self.worker.count_finished();
        if self.worker.tie.is_process() {
            lifeline::forget_old_heaps();
        }
        true
    }
}

/// Runs the start function. The error is what went wrong, in words.
pub(super) fn run_start(code: u64, place: &Place) -> Result<(), String> {
    let start = resolve(place).ok_or("its arguments are not there")?;
    match call(code, start, place.len as usize, None) {
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
fn call(
    code: u64,
    start: NonNull<u8>,
    len: usize,
    site: Option<Site<'_>>,
) -> Result<Option<ResultBytes>, Report> {
    let address = Image::get().address_at(code).ok_or(Report::Code)?;
    // SAFETY: `code` is what the parent, the same build, wrote for a `Trampoline`, and the address
    // lies in this image's code.
    let trampoline = unsafe { mem::transmute::<usize, Trampoline>(address) };
    // SAFETY: the parent stored these arguments for this trampoline and keeps them until the task
    // has ended; inline ones are a copy that lives as long as the call.
    let mut frame = unsafe { Frame::new(start, len, site) };
    let outer = IN_TASK.replace(true).then(|| PANICS.take());
    let called = panic::catch_unwind(AssertUnwindSafe(|| trampoline(&mut frame)));
    IN_TASK.set(outer.is_some());
    let result = match called {
        Ok(Ok(())) => Ok(frame.take_result()),
        Ok(Err(fault)) => Err(Fault::into(fault)),
        Err(payload) => {
            let Account { message, location, backtrace } = account_of(&*payload);
            drop_payload(payload);
            Err(Report::Panicked { message, location, backtrace })
        }
    };
    if let Some(accounts) = outer {
        // The caller is itself a task, and may be unwinding.
        PANICS.set(accounts);
    }
    result
}

/// The hook's account of a panic. One that was passed on from another thread did not come to the
/// hook here; what is kept then is of others, which the task has caught.
fn account_of(payload: &(dyn Any + Send)) -> Account {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or(NO_TEXT);
    let kept = PANICS.take().into_iter().rev().find(|account| account.message == text);
    kept.unwrap_or_else(|| Account {
        message: text.to_owned(),
        location: NO_PLACE.to_owned(),
        backtrace: None,
    })
}

/// Drops what a panic carried; its destructor may panic too, and is then left alone.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}

/// Stores a report. Without memory for it, one that says so with the numbers fits into the slot.
fn report_place(report: &Report) -> ResultPlace {
    let stored = encode_result(report).or_else(|error| encode_result(&Report::Result { error }));
    stored.map(ResultBytes::hand_over).unwrap_or_default()
}

/// Keeps panics of tasks for the parent instead of printing them; others print as usual.
///
/// Where panics abort, nobody could read what is kept, so it is printed.
///
/// Once a process. A thread that panics cannot do it; then the next call does.
pub(super) fn install_panic_hook() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    if cfg!(panic = "abort") || thread::panicking() {
        return;
    }
    INSTALLED.get_or_init(set_panic_hook);
}

fn set_panic_hook() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let in_task = IN_TASK.try_with(Cell::get).unwrap_or(false);
        let kept = in_task && PANICS.try_with(|accounts| keep(accounts, describe(info))).is_ok();
        if !kept {
            usual(info);
        }
    }));
}

fn keep(accounts: &RefCell<VecDeque<Account>>, account: Account) {
    let mut accounts = accounts.borrow_mut();
    if accounts.len() == ACCOUNTS_MAX {
        accounts.pop_front();
    }
    accounts.push_back(account);
}

fn describe(info: &PanicHookInfo<'_>) -> Account {
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    Account {
        message: info.payload_as_str().unwrap_or(NO_TEXT).to_owned(),
        location: info.location().map_or_else(|| NO_PLACE.to_owned(), ToString::to_string),
        backtrace: captured.then(|| backtrace.to_string()),
    }
}
