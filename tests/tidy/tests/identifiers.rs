//! Every type and path that a page names, as in `JobOptions` or `WorkerManager::register`, is in the code.

use std::collections::HashSet;

use millstream_tidy::{
    File, Offender, Repository, assert_none,
    markdown::{self, Kind},
    text::{is_word, words_of_code},
};

/// Names of other people's things that a page may mention. Types of crates go by their path and need no entry.
const OUTSIDE: &[&str] = &["BullMQ", "GitHub", "Oban", "Postgres", "PostgreSQL", "Redis", "River", "SQLite"];

/// Crates that come with the compiler.
const STANDARD: &[&str] = &["alloc", "core", "std"];

#[test]
fn every_identifier_named_in_the_docs_is_in_the_code() {
    let repository = Repository::open();
    let sources = repository.texts(|path| path.starts_with("crates/") && path.ends_with(".rs"));
    let lock = repository.texts(|path| path == "Cargo.lock").pop().map(|file| file.text).unwrap_or_default();
    let code = Code::new(&sources, &lock);
    let offenders: Vec<Offender> = repository.docs().iter().flat_map(|doc| unknown(doc, &code)).collect();
    assert_none("a page names what the code does not have", &offenders);
}

struct Code<'a> {
    /// The words of each file.
    files: Vec<HashSet<&'a str>>,
    /// Every crate in the lock file, as Rust spells it.
    crates: HashSet<String>,
}

impl<'a> Code<'a> {
    fn new(sources: &'a [File], lock: &str) -> Self {
        let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        Self {
            files: sources.iter().map(|file| words_of_code(&file.text)).collect(),
            crates: names.map(|name| name.replace('-', "_")).collect(),
        }
    }

    /// Whether one file has all the words: a type's methods stand beside the type, or are called on it somewhere.
    fn has(&self, words: &[&str]) -> bool {
        self.files.iter().any(|file| words.iter().all(|word| file.contains(word)))
    }

    fn is_foreign(&self, name: &str) -> bool {
        STANDARD.contains(&name) || self.crates.contains(name) && !name.starts_with("millstream")
    }
}

fn unknown(doc: &File, code: &Code<'_>) -> Vec<Offender> {
    let spans = markdown::parts(&doc.text).into_iter().filter(|part| part.kind == Kind::Span);
    let mut offenders = Vec::new();
    for span in spans {
        let Some(path) = claimed(&span.text) else { continue };
        let words: Vec<&str> = path.split("::").filter(|word| !word.starts_with("millstream")).collect();
        let foreign = words.first().is_none_or(|first| code.is_foreign(first) || OUTSIDE.contains(first));
        if !foreign && !code.has(&words) {
            offenders.push(Offender::new(&doc.path, span.line, format!("not in crates/**/*.rs: {path}")));
        }
    }
    offenders
}

/// The Rust name that a code span begins with, if the span is Rust: `JobOptions`, `a::b`, `Outcome::Done { .. }`.
fn claimed(span: &str) -> Option<&str> {
    let span = span.trim_start_matches(['&', '*']);
    let end = span.find(|character| !is_word(character) && character != ':').unwrap_or(span.len());
    let (path, rest) = span.split_at(end);
    let ends_well = rest.is_empty() || rest.starts_with(['(', '<', '{', '!', '.', '?']) || rest.starts_with(" {");
    let words_are_names =
        path.split("::").all(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()) && !word.contains(':'));
    let is_rust = path.contains("::") || is_camel_case(path);
    (ends_well && words_are_names && is_rust).then_some(path)
}

fn is_camel_case(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.contains(|character: char| character.is_ascii_lowercase())
        && !word.contains('_')
}

#[test]
fn a_planted_identifier_is_caught() {
    let sources = [
        File::new("crates/a/src/worker.rs", "pub struct WorkerManager;\nimpl WorkerManager { fn register() {} }\n"),
        File::new("crates/a/src/job.rs", "// Gone\npub struct JobOptions;\nfn settle() {}\n"),
    ];
    let code = Code::new(&sources, "name = \"millstream-core\"\nname = \"tokio-util\"\n");
    let doc = File::new(
        "a.md",
        "`WorkerManager::register(queue)`, `JobOptions { .. }`, `millstream_core::JobOptions`, `tokio_util::Gone`,\n\
         `std::time::Instant`, `Postgres`, `Last-Event-ID`, `'x'::jsonb`, `NOTIFY`, `GET /api`, `Europe/Berlin`, `Job id`\n\
         `WorkerManager::settle`, `Gone`, `millstream_core::Clock`, `jobs::gone`\n",
    );
    let expected = ["WorkerManager::settle", "Gone", "millstream_core::Clock", "jobs::gone"];
    let expected = expected.map(|path| Offender::new("a.md", 3, format!("not in crates/**/*.rs: {path}")));
    assert_eq!(unknown(&doc, &code), expected);
}
