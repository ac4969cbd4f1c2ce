//! Runs each row in a process of its own, and sees that nothing of it is left.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::time::Instant;

use wharf::{BuildError, Executor, TaskError};

use crate::common::process::Watched;
use crate::common::{DEADLINE, segments_of};

/// Which row the program is to run.
const ROLE: &str = "WHARF_TEST_ROLE";
/// The exit code of a row that cannot be run on this machine.
const SKIPPED: i32 = 77;

/// A scene, and what it shows.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub scene: fn() -> Result<(), Skip>,
}

/// Why a scene cannot be played on this machine.
#[derive(Debug)]
pub struct Skip(pub String);

/// Says what this machine does not allow.
pub fn skip(what: &str) -> impl Fn(io::Error) -> Skip {
    move |error| Skip(format!("{what}: {error}"))
}

/// Plays the row that this process was started for, or starts a process for each.
pub fn run(rows: &[Row]) {
    if let Ok(role) = std::env::var(ROLE) {
        let row = rows.iter().find(|row| row.name == role).expect("there is such a row");
        if let Err(Skip(why)) = (row.scene)() {
            eprintln!("skipped: {why}");
            std::process::exit(SKIPPED);
        }
        nothing_is_left_here();
        return;
    }
    adopt_orphans();
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |row: &&Row| words.iter().all(|word| row.name.contains(word.as_str()));
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for row in rows.iter().filter(wanted) {
        let word = match play(row) {
            Ok(false) => (passed += 1, "ok").1,
            Ok(true) => (skipped += 1, "skipped").1,
            Err(cause) => {
                eprintln!("{}: {cause}", row.name);
                (failed += 1, "FAILED").1
            }
        };
        println!("test {} ... {word}", row.name);
    }
    let filtered = rows.len() - passed - failed - skipped;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; \
         {filtered} filtered out"
    );
    std::process::exit(i32::from(failed != 0));
}

/// Plays one row. `Ok(true)`: it was skipped.
fn play(row: &Row) -> Result<bool, String> {
    let mut log = log_file();
    let said = |log: &mut File| {
        let mut text = String::new();
        let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
        text
    };
    let mut child = Command::new("/proc/self/exe")
        .env(ROLE, row.name)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log.try_clone().expect("a descriptor"))
        .spawn()
        .expect("the program starts");
    let ended = Watched::open(child.id()).expect("a child").ends_within(DEADLINE);
    if !ended {
        child.kill().expect("it can be killed");
    }
    let status = child.wait().expect("it has ended");
    let left = processes_left();
    let segments = segments_of(child.id());
    if !ended {
        return Err(format!("it hangs\n{}", said(&mut log)));
    }
    if !left.is_empty() || !segments.is_empty() {
        return Err(format!("left: {left:?} {segments:?}\n{}", said(&mut log)));
    }
    match status.code() {
        Some(0) => Ok(false),
        Some(SKIPPED) => {
            eprint!("{}: {}", row.name, said(&mut log));
            Ok(true)
        }
        _ => Err(format!("{status}\n{}", said(&mut log))),
    }
}

/// A file without a name: a pipe would stay open as long as anything that was left behind.
fn log_file() -> File {
    let path = std::env::temp_dir().join(format!("wharf-scarcity-{}", std::process::id()));
    let file = File::options().read(true).append(true).create(true).open(&path);
    fs::remove_file(&path).expect("the file is there");
    file.expect("a file")
}

/// Makes every process whose parent ends a child of this one.
fn adopt_orphans() {
    // SAFETY: no pointer is passed.
    let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Waits for the processes that the row has left; those that do not end are killed and named.
///
/// A worker notices the end of its parent by itself, and may take a moment.
fn processes_left() -> Vec<u32> {
    let deadline = Instant::now() + DEADLINE;
    while !reaped_all() {
        if Instant::now() >= deadline {
            return kill_children();
        }
        std::thread::yield_now();
    }
    Vec::new()
}

/// Reaps children that have ended. True: there are no others.
fn reaped_all() -> bool {
    loop {
        // SAFETY: a null status is allowed.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return false,
            -1 => return true,
            _ => {}
        }
    }
}

fn kill_children() -> Vec<u32> {
    let list = fs::read_to_string("/proc/thread-self/children").expect("a list of children");
    let pids: Vec<u32> = list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    for pid in &pids {
        // SAFETY: no pointer is passed; the pid is that of a child which was not reaped.
        unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
    }
    pids
}

/// Checks that this process has no child and no segment any more, in its own view of the files.
pub fn nothing_is_left_here() {
    // SAFETY: a null status is allowed.
    let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!(child, -1, "no child is left");
    if fs::metadata("/dev/shm").is_ok() {
        assert_eq!(segments_of(std::process::id()), Vec::<String>::new());
    }
}

pub fn identity(n: u64) -> u64 {
    n
}

pub fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

pub fn die() {
    std::process::abort();
}

/// Checks an executor in all that it does: small and shared arguments, large results, a death.
pub fn works(executor: &Executor) {
    let tasks: Vec<_> =
        (0..50u64).map(|n| executor.submit(identity, (n,)).expect("a task")).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().expect("a result"), n as u64);
    }
    let shared = executor.share(&vec![1.0; 4000]).expect("memory");
    let task = executor.submit(sum, (&shared,)).expect("a task");
    assert_eq!(task.join().expect("a result"), 4000.0);
    let grown = executor.submit(|n: u64| vec![n; 10_000], (3u64,)).expect("a task");
    assert_eq!(grown.join().expect("a result"), vec![3; 10_000]);
    let task = executor.submit(die, ()).expect("a task");
    assert!(matches!(task.join(), Err(TaskError::WorkerDied { .. })));
    let task = executor.submit(identity, (7u64,)).expect("a task");
    assert_eq!(task.join().expect("a result of the successor or another"), 7);
}

/// Checks that an executor works and ends in order, or that its error says all of `words`.
/// Tells whether it worked.
pub fn works_or_says(built: Result<Executor, BuildError>, words: &[&str]) -> bool {
    match built {
        Ok(executor) => {
            works(&executor);
            executor.shutdown().expect("an orderly end");
            true
        }
        Err(error) => {
            says(&error, words);
            false
        }
    }
}

/// Checks that an error says all of `words`.
pub fn says(error: &impl std::error::Error, words: &[&str]) {
    let text = error.to_string();
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is missing in: {text}");
}

/// A failed build's error.
pub fn refusal(built: Result<Executor, BuildError>) -> BuildError {
    match built {
        Ok(_) => panic!("the executor was built, although it should be refused"),
        Err(error) => error,
    }
}
