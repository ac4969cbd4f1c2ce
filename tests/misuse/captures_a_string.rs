//~ this closure captures a value, which cannot be sent to another process
//~ pass what it captures as an argument of the task
//! A closure captures a `String`, so it is not `Copy`.

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let name = String::from("x");
    let _ = executor.submit(move |x: u64| x + name.len() as u64, (2u64,));
}
