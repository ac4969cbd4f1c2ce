//! Memory that processes share: anonymous files, their mappings, and one named segment.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::huge::{self, HUGE_BYTES};
use super::limits::admit_file;
use super::process::{current_pid, is_gone, start_time};
use super::{check, retry};
use crate::sync::{AtomicUsize, Ordering};

/// What the names of our segments start with, in `/dev/shm`.
const NAME_PREFIX: &str = "wharf-";

/// The size of a page of memory, in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: no pointer is passed.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Makes an anonymous file of `len` bytes, all holes: it takes memory only where it is written.
///
/// It has no name, so it is gone with the last process that holds or maps it. Its length is fixed:
/// cut short by whoever holds it, it would end whoever reads it.
pub(crate) fn memfd(name: &str, len: u64) -> io::Result<OwnedFd> {
    admit_file(len)?;
    let name = CString::new(name)?;
    // SAFETY: `name` is a terminated string.
    let fd = check(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    })?;
    // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
    let fd = super::socket::above_stdio(unsafe { OwnedFd::from_raw_fd(fd) })?;
    let len = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: no pointer is passed.
    retry(|| check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }))?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointer is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(fd)
}

/// Opens a memfd a second time, for reading only: who holds that one cannot map it writable.
pub(crate) fn reopen_read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fs::File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    super::socket::above_stdio(OwnedFd::from(file))
}

/// Maps the first `len` bytes of `fd`, shared. Takes address space, but no memory yet. Starts where
/// huge pages can be mapped, if the system lets it.
pub(crate) fn reserve(fd: BorrowedFd<'_>, len: u64, writable: bool) -> io::Result<MmapRaw> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut options = MmapOptions::new();
    options.len(len);
    let fd = fd.as_raw_fd();
    let map = || if writable { options.map_raw(fd) } else { options.map_raw_read_only(fd) };
    // Smaller ones have no room for a huge page.
    let map = if len as u64 >= HUGE_BYTES { huge::align(map) } else { map() }?;
    // Arrays of many GiB make a core dump useless and slow; a refusal costs nothing else.
    let _ = map.advise(memmap2::Advice::DontDump);
    Ok(map)
}

/// Maps `len` bytes of zeros that belong to this process alone.
pub(crate) fn anonymous(len: usize) -> io::Result<MmapRaw> {
    Ok(MmapOptions::new().len(len).map_anon()?.into())
}

/// Gives the memory behind `len` bytes at `offset` back to the system; they read as zeros again.
///
/// Both must be multiples of the page size. Costs about 0.2 ms a MiB of 4 KiB pages.
pub(crate) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (offset, len) = (offset as libc::off_t, len as libc::off_t);
    // SAFETY: no pointer is passed.
    retry(|| check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, len) })).map(drop)
}

/// The name of a segment: `/wharf-<pid namespace>-<pid>-<start time>-<number>`.
///
/// Pid, start time and namespace name the owner beyond doubt, so that a segment whose owner was
/// killed together with all its workers can be told from one in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentName(String);

impl SegmentName {
    /// Makes a name that no other segment has.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (pid, start) = (current_pid(), start_time(current_pid()).unwrap_or(0));
        Self(format!("/{NAME_PREFIX}{}-{pid}-{start}-{number}", pid_namespace()))
    }

    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Lists the segments in `/dev/shm`. Empty where that cannot be read.
    pub(crate) fn list() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/dev/shm") else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|n| n.starts_with(NAME_PREFIX)).map(|n| Self(format!("/{n}"))).collect()
    }
}

/// Tells whether the process that made the segment is dead. In doubt it is not.
pub(crate) fn owner_is_gone(name: &SegmentName) -> bool {
    let fields: Option<Vec<u64>> = name
        .0
        .strip_prefix('/')
        .and_then(|rest| rest.strip_prefix(NAME_PREFIX))
        .and_then(|rest| rest.split('-').map(|field| field.parse().ok()).collect());
    let Some([namespace, pid, start, _number]) = fields.as_deref() else { return false };
    if *namespace != pid_namespace() || *start == 0 {
        return false;
    }
    // Without a /proc nobody can be said to be dead.
    let proc_works = start_time(current_pid()).is_some();
    proc_works && u32::try_from(*pid).is_ok_and(|pid| is_gone(pid, *start))
}

/// Takes a segment's name away. Its memory lives on in those who have mapped it.
pub(crate) fn unlink(name: &SegmentName) -> io::Result<()> {
    let name = CString::new(name.as_str())?;
    // SAFETY: `name` is a terminated string.
    check(unsafe { libc::shm_unlink(name.as_ptr()) }).map(drop)
}

/// The number of the pid namespace, 0 where `/proc` does not tell.
fn pid_namespace() -> u64 {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = link.to_string_lossy().chars().filter(|c| c.is_ascii_digit()).collect();
    digits.parse().unwrap_or(0)
}

/// A named segment, mapped read-write.
pub(crate) struct Segment(Shmem);

// SAFETY: a `Shmem` is a mapping and a name; both may be used and dropped by any thread. The
// memory itself is only reached through `as_ptr`, whose users answer for their accesses.
unsafe impl Send for Segment {}
// SAFETY: as above; no method of `Segment` changes it.
unsafe impl Sync for Segment {}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

impl Segment {
    /// Makes a segment whose memory is reserved: a full `/dev/shm` is an error here, not a signal
    /// at the first touch. Readable and writable by this user alone.
    pub(crate) fn create(name: &SegmentName, len: usize) -> io::Result<Self> {
        let c_name = CString::new(name.as_str())?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
        // SAFETY: `c_name` is a terminated string.
        let fd = check(unsafe { libc::shm_open(c_name.as_ptr(), flags, 0o600) })?;
        // SAFETY: the call succeeded, so `fd` is open and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        step!(parent "segment.named");
        Self::fill(&fd, len).and_then(|()| Self::open(name, len)).inspect_err(|_| {
            let _ = unlink(name);
        })
    }

    /// Attaches to a segment that must have at least `len` bytes.
    pub(crate) fn open(name: &SegmentName, len: usize) -> io::Result<Self> {
        let shmem = ShmemConf::new().os_id(name.as_str()).open().map_err(|error| match error {
            ShmemError::MapOpenFailed(errno) | ShmemError::UnknownOsError(errno) => {
                io::Error::from_raw_os_error(errno as i32)
            }
            other => io::Error::other(other.to_string()),
        })?;
        if shmem.len() < len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(Self(shmem))
    }

    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        NonNull::new(self.0.as_ptr()).expect("shared_memory maps to an address")
    }

    fn fill(fd: &OwnedFd, len: usize) -> io::Result<()> {
        admit_file(len as u64)?;
        let len = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        retry(|| {
            // SAFETY: no pointer is passed.
            match unsafe { libc::posix_fallocate(fd.as_fd().as_raw_fd(), 0, len) } {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_whose_owner_is_dead_is_given_up() {
        let own = SegmentName::new();
        assert!(!owner_is_gone(&own), "{own:?}");
        let ns = pid_namespace();
        let gone = SegmentName(format!("/wharf-{ns}-{}-1-0", current_pid()));
        assert!(owner_is_gone(&gone), "a recycled pid has another start time");
        for kept in [
            format!("/wharf-{}-{}-1-0", ns + 1, current_pid()),
            format!("/wharf-{ns}-{}-0-0", current_pid()),
            "/wharf-".to_owned(),
            "/wharf-a-b-c-d".to_owned(),
            "/other".to_owned(),
        ] {
            assert!(!owner_is_gone(&SegmentName(kept.clone())), "{kept}");
        }
    }

    #[test]
    fn a_read_only_descriptor_cannot_be_mapped_writable() {
        let fd = memfd("test", 8192).expect("memfd");
        let writer = reserve(fd.as_fd(), 8192, true).expect("map");
        let read_only = reopen_read_only(fd.as_fd()).expect("reopen");
        assert!(reserve(read_only.as_fd(), 8192, true).is_err());
        let reader = reserve(read_only.as_fd(), 8192, false).expect("map read-only");
        // SAFETY: in bounds, and this test is the only user of the memory.
        unsafe { writer.as_mut_ptr().write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { reader.as_ptr().read() }, 7);
        punch(fd.as_fd(), 0, 4096).expect("punch");
        // SAFETY: as above.
        assert_eq!(unsafe { reader.as_ptr().read() }, 0);
    }
}
