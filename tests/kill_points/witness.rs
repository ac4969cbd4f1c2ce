//! A row from outside: starts its program, and sees what becomes of it and what is left of it.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::process::{Watched, children_of, is_ready};
use crate::common::{DEADLINE, executor, segments_of, wait_until};
use crate::program::{NEVER_PASSED, READY};
use crate::rows::{Row, STEP_VARIABLE, Token, VARIABLE};
use crate::steps::Side;

/// A program that has not ended after so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the row's program works with, and what remains to be read when it fails.
struct Stage {
    folder: PathBuf,
    token: Token,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a row. Returns its verdict, or what went wrong.
pub fn watch(row: &Row) -> Result<&'static str, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wharf-row-{}-{count}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let stage = Stage { token: Token::of(&folder), folder };
    let mut program = start(row, &stage).map_err(|error| error.to_string())?;
    let out = program.stdout.take().expect("it was piped");
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| follow(row, &stage, &mut program, out)));
    let verdict = verdict.unwrap_or_else(|_| Err("it did not come to its end".to_owned()));
    verdict.map_err(|cause| {
        // Whatever state it is in; nothing of a failed row may stay behind.
        let _ = program.kill();
        let _ = program.wait();
        if let Some(stopped) = stage.token.taker().filter(|pid| state_of(*pid) == Some('T')) {
            // SAFETY: no pointer is passed. The process is stopped, so the number is still its.
            unsafe { libc::kill(stopped as i32, libc::SIGKILL) };
        }
        let said = fs::read_to_string(stage.folder.join("said")).unwrap_or_default();
        format!("{cause}\n{said}")
    })
}

fn start(row: &Row, stage: &Stage) -> std::io::Result<Child> {
    let own_order = match row.side {
        Side::Worker => Row::slow_order(&stage.folder),
        Side::Parent => {
            stage.token.lay_out();
            row.order(&stage.token)
        }
    };
    Command::new(std::env::current_exe()?)
        .env(VARIABLE, row.to_string())
        .env(STEP_VARIABLE, own_order)
        .current_dir(&stage.folder)
        // For its gates: a program that is killed leaves them, and its number comes again.
        .env("TMPDIR", &stage.folder)
        // Every process that comes of it inherits this, and it ends with the last of them.
        .stdout(Stdio::piped())
        .stderr(fs::File::create(stage.folder.join("said"))?)
        .spawn()
}

fn follow(
    row: &Row,
    stage: &Stage,
    program: &mut Child,
    mut out: ChildStdout,
) -> Result<&'static str, String> {
    let pid = program.id();
    if row.needs_orphans() {
        wait_for(&mut out, READY)?;
        program.kill().map_err(|error| error.to_string())?;
        end_of(program)?;
        return orphans(row, stage, pid, &mut out);
    }
    if row.side == Side::Parent && row.action.signal().is_none() && wait_for_stop(pid) {
        // Its workers do what they can do without it.
        wait_until("the workers of a stopped parent sleep", || {
            children_of(pid).into_iter().all(|worker| !is_busy(worker))
        });
        // SAFETY: no pointer is passed. The program was not waited for, so the number is its.
        unsafe { libc::kill(pid as i32, libc::SIGCONT) };
    }
    let status = end_of(program)?;
    let said = rest_of(&mut out)?;
    if status.code() == Some(NEVER_PASSED) {
        return Err(format!("the step {} was never passed", row.step));
    }
    let taker = stage.token.taker().ok_or("nobody has carried the order out")?;
    let ends = if row.side == Side::Parent { row.action.signal() } else { None };
    if row.side == Side::Parent && taker != pid {
        return Err(format!("{taker} has carried out the order to {pid}"));
    }
    if status.signal() != ends || ends.is_none() && !status.success() {
        return Err(format!("it ended with {status}"));
    }
    let swept = sweep(pid, ends.is_some())?;
    Ok(match (row.side, ends) {
        (Side::Worker, _) => said_verdict(&said)?,
        (Side::Parent, None) => "went on, all results right",
        (Side::Parent, Some(_)) if swept => "nothing left but a name, swept up",
        (Side::Parent, Some(_)) => "nothing left",
    })
}

/// The workers of a dead parent, one of which the row is about.
fn orphans(
    row: &Row,
    stage: &Stage,
    parent: u32,
    out: &mut ChildStdout,
) -> Result<&'static str, String> {
    wait_until("an orphan comes to the step", || stage.token.taker().is_some());
    if row.action.signal().is_none() {
        // The other worker does not need it.
        wait_until("the name goes", || segments_of(parent).is_empty());
        let stopped = stage.token.taker().expect("it was seen") as i32;
        // SAFETY: no pointer is passed. The process is stopped, so the number is still its.
        unsafe { libc::kill(stopped, libc::SIGCONT) };
    }
    rest_of(out)?;
    sweep(parent, false)?;
    Ok("nothing left")
}

/// Checks that no name is left. One may be, where nobody was there to take it away, until the next
/// executor is built; true: it was.
fn sweep(pid: u32, may_be_left: bool) -> Result<bool, String> {
    let names = segments_of(pid);
    if names.is_empty() {
        return Ok(false);
    }
    if may_be_left {
        drop(executor(1));
    }
    let left = segments_of(pid);
    if left.is_empty() { Ok(true) } else { Err(format!("names are left: {left:?}")) }
}

fn end_of(program: &mut Child) -> Result<ExitStatus, String> {
    let death = Watched::open(program.id()).ok_or("it cannot be watched")?;
    if !death.ends_within(PATIENCE) {
        let workers = children_of(program.id());
        let states: Vec<_> = workers.into_iter().map(|pid| (pid, state_of(pid))).collect();
        return Err(format!("it hangs; its workers: {states:?}"));
    }
    program.wait().map_err(|error| error.to_string())
}

/// Reads until the last process is gone that came of the program.
fn rest_of(out: &mut ChildStdout) -> Result<String, String> {
    let (mut text, mut bytes) = (String::new(), [0; 256]);
    loop {
        if !is_ready(out.as_fd(), DEADLINE) {
            return Err("processes are left".to_owned());
        }
        match out.read(&mut bytes) {
            Ok(0) => return Ok(text),
            Ok(more) => text += &String::from_utf8_lossy(&bytes[..more]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn wait_for(out: &mut ChildStdout, word: &str) -> Result<(), String> {
    let mut bytes = vec![0; word.len()];
    if !is_ready(out.as_fd(), DEADLINE) || out.read_exact(&mut bytes).is_err() {
        return Err("its executor does not come up".to_owned());
    }
    Ok(())
}

/// Waits until a child has stopped. False: it has ended instead.
fn wait_for_stop(pid: u32) -> bool {
    let look = || {
        // SAFETY: all fields are integers and pointers, for which zero is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::WNOHANG;
        // SAFETY: `info` is writable and of the type asked for.
        assert_eq!(unsafe { libc::waitid(libc::P_PID, pid, &mut info, options) }, 0);
        info.si_code
    };
    wait_until("the parent comes to the step, or to its end", || look() != 0);
    look() == libc::CLD_STOPPED
}

/// Tells whether a thread of the process runs.
fn is_busy(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| state_in(&thread.path().join("stat")) == Some('R'))
}

/// What a process does: runs, sleeps, is stopped, has ended.
pub fn state_of(pid: u32) -> Option<char> {
    state_in(Path::new(&format!("/proc/{pid}/stat")))
}

fn state_in(stat: &Path) -> Option<char> {
    let stat = fs::read_to_string(stat).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The verdict of a row of a worker is its program's own.
fn said_verdict(said: &str) -> Result<&'static str, String> {
    let verdicts = crate::program::VERDICTS;
    let found = verdicts.into_iter().find(|verdict| said.trim() == *verdict);
    found.ok_or_else(|| format!("no verdict: {said}"))
}
