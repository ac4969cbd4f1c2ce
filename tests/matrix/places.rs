//! The places in a worker where the user's code runs, and may fail.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rkyv::rancor::{Fallible, Source};
use rkyv::ser::Writer;
use rkyv::string::{ArchivedString, StringResolver};
use serde::de::Error as _;
use serde::ser::Error as _;
use wharf::{Executor, Param, Serialized, Shared, TaskError, TaskHandle, View, ViewError};

use super::faults::{End, SAYS, commit, commit_all};
use super::trial::LARGE_WORDS;

/// Waits for a task whose type nobody has to know. Dropped, it leaves the task to itself.
pub type Pending = Box<dyn FnOnce() -> Result<(), TaskError>>;

/// A place where the user's code runs in a worker.
pub struct Place {
    pub name: &'static str,
    /// The end of the task's name.
    pub task: &'static str,
    pub submit: fn(&Executor, String) -> Pending,
    /// How a task ends there by what would elsewhere have ended it so.
    pub end: fn(End) -> End,
}

pub const PLACES: &[Place] = &[
    Place { name: "decoding an argument", task: "takes_decoded", submit: decode, end: any },
    Place { name: "looking at an argument", task: "takes_viewed", submit: view, end: no_errors },
    Place { name: "running", task: "runs", submit: run, end: no_errors },
    Place { name: "unwinding", task: "unwinds", submit: unwind, end: unwinding },
    Place { name: "dropping an argument", task: "drops_its", submit: argument, end: no_errors },
    Place { name: "encoding the result by serde", task: "encodes", submit: encode, end: any },
    Place { name: "counting the result", task: "counts", submit: count, end: any },
    Place { name: "writing the result", task: "writes", submit: write, end: any },
    Place { name: "dropping the result", task: "drops", submit: drop_result, end: no_errors },
    Place {
        name: "ending a thread",
        task: "ends_a_thread",
        submit: end_thread,
        end: in_destructor,
    },
];

fn any(end: End) -> End {
    end
}

/// Where no error can be returned, it is a panic.
fn no_errors(end: End) -> End {
    match end {
        End::Refuses => {
            End::Panics("only errors of codecs are refusals: \"it refuses\"", "faults.rs:")
        }
        other => other,
    }
}

/// A panic while unwinding aborts; otherwise the first one goes on.
fn unwinding(end: End) -> End {
    match end {
        End::Panics(..) | End::Refuses => End::Dies(wharf::Death::Signal(libc::SIGABRT)),
        End::Returns => End::Panics(SAYS, "matrix/places.rs:"),
        End::Dies(death) => End::Dies(death),
    }
}

/// A panic of a thread-local's destructor aborts.
fn in_destructor(end: End) -> End {
    match end {
        End::Panics(..) | End::Refuses => End::Dies(wharf::Death::Signal(libc::SIGABRT)),
        other => other,
    }
}

fn pending<R: wharf::Returnable>(task: TaskHandle<R>) -> Pending {
    Box::new(|| task.join().map(drop))
}

/// Fails while it is decoded, in a worker.
struct Decodes(String);

impl serde::Serialize for Decodes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Decodes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fault = String::deserialize(deserializer)?;
        commit(&fault).map_err(D::Error::custom)?;
        Ok(Self(fault))
    }
}

fn takes_decoded(_: Serialized<Decodes>) {}

fn decode(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(takes_decoded, (Serialized(Decodes(fault)),)).unwrap())
}

/// A parameter that fails when it looks at its argument.
struct Viewed;

impl Param for Viewed {
    type Item<'a> = Self;
}

impl View<ArchivedString> for Viewed {
    fn view(stored: &ArchivedString) -> Result<Self, ViewError> {
        commit_all(stored);
        Ok(Self)
    }
}

fn takes_viewed(_: Viewed) {}

fn view(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(takes_viewed, (fault,)).unwrap())
}

fn runs(fault: &str, x: &[u64], y: &[u64], shared: &[u64]) -> u64 {
    commit_all(fault);
    x[0] + y[0] + shared[0]
}

/// With arguments of each kind: in the slot's block, an array, a shared value.
fn run(executor: &Executor, fault: String) -> Pending {
    let words = vec![1u64; LARGE_WORDS];
    let array = executor.array_from(&words).unwrap();
    let shared: Shared<Vec<u64>> = executor.share(&words).unwrap();
    pending(executor.submit(runs, (fault, words, &array, &shared)).unwrap())
}

/// Fails when it is dropped.
struct Bomb<'a>(&'a str);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        commit_all(self.0);
    }
}

fn unwinds(fault: &str) {
    let _bomb = Bomb(fault);
    panic!("{SAYS}");
}

fn unwind(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(unwinds, (fault,)).unwrap())
}

/// A worker's values are dropped in the worker; the parent's own do no harm.
static IN_WORKER: AtomicBool = AtomicBool::new(false);

/// Fails when it is dropped in a worker.
#[derive(serde::Serialize, serde::Deserialize)]
struct Dropped(String);

impl Drop for Dropped {
    fn drop(&mut self) {
        if IN_WORKER.load(Ordering::Relaxed) {
            commit_all(&self.0);
        }
    }
}

fn drops_its(_argument: Serialized<Dropped>) {
    IN_WORKER.store(true, Ordering::Relaxed);
}

fn argument(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(drops_its, (Serialized(Dropped(fault)),)).unwrap())
}

/// The result is encoded before it is dropped.
fn drops(fault: &str) -> (Serialized<Dropped>, Vec<u64>) {
    IN_WORKER.store(true, Ordering::Relaxed);
    (Serialized(Dropped(fault.to_owned())), vec![1; LARGE_WORDS])
}

fn drop_result(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(drops, (fault,)).unwrap())
}

/// Fails while it is encoded by serde.
struct Encodes(String);

impl serde::Serialize for Encodes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        commit(&self.0).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Encodes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

fn encodes(fault: &str) -> Serialized<Encodes> {
    Serialized(Encodes(fault.to_owned()))
}

fn encode(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(encodes, (fault,)).unwrap())
}

/// Fails in one of the passes in which rkyv archives a large value: the first counts, the second
/// writes.
#[derive(Debug)]
pub struct Archives {
    fault: String,
    /// How many passes go well.
    passes: Cell<u32>,
}

impl Archives {
    pub fn failing(fault: impl Into<String>, passes: u32) -> Self {
        Self { fault: fault.into(), passes: Cell::new(passes) }
    }
}

impl rkyv::Archive for Archives {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve(&self, resolver: StringResolver, out: rkyv::Place<ArchivedString>) {
        ArchivedString::resolve_from_str(&self.fault, resolver, out);
    }
}

impl<S> rkyv::Serialize<S> for Archives
where
    S: Fallible<Error: Source> + Writer + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> Result<StringResolver, S::Error> {
        match self.passes.get() {
            0 => commit(&self.fault).map_err(|error| S::Error::new(Refusal(error)))?,
            n => self.passes.set(n - 1),
        }
        ArchivedString::serialize_from_str(&self.fault, serializer)
    }
}

#[derive(Debug)]
struct Refusal(&'static str);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refusal {}

impl<D: Fallible + ?Sized> rkyv::Deserialize<Archives, D> for ArchivedString {
    fn deserialize(&self, _: &mut D) -> Result<Archives, D::Error> {
        Ok(Archives::failing(self.as_str(), 0))
    }
}

fn counts(fault: &str) -> (Archives, Vec<u64>) {
    (Archives::failing(fault, 0), vec![1; LARGE_WORDS])
}

fn count(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(counts, (fault,)).unwrap())
}

/// By now the block for the result is allocated.
fn writes(fault: &str) -> (Vec<u64>, Archives) {
    (vec![1; LARGE_WORDS], Archives::failing(fault, 1))
}

fn write(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(writes, (fault,)).unwrap())
}

thread_local! {
    static LAST: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

/// Fails when its thread ends.
struct OwnedBomb(String);

impl Drop for OwnedBomb {
    fn drop(&mut self) {
        commit_all(&self.0);
    }
}

/// Leaves a value to the end of the calling thread, which fails then.
pub fn fail_at_the_end_of_this_thread(fault: &str) {
    LAST.set(Some(Box::new(OwnedBomb(fault.to_owned()))));
}

fn ends_a_thread(fault: &str) {
    let fault = fault.to_owned();
    thread::spawn(move || fail_at_the_end_of_this_thread(&fault)).join().expect("it returns");
}

fn end_thread(executor: &Executor, fault: String) -> Pending {
    pending(executor.submit(ends_a_thread, (fault,)).unwrap())
}
