//! The crash matrix: every way to fail, at every place where the user's code runs, and what it
//! costs: its own task and nothing else.
//!
//! `matrix/faults.rs` has the ways, `matrix/places.rs` the places in a worker; what holds for
//! neighbours, pool and leaks whatever happens is in `matrix/trial.rs`.

mod common;

#[path = "matrix/faults.rs"]
mod faults;
#[path = "matrix/futures.rs"]
mod futures;
#[path = "matrix/lifecycle.rs"]
mod lifecycle;
#[path = "matrix/parent.rs"]
mod parent;
#[path = "matrix/places.rs"]
mod places;
#[path = "matrix/trial.rs"]
mod trial;
#[path = "matrix/worker.rs"]
mod worker;
