//! The environment: what it says to the builder, and what worker processes find in theirs: their
//! share of the cores, and how deep they are nested.

use std::ffi::OsString;

use super::backend::Backend;
use crate::error::BuildError;
use crate::memory::{Nesting, nesting};

/// The depth limit that the outermost executor has set.
const MAX_DEPTH_VARIABLE: &str = "WHARF_MAX_DEPTH";

/// The backend of executors that are built without one being set.
const BACKEND_VARIABLE: &str = "WHARF_BACKEND";

/// The backend that the environment asks for, or else the usual one.
pub(super) fn backend() -> Result<Backend, BuildError> {
    let Some(value) = std::env::var_os(BACKEND_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(Backend::default());
    };
    let value = value.to_string_lossy().into_owned();
    Backend::from_name(&value).ok_or(BuildError::Backend { value })
}

/// Checks that tasks will find these variables although their workers are no processes.
pub(super) fn check_shared(
    env: &[(OsString, OsString)],
    backend: Backend,
) -> Result<(), BuildError> {
    // The latest setting of a variable counts.
    let holds = |(key, _): &&(OsString, OsString)| {
        let set = env.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value);
        std::env::var_os(key).as_ref() == set
    };
    match env.iter().find(|pair| !holds(pair)) {
        None => Ok(()),
        Some((key, _)) => {
            let key = key.to_string_lossy().into_owned();
            Err(BuildError::Env { key, backend: backend.name() })
        }
    }
}

/// How deep executors may be nested. Only the outermost one's setting counts.
pub(super) fn depth_limit(own: u32) -> u32 {
    if let Some(nesting) = nesting() {
        return nesting.limit;
    }
    // Outside a task the variable is nobody's but the user's, who has a method for it.
    let outer = (crate::worker::depth() > 0).then(|| std::env::var(MAX_DEPTH_VARIABLE).ok());
    outer.flatten().and_then(|text| text.parse().ok()).unwrap_or(own)
}

/// What workers get besides the parent's own environment.
pub(super) fn worker_env(
    user: Vec<(OsString, OsString)>,
    cores: u32,
    workers: u32,
    nesting: Nesting,
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
    env.push((MAX_DEPTH_VARIABLE.into(), nesting.limit.to_string().into()));
    env.push((crate::worker::DEPTH_VARIABLE.into(), nesting.depth.to_string().into()));
    env
}
