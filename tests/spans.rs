//! Spans and events: what a subscriber hears of work, in the caller, in workers, of workers.
#![cfg(feature = "tracing")]

mod common;

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::{Arc, LazyLock, Mutex};

use common::{executor, wait_until};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wharf::Executor;

fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn double(n: u64) -> u64 {
    n * 2
}

fn fill(x: &mut [u64]) {
    x.fill(1);
}

fn sum(x: &[u64]) -> u64 {
    x.iter().sum()
}

/// Writes down spans and events: level, name or message, fields, and the span that they are in.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    /// The names of all spans; an id is the place, from 1.
    spans: Vec<&'static str>,
}

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => write!(self.others, " {name}={value:?}").expect("it is a string"),
        }
    }
}

impl Collector {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    fn note(&self, metadata: &Metadata<'_>, name: &str, fields: &str) {
        let mut state = self.0.lock().unwrap();
        let outer = ENTERED.with_borrow(|entered| entered.last().map(Id::into_u64));
        let outer = outer.and_then(|id| state.spans.get(id as usize - 1).copied());
        let level = metadata.level();
        let line = format!("{level} {name}{fields} in {}", outer.unwrap_or("nothing"));
        state.lines.push(line);
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let name = span.metadata().name();
        self.note(span.metadata(), name, &fields.others);
        let mut state = self.0.lock().unwrap();
        state.spans.push(name);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.note(event.metadata(), &fields.message, &fields.others);
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
    }

    fn exit(&self, span: &Id) {
        let left = ENTERED.with_borrow_mut(Vec::pop);
        assert_eq!(left.as_ref(), Some(span), "spans are left in order");
    }
}

/// Lines that start and end so, in this order, perhaps with others in between.
fn check(what: &str, lines: &[String], expected: &[(&str, &str)]) {
    let mut rest = lines.iter();
    for (start, end) in expected {
        let is_it = |line: &String| line.starts_with(start) && line.ends_with(end);
        assert!(rest.any(is_it), "{what}: no `{start} .. {end}` at its place in {lines:#?}");
    }
}

type Row = (&'static str, fn(&Executor), &'static [(&'static str, &'static str)]);

/// What a caller does, and what it hears of that.
const ROWS: [Row; 5] = [
    (
        "a task",
        |executor| {
            assert_eq!(executor.submit(add, (1u64, 2u64)).unwrap().join().unwrap(), 3);
        },
        &[
            ("TRACE submit task=\"spans::add\"", "in nothing"),
            ("TRACE join task=\"spans::add\"", "in nothing"),
        ],
    ),
    (
        "shared values",
        |executor| {
            executor.share(&[1u64, 2]).unwrap();
            executor.array::<u64>(3).unwrap();
            executor.array_from(&[1u8; 5]).unwrap();
        },
        &[
            ("DEBUG share value=\"[u64; 2]\"", "in nothing"),
            ("DEBUG shared bytes=16", "in share"),
            ("DEBUG array bytes=24", "in nothing"),
            ("DEBUG array_from bytes=5", "in nothing"),
        ],
    ),
    (
        "a map",
        |executor| {
            // What the input tells is told in the map's span.
            let items = (0..2u64).inspect(|n| tracing::info!(n, "drawn"));
            assert_eq!(executor.map(double, items).count(), 2);
            tracing::info!("afterwards");
        },
        &[
            ("DEBUG map task=\"spans::double\"", "in nothing"),
            ("INFO drawn n=0", "in map"),
            ("INFO drawn n=1", "in map"),
            ("INFO afterwards", "in nothing"),
        ],
    ),
    (
        "loops",
        |executor| {
            let mut array = executor.array::<u64>(10).unwrap();
            executor.fill_chunks(&mut array, 3, fill, ()).unwrap();
            let array = array.freeze();
            assert_eq!(executor.map_reduce(&array, sum, |a, b| a + b).unwrap(), 10);
        },
        &[
            ("DEBUG loop task=\"spans::fill\" chunks=4", "in nothing"),
            ("TRACE join task=\"spans::fill\"", "in loop"),
            ("DEBUG loop task=\"spans::sum\" chunks=1", "in nothing"),
        ],
    ),
    (
        "a task that panics",
        |executor| {
            let task = executor.submit(|| -> u64 { panic!("as this test wants") }, ());
            assert!(task.unwrap().join().is_err());
            tracing::info!("afterwards");
        },
        &[("TRACE join", "in nothing"), ("INFO afterwards", "in nothing")],
    ),
];

#[test]
fn the_caller_hears_of_what_it_does() {
    let executor = executor(2);
    for (what, act, expected) in ROWS {
        let collector = Collector::default();
        tracing::subscriber::with_default(collector.clone(), || act(&executor));
        check(what, &collector.lines(), expected);
    }
}

/// What this process hears in threads that no test has given a collector of its own.
static HEARD: LazyLock<Collector> = LazyLock::new(Collector::default);

fn listen() {
    tracing::subscriber::set_global_default(HEARD.clone()).expect("nobody listens yet");
}

#[test]
fn starts_and_ends_of_workers_are_told_with_process_and_seat() {
    fn die() {
        std::process::abort();
    }
    listen();
    let executor = executor(1);
    let pid_of = || executor.submit(std::process::id, ()).unwrap().join().unwrap();
    let first = pid_of();
    assert!(executor.submit(die, ()).unwrap().join().is_err());
    let second = pid_of();
    executor.shutdown().unwrap();
    let rows = [
        (first, "INFO worker started", ""),
        (first, "INFO worker ready", ""),
        (first, "WARN worker died", " death=signal 6"),
        (second, "INFO worker started", ""),
        (second, "INFO worker ready", ""),
        (second, "INFO worker left", " death=exit code 0"),
    ];
    let expected = rows.map(|(pid, what, how)| format!("{what} pid={pid} seat=0{how} in executor"));
    wait_until("all was told", || {
        let lines = HEARD.lines();
        expected.iter().all(|line| lines.contains(line))
    });
}

/// Each process has its own subscriber: who sets one when a worker starts hears of tasks there.
#[test]
fn a_worker_that_listens_hears_of_its_tasks_by_name() {
    fn tell() {
        tracing::info!("from the task");
    }
    let executor = Executor::builder().workers(1).on_start(listen, ()).build().unwrap();
    executor.submit(tell, ()).unwrap().join().unwrap();
    assert_eq!(executor.map(double, 0..2u64).filter(Result::is_ok).count(), 2);
    let mut array = executor.array::<u64>(10).unwrap();
    executor.fill_chunks(&mut array, 3, fill, ()).unwrap();
    executor.map_reduce(&array.freeze(), sum, |a, b| a + b).unwrap();
    let lines = executor.submit(|| HEARD.lines(), ()).unwrap().join().unwrap();
    let expected = [
        (r#"TRACE task name="spans::a_worker"#, r#"::tell" in nothing"#),
        ("INFO from the task", "in task"),
        (r#"TRACE task name="spans::double""#, "in nothing"),
        (r#"TRACE task name="spans::double""#, "in nothing"),
        (r#"TRACE task name="spans::fill""#, "in nothing"),
        (r#"TRACE task name="spans::sum""#, "in nothing"),
    ];
    check("a worker", &lines, &expected);
}
