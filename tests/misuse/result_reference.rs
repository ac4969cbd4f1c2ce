//~ this function cannot run as a task
//~ result: a number, `String`, `Vec`, `Array<T>`
//! A task returns a reference into its argument.

fn first(x: &[f64]) -> &f64 {
    &x[0]
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(first, (vec![1.0],));
}
