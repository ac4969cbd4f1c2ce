//! The processor time of a system: of this process and all that it has started.

use std::collections::HashMap;
use std::fs;

/// What each process had used when the clock was started.
pub struct CpuClock(HashMap<i32, f64>);

impl CpuClock {
    pub fn start() -> Self {
        let mut used = used_by_family();
        // What the counting itself took does not count.
        let own = std::process::id() as i32;
        used.extend(used_by(own).map(|seconds| (own, seconds)));
        Self(used)
    }

    /// Processor seconds since the start. What a process used that has ended meanwhile is lost,
    /// and no work here lets processes end while it is measured.
    pub fn seconds(&self) -> f64 {
        let own = std::process::id() as i32;
        let own_seconds = used_by(own);
        let mut used = used_by_family();
        used.extend(own_seconds.map(|seconds| (own, seconds)));
        let before = |pid: &i32| self.0.get(pid).copied().unwrap_or(0.0);
        used.iter().map(|(pid, seconds)| seconds - before(pid)).sum()
    }
}

/// Processor seconds of this process and of all its descendants, by process.
fn used_by_family() -> HashMap<i32, f64> {
    let parents = parents();
    let own = std::process::id() as i32;
    let is_family = |mut pid: i32| {
        while pid != own {
            match parents.get(&pid) {
                Some(&parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        true
    };
    let family = parents.keys().copied().filter(|&pid| is_family(pid));
    family.filter_map(|pid| Some((pid, used_by(pid)?))).collect()
}

/// The parent of every process.
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in brackets and may hold anything; state and parent stand behind it.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// Processor seconds of a process, all its threads together, also of those that have ended.
fn used_by(pid: i32) -> Option<f64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a live variable of the type that is written.
    let found = unsafe { libc::clock_getcpuclockid(pid, &mut clock) } == 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live variable of the type that is written.
    let read = found && unsafe { libc::clock_gettime(clock, &mut time) } == 0;
    read.then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}
