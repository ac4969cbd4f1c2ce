//! Measures one system, in a process of its own, and prints one line of JSON for each number.
//!
//! `tools/compare/run` starts this program for each system, part and round, and makes the file that
//! COMPARE_MEET names.

mod bytes;
#[path = "../../../benches/common/mod.rs"]
mod common;
mod cpu;
mod grain;
mod measure;
mod sheet;
mod systems;
mod work;

use sheet::Size;
use systems::{iceoryx, ipc, limits};

const MIB: usize = 1 << 20;

fn main() {
    ::procspawn::init();
    if common::peer::was_started_again() {
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [ipc::WORKER, name] => ipc::serve(name),
        [iceoryx::WORKER, ..] => iceoryx::serve(&args[1..]),
        ["settle", mib] => measure::settle(mib.parse().expect("a number of MiB")),
        [system, part] => measure(system, part, Size::Full),
        [system, part, "quick"] => measure(system, part, Size::Quick),
        _ => panic!("usage: compare SYSTEM PART [quick], or compare settle MIB"),
    }
}

fn measure(system: &str, part: &str, size: Size) {
    let few = size.pick(64 * MIB, MIB);
    let many = size.pick(1024 * MIB, 4 * MIB);
    let repeats = size.pick(5, 1);
    match (system, part) {
        ("limits", "tasks") => limits::trips(size),
        ("limits", "few") => {
            limits::arrays(few, "few", repeats);
            limits::result(few, "few", repeats);
        }
        ("limits", "many") => limits::arrays(many, "many", size.pick(2, 1)),
        ("limits", "start") => limits::start(repeats),
        (_, "tasks") => measure::tasks(system, size),
        (_, "few") => measure::arrays(system, few, "few", repeats, true),
        (_, "many") => measure::arrays(system, many, "many", size.pick(2, 1), false),
        (_, "start") => measure::start(system, repeats),
        _ => panic!("no part is called {part}"),
    }
}
