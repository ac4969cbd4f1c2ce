//~ an argument `Params` does not fit a parameter `&Params`
//~ a struct is taken in its archived form: `&ArchivedT` for an argument `T`
//! A struct that derives everything, but the task takes `&Params` and not `&ArchivedParams`.

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Params {
    rate: f64,
}

fn run(params: &Params) -> f64 {
    params.rate
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.submit(run, (Params { rate: 1.0 },));
}
