//~ `&Vec<{float}>` cannot be passed to a task
//~ pass the value, or share it once with Executor::share and pass &shared
//! A reference as an argument.

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let x = vec![1.0; 10];
    let _ = executor.submit(sum, (&x,));
}
