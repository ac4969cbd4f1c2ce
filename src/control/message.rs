//! What parent and worker say to each other over the worker's socket: seldom, and never for a task.

use bytemuck::{Pod, Zeroable};

/// Distinguishes our messages from whatever a strange parent may send.
const MAGIC: u64 = u64::from_le_bytes(*b"wharf-m1");
/// Room for a segment's name.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// In place of a code offset: there is none.
pub(crate) const NO_CODE: u64 = u64::MAX;
/// The longest text in a message; longer ones are cut.
const TEXT_BYTES_MAX: usize = 3072;

/// The first message to a worker. With it come the argument heap (read-only), the worker's result
/// heap, and the supervisor's bell.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Hello {
    pub(crate) image: [u8; 32],
    pub(crate) segment: [u8; NAME_BYTES_MAX],
    pub(crate) slots: u64,
    pub(crate) seats: u64,
    pub(crate) seat: u64,
    pub(crate) family: u64,
    pub(crate) args_heap: u64,
    pub(crate) result_heap: u64,
    pub(crate) heap_bytes: u64,
    pub(crate) retain_bytes: u64,
    /// Not 0: new memory is put onto huge pages.
    pub(crate) huge_pages: u64,
    pub(crate) spin_ns: u64,
    pub(crate) searchers_max: u64,
    /// What to run before the first task, or `NO_CODE`; its arguments in the argument heap.
    pub(crate) start_code: u64,
    pub(crate) start_offset: u64,
    pub(crate) start_len: u64,
    /// Not 0: the worker measures how long tasks wait and run.
    pub(crate) timed: u64,
    /// Among how many workers the cores are shared out; 0: each worker may run on all of them.
    pub(crate) pinned_among: u64,
    /// The worker leaves after so many tasks; 0: never.
    pub(crate) tasks_max: u64,
    /// The worker leaves after a task that leaves it with more memory of its own; 0: never.
    pub(crate) memory_max: u64,
    /// The worker leaves when it has had nothing to do for so long; 0: never.
    pub(crate) idle_ns: u64,
}

/// A message to a worker.
#[derive(Debug)]
pub(crate) enum FromParent {
    Hello(Box<Hello>),
    /// The heap asked for comes with the message, to be mapped this way; it has this many bytes.
    Heap {
        id: u64,
        writable: bool,
        bytes: u64,
    },
    /// The heap asked for does not exist, or is not to be written by a worker.
    NoHeap {
        id: u64,
        writable: bool,
    },
}

/// A message from a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromWorker {
    Ready,
    /// It cannot work, and leaves. `in_start`: the user's start function failed.
    Failed {
        in_start: bool,
        cause: String,
    },
    WantHeap {
        id: u64,
        writable: bool,
    },
    /// It leaves between two tasks, as it was asked to. `idle`: because there was nothing to do.
    Leaving {
        idle: bool,
    },
}

/// The head of every message.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Head {
    magic: u64,
    kind: u64,
    a: u64,
    b: u64,
}

const HEAD_BYTES: usize = size_of::<Head>();
const HELLO: u64 = 1;
const HEAP: u64 = 2;
const WRITABLE_HEAP: u64 = 8;
const NO_HEAP: u64 = 3;
const READY: u64 = 4;
const FAILED: u64 = 5;
const WANT_HEAP: u64 = 6;
const LEAVING: u64 = 7;

impl FromParent {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => message(HELLO, 0, 0, bytemuck::bytes_of(&**hello)),
            Self::Heap { id, writable: false, bytes } => message(HEAP, *id, *bytes, &[]),
            Self::Heap { id, writable: true, bytes } => message(WRITABLE_HEAP, *id, *bytes, &[]),
            Self::NoHeap { id, writable } => message(NO_HEAP, *id, u64::from(*writable), &[]),
        }
    }

    /// `None`: no message of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, body) = split(bytes)?;
        match head.kind {
            HELLO => bytemuck::try_pod_read_unaligned(body).ok().map(|h| Self::Hello(Box::new(h))),
            HEAP | WRITABLE_HEAP => {
                let writable = head.kind == WRITABLE_HEAP;
                Some(Self::Heap { id: head.a, writable, bytes: head.b })
            }
            NO_HEAP => Some(Self::NoHeap { id: head.a, writable: head.b != 0 }),
            _ => None,
        }
    }
}

impl FromWorker {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ready => message(READY, 0, 0, &[]),
            Self::Failed { in_start, cause } => {
                let end = cause.floor_char_boundary(TEXT_BYTES_MAX);
                message(FAILED, u64::from(*in_start), 0, &cause.as_bytes()[..end])
            }
            Self::WantHeap { id, writable } => message(WANT_HEAP, *id, u64::from(*writable), &[]),
            Self::Leaving { idle } => message(LEAVING, u64::from(*idle), 0, &[]),
        }
    }

    /// `None`: no message of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, body) = split(bytes)?;
        match head.kind {
            READY => Some(Self::Ready),
            FAILED => {
                let cause = String::from_utf8_lossy(body).into_owned();
                Some(Self::Failed { in_start: head.a != 0, cause })
            }
            WANT_HEAP => Some(Self::WantHeap { id: head.a, writable: head.b != 0 }),
            LEAVING => Some(Self::Leaving { idle: head.a != 0 }),
            _ => None,
        }
    }
}

fn message(kind: u64, a: u64, b: u64, body: &[u8]) -> Vec<u8> {
    let head = Head { magic: MAGIC, kind, a, b };
    [bytemuck::bytes_of(&head), body].concat()
}

fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let head: Head = bytemuck::try_pod_read_unaligned(head).ok()?;
    (head.magic == MAGIC).then_some((head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_parsed_and_any_cut_of_it_is_no_panic() {
        let worker = [
            FromWorker::Ready,
            FromWorker::WantHeap { id: 7, writable: false },
            FromWorker::WantHeap { id: 8, writable: true },
            FromWorker::Leaving { idle: true },
            FromWorker::Failed { in_start: true, cause: "ä".repeat(4000) },
        ];
        for sent in worker {
            let bytes = sent.to_bytes();
            assert!(bytes.len() <= 4096);
            match FromWorker::parse(&bytes).expect("a message of ours") {
                FromWorker::Failed { in_start, cause } => {
                    assert!(in_start && cause.len() == TEXT_BYTES_MAX);
                }
                parsed => assert_eq!(parsed, sent),
            }
            for len in 0..HEAD_BYTES {
                assert_eq!(FromWorker::parse(&bytes[..len]), None);
            }
        }
        let hello = FromParent::Hello(Box::new(Hello::zeroed())).to_bytes();
        assert!(hello.len() <= 4096);
        for len in 0..hello.len() {
            assert!(FromParent::parse(&hello[..len]).is_none());
        }
        assert!(matches!(FromParent::parse(&hello), Some(FromParent::Hello(_))));
        assert!(FromParent::parse(&[0xff; 500]).is_none());
    }
}
