//! A program that calls `wharf::init` first thing in `main`: its workers start there, and no
//! sooner.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set in `main`, before `init`: a worker that starts before `main` would not have it.
static MAIN_WAS_REACHED: AtomicBool = AtomicBool::new(false);

fn main_was_reached() -> bool {
    MAIN_WAS_REACHED.load(Ordering::SeqCst)
}

fn main() {
    MAIN_WAS_REACHED.store(true, Ordering::SeqCst);
    wharf::init();
    // Everything below runs in the parent alone.
    let executor = wharf::Executor::builder().workers(2).build().expect("an executor");
    for _ in 0..10 {
        let task = executor.submit(main_was_reached, ()).expect("a task");
        assert!(task.join().expect("a result"), "the worker came by way of main");
    }
    executor.shutdown().expect("an orderly end");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}
