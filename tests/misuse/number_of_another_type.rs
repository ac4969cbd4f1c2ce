//~ an argument `u32` does not fit a parameter `u64`
//! A `u32` variable for a task that takes `u64`.

fn double(x: u64) -> u64 {
    2 * x
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let n: u32 = 5;
    let _ = executor.submit(double, (n,));
}
