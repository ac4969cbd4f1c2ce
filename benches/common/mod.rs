//! What the benches share: rounds in turns, medians, a table, and raw limits to compare with.
//!
//! Subjects that are compared run in the same process, in turns: what the machine does meanwhile
//! hits them alike. A round in which the host took the processors away is measured again. A number
//! is the median over the rounds, with the lowest and the highest round, and a ratio is that of the
//! ratios of each round: a machine that is slower for a while is so for both.

#![allow(dead_code, reason = "each bench is a program of its own and uses a part of this")]

pub mod grain;
pub mod host;
pub mod peer;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use host::{Others, Watch};
use wharf::{Builder, Executor};

/// How many workers the benches use, whatever the machine has.
pub const WORKERS: usize = 2;

/// Tells whether to measure in full; otherwise the bench is a test that it runs and is right.
///
/// `cargo bench` passes `--bench`; `cargo test --benches` passes nothing.
pub fn is_full() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--bench") && !has("--test") && std::env::var_os("WHARF_BENCH_QUICK").is_none()
}

/// Tells whether to run a part: those that an argument names, or all where none does.
pub fn wants(part: &str) -> bool {
    let mut names =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == part)
}

/// Builds an executor for a bench.
pub fn executor(set: impl FnOnce(Builder) -> Builder) -> Executor {
    set(Executor::builder().workers(WORKERS)).build().expect("workers start")
}

/// Runs the subjects in turns, each once a round; every round begins with another one.
///
/// A round that the host disturbed is not counted, as long as these are no more than those that
/// are. The host takes more of what runs for longer, so the highest round may be lower for that.
pub fn in_turns<T>(rounds: usize, subjects: &mut [&mut dyn FnMut() -> T]) -> Vec<Vec<T>> {
    let count = subjects.len();
    let mut results: Vec<Vec<T>> = subjects.iter().map(|_| Vec::new()).collect();
    let mut repeats_left = if is_full() { rounds } else { 0 };
    let mut round = 0;
    while round < rounds {
        let watch = Watch::start();
        for step in 0..count {
            let turn = (round + step) % count;
            results[turn].push(subjects[turn]());
        }
        if watch.is_to_be_repeated(repeats_left > 0) {
            repeats_left -= 1;
            results.iter_mut().for_each(|result| drop(result.pop()));
        } else {
            round += 1;
        }
    }
    results
}

/// Returns how long `work` took, in seconds, and what it returned.
pub fn timed<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = std::hint::black_box(work());
    (start.elapsed().as_secs_f64(), result)
}

/// Whole numbers, so that their sum does not depend on the order of additions.
pub fn number(index: usize) -> f64 {
    (index % 1024) as f64
}

/// Adds up in sixteen lanes, so that the memory is the limit and not the adder.
pub fn sum(numbers: &[f64]) -> f64 {
    let (chunks, rest) = numbers.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane += number;
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// What one round of single calls took, in seconds.
#[derive(Clone, Copy)]
pub struct Latency {
    pub median: f64,
    pub mean: f64,
}

/// Times `calls` single calls, after a pause each.
#[expect(clippy::disallowed_methods, reason = "the pause is what makes everybody fall asleep")]
pub fn latency(calls: usize, pause: Duration, call: impl FnMut()) -> Latency {
    let sleep = || {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    };
    latency_after(calls, sleep, call)
}

/// Times `calls` single calls, each after something that is not timed.
pub fn latency_after(calls: usize, mut before: impl FnMut(), mut call: impl FnMut()) -> Latency {
    let mut times: Vec<f64> = (0..calls)
        .map(|_| {
            before();
            timed(&mut call).0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    Latency { median: times[calls / 2], mean: times.iter().sum::<f64>() / calls as f64 }
}

/// The median of the rounds, the rounds at both ends, and each of them.
#[derive(Clone)]
pub struct Summary {
    pub median: f64,
    low: f64,
    high: f64,
    rounds: Vec<f64>,
}

impl Summary {
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = rounds.into_iter().collect();
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let [median, low, high] =
            [sorted.len() / 2, 0, sorted.len() - 1].map(|index| sorted[index]);
        Self { median, low, high, rounds }
    }

    /// The ratios of the rounds; of the medians where there are not as many.
    fn over(&self, other: &Self) -> Self {
        if self.rounds.len() != other.rounds.len() {
            return Self::of([self.median / other.median]);
        }
        Self::of(self.rounds.iter().zip(&other.rounds).map(|(own, other)| own / other))
    }

    fn show(&self, show: impl Fn(f64) -> String) -> String {
        let [low, high] = [self.low, self.high].map(&show);
        format!("{} [{low} - {high}]", show(self.median))
    }
}

/// What a number counts.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    TasksPerSecond,
    BytesPerSecond,
    Bytes,
    /// Of a whole.
    Share,
}

impl Unit {
    fn show(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Self::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")],
            Self::TasksPerSecond => &[(1e6, "M/s"), (1e3, "k/s")],
            Self::BytesPerSecond => &[(1e9, "GB/s"), (1e6, "MB/s")],
            Self::Bytes => &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB")],
            Self::Share => &[(1e-2, "%")],
        };
        let fitting = steps.iter().find(|(step, _)| value >= *step);
        let (step, name) = fitting.unwrap_or(&steps[steps.len() - 1]);
        let shown = value / step;
        let digits = if shown >= 100.0 { 0 } else { 1 + usize::from(shown < 10.0) };
        format!("{shown:.digits$} {name}")
    }
}

/// What a number should reach. It is shown, not tested.
#[derive(Clone, Copy)]
pub enum Floor {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// Of measured to raw.
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Floor {
    fn show(self, unit: Unit, measured: f64, ratio: Option<f64>) -> (String, &'static str) {
        let ratio = ratio.unwrap_or(f64::NAN);
        let (text, reached) = match self {
            Self::None => return (String::new(), ""),
            Self::AtMost(most) => (format!("<= {}", unit.show(most)), measured <= most),
            Self::AtLeast(least) => (format!(">= {}", unit.show(least)), measured >= least),
            Self::RatioAtMost(most) => (format!("<= {most} x raw"), ratio <= most),
            Self::RatioAtLeast(least) => (format!(">= {least} x raw"), ratio >= least),
        };
        (text, if reached { "ok" } else { "miss" })
    }
}

/// The table that a bench prints at its end.
pub struct Table {
    unit: Unit,
    title: String,
    rows: Vec<[String; 6]>,
    clock: Instant,
    others: Option<Others>,
}

impl Table {
    pub fn new(name: &str) -> Self {
        let size = if is_full() { "full size" } else { "quick, the numbers mean nothing" };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let title = format!("{name}: {WORKERS} workers, {cores} cores, {size}");
        let head = ["what", "measured", "raw limit", "ratio", "floor", ""].map(str::to_owned);
        let (clock, others) = (Instant::now(), Others::now());
        Self { unit: Unit::Seconds, title, rows: vec![head], clock, others }
    }

    /// Sets what the numbers of the next rows count.
    pub fn unit(&mut self, unit: Unit) {
        self.unit = unit;
    }

    /// Adds a measurement beside its raw limit, which has a name.
    pub fn row(
        &mut self,
        what: &str,
        measured: Summary,
        raw: Option<(&str, Summary)>,
        floor: Floor,
    ) {
        let show = |value| self.unit.show(value);
        let ratio = raw.as_ref().map(|(_, raw)| measured.over(raw));
        let median = ratio.as_ref().map(|ratio| ratio.median);
        let (floor, verdict) = floor.show(self.unit, measured.median, median);
        self.rows.push([
            what.to_owned(),
            measured.show(show),
            raw.map_or_else(String::new, |(name, raw)| format!("{}, {name}", raw.show(show))),
            ratio.map_or_else(String::new, |ratio| ratio.show(|value| format!("{value:.2}"))),
            floor,
            verdict.to_owned(),
        ]);
    }

    /// Prints the table, columns aligned.
    pub fn print(self) {
        let seconds = self.clock.elapsed().as_secs_f64();
        let mut text = format!("\n{} ({seconds:.0} s", self.title);
        if let (Some(before), Some(after)) = (self.others, Others::now()) {
            let cores = |before: f64, after: f64| (after - before).max(0.0) / seconds;
            let used = cores(before.used, after.used);
            let stolen = cores(before.stolen, after.stolen);
            let _ = write!(text, "; others used {used:.2} cores, the host took {stolen:.2}");
        }
        let (repeated, kept) = host::disturbances();
        if repeated + kept > 0 {
            let _ = write!(text, "; it disturbed {repeated} rounds that were measured again");
            let _ = write!(text, " and {kept} others");
        }
        text.push_str(")\n");
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let _ = write!(line, "{cell:<0$}  ", width(column).unwrap_or(0));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        println!("{text}");
    }
}
