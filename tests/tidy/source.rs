//! The tree as the rules see it: each file's code without comments and strings, and its comments.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Folders whose Rust files are held to the rules.
const FOLDERS: [&str; 5] = ["src", "tests", "benches", "examples", "tools"];
/// Other files that rules look at.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "Cargo.toml", "README.md", "src/control/README.md", "tools/ci.sh"];

/// A place that breaks a rule, and what to do there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    pub path: String,
    pub line: usize,
    pub remedy: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.remedy)
    }
}

/// A Rust file. `code` and `comments` have a space for each byte of `text` that is not theirs, so
/// that offsets and lines are the same in all three.
pub struct File {
    pub path: String,
    pub text: String,
    pub code: String,
    pub comments: String,
}

pub struct Tree {
    pub rust: Vec<File>,
    documents: BTreeMap<String, String>,
}

impl Tree {
    pub fn read(root: &str) -> Self {
        let root = Path::new(root);
        let mut files = Vec::new();
        for folder in FOLDERS {
            collect(root, &root.join(folder), &mut files);
        }
        for document in DOCUMENTS {
            if let Ok(text) = fs::read_to_string(root.join(document)) {
                files.push((document.to_owned(), text));
            }
        }
        Self::of(files)
    }

    /// The tree of these files: paths and texts.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut tree = Self { rust: Vec::new(), documents: BTreeMap::new() };
        for (path, text) in files {
            if path.ends_with(".rs") {
                tree.rust.push(File::new(path, text));
            } else {
                tree.documents.insert(path, text);
            }
        }
        tree
    }

    pub fn source(&self) -> impl Iterator<Item = &File> {
        self.rust.iter().filter(|file| file.path.starts_with("src/"))
    }

    /// Tells whether there is a file or document of this path.
    pub fn has(&self, path: &str) -> bool {
        self.documents.contains_key(path) || self.rust.iter().any(|file| file.path == path)
    }

    /// A document's text; empty if there is none.
    pub fn document(&self, path: &str) -> &str {
        self.documents.get(path).map_or("", String::as_str)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("an entry can be read").path()) {
        // What cargo makes of tools that have a package of their own is nobody's writing.
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let path = path.strip_prefix(root).expect("it lies in the tree");
            files.push((path.to_str().expect("a plain name").to_owned(), text));
        }
    }
}

impl File {
    pub fn new(path: String, text: String) -> Self {
        let (code, comments) = separate(&text);
        Self { path, text, code, comments }
    }

    pub fn breach(&self, at: usize, remedy: impl Into<String>) -> Breach {
        let line = self.text[..at].matches('\n').count() + 1;
        Breach { path: self.path.clone(), line, remedy: remedy.into() }
    }

    /// The line of code around an offset.
    pub fn line_of_code(&self, at: usize) -> &str {
        let start = self.code[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = self.code[at..].find('\n').map_or(self.code.len(), |end| at + end);
        &self.code[start..end]
    }

    /// The items that are compiled for unit tests only.
    pub fn test_items(&self) -> Vec<Range<usize>> {
        let starts = self.code.match_indices("#[cfg(").map(|(at, _)| at);
        let tests = starts.filter(|&at| {
            let condition = &self.code[at..close_of(&self.code, at + 1)];
            let negated = condition.contains("not(test") || condition.contains("any(");
            !negated && words(condition, "test").next().is_some()
        });
        tests.map(|at| at..end_of_item(&self.code, close_of(&self.code, at + 1))).collect()
    }
}

/// Where `word` stands alone, and not as a part of a longer name.
pub fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let joined_before = word.starts_with(is_name) && before.ends_with(is_name);
        let joined_after = word.ends_with(is_name) && after.starts_with(is_name);
        !joined_before && !joined_after
    })
}

/// The end of the item that starts at `at`: its semicolon, or its closing brace.
pub fn end_of_item(code: &str, mut at: usize) -> usize {
    while let Some(found) = code[at..].find(['(', '[', '{', ';']) {
        at += found;
        match code.as_bytes()[at] {
            b';' => return at + 1,
            b'{' => return close_of(code, at),
            _ => at = close_of(code, at),
        }
    }
    code.len()
}

/// The offset behind the bracket that closes the one at `at`.
pub fn close_of(code: &str, at: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    code.len()
}

/// Splits a text into its code, with empty strings, and its comments.
fn separate(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let comment = comment_len(rest);
        let hidden = if comment > 0 { comment } else { literal_len(rest, code.ends_with(is_name)) };
        let (piece, tail) = rest.split_at(hidden.max(first.len_utf8()));
        let blank: String = piece.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        code += if hidden > 0 { &blank } else { piece };
        comments += if comment > 0 { piece } else { &blank };
        rest = tail;
    }
    (code, comments)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment at the start of `text`; 0 if there is none.
fn comment_len(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the string or character at the start of `text`; 0 if there is none.
fn literal_len(text: &str, in_name: bool) -> usize {
    if text.starts_with('"') {
        return quoted_len(text, '"');
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut chars = quoted.chars();
        let is_char = chars.next() == Some('\\') || chars.next() == Some('\'');
        return if is_char { quoted_len(text, '\'') } else { 0 };
    }
    let raw = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let Some(raw) = raw.filter(|_| !in_name) else { return 0 };
    let inside = raw.trim_start_matches('#');
    if !inside.starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", &raw[..raw.len() - inside.len()]);
    let start = text.len() - inside.len() + 1;
    text[start..].find(&end).map_or(text.len(), |found| start + found + end.len())
}

/// The length of what stands between two quotes, both included.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

#[test]
fn code_and_comments_are_told_apart() {
    let check = |text: &str, code: &str, comments: &str| {
        let (found, remarks) = separate(text);
        assert_eq!((found.len(), remarks.len()), (text.len(), text.len()), "{text}");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((words(&found).as_str(), words(&remarks).as_str()), (code, comments), "{text}");
    };
    check("a // b \"c\nd", "a d", "// b \"c");
    check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
    check(r#"a("// b", 'c', '"', '\'', d)"#, "a( , , , , d)", "");
    check(r##"a(r#"b " // c"#, r"d\", br"e", r#type)"##, "a( , , , r#type)", "");
    check("fn a<'b>(c: &'b str) -> &'b str {} // d", "fn a<'b>(c: &'b str) -> &'b str {}", "// d");
    check("a(\"ü\\\"\", 'ü') // ü", "a( , )", "// ü");
}

#[test]
fn test_items_are_found() {
    let check = |text: &str, tests: &[&str]| {
        let file = File::new("src/a.rs".to_owned(), text.to_owned());
        let found: Vec<&str> = file.test_items().into_iter().map(|item| &text[item]).collect();
        assert_eq!(found, tests);
    };
    check("#[cfg(test)]\nmod tests;\nfn a() {}", &["#[cfg(test)]\nmod tests;"]);
    check(
        "#[cfg(all(test, not(loom)))] fn a(b: [u8; 2]) { {} } fn c() {}",
        &["#[cfg(all(test, not(loom)))] fn a(b: [u8; 2]) { {} }"],
    );
    check("#[cfg(not(test))] fn a() {} #[cfg(feature = \"test\")] fn b() {}", &[]);
}
