//! A SEQPACKET socket between the parent and one worker: whole messages, with descriptors.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{check, retry};

/// The most bytes that one message holds.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The most descriptors that one message carries.
const MESSAGE_FDS_MAX: usize = 4;
/// Room for the control data of `MESSAGE_FDS_MAX` descriptors.
const CONTROL_WORDS: usize = 8;

const _: () = {
    // SAFETY: CMSG_SPACE only computes.
    let space = unsafe { libc::CMSG_SPACE((MESSAGE_FDS_MAX * mem::size_of::<RawFd>()) as u32) };
    assert!(space as usize <= CONTROL_WORDS * 8);
};

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Socket {
    /// Makes a connected pair, closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let mut fds = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `fds` has room for the two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        let [a, b] = fds;
        // SAFETY: the call succeeded, so `a` is open and owned by nobody else.
        let a = unsafe { OwnedFd::from_raw_fd(a) };
        // SAFETY: as above, for `b`.
        let b = unsafe { OwnedFd::from_raw_fd(b) };
        Ok((Self(above_stdio(a)?), Self(above_stdio(b)?)))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one message without blocking. A full socket is an error (`WouldBlock`).
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        assert!(bytes.len() <= MESSAGE_BYTES_MAX && fds.len() <= MESSAGE_FDS_MAX);
        let mut control = [0u64; CONTROL_WORDS];
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut header = empty_header(&mut part);
        if !fds.is_empty() {
            let len_bytes = mem::size_of_val(fds) as u32 / mem::size_of::<BorrowedFd<'_>>() as u32
                * mem::size_of::<RawFd>() as u32;
            header.msg_control = control.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE only computes.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(len_bytes) } as usize;
            // SAFETY: `msg_control` points to `control`, which holds at least one header.
            let first = unsafe { libc::CMSG_FIRSTHDR(&header) };
            // SAFETY: CMSG_LEN only computes.
            let cmsg_len = unsafe { libc::CMSG_LEN(len_bytes) } as usize;
            // SAFETY: `first` points into `control`, aligned for a header and large enough.
            unsafe {
                first.write(libc::cmsghdr {
                    cmsg_len,
                    cmsg_level: libc::SOL_SOCKET,
                    cmsg_type: libc::SCM_RIGHTS,
                });
            }
            // SAFETY: the data part follows the header inside `control`.
            let data = unsafe { libc::CMSG_DATA(first) }.cast::<RawFd>();
            for (i, fd) in fds.iter().enumerate() {
                // SAFETY: `control` holds MESSAGE_FDS_MAX descriptors, and `i` is below that.
                let place = unsafe { data.add(i) };
                // SAFETY: `place` is inside `control`; unaligned because CMSG_DATA promises little.
                unsafe { place.write_unaligned(fd.as_raw_fd()) };
            }
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        retry(|| {
            // SAFETY: `header` points to `part` and `control`, all alive on this frame.
            let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &header, flags) };
            if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    }

    /// Waits for one message. `None` means that the other end is gone.
    ///
    /// A message that is longer than any of ours, or that lost descriptors, is `InvalidData`.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0u8; MESSAGE_BYTES_MAX];
        let mut control = [0u64; CONTROL_WORDS];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut header = empty_header(&mut part);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&control);
        let received = retry(|| {
            // SAFETY: `header` points to `part` and `control`, all alive on this frame.
            let n =
                unsafe { libc::recvmsg(self.0.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
            usize::try_from(n).map_err(|_| io::Error::last_os_error())
        });
        let received = match received {
            // A peer that died with unread data resets the connection: gone all the same.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        };
        // Taken before any check, so that no descriptor leaks whatever the message is.
        let fds = take_fds(&header);
        if received == 0 {
            return Ok(None);
        }
        if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        bytes.truncate(received);
        Ok(Some(Message { bytes, fds }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells whether stdin is a socket of the kind that a parent gives its workers.
pub(crate) fn stdin_is_a_line() -> bool {
    let mut kind: libc::c_int = 0;
    let mut len = mem::size_of_val(&kind) as libc::socklen_t;
    let place = (&raw mut kind).cast();
    // SAFETY: `kind` is writable and as long as `len` says.
    let found = check(unsafe {
        libc::getsockopt(libc::STDIN_FILENO, libc::SOL_SOCKET, libc::SO_TYPE, place, &mut len)
    });
    found.is_ok() && kind == libc::SOCK_SEQPACKET
}

/// Which process made the socket that is this one's standard input. `None`: it is no such socket.
pub(crate) fn peer_of_stdin() -> Option<u32> {
    // SAFETY: all fields of ucred are integers, for which zero is a value.
    let mut peer: libc::ucred = unsafe { mem::zeroed() };
    let mut len = mem::size_of_val(&peer) as libc::socklen_t;
    let (fd, to) = (libc::STDIN_FILENO, (&raw mut peer).cast());
    // SAFETY: `to` has room for the `len` bytes of a ucred.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &mut len) };
    check(got).ok()?;
    u32::try_from(peer.pid).ok()
}

/// Moves a descriptor out of 0, 1 and 2, where a program that closed its own would find it.
pub(super) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    // SAFETY: no pointer is passed, and `fd` is open.
    let moved = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the call succeeded, so `moved` is open and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

fn empty_header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all fields of msghdr are integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled `header`, whose control buffer is still alive.
    let mut cursor = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cursor.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside the buffer.
        let control = unsafe { cursor.read() };
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only computes.
            let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = control.cmsg_len.saturating_sub(overhead) / mem::size_of::<RawFd>();
            // SAFETY: the data part follows the header inside the buffer.
            let data = unsafe { libc::CMSG_DATA(cursor) }.cast::<RawFd>();
            for i in 0..count {
                // SAFETY: `cmsg_len` says that `count` descriptors follow.
                let place = unsafe { data.add(i) };
                // SAFETY: as above; unaligned because CMSG_DATA promises little.
                let fd = unsafe { place.read_unaligned() };
                // SAFETY: SCM_RIGHTS made `fd` for this process, nobody else knows it.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: `cursor` is a header inside the buffer that `header` describes.
        cursor = unsafe { libc::CMSG_NXTHDR(header, cursor) };
    }
    fds
}
