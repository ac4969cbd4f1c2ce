//! The steps of the protocols by name, for tests that end or stop a process at each of them.
//!
//! Only with the feature `kill-points`. `WHARF_STEP` tells a process its side, and perhaps an
//! order: `worker`, or `worker:<step>:<action>:<token>`. The first to come to the step while the
//! file `<token>` is there takes it, by renaming it to `<token>.<pid>`, and carries the order out
//! on itself: so it is carried out once, whatever processes come later. Only the action `nap` is
//! carried out each time while the file is there: others overtake the process.

use std::fs;

use crate::sync::OnceLock;

const VARIABLE: &str = "WHARF_STEP";
/// What the macro calls the sides of a step that both take.
const BOTH: &str = "both";
/// Enough for another process to wake up and go on.
const NAP_US: libc::useconds_t = 200;

static ORDERS: OnceLock<Option<Orders>> = OnceLock::new();

#[derive(Debug)]
struct Orders {
    side: String,
    order: Option<Order>,
}

#[derive(Debug)]
struct Order {
    step: String,
    /// None: a nap.
    signal: Option<libc::c_int>,
    token: String,
}

/// Passes a step. Ends or stops this process if the order says so.
pub(crate) fn at_step(sides: &str, name: &str) {
    let Some(orders) = ORDERS.get_or_init(Orders::read) else { return };
    if sides != BOTH && sides != orders.side {
        eprintln!("the step {name} of the {sides} is passed by a {}: name it so", orders.side);
        std::process::abort();
    }
    if let Some(order) = orders.order.as_ref().filter(|order| order.step == name) {
        order.carry_out();
    }
}

impl Orders {
    fn read() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let (side, order) = text.split_once(':').unwrap_or((&text, ""));
        Some(Self { side: side.to_owned(), order: Order::parse(order) })
    }
}

impl Order {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let step = parts.next()?.to_owned();
        let signal = match parts.next()? {
            "kill" => Some(libc::SIGKILL),
            "stop" => Some(libc::SIGSTOP),
            "abort" => Some(libc::SIGABRT),
            "nap" => None,
            _ => return None,
        };
        Some(Self { step, signal, token: parts.next()?.to_owned() })
    }

    fn carry_out(&self) {
        let taken = || format!("{}.{}", self.token, std::process::id());
        match self.signal {
            Some(signal) if fs::rename(&self.token, taken()).is_ok() => {
                // To this thread, which goes no further then; another might be told too late.
                // SAFETY: no pointer is passed.
                unsafe { libc::raise(signal) };
            }
            None if fs::exists(&self.token).unwrap_or(false) => {
                // SAFETY: no pointer is passed.
                unsafe { libc::usleep(NAP_US) };
            }
            Some(_) | None => {}
        }
    }
}
