//~ this function cannot run as a task
//~ 8 at most
//! A task of nine parameters.

#[allow(clippy::too_many_arguments)]
fn sum(a: f64, b: f64, c: f64, d: f64, e: f64, f: f64, g: f64, h: f64, i: f64) -> f64 {
    a + b + c + d + e + f + g + h + i
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(sum, (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0));
}
