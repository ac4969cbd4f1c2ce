//! Compile errors tell the user what to do.
//!
//! Each file in `tests/misuse` is a program with one mistake. Its first lines, `//~ <text>`, are
//! what the compiler must say about it; a file without such lines must compile, which proves that
//! the others fail for their own reasons. A mistake may show only when code is generated, so the
//! programs are built and not just checked, all in one package that is thrown away.

#![cfg(not(any(loom, miri)))]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A program and what the compiler must say about it.
struct Case {
    name: String,
    path: PathBuf,
    expected: Vec<String>,
}

/// What the compiler made of a program.
#[derive(Debug, Default)]
struct Outcome {
    built: bool,
    errors: String,
}

#[test]
fn every_mistake_is_answered_with_a_remedy() {
    let cases = cases(&Path::new(ROOT).join("tests/misuse"));
    assert!(cases.iter().any(|case| case.expected.is_empty()), "no case has to compile");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misuse");
    write_package(&package, &cases);
    let (outcomes, log) = build(&package);
    let complaints: Vec<String> = (cases.iter())
        .filter_map(|case| judge(case, outcomes.get(&case.name).unwrap_or(&Outcome::default())))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} of {} cases\n\n{}\n\ncargo said:\n{log}",
        complaints.len(),
        cases.len(),
        complaints.join("\n")
    );
}

fn cases(folder: &Path) -> Vec<Case> {
    let entries = fs::read_dir(folder).expect("the folder of cases can be read");
    let mut cases: Vec<Case> = (entries.map(|entry| entry.expect("its entries, too").path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a case can be read");
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name");
            Case { name: name.to_owned(), expected: expectations(&text), path }
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

fn expectations(text: &str) -> Vec<String> {
    text.lines().map_while(|line| line.strip_prefix("//~ ")).map(str::to_owned).collect()
}

/// Writes the package of all cases, with the dependencies and the lock file of this crate.
fn write_package(package: &Path, cases: &[Case]) {
    let root = Path::new(ROOT);
    let ours = fs::read_to_string(root.join("Cargo.toml")).expect("our manifest can be read");
    let mut manifest = format!(
        "[package]\nname = \"misuse\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         autobins = false\n\n\
         [workspace]\n\n[profile.dev]\ndebug = false\n\n\
         [dependencies]\nwharf = {{ path = {ROOT:?} }}\n{}\n{}\n",
        dependency(&ours, "rkyv = "),
        dependency(&ours, "serde = {"),
    );
    for Case { name, path, .. } in cases {
        write!(manifest, "\n[[bin]]\nname = {name:?}\npath = {path:?}\n").expect("memory");
    }
    fs::create_dir_all(package).expect("a folder for the package");
    let lock = fs::read(root.join("Cargo.lock")).expect("our lock file can be read");
    fs::write(package.join("Cargo.lock"), lock).expect("a lock file can be written");
    fs::write(package.join("Cargo.toml"), manifest).expect("a manifest can be written");
}

/// The line of a manifest that starts so: the same version, with the same features.
fn dependency<'a>(manifest: &'a str, start: &str) -> &'a str {
    let line = manifest.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("Cargo.toml has no line `{start}...`"))
}

/// Builds everything that can be built; returns what became of each case, and cargo's own words.
fn build(package: &Path) -> (BTreeMap<String, Outcome>, String) {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--keep-going", "--message-format=json", "--target-dir"])
        .arg(package.join("target"))
        .current_dir(package)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .stdin(Stdio::null())
        .output()
        .expect("cargo can be started");
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).expect("cargo prints JSON");
        if message["target"]["kind"][0] != "bin" {
            continue;
        }
        let name = message["target"]["name"].as_str().expect("a target has a name");
        let outcome = outcomes.entry(name.to_owned()).or_default();
        match message["reason"].as_str() {
            Some("compiler-artifact") => outcome.built = true,
            Some("compiler-message") if message["message"]["level"] == "error" => {
                outcome.errors += message["message"]["rendered"].as_str().unwrap_or_default();
            }
            _ => {}
        }
    }
    (outcomes, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is wrong with a case, if anything.
fn judge(case: &Case, outcome: &Outcome) -> Option<String> {
    let Case { name, expected, .. } = case;
    let Outcome { built, errors } = outcome;
    if expected.is_empty() {
        return (!built).then(|| format!("{name} must compile, but:\n{errors}"));
    }
    if *built {
        return Some(format!("{name} compiled, and must not"));
    }
    let missing: Vec<&str> =
        expected.iter().map(String::as_str).filter(|text| !errors.contains(text)).collect();
    (!missing.is_empty()).then(|| {
        format!("{name}: the compiler does not say\n  {}\nbut\n{errors}", missing.join("\n  "))
    })
}

#[test]
fn a_case_is_judged_by_its_first_lines() {
    let check = |source: &str, built: bool, errors: &str, complaint: Option<&str>| {
        let expected = expectations(source);
        let case = Case { name: "case".to_owned(), path: PathBuf::new(), expected };
        let said = judge(&case, &Outcome { built, errors: errors.to_owned() });
        match complaint {
            None => assert_eq!(said, None),
            Some(part) => {
                assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{said:?}")
            }
        }
    };
    check("fn main() {}", true, "", None);
    check("fn main() {}", false, "no", Some("must compile"));
    check("//~ do this\n//~ or that\nfn main() {}", false, "do this, or that", None);
    check("//~ do this\n//~ or that\nfn main() {}", false, "do this", Some("or that"));
    check("//~ do this\nfn main() {}", true, "do this", Some("compiled, and must not"));
    check("//~ do this\nfn main() {}", false, "", Some("do this"));
}
