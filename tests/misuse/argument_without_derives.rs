//~ `Params` cannot be passed to a task
//~ derive it: #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
//! An argument whose type derives nothing.

struct Params {
    rate: f64,
}

fn run(_: &Params) -> f64 {
    1.0
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(run, (Params { rate: 1.0 },));
}
