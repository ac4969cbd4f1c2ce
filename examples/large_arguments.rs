//! Large arguments, measured: a list, a table of structs and an array, sent to two workers each way
//! that the crate offers.
//!
//! ```text
//! cargo run --release --example large_arguments            # an array of 256 MiB
//! cargo run --release --example large_arguments -- 1024    # of 1 GiB
//! ```
//!
//! Each worker sums what it gets; a sum that differs from this process's own ends the program with
//! an error. At its peak, in the row "by value", the program holds the array five times.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use rkyv::vec::ArchivedVec;
use wharf::{Array, Codec, Executor, MessagePack, Serialized, ShareError, SubmitError, TaskHandle};

/// Worker processes. "Used" means in the table: by each of them, at the same time.
const WORKERS: usize = 2;
const INTEGERS: i64 = 1_000_000;
const TABLE_ROWS: u64 = 200_000;
const MIB: usize = 1 << 20;
const ARRAY_MIB: usize = 256;
/// Archives, and so `Shared`, end at 2 GiB unless rkyv's format is changed; arrays do not.
const ARRAY_MIB_MAX: usize = if cfg!(feature = "pointer_width_64") { 1 << 30 } else { 2047 };
/// Full serialization gets at most this much of the array: it is slow, and 9 bytes a number long.
const PART_BYTES_MAX: usize = 8 * MIB;
/// How often the array is in memory at the peak: here, once more for each task, once in each task.
const COPIES_MAX: usize = 1 + 2 * WORKERS;
/// Executors for each row, since only a new one has fresh memory, and repeats in each of them.
const REPEATS: usize = 3;
/// Tasks that are timed one after another to find the cost of reaching an argument.
const ACCESSES: usize = 2000;
/// The most tasks that a value is sent to until each worker has read it.
const TASKS_MAX: usize = 1000;
const HEADER: &str = "\
value               way                     MiB   memcpy       put          put again         \
first use     again   copied, MiB   Pss of args, of all";

type Failure = Box<dyn Error + Send + Sync>;
/// A sum, and the process that made it. All numbers are integers: no sum is rounded.
type Answer = (i64, u32);
/// The processes that have taken part in a use.
type Used = Result<Vec<u32>, Failure>;
type Submitted = Result<TaskHandle<Answer>, SubmitError>;

/// A row of the table that is sent.
#[derive(
    Clone, serde::Serialize, serde::Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
struct Station {
    id: u64,
    name: String,
    country: String,
    height_m: f64,
}

// The tasks: ordinary functions.

fn sum_list(list: &[i64]) -> Answer {
    (list.iter().sum(), std::process::id())
}

fn sum_decoded_list(Serialized(list): Serialized<Vec<i64>>) -> Answer {
    sum_list(&list)
}

fn sum_table(table: &ArchivedVec<ArchivedStation>) -> Answer {
    let digest = |s: &ArchivedStation| digest(s.id.into(), &s.name, &s.country, s.height_m.into());
    (table.iter().map(digest).sum(), std::process::id())
}

fn sum_decoded_table(Serialized(table): Serialized<Vec<Station>>) -> Answer {
    let digest = |s: &Station| digest(s.id, &s.name, &s.country, s.height_m);
    (table.iter().map(digest).sum(), std::process::id())
}

fn sum_array(array: &[f64]) -> Answer {
    (array.iter().sum::<f64>() as i64, std::process::id())
}

fn sum_decoded_array(Serialized(array): Serialized<Vec<f64>>) -> Answer {
    sum_array(&array)
}

fn element(array: &[f64], index: u64) -> f64 {
    array[index as usize]
}

/// A number that every byte of a station has a part in.
fn digest(id: u64, name: &str, country: &str, height_m: f64) -> i64 {
    let letters = name.bytes().chain(country.bytes()).map(i64::from).sum::<i64>();
    id as i64 + letters + height_m as i64
}

fn fill(array: &mut [f64]) {
    for (i, x) in array.iter_mut().enumerate() {
        *x = (i % 1024) as i32 as f64;
    }
}

fn main() -> Result<(), Failure> {
    let mib = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|e| format!("{text} is no number of MiB: {e}"))?,
        None => ARRAY_MIB,
    };
    // The budget is three quarters of the memory that is available.
    let left = executor()?.stats().budget_bytes as usize / MIB;
    let most = ARRAY_MIB_MAX.min(left / COPIES_MAX);
    if !(1..=most).contains(&mib) {
        return Err(format!("the array is {mib} MiB; with {left} MiB left, 1 to {most} fit").into());
    }
    let len = mib * MIB / size_of::<f64>();
    println!("{WORKERS} workers, times in milliseconds\n\n{HEADER}");
    measure_list()?;
    measure_table()?;
    print_legend(measure_array(len)?);
    print_accesses(len)
}

fn executor() -> Result<Executor, Failure> {
    Ok(Executor::builder().workers(WORKERS).build()?)
}

fn measure_list() -> Result<(), Failure> {
    let list: Vec<i64> = (0..INTEGERS).collect();
    let bytes = size_of_val(&list[..]);
    let value = Value::new("1,000,000 integers", bytes, list.iter().sum());
    let (encoded, wrapped) = (MessagePack::encode(&list)?.len(), Serialized::<_>::new(list));
    value.sent("Serialized", encoded, &wrapped, |p, v| p.submit(sum_decoded_list, (v,)))?;
    let list = wrapped.into_inner();
    value.sent("by value", bytes, &list, |p, v| p.submit(sum_list, (v,)))?;
    value.kept("Shared", bytes, |p| p.share(&list), |p, v| p.submit(sum_list, (v,)))?;
    value.kept("array_from", bytes, |p| p.array_from(&list), |p, v| p.submit(sum_list, (v,)))
}

fn measure_table() -> Result<(), Failure> {
    let station = |id: u64| Station {
        id,
        name: format!("station number {id}"),
        country: ["Iceland", "Chile", "Mongolia"][id as usize % 3].to_owned(),
        height_m: (id % 3000) as f64,
    };
    let table: Vec<Station> = (0..TABLE_ROWS).map(station).collect();
    let sum = table.iter().map(|s| digest(s.id, &s.name, &s.country, s.height_m)).sum();
    // Its archive's size stands for its own, which is spread over 400,001 allocations.
    let bytes = rkyv::to_bytes::<rkyv::rancor::BoxedError>(&table)?.len();
    let value = Value::new("200,000 structs", bytes, sum);
    let (encoded, wrapped) = (MessagePack::encode(&table)?.len(), Serialized::<_>::new(table));
    value.sent("Serialized", encoded, &wrapped, |p, v| p.submit(sum_decoded_table, (v,)))?;
    let table = wrapped.into_inner();
    value.sent("by value", bytes, &table, |p, v| p.submit(sum_table, (v,)))?;
    value.kept("Shared", bytes, |p| p.share(&table), |p, v| p.submit(sum_table, (v,)))
}

/// Returns how long filling a fresh vector took, to compare filling a fresh array with.
fn measure_array(len: usize) -> Result<Duration, Failure> {
    let (filling, array) = timed(|| Ok(filled_vec(len)))?;
    let part = array[..len.min(PART_BYTES_MAX / size_of::<f64>())].to_vec();
    let value = Value::new("part of the array", size_of_val(&part[..]), sum_array(&part).0);
    let (encoded, wrapped) = (MessagePack::encode(&part)?.len(), Serialized::<_>::new(part));
    value.sent("Serialized", encoded, &wrapped, |p, v| p.submit(sum_decoded_array, (v,)))?;
    drop(wrapped);
    let bytes = size_of_val(&array[..]);
    let value = Value::new("array", bytes, sum_array(&array).0);
    value.sent("by value", bytes, &array, |p, v| p.submit(sum_array, (v,)))?;
    value.kept("Shared", bytes, |p| p.share(&array), |p, v| p.submit(sum_array, (v,)))?;
    value.kept("array_from", bytes, |p| p.array_from(&array), |p, v| p.submit(sum_array, (v,)))?;
    drop(array);
    value.kept("array, in place", 0, |p| filled_array(p, len), |p, v| p.submit(sum_array, (v,)))?;
    Ok(filling)
}

fn filled_vec(len: usize) -> Vec<f64> {
    let mut vec = vec![0.0; len];
    fill(&mut vec);
    vec
}

fn filled_array(pool: &Executor, len: usize) -> Result<Array<f64>, ShareError> {
    let mut array = pool.array(len)?;
    fill(&mut array);
    Ok(array.freeze())
}

/// What is sent, its sum, and what a plain copy of it costs.
struct Value {
    name: &'static str,
    bytes: usize,
    sum: i64,
    memcpy: Duration,
}

#[derive(Default)]
struct Times {
    put: Vec<Duration>,
    put_again: Vec<Duration>,
    first: Vec<Duration>,
    again: Vec<Duration>,
    memory: Option<[f64; 2]>,
}

impl Value {
    fn new(name: &'static str, bytes: usize, sum: i64) -> Self {
        let (from, mut to) = (vec![1_u8; bytes], vec![2_u8; bytes]);
        let copy = || {
            let start = Instant::now();
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
            start.elapsed()
        };
        let times = std::iter::repeat_with(copy).take(REPEATS * REPEATS).collect();
        Self { name, bytes, sum, memcpy: median(times) }
    }

    /// Measures the value where it is put into shared memory once and passed by reference.
    fn kept<H>(
        &self,
        way: &str,
        written: usize,
        put: impl Fn(&Executor) -> Result<H, ShareError>,
        submit: impl Fn(&Executor, &H) -> Submitted,
    ) -> Result<(), Failure> {
        let mut times = Times::default();
        for _ in 0..REPEATS {
            let pool = executor()?;
            let (spent, handle) = timed(|| Ok(put(&pool)?))?;
            times.put.push(spent);
            let task = |_| submit(&pool, &handle);
            let used = || self.check((0..WORKERS).map(task).collect::<Result<_, _>>()?);
            times.first.push(timed(used)?.0);
            for _ in 0..REPEATS {
                times.again.push(timed(used)?.0);
            }
            times.memory = Some(self.memory(&pool, used)?);
            drop(handle);
            for _ in 0..REPEATS {
                times.put_again.push(timed(|| Ok(put(&pool)?))?.0);
            }
        }
        self.print(way, format!("{:.1} once", in_mib(written)), times);
        Ok(())
    }

    /// Measures the value where it travels with each task, which puts it once for each worker.
    fn sent<V: Clone>(
        &self,
        way: &str,
        written: usize,
        value: &V,
        submit: impl Fn(&Executor, V) -> Submitted,
    ) -> Result<(), Failure> {
        let mut times = Times::default();
        for _ in 0..REPEATS {
            let pool = executor()?;
            for repeat in 0..=REPEATS {
                let copies = vec![value.clone(); WORKERS].into_iter();
                let put = |copy| timed(|| Ok(submit(&pool, copy)?));
                let (all, puts) = timed(|| {
                    let (puts, tasks): (Vec<_>, _) = copies.map(put).collect::<Result<_, _>>()?;
                    self.check(tasks).map(|_| puts)
                })?;
                let Times { put, put_again, first, again, .. } = &mut times;
                let (put, whole) = if repeat == 0 { (put, first) } else { (put_again, again) };
                put.extend(puts);
                whole.push(all);
            }
        }
        self.print(way, format!("{:.1} a use", in_mib(written * WORKERS)), times);
        Ok(())
    }

    /// Uses the value until each worker has read it, then tells how much memory it takes: the
    /// argument heap's, and that of all shared memory, as multiples of the value's own size.
    fn memory(&self, pool: &Executor, used: impl Fn() -> Used) -> Result<[f64; 2], Failure> {
        let (mut pids, mut readers) = (pool.worker_pids(), Vec::new());
        // Any worker may take any task, so one of them may have to be waited for.
        while !pids.iter().all(|pid| readers.contains(pid)) {
            if readers.len() >= TASKS_MAX {
                return Err(format!("{} tasks, but not in each of {pids:?}", readers.len()).into());
            }
            readers.extend(used()?);
        }
        pids.push(std::process::id());
        let multiple = |bytes: usize| bytes as f64 / self.bytes as f64;
        let [args, all] = ["memfd:wharf-arguments", "memfd:wharf"].map(|n| shared_memory(n, &pids));
        let (args, all) = (multiple(args?), multiple(all?));
        // A second copy would make it 2.
        if all < 1.5 { Ok([args, all]) } else { Err(format!("{all} times in memory").into()) }
    }

    /// Joins the tasks and compares their sums. Returns which processes ran them.
    fn check(&self, tasks: Vec<TaskHandle<Answer>>) -> Used {
        let sum_of = |task: TaskHandle<Answer>| match task.join()? {
            (sum, pid) if sum == self.sum => Ok(pid),
            (sum, pid) => Err(format!("worker {pid} says {sum}, the sum is {}", self.sum).into()),
        };
        tasks.into_iter().map(sum_of).collect()
    }

    fn print(&self, way: &str, copied: String, times: Times) {
        let ms = |times| median(times).as_secs_f64() * 1e3;
        let (name, size, memcpy) = (self.name, in_mib(self.bytes), ms(vec![self.memcpy]));
        let [put, put_again] = [ms(times.put), ms(times.put_again)]
            .map(|time| format!("{time:.2} {:>6.1}x", time / memcpy));
        let (first, again) = (ms(times.first), ms(times.again));
        let memory = times.memory.map_or("-".to_owned(), |[a, b]| format!("{a:.3}x, {b:.3}x"));
        println!(
            "{name:<18}  {way:<15}  {size:>8.1} {memcpy:>8.2}  {put:>16}  {put_again:>16}  \
             {first:>10.2}  {again:>8.2}  {copied:>12}  {memory:>20}"
        );
    }
}

fn timed<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<(Duration, T), Failure> {
    let start = Instant::now();
    run().map(|value| (start.elapsed(), value))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn in_mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

fn print_legend(filling: Duration) {
    println!(
        "
memcpy     of as many bytes, into memory that was written before
put        into shared memory fresh from the system, also as a multiple of memcpy
put again  into shared memory that the executor has used and freed: it stays warm
first use  submit to {WORKERS} workers that have not seen that memory yet, and join all; where the
           value travels with each task, the puts are part of it
copied     what this process copies into shared memory
Pss        what all processes take for it together, as a multiple of its size, once each worker has
           read all of it: of the mapping of arguments, and of all shared memory
By value, the put also frees what `submit` was given. Of the array only a part is serialized.
In place, the put is the filling itself (over a fresh Vec it took {filling:.2?}); memory that was
used before is zeroed for it first.
"
    );
}

/// Shows that a task reaches one element of a large argument as fast as of a small one.
fn print_accesses(len: usize) -> Result<(), Failure> {
    let pool = executor()?;
    let small = MIB / size_of::<f64>();
    let arrays = [filled_array(&pool, small)?, filled_array(&pool, len)?];
    let shared = [pool.share(&filled_vec(small))?, pool.share(&filled_vec(len))?];
    let mut times = [const { Vec::new() }; 4];
    // In turns, so that all cases meet the same state of the machine.
    for _ in 0..ACCESSES {
        for (case, times) in times.iter_mut().enumerate() {
            let (size, index) = (case % 2, [small, len][case % 2] as u64 / 2);
            let (spent, found) = timed(|| match case / 2 {
                0 => Ok(pool.submit(element, (&arrays[size], index))?.join()?),
                _ => Ok(pool.submit(element, (&shared[size], index))?.join()?),
            })?;
            if found != (index % 1024) as f64 {
                return Err(format!("a worker read {found} at {index}").into());
            }
            times.push(spent);
        }
    }
    let (mib, [a, b, c, d]) = (len * size_of::<f64>() / MIB, times.map(median));
    println!("access: submit and join of a task that reads one element, median of {ACCESSES}");
    println!("Array of 1 MiB {a:.1?}, of {mib} MiB {b:.1?}");
    println!("Shared of 1 MiB {c:.1?}, of {mib} MiB {d:.1?}");
    Ok(())
}

/// Sums `Pss` over the mappings whose path contains `name`, in bytes: how much memory they take,
/// where a page that several processes share counts once.
fn shared_memory(name: &str, pids: &[u32]) -> io::Result<usize> {
    let mut sum = 0;
    for pid in pids {
        let mut inside = false;
        for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("Pss:") if inside => {
                    let kib: Option<usize> = words.next().and_then(|kib| kib.parse().ok());
                    sum += kib.ok_or_else(|| io::Error::other(line))? * 1024;
                }
                Some(key) if key.ends_with(':') => {}
                // The first line of a mapping: addresses, rights, offset, device, inode, path.
                _ => inside = line.contains(name),
            }
        }
    }
    Ok(sum)
}
