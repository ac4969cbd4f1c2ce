//~ an argument `i32` does not fit a parameter `u64`
//~ write `5u64`
//! An integer literal is an `i32`, and the task takes `u64`.

fn double(x: u64) -> u64 {
    2 * x
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(double, (5,));
}
