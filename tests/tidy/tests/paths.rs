//! Every path that a page names, in backticks or as a link, exists.

use millstream_tidy::{
    File, Offender, Repository, Tree, assert_none,
    markdown::{self, Kind},
};

/// A code span below one of these is a path, whatever it ends in.
const FOLDERS: &[&str] = &["crates", "docs", "tests", "examples", "benches", ".ci", ".github"];

/// A code span that ends in one of these is a file.
const EXTENSIONS: &[&str] = &["rs", "sql", "lua", "md", "toml", "yml", "yaml", "sh", "mjs"];

/// Files of those who use Millstream, not of its repository.
const ELSEWHERE: &[&str] = &["millstream.toml"];

#[test]
fn every_path_named_in_the_docs_exists() {
    let repository = Repository::open();
    let tree = repository.tree();
    let docs = repository.docs();
    let mut offenders: Vec<Offender> = docs.iter().flat_map(|doc| missing_paths(doc, &tree)).collect();
    offenders.extend(docs.iter().flat_map(|doc| broken_links(doc, &docs, &tree)));
    assert_none("a page names what does not exist", &offenders);
}

fn missing_paths(doc: &File, tree: &Tree) -> Vec<Offender> {
    let spans = markdown::parts(&doc.text).into_iter().filter(|part| part.kind == Kind::Span);
    let mut offenders = Vec::new();
    for span in spans {
        let claimed = claimed_paths(&span.text);
        let missing = claimed.into_iter().filter(|path| !tree.has(path) && !tree.has_tail(path));
        offenders.extend(missing.map(|path| Offender::new(&doc.path, span.line, format!("no such path: {path}"))));
    }
    offenders
}

/// The paths that a code span stands for: more than one with `{a,b}`, none if it is something else.
fn claimed_paths(span: &str) -> Vec<String> {
    let path = span.trim_start_matches("./");
    let path = path.split_once(':').map_or(path, |(path, line)| if is_line_number(line) { path } else { span });
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-/<>{},*".contains(character);
    if path.starts_with(['/', '.']) && !path.starts_with(".ci") && !path.starts_with(".github")
        || !path.chars().all(legal)
        || ELSEWHERE.contains(&path)
    {
        return Vec::new();
    }
    let (first, last) = (path.split('/').next().unwrap_or_default(), path.rsplit('/').next().unwrap_or_default());
    let below_a_folder = path.contains('/') && FOLDERS.contains(&first);
    let is_folder = path.ends_with('/') && path.len() > 1;
    let is_file =
        last.rsplit_once('.').is_some_and(|(stem, extension)| !stem.is_empty() && EXTENSIONS.contains(&extension));
    if below_a_folder || is_folder || is_file { alternatives(path.trim_end_matches('/')) } else { Vec::new() }
}

fn is_line_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_digit() || character == '-')
}

/// `a/{b,c}` is `a/b` and `a/c`; `{b}` alone is a hole, which the tree knows.
fn alternatives(path: &str) -> Vec<String> {
    let braces = path.find('{').and_then(|open| Some((open, open + path[open..].find('}')?)));
    match braces {
        Some((open, close)) if path[open..close].contains(',') => path[open + 1..close]
            .split(',')
            .flat_map(|choice| alternatives(&format!("{}{choice}{}", &path[..open], &path[close + 1..])))
            .collect(),
        _ => vec![path.to_owned()],
    }
}

fn broken_links(doc: &File, docs: &[File], tree: &Tree) -> Vec<Offender> {
    let links = markdown::parts(&doc.text).into_iter().filter(|part| part.kind == Kind::Link);
    links
        .filter(|link| !link.text.contains("://") && !link.text.starts_with("mailto:"))
        .filter_map(|link| Some(Offender::new(&doc.path, link.line, broken(&link.text, doc, docs, tree)?)))
        .collect()
}

fn broken(link: &str, doc: &File, docs: &[File], tree: &Tree) -> Option<String> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if target.is_empty() { doc.path.clone() } else { resolved(&doc.path, target) };
    if !tree.has(&path) {
        return Some(format!("link to a missing file: {link}"));
    }
    // Only pages have headings; `#L10` of a source file is its host's business.
    let page = docs.iter().find(|page| page.path == path)?;
    let headings = markdown::parts(&page.text).into_iter().filter(|part| part.kind == Kind::Heading);
    let found = anchor.is_empty() || headings.map(|heading| markdown::anchor(&heading.text)).any(|name| name == anchor);
    (!found).then(|| format!("link to a missing heading: {link}"))
}

/// A link is relative to its page; one that begins with `/` to the repository.
fn resolved(page: &str, target: &str) -> String {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if target.starts_with('/') { "" } else { folder };
    let mut parts = Vec::new();
    for part in start.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn a_planted_path_is_caught() {
    let tree = Tree::new(["crates/a/src/queue/claim.rs", "crates/a/sql/job/claim.sql", ".ci/run", "CHANGELOG.md"]);
    let doc = File::new(
        "docs/a.md",
        "`crates/a`, `queue/claim.rs`, `crates/a/src/queue/claim.rs:12`, `sql/<noun>/<verb>.sql`, `queue/`, `.ci/run`,\n\
         `crates/a/{src,sql}`, `POST /api/queue/{queue}`, `Europe/Berlin`, `application/json`, `millstream.toml`, `*.rs`\n\
         but `crates/b`, `gone.rs`, `lua/<noun>/<verb>.lua`, `crates/a/{src,lua}`, `gone/`\n",
    );
    let missing = missing_paths(&doc, &tree);
    let expected = ["crates/b", "gone.rs", "lua/<noun>/<verb>.lua", "crates/a/lua", "gone"];
    assert_eq!(missing, expected.map(|path| Offender::new("docs/a.md", 3, format!("no such path: {path}"))));
}

#[test]
fn a_planted_link_is_caught() {
    let tree = Tree::new(["docs/a.md", "docs/b.md", "README.md"]);
    let doc = File::new(
        "docs/a.md",
        "# Here\n[b](b.md) [up](../README.md#start) [root](/docs) [me](#here) [x](https://x.y)\n[c](c.md) [no](#gone)\n",
    );
    let docs = [doc.clone(), File::new("README.md", "## Start\n")];
    let expected = ["link to a missing file: c.md", "link to a missing heading: #gone"];
    assert_eq!(broken_links(&doc, &docs, &tree), expected.map(|what| Offender::new("docs/a.md", 3, what)));
}
