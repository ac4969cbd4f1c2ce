//! Maps over many items.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use wharf::{
    ArchivedShared, Array, Backend, Executor, Serialized, ShareError, SubmitError, TaskError,
};

use crate::errors::{Odd, make_odd, take_odd};
use crate::sizes::{SIZES, Sizes};
use crate::{BACKENDS, builder, executor};

fn double(n: u64) -> u64 {
    2 * n
}

/// Every worker answers, and gives right results.
fn check_works(executor: &Executor) {
    let tasks = [0u64, 1, 2, 3, 4, 5, 6, 7].map(|n| (n, executor.submit(double, (n,)).unwrap()));
    tasks.into_iter().for_each(|(n, task)| assert_eq!(task.join().unwrap(), 2 * n));
}

pub fn a_map_has_each_result_in_order_however_it_is_cut(backend: Backend) {
    let executor = executor(backend);
    for sizes in SIZES {
        for items in [0, 1, 9, 500u64] {
            let results = map!(sizes, executor.map(double, 0..items));
            let mut results = results.collect::<Result<Vec<u64>, TaskError>>().unwrap();
            if sizes.unordered {
                results.sort_unstable();
            }
            assert!(results.into_iter().eq((0..items).map(double)), "{items} items, {sizes:?}");
        }
    }
    // More items than there are slots, and results that pass the budget many times.
    let executor = builder(backend).task_slots(2).memory_budget(2 << 20).build().unwrap();
    let large = executor.map(|n: u64| vec![n as u8; 128 << 10], 0..100u64);
    for (n, result) in large.enumerate() {
        assert!(result.unwrap() == vec![n as u8; 128 << 10], "{n}");
    }
}

pub fn a_map_takes_constants_once_and_items_of_every_kind(backend: Backend) {
    fn scaled(text: &str, table: &[f64], by: f64, at: u64) -> String {
        format!("{text} {}", table[at as usize] * by)
    }
    let executor = executor(backend);
    let table = executor.share(&(0..100).map(f64::from).collect::<Vec<f64>>()).unwrap();
    let texts = executor.map_with(scaled, ("at".to_owned(), &table, 0.5), 0..100u64);
    assert!(texts.map(Result::unwrap).eq((0..100).map(|n| format!("at {}", f64::from(n) * 0.5))));
    let words = executor.map(|word: &str| word.len() as u64, (0..300).map(|n| "x".repeat(n)));
    assert!(words.map(Result::unwrap).eq(0..300));
    let arrays: Vec<Array<u64>> = (0..50).map(|n| executor.array_from(&[n; 3]).unwrap()).collect();
    let sums = executor.map(|x: &[u64]| x.iter().sum::<u64>(), &arrays);
    assert!(sums.map(Result::unwrap).eq((0..50).map(|n| 3 * n)));
    let shared = (0..50u64).map(|n| executor.share(&vec![n; 5]).unwrap());
    let read = executor.map(|x: &ArchivedShared<Vec<u64>>| x[4].to_native(), shared);
    assert!(read.map(Result::unwrap).eq(0..50));
    let key = |Serialized(value): Serialized<serde_json::Value>| value["n"].as_u64();
    let values = (0..50u64).map(|n| Serialized(serde_json::json!({ "n": n })));
    assert!(executor.map(key, values).map(Result::unwrap).eq((0..50).map(Some)));
}

pub fn results_of_a_map_may_be_of_every_kind(backend: Backend) {
    fn filled(n: u64) -> Result<Array<u64>, ShareError> {
        let mut array = wharf::array::<u64>(n as usize * 10)?;
        array.fill(n);
        Ok(array.freeze())
    }
    let executor = executor(backend);
    let arrays = executor.map(filled, 0..100u64).map(|array| array.unwrap().unwrap());
    let arrays: Vec<Array<u64>> = arrays.collect();
    for (array, n) in arrays.iter().zip(0..) {
        assert!(array.len() as u64 == n * 10 && array.iter().all(|&x| x == n));
    }
    // And they are items of the next map.
    let sums = executor.map(|x: &[u64]| x.iter().sum::<u64>(), &arrays);
    assert!(sums.map(Result::unwrap).eq((0..100).map(|n| n * n * 10)));
    let object = |n: u64| Serialized::<serde_json::Value>(serde_json::json!({ "n": [n, null] }));
    for (value, n) in executor.map(object, 0..50u64).zip(0u64..) {
        assert_eq!(value.unwrap().into_inner(), serde_json::json!({ "n": [n, null] }));
    }
    assert_eq!(executor.map(|_: u64| (), 0..500u64).filter(Result::is_ok).count(), 500);
}

/// Also where one of them is a worker's whole batch.
pub fn an_error_of_a_map_arrives_at_its_items_place(backend: Backend) {
    fn picky(n: u64) -> Result<u64, String> {
        assert!(n % 10 != 3, "not {n}");
        if n % 10 == 5 { Err(format!("{n} is a five")) } else { Ok(n) }
    }
    let executor = executor(backend);
    for sizes in SIZES.into_iter().filter(|sizes| !sizes.unordered) {
        for (result, n) in map!(sizes, executor.map(picky, 0..100u64)).zip(0u64..) {
            match (n % 10, result) {
                (3, Err(TaskError::Panicked { message, location, .. })) => {
                    assert!(message == format!("not {n}") && location.starts_with(file!()));
                }
                (5, Ok(Err(error))) => assert_eq!(error, format!("{n} is a five")),
                (_, Ok(Ok(same))) => assert_eq!(same, n),
                (_, other) => panic!("{n}, {sizes:?}: {other:?}"),
            }
        }
    }
    // What is not encoded, does not decode, or whose result is not encoded.
    let odd = (0..30u64).map(|n| Serialized(Odd { encodes: n % 2 == 0 }));
    for (result, n) in executor.map_with(take_odd, (1u64,), odd).zip(0u64..) {
        match result.unwrap_err() {
            TaskError::NotSubmitted { error: SubmitError::Arguments(error), .. } => {
                assert!(n % 2 == 1 && error.to_string().contains("it is odd"), "{n}: {error}");
            }
            TaskError::Decode { what, cause, .. } => {
                assert!(n % 2 == 0 && what == "argument 2" && cause.contains("it was odd"));
            }
            other => panic!("{n}: {other}"),
        }
    }
    for result in executor.map(make_odd, [false; 20]) {
        let refused = matches!(&result, Err(TaskError::Result { .. }));
        assert!(refused, "{:?}", result.map(|_| ()));
    }
    check_works(&executor);
}

pub fn a_map_is_collected_up_to_its_first_error(backend: Backend) {
    fn fails_at(limit: u64, n: u64) -> u64 {
        assert!(n < limit, "{n} is too many");
        n
    }
    let executor = executor(backend);
    for sizes in SIZES {
        // Neither the input nor the errors end, but collecting does.
        let results = map!(sizes, executor.map_with(fails_at, (200u64,), 0u64..));
        match results.collect::<Result<Vec<u64>, TaskError>>() {
            Err(TaskError::Panicked { message, .. }) if sizes.unordered => {
                assert!(message.ends_with(" is too many"), "{message}");
            }
            Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "200 is too many"),
            other => panic!("{sizes:?}: {other:?}"),
        }
        let total: u64 = map!(sizes, executor.map_with(fails_at, (200u64,), 0..200u64))
            .sum::<Result<u64, TaskError>>()
            .unwrap();
        assert_eq!(total, 19_900, "{sizes:?}");
    }
    check_works(&executor);
}

pub fn a_panic_of_a_maps_input_reaches_the_caller_and_harms_nothing(backend: Backend) {
    let executor = executor(backend);
    for sizes in SIZES {
        let input = (0..20u64).inspect(|n| assert!(*n != 10, "no item today"));
        let mut results = map!(sizes, executor.map(double, input));
        let (mut seen, mut panics) = (Vec::new(), 0);
        loop {
            match catch_unwind(AssertUnwindSafe(|| results.next())) {
                Ok(Some(result)) => seen.push(result.unwrap()),
                Ok(None) => break,
                Err(payload) => {
                    assert_eq!(payload.downcast_ref(), Some(&"no item today"));
                    panics += 1;
                }
            }
        }
        seen.sort_unstable();
        assert_eq!(panics, 1, "{sizes:?}");
        assert!(seen.into_iter().eq((0..20).filter(|n| *n != 10).map(double)), "{sizes:?}");
    }
    check_works(&executor);
}

pub fn a_map_never_draws_past_its_window(backend: Backend) {
    let executor = executor(backend);
    for window in [1, 3, 50] {
        for batch in [0, 1, 7, 100] {
            for unordered in [false, true] {
                let sizes = Sizes { batch, window, unordered };
                let (drawn, returned) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let (seen, given) = (Rc::clone(&drawn), Rc::clone(&returned));
                let input = (0..400u64).inspect(move |_| {
                    seen.set(seen.get() + 1);
                    assert!(seen.get() - given.get() <= window, "{sizes:?}");
                });
                for result in map!(sizes, executor.map(double, input)) {
                    result.unwrap();
                    returned.set(returned.get() + 1);
                }
                assert_eq!((drawn.get(), returned.get()), (400, 400), "{sizes:?}");
            }
        }
    }
}

pub fn a_map_that_is_dropped_early_gives_everything_back(backend: Backend) {
    // What runs is left to itself; one worker ends it before what comes behind it.
    let settings = builder(backend).workers(1).task_slots(16).memory_budget(64 << 20);
    let executor = settings.build().unwrap();
    for round in 0..3 {
        for sizes in SIZES {
            for taken in [0, 1, 100] {
                let drawn = Cell::new(0);
                let input = (0u64..).inspect(|_| drawn.set(drawn.get() + 1));
                let results = map!(sizes, executor.map(|n: u64| vec![n; 100], input));
                for result in results.take(taken) {
                    let result = result.unwrap();
                    assert!(result == vec![result[0]; 100], "{sizes:?}");
                }
                assert_eq!(drawn.get() == 0, taken == 0, "{sizes:?}: asked for, or not");
            }
        }
        check_works(&executor);
        // No slot and no byte is kept: all can be had at once.
        let all = [(); 16].map(|()| executor.try_submit(double, (round,)).expect("a free slot"));
        all.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 2 * round));
        drop(executor.array::<u8>(32 << 20).expect("half of the budget"));
    }
}

pub fn constants_of_a_map_that_cannot_be_stored_are_one_error(backend: Backend) {
    let executor = builder(backend).memory_budget(8 << 20).build().unwrap();
    let constants = (vec![0u8; 9 << 20],);
    let mut results = executor.map_with(|_: &[u8], n: u64| n, constants, 0u64..);
    let error = results.next().unwrap().unwrap_err();
    let TaskError::NotSubmitted { error: SubmitError::Arguments(error), .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(error, ShareError::OutOfMemory { .. }), "{error}");
    assert!(results.next().is_none() && results.next().is_none());
    check_works(&executor);
}

/// The items of one map are submitted and mapped by the tasks of another.
pub fn maps_nest_in_tasks_and_in_each_other(backend: Backend) {
    fn inner(name: &str, n: u64) -> Result<u64, String> {
        let inner = BACKENDS.into_iter().find(|backend| backend.to_string() == name);
        let inner = Executor::builder().backend(inner.expect("a backend")).workers(1).build();
        let inner = inner.map_err(|error| error.to_string())?;
        let sum = inner.map(double, 0..n).sum::<Result<u64, TaskError>>();
        sum.map_err(|error| error.to_string())
    }
    let executor = builder(backend).max_depth(2).build().unwrap();
    for name in BACKENDS.map(|backend| backend.to_string()) {
        let sums = executor.map_with(inner, (name.clone(),), [0u64, 1, 5, 100]);
        let sums = sums.map(Result::unwrap).collect::<Result<Vec<u64>, String>>();
        assert_eq!(sums, Ok(vec![0, 0, 20, 9900]), "{name}");
    }
    // Results of one map are drawn by another, while tasks of a third kind come between.
    let first = executor.map(double, 0..200u64).map(Result::unwrap);
    let tasks = first.map(|n| executor.submit(double, (n,)).unwrap().join().unwrap());
    let third = executor.map(double, tasks).window(20);
    assert!(third.map(Result::unwrap).eq((0..200).map(|n| 8 * n)));
}
