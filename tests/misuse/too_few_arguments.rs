//~ expected a tuple with 2 elements, found one with 1 element
//! A task of two parameters is given one argument.

fn add(x: f64, y: f64) -> f64 {
    x + y
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(add, (1.0,));
}
