//! The user's code under `catch_unwind`: a panic becomes a report.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::thread;

use crate::archive::Report;
use crate::sync::OnceLock;

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

/// Runs a task's code. Its panic becomes a report; guards may be nested.
#[inline]
pub(crate) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, Box<Report>> {
    let outer = IN_TASK.replace(true).then(|| PANICS.take());
    let ended = panic::catch_unwind(AssertUnwindSafe(body));
    IN_TASK.set(outer.is_some());
    let result = ended.map_err(|payload| Box::new(report_of(payload)));
    if let Some(accounts) = outer {
        // The caller is itself a task, and may be unwinding.
        PANICS.set(accounts);
    }
    result
}

#[cold]
fn report_of(payload: Box<dyn Any + Send>) -> Report {
    let Account { message, location, backtrace } = account_of(&*payload);
    drop_payload(payload);
    Report::Panicked { message, location, backtrace }
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

/// Keeps panics of tasks for the parent instead of printing them; others print as usual.
///
/// Where panics abort, nobody could read what is kept, so it is printed.
///
/// Once a process. A thread that panics cannot do it; then the next call does.
pub(crate) fn install_panic_hook() {
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
