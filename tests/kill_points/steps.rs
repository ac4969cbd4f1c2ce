//! The steps, read from the code that takes them.

use std::collections::BTreeMap;

use crate::source::{Tree, words};

/// Who takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Worker,
    Parent,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Parent => "parent",
        }
    }
}

/// A step and all sides that take it.
pub struct Step {
    pub name: String,
    pub sides: &'static [Side],
}

/// Every `step!` in `src`, in the order of the files.
pub fn of_the_code() -> Vec<Step> {
    let tree = Tree::read(env!("CARGO_MANIFEST_DIR"));
    let mut steps = Vec::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for file in tree.source() {
        for at in words(&file.code, "step!(") {
            let call = file.text[at..].split(')').next().unwrap_or_default();
            let place = file.breach(at, call).to_string();
            let step = parse(call).unwrap_or_else(|| panic!("{place}: sides and a name"));
            if let Some(other) = places.insert(step.name.clone(), place.clone()) {
                panic!("{place}: the step is named already, at {other}");
            }
            steps.push(step);
        }
    }
    assert!(steps.len() > 80, "only {} steps were found", steps.len());
    steps
}

fn parse(call: &str) -> Option<Step> {
    let (sides, name) = call.strip_prefix("step!(")?.split_once(' ')?;
    let sides: &[Side] = match sides {
        "worker" => &[Side::Worker],
        "parent" => &[Side::Parent],
        "both" => &[Side::Worker, Side::Parent],
        _ => return None,
    };
    Some(Step { name: name.trim_matches('"').to_owned(), sides })
}
