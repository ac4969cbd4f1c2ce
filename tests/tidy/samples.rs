//! What each rule accepts and what it catches. A rule that catches nothing would be no rule.

use super::rules::RULES;
use super::source::Tree;

/// Checks that a rule finds breaches in these lines of a file, and nowhere else.
fn check(rule: &str, path: &str, text: &str, lines: &[usize]) {
    check_all(rule, &[(path, text)], lines);
}

fn check_all(rule: &str, files: &[(&str, &str)], lines: &[usize]) {
    let owned = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned()));
    let (_, find) = RULES.iter().find(|(name, _)| *name == rule).expect("there is such a rule");
    let breaches = find(&Tree::of(owned));
    let found: Vec<usize> = breaches.iter().map(|breach| breach.line).collect();
    assert_eq!(found, lines, "{rule}: {breaches:?} in {files:?}");
}

#[test]
fn every_rule_has_samples() {
    let samples = include_str!("samples.rs");
    let bare: Vec<&str> = (RULES.iter().map(|(name, _)| *name))
        .filter(|name| !samples.contains(&format!("\"{name}\"")))
        .collect();
    assert!(bare.is_empty(), "rules without a sample: {bare:?}");
}

#[test]
fn length_and_width_are_limited() {
    check("file length", "src/a.rs", &"//\n".repeat(399), &[]);
    check("file length", "tests/a.rs", &"//\n".repeat(400), &[1]);

    let function = |lines: usize| format!("fn a() {{\n{}}}\nfn b();\n", "    b();\n".repeat(lines));
    check("function length", "src/a.rs", &function(67), &[]);
    check("function length", "src/a.rs", &function(68), &[1]);
    let method =
        format!("impl A {{\n    pub async fn b<T>(\n{}    ) {{}}\n}}", "x: T,\n".repeat(70));
    check("function length", "benches/a.rs", &method, &[2]);
    check("function length", "src/a.rs", &format!("type A = fn ();\n{}", "//\n".repeat(80)), &[]);

    check("line width", "src/a.rs", &"ü".repeat(100), &[]);
    check("line width", "src/a.rs", &format!("\n{}", "ü".repeat(101)), &[2]);
    check("line width", "src/a.rs", &format!("// https://{}", "u".repeat(100)), &[]);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    check("module docs", "src/a.rs", "//! What it is for.", &[]);
    check("module docs", "src/a.rs", "use b;\n//! Too late.", &[1]);
    check("module docs", "tests/a.rs", "use b;", &[]);
}

#[test]
fn imports_point_down() {
    let check = |path, text, lines: &[usize]| check("imports", path, text, lines);
    check("src/sys/a.rs", "use crate::sync::Arc;\nuse crate::sys::b;", &[]);
    check("src/sys.rs", "use crate::sync::Arc;\n\nuse crate::control::Control;", &[3]);
    check("src/sync.rs", "//! See [`control`](crate::control).", &[]);
    check("src/error.rs", "fn a() {\n    crate::sys::b();\n}", &[2]);
    check("src/memory/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::task::B;\n}", &[3]);
    check("src/task/a.rs", "use crate::worker::a;\nuse crate::executor::b;", &[1, 2]);
    check("src/worker/a.rs", "use crate::executor::a;", &[1]);
    check("src/executor/a.rs", "use crate::worker::{ENTRY, worker_token};", &[]);
    check("src/executor/a.rs", "crate::worker::depth()", &[]);
    check("src/executor/a.rs", "use crate::worker::{ENTRY,\n    serve};", &[1]);
    check("src/executor/a.rs", "use crate::worker;\nuse crate::worker::*;", &[1, 2]);
    check("src/task/a.rs", "use crate::{sync, sys};\nuse crate::Executor;", &[1, 2]);
    check("src/sys/a.rs", "use super::super::control::B;\nuse super::memory;", &[1]);
    check("src/sys.rs", "use super::control::B;", &[1]);
    check("src/sys/a/b.rs", "use super::super::memory;", &[]);
    check("src/other.rs", "", &[1]);
    check("src/lib.rs", "pub use crate::executor::Executor;", &[]);
    check("tests/a.rs", "use crate::common;", &[]);
}

#[test]
fn names_stay_at_home() {
    let check = |path, text, lines: &[usize]| check("confinement", path, text, lines);
    check("src/archive/a.rs", "use rkyv::Archive;", &[]);
    check("src/archives.rs", "use rkyv::Archive;", &[1]);
    check("src/task.rs", "use rkyv::Archive;\nuse rkyv as r;", &[1, 2]);
    check("src/task.rs", "#[note = \"derive(rkyv::Archive)\"] // rkyv::Archive", &[]);
    check("src/error.rs", "#[derive(Debug,\n    rkyv::Archive)]\nuse rkyv::a;", &[3]);
    check("src/task.rs", "#[derive(rkyv::Archive)]", &[1]);
    check("src/lib.rs", "pub use rkyv;\npub use rkyv::Archive;", &[2]);
    check("src/sys/a.rs", "libc::read();", &[]);
    check("src/memory/a.rs", "fn a() {\n    libc::read();\n}", &[2]);
    check("src/sync.rs", "use std::sync::atomic::AtomicU32;", &[]);
    check("src/control/a.rs", "use std::sync::atomic::AtomicU32;", &[1]);
    check("src/control/a.rs", "use crate::sync::AtomicU32;", &[]);
    check("src/worker/a.rs", "std::env::args();", &[]);
    check("src/executor/launch.rs", "std::env::args();", &[]);
    check("src/executor/a.rs", "use std::env;\nuse std::{fs, env};", &[1, 2]);
    check("src/executor.rs", "env::args();\ncommand.env(key, value);\nenv!(\"A\");", &[1]);
    check("src/task/a.rs", "use std::time::{Instant, SystemTime};\nInstant::now();", &[1]);
    check("src/sys/a.rs", "libc::clock_gettime(libc::CLOCK_REALTIME, &mut now);", &[1]);
    check("tests/a.rs", "use rkyv::Archive;\nuse std::{env, fs};", &[]);
}

#[test]
fn unwrap_is_for_tests() {
    let rule = "unwrap";
    check(rule, "src/a.rs", "fn a() {\n    b()\n        .unwrap();\n}", &[3]);
    check(rule, "src/a.rs", "/// a.unwrap()\nfn a() { b(\".unwrap()\").unwrap_or(c) }", &[]);
    check(rule, "src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap() }\n}", &[]);
    check(rule, "src/a.rs", "#[cfg(test)]\nfn a() {}\n\nfn b() { c.unwrap() }", &[4]);
    check(rule, "src/a.rs", "#[cfg(not(test))]\nfn b() { c.unwrap() }", &[2]);
    check(rule, "tests/a.rs", "a.unwrap()", &[]);
    let unit = |declaration| {
        [
            ("src/a.rs", declaration),
            ("src/a/tests.rs", "b.unwrap()"),
            ("src/a/tests/c.rs", "d.unwrap()"),
        ]
    };
    check_all(rule, &unit("#[cfg(all(test, not(loom)))]\nmod tests;"), &[]);
    check_all(rule, &unit("mod tests;"), &[1, 1]);
}

#[test]
fn nothing_is_left_over() {
    let check = |text, lines: &[usize]| check("leftovers", "examples/a.rs", text, lines);
    check("todo!();\nunimplemented!();\n#[ignore = \"slow\"]\n#[ignore]", &[1, 2, 3, 4]);
    check("// TODO: a\n/// FIXME b\nlet a = b; // XXX", &[1, 2, 3]);
    check("let a = \"TODO\"; // TODOS\nlet todo = b; #[must_use]", &[]);
}

#[test]
fn nobody_sleeps() {
    let check = |path, text, lines: &[usize]| check("sleeps", path, text, lines);
    check("src/a.rs", "std::thread::sleep(b);\nuse std::thread::{self, sleep};", &[1, 2]);
    check("tests/a.rs", "thread::sleep(b);", &[1]);
    check("tests/a.rs", "gate.sleep(b); // no thread::sleep\nthread::spawn(c);", &[]);
}

#[test]
fn orderings_have_two_ends_and_a_description() {
    let check = |text, readme, lines: &[usize]| {
        let files = [("src/control/a.rs", text), ("src/control/README.md", readme)];
        check_all("pairs", &files, lines);
    };
    check("// PAIRS a-b: c\n// PAIRS a-b.", "## a-b\n", &[]);
    check("// PAIRS a-b: c\n// PAIRS a-b.", "Of **a-b** and more", &[]);
    check("// PAIRS a-b: c\n// PAIRS a-b.", "a-b, **not** a heading\n# a-b-c\n", &[1, 2]);
    check("// PAIRS a-b: c", "# a-b", &[1]);
    check("// PAIRS a: c\n// PAIRS b.", "# a\n# b", &[1, 2]);
}

#[test]
fn the_readme_has_what_its_reader_needs() {
    let manifest =
        "[features]\ndefault = []\n## Serde.\ncodec = []\n\n[dependencies]\nlibc = \"1\"\n";
    let check = |readme, count| {
        check_all("readme", &[("README.md", readme), ("Cargo.toml", manifest)], &vec![1; count]);
    };
    check("`cargo run --release --example large_arguments`, `tools/ci.sh`, `codec`", 0);
    check("`cargo run --release --example large_arguments`, `codec`", 1);
    check("`tools/ci.sh`, codec", 2);
    check_all("readme", &[("Cargo.toml", manifest)], &[1, 1, 1]);
}

#[test]
fn what_is_promised_is_proved_by_a_test_that_exists() {
    let test = "#[test]\nfn b() {}\n#[cfg(test)]\nfn c() {}\n// #[test] fn d() {}";
    let check = |rows: &str, lines: &[usize]| {
        let head = "# A\n## Failure, and the tests that prove it\n| a | b | c |\n|---|---|---|\n";
        let text = format!("{head}{rows}\n## Next\n| a | b | no proof |\n");
        let files = [("ARCHITECTURE.md", text.as_str()), ("tests/a.rs", test), ("tools/ci.sh", "")];
        check_all("proofs", &files, lines);
    };
    check("| a | b | `b` |", &[]);
    check("| a | b | `b`, `tests/a.rs`, built by `tools/ci.sh` |", &[]);
    check("| a | `x` | `b` |\n| a | b | `c` |\n| a | b | `b`, `d` |", &[6, 7]);
    check("| a | b | b |", &[5]);
    check("| a | b | `tests/b.rs` |", &[5]);
    check("", &[1]);
    check_all("proofs", &[("tests/a.rs", test)], &[1]);
}
