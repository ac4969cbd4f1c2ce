//~ a task must be a fn item or a closure that captures nothing
//~ Instead of a function pointer, give the function itself by its name
//! A function pointer: which function it is, is known only when it runs.

fn double(x: f64) -> f64 {
    2.0 * x
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let f: fn(f64) -> f64 = double;
    let _ = executor.submit(f, (2.0,));
}
