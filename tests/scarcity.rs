//! What there is too little of, or not at all: memory, descriptors, addresses, processes, `/proc`,
//! system calls, cores. wharf works, or returns an error that names the limit and the remedy,
//! before anything is lost; and it leaves nothing.
//!
//! Each row is a program of its own: this one, started again under the limit (`scarcity/stage.rs`).
//! Run some of them with `cargo test --test scarcity -- WORDS OF THEIR NAMES`.

#[path = "scarcity/budget.rs"]
mod budget;
#[path = "scarcity/cgroup.rs"]
mod cgroup;
mod common;
#[path = "scarcity/environment.rs"]
mod environment;
#[path = "scarcity/forks.rs"]
mod forks;
#[path = "scarcity/limits.rs"]
mod limits;
#[path = "scarcity/mounts.rs"]
mod mounts;
#[path = "scarcity/refused.rs"]
mod refused;
#[path = "scarcity/rlimits.rs"]
mod rlimits;
#[path = "scarcity/signals.rs"]
mod signals;
#[path = "scarcity/stage.rs"]
mod stage;

fn main() {
    let subjects = [
        budget::ROWS,
        cgroup::ROWS,
        mounts::ROWS,
        rlimits::ROWS,
        refused::ROWS,
        forks::ROWS,
        signals::ROWS,
        environment::ROWS,
    ];
    stage::run(&subjects.concat());
}
