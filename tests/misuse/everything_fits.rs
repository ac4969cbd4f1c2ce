//! No expectation above: this one must compile, or the others prove nothing.

use rkyv::{Archive, Deserialize, Serialize};

#[derive(Archive, Serialize, Deserialize)]
struct Params {
    rate: f64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Foreign {
    name: String,
}

fn run(params: &ArchivedParams, x: &[f64], name: &str, foreign: wharf::Serialized<Foreign>) -> f64 {
    params.rate.to_native() + x[0] + name.len() as f64 + foreign.name.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = wharf::Executor::new()?;
    let shared = executor.share(&vec![1.0; 10])?;
    let foreign = wharf::Serialized(Foreign { name: "f".to_owned() });
    executor.submit(run, (Params { rate: 1.0 }, &shared, "name".to_owned(), foreign))?;
    executor.submit(|x: &[f64], scale: f64| scale * x[0], (vec![1.0], 2.0))?;
    Ok(())
}
