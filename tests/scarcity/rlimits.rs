//! The limits of setrlimit: descriptors, addresses, processes, sizes of files, stacks.

use std::fs;

use wharf::{BuildError, Executor, ShareError, TaskError};

use crate::limits::{become_nobody, get, set};
use crate::stage::{
    Row, Skip, die, identity, nothing_is_left_here, refusal, says, skip, works, works_or_says,
};

const MIB: u64 = 1 << 20;

pub const ROWS: &[Row] = &[
    Row { name: "few descriptors are enough, or the error names their limit", scene: descriptors },
    Row { name: "more workers than descriptors is an error that names both", scene: many_workers },
    Row { name: "workers are replaced under a limit on descriptors", scene: replacements },
    Row { name: "a limit below the descriptors in use is noticed and named", scene: lowered },
    Row { name: "few addresses are enough, or the error names their limit", scene: addresses },
    Row { name: "a heap made small by a limit says so", scene: small_heap },
    Row { name: "few processes are enough, or the error names their limit", scene: processes },
    Row { name: "large values are copied though no thread can be had", scene: copies },
    Row { name: "small files are enough, or the error names their limit", scene: file_sizes },
    Row { name: "stacks may be small or without end", scene: stacks },
    Row { name: "no core files and no locked memory are enough", scene: others },
];

/// Builds under each value of a limit, least first, and returns those under which all worked.
///
/// Under the others the error says `words`. Afterwards nothing is left.
fn sweep<const N: usize>(
    resource: libc::__rlimit_resource_t,
    values: [u64; N],
    words: &[&str],
    build: fn() -> Result<Executor, BuildError>,
) -> Vec<u64> {
    let usual = get(resource);
    let works_under = |value: &u64| {
        set(resource, *value);
        let built = build();
        if built.is_err() {
            // Saying what went wrong may need what there is too little of.
            set(resource, usual);
        }
        let worked = works_or_says(built, words);
        set(resource, usual);
        nothing_is_left_here();
        worked
    };
    values.into_iter().filter(works_under).collect()
}

fn two_workers() -> Result<Executor, BuildError> {
    Executor::builder().workers(2).memory_budget(64 * MIB).build()
}

fn descriptors() -> Result<(), Skip> {
    let values = std::array::from_fn::<u64, 65, _>(|n| n as u64);
    let words = ["RLIMIT_NOFILE (ulimit -n) is"];
    let worked = sweep(libc::RLIMIT_NOFILE, values, &words, two_workers);
    assert!(worked.ends_with(&[64]) && worked[0] > 3, "{worked:?}");
    Ok(())
}

fn many_workers() -> Result<(), Skip> {
    set(libc::RLIMIT_NOFILE, 64);
    let many = || Executor::builder().workers(100).memory_budget(64 * MIB).build();
    for _ in 0..2 {
        let error = refusal(many());
        assert!(matches!(error, BuildError::Worker { .. }), "{error:?}");
        says(&error, &["RLIMIT_NOFILE (ulimit -n) is 64", "Builder::workers", "Too many open"]);
    }
    assert!(works_or_says(two_workers(), &[]));
    Ok(())
}

fn replacements() -> Result<(), Skip> {
    set(libc::RLIMIT_NOFILE, 64);
    let executor = two_workers().expect("an executor");
    for _ in 0..40 {
        let task = executor.submit(die, ()).expect("a task");
        assert!(matches!(task.join(), Err(TaskError::WorkerDied { .. })));
    }
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

/// `poll` refuses more descriptors than the limit. The supervisor then heard of nothing any more,
/// asked again and again, and whoever joined the task of a dead worker waited for ever.
fn lowered() -> Result<(), Skip> {
    let executor = two_workers().expect("an executor");
    set(libc::RLIMIT_NOFILE, 3);
    let task = executor.submit(identity, (7u64,)).expect("a task");
    assert_eq!(task.join().expect("a result"), 7);
    for _ in 0..2 {
        let task = executor.submit(die, ()).expect("a task");
        assert!(matches!(task.join(), Err(TaskError::WorkerDied { .. })));
    }
    let words = ["did not start", "RLIMIT_NOFILE (ulimit -n) is 3"];
    match executor.submit(identity, (7u64,)) {
        Ok(task) => says(&task.join().expect_err("no worker"), &words),
        Err(error) => says(&error, &words),
    }
    says(&executor.shutdown().expect_err("no worker"), &words);
    set(libc::RLIMIT_NOFILE, 64);
    assert!(works_or_says(two_workers(), &[]));
    Ok(())
}

/// The addresses that this process has taken, in bytes.
fn addresses_in_use() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

fn addresses() -> Result<(), Skip> {
    let used = addresses_in_use();
    let rooms = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 4096, 65_536];
    let values = rooms.map(|room| used + room * MIB);
    let words = ["RLIMIT_AS (ulimit -v) is"];
    for build in [two_workers, || Executor::builder().workers(3).build()] {
        let worked = sweep(libc::RLIMIT_AS, values, &words, build);
        assert!(worked.ends_with(&values[13..]), "{worked:?} of {values:?}");
    }
    Ok(())
}

/// The error spoke of the budget, of which all was left.
fn small_heap() -> Result<(), Skip> {
    set(libc::RLIMIT_AS, addresses_in_use() + 1024 * MIB);
    let executor = Executor::builder().workers(2).memory_budget(1024 * MIB).build();
    let executor = executor.expect("an executor");
    for _ in 0..3 {
        let error = executor.array::<u8>((512 * MIB) as usize).expect_err("no addresses");
        let ShareError::AddressSpace { asked, reserved } = error else { panic!("{error}") };
        assert!(asked == 512 * MIB && reserved < asked, "{error}");
        says(&error, &["RLIMIT_AS (ulimit -v)", &asked.to_string(), &reserved.to_string()]);
        let blocks = (reserved / 8 / 100) as usize;
        let error =
            (0..1 << 20).map(|_| executor.array::<u8>(blocks)).collect::<Result<Vec<_>, _>>();
        assert!(matches!(error, Err(ShareError::AddressSpace { .. })), "{error:?}");
    }
    works(&executor);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

fn processes() -> Result<(), Skip> {
    become_nobody().map_err(skip("another user"))?;
    let values = std::array::from_fn::<u64, 17, _>(|n| n as u64);
    let worked = sweep(libc::RLIMIT_NPROC, values, &["RLIMIT_NPROC (ulimit -u) is"], two_workers);
    // Each process and each thread counts: two here and two in each worker.
    assert!(worked.ends_with(&[16]) && worked[0] > 2, "{worked:?}");
    Ok(())
}

/// Large blocks are filled by several threads where there are some, and else by the caller alone.
fn copies() -> Result<(), Skip> {
    become_nobody().map_err(skip("another user"))?;
    let executor = Executor::builder().workers(2).memory_budget(256 * MIB).build();
    let executor = executor.expect("an executor");
    let usual = get(libc::RLIMIT_NPROC);
    set(libc::RLIMIT_NPROC, 1);
    std::thread::Builder::new().spawn(|| ()).expect_err("no thread");
    let numbers: Vec<u64> = (0..(4 * MIB)).collect();
    let sum = |numbers: &[u64]| numbers.iter().sum::<u64>();
    for _ in 0..2 {
        let shared = executor.share(&numbers).expect("a value");
        let array = executor.array_from(&numbers).expect("an array");
        let zeros = executor.array::<u64>(numbers.len()).expect("zeros").freeze();
        let tasks = [
            executor.submit(sum, (&shared,)),
            executor.submit(sum, (&array,)),
            executor.submit(sum, (&zeros,)),
        ];
        let sums = tasks.map(|task| task.expect("a task").join().expect("a sum"));
        assert_eq!(sums, [sum(&numbers), sum(&numbers), 0]);
    }
    set(libc::RLIMIT_NPROC, usual);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

/// A file larger than the limit is a signal that ends the program, and not an error.
fn file_sizes() -> Result<(), Skip> {
    let sizes = [0, 4096, MIB, 2 * MIB - 1, 2 * MIB, 3 * MIB, 16 * MIB, 1024 * MIB];
    let words = ["RLIMIT_FSIZE (ulimit -f) is", "raise it"];
    let worked = sweep(libc::RLIMIT_FSIZE, sizes, &words, two_workers);
    assert_eq!(worked, sizes[4..]);
    Ok(())
}

/// In a thread: the first one's stack could not grow any more, either.
fn stacks() -> Result<(), Skip> {
    let scene = || {
        let sizes = [4096, 16 << 10, 64 << 10, 128 << 10, 256 << 10, MIB, libc::RLIM_INFINITY];
        let words = ["RLIMIT_STACK (ulimit -s) is"];
        let worked = sweep(libc::RLIMIT_STACK, sizes, &words, two_workers);
        assert!(worked.ends_with(&[256 << 10, MIB, libc::RLIM_INFINITY]), "{worked:?}");
    };
    std::thread::spawn(scene).join().expect("the scene");
    Ok(())
}

fn others() -> Result<(), Skip> {
    for resource in [libc::RLIMIT_CORE, libc::RLIMIT_MEMLOCK] {
        set(resource, 0);
        assert!(works_or_says(two_workers(), &[]));
    }
    Ok(())
}
