//! Source files hold no unfinished work, no sleeping, and say at their top what they are.

use millstream_tidy::{File, Offender, Repository, assert_none};

/// What is not left in Rust code, and why.
const BANNED: &[(&str, &str)] = &[
    ("FIXME", "mend it, or write an issue"),
    ("todo!(", "finish it, or leave it out"),
    ("unimplemented!(", "finish it, or leave it out"),
    ("#[ignore", "a test that does not run holds nothing"),
    ("thread::sleep", "wait for an event, or use a timeout on it"),
];

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    // This crate names what it bans.
    let files = Repository::open().texts(|path| path.ends_with(".rs") && !path.starts_with("tests/tidy/"));
    let offenders: Vec<Offender> = files.iter().flat_map(banned).collect();
    assert_none("the code holds what it must not", &offenders);
}

#[test]
fn every_library_says_what_it_is() {
    let files = Repository::open().texts(|path| path.ends_with("src/lib.rs"));
    let offenders: Vec<Offender> = files.iter().filter_map(undocumented).collect();
    assert_none("a library does not begin with its docs", &offenders);
}

#[test]
fn every_statement_says_what_it_promises() {
    let files = Repository::open().texts(is_statement);
    let offenders: Vec<Offender> = files.iter().filter_map(headless).collect();
    assert_none("an SQL file has no header: promise, parameters, the index it rides", &offenders);
}

fn banned(file: &File) -> Vec<Offender> {
    let mut offenders = Vec::new();
    for (number, line) in file.lines() {
        let found = BANNED.iter().filter(|(text, _)| line.contains(text));
        offenders.extend(found.map(|(text, why)| Offender::new(&file.path, number, format!("{text}: {why}"))));
    }
    offenders
}

fn undocumented(file: &File) -> Option<Offender> {
    let documented = file.text.starts_with("//! ");
    (!documented).then(|| Offender::new(&file.path, 1, "begins with a line of //!"))
}

/// `crates/<crate>/sql/…`.
fn is_statement(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "sql", ..]) && path.ends_with(".sql")
}

fn headless(file: &File) -> Option<Offender> {
    let header = file.text.lines().next().and_then(|line| line.strip_prefix("--")).unwrap_or_default();
    header.trim().is_empty().then(|| Offender::new(&file.path, 1, "begins with a comment"))
}

#[test]
fn planted_leftovers_are_caught() {
    let file =
        File::new("a.rs", "fn a() { todo!() }\nfn b() {}\n#[ignore = \"later\"]\n// FIXME\nstd::thread::sleep(x)\n");
    let lines: Vec<String> = banned(&file).iter().map(|offender| offender.to_string()).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "a.rs:1: todo!(: finish it, or leave it out");
}

#[test]
fn planted_silence_is_caught() {
    assert!(undocumented(&File::new("src/lib.rs", "//! The words.\n")).is_none());
    assert!(undocumented(&File::new("src/lib.rs", "mod a;\n//! Late.\n")).is_some());
    assert!(is_statement("crates/a/sql/job/claim.sql") && !is_statement("crates/a/tests/old.sql"));
    assert!(headless(&File::new("a.sql", "-- Takes jobs.\nSELECT 1")).is_none());
    for text in ["SELECT 1 -- late", "--\nSELECT 1", ""] {
        assert!(headless(&File::new("a.sql", text)).is_some(), "{text}");
    }
}
