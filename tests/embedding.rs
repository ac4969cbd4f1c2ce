//! The executor inside somebody else's program: whatever its descriptors, threads and files do.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::executor;
use wharf::{BuildError, Executor, ShareError};

const ROLE: &str = "WHARF_TEST_ROLE";

fn identity(n: u64) -> u64 {
    n
}

fn works(executor: &Executor) {
    assert_eq!(executor.submit(identity, (7u64,)).unwrap().join().unwrap(), 7);
}

/// Not a test by itself: what the tests below start as a program of its own.
#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let own = std::env::current_exe().unwrap();
    match role.as_str() {
        "closed" => {
            for fd in [0, 1] {
                // SAFETY: no pointer is passed, and nothing here uses the descriptor any more.
                unsafe { libc::close(fd) };
            }
        }
        "deleted" => fs::remove_file(&own).unwrap(),
        "replaced" => {
            fs::write(own.with_extension("new"), "not a program").unwrap();
            fs::rename(own.with_extension("new"), &own).unwrap();
        }
        other => panic!("no role: {other}"),
    }
    let executor = executor(2);
    works(&executor);
    let task = executor.submit(|| println!("a task may print"), ()).unwrap();
    task.join().unwrap();
    fn die() {
        std::process::abort();
    }
    assert!(executor.submit(die, ()).unwrap().join().is_err());
    works(&executor);
    executor.shutdown().unwrap();
}

/// Runs a copy of this test program in a role.
fn run(role: &str) {
    let name = format!("wharf-embedding-{role}-{}", std::process::id());
    let copy: PathBuf = std::env::temp_dir().join(name);
    // By another process: a descriptor open for writing here could be inherited by a worker that
    // another test starts just now, and a file that is open for writing cannot be run.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
    assert!(copied.unwrap().success());
    let status = Command::new(&copy).args(["--exact", "program"]).env(ROLE, role).status();
    let _ = fs::remove_file(&copy);
    assert!(status.unwrap().success(), "{role}");
}

#[test]
fn stdin_and_stdout_may_be_closed() {
    run("closed");
}

#[test]
fn the_program_may_be_deleted_while_it_runs() {
    run("deleted");
}

#[test]
fn the_program_may_be_replaced_while_it_runs() {
    run("replaced");
}

#[test]
fn several_executors_live_side_by_side_and_move_between_threads() {
    let executors: Vec<Executor> = std::thread::scope(|scope| {
        // The threads that build them end before they are used.
        let built: Vec<_> = (0..3).map(|_| scope.spawn(|| executor(2))).collect();
        built.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for _ in 0..10 {
        executors.iter().for_each(works);
    }
    let pids: std::collections::HashSet<u32> =
        executors.iter().flat_map(Executor::worker_pids).collect();
    assert_eq!(pids.len(), 6);
    std::thread::scope(|scope| {
        executors.iter().for_each(|executor| drop(scope.spawn(|| works(executor))));
    });
}

#[test]
fn an_executor_in_a_task_is_refused_unless_the_depth_allows_it() {
    fn nest() -> Result<u64, String> {
        let inner =
            Executor::builder().workers(1).max_depth(9).build().map_err(|e| e.to_string())?;
        inner.submit(identity, (5u64,)).unwrap().join().map_err(|e| e.to_string())
    }
    let refused = executor(1).submit(nest, ()).unwrap().join().unwrap().unwrap_err();
    assert!(refused.contains("depth 2") && refused.contains("limit is 1"), "{refused}");
    let deeper = Executor::builder().workers(1).max_depth(2).build().unwrap();
    assert_eq!(deeper.submit(nest, ()).unwrap().join().unwrap(), Ok(5));
}

#[test]
fn workers_get_the_environment_that_was_asked_for() {
    fn variable(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    let executor = Executor::builder().workers(64).env("HARBOUR", "Hull").build().unwrap();
    let ask = |name: &str| executor.submit(variable, (name.to_owned(),)).unwrap().join().unwrap();
    assert_eq!(ask("HARBOUR").as_deref(), Some("Hull"));
    assert_eq!(ask("WHARF_WORKER"), None);
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"] {
        let expected = std::env::var(name).unwrap_or_else(|_| "1".to_owned());
        assert_eq!(ask(name), Some(expected), "{name}");
    }
}

#[test]
fn a_task_s_stdin_is_empty_and_its_children_are_no_workers() {
    fn read_stdin() -> u64 {
        std::io::read_to_string(std::io::stdin()).expect("stdin can be read").len() as u64
    }
    fn run_itself() -> bool {
        let own = std::env::current_exe().expect("a path");
        let child = Command::new(own).args(["--exact", "program"]).output().expect("it runs");
        child.status.success() && String::from_utf8_lossy(&child.stdout).contains("1 passed")
    }
    let executor = executor(1);
    assert_eq!(executor.submit(read_stdin, ()).unwrap().join().unwrap(), 0);
    assert!(executor.submit(run_itself, ()).unwrap().join().unwrap());
}

#[test]
fn settings_out_of_range_are_named_with_their_range() {
    let text = |result: Result<Executor, BuildError>| result.unwrap_err().to_string();
    let builder = Executor::builder;
    assert_eq!(text(builder().workers(0).build()), "workers is 0, it must be in 1..=1024");
    assert_eq!(
        text(builder().workers(1).task_slots(0).build()),
        "task_slots is 0, it must be in 1..=1048576"
    );
    let budget = text(builder().workers(1).memory_budget(5).build());
    assert!(budget.contains("memory_budget is 5"), "{budget}");
    let slots = builder().workers(1).task_slots(1).build().unwrap();
    works(&slots);
    assert!(matches!(wharf::array::<f64>(5), Err(ShareError::NotInTask)));
}

#[test]
fn a_worker_that_never_spins_works_as_well() {
    let executor = Executor::builder().workers(2).spin(std::time::Duration::ZERO).build().unwrap();
    (0..200).for_each(|_| works(&executor));
}
