//! Which cores a thread may run on.

use std::io;
use std::mem;

use super::check;

/// The cores that this thread may run on, as numbers of the kernel's.
///
/// An error on machines with more than 1024 cores, for which the kernel's set has no room.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = allowed()?;
    // SAFETY: only numbers below that of the bits are asked for, in the range that follows.
    let has = |&core: &usize| unsafe { libc::CPU_ISSET(core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(has).collect())
}

/// Keeps this thread, and all that it starts, on these cores.
pub(crate) fn keep_to(cores: &[usize]) -> io::Result<()> {
    let mut set = no_cores();
    for &core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the filter has left numbers below that of the bits.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    keep(&set)
}

fn no_cores() -> libc::cpu_set_t {
    // SAFETY: a set is a field of bits, and none of them set is a value.
    unsafe { mem::zeroed() }
}

fn allowed() -> io::Result<libc::cpu_set_t> {
    let mut set = no_cores();
    // SAFETY: the set is this function's, writable, and as long as is said.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    Ok(set)
}

fn keep(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the set is borrowed, readable, and as long as is said.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(set), set) }).map(drop)
}

/// Moves this thread from one of the two cores that it may run on to the other; afterwards it may
/// run on both again. False: there are not just two, or that is not to be had.
///
/// Where there are more, the kernel would choose any of them, busy or not. Where a filter watches
/// over system calls nothing is tried, since some filters end a process that makes a call which
/// they do not know. What else is added to this thread's cores later is not used by it: the kernel
/// takes what it is told here for the thread's own wish.
///
/// Four system calls, and the time that the kernel takes to wake the other core.
pub(crate) fn leave_core(core: u32) -> bool {
    // Without memory for it in the kernel, the thread stays where it is now.
    keep_off(core).map(|kept| keep(&kept.both)).is_some()
}

/// A thread that is kept on one of its two cores.
#[must_use]
#[derive(Debug)]
pub(crate) struct KeptOff {
    both: libc::cpu_set_t,
    other: libc::cpu_set_t,
}

/// As [`leave_core`], but this thread stays on the other core until that is to end.
///
/// Three system calls, and the time that the kernel takes to wake the other core.
#[cold]
pub(crate) fn keep_off(core: u32) -> Option<KeptOff> {
    let core = core as usize;
    if cfg!(miri) || core >= libc::CPU_SETSIZE as usize || are_calls_filtered() {
        return None;
    }
    let both = allowed().ok()?;
    let mut other = both;
    // SAFETY: the number is below that of the bits.
    unsafe { libc::CPU_CLR(core, &mut other) };
    // SAFETY: it only reads the sets.
    let [all, left] = [&both, &other].map(|set| unsafe { libc::CPU_COUNT(set) });
    (all == 2 && left == 1 && keep(&other).is_ok()).then_some(KeptOff { both, other })
}

impl KeptOff {
    /// Lets this thread run on both again, unless somebody else has decided otherwise meanwhile.
    ///
    /// Two system calls.
    #[cold]
    pub(crate) fn end(self) {
        // SAFETY: it only reads the sets.
        if allowed().is_ok_and(|set| unsafe { libc::CPU_EQUAL(&set, &self.other) }) {
            // Without memory for it in the kernel, the thread stays where it is now.
            let _ = keep(&self.both);
        }
    }
}

/// Tells whether a seccomp filter decides which system calls this process makes.
fn are_calls_filtered() -> bool {
    // SAFETY: this request takes no other argument and touches no memory. An error counts as one.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) != 0 }
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

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::thread;

    use super::*;

    /// On a thread of its own, which may be kept to whatever cores.
    fn on_a_thread(body: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(body).join()).expect("it ends well");
    }

    #[test]
    fn who_leaves_one_of_two_cores_is_on_the_other_and_may_come_back() {
        on_a_thread(|| {
            let all = allowed_cores().expect("there are some");
            // Whoever else decides where threads run may bring it back at once.
            let moves = |_| {
                let core = present_core();
                leave_core(core) && present_core() != core
            };
            assert_eq!((0..1000).any(moves), all.len() == 2 && !are_calls_filtered());
            assert_eq!(allowed_cores().expect("there are some"), all);
        });
    }

    #[test]
    fn who_is_kept_off_a_core_runs_on_the_other_until_that_ends_or_somebody_else_decides() {
        for is_decided in [false, true] {
            on_a_thread(|| {
                let all = allowed_cores().expect("there are some");
                let kept = keep_off(all[0] as u32);
                assert_eq!(kept.is_some(), all.len() == 2 && !are_calls_filtered());
                let Some(kept) = kept else { return };
                assert_eq!(allowed_cores().expect("there are some"), all[1..]);
                assert_eq!(present_core(), all[1] as u32);
                if is_decided {
                    keep_to(&all[..1]).expect("it is allowed");
                }
                kept.end();
                let expected = if is_decided { &all[..1] } else { &all };
                assert_eq!(allowed_cores().expect("there are some"), expected);
            });
        }
    }

    #[test]
    fn nobody_is_kept_off_a_core_that_is_not_one_of_two() {
        on_a_thread(|| {
            let all = allowed_cores().expect("there are some");
            let none = (0..1024).find(|core| !all.contains(core)).expect("a number is left");
            assert!([none as u32, u32::MAX].map(keep_off).iter().all(Option::is_none));
            keep_to(&all[..1]).expect("it is allowed");
            assert!(keep_off(all[0] as u32).is_none());
        });
    }

    #[test]
    fn nobody_leaves_the_only_core() {
        on_a_thread(|| {
            let core = allowed_cores().expect("there are some")[0];
            keep_to(&[core]).expect("it is allowed");
            assert!(!leave_core(core as u32) && !leave_core(u32::MAX));
            assert_eq!(allowed_cores().expect("there are some"), [core]);
        });
    }
}
