//! What to do about an error of the system: the limit that was met, and how to raise it.

use std::io;

use super::limits::resource_limit;

/// A limit of this process, as errors name it.
struct Limit {
    resource: libc::__rlimit_resource_t,
    name: &'static str,
    /// From here on it stops nothing that an executor needs.
    ample: u64,
}

const NOFILE: Limit =
    Limit { resource: libc::RLIMIT_NOFILE, name: "RLIMIT_NOFILE (ulimit -n)", ample: 1024 };
const NPROC: Limit =
    Limit { resource: libc::RLIMIT_NPROC, name: "RLIMIT_NPROC (ulimit -u)", ample: 1024 };
const SPACE: Limit =
    Limit { resource: libc::RLIMIT_AS, name: "RLIMIT_AS (ulimit -v)", ample: u64::MAX };
const DATA: Limit =
    Limit { resource: libc::RLIMIT_DATA, name: "RLIMIT_DATA (ulimit -d)", ample: u64::MAX };
const FSIZE: Limit =
    Limit { resource: libc::RLIMIT_FSIZE, name: "RLIMIT_FSIZE (ulimit -f)", ample: u64::MAX };
const STACK: Limit =
    Limit { resource: libc::RLIMIT_STACK, name: "RLIMIT_STACK (ulimit -s)", ample: 1 << 20 };
const CPU: Limit =
    Limit { resource: libc::RLIMIT_CPU, name: "RLIMIT_CPU (ulimit -t)", ample: u64::MAX };

/// The error and its remedy, in one line.
pub(crate) fn explain(error: &io::Error) -> String {
    format!("{error}; {}", remedy(error))
}

/// What to do about an error of the system.
pub(crate) fn remedy(error: &io::Error) -> String {
    let raise = |limits: &[Limit], otherwise: &str| match in_force(limits) {
        list if list.is_empty() => otherwise.to_owned(),
        list => format!("{list}: raise it, or {otherwise}"),
    };
    match error.raw_os_error() {
        Some(libc::EMFILE) => raise(&[Limit { ample: u64::MAX, ..NOFILE }], FEWER_WORKERS),
        Some(libc::ENFILE) => "the system's table of open files is full: raise fs.file-max".into(),
        Some(libc::ENOMEM) => raise(&[SPACE, DATA], "lower Builder::memory_budget or ::workers"),
        // What pthread_create says of a stack that cannot be mapped, too.
        Some(libc::EAGAIN) => {
            let limits = [Limit { ample: u64::MAX, ..NPROC }, SPACE, DATA];
            raise(&limits, "raise pids.max of the cgroup, or lower Builder::workers")
        }
        Some(libc::EFBIG) => {
            raise(&[FSIZE], "lower Builder::task_slots and Builder::memory_budget")
        }
        Some(libc::E2BIG) => {
            "the environment and argv[0] are too large for a new program: remove variables, or \
             raise RLIMIT_STACK (ulimit -s)"
                .into()
        }
        Some(libc::ENOENT) => "mount what is missing of /proc, /dev/shm and /dev/null".into(),
        Some(libc::ENOSYS | libc::EPERM) => {
            "the kernel (Linux 5.4 or later is needed) or a seccomp filter refuses the call: \
             allow it"
                .into()
        }
        _ => "see Limits in the README for what wharf needs".into(),
    }
}

/// What to do where `/dev/shm` has no segment for us.
pub(crate) fn segment_remedy(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => "lower Builder::task_slots or enlarge /dev/shm".into(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::EROFS | libc::EACCES) => {
            "mount a tmpfs that this user may write to on /dev/shm".into()
        }
        _ => remedy(error),
    }
}

const FEWER_WORKERS: &str = "lower Builder::workers";

/// The limits that may have ended a program before it could say so, as an addition to a message.
pub(crate) fn limits_in_force() -> String {
    match in_force(&[NOFILE, NPROC, SPACE, DATA, FSIZE, STACK, CPU]) {
        list if list.is_empty() => list,
        list => format!("; {list}: raise it if it was the cause"),
    }
}

fn in_force(limits: &[Limit]) -> String {
    let low = limits.iter().filter_map(|limit| {
        let value = resource_limit(limit.resource).filter(|value| *value < limit.ample)?;
        Some(format!("{} is {value}", limit.name))
    });
    low.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_each_kind_names_what_to_raise_or_to_allow() {
        for (errno, expected) in [
            (libc::EMFILE, "workers"),
            (libc::ENFILE, "fs.file-max"),
            (libc::ENOMEM, "memory_budget"),
            (libc::EAGAIN, "pids.max"),
            (libc::EFBIG, "task_slots"),
            (libc::E2BIG, "ulimit -s"),
            (libc::ENOSYS, "seccomp"),
            (libc::EPERM, "seccomp"),
            (libc::ENOENT, "/proc"),
            (libc::EIO, "README"),
        ] {
            let text = explain(&io::Error::from_raw_os_error(errno));
            assert!(text.contains(expected) && text.contains("os error"), "{text}");
        }
    }
}
