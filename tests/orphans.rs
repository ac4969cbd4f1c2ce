//! A dead parent leaves nothing: no process, no byte of shared memory, no name.

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::process::Watched;
use common::{DEADLINE, Gate, executor, segments_of};
use wharf::{BuildError, Executor};

const ROLE: &str = "WHARF_TEST_ROLE";

fn forever() {
    loop {
        std::thread::park();
    }
}

/// Not a test by itself: the program that the tests below start, and kill.
#[test]
fn parent_program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    if let Some(library) = role.strip_prefix("starting ") {
        drop(Executor::builder().workers(1).env("LD_PRELOAD", library).build());
        return;
    }
    // Whoever started the tests in the background had interrupts ignored; that is inherited.
    // SAFETY: no handler is given that could run.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    let executor = executor(2);
    let mut array = executor.array::<f64>(1 << 23).unwrap();
    array.fill(1.0);
    let array = array.freeze();
    let sum = executor.submit(|x: &[f64]| x.iter().sum::<f64>(), (&array,)).unwrap();
    assert_eq!(sum.join().unwrap(), f64::from(1 << 23));
    let tasks: Vec<_> = match role.as_str() {
        "busy" => (0..10).map(|_| executor.submit(forever, ()).unwrap()).collect(),
        _ => Vec::new(),
    };
    if role == "handles Ctrl-C" {
        finish_on_interrupt(executor);
        // Nobody reads the harness's own report any more.
        std::process::exit(0);
    }
    println!("\npids {:?}", executor.worker_pids());
    if role == "leaves" {
        std::process::exit(0);
    }
    forever();
    drop(tasks);
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// As a program does that ends in an orderly way on Ctrl-C: what was submitted still runs.
fn finish_on_interrupt(executor: Executor) {
    let handler = note_interrupt as extern "C" fn(libc::c_int);
    // SAFETY: the handler only stores to an atomic.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
    let gate = Gate::new();
    let pass = |path: &str, n: u64| Gate::pass_with(path, n);
    let tasks: Vec<_> =
        (0..20u64).map(|n| executor.submit(pass, (gate.path(), n)).unwrap()).collect();
    gate.wait_for_entry();
    println!("\npids {:?}", executor.worker_pids());
    while !INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    gate.open();
    executor.shutdown().unwrap();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64);
    }
}

/// Starts the parent program and waits until its workers have worked.
fn start(role: &str) -> (Child, Vec<u32>, Vec<Watched>) {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_program", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("pids ")).expect("pids");
    let digits = line.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let pids: Vec<u32> = digits.map(|part| part.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    let watched = pids.iter().filter_map(|pid| Watched::open(*pid)).collect();
    (parent, pids, watched)
}

#[test]
fn a_killed_parent_leaves_no_process_and_no_shared_memory() {
    for role in ["idle", "busy"] {
        let (mut parent, _, workers) = start(role);
        assert_eq!(workers.len(), 2);
        assert_eq!(segments_of(parent.id()).len(), 1, "{role}");
        parent.kill().unwrap();
        parent.wait().unwrap();
        // All else is memfds, which are gone with the last process that has them.
        workers.iter().for_each(Watched::wait_for_end);
        assert_eq!(segments_of(parent.id()), Vec::<String>::new(), "{role}");
    }
}

/// Ctrl-C goes to the whole process group, workers included.
///
/// Where a script ran the tests in the background, this failed: such programs are started with
/// interrupts ignored, and so was the parent below.
#[test]
fn an_interrupt_of_the_process_group_ends_in_an_orderly_way() {
    for (role, survives) in [("idle", false), ("busy", false), ("handles Ctrl-C", true)] {
        let (mut parent, _, workers) = start(role);
        // SAFETY: no pointer is passed. The group is the one that the parent was started in.
        assert_eq!(unsafe { libc::kill(-(parent.id() as i32), libc::SIGINT) }, 0);
        let status = parent.wait().unwrap();
        assert_eq!(status.success(), survives, "{role}: {status}");
        assert_eq!(status.signal() == Some(libc::SIGINT), !survives, "{role}: {status}");
        workers.iter().for_each(Watched::wait_for_end);
        assert_eq!(segments_of(parent.id()), Vec::<String>::new(), "{role}");
    }
}

#[test]
fn a_parent_that_leaves_without_a_word_leaves_nothing() {
    let (mut parent, _, workers) = start("leaves");
    assert!(parent.wait().unwrap().success());
    workers.iter().for_each(Watched::wait_for_end);
    assert_eq!(segments_of(parent.id()), Vec::<String>::new());
}

/// A parent was killed while its worker was still being loaded. The worker saw that its token named
/// a parent that was not its own, took the token for one that it had inherited, and went on to
/// `main`: the program ran a second time, with nobody to look after it.
#[test]
fn a_worker_whose_parent_dies_before_it_has_started_is_no_second_run_of_the_program() {
    // The loader waits at a pipe until somebody writes to it, and goes on without the library.
    let name = format!("wharf-orphan-{}", std::process::id());
    let library = std::env::temp_dir().join(name);
    assert!(Command::new("mkfifo").arg(&library).status().unwrap().success());
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_program", "--nocapture"])
        .env(ROLE, format!("starting {}", library.display()))
        .stdout(Stdio::piped())
        // The loader complains of the library.
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    let loader = loop {
        let mut write = OpenOptions::new();
        // An error as long as nobody reads.
        match write.write(true).custom_flags(libc::O_NONBLOCK).open(&library) {
            Ok(loader) => break loader,
            Err(_) => assert!(Instant::now() < deadline, "a worker is loaded in time"),
        }
        std::thread::yield_now();
    };
    parent.kill().unwrap();
    // Its standard output stays: the worker has it, too.
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    parent.wait().unwrap();
    drop(loader);
    std::fs::remove_file(&library).unwrap();
    let starts = lines.map_while(Result::ok).filter(|line| line.starts_with("running "));
    // The parent's own is one; a second is seen before that run of all tests ends.
    assert_eq!(starts.take(2).count(), 1);
    assert_eq!(segments_of(parent.id()), Vec::<String>::new());
}

#[test]
fn the_next_executor_sweeps_up_after_a_parent_killed_with_all_its_workers() {
    let (mut parent, pids, workers) = start("busy");
    // Stopped, the workers cannot notice that they are alone.
    let each = |signal: &str| {
        for pid in &pids {
            let status = Command::new("kill").args([signal, &pid.to_string()]).status();
            assert!(status.unwrap().success());
        }
    };
    each("-STOP");
    parent.kill().unwrap();
    parent.wait().unwrap();
    each("-KILL");
    workers.iter().for_each(Watched::wait_for_end);
    // Nobody was left to take the name away; unless another program's executor came by meanwhile.
    assert!(segments_of(parent.id()).len() <= 1);
    drop(executor(1));
    assert_eq!(segments_of(parent.id()), Vec::<String>::new());
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("wharf")).count()
}

/// Not a test by itself: counts what this process holds, alone in it.
#[test]
fn counting_program() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    fn crash() {
        std::process::abort();
    }
    let cycle = || {
        let executor = executor(2);
        let shared = executor.share(&vec![1.0; 1 << 16]).unwrap();
        let task = executor.submit(|x: &[f64]| x.to_vec(), (&shared,)).unwrap();
        assert_eq!(task.join().unwrap().len(), 1 << 16);
        assert!(executor.submit(crash, ()).unwrap().join().is_err());
        let failed = Executor::builder().workers(1).on_start(crash, ()).build();
        assert!(failed.is_err());
        // Its workers are on their way when that is found out.
        let large = (vec![0u8; 2 << 20],);
        let failed = Executor::builder().workers(2).memory_budget(1 << 20);
        let failed = failed.on_start(|_: &[u8]| (), large).build();
        assert!(matches!(failed, Err(BuildError::OnStartArguments(_))), "{failed:?}");
    };
    let counts = || {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        (count("/proc/self/fd"), count("/proc/self/task"), mappings(), children)
    };
    cycle();
    let before = counts();
    assert_eq!(before.2, 0);
    for _ in 0..10 {
        cycle();
    }
    // A thread that was joined may be listed for a moment longer.
    let deadline = Instant::now() + DEADLINE;
    while counts() != before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(counts(), before);
    assert_eq!(segments_of(std::process::id()), Vec::<String>::new());
}

#[test]
fn executors_come_and_go_without_a_trace() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "counting_program", "--nocapture"])
        .env(ROLE, "counts")
        .status();
    assert!(status.unwrap().success());
}
