//! How much memory and address space this process may use.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::memory::page_size;

/// The bytes of memory that are available now: free memory, or what is left of the cgroup's limit.
///
/// `None` where `/proc` says nothing.
pub(crate) fn available_memory() -> Option<u64> {
    let free = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(mem_available);
    [free, cgroup_left()].into_iter().flatten().min()
}

/// The most bytes of address space that each of `heaps` heaps may reserve, if a limit forbids
/// large ones.
///
/// `RLIMIT_AS` counts reservations; a quarter of what is left leaves room for the program.
/// `RLIMIT_FSIZE` bounds the size of a memfd.
pub(crate) fn reservation_limit(heaps: u64) -> Option<u64> {
    let space = resource_limit(libc::RLIMIT_AS)
        .map(|bytes| bytes.saturating_sub(space_in_use().unwrap_or(0)) / 4 / heaps.max(1));
    [space, resource_limit(libc::RLIMIT_FSIZE)].into_iter().flatten().min()
}

/// Refuses to reserve `bytes` of addresses where `RLIMIT_AS` would leave too few for the program,
/// which ends at the first allocation that fails.
pub(crate) fn check_space(bytes: u64) -> io::Result<()> {
    /// For the supervisor's stack and its part of malloc, the control segment, the program itself.
    const PROGRAM_BYTES: u64 = 24 << 20;
    let Some(limit) = resource_limit(libc::RLIMIT_AS) else { return Ok(()) };
    let left = limit.saturating_sub(space_in_use().unwrap_or(0));
    if left < bytes.saturating_add(PROGRAM_BYTES) {
        return Err(io::Error::from_raw_os_error(libc::ENOMEM));
    }
    Ok(())
}

/// Tells whether no limit is near that starting so many processes would bring nearer: then it may
/// go on beside other things that need addresses and descriptors.
pub(crate) fn has_room_for(processes: u32) -> bool {
    /// For the program itself, and those that each process takes.
    const DESCRIPTORS: (u64, u64) = (256, 8);
    let enough = DESCRIPTORS.0 + DESCRIPTORS.1 * u64::from(processes);
    resource_limit(libc::RLIMIT_AS).is_none()
        && resource_limit(libc::RLIMIT_NOFILE).is_none_or(|most| most >= enough)
}

/// Refuses a file that is larger than `RLIMIT_FSIZE` allows: making one is a signal (SIGXFSZ) that
/// ends the program, and not an error.
pub(super) fn admit_file(len: u64) -> io::Result<()> {
    match resource_limit(libc::RLIMIT_FSIZE) {
        Some(most) if most < len => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        _ => Ok(()),
    }
}

/// The address space that this process has taken.
fn space_in_use() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().next()?.parse().ok()?;
    Some(pages * super::page_size() as u64)
}

pub(super) fn resource_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and of the type asked for.
    let result = unsafe { libc::getrlimit(resource, &mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The memory that this process has to itself.
#[derive(Debug)]
pub(crate) struct OwnMemory(File);

impl OwnMemory {
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// Bytes in memory that are neither shared nor a file's. One system call. 0 where it fails.
    pub(crate) fn bytes(&self) -> u64 {
        let mut text = [0; 128];
        let len = self.0.read_at(&mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..len]).unwrap_or("");
        own_pages(text).map_or(0, |pages| pages * page_size() as u64)
    }
}

/// Resident pages less shared ones: fields 2 and 3 of proc_pid_statm(5).
fn own_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The smallest room left in this process's cgroup and its ancestors (v2, then v1's memory one).
fn cgroup_left() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (root, path, files) = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            Some(("/sys/fs/cgroup", path, ("memory.max", "memory.current")))
        } else if controllers.split(',').any(|c| c == "memory") {
            let files = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            Some(("/sys/fs/cgroup/memory", path, files))
        } else {
            None
        }
    })?;
    let read = |group: &Path, file: &str| -> Option<u64> {
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    };
    let group = Path::new(root).join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| {
            let limit = read(group, files.0)?;
            Some(limit.saturating_sub(read(group, files.1).unwrap_or(0)))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes_and_nonsense_is_none() {
        let text = "MemTotal:  100 kB\nMemAvailable:   24012345 kB\nBuffers: 1 kB\n";
        assert_eq!(mem_available(text), Some(24_012_345 * 1024));
        for broken in ["", "MemAvailable: many kB", "MemAvailable: 5", "MemFree: 5 kB"] {
            assert_eq!(mem_available(broken), None, "{broken:?}");
        }
    }
}
