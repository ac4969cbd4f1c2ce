//! System calls that the kernel does not know, or that a seccomp filter refuses.

use wharf::{Executor, ShareError};

use crate::limits::refuse;
use crate::stage::{Row, Skip, refusal, says, skip, works, works_or_says};

/// Rows of `call errno: what the error says`; each is a process of its own, as filters stay.
macro_rules! rows {
    ($($name:literal: $call:ident $errno:ident => $words:expr),* $(,)?) => {
        pub const ROWS: &[Row] = &[
            $(Row { name: $name, scene: || check(libc::$call, libc::$errno, &$words) },)*
            Row { name: "memory is found again without fallocate", scene: warm },
        ];
    };
}

rows! {
    "memfd_create refused is named": SYS_memfd_create EPERM => ["memfd_create", "seccomp"],
    "memfd_create unknown is named": SYS_memfd_create ENOSYS => ["memfd_create", "5.4"],
    "eventfd2 refused is named": SYS_eventfd2 EPERM => ["eventfd", "seccomp"],
    "eventfd2 unknown is named": SYS_eventfd2 ENOSYS => ["eventfd", "5.4"],
    "pidfd_open refused is named": SYS_pidfd_open EPERM => ["pidfd_open", "seccomp"],
    "pidfd_open unknown is named": SYS_pidfd_open ENOSYS => ["pidfd_open", "5.4"],
    "pidfd_send_signal refused is named":
        SYS_pidfd_send_signal EPERM => ["pidfd_send_signal", "seccomp"],
    "pidfd_send_signal unknown is named":
        SYS_pidfd_send_signal ENOSYS => ["pidfd_send_signal", "5.4"],
    "socketpair refused is named": SYS_socketpair EPERM => ["socketpair", "seccomp"],
    "socketpair unknown is named": SYS_socketpair ENOSYS => ["socketpair", "5.4"],
    "sendmsg refused is named": SYS_sendmsg EPERM => ["greeting", "seccomp"],
    "signalfd4 refused is named": SYS_signalfd4 EPERM => ["signal at the parent's end", "seccomp"],
    "execve refused is named": SYS_execve EPERM => ["starting /proc/self/exe", "seccomp"],
    "fallocate refused is named": SYS_fallocate EPERM => ["control segment", "seccomp"],
    "fallocate unknown is named": SYS_fallocate ENOSYS => ["control segment", "5.4"],
    "fallocate without support is done without": SYS_fallocate EOPNOTSUPP => [],
    "madvise refused is done without": SYS_madvise EPERM => [],
    "sched_getaffinity refused is done without": SYS_sched_getaffinity EPERM => [],
    "sched_setaffinity refused is done without": SYS_sched_setaffinity EPERM => [],
}

/// Checks that an executor works where there are no words, and else is refused with these.
fn check(call: libc::c_long, errno: i32, words: &[&str]) -> Result<(), Skip> {
    refuse(call, errno).map_err(skip("a seccomp filter"))?;
    let build = || Executor::builder().workers(2).memory_budget(64 << 20).build();
    for _ in 0..2 {
        if words.is_empty() {
            assert!(works_or_says(build(), &[]));
        } else {
            says(&refusal(build()), words);
        }
    }
    Ok(())
}

fn warm() -> Result<(), Skip> {
    refuse(libc::SYS_fallocate, libc::EOPNOTSUPP).map_err(skip("a seccomp filter"))?;
    let executor = Executor::builder().workers(1).memory_budget(16 << 20).build();
    let executor = executor.expect("an executor");
    for len in (1..50).map(|n| n * 200_000) {
        let array = executor.array::<u8>(len).expect("memory that was dropped before");
        let error = executor.array::<u8>(16 << 20).expect_err("more than is left");
        assert!(matches!(error, ShareError::OutOfMemory { .. }), "{error}");
        assert!(array.iter().all(|byte| *byte == 0));
    }
    works(&executor);
    Ok(())
}
