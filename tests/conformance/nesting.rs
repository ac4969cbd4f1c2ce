//! Executors inside tasks.

use std::sync::{Arc, Mutex, OnceLock};
use std::thread::ThreadId;

use wharf::{Backend, BuildError, Executor, SubmitError, TaskError, TaskHandle};

use crate::common::Gate;
use crate::{BACKENDS, builder, executor};

fn named(name: &str) -> Backend {
    BACKENDS.into_iter().find(|backend| backend.to_string() == name).expect("a backend")
}

fn twice(n: u64) -> u64 {
    2 * n
}

/// A task that builds an executor and has it run one.
fn nest(name: &str, n: u64) -> Result<u64, String> {
    let inner = Executor::builder().backend(named(name)).workers(1).build();
    let inner = inner.map_err(|error| error.to_string())?;
    let task = inner.submit(twice, (n,)).map_err(|error| error.to_string())?;
    task.join().map_err(|error| error.to_string())
}

/// A task whose task builds an executor.
fn nest_twice(name: &str, n: u64) -> Result<u64, String> {
    let inner = Executor::builder().backend(named(name)).workers(1).max_depth(9).build();
    let inner = inner.map_err(|error| error.to_string())?;
    let task = inner.submit(nest, (name.to_owned(), n)).map_err(|error| error.to_string())?;
    task.join().map_err(|error| error.to_string())?
}

pub fn a_task_may_not_build_an_executor_unless_it_is_allowed(backend: Backend) {
    let refusal = |depth: u32, limit: u32| Err(BuildError::TooDeep { depth, limit }.to_string());
    for inner in BACKENDS {
        let executor = executor(backend);
        let refused = executor.submit(nest, (inner.to_string(), 1u64)).unwrap().join().unwrap();
        assert_eq!(refused, refusal(2, 1), "{inner}");
        let executor = builder(backend).max_depth(2).build().unwrap();
        // The limit of the outermost executor counts, whatever those inside say.
        let refused = executor.submit(nest_twice, (inner.to_string(), 1u64)).unwrap();
        assert_eq!(refused.join().unwrap(), refusal(3, 2), "{inner}");
    }
    // And what was refused inside leaves nothing behind in this thread.
    assert_eq!(executor(backend).submit(twice, (1u64,)).unwrap().join().unwrap(), 2);
}

pub fn executors_nest_in_any_combination(backend: Backend) {
    let executor = builder(backend).max_depth(3).build().unwrap();
    for inner in BACKENDS.map(|inner| inner.to_string()) {
        for n in 0..3u64 {
            let once = executor.submit(nest, (inner.clone(), n)).unwrap();
            let deeper = executor.submit(nest_twice, (inner.clone(), n)).unwrap();
            assert_eq!(once.join().unwrap(), Ok(2 * n), "{inner}");
            assert_eq!(deeper.join().unwrap(), Ok(2 * n), "{inner}");
        }
    }
}

/// Arrays, panics and results of a nested executor do not get in the way of the task's own.
pub fn a_task_may_use_an_executor_that_is_nested_in_it(backend: Backend) {
    fn outer(name: &str) -> Vec<f64> {
        let mut own = wharf::array::<f64>(3).expect("memory of the task's own worker");
        own[0] = 1.0;
        let inner = Executor::builder().backend(named(name)).workers(1).build().expect("depth 2");
        let make = || {
            let mut array = wharf::array::<f64>(2).expect("memory of the inner worker");
            array[1] = 5.0;
            array
        };
        let made = inner.submit(make, ()).unwrap().join().unwrap();
        let failed = inner.submit(|| -> u64 { panic!("inside") }, ()).unwrap().join();
        assert!(failed.unwrap_err().to_string().contains("inside"));
        let mut own = own.to_vec();
        own.extend_from_slice(&made);
        own.push(wharf::array::<f64>(4).expect("the task's own again").len() as f64);
        own
    }
    fn fails(name: &str) {
        let len = outer(name).len();
        panic!("outside, after {len}");
    }
    let executor = builder(backend).max_depth(2).build().unwrap();
    for inner in BACKENDS.map(|inner| inner.to_string()) {
        let values = executor.submit(outer, (inner.clone(),)).unwrap().join().unwrap();
        assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 5.0, 4.0], "{inner}");
        let Err(TaskError::Panicked { message, location, .. }) =
            executor.submit(fails, (inner,)).unwrap().join()
        else {
            panic!("it fails");
        };
        assert!(message == "outside, after 6" && location.contains("nesting.rs"), "{location}");
    }
    assert!(wharf::array::<f64>(1).is_err(), "this is no task");
}

/// A task in this process can get hold of the executor that runs it. Its worker would wait for
/// itself if it waited there for another task.
#[test]
fn a_task_that_uses_the_executor_which_runs_it_is_refused_and_waits_for_nobody() {
    fn check(executor: Executor) {
        static POOL: Mutex<Option<Arc<Executor>>> = Mutex::new(None);
        static TASK: Mutex<Option<TaskHandle<()>>> = Mutex::new(None);
        fn pool() -> Arc<Executor> {
            POOL.lock().unwrap().clone().expect("it was put there")
        }
        fn submits() -> String {
            let tried = pool().try_submit(twice, (1u64,)).map(drop).unwrap_err().to_string();
            match pool().submit(twice, (1u64,)) {
                Err(error @ SubmitError::Nested { .. }) => {
                    assert_eq!(error.to_string(), tried);
                    tried
                }
                other => panic!("{other:?}"),
            }
        }
        fn joins(threads: bool) -> bool {
            let Some(task) = TASK.lock().unwrap().take() else { return !threads };
            matches!(task.join(), Err(TaskError::Nested { .. }))
        }
        let executor = Arc::new(executor);
        *POOL.lock().unwrap() = Some(executor.clone());
        let refused = executor.submit(submits, ()).unwrap().join().unwrap();
        assert!(refused.contains("inside a task of the same executor"), "{refused}");
        // With one worker, that waits for a task behind it in the queue.
        let threads = executor.backend() == Backend::Threads;
        let gate = Gate::new();
        if threads {
            let held = executor.submit(Gate::pass, (gate.path(),)).unwrap();
            gate.wait_for_entry();
            let joins = executor.submit(joins, (threads,)).unwrap();
            *TASK.lock().unwrap() = Some(executor.submit(|| (), ()).unwrap());
            gate.open();
            held.join().unwrap();
            assert!(joins.join().unwrap());
        }
        assert_eq!(executor.submit(twice, (4u64,)).unwrap().join().unwrap(), 8);
        *POOL.lock().unwrap() = None;
    }
    for backend in [Backend::Threads, Backend::Sequential] {
        check(builder(backend).workers(1).build().unwrap());
    }
}

/// A task that drops the executor which runs it once waited for its own end.
#[test]
fn a_task_may_drop_the_executor_that_runs_it() {
    static POOL: Mutex<Option<Executor>> = Mutex::new(None);
    static WHERE: OnceLock<ThreadId> = OnceLock::new();
    fn drops() -> bool {
        let pool = POOL.lock().unwrap().take();
        let _ = WHERE.set(std::thread::current().id());
        let here = pool.is_some();
        drop(pool);
        here
    }
    let gate = Gate::new();
    let executor = builder(Backend::Threads).workers(1).build().unwrap();
    let held = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    let task = executor.submit(drops, ()).unwrap();
    let after = executor.submit(twice, (3u64,)).unwrap();
    *POOL.lock().unwrap() = Some(executor);
    gate.open();
    held.join().unwrap();
    assert!(task.join().unwrap());
    assert_eq!(after.join().unwrap(), 6);
    assert_ne!(WHERE.get(), Some(&std::thread::current().id()));
}
