//~ an argument `f64` does not fit a parameter `&str`
//! A task that takes `&str` is given a number.

fn length(text: &str) -> u64 {
    text.len() as u64
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(length, (1.0,));
}
