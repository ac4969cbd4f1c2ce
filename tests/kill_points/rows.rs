//! The rows: each step, each side that takes it, each thing that can happen there.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::steps::{Side, Step};

/// Tells this program, started again, which row it is.
pub const VARIABLE: &str = "WHARF_TEST_ROW";
/// Tells a process its side, and what to do at which step: read by wharf itself.
pub const STEP_VARIABLE: &str = "WHARF_STEP";

/// What happens to the process at the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Kill,
    Abort,
    Stop,
}

const ACTIONS: [Action; 3] = [Action::Kill, Action::Abort, Action::Stop];

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Abort => "abort",
            Self::Stop => "stop",
        }
    }

    /// The signal that ends the process.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Kill => Some(libc::SIGKILL),
            Self::Abort => Some(libc::SIGABRT),
            Self::Stop => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Row {
    pub step: String,
    pub side: Side,
    pub action: Action,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.side.name(), self.step, self.action.name())
    }
}

pub fn rows_of(steps: &[Step]) -> Vec<Row> {
    let of_step = |step: &Step| {
        let (name, sides) = (step.name.clone(), step.sides);
        let pairs = sides.iter().flat_map(|side| ACTIONS.map(|action| (*side, action)));
        let rows = pairs.map(move |(side, action)| Row { step: name.clone(), side, action });
        rows.filter(|row| !row.has_no_deadline())
    };
    steps.iter().flat_map(of_step).collect()
}

impl Row {
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(' ');
        let mut part = || parts.next().expect("side, step and action");
        let side = if part() == Side::Worker.name() { Side::Worker } else { Side::Parent };
        let (step, name) = (part().to_owned(), part());
        let action = ACTIONS.into_iter().find(|action| action.name() == name);
        Self { step, side, action: action.expect("an action") }
    }

    /// Tells whether the row has all of these words.
    pub fn matches(&self, words: &[String]) -> bool {
        let text = self.to_string();
        words.iter().all(|word| text.contains(word.as_str()))
    }

    /// Tells whether the step is taken only by workers whose parent is gone.
    pub fn needs_orphans(&self) -> bool {
        self.step.starts_with("orphan.")
    }

    /// Tells whether nobody but who stopped it ends the wait for the process: maps and loops have
    /// no deadline.
    fn has_no_deadline(&self) -> bool {
        let is_of_many = self.step.starts_with("loop.") || self.step.starts_with("batch.");
        is_of_many && self.side == Side::Worker && self.action == Action::Stop
    }

    /// Tells whether the step is one of a worker that starts or leaves.
    pub fn is_about_lives(&self) -> bool {
        self.step.starts_with("start.") || self.step.starts_with("leave.")
    }

    /// What wharf is told on the side of the parent, where the row is about a worker: to let the
    /// workers overtake it between a push and the wake-up, while the other token is there.
    pub fn slow_order(folder: &Path) -> String {
        format!("{}:ring.push.tail:nap:{}", Side::Parent.name(), Token::slow(folder).0.display())
    }

    /// What wharf is told on the side of the row.
    pub fn order(&self, token: &Token) -> String {
        let Self { step, side, action } = self;
        format!("{}:{step}:{}:{}", side.name(), action.name(), token.0.display())
    }
}

/// The right to carry an order out: a file, which whoever does renames after himself.
#[derive(Debug)]
pub struct Token(PathBuf);

impl Token {
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("token"))
    }

    /// The right to be slow.
    pub fn slow(folder: &Path) -> Self {
        Self(folder.join("slow"))
    }

    /// From now on the first to come to the step carries the order out.
    pub fn lay_out(&self) {
        fs::write(&self.0, "").expect("the row has a folder");
    }

    /// Takes the right back. False: somebody has used it.
    pub fn take_back(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }

    /// Takes away that somebody has used the right. False: nobody has.
    pub fn forget(&self) -> bool {
        let taken = |pid: u32| self.0.with_extension(pid.to_string());
        self.taker().is_some_and(|pid| fs::remove_file(taken(pid)).is_ok())
    }

    /// The process that has carried the order out.
    pub fn taker(&self) -> Option<u32> {
        let folder = self.0.parent().expect("it lies in a folder");
        let entries = fs::read_dir(folder).expect("the row has a folder");
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut takers = names.filter_map(|name| name.strip_prefix("token.")?.parse().ok());
        takers.next()
    }
}
