//~ this function cannot run as a task
//~ `Serialized<T>` for a `T` that derives serde's
//! `Serialized` around a type that serde does not know.

struct Params {
    rate: f64,
}

fn run(params: wharf::Serialized<Params>) -> f64 {
    params.rate
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(run, (wharf::Serialized(Params { rate: 1.0 }),));
}
