//! One core, a long name, a large environment, variables of ours that somebody else has set.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll};

use wharf::{BuildError, Executor, Shared};

use crate::common::{executor, flag_waker};
use crate::limits::one_core;
use crate::stage::{Row, Skip, die, identity, refusal, says, sum, works, works_or_says};

pub const ROWS: &[Row] = &[
    Row { name: "one core is enough", scene: core },
    Row { name: "a long argv[0] and a large environment are passed on", scene: large },
    Row { name: "an environment too large for a worker is an error", scene: too_large },
    Row {
        name: "a worker's variable that somebody else has set makes no worker",
        scene: variables,
    },
    Row { name: "a depth that somebody else has set does not overflow", scene: depth },
];

/// Set in a process that a row has started.
const SECOND: &str = "WHARF_TEST_SECOND";

fn core() -> Result<(), Skip> {
    one_core();
    assert_eq!(std::thread::available_parallelism().expect("a count").get(), 1);
    for workers in [1, 4] {
        let executor = executor(workers);
        works(&executor);
        for n in 0..500u64 {
            assert_eq!(executor.submit(identity, (n,)).expect("a task").join().expect("it"), n);
        }
        let tasks: Vec<_> =
            (0..6000u64).map(|n| executor.submit(identity, (n,)).expect("a task")).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().expect("a result"), n as u64);
        }
        for _ in 0..5 {
            assert!(executor.submit(die, ()).expect("a task").join().is_err());
            works(&executor);
        }
        nests(&executor);
        for n in 0..50u64 {
            let mut future = pin!(executor.submit(identity, (n,)).expect("a task"));
            let result = loop {
                let (waker, woken) = flag_waker();
                match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(result) => break result,
                    Poll::Pending => woken.wait(),
                }
            };
            assert_eq!(result.expect("a result"), n);
        }
        executor.shutdown().expect("an orderly end");
    }
    works_or_says(Executor::new(), &[]);
    Ok(())
}

/// Shared values inside of others, and results that are arguments.
fn nests(executor: &Executor) {
    let inner = executor.share(&vec![1.0; 5000]).expect("memory");
    let both = executor.share(&vec![inner.clone(), inner]).expect("memory");
    fn total(parts: &rkyv::vec::ArchivedVec<wharf::ArchivedShared<Vec<f64>>>) -> f64 {
        parts.iter().map(|part| part.iter().map(|x| x.to_native()).sum::<f64>()).sum()
    }
    let task = executor.submit(total, (&both,)).expect("a task");
    assert_eq!(task.join().expect("a result"), 10_000.0);
    let made = executor.submit(|n: f64| vec![n; 10_000], (2.0,)).expect("a task");
    let made: Shared<Vec<f64>> = made.into_shared().expect("a result");
    let task = executor.submit(sum, (&made,)).expect("a task");
    assert_eq!(task.join().expect("a result"), 20_000.0);
}

fn large() -> Result<(), Skip> {
    let long = "long ".repeat(20_000);
    if std::env::var_os(SECOND).is_none() {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(&long).env(SECOND, "1");
        command.envs((0..10).map(|n| (format!("LARGE_{n}"), &long)));
        panic!("{}", command.exec());
    }
    assert!(std::env::args().next().is_some_and(|name| name == long));
    let executor = executor(2);
    fn name_and_variable() -> (u64, u64) {
        let name = std::env::args().next().unwrap_or_default();
        (name.len() as u64, std::env::var("LARGE_9").unwrap_or_default().len() as u64)
    }
    let task = executor.submit(name_and_variable, ()).expect("a task");
    assert_eq!(task.join().expect("a result"), (100_000, 100_000));
    works(&executor);
    Ok(())
}

fn too_large() -> Result<(), Skip> {
    let long = "long ".repeat(20_000);
    let builder = (0..100).fold(Executor::builder().workers(2), |builder, n| {
        builder.env(format!("LARGE_{n}"), &long)
    });
    let error = refusal(builder.build());
    assert!(matches!(error, BuildError::Worker { .. }), "{error:?}");
    says(&error, &["too long", "remove variables", "RLIMIT_STACK"]);
    assert!(works_or_says(Executor::builder().workers(2).build(), &[]));
    Ok(())
}

/// Whoever knew the pid of the parent could make a program a worker, which then said nothing and
/// ended: the variable alone decided.
fn variables() -> Result<(), Skip> {
    if std::env::var_os(SECOND).is_some() {
        assert!(works_or_says(Executor::builder().workers(2).build(), &[]));
        return Ok(());
    }
    let own = std::process::id();
    let (early, main) = (format!("early:{own}"), format!("main:{own}"));
    let tokens = [early.as_bytes(), main.as_bytes()];
    let words: [&[u8]; 8] =
        [b"", b"garbage", b"early:", b"early:x", b":", b"early:99999999999", b"0", b"\xff\xfe"];
    let values = tokens.into_iter().chain(words);
    let rows = values.clone().map(|value| ("WHARF_WORKER", value));
    let rows = rows.chain(words.into_iter().map(|value| ("WHARF_DEPTH", value)));
    let rows = rows.chain(words.into_iter().map(|value| ("WHARF_MAX_DEPTH", value)));
    for (name, value) in rows {
        let mut command = Command::new("/proc/self/exe");
        command.env(SECOND, "1").env(name, OsStr::from_bytes(value)).stdin(Stdio::null());
        assert!(command.status().expect("it starts").success(), "{name}={value:?}");
    }
    Ok(())
}

/// The depth below the largest number was none, and every limit allowed it.
fn depth() -> Result<(), Skip> {
    // SAFETY: this process has no other threads yet.
    unsafe { std::env::set_var("WHARF_DEPTH", u32::MAX.to_string()) };
    let error = refusal(Executor::builder().workers(1).build());
    assert!(matches!(error, BuildError::TooDeep { limit: 1, .. }), "{error:?}");
    // SAFETY: as above: the refused executor has started none.
    unsafe { std::env::remove_var("WHARF_DEPTH") };
    assert!(works_or_says(executor_of_one(), &[]));
    Ok(())
}

fn executor_of_one() -> Result<Executor, BuildError> {
    Executor::builder().workers(1).build()
}
