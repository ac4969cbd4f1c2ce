//! The program forks. The copy has no pool: it cannot use it, and what it does disturbs nobody.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wharf::{Backend, Executor, Serialized, ShareError, TaskError, TaskHandle, TrySubmitError};

use crate::common::process::Watched;
use crate::common::{DEADLINE, Gate, executor, flag_waker, segments_of};
use crate::limits::check;
use crate::stage::{Row, Skip, identity, nothing_is_left_here, says, sum, works};

pub const ROWS: &[Row] = &[
    Row { name: "a fork that drops everything takes nothing from its parent", scene: drops },
    Row { name: "a fork that uses the executor gets errors", scene: uses },
    Row { name: "a fork whose parent's workers are its threads gets errors", scene: threads },
    Row { name: "a fork may build an executor of its own", scene: builds },
    Row { name: "a task that forks keeps its worker", scene: task_forks },
    Row { name: "a fork that outlives its killed parent keeps no worker alive", scene: outlives },
    Row { name: "nor one from before the workers were greeted", scene: outlives_a_build },
];

/// Starts a copy of this process. 0: this is the copy.
#[expect(clippy::disallowed_methods, reason = "it is what these tests are about")]
fn fork() -> i32 {
    // SAFETY: of the other threads, those of executors, no lock is needed by the copy; that it
    // needs none is what these tests show.
    let pid = unsafe { libc::fork() };
    check(pid.into()).expect("a copy of this process");
    pid
}

/// Runs a scene in a fork and waits until it has ended well.
fn in_fork(scene: impl FnOnce()) {
    let pid = fork();
    if pid == 0 {
        let played = panic::catch_unwind(AssertUnwindSafe(scene));
        std::process::exit(i32::from(played.is_err()));
    }
    wait_for(pid);
}

fn wait_for(pid: i32) {
    Watched::open(pid as u32).expect("a child").wait_for_end();
    let mut status = 0;
    // SAFETY: `status` is writable.
    check(unsafe { libc::waitpid(pid, &mut status, 0) }.into()).expect("it has ended");
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:x}");
}

/// An executor at work: a task that runs, tasks that wait, a result that nobody has asked for.
struct Pool {
    executor: Executor,
    gate: Gate,
    running: TaskHandle<u64>,
    queued: Vec<TaskHandle<u64>>,
    finished: TaskHandle<Vec<u64>>,
}

impl Pool {
    fn start() -> Self {
        let (executor, gate) = (executor(1), Gate::new());
        let finished = executor.submit(|n: u64| vec![n; 10_000], (5u64,)).expect("a task");
        let running = executor.submit(Gate::pass_with, (gate.path(), 6u64)).expect("a task");
        gate.wait_for_entry();
        let queued = (0..20u64).map(|n| executor.submit(identity, (n,)).expect("a task")).collect();
        Self { executor, gate, running, queued, finished }
    }

    /// Checks that the pool goes on as if nothing had been.
    fn goes_on(self, workers: &[u32]) {
        self.gate.open();
        assert_eq!(self.executor.worker_pids(), workers);
        assert_eq!(self.running.join().expect("a result"), 6);
        for (n, task) in self.queued.into_iter().enumerate() {
            assert_eq!(task.join().expect("a result"), n as u64);
        }
        assert_eq!(self.finished.join().expect("a result"), vec![5; 10_000]);
        assert_eq!(segments_of(std::process::id()).len(), 1);
        works(&self.executor);
        self.executor.shutdown().expect("an orderly end");
    }
}

fn drops() -> Result<(), Skip> {
    let pool = Pool::start();
    let workers = pool.executor.worker_pids();
    let shared = pool.executor.share(&vec![1.0; 5000]).expect("memory");
    let large = pool.executor.array_from(&vec![1.0; 1 << 20]).expect("memory");
    let mut all = Some((pool, shared, large));
    in_fork(|| {
        let (Pool { executor, gate, running, queued, finished }, shared, large) =
            all.take().expect("it is there");
        // Its folder is the parent's, too.
        std::mem::forget(gate);
        drop((shared, large, running, queued, finished));
        drop(executor);
    });
    in_fork(|| ());
    let (pool, shared, large) = all.take().expect("it is there");
    let sums = [&shared].map(|shared| pool.executor.submit(sum, (shared,)).expect("a task"));
    let total = pool.executor.submit(sum, (&large,)).expect("a task");
    pool.goes_on(&workers);
    sums.into_iter().for_each(|sum| assert_eq!(sum.join().expect("a result"), 5000.0));
    assert_eq!(total.join().expect("a result"), f64::from(1 << 20));
    drop((shared, large));
    nothing_is_left_here();
    Ok(())
}

/// A fork has only a copy of the list of free blocks: it gave the same memory away as its parent,
/// and took results that were the parent's.
fn uses() -> Result<(), Skip> {
    let pool = Pool::start();
    let workers = pool.executor.worker_pids();
    let mut all = Some(pool);
    in_fork(|| {
        let Pool { executor, gate, running, mut queued, finished } = all.take().expect("a pool");
        std::mem::forget(gate);
        let words = ["fork", "build one here"];
        says(&executor.submit(identity, (7u64,)).expect_err("no pool"), &words);
        says(&executor.submit(|| (), ()).expect_err("no pool"), &words);
        match executor.try_submit(identity, (7u64,)) {
            Err(TrySubmitError::Refused { args: (7,), error }) => says(&error, &words),
            other => panic!("{other:?}"),
        }
        let share = executor.share(&7u64).expect_err("no pool");
        assert_eq!(share, ShareError::Forked);
        says(&share, &words);
        assert_eq!(executor.array::<u8>(7).expect_err("no pool"), ShareError::Forked);
        assert_eq!(executor.array_from(&[7u8]).expect_err("no pool"), ShareError::Forked);
        assert_eq!(executor.worker_pids(), Vec::<u32>::new());
        assert_eq!(executor.stats().workers, 0);
        assert!(!queued[0].cancel() && !format!("{executor:?}").is_empty());

        let words = ["fork", "join it there"];
        let forked = |error: TaskError| {
            assert!(matches!(error, TaskError::Forked { .. }), "{error:?}");
            says(&error, &words);
        };
        forked(running.join_timeout(DEADLINE).expect("no wait").expect_err("not its task"));
        forked(finished.join_view().map(drop).expect_err("not its task"));
        forked(queued.remove(1).into_shared().map(drop).expect_err("not its task"));
        forked(queued.remove(1).join().expect_err("not its task"));
        let (waker, _flag) = flag_waker();
        let mut polled = pin!(queued.remove(1));
        match polled.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => forked(result.expect_err("not its task")),
            Poll::Pending => panic!("it would never be woken"),
        }
        executor.kill();
    });
    all.take().expect("a pool").goes_on(&workers);
    Ok(())
}

/// The fork has neither the threads nor, where the caller is the worker, the table.
fn threads() -> Result<(), Skip> {
    for backend in [Backend::Threads, Backend::Sequential] {
        let executor = Executor::builder().backend(backend).workers(2).build().expect("it is one");
        let array = executor.array_from(&vec![1.0; 100_000]).expect("memory");
        let finished = executor.submit(|n: u64| vec![n; 10_000], (5u64,)).expect("a task");
        let result = executor.submit(|x: &[f64]| x.to_vec(), (&array,)).expect("a task");
        let result = result.join_view().expect("a result");
        let mut all = Some((executor, array, finished, result));
        in_fork(|| {
            let (executor, array, finished, result) = all.take().expect("it is there");
            says(&executor.submit(identity, (7u64,)).expect_err("no pool"), &["fork"]);
            assert_eq!(executor.array::<u8>(7).expect_err("no pool"), ShareError::Forked);
            assert_eq!(executor.stats().workers, 0);
            let forked = finished.join().expect_err("not its task");
            assert!(matches!(forked, TaskError::Forked { .. }), "{forked:?}");
            let read = result.iter().map(|x| x.to_native()).sum::<f64>();
            assert_eq!(array.iter().sum::<f64>() + read, 200_000.0);
            drop((array, result));
            executor.kill();
            let own = Executor::builder().backend(backend).workers(1).build().expect("its own");
            let task = own.submit(identity, (7u64,)).expect("a task");
            assert_eq!(task.join().expect("a result"), 7);
        });
        let (executor, array, finished, result) = all.take().expect("it is there");
        assert_eq!(finished.join().expect("a result"), vec![5; 10_000]);
        let task = executor.submit(sum, (&array,)).expect("a task");
        assert_eq!(task.join().expect("a result"), 100_000.0);
        assert_eq!(result.len(), 100_000);
        executor.shutdown().expect("an orderly end");
    }
    Ok(())
}

fn builds() -> Result<(), Skip> {
    let pool = Pool::start();
    let workers = pool.executor.worker_pids();
    in_fork(|| {
        let own = executor(2);
        let shared = own.share(&vec![1.0; 100]).expect("memory");
        let foreign = pool.executor.submit(sum, (&shared,)).expect_err("no pool here");
        says(&foreign, &["fork"]);
        works(&own);
        own.shutdown().expect("an orderly end");
        drop(shared);
        nothing_is_left_here();
    });
    pool.goes_on(&workers);
    Ok(())
}

fn task_forks() -> Result<(), Skip> {
    fn forks(n: u64) -> wharf::Array<u64> {
        let mut array = wharf::array::<u64>(10_000).expect("memory");
        in_fork(|| {
            assert_eq!(wharf::array::<u64>(7).expect_err("a fork"), ShareError::Forked);
        });
        array.fill(n);
        array.freeze()
    }
    let executor = executor(2);
    let workers = executor.worker_pids();
    for n in 0..10u64 {
        let array = executor.submit(forks, (n,)).expect("a task").join().expect("a result");
        assert!(array.iter().all(|value| *value == n));
    }
    assert_eq!(executor.worker_pids(), workers);
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

/// The fork holds the other end of each worker's socket, so that no worker sees its end.
fn outlives() -> Result<(), Skip> {
    kill_an_owner(|| (), true);
    Ok(())
}

/// A fork while the executor is built: the workers wait to be greeted, and the line stays open.
fn outlives_a_build() -> Result<(), Skip> {
    /// Forks when it is encoded, tells of all processes, and never comes to an end.
    struct Forks(Mutex<[File; 2]>);

    impl Serialize for Forks {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            let [told, hold] = &mut *self.0.lock().expect("one thread");
            let deadline = Instant::now() + DEADLINE;
            let mut workers = children();
            while workers.len() < 2 {
                assert!(Instant::now() < deadline, "workers are started first");
                std::thread::yield_now();
                workers = children();
            }
            let copy = fork();
            if copy == 0 {
                let _ = hold.read(&mut [0]);
                std::process::exit(0);
            }
            for pid in workers.into_iter().chain([copy as u32]) {
                told.write_all(&pid.to_ne_bytes()).expect("a reader");
            }
            loop {
                std::thread::park();
            }
        }
    }

    impl<'de> Deserialize<'de> for Forks {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("it never gets there"))
        }
    }

    fn take(_: Serialized<Forks>) {}

    let [[told, tell], [wait, release]] = pipes();
    let owner = fork();
    if owner == 0 {
        drop((told, release));
        let forks = Serialized(Forks(Mutex::new([tell, wait])));
        let built = Executor::builder().workers(2).on_start(take, (forks,)).build();
        panic!("{built:?}");
    }
    expect_an_end_of_all(owner, told, release, true);
    Ok(())
}

/// The children of this process, whichever of its threads has started them.
fn children() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").expect("it is mounted");
    let lists = threads.flatten().filter_map(|thread| {
        let path = thread.path().join("children");
        std::fs::read_to_string(path).ok()
    });
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Two pipes: `[read, write]` of each.
fn pipes() -> [[File; 2]; 2] {
    let mut ends = [[0; 2]; 2];
    for pair in &mut ends {
        // SAFETY: `pair` has room for two descriptors.
        let made = unsafe { libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC) };
        check(made.into()).expect("a pipe");
    }
    // SAFETY: the calls succeeded, so all are open and owned by nobody else.
    ends.map(|pair| pair.map(|fd| unsafe { File::from_raw_fd(fd) }))
}

/// Has a process build an executor after `prepare`, kills it, and checks that its workers end and
/// nothing is left; even where a fork of it lives on.
pub fn kill_an_owner(prepare: impl FnOnce(), has_fork: bool) {
    let [[told, mut tell], [mut wait, release]] = pipes();
    let owner = fork();
    if owner == 0 {
        prepare();
        let executor = executor(2);
        let pids = executor.worker_pids();
        let copy = if has_fork { fork() } else { 0 };
        if has_fork && copy == 0 {
            drop((release, told));
            // Until the end of the test.
            let _ = wait.read(&mut [0]);
            std::process::exit(0);
        }
        for pid in pids.into_iter().chain([copy as u32]) {
            tell.write_all(&pid.to_ne_bytes()).expect("a reader");
        }
        loop {
            std::thread::park();
        }
    }
    expect_an_end_of_all(owner, told, release, has_fork);
}

/// Kills a process that tells of two workers and of its fork, which waits for a release, and checks
/// that the workers end and nothing is left.
fn expect_an_end_of_all(owner: i32, mut told: File, release: File, has_fork: bool) {
    let mut pids = [[0; 4]; 3];
    pids.iter_mut().for_each(|pid| told.read_exact(pid).expect("a pid"));
    let [workers @ .., copy] = pids.map(u32::from_ne_bytes);
    let workers = workers.map(|pid| Watched::open(pid).expect("it lives"));
    let copy = has_fork.then(|| Watched::open(copy).expect("it lives"));
    assert_eq!(segments_of(owner as u32).len(), 1);
    // SAFETY: no pointer is passed; it is a child that was not reaped.
    check(unsafe { libc::kill(owner, libc::SIGKILL) }.into()).expect("a child");
    workers.iter().for_each(Watched::wait_for_end);
    // SAFETY: a null status is allowed.
    check(unsafe { libc::waitpid(owner, std::ptr::null_mut(), 0) }.into()).expect("a child");
    assert_eq!(segments_of(owner as u32), Vec::<String>::new());
    drop(release);
    copy.iter().for_each(Watched::wait_for_end);
}
