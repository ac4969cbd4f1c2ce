//! The main path: submit, share, array, join, in every form that the interface offers.

use wharf::{Executor, Serialized, TaskError};

fn executor() -> Executor {
    Executor::builder().workers(2).build().expect("an executor")
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

#[test]
fn shared_and_array_reach_a_function_of_slices() {
    let executor = executor();
    let x = executor.share(&vec![1.0; 100_000]).unwrap();
    let mut y = executor.array::<f64>(100_000).unwrap();
    y.fill(2.0);
    let y = y.freeze();
    for _ in 0..10 {
        assert_eq!(executor.submit(dot, (&x, &y)).unwrap().join().unwrap(), 200_000.0);
    }
}

#[test]
fn a_panic_fails_its_task_alone() {
    let executor = executor();
    fn panics(n: u64) -> u64 {
        assert!(n != 7, "seven is right out");
        n
    }
    let tasks: Vec<_> = (0..20u64).map(|n| executor.submit(panics, (n,)).unwrap()).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.join() {
            Ok(result) => assert_eq!(result, n as u64),
            Err(TaskError::Panicked { message, .. }) => {
                assert_eq!(n, 7);
                assert!(message.contains("seven is right out"), "{message}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_serialized_value_arrives() {
    let executor = executor();
    fn keys(Serialized(value): Serialized<serde_json::Value>) -> u64 {
        value.as_object().map_or(0, |o| o.len() as u64)
    }
    let value = serde_json::json!({"a": 1, "b": 2});
    assert_eq!(executor.submit(keys, (Serialized(value),)).unwrap().join().unwrap(), 2);
}

#[test]
fn a_result_is_built_in_place() {
    let executor = executor();
    fn make(n: u64) -> Result<wharf::Array<f64>, wharf::ShareError> {
        let mut a = wharf::array::<f64>(n as usize)?;
        a.fill(3.0);
        Ok(a.freeze())
    }
    let a = executor.submit(make, (1_000_000u64,)).unwrap().join().unwrap().unwrap();
    assert_eq!(a.len(), 1_000_000);
    assert_eq!(
        executor.submit(|x: &[f64]| x.iter().sum::<f64>(), (&a,)).unwrap().join().unwrap(),
        3e6
    );
    assert_eq!(
        executor.submit(|x: &[f64]| x.iter().sum::<f64>(), (a.clone(),)).unwrap().join().unwrap(),
        3e6
    );
}

#[test]
fn a_killed_worker_fails_only_its_own_task() {
    let executor = executor();
    fn run(n: u64) -> u64 {
        if n == 5 {
            std::process::abort();
        }
        n
    }
    let tasks: Vec<_> = (0..100u64).map(|n| executor.submit(run, (n,)).unwrap()).collect();
    let mut failed = 0;
    for (n, task) in tasks.into_iter().enumerate() {
        match task.join() {
            Ok(result) => assert_eq!(result, n as u64),
            Err(TaskError::WorkerDied { .. }) => failed += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(failed, 1);
    assert_eq!(executor.submit(run, (1u64,)).unwrap().join().unwrap(), 1);
}
