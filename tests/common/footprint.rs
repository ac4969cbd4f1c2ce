//! What a process holds of the system.

use std::fs;
use std::process;

use super::segments_of;

/// What this process holds that an executor may hold, too.
#[derive(Debug, PartialEq)]
pub struct Footprint {
    descriptors: Vec<String>,
    mappings: Vec<String>,
    segments: Vec<String>,
    has_children: bool,
}

impl Footprint {
    pub fn take() -> Self {
        let entries = fs::read_dir("/proc/self/fd").expect("it can be read");
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let own = format!("/proc/{}/fd", process::id());
        let targets = targets.map(|target| target.to_string_lossy().into_owned());
        let mut descriptors: Vec<_> = targets.filter(|target| *target != own).collect();
        descriptors.sort();
        let maps = fs::read_to_string("/proc/self/maps").expect("it can be read");
        let ours = maps.lines().filter(|line| line.contains("wharf-") || line.contains("/memfd:"));
        Self {
            descriptors,
            mappings: ours.map(str::to_owned).collect(),
            segments: segments_of(process::id()),
            has_children: has_children(),
        }
    }
}

fn has_children() -> bool {
    // SAFETY: all fields are integers and pointers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable and of the type asked for.
    unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) == 0 }
}
