//! What is written down: one line of JSON for each number.

use serde_json::{Value, json};

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Full,
    Quick,
}

impl Size {
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self == Self::Full { full } else { quick }
    }
}

/// The lines of one system.
pub struct Sheet {
    system: String,
}

impl Sheet {
    pub fn of(system: &str) -> Self {
        Self { system: system.to_owned() }
    }

    /// Writes an answer down, and the processor seconds of all processes if they were counted.
    pub fn value(&self, question: &str, value: f64, cpu: Option<f64>) {
        self.line(json!({ "question": question, "value": value, "cpu": cpu }));
    }

    /// Writes a curve down.
    pub fn points(&self, question: &str, points: &[(f64, f64)]) {
        self.line(json!({ "question": question, "points": points }));
    }

    /// Says why there is no answer.
    pub fn note(&self, question: &str, note: &str) {
        self.line(json!({ "question": question, "note": note }));
    }

    fn line(&self, mut line: Value) {
        line["system"] = self.system.as_str().into();
        println!("{line}");
    }
}
