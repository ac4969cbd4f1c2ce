//~ expected a tuple with 1 element, found one with 2 elements
//! A task of one parameter is given two arguments.

fn double(x: f64) -> f64 {
    2.0 * x
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(double, (1.0, 2.0));
}
