//~ a task must be a fn item or a closure that captures nothing
//~ cannot be sent to another process: pass it as an argument
//~ captures_a_number.rs:9
//! A closure captures a number, which is `Copy`: only its size gives it away.

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let offset = 1.0;
    let _ = executor.submit(move |x: f64| x + offset, (2.0,));
}
