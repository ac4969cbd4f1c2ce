//! The main path: submit, share, array, join, in every form that the interface offers.

mod common;

use std::time::Duration;

use common::{Gate, executor};
use wharf::{ArchivedArray, ArchivedShared, Array, Executor, Serialized, Shared, TaskError};

#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Row {
    name: String,
    values: Vec<f64>,
    code: Option<u32>,
}

fn row() -> Row {
    Row { name: "pier".to_owned(), values: vec![1.0, 2.5], code: Some(7) }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

#[test]
fn shared_and_array_reach_a_function_of_slices() {
    let executor = executor(2);
    let x = executor.share(&vec![1.0; 100_000]).unwrap();
    let mut y = executor.array::<f64>(100_000).unwrap();
    assert!(y.iter().all(|v| *v == 0.0));
    y.fill(2.0);
    let y = y.freeze();
    for _ in 0..10 {
        assert_eq!(executor.submit(dot, (&x, &y)).unwrap().join().unwrap(), 200_000.0);
    }
}

/// Submits, joins, compares.
macro_rules! check {
    ($executor:expr, $function:expr, $args:expr, $expected:expr) => {
        assert_eq!($executor.submit($function, $args).unwrap().join().unwrap(), $expected)
    };
}

#[test]
fn every_primitive_is_a_parameter_by_value_and_a_result() {
    let executor = executor(1);
    check!(executor, |x: u8| x, (u8::MAX,), u8::MAX);
    check!(executor, |x: u16| x, (u16::MAX,), u16::MAX);
    check!(executor, |x: u32| x, (u32::MAX,), u32::MAX);
    check!(executor, |x: u64| x, (u64::MAX,), u64::MAX);
    check!(executor, |x: u128| x, (u128::MAX,), u128::MAX);
    check!(executor, |x: i8| x, (i8::MIN,), i8::MIN);
    check!(executor, |x: i16| x, (i16::MIN,), i16::MIN);
    check!(executor, |x: i32| x, (i32::MIN,), i32::MIN);
    check!(executor, |x: i64| x, (i64::MIN,), i64::MIN);
    check!(executor, |x: i128| x, (i128::MIN,), i128::MIN);
    check!(executor, |x: f32| x, (f32::EPSILON,), f32::EPSILON);
    check!(executor, |x: f64| x, (f64::EPSILON,), f64::EPSILON);
    check!(executor, |x: bool| !x, (true,), false);
    check!(executor, |x: char| x, ('ß',), 'ß');
    check!(executor, |x: usize| x, (5usize,), 5usize);
    check!(executor, |x: isize| x, (-5isize,), -5isize);
    check!(executor, |(): ()| (), ((),), ());
}

#[test]
fn every_kind_of_vector_is_a_slice() {
    let executor = executor(1);
    check!(executor, sum, (vec![1.0, 2.0],), 3.0);
    check!(executor, sum, (&executor.share(&vec![1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, sum, (executor.share(&vec![1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, sum, (&executor.array_from(&[1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, sum, (executor.array_from(&[1.0, 2.0]).unwrap(),), 3.0);
    check!(executor, |x: &[u64]| x.iter().sum::<u64>(), (vec![1u64, 2],), 3);
    check!(executor, |x: &[i32]| x.len() as u64, (Vec::<i32>::new(),), 0);
    check!(executor, |x: &[u8]| x.to_vec(), (vec![1u8, 2],), vec![1, 2]);
    check!(executor, |x: &[bool]| x[1], (vec![false, true],), true);
    check!(executor, |x: u64| x, (executor.share(&5u64).unwrap(),), 5);
    check!(executor, |x: bool| x, (&executor.share(&true).unwrap(),), true);
    check!(
        executor,
        |x: &[[f32; 2]]| x[1][0],
        (&executor.array_from(&[[1f32, 2.0], [3.0, 4.0]]).unwrap(),),
        3.0
    );
    check!(executor, |s: &str| s.len() as u64, ("straße".to_owned(),), 7);
    check!(executor, |s: &str| s.to_owned(), (&executor.share(&"kai".to_owned()).unwrap(),), "kai");
    check!(executor, |s: &str| s.to_owned(), (executor.share(&"kai".to_owned()).unwrap(),), "kai");
}

#[test]
fn structs_are_read_in_their_archived_form() {
    fn describe(row: &ArchivedRow) -> String {
        format!("{} {} {:?}", row.name, row.values[1], row.code.as_ref().map(|c| c.to_native()))
    }
    let executor = executor(1);
    check!(executor, describe, (row(),), "pier 2.5 Some(7)");
    check!(executor, describe, (&executor.share(&row()).unwrap(),), "pier 2.5 Some(7)");
    check!(
        executor,
        |row: &ArchivedRow| rkyv::deserialize::<Row, rkyv::rancor::Error>(row).unwrap(),
        (row(),),
        row()
    );
}

#[test]
fn functions_have_up_to_eight_parameters() {
    let executor = executor(1);
    check!(executor, || 1u64, (), 1);
    check!(
        executor,
        |a: u64, b: &str, c: &[f64]| a + b.len() as u64 + c.len() as u64,
        (1u64, "ab".to_owned(), vec![0.5; 3]),
        6
    );
    #[allow(clippy::too_many_arguments, reason = "that is the point")]
    fn eight(a: u8, b: u16, c: u32, d: u64, e: f32, f: f64, g: &str, h: &[u64]) -> f64 {
        f64::from(a)
            + f64::from(b)
            + f64::from(c)
            + d as f64
            + f64::from(e)
            + f
            + g.len() as f64
            + h[0] as f64
    }
    check!(
        executor,
        eight,
        (1u8, 2u16, 3u32, 4u64, 5f32, 6f64, "seven77".to_owned(), vec![8u64]),
        36.0
    );
}

#[test]
fn generic_functions_are_tasks_of_their_own() {
    fn twice<T: Copy + std::ops::Add<Output = T>>(x: T) -> T {
        x + x
    }
    fn power<const N: i32>(x: f64) -> f64 {
        x.powi(N)
    }
    let executor = executor(1);
    check!(executor, twice::<u64>, (4u64,), 8);
    check!(executor, twice::<f64>, (4.5,), 9.0);
    check!(executor, power::<2>, (3.0,), 9.0);
    check!(executor, power::<3>, (3.0,), 27.0);
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Model {
    table: Shared<Vec<Row>>,
    weights: Array<f64>,
    again: Vec<Shared<Vec<f64>>>,
}

#[test]
fn shared_values_and_arrays_nest_by_value_in_other_arguments() {
    fn read(model: &ArchivedModel) -> f64 {
        let table: &ArchivedShared<Vec<Row>> = &model.table;
        let weights: &ArchivedArray<f64> = &model.weights;
        let again: f64 =
            model.again.iter().map(|v| v.iter().map(|x| x.to_native()).sum::<f64>()).sum();
        table[0].values[0].to_native() + weights.iter().sum::<f64>() + again
    }
    let executor = executor(2);
    let inner = executor.share(&vec![10.0, 20.0]).unwrap();
    let model = Model {
        table: executor.share(&vec![row(); 1000]).unwrap(),
        weights: executor.array_from(&[100.0; 1000]).unwrap(),
        again: vec![inner.clone(), inner],
    };
    let shared = executor.share(&model).unwrap();
    // What is nested lives as long as what holds it.
    drop(model);
    check!(executor, read, (&shared,), 1.0 + 100_000.0 + 60.0);
    check!(executor, |m: &ArchivedShared<Model>| read(m), (shared.clone(),), 100_061.0);
    assert_eq!(shared.weights.len(), 1000);
    assert_eq!(shared.table.len(), 1000);
}

/// A worker once used the memory of a returned array again while it still held a clone of it.
#[test]
fn a_typed_error_is_a_result_like_any_other() {
    fn root(x: f64) -> Result<f64, String> {
        if x < 0.0 { Err(format!("{x} is negative")) } else { Ok(x.sqrt()) }
    }
    let executor = executor(1);
    check!(executor, root, (4.0,), Ok(2.0));
    check!(executor, root, (-4.0,), Err("-4 is negative".to_owned()));
}

#[test]
fn results_are_independent_of_when_they_are_asked_for() {
    let executor = Executor::builder().workers(2).task_slots(64).build().unwrap();
    fn square(n: u64) -> u64 {
        n * n
    }
    fn text(n: u64) -> String {
        "x".repeat(n as usize)
    }
    // Many more tasks than slots: finished ones make room before anybody joins them.
    let squares: Vec<_> = (0..1000u64).map(|n| executor.submit(square, (n,)).unwrap()).collect();
    let texts: Vec<_> = (0..300u64).map(|n| executor.submit(text, (n,)).unwrap()).collect();
    for (n, task) in squares.into_iter().enumerate().rev() {
        assert_eq!(task.join().unwrap(), (n * n) as u64);
    }
    for (n, task) in texts.into_iter().enumerate() {
        assert_eq!(task.join().unwrap().len(), n);
    }
}

#[test]
fn a_queued_task_that_is_cancelled_does_not_run() {
    let executor = executor(1);
    let gate = Gate::new();
    let running = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let queued = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    assert!(queued.cancel() && !queued.cancel());
    assert!(matches!(queued.join(), Err(TaskError::Cancelled { .. })));
    gate.open();
    running.join().unwrap();
}

#[test]
fn join_timeout_gives_the_handle_back() {
    let executor = executor(1);
    let gate = Gate::new();
    let task = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    gate.wait_for_entry();
    let task = task.join_timeout(Duration::from_millis(5)).expect_err("it waits at the gate");
    assert!(!task.is_finished());
    gate.open();
    task.join_timeout(Duration::from_secs(60)).expect("it ends").unwrap();
}

#[test]
fn a_dropped_handle_leaves_the_task_to_itself() {
    let executor = executor(1);
    let gate = Gate::new();
    let first = executor.submit(Gate::pass, (gate.path(),)).unwrap();
    for n in 0..500u64 {
        drop(executor.submit(|n: u64| vec![n; 100], (n,)).unwrap());
    }
    drop(first);
    gate.open();
    check!(executor, |n: u64| n, (9u64,), 9);
    executor.shutdown().unwrap();
}

#[test]
fn handles_are_futures_that_the_supervisor_wakes() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    let executor = executor(1);
    let gate = Gate::new();
    let task = executor.submit(Gate::pass_with, (gate.path(), 7u64)).unwrap();
    gate.wait_for_entry();
    let (waker, woken) = common::flag_waker();
    let mut task = pin!(task);
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    gate.open();
    woken.wait();
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert_eq!(result.unwrap(), 7),
        Poll::Pending => panic!("woken before the end"),
    }
}

#[test]
fn many_threads_submit_to_one_executor() {
    let executor = executor(2);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let executor = &executor;
            scope.spawn(move || {
                for n in 0..500 {
                    check!(executor, |a: u64, b: u64| a * 1000 + b, (thread, n), thread * 1000 + n);
                }
            });
        }
    });
}

#[test]
fn a_serialized_value_goes_both_ways() {
    fn keys(Serialized(value): Serialized<serde_json::Value>) -> Serialized<Vec<String>> {
        let object = value.as_object().expect("an object");
        Serialized(object.keys().cloned().collect())
    }
    let executor = executor(1);
    let value = serde_json::json!({ "a": 1, "b": [2, null, { "c": 0.5 }] });
    let keys = executor.submit(keys, (Serialized(value),)).unwrap().join().unwrap();
    assert_eq!(*keys, ["a", "b"]);
}
