//! Who may import whom, and which names live where.

/// A module at the top of `src`, and the modules that it may import besides itself.
pub struct Layer {
    pub name: &'static str,
    pub below: &'static [&'static str],
}

/// Imports point down. `lib.rs` has no row: it declares the modules and exports from them.
pub const LAYERS: &[Layer] = &[
    Layer { name: "error", below: &[] },
    Layer { name: "sync", below: &[] },
    Layer { name: "sys", below: &["sync"] },
    Layer { name: "control", below: &["sync", "sys"] },
    Layer { name: "memory", below: &["sys", "control", "error", "sync"] },
    // Control, for the size of results that lie in their slot.
    Layer { name: "archive", below: &["memory", "error", "control", "sync"] },
    // Sys, for the offset of code in the program's image and for futexes.
    Layer { name: "task", below: &["archive", "memory", "control", "error", "sync", "sys"] },
    // Archive, for the report of a task that failed.
    Layer { name: "worker", below: &["task", "control", "memory", "sys", "archive", "sync"] },
    Layer {
        name: "executor",
        below: &["task", "archive", "memory", "control", "sys", "error", "sync"],
    },
];

/// What a module may import from another that is not below it: these names only.
pub struct Exception {
    pub from: &'static str,
    pub to: &'static str,
    pub names: &'static [&'static str],
}

/// The parent's half and the worker's half meet in shared memory. But the parent must keep the
/// worker's entry linked, both must agree on how a worker is told that it is one, and somebody has
/// to start workers in the parent's own process: they meet in its heaps and table all the same.
pub const EXCEPTIONS: &[Exception] = &[Exception {
    from: "executor",
    to: "worker",
    names: &[
        "ENTRY",
        "WORKER_VARIABLE",
        "DEPTH_VARIABLE",
        "worker_token",
        "depth",
        "Berth",
        "CallingWorker",
        "start_thread",
    ],
}];

/// A name in `src` that only some files may use.
pub struct Confined {
    pub name: &'static str,
    /// Files, and folders with a slash behind them.
    pub homes: &'static [&'static str],
    /// Files in which it may stand inside a `#[derive]`.
    pub derives: &'static [&'static str],
    /// Files in which this very line may stand.
    pub lines: &'static [(&'static str, &'static str)],
    pub remedy: &'static str,
}

pub const CONFINED: &[Confined] = &[
    Confined {
        name: "rkyv",
        homes: &["src/archive.rs", "src/archive/"],
        // A task that fails with this error has it archived in place of its result, and fuzzing
        // needs types to decode.
        derives: &["src/error.rs", "src/task/fuzzing.rs"],
        lines: &[("src/lib.rs", "pub use rkyv;")],
        remedy: "only `archive` uses rkyv: give it a function for this",
    },
    Confined {
        name: "libc",
        homes: &["src/sys.rs", "src/sys/"],
        derives: &[],
        lines: &[],
        remedy: "only `sys` uses libc: give it a function that returns an io::Result",
    },
    Confined {
        name: "atomic",
        homes: &["src/sync.rs", "src/sync/"],
        derives: &[],
        lines: &[],
        remedy: "take atomics from `crate::sync`, so that loom can put its own there",
    },
    Confined {
        name: "std::env",
        homes: ENVIRONMENT,
        derives: &[],
        lines: &[],
        remedy: "only `worker`, `sys` and the builder read the environment: pass the value on",
    },
    Confined {
        name: "env::",
        homes: ENVIRONMENT,
        derives: &[],
        lines: &[],
        remedy: "only `worker`, `sys` and the builder read the environment: pass the value on",
    },
    Confined {
        name: "SystemTime",
        homes: &[],
        derives: &[],
        lines: &[],
        remedy: "take `Instant`: a clock that is set back must not matter",
    },
    Confined {
        name: "CLOCK_REALTIME",
        homes: &[],
        derives: &[],
        lines: &[],
        remedy: "take a clock that runs on: one that is set back must not matter",
    },
    Confined {
        name: "std::{",
        homes: &[],
        derives: &[],
        lines: &[],
        remedy: "write one `use std::...` a module, so that this list can be checked",
    },
];

const ENVIRONMENT: &[&str] = &[
    "src/worker.rs",
    "src/worker/",
    "src/sys.rs",
    "src/sys/",
    "src/executor/environment.rs",
    "src/executor/launch.rs",
];
