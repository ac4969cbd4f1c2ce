//! The kinds of tasks that the soak submits, each with the one result that is right.

use fastrand::Rng;
use wharf::{ArchivedShared, Array, Executor, Returnable, Shared, SubmitError, TaskHandle};

use crate::pending::{Expected, Kept, Pending, Ticket};

/// The most numbers in a vector, and in an array: 16 KiB and 160 KiB.
const VECTOR_MAX: u64 = 2000;
const ARRAY_MAX: u64 = 20_000;

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Nested {
    table: Shared<Vec<u64>>,
    weights: Array<u64>,
    again: Vec<Shared<Vec<u64>>>,
    name: String,
}

/// What the tasks of one caller read, until it is made anew.
pub struct World {
    vector: Shared<Vec<u64>>,
    array: Array<u64>,
    nested: Shared<Nested>,
    sum: u64,
}

impl World {
    pub fn new(executor: &Executor, random: &mut Rng) -> Self {
        let first = random.u64(..1 << 32);
        let numbers: Vec<u64> = (first..first + random.u64(1..VECTOR_MAX)).collect();
        let vector = executor.share(&numbers).expect("memory for a vector");
        let array = executor.array_from(&numbers).expect("memory for an array");
        let nested = Nested {
            table: vector.clone(),
            weights: array.clone(),
            again: vec![vector.clone(), vector.clone()],
            name: "pier".to_owned(),
        };
        let nested = executor.share(&nested).expect("memory for a struct");
        Self { vector, array, nested, sum: numbers.iter().sum() }
    }
}

fn none() -> u64 {
    42
}

fn three(a: u64, b: u32, c: bool) -> u64 {
    a + u64::from(b) + u64::from(c)
}

pub fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

fn read(nested: &ArchivedNested) -> u64 {
    type Vector = ArchivedShared<Vec<u64>>;
    let of = |vector: &Vector| vector.iter().map(|n| n.to_native()).sum::<u64>();
    let again: u64 = nested.again.iter().map(of).sum();
    of(&nested.table) + sum(&nested.weights) + again + nested.name.len() as u64
}

fn pair(n: u64) -> (u64, u64) {
    (n, !n)
}

fn vector(n: u64, len: u64) -> Vec<u64> {
    (n..n + len).collect()
}

fn array(n: u64, len: u64) -> Array<u64> {
    let mut array = wharf::array::<u64>(len as usize).expect("memory for an array");
    array.iter_mut().zip(n..).for_each(|(to, n)| *to = n);
    array.freeze()
}

fn text(n: u64, len: u64) -> String {
    format!("{n} ").repeat(len as usize)
}

fn panics(n: u64) -> u64 {
    panic!("as asked: {n}")
}

fn sum_of_range(n: u64, len: u64) -> u64 {
    (n..n + len).sum()
}

/// How many kinds there are.
pub const KINDS: usize = 13;

/// Submits a task of one of the kinds.
pub fn submit(executor: &Executor, world: &World, random: &mut Rng) -> Box<dyn Pending> {
    let (kind, n) = (random.usize(..KINDS), random.u64(..1 << 32));
    let (len, long) = (random.u64(..VECTOR_MAX), random.u64(..ARRAY_MAX));
    let range = sum_of_range(n, len);
    let same = |result: &u64| *result;
    match kind {
        0 => ticket(executor.submit(none, ()), same, 42),
        1 => ticket(executor.submit(three, (n, 7u32, true)), same, n + 8),
        2 => ticket(executor.submit(sum, (vector(n, len),)), same, range),
        3 => ticket(executor.submit(sum, (&world.vector,)), same, world.sum),
        4 => ticket(executor.submit(sum, (&world.array,)), same, world.sum),
        5 => ticket(executor.submit(read, (&world.nested,)), same, 4 * world.sum + 4),
        6 => {
            let read = |nested: &ArchivedShared<Nested>| read(nested);
            ticket(executor.submit(read, (world.nested.clone(),)), same, 4 * world.sum + 4)
        }
        7 => ticket(executor.submit(pair, (n,)), |(a, b)| a & b, 0),
        8 => ticket(executor.submit(vector, (n, len)), |result| sum(result), range),
        9 => ticket(executor.submit(array, (n, long)), |all| sum(all), sum_of_range(n, long)),
        10 => {
            let digest = |result: &String| result.len() as u64;
            ticket(executor.submit(text, (n, len)), digest, text(n, 1).len() as u64 * len)
        }
        11 => {
            let handle = kept(executor.submit(panics, (n,)));
            Box::new(Ticket { handle, expected: Expected::Panic(format!("as asked: {n}")) })
        }
        // Its result is the next task's argument.
        _ => Box::new(Kept { handle: kept(executor.submit(vector, (n, len))), expected: range }),
    }
}

fn ticket<R: Returnable + Send>(
    handle: Result<TaskHandle<R>, SubmitError>,
    digest: fn(&R) -> u64,
    value: u64,
) -> Box<dyn Pending> {
    Box::new(Ticket { handle: kept(handle), expected: Expected::Value { digest, value } })
}

/// Takes note of a handle. Nothing that the soak does is a reason to refuse a task.
pub fn kept<R>(handle: Result<TaskHandle<R>, SubmitError>) -> TaskHandle<R> {
    match handle {
        Ok(handle) => {
            crate::watch::SUBMITTED.raise();
            handle
        }
        Err(error) => crate::watch::fail(format_args!("a task was refused: {error}")),
    }
}
