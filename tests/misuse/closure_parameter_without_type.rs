//~ consider giving this closure parameter an explicit type
//! A closure whose parameter has no type.

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(|x| x + 1.0, (2.0,));
}
