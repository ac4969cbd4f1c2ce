//! The environment of worker processes: their share of the cores, and how deep they are nested.

use std::ffi::OsString;

/// The depth limit that the outermost executor has set.
const MAX_DEPTH_VARIABLE: &str = "WHARF_MAX_DEPTH";

/// How deep executors may be nested. Only the outermost one's setting counts.
pub(super) fn depth_limit(own: u32) -> u32 {
    // Outside a task the variable is nobody's but the user's, who has a method for it.
    let outer = (crate::worker::depth() > 0).then(|| std::env::var(MAX_DEPTH_VARIABLE).ok());
    outer.flatten().and_then(|text| text.parse().ok()).unwrap_or(own)
}

/// What workers get besides the parent's own environment.
pub(super) fn worker_env(
    user: Vec<(OsString, OsString)>,
    cores: u32,
    workers: u32,
    depth: u32,
    max_depth: u32,
) -> Vec<(OsString, OsString)> {
    const THREAD_COUNTS: [&str; 7] = [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ];
    let threads = (cores / workers).max(1).to_string();
    let unset = THREAD_COUNTS.into_iter().filter(|key| std::env::var_os(key).is_none());
    let mut env: Vec<(OsString, OsString)> =
        unset.map(|key| (key.into(), threads.clone().into())).collect();
    env.extend(user);
    // After the user's: these are not for changing.
    env.push((MAX_DEPTH_VARIABLE.into(), max_depth.to_string().into()));
    env.push((crate::worker::DEPTH_VARIABLE.into(), depth.to_string().into()));
    env
}
