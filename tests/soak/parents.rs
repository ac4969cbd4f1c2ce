//! Parents that are killed, at any time of their lives.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use wharf::Executor;

use crate::common::process::{Watched, children_of, is_ready};
use crate::common::{DEADLINE, executor, segments_of};
use crate::watch::{self, PARENTS, fail};

/// Tells the program that it is a parent to be killed, and its seed.
pub const ROLE: &str = "WHARF_SOAK_PARENT";

/// How far a parent has come: it writes a byte as it comes there.
pub const STAGES: [&str; 5] = ["before", "building", "submitting", "joining", "after"];

/// What became of the parents, and of all that was theirs.
#[derive(Debug, Default)]
pub struct Graves {
    /// Parents killed at each of [`STAGES`].
    pub stages: [u64; STAGES.len()],
    /// Of those, killed together with all their workers.
    pub with_workers: u64,
    /// Names that were there until the next executor came.
    pub swept: usize,
    /// Workers that took themselves for another run of the program.
    pub strays: usize,
    pub processes_left: u64,
    pub names_left: usize,
}

fn forever() {
    loop {
        std::thread::park();
    }
}

fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

fn vector(n: u64) -> Vec<u64> {
    vec![n; n as usize]
}

/// A worker has come to `main`, which no worker may.
const STRAY: u8 = b'!';

/// The life of a parent. It ends when its standard input does, if nobody kills it before.
pub fn live(seed: u64) {
    let mut random = Rng::with_seed(seed);
    if std::env::var_os("WHARF_DEPTH").is_some() {
        return say(STRAY);
    }
    stage();
    let workers = random.usize(1..=3);
    let executor = Executor::builder().workers(workers).memory_budget(64 << 20).build();
    let executor = executor.expect("an executor can be built");
    stage();
    let numbers: Vec<u64> = (0..random.u64(1..50_000)).collect();
    let array = executor.array_from(&numbers).expect("memory");
    let shared = executor.share(&numbers).expect("memory");
    let kill = random.bool();
    let mut tasks = Vec::new();
    for n in 0..random.u64(..200) {
        let large = executor.submit(vector, (random.u64(..5000),)).expect("a task");
        tasks.extend((n % 2 == 0).then_some(large));
        let read = if random.bool() {
            executor.submit(sum, (&array,))
        } else {
            executor.submit(sum, (&shared,))
        };
        // An error where the workers are killed, and this parent next.
        if let Ok(result) = read.expect("a task").join() {
            assert_eq!(result, sum(&numbers));
        }
    }
    if kill {
        (0..3).for_each(|_| drop(executor.submit(forever, ()).expect("a task")));
    }
    stage();
    tasks.into_iter().for_each(|task| drop(task.join()));
    if kill {
        executor.kill();
    } else {
        drop(executor);
    }
    drop((array, shared));
    stage();
    let _ = std::io::stdin().read(&mut [0]);
}

fn stage() {
    say(b'.');
}

fn say(byte: u8) {
    let mut out = std::io::stdout();
    out.write_all(&[byte]).and_then(|()| out.flush()).expect("somebody listens");
}

/// Kills so many parents.
pub fn soak(count: u64, random: &mut Rng) -> Graves {
    watch::enter("parents");
    let mut graves = Graves::default();
    // What a whole life takes here, so that kills spread over all of it.
    let started = Instant::now();
    let mut parent = start(random.u64(..));
    drop(parent.stdin.take());
    let code = parent.wait().expect("its end can be waited for");
    if !code.success() {
        fail(format_args!("a parent that nobody killed ended with {code}"));
    }
    let life = started.elapsed() * 5 / 4;
    for _ in 0..count {
        bury_one(life, random, &mut graves);
        PARENTS.raise();
    }
    graves
}

fn start(seed: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .env(ROLE, seed.to_string())
        .stdin(Stdio::piped())
        // Every process that comes of it inherits this, and it ends with the last of them.
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| fail(format_args!("a parent cannot be started: {error}")))
}

fn bury_one(life: Duration, random: &mut Rng, graves: &mut Graves) {
    let seed = random.u64(..);
    let mut parent = start(seed);
    let pid = parent.id();
    let death = Watched::open(pid).expect("a child can be watched");
    let time = Duration::from_micros(random.u64(..life.as_micros() as u64));
    if death.ends_within(time) {
        fail(format_args!("parent {seed} ended before it was killed"));
    }
    let with_workers = random.u8(..4) == 0;
    let workers = if with_workers { children_of(pid) } else { Vec::new() };
    let workers: Vec<Watched> = workers.into_iter().filter_map(Watched::open).collect();
    // Its workers while they are its own, so that no other process can be meant.
    let all_at_once = workers.iter().filter(|worker| worker.kill_child_of(pid)).count();
    parent.kill().expect("a child can be killed");
    parent.wait().expect("a child can be waited for");
    graves.with_workers += u64::from(all_at_once > 0);

    let mut out = parent.stdout.take().expect("it was piped");
    let (mut stages, mut bytes) = (0, [0; 16]);
    loop {
        if !is_ready(out.as_fd(), DEADLINE / 4) {
            graves.processes_left += 1;
            eprintln!("processes of parent {pid}, seed {seed}, are left");
            break;
        }
        match out.read(&mut bytes).expect("a pipe can be read") {
            0 => break,
            more => {
                let strays = bytes[..more].iter().filter(|byte| **byte == STRAY).count();
                graves.strays += strays;
                stages += more - strays;
            }
        }
    }
    graves.stages[stages.min(STAGES.len() - 1)] += 1;
    let names = segments_of(pid).len();
    if names > 0 {
        graves.swept += names;
        drop(executor(1));
        graves.names_left += segments_of(pid).len();
    }
}
