//! `WHARF_BACKEND`, panic hooks and what is left, each in a process of its own.

use std::fs;
use std::panic;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use wharf::{Backend, Builder, Executor, TaskError};

use crate::BACKENDS;
use crate::life::eventually;

/// What the process is to do.
const ROLE: &str = "WHARF_TEST_ROLE";
const VARIABLE: &str = "WHARF_BACKEND";

/// Starts this program again to play a role, as the one test below.
fn play(role: &str, backend: Option<&str>) -> Output {
    let mut command = Command::new("/proc/self/exe");
    command.args([
        "--exact",
        "variable::the_role_that_this_process_was_started_for",
        "--nocapture",
    ]);
    command.env(ROLE, role).env("RUST_BACKTRACE", "0").env_remove(VARIABLE);
    if let Some(backend) = backend {
        command.env(VARIABLE, backend);
    }
    command.output().expect("this program runs")
}

fn check(role: &str, backend: Option<&str>, expected: &str) {
    let output = play(role, backend);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{role} {backend:?}: {all}");
    let said = text.lines().find_map(|line| line.split_once("says: ")).map(|(_, said)| said);
    assert_eq!(said, Some(expected), "{role} {backend:?}: {all}");
}

#[test]
fn the_role_that_this_process_was_started_for() {
    match std::env::var(ROLE).as_deref() {
        Ok("default") => say_which(Executor::builder()),
        Ok("set") => say_which(Executor::builder().backend(Backend::Sequential)),
        Ok("hook before") => hook_before(),
        Ok("hook after") => hook_after(),
        Ok("traces") => traces(),
        Ok(other) => panic!("no such role: {other}"),
        Err(_) => println!("no role"),
    }
}

/// Says which backend it is, by what it says and by where a task runs; or what the error says.
fn say_which(builder: Builder) {
    let executor = match builder.workers(2).build() {
        Ok(executor) => executor,
        Err(error) => return println!("says: {error}"),
    };
    let place = |caller: &str| {
        let thread = format!("{:?}", std::thread::current().id());
        (std::process::id(), thread == caller)
    };
    let caller = format!("{:?}", std::thread::current().id());
    let (pid, is_caller) = executor.submit(place, (caller,)).unwrap().join().unwrap();
    let found = match (pid == std::process::id(), is_caller) {
        (false, _) => Backend::Processes,
        (true, false) => Backend::Threads,
        (true, true) => Backend::Sequential,
    };
    assert_eq!(found, executor.backend());
    println!("says: {found}");
}

#[test]
fn the_variable_chooses_where_the_program_does_not() {
    let unknown = |value: &str| {
        format!("WHARF_BACKEND is `{value}`, it must be processes, threads or sequential")
    };
    for (value, expected) in [
        (None, "processes".to_owned()),
        (Some(""), "processes".to_owned()),
        (Some("processes"), "processes".to_owned()),
        (Some("threads"), "threads".to_owned()),
        (Some("sequential"), "sequential".to_owned()),
        (Some("Threads"), unknown("Threads")),
        (Some("fibres"), unknown("fibres")),
        (Some(" "), unknown(" ")),
    ] {
        check("default", value, &expected);
        check("set", value, "sequential");
    }
}

static HOOKED: AtomicU64 = AtomicU64::new(0);

fn count_in_hook() {
    panic::set_hook(Box::new(|_| {
        HOOKED.fetch_add(1, Ordering::SeqCst);
    }));
}

fn fails() {
    panic!("on purpose");
}

/// The place that is told of a panic in a task, with threads and in the caller.
fn places() -> Vec<String> {
    let inside = [Backend::Threads, Backend::Sequential];
    let place = |backend| {
        let executor = Executor::builder().backend(backend).workers(1).build().unwrap();
        match executor.submit(fails, ()).unwrap().join() {
            Err(TaskError::Panicked { message, location, .. }) => {
                assert_eq!(message, "on purpose");
                location
            }
            other => panic!("{other:?}"),
        }
    };
    inside.into_iter().map(place).collect()
}

/// A hook of the program's own, set first, hears of all panics but those of tasks.
fn hook_before() {
    count_in_hook();
    let all = places().iter().all(|place| place.starts_with(file!()));
    let in_tasks = HOOKED.load(Ordering::SeqCst);
    let others = [std::thread::spawn(fails).join().is_err(), panic::catch_unwind(fails).is_err()];
    assert_eq!(others, [true, true]);
    println!("says: {all} {in_tasks} {}", HOOKED.load(Ordering::SeqCst));
}

/// A hook that is set later hears of tasks' panics, and their places are not known then.
fn hook_after() {
    let known = places();
    count_in_hook();
    let unknown = places();
    let all = known.iter().all(|place| place.starts_with(file!()));
    println!("says: {all} {} {}", unknown.join(", "), HOOKED.load(Ordering::SeqCst));
}

#[test]
fn a_panic_hook_of_the_program_hears_of_all_panics_but_those_of_tasks() {
    check("hook before", None, "true 0 2");
    check("hook after", None, "true an unknown place, an unknown place 2");
}

/// Descriptors, mappings and threads of this process. Heaps are told by their names.
fn census() -> [usize; 3] {
    let count = |folder: &str| fs::read_dir(folder).expect("it can be read").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("it can be read");
    let heaps = maps.lines().filter(|line| line.contains("wharf")).count();
    [count("/proc/self/fd"), heaps, count("/proc/self/task")]
}

fn traces() {
    let use_up = || {
        for backend in BACKENDS {
            let executor = Executor::builder().backend(backend).workers(2).build().unwrap();
            let array = executor.array_from(&vec![1.0; 50_000]).unwrap();
            let task = executor.submit(|x: &[f64]| x.to_vec(), (&array,)).unwrap();
            let kept = task.join_view().unwrap();
            drop(executor.submit(fails, ()).unwrap());
            executor.shutdown().unwrap();
            assert_eq!(kept.len(), 50_000);
        }
    };
    use_up();
    let before = census();
    (0..20).for_each(|_| use_up());
    // A thread that was joined may be listed for a moment.
    eventually("nothing is left", || census() == before);
    println!("says: nothing is left");
}

#[test]
fn executors_come_and_go_without_a_trace() {
    check("traces", None, "nothing is left");
}
