//~ this function cannot run as a task
//~ `&ArchivedT` for a struct `T` that derives rkyv's traits (not `T`, not `&T`)
//! A struct that derives everything, but the task takes it by value and not its archived form.

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Params {
    rate: f64,
}

fn run(params: Params) -> f64 {
    params.rate
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(run, (Params { rate: 1.0 },));
}
