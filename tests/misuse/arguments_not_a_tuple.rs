//~ use a trailing comma to create a tuple with one element
//! `(x)` is no tuple, `(x,)` is.

fn double(x: f64) -> f64 {
    2.0 * x
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(double, 1.0);
}
