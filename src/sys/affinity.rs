//! Which cores a thread may run on.

use std::io;
use std::mem;

use super::check;

/// The cores that this thread may run on, as numbers of the kernel's.
///
/// An error on machines with more than 1024 cores, for which the kernel's set has no room.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: a set is a field of bits, and none of them set is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is this function's, writable, and as long as is said.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    // SAFETY: only numbers below that of the bits are asked for, in the range that follows.
    let has = |&core: &usize| unsafe { libc::CPU_ISSET(core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(has).collect())
}

/// Keeps this thread, and all that it starts, on these cores.
pub(crate) fn keep_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a set is a field of bits, and none of them set is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the filter has left numbers below that of the bits.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set is this function's, readable, and as long as is said.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }).map(drop)
}

/// The core that this thread runs on just now. A hint.
pub(crate) fn present_core() -> u32 {
    // Miri knows no such call.
    if cfg!(miri) {
        return 0;
    }
    // SAFETY: it takes nothing.
    unsafe { libc::sched_getcpu() }.cast_unsigned()
}
