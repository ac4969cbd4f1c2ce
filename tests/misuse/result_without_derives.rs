//~ this function cannot run as a task
//~ or a type with #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
//! A task returns a type that derives nothing.

struct Answer {
    value: f64,
}

fn run(x: f64) -> Answer {
    Answer { value: x }
}

fn main() {
    let executor = wharf::Executor::new().unwrap();
    let answer = executor.submit(run, (1.0,));
}
