//~ `Params` cannot be archived into shared memory
//~ derive it: #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
//! Sharing a value whose type derives nothing.

struct Params {
    rate: f64,
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let _ = executor.share(&Params { rate: 1.0 });
}
