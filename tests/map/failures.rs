//! Items that fail, kill their worker, or cannot be stored: each costs itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wharf::{Death, Executor, Serialized, SubmitError, TaskError};

use super::common::executor;
use super::{Log, MANY, SIZES, check_works, double, eventually, sizes};

const SIGABRT: i32 = 6;

/// Runs `0..items` in every way that there is, those of `bad` fail: the others are right, and no
/// item is run twice.
fn check(way: &str, bad: &[u64], items: u64, is_right: fn(&TaskError)) {
    let executor = executor(2);
    for sizes in SIZES {
        let log = Log::new();
        let constants = (way.to_owned(), log.path(), bad.to_vec());
        let results = map!(sizes, executor.map_with(fails, constants, 0..items));
        let (mut seen, mut errors) = (Vec::new(), 0);
        for (place, result) in results.enumerate() {
            match result {
                Ok(n) => seen.push(n),
                Err(error) => {
                    is_right(&error);
                    errors += 1;
                    let at_its_place = sizes.unordered || bad.contains(&(place as u64));
                    assert!(at_its_place, "{sizes:?}, {bad:?}: an error at {place}");
                }
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq((0..items).filter(|n| !bad.contains(n))), "{sizes:?} {bad:?}");
        assert_eq!(errors, bad.len(), "{sizes:?} {bad:?}");
        let runs = log.runs();
        assert_eq!(runs.len() as u64, items, "{sizes:?} {bad:?}");
        assert!(runs.values().all(|&runs| runs == 1), "{sizes:?} {bad:?}: run twice");
    }
    check_works(&executor);
}

fn fails(way: &str, log: &str, bad: &[u64], n: u64) -> u64 {
    Log::note(log, n);
    match way {
        _ if !bad.contains(&n) => n,
        "abort" => std::process::abort(),
        _ => std::panic::panic_any("as this test wants"),
    }
}

#[test]
fn a_death_costs_its_item_wherever_in_a_batch_that_is() {
    let died = |error: &TaskError| match error {
        TaskError::WorkerDied { death, .. } => assert_eq!(*death, Death::Signal(SIGABRT)),
        other => panic!("{other}"),
    };
    let every_tenth: Vec<u64> = (0..100).step_by(10).collect();
    let rows: [&[u64]; 7] = [&[0], &[6], &[7], &[9], &[99], &[3, 4, 5], &every_tenth];
    for bad in rows {
        check("abort", bad, 100, died);
    }
}

#[test]
fn a_panic_costs_its_item_wherever_in_a_batch_that_is() {
    let panicked = |error: &TaskError| match error {
        TaskError::Panicked { message, location, .. } => {
            assert!(message == "as this test wants" && location.contains("map/failures.rs"));
        }
        other => panic!("{other}"),
    };
    let all: Vec<u64> = (0..300).collect();
    let rows: [&[u64]; 5] = [&[0], &[63], &[299], &[10, 11, 12, 200], &all];
    for bad in rows {
        check("panic", bad, 300, panicked);
    }
}

#[test]
fn workers_killed_from_outside_cost_one_item_each() {
    let executor = executor(2);
    for sizes in SIZES {
        let (mut errors, mut kills, mut seen) = (0, 0, Vec::new());
        for (n, result) in map!(sizes, executor.map(double, 0..MANY)).enumerate() {
            match result {
                Ok(n) => seen.push(n / 2),
                Err(TaskError::WorkerDied { .. }) => errors += 1,
                Err(other) => panic!("{other}"),
            }
            if n % (MANY as usize / 5) == 0 {
                let before = executor.stats().deaths;
                eventually("a worker is there", || !executor.worker_pids().is_empty());
                let pid = executor.worker_pids()[0].to_string();
                let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
                assert!(killed.expect("kill runs").success());
                kills += 1;
                eventually("the death is noticed", || executor.stats().deaths > before);
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len() + errors, MANY as usize, "{sizes:?}: each has one result");
        assert!(errors <= kills, "{sizes:?}: {kills} kills cost {errors} items");
    }
    check_works(&executor);
}

/// Refuses to be encoded, or panics then, as its number says.
#[derive(serde::Deserialize)]
struct Moody(u64);

impl serde::Serialize for Moody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 10 {
            3 => Err(serde::ser::Error::custom("it refuses")),
            7 => std::panic::panic_any("it panics, as this test wants"),
            _ => serializer.serialize_newtype_struct("Moody", &self.0),
        }
    }
}

#[test]
fn an_item_that_cannot_be_encoded_is_an_error_at_its_place() {
    let executor = executor(2);
    for sizes in SIZES {
        let items = (0..100u64).map(|n| Serialized(Moody(n)));
        let mut results =
            map!(sizes, executor.map(|Serialized(moody): Serialized<Moody>| moody.0, items));
        let (mut seen, mut refused, mut panics) = (Vec::new(), 0, 0);
        loop {
            match catch_unwind(AssertUnwindSafe(|| results.next())) {
                Ok(Some(Ok(n))) => seen.push(n),
                Ok(Some(Err(TaskError::NotSubmitted { error, .. }))) => {
                    assert!(matches!(error, SubmitError::Arguments(_)));
                    assert!(error.to_string().contains("it refuses"), "{error}");
                    assert!(sizes.unordered || seen.len() as u64 + refused + panics >= 3);
                    refused += 1;
                }
                Ok(Some(Err(other))) => panic!("{other}"),
                Ok(None) => break,
                Err(_) => panics += 1,
            }
        }
        seen.sort_unstable();
        let wanted = (0..100).filter(|n| ![3, 7].contains(&(n % 10)));
        assert!(seen.into_iter().eq(wanted), "{sizes:?}");
        assert_eq!((refused, panics), (10, 10), "{sizes:?}");
    }
    check_works(&executor);
}

#[test]
fn an_argument_that_does_not_decode_costs_its_item() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    #[serde(try_from = "u64", into = "u64")]
    struct Even(u64);
    impl From<Even> for u64 {
        fn from(even: Even) -> Self {
            even.0
        }
    }
    impl TryFrom<u64> for Even {
        type Error = String;
        fn try_from(n: u64) -> Result<Self, String> {
            if n.is_multiple_of(2) { Ok(Self(n)) } else { Err(format!("{n} is odd")) }
        }
    }
    let executor = executor(2);
    let items = (0..100u64).map(|n| Serialized(Even(n)));
    let results = executor.map_with(|_: u8, e: Serialized<Even>| e.into_inner().0, (1u8,), items);
    for (n, result) in results.enumerate() {
        match result {
            Ok(even) => assert!(even == n as u64 && n % 2 == 0),
            Err(TaskError::Decode { what, cause, .. }) => {
                assert_eq!((what.as_str(), n % 2), ("argument 2", 1));
                assert!(cause.contains(&format!("{n} is odd")), "{cause}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn constants_that_cannot_be_stored_are_one_error() {
    let executor = Executor::builder().workers(1).memory_budget(1 << 20).build().unwrap();
    let constants = (vec![0u8; 4 << 20],);
    let mut results = executor.map_with(|_: &[u8], n: u64| n, constants, 0u64..);
    let error = results.next().unwrap().unwrap_err();
    assert!(matches!(error, TaskError::NotSubmitted { .. }), "{error}");
    assert!(results.next().is_none() && results.next().is_none());
}

/// The workers die and none comes up again: the map ends, though its input does not.
#[test]
fn a_broken_executor_ends_a_map() {
    let folder = std::env::temp_dir().join(format!("wharf-broken-map-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    let start = |path: &str| assert!(std::path::Path::new(path).exists(), "the folder is gone");
    let builder = Executor::builder().workers(2).on_start(start, (path.clone(),));
    let executor = builder.build().unwrap();
    fn die_at_100(path: &str, n: u64) -> u64 {
        if n == 100 || n == 101 {
            let _ = std::fs::remove_dir(path);
            std::process::abort();
        }
        n
    }
    let results = executor.map_with(die_at_100, (path,), 0u64..);
    let errors: Vec<TaskError> = results.filter_map(Result::err).collect();
    let broken = |error: &TaskError| match error {
        TaskError::Broken { reason, .. } => reason.contains("the folder is gone"),
        _ => false,
    };
    assert!(errors.iter().any(broken), "{errors:?}");
    let others = errors.iter().filter(|error| !broken(error)).count();
    assert!(others <= 2 && sizes(0, 0).batch == 0, "{errors:?}");
}
