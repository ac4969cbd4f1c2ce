//! Signals and descriptors as other programs leave them: ignored, blocked, handled, closed.

use wharf::{Death, Executor, TaskError};

use crate::common::executor;
use crate::forks::kill_an_owner;
use crate::limits::{block_signals, on_signal};
use crate::stage::{Row, Skip, die, identity, nothing_is_left_here, works};

pub const ROWS: &[Row] = &[
    Row { name: "stdin, stdout and stderr may be closed", scene: closed },
    Row { name: "an ignored SIGCHLD hides how a worker died and no more", scene: ignored },
    Row { name: "a handler that reaps every child hides how a worker died", scene: reaped },
    Row { name: "a SIGPIPE of the default kind ends nobody", scene: pipes },
    Row { name: "blocked signals are not blocked in workers", scene: blocked },
    Row { name: "a parent with blocked signals is missed when it is killed", scene: orphaned },
];

/// Checks that each death costs one task, and that it is one of the expected.
fn check_deaths(executor: &Executor, expected: &[Death]) {
    for _ in 0..10 {
        let before: Vec<_> =
            (0..50u64).map(|n| executor.submit(identity, (n,)).expect("a task")).collect();
        let dying = executor.submit(die, ()).expect("a task");
        let after: Vec<_> =
            (0..50u64).map(|n| executor.submit(identity, (n,)).expect("a task")).collect();
        match dying.join() {
            Err(TaskError::WorkerDied { death, .. }) => {
                assert!(expected.contains(&death), "{death:?}");
            }
            other => panic!("{other:?}"),
        }
        for tasks in [before, after] {
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.join().expect("a result"), n as u64);
            }
        }
    }
    assert_eq!(executor.stats().deaths, 10);
}

fn closed() -> Result<(), Skip> {
    for fd in 0..3 {
        // SAFETY: no pointer is passed, and nothing here uses the descriptor any more.
        unsafe { libc::close(fd) };
    }
    let executor = executor(2);
    works(&executor);
    let prints = || {
        println!("a task may print");
        eprintln!("or complain");
    };
    executor.submit(prints, ()).expect("a task").join().expect("a result");
    check_deaths_after(&executor, 1);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

/// As `check_deaths`, where workers have died before.
fn check_deaths_after(executor: &Executor, deaths: u64) {
    assert_eq!(executor.stats().deaths, deaths);
    let task = executor.submit(die, ()).expect("a task");
    let death = Death::Signal(libc::SIGABRT);
    assert!(matches!(task.join(), Err(TaskError::WorkerDied { death: d, .. }) if d == death));
    assert_eq!(executor.stats().deaths, deaths + 1);
}

fn ignored() -> Result<(), Skip> {
    on_signal(libc::SIGCHLD, libc::SIG_IGN);
    let executor = executor(2);
    check_deaths(&executor, &[Death::Unknown]);
    let runs = || std::process::Command::new("true").status().is_ok_and(|s| s.success());
    assert!(executor.submit(runs, ()).expect("a task").join().expect("it can wait for a child"));
    works(&executor);
    executor.shutdown().expect("an orderly end");
    executor_is_killed();
    Ok(())
}

fn executor_is_killed() {
    let executor = executor(2);
    let running = executor.submit(std::thread::park, ()).expect("a task");
    executor.kill();
    assert!(running.join().is_err());
    nothing_is_left_here();
}

fn reaped() -> Result<(), Skip> {
    extern "C" fn reap(_: i32) {
        // SAFETY: waitpid may be called in a handler, and a null status is allowed.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
    let reap = reap as extern "C" fn(i32) as libc::sighandler_t;
    on_signal(libc::SIGCHLD, reap);
    let executor = executor(2);
    check_deaths(&executor, &[Death::Unknown, Death::Signal(libc::SIGABRT)]);
    works(&executor);
    executor.shutdown().expect("an orderly end");
    executor_is_killed();
    Ok(())
}

fn pipes() -> Result<(), Skip> {
    on_signal(libc::SIGPIPE, libc::SIG_DFL);
    let executor = executor(2);
    check_deaths(&executor, &[Death::Signal(libc::SIGABRT)]);
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

fn blocked() -> Result<(), Skip> {
    /// Sends a signal to its own process, and tells whether it lives on.
    fn raise(signal: i32) -> bool {
        // SAFETY: no pointer is passed.
        unsafe { libc::kill(std::process::id() as i32, signal) == 0 }
    }
    fn raise_and_wait(signal: i32) {
        raise(signal);
        loop {
            std::thread::park();
        }
    }
    block_signals();
    let executor = executor(2);
    for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGRTMAX() - 1] {
        match executor.submit(raise_and_wait, (signal,)).expect("a task").join() {
            Err(TaskError::WorkerDied { death, .. }) => assert_eq!(death, Death::Signal(signal)),
            other => panic!("{signal}: {other:?}"),
        }
    }
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGCHLD] {
        assert!(executor.submit(raise, (signal,)).expect("a task").join().expect("it lives on"));
    }
    assert_eq!(executor.stats().deaths, 4);
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

/// What tells workers of the end is a signal, and ignored signals are inherited.
fn orphaned() -> Result<(), Skip> {
    let prepare = || {
        block_signals();
        on_signal(libc::SIGRTMAX() - 2, libc::SIG_IGN);
    };
    kill_an_owner(prepare, true);
    kill_an_owner(prepare, false);
    Ok(())
}
