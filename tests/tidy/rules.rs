//! The house rules, one function each. A rule returns every breach that it finds.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::{CONFINED, EXCEPTIONS, LAYERS, Layer};
use super::source::{Breach, File, Tree, end_of_item, words};

/// A rule's name and what finds its breaches.
pub type Rule = (&'static str, fn(&Tree) -> Vec<Breach>);

pub const RULES: &[Rule] = &[
    ("file length", file_length),
    ("function length", function_length),
    ("line width", line_width),
    ("module docs", module_docs),
    ("imports", imports),
    ("confinement", confinement),
    ("unwrap", unwraps),
    ("leftovers", leftovers),
    ("sleeps", sleeps),
    ("pairs", pairs),
    ("readme", readme),
    ("proofs", proofs),
];

/// Files and functions are shorter than this.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
/// The widest line, as in `rustfmt.toml`, which does not look into comments and strings.
const LINE_CHARS_MAX: usize = 100;
/// The commands that the README tells its reader.
const COMMANDS: [&str; 2] = ["cargo run --release --example large_arguments", "tools/ci.sh"];

fn file_length(tree: &Tree) -> Vec<Breach> {
    let long = tree.rust.iter().filter(|file| file.text.lines().count() >= FILE_LINES);
    long.map(|file| {
        let lines = file.text.lines().count();
        file.breach(0, format!("{lines} lines, {} at most: split by subject", FILE_LINES - 1))
    })
    .collect()
}

fn function_length(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in &tree.rust {
        for at in words(&file.code, "fn ") {
            let name = file.code[at + 3..].split(['(', '<']).next().unwrap_or_default();
            let lines = file.code[at..end_of_item(&file.code, at)].lines().count();
            if lines >= FUNCTION_LINES {
                let most = FUNCTION_LINES - 1;
                let remedy = format!("`{name}` has {lines} lines, {most} at most: split it");
                breaches.push(file.breach(at, remedy));
            }
        }
    }
    breaches
}

fn line_width(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in &tree.rust {
        for (number, line) in file.text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX && !line.contains("://") {
                let remedy =
                    format!("{chars} characters, {LINE_CHARS_MAX} at most: break the line");
                breaches.push(Breach { path: file.path.clone(), line: number + 1, remedy });
            }
        }
    }
    breaches
}

fn module_docs(tree: &Tree) -> Vec<Breach> {
    let bare = tree.source().filter(|file| !file.text.starts_with("//! "));
    bare.map(|file| file.breach(0, "start the file with a `//!` line that says what it is for"))
        .collect()
}

fn imports(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.source().filter(|file| file.path != "src/lib.rs") {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == module_of(&file.path)) else {
            breaches.push(file.breach(0, "give this module a row in tests/tidy/layers.rs"));
            continue;
        };
        for at in words(&file.code, "crate::") {
            let path = &file.code[at + "crate::".len()..];
            breaches.extend(forbidden(layer, path).map(|remedy| file.breach(at, remedy)));
        }
        breaches.extend(climbs(file));
    }
    breaches
}

/// The module at the top of `src` that a file belongs to.
fn module_of(path: &str) -> &str {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or_default()
}

/// What to do about the import of a path in the crate, if it is forbidden.
fn forbidden(layer: &Layer, path: &str) -> Option<String> {
    let from = layer.name;
    let to = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    if !LAYERS.iter().any(|layer| layer.name == to) {
        return Some(format!(
            "write `crate::<module>::`, so that it can be seen what `{from}` uses"
        ));
    }
    if to == from || layer.below.contains(&to) {
        return None;
    }
    let allowed = EXCEPTIONS.iter().find(|row| (row.from, row.to) == (from, to));
    let names = names_after(&path[to.len()..]);
    if allowed.is_some_and(|row| names.iter().all(|name| row.names.contains(name))) {
        return None;
    }
    let below = if layer.below.is_empty() { "nothing".to_owned() } else { layer.below.join(", ") };
    Some(match allowed {
        Some(row) => format!("`{from}` may import only {} from `{to}`", row.names.join(", ")),
        None => format!("`{from}` imports `{to}`, it may import {below}: move what both need down"),
    })
}

/// The names in `::name` or in `::{name, name}`.
fn names_after(path: &str) -> Vec<&str> {
    let path = path.trim_start_matches("::");
    let list = match path.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default(),
        None => path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
    };
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    // A path without a name behind it imports the whole module.
    if names.is_empty() { vec!["self"] } else { names }
}

/// Paths that reach the crate's modules by `super`, past what `imports` looks at.
fn climbs(file: &File) -> Vec<Breach> {
    let depth = file.path.matches('/').count();
    let root = "super::".repeat(depth);
    let over = words(&file.code, &root).filter(|&at| {
        let path = &file.code[at + root.len()..];
        let name = path.split(|c: char| !c.is_alphanumeric() && c != '_').next();
        !file.code[..at].ends_with("super::")
            && name.is_some_and(|name| LAYERS.iter().any(|layer| layer.name == name))
    });
    over.map(|at| file.breach(at, "write `crate::` for a path from the root")).collect()
}

fn confinement(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.source() {
        for rule in CONFINED {
            if rule.homes.iter().any(|home| is_in(&file.path, home)) {
                continue;
            }
            let may_derive = rule.derives.contains(&file.path.as_str());
            for at in words(&file.code, rule.name) {
                let line = (file.path.as_str(), file.line_of_code(at).trim());
                let derived = may_derive && in_derive(&file.code[..at]);
                if !derived && !rule.lines.contains(&line) {
                    breaches.push(file.breach(at, rule.remedy));
                }
            }
        }
    }
    breaches
}

fn is_in(path: &str, home: &str) -> bool {
    path == home || home.ends_with('/') && path.starts_with(home)
}

/// Tells whether what follows this code stands in the brackets of a derive.
fn in_derive(before: &str) -> bool {
    before.rfind("#[derive(").is_some_and(|start| !before[start..].contains(')'))
}

fn unwraps(tree: &Tree) -> Vec<Breach> {
    let tests = test_files(tree);
    let mut breaches = Vec::new();
    for file in tree.source().filter(|file| !tests.iter().any(|home| is_in(&file.path, home))) {
        let items = file.test_items();
        let all = file.code.match_indices(".unwrap()").map(|(at, _)| at);
        let found = all.filter(|at| !items.iter().any(|item| item.contains(at)));
        let remedy = "return an error, or say with `expect` why it cannot fail";
        breaches.extend(found.map(|at| file.breach(at, remedy)));
    }
    breaches
}

/// The files, and the folders with their modules, that are compiled for unit tests only.
fn test_files(tree: &Tree) -> Vec<String> {
    let mut files = Vec::new();
    for file in tree.source() {
        let folder = file.path.trim_end_matches(".rs").trim_end_matches("/lib");
        for item in file.test_items() {
            let item = file.code[item].trim_end_matches(';');
            if let Some((_, name)) = item.rsplit_once("mod ").filter(|_| !item.ends_with('}')) {
                files.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/")]);
            }
        }
    }
    files
}

fn leftovers(tree: &Tree) -> Vec<Breach> {
    const MACROS: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
    const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];
    let mut breaches = Vec::new();
    for file in &tree.rust {
        for name in MACROS {
            let remedy = format!("`{name}`: finish it, or take it out");
            breaches.extend(words(&file.code, name).map(|at| file.breach(at, remedy.as_str())));
        }
        for mark in MARKS {
            let remedy = format!("`{mark}`: do it, or write down elsewhere what is left to do");
            let found = words(&file.code, mark).chain(words(&file.comments, mark));
            breaches.extend(found.map(|at| file.breach(at, remedy.as_str())));
        }
    }
    breaches
}

fn sleeps(tree: &Tree) -> Vec<Breach> {
    let held = |file: &&File| file.path.starts_with("src/") || file.path.starts_with("tests/");
    let mut breaches = Vec::new();
    for file in tree.rust.iter().filter(held) {
        let sleeps = words(&file.code, "sleep");
        let found = sleeps.filter(|&at| words(file.line_of_code(at), "thread").next().is_some());
        let remedy = "wait for an event under a deadline, and not for time to pass";
        breaches.extend(found.map(|at| file.breach(at, remedy)));
    }
    breaches
}

fn pairs(tree: &Tree) -> Vec<Breach> {
    const README: &str = "src/control/README.md";
    let mut ends: BTreeMap<&str, Vec<Breach>> = BTreeMap::new();
    for file in tree.source() {
        for (at, found) in file.comments.match_indices("PAIRS ") {
            let rest = &file.comments[at + found.len()..];
            let tag = rest.split(|c: char| !c.is_alphanumeric() && c != '-').next();
            let end = file.breach(at, "");
            ends.entry(tag.unwrap_or_default()).or_default().push(end);
        }
    }
    let described = described(tree.document(README));
    let mut breaches = Vec::new();
    for (tag, ends) in ends {
        let count = ends.len();
        for Breach { path, line, .. } in ends {
            let mut complain = |remedy| breaches.push(Breach { path: path.clone(), line, remedy });
            if count == 1 {
                complain(format!(
                    "`PAIRS {tag}` has one end: tag the other end of the ordering, too"
                ));
            }
            if !described.contains(tag) {
                complain(format!("`PAIRS {tag}`: give it a heading or a bold term in {README}"));
            }
        }
    }
    breaches
}

/// The words of a document's headings, and its bold terms.
fn described(document: &str) -> BTreeSet<&str> {
    let is_tag = |c: char| c.is_alphanumeric() || c == '-';
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let bold = document.split("**").skip(1).step_by(2);
    headings.flat_map(|line| line.split(|c: char| !is_tag(c))).chain(bold).collect()
}

fn readme(tree: &Tree) -> Vec<Breach> {
    let text = tree.document("README.md");
    let breach = |line, remedy| Breach { path: "README.md".to_owned(), line, remedy };
    let missing = COMMANDS.iter().filter(|command| !text.contains(*command));
    let mut breaches: Vec<Breach> =
        missing.map(|command| breach(1, format!("tell the reader of `{command}`"))).collect();
    for feature in features(tree.document("Cargo.toml")) {
        if !text.contains(&format!("`{feature}`")) {
            breaches.push(breach(1, format!("describe the feature `{feature}`")));
        }
    }
    breaches
}

fn features(manifest: &str) -> impl Iterator<Item = &str> {
    let table = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let rows =
        table.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once(" =")).map(|(name, _)| name).filter(|n| *n != "default")
}

/// The table of faults in the architecture: each row names a test, or a file, that is there.
fn proofs(tree: &Tree) -> Vec<Breach> {
    const PATH: &str = "ARCHITECTURE.md";
    const HEADING: &str = "## Failure, and the tests that prove it";
    let breach = |line, remedy| Breach { path: PATH.to_owned(), line, remedy };
    let lines = tree.document(PATH).lines().enumerate();
    let section = lines.skip_while(|(_, line)| *line != HEADING).skip(1);
    let section = section.take_while(|(_, line)| !line.starts_with("## "));
    // The first two rows are the table's head.
    let rows: Vec<_> = section.filter(|(_, line)| line.starts_with('|')).skip(2).collect();
    if rows.is_empty() {
        return vec![breach(1, format!("write the table below `{HEADING}`"))];
    }
    let tests = test_names(tree);
    let mut breaches = Vec::new();
    for (number, row) in rows {
        let cell = row.split('|').nth(3).unwrap_or_default();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        let missing = names.iter().filter(|name| !tests.contains(*name) && !tree.has(name));
        let remedies =
            missing.map(|name| format!("there is no test `{name}`: name one that is there"));
        breaches.extend(remedies.map(|remedy| breach(number + 1, remedy)));
        if names.is_empty() {
            breaches.push(breach(number + 1, "name the test that proves this".to_owned()));
        }
    }
    breaches
}

/// The names of all functions that are marked as tests.
fn test_names(tree: &Tree) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for file in &tree.rust {
        for at in words(&file.code, "fn ") {
            let (before, after) = (&file.code[..at], &file.code[at + "fn ".len()..]);
            if before.trim_end().ends_with("#[test]") {
                names.extend(after.split('(').next());
            }
        }
    }
    names
}
