//! Wakers are the user's code too, and called by whoever sees a task end.

use std::future::Future;
use std::panic;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use wharf::{Executor, TaskError, TaskHandle};

use super::common::{Gate, flag_waker};
use super::faults::{DEATHS, End, PanicsWhenDropped, SAYS, commit_all};
use super::trial::{WORKERS, check_end, trial, wait_until, without_a_trace};

/// What wakers do, besides saying that they were woken.
const HOSTILE: [&str; 3] = ["panics", "panics with a payload that panics", "panics when dropped"];

struct Hostile {
    how: &'static str,
    woken: Arc<AtomicBool>,
}

impl Wake for Hostile {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        match self.how {
            "panics" => panic!("{SAYS}"),
            "panics with a payload that panics" => panic::panic_any(PanicsWhenDropped),
            _ => {}
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        assert!(self.how != "panics when dropped", "{SAYS}");
    }
}

/// Polls a task that has not ended, and leaves it the only copy of a hostile waker.
fn poll<R: wharf::Returnable>(how: &'static str, task: &mut TaskHandle<R>) -> Arc<AtomicBool> {
    let woken = Arc::new(AtomicBool::new(false));
    let waker = Waker::from(Arc::new(Hostile { how, woken: Arc::clone(&woken) }));
    assert!(Pin::new(task).poll(&mut Context::from_waker(&waker)).is_pending(), "{how}");
    woken
}

fn passes_and_fails(path: &str, fault: &str) {
    Gate::pass(path);
    commit_all(fault);
}

/// The supervisor wakes, and has to go on: `trial` lets it replace all workers. What a waker's
/// panic carried was dropped there; when that panicked, too, the whole process ended.
#[test]
fn a_hostile_waker_of_a_task_that_ends_or_dies_harms_nobody() {
    let deaths = DEATHS.iter().map(|&(fault, death)| (fault, End::Dies(death)));
    let ends = [("nothing", End::Returns), ("panic", End::Panics(SAYS, "matrix/faults.rs:"))];
    let rows: Vec<(&str, End)> = ends.into_iter().chain(deaths).collect();
    for how in HOSTILE {
        for &(fault, end) in &rows {
            let name = format!("{fault}, and a waker that {how}");
            trial(&name, |executor| {
                let gate = Gate::new();
                let args = (gate.path(), fault.to_owned());
                let mut task = executor.submit(passes_and_fails, args).unwrap();
                gate.wait_for_entry();
                let woken = poll(how, &mut task);
                gate.open();
                wait_until(&name, || woken.load(Ordering::SeqCst));
                check_end(&name, end, "passes_and_fails", task.join())
            });
        }
    }
}

/// Whoever cancels wakes, and the panic is not his.
#[test]
fn a_hostile_waker_of_a_cancelled_task_harms_nobody() {
    for how in HOSTILE {
        trial(how, |executor| {
            let gate = Gate::new();
            let busy: Vec<_> = (0..WORKERS)
                .map(|_| executor.submit(Gate::pass, (gate.path(),)).unwrap())
                .collect();
            let mut queued = executor.submit(|| (), ()).unwrap();
            let woken = poll(how, &mut queued);
            assert!(queued.cancel(), "{how}");
            assert!(woken.load(Ordering::SeqCst), "{how}");
            assert!(matches!(queued.join(), Err(TaskError::Cancelled { .. })), "{how}");
            gate.open();
            busy.into_iter().for_each(|task| task.join().unwrap());
            0
        });
    }
}

#[test]
fn a_hostile_waker_does_not_keep_an_executor_from_its_end() {
    type End = (&'static str, fn(Executor, &Gate));
    let ends: [End; 3] = [
        ("kill", |executor, _| executor.kill()),
        ("shutdown", |executor, gate| {
            gate.open();
            executor.shutdown().expect("it is orderly");
        }),
        ("drop", |executor, gate| {
            gate.open();
            drop(executor);
        }),
    ];
    for how in HOSTILE {
        for (end, act) in &ends {
            let name = format!("{end}, and a waker that {how}");
            without_a_trace(&name, || {
                let executor = super::common::executor(1);
                let gate = Gate::new();
                let mut running = executor.submit(Gate::pass, (gate.path(),)).unwrap();
                gate.wait_for_entry();
                let mut queued = executor.submit(|| (), ()).unwrap();
                let woken = [poll(how, &mut running), poll(how, &mut queued)];
                act(executor, &gate);
                assert!(woken.iter().all(|woken| woken.load(Ordering::SeqCst)), "{name}");
                let ran = *end != "kill";
                assert_eq!((running.join().is_ok(), queued.join().is_ok()), (ran, ran), "{name}");
            });
        }
    }
}

#[test]
fn a_future_is_woken_when_the_worker_that_runs_it_dies() {
    for (fault, death) in DEATHS {
        trial(fault, |executor| {
            let gate = Gate::new();
            let args = (gate.path(), (*fault).to_owned());
            let mut task = executor.submit(passes_and_fails, args).unwrap();
            gate.wait_for_entry();
            let (waker, woken) = flag_waker();
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut task).poll(&mut context).is_pending());
            gate.open();
            woken.wait();
            match Pin::new(&mut task).poll(&mut context) {
                Poll::Ready(outcome) => {
                    check_end(fault, End::Dies(*death), "passes_and_fails", outcome)
                }
                Poll::Pending => panic!("{fault}: woken before the end"),
            }
        });
    }
}
