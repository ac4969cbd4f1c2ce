//! A small, full, read-only or missing `/dev/shm`; a missing `/proc`, and one that hides.
//!
//! In a view of the mounts that only the row's process and its workers have.

use std::fs;
use std::io::{self, Write};

use wharf::{Backend, BuildError, Executor, TaskError};

use crate::limits::{become_nobody, check, mount, own_mounts};
use crate::stage::{Row, Skip, die, identity, refusal, says, skip, sum, works, works_or_says};

pub const ROWS: &[Row] = &[
    Row {
        name: "a /dev/shm of 1 MiB holds the usual table and refuses a larger one",
        scene: small,
    },
    Row { name: "a full /dev/shm is an error, and no longer once there is room", scene: full },
    Row { name: "a /dev/shm that fills up later stops nothing", scene: fills_up },
    Row { name: "a /dev/shm that cannot be written is an error", scene: read_only },
    Row { name: "a missing /dev/shm is an error where workers are processes", scene: missing },
    Row { name: "a missing /proc is an error where workers are processes", scene: no_proc },
    Row { name: "a /proc that goes away stops replacements with the reason", scene: proc_goes },
    Row { name: "a /proc that hides processes hides no living owner", scene: hidden },
];

fn shm(options: &str, flags: libc::c_ulong) -> Result<(), Skip> {
    let mounted = own_mounts().and_then(|()| mount("none", "/dev/shm", "tmpfs", flags, options));
    mounted.map_err(skip("a /dev/shm of its own"))
}

fn small_table() -> Result<Executor, BuildError> {
    Executor::builder().workers(2).task_slots(64).build()
}

/// Checks the refusal of an executor, whose segment has this many bytes at least.
fn check_segment(built: Result<Executor, BuildError>, least: u64, words: &[&str]) {
    let error = refusal(built);
    says(&error, words);
    let BuildError::ControlSegment { bytes, .. } = error else { panic!("{error}") };
    assert!(bytes >= least, "{bytes}");
    says(&error, &["/dev/shm", &format!("{bytes} bytes")]);
}

fn small() -> Result<(), Skip> {
    shm("size=1m", 0)?;
    check_segment(
        Executor::builder().workers(2).task_slots(4096).build(),
        4096 * 256,
        &["No space", "Builder::task_slots"],
    );
    assert!(works_or_says(Executor::builder().workers(2).build(), &[]));
    Ok(())
}

/// Writes until nothing more fits.
fn fill_shm() {
    let mut file = fs::File::create("/dev/shm/other").expect("a file");
    while file.write_all(&[7; 4096]).is_ok() {}
}

fn full() -> Result<(), Skip> {
    shm("size=4m", 0)?;
    fill_shm();
    check_segment(small_table(), 64 * 256, &["No space", "enlarge /dev/shm"]);
    fs::remove_file("/dev/shm/other").expect("the file is there");
    assert!(works_or_says(small_table(), &[]));
    Ok(())
}

fn fills_up() -> Result<(), Skip> {
    shm("size=4m", 0)?;
    let executor = small_table().expect("an executor");
    fill_shm();
    works(&executor);
    let array = executor.array_from(&vec![1.0; 1 << 20]).expect("memory that is not of /dev/shm");
    works(&executor);
    drop(array);
    executor.shutdown().expect("an orderly end");
    Ok(())
}

fn read_only() -> Result<(), Skip> {
    shm("size=4m", libc::MS_RDONLY)?;
    check_segment(small_table(), 64 * 256, &["Read-only", "mount a tmpfs"]);
    Ok(())
}

fn missing() -> Result<(), Skip> {
    own_mounts().and_then(|()| mount("none", "/dev", "tmpfs", 0, "")).map_err(skip("a /dev"))?;
    check_segment(small_table(), 64 * 256, &["No such file", "mount a tmpfs"]);
    works_inside();
    Ok(())
}

/// Checks that executors work whose workers are in this process.
fn works_inside() {
    for backend in [Backend::Threads, Backend::Sequential] {
        let executor = Executor::builder().backend(backend).workers(2).build().expect("no files");
        let shared = executor.share(&vec![1.0; 4000]).expect("memory");
        let task = executor.submit(sum, (&shared,)).expect("a task");
        assert_eq!(task.join().expect("a result"), 4000.0);
        let grown = executor.submit(|n: u64| vec![n; 10_000], (3u64,)).expect("a task");
        assert_eq!(grown.join().expect("a result"), vec![3; 10_000]);
        executor.shutdown().expect("an orderly end");
    }
}

/// Nothing was said of `/proc`, but that a worker cannot be started: no such file.
fn no_proc() -> Result<(), Skip> {
    own_mounts().and_then(|()| mount("none", "/proc", "tmpfs", 0, "")).map_err(skip("a /proc"))?;
    let error = refusal(small_table());
    assert!(matches!(error, BuildError::System { .. }), "{error:?}");
    says(&error, &["/proc", "mount it"]);
    works_inside();
    Ok(())
}

fn proc_goes() -> Result<(), Skip> {
    own_mounts().map_err(skip("mounts of its own"))?;
    let executor = Executor::builder().workers(1).build().expect("an executor");
    mount("none", "/proc", "tmpfs", 0, "").map_err(skip("a /proc"))?;
    let task = executor.submit(identity, (7u64,)).expect("a task");
    assert_eq!(task.join().expect("a result"), 7);
    let task = executor.submit(die, ()).expect("a task");
    assert!(matches!(task.join(), Err(TaskError::WorkerDied { .. })));
    let words = ["did not start", "/proc"];
    match executor.submit(identity, (7u64,)) {
        Ok(task) => says(&task.join().expect_err("no worker"), &words),
        Err(error) => says(&error, &words),
    }
    says(&executor.shutdown().expect_err("no worker"), &words);
    Ok(())
}

/// The file of a process in `/proc` may be hidden, and its owner was then taken for dead: the name
/// of a living executor's segment was taken away.
fn hidden() -> Result<(), Skip> {
    shm("size=4m", 0)?;
    let namespace = fs::read_link("/proc/self/ns/pid").expect("a link");
    let namespace = namespace.to_string_lossy().replace(|c: char| !c.is_ascii_digit(), "");
    let owner = std::os::unix::process::parent_id();
    let stat = fs::read_to_string(format!("/proc/{owner}/stat")).expect("a living parent");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let start = rest.split_ascii_whitespace().nth(19).expect("a start time");
    mount("proc", "/proc", "proc", 0, "hidepid=2").map_err(skip("a /proc that hides"))?;
    fs::set_permissions("/dev/shm", std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("its owner may");
    become_nobody().map_err(skip("another user"))?;
    let seen = fs::read_to_string(format!("/proc/{owner}/stat"));
    assert!(seen.is_err_and(|error| error.kind() == io::ErrorKind::NotFound), "it is hidden");
    let living = format!("/dev/shm/wharf-{namespace}-{owner}-{start}-0");
    let dead = format!("/dev/shm/wharf-{namespace}-{}-{start}-0", dead_pid());
    for path in [&living, &dead] {
        fs::write(path, "").expect("a file");
    }
    assert!(works_or_says(small_table(), &[]));
    assert!(fs::exists(&living).expect("a look"), "its owner lives");
    assert!(!fs::exists(&dead).expect("a look"), "its owner is dead");
    fs::remove_file(living).expect("the file is there");
    Ok(())
}

/// The pid of a process that is gone: a child that was reaped.
fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().expect("it starts");
    let pid = child.id();
    child.wait().expect("it ends");
    // SAFETY: no pointer is passed.
    check(unsafe { libc::kill(pid as i32, 0) }.into()).expect_err("it is gone");
    pid
}
