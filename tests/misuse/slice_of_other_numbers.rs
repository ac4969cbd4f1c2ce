//~ an argument `Vec<f64>` does not fit a parameter `&[f32]`
//~ the table in the documentation of wharf::Argument
//! A task that takes `&[f32]` is given a `Vec<f64>`.

fn sum(x: &[f32]) -> f32 {
    x.iter().sum()
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(sum, (vec![1.0f64; 10],));
}
