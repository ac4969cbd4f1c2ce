//! How a process puts itself under a limit. All of it before the process has threads.

use std::ffi::CString;
use std::io;
use std::ptr;

/// Turns the `-1` of a system call into its `errno`.
pub fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn both(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and of the type asked for.
    check(unsafe { libc::getrlimit(resource, &mut limit) }.into()).expect("a limit");
    limit
}

/// The soft limit of a resource.
pub fn get(resource: libc::__rlimit_resource_t) -> u64 {
    both(resource).rlim_cur
}

/// Sets the soft limit of a resource and leaves the hard one.
pub fn set(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = both(resource);
    let limit = libc::rlimit { rlim_cur: value.min(limit.rlim_max), ..limit };
    // SAFETY: `limit` is initialised.
    check(unsafe { libc::setrlimit(resource, &limit) }.into()).expect("a lower limit");
}

/// Gives this process a view of the mounts of its own.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Mounts a file system, as mount(2).
pub fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let [source, target, kind, options] =
        [source, target, kind, options].map(|text| CString::new(text).expect("no zero bytes"));
    let (from, to, data) = (source.as_ptr(), target.as_ptr(), options.as_ptr().cast());
    // SAFETY: all are terminated strings that live through the call.
    check(unsafe { libc::mount(from, to, kind.as_ptr(), flags, data) }.into()).map(drop)
}

/// Makes this process that of another user, who has no other processes.
pub fn become_nobody() -> io::Result<()> {
    let id = 60_000 + std::process::id() % 5000;
    // SAFETY: no pointer is passed.
    check(unsafe { libc::setgid(id) }.into())?;
    // SAFETY: no pointer is passed.
    check(unsafe { libc::setuid(id) }.into())?;
    // Otherwise what lies in /proc/self would be root's.
    // SAFETY: no pointer is passed.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }.into()).map(drop)
}

/// Has the kernel answer a system call with an error, here and in all processes started from here.
pub fn refuse(call: libc::c_long, errno: i32) -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let (load, jump, answer) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    );
    // The first word of what a filter sees is the number of the call.
    let mut filter = [
        statement(load, 0),
        libc::sock_filter { jf: 1, ..statement(jump, call as u32) },
        statement(answer, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(answer, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: no pointer is passed.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: `program` describes `filter`; both live through the call, which copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &program) }.into()).map(drop)
}

/// Lets this process run on one core only.
pub fn one_core() {
    // SAFETY: a cpu_set_t is plain data, for which zero is a value.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as large as it says.
    let got = unsafe { libc::sched_getaffinity(0, size_of_val(&cores), &mut cores) };
    check(got.into()).expect("the set of cores");
    let first = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: `core` is below the size of the set.
        .find(|&core| unsafe { libc::CPU_ISSET(core, &cores) })
        .expect("a core");
    // SAFETY: `cores` is initialised.
    unsafe { libc::CPU_ZERO(&mut cores) };
    // SAFETY: `first` is below the size of the set.
    unsafe { libc::CPU_SET(first, &mut cores) };
    // SAFETY: `cores` is initialised and as large as it says.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &cores) };
    check(result.into()).expect("one core");
}

/// Sets what a signal does, here and, where it is ignored, in programs started from here.
pub fn on_signal(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: a sigaction is plain data, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: `action` is initialised; the handlers of these tests make system calls only.
    let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    check(result.into()).expect("a handler");
}

/// Blocks every signal in this thread and those that it starts.
pub fn block_signals() {
    // SAFETY: a sigset_t is plain data, for which zero is a value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is writable.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: `all` is initialised, the old mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &all, ptr::null_mut()) };
    assert_eq!(result, 0);
}
