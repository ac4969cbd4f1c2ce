//! A load of tasks of all kinds, so that each step is passed, and the verdict of every handle.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use wharf::{Array, Executor, Returnable, TaskError, TaskHandle, TaskOptions};

use crate::common::{flag_waker, wait_until};
use crate::rows::Token;

/// Tells the workers where each run of a task is noted.
pub const RUNS_VARIABLE: &str = "WHARF_TEST_RUNS";

/// Results of this many words lie in a block, and in one with pages of its own.
const MEDIUM_WORDS: u64 = 100;
const LARGE_WORDS: u64 = 20_000;
const SHARED_WORDS: u64 = 600_000;
const PAIRS: usize = 4;
/// Task slots of the executor: two lines of ids in the ring.
pub const SLOTS: usize = 16;
/// Times that they are all filled with tasks that do nothing.
const FILLINGS: usize = 4;
/// A deadline that no task comes near to.
const FAR: Duration = Duration::from_secs(600);

/// How the handles have ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub right: u64,
    pub panicked: u64,
    pub cancelled: u64,
    /// Their worker died.
    pub died: u64,
    /// Over their deadline.
    pub late: u64,
}

pub struct Load<'e> {
    executor: &'e Executor,
    /// Where workers note what they run.
    runs: PathBuf,
    /// Lets the parent be slow.
    slow: Token,
    /// Each task may run so long.
    limit: Option<Duration>,
    next: u64,
    /// How often each task may run, and whether it has to have run.
    expected: HashMap<u64, (u64, bool)>,
    begun: Vec<(u64, TaskHandle<u64>)>,
    pub tally: Tally,
}

/// Notes that the task runs, in a way that survives the process.
fn note(id: u64) {
    let path = std::env::var_os(RUNS_VARIABLE).expect("workers are told");
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.expect("the row has a folder").write_all(&id.to_le_bytes()).expect("a few bytes");
}

fn bare() {}

fn small(id: u64) -> u64 {
    note(id);
    id * 3
}

fn vector(id: u64, words: u64) -> Vec<u64> {
    note(id);
    vec![id; words as usize]
}

fn array(id: u64) -> Array<u64> {
    note(id);
    let mut array = wharf::array::<u64>(LARGE_WORDS as usize).expect("memory");
    array.fill(id);
    array.freeze()
}

fn sum(id: u64, words: &[u64]) -> u64 {
    note(id);
    words.iter().sum()
}

fn fails(id: u64) {
    note(id);
    panic!("task {id} fails, as asked");
}

fn aborts(id: u64) {
    note(id);
    std::process::abort();
}

fn waits(id: u64) {
    note(id);
    loop {
        thread::park();
    }
}

impl<'e> Load<'e> {
    pub fn new(executor: &'e Executor, folder: &Path, limit: Option<Duration>) -> Self {
        let runs = folder.join("runs");
        let _ = fs::remove_file(&runs);
        let (expected, begun, tally) = (HashMap::new(), Vec::new(), Tally::default());
        let slow = Token::slow(folder);
        Self { executor, runs, slow, limit, next: 1, expected, begun, tally }
    }

    /// Some tasks that are under way when the rest comes.
    pub fn begin(&mut self) {
        for _ in 0..4 {
            let (id, options) = (self.task(0), self.options());
            let task = self.executor.submit_with(options, small, (id,)).expect("it is accepted");
            self.begun.push((id, task));
        }
    }

    /// Everything once, or a few times.
    pub fn run(&mut self) {
        self.many_small();
        self.stream();
        self.pairs();
        self.large();
        self.passed_on();
        self.polled();
        self.left_alone();
        if self.limit.is_none() {
            crate::loops::run(self.executor, &mut self.tally);
        }
        for (id, task) in std::mem::take(&mut self.begun) {
            self.judge(id, task.join(), |value| *value == id * 3);
        }
    }

    /// More tasks than there are slots: the submitter waits.
    pub fn many_small(&mut self) {
        let mut tasks = Vec::new();
        for n in 0..2 * SLOTS {
            let id = self.task(if n == 3 { 1 } else { 0 });
            let options = self.options().retries(u32::from(n == 3));
            let options = if n == 5 { options.deadline(FAR) } else { options };
            let options = self.limit.map_or(options, |limit| options.deadline(limit));
            let task = self.executor.submit_with(options, small, (id,)).expect("it is accepted");
            tasks.push((id, task));
        }
        let task = self.executor.submit_with(self.options(), bare, ()).expect("it is accepted");
        self.judge(0, task.join(), |()| true);
        for (id, task) in tasks {
            self.judge(id, task.join(), |value| *value == id * 3);
        }
        let id = self.task(0);
        let task = self.executor.submit_with(self.options(), fails, (id,)).expect("it is accepted");
        self.judge(id, task.join(), |()| false);
    }

    /// Short ones, faster than workers take them: each worker takes several for itself.
    fn stream(&mut self) {
        for _ in 0..FILLINGS {
            let submit = |_| self.executor.submit_with(self.options(), bare, ());
            let tasks: Vec<_> = (0..SLOTS).map(submit).collect();
            for task in tasks {
                self.judge(0, task.expect("it is accepted").join(), |()| true);
            }
        }
    }

    /// Two for workers that sleep, by a slow submitter: the worker that was woken for the first
    /// wakes the other for the second.
    fn pairs(&mut self) {
        let options = self.options();
        self.slow.lay_out();
        for _ in 0..PAIRS {
            let submit = || self.executor.submit_with(options, bare, ()).expect("it is accepted");
            for task in [submit(), submit()] {
                self.judge(0, task.join(), |()| true);
            }
        }
        self.slow.take_back();
    }

    fn large(&mut self) {
        // So large that a worker is called while it is copied.
        let argument = vec![1u64; SHARED_WORDS as usize];
        for words in [MEDIUM_WORDS, LARGE_WORDS, LARGE_WORDS] {
            let shared = self.executor.share(&argument).expect("memory");
            let (id, other) = (self.task(0), self.task(0));
            let options = self.options();
            let read = self.executor.submit_with(options, sum, (id, &shared)).expect("a task");
            let made = self.executor.submit_with(options, vector, (other, words)).expect("a task");
            self.judge(id, read.join(), |value| *value == SHARED_WORDS);
            let right = |v: &Vec<u64>| v.len() as u64 == words && v.iter().all(|w| *w == other);
            self.judge(other, made.join(), right);
        }
        let id = self.task(0);
        let task = self.executor.submit_with(self.options(), array, (id,)).expect("it is accepted");
        self.judge(id, task.join(), |a| {
            a.len() as u64 == LARGE_WORDS && a.iter().all(|w| *w == id)
        });
    }

    /// One worker's result as an argument for several.
    fn passed_on(&mut self) {
        let id = self.task(0);
        let options = self.options();
        let made = self.executor.submit_with(options, vector, (id, LARGE_WORDS)).expect("a task");
        let shared = match made.into_shared() {
            Ok(shared) => shared,
            Err(error) => return self.judge(id, Err::<(), _>(error), |()| false),
        };
        self.tally.right += 1;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let id = self.task(0);
            let task = self.executor.submit_with(options, sum, (id, &shared)).expect("a task");
            tasks.push((id, task));
        }
        for (reader, task) in tasks {
            self.judge(reader, task.join(), |value| *value == id * LARGE_WORDS);
        }
    }

    fn polled(&mut self) {
        for _ in 0..2 {
            let id = self.task(0);
            let mut task =
                self.executor.submit_with(self.options(), small, (id,)).expect("it is accepted");
            let (waker, flag) = flag_waker();
            let mut context = Context::from_waker(&waker);
            let mut poll = || Pin::new(&mut task).poll(&mut context);
            let outcome = match poll() {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    flag.wait();
                    let Poll::Ready(outcome) = poll() else { panic!("woken before the end") };
                    outcome
                }
            };
            self.judge(id, outcome, |value| *value == id * 3);
        }
    }

    fn left_alone(&mut self) {
        for words in [1, MEDIUM_WORDS, LARGE_WORDS] {
            let id = self.task(0);
            self.expected.insert(id, (1, false));
            let options = self.options();
            drop(self.executor.submit_with(options, vector, (id, words)).expect("it is accepted"));
        }
    }

    /// Tasks that are taken back, queued and running ones, while another waits for a slot.
    pub fn cancelled(&mut self) {
        let options = self.options();
        let mut waiting = Vec::new();
        for n in 0..2 {
            let id = self.task(0);
            let task = self.executor.submit_with(options, waits, (id,)).expect("it is accepted");
            if n == 0 {
                wait_until("a task starts", || task.is_finished() || self.runs_of(id) > 0);
            }
            waiting.push((id, task));
        }
        let queued: Vec<_> = (0..SLOTS - 2)
            .map(|_| {
                let id = self.task(0);
                (id, self.executor.submit_with(options, small, (id,)).expect("it is accepted"))
            })
            .collect();
        let id = self.task(0);
        let (executor, (sender, receiver)) = (self.executor, channel());
        let late = thread::scope(|scope| {
            let submitter = scope.spawn(move || {
                // SAFETY: always allowed.
                sender.send(unsafe { libc::gettid() }).expect("it is awaited");
                executor.submit_with(options, small, (id,)).expect("it is accepted")
            });
            let stat = format!("/proc/self/task/{}/stat", receiver.recv().expect("it is sent"));
            let sleeps = || {
                let stat = fs::read_to_string(&stat).unwrap_or_default();
                stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
            };
            wait_until("the submitter waits, or need not", || submitter.is_finished() || sleeps());
            for (n, (id, task)) in queued.into_iter().enumerate() {
                self.end(id, task, n % 2 == 0, |value| *value == id * 3);
                if n == 0 {
                    while let Some((id, task)) = waiting.pop() {
                        self.end(id, task, true, |()| false);
                    }
                }
            }
            submitter.join().expect("it does not panic")
        });
        self.judge(id, late.join(), |value| *value == id * 3);
    }

    /// A task that kills its worker; where nobody else does.
    pub fn lose_one(&mut self) {
        let id = self.task(0);
        let task = self.executor.submit_with(self.options(), aborts, (id,)).expect("a task");
        match task.join() {
            Err(TaskError::WorkerDied { .. }) => {}
            other => panic!("task {id} was to die, not {other:?}"),
        }
    }

    /// No task has run more often than it may, and what has a result has run.
    pub fn check_runs(&self) {
        let bytes = fs::read(&self.runs).expect("tasks have run");
        let mut runs: HashMap<u64, u64> = HashMap::new();
        for id in bytes.chunks_exact(8) {
            *runs.entry(u64::from_le_bytes(id.try_into().expect("eight"))).or_default() += 1;
        }
        for (id, (most, has_run)) in &self.expected {
            let runs = runs.remove(id).unwrap_or(0);
            assert!(runs <= *most && (runs > 0 || !has_run), "task {id} ran {runs} times");
        }
        assert!(runs.is_empty(), "nobody has submitted {runs:?}");
    }

    /// The number of a task that may run once more so often.
    fn task(&mut self, retries: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        self.expected.insert(id, (1 + retries, false));
        id
    }

    fn runs_of(&self, id: u64) -> usize {
        let bytes = fs::read(&self.runs).unwrap_or_default();
        bytes.chunks_exact(8).filter(|bytes| **bytes == id.to_le_bytes()).count()
    }

    fn options(&self) -> TaskOptions {
        let options = TaskOptions::new();
        self.limit.map_or(options, |limit| options.deadline(limit))
    }

    /// Joins a task, after taking it back or not.
    fn end<R: Returnable>(
        &mut self,
        id: u64,
        task: TaskHandle<R>,
        cancels: bool,
        is_right: impl FnOnce(&R) -> bool,
    ) {
        let was_taken = cancels && task.cancel();
        let outcome = task.join();
        let is_cancelled = matches!(outcome, Err(TaskError::Cancelled { .. }));
        assert_eq!(is_cancelled, was_taken, "task {id}: {:?}", outcome.err());
        if is_cancelled {
            self.tally.cancelled += 1;
        } else {
            self.judge(id, outcome, is_right);
        }
    }

    /// Counts a verdict, the only one of the task.
    fn judge<R>(
        &mut self,
        id: u64,
        outcome: Result<R, TaskError>,
        is_right: impl FnOnce(&R) -> bool,
    ) {
        match outcome {
            Ok(value) => {
                assert!(is_right(&value), "task {id} has the result of another");
                self.expected.entry(id).and_modify(|(_, has_run)| *has_run = true);
                self.tally.right += 1;
            }
            Err(TaskError::Panicked { message, .. }) => {
                assert_eq!(message, format!("task {id} fails, as asked"));
                self.tally.panicked += 1;
            }
            Err(TaskError::WorkerDied { .. }) => self.tally.died += 1,
            Err(TaskError::DeadlineExceeded { .. }) => self.tally.late += 1,
            Err(error) => panic!("task {id}: {error}"),
        }
    }
}
