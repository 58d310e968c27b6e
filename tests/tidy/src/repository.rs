//! The files of this repository: those that git tracks or would track.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Folders that no walk enters where git is missing.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules"];

/// One text file.
#[derive(Debug, Clone)]
pub struct File {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl File {
    /// For planting an offender.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The working tree.
pub struct Repository {
    root: PathBuf,
    paths: Vec<String>,
}

impl Repository {
    /// The repository that this crate is a part of.
    ///
    /// # Panics
    ///
    /// If its files cannot be listed.
    pub fn open() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/tidy is two levels down");
        let mut paths = listed_by_git(root).unwrap_or_else(|| walked(root));
        paths.retain(|path| root.join(path).is_file());
        assert!(!paths.is_empty(), "no file found under {}", root.display());
        Self { root: root.to_owned(), paths }
    }

    /// Where it lies on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// All text files whose path passes; what is not UTF-8 is left out.
    pub fn texts(&self, wanted: impl Fn(&str) -> bool) -> Vec<File> {
        let paths = self.paths.iter().filter(|path| wanted(path));
        paths.filter_map(|path| Some(File::new(path, &fs::read_to_string(self.root.join(path)).ok()?))).collect()
    }

    /// The pages people read: those at the root, those under `docs/`, and each crate's README.
    pub fn docs(&self) -> Vec<File> {
        let mut docs = self.texts(|path| {
            let page = path.ends_with(".md");
            page && (!path.contains('/') || path.starts_with("docs/") || path.ends_with("/README.md"))
        });
        for doc in docs.iter_mut().filter(|doc| doc.path == "CHANGELOG.md") {
            doc.text = unreleased(&doc.text).to_owned();
        }
        docs
    }

    /// The tree of [`Repository::paths`].
    pub fn tree(&self) -> Tree {
        Tree::new(self.paths.iter().map(String::as_str))
    }
}

/// The part of a changelog that speaks of today's code: a released section may name what is gone since.
fn unreleased(changelog: &str) -> &str {
    let released = changelog.match_indices("\n## ").find(|(at, _)| !changelog[*at..].starts_with("\n## Unreleased"));
    released.map_or(changelog, |(at, _)| &changelog[..=at])
}

/// None where git is missing, or where this is no checkout.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    // Somebody else's checkout (root in a container) is refused otherwise.
    git.current_dir(root).args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]);
    let output = git.arg("--exclude-standard").output().ok().filter(|output| output.status.success())?;
    let paths: BTreeSet<String> =
        String::from_utf8(output.stdout).ok()?.split_terminator('\0').map(str::to_owned).collect();
    (!paths.is_empty()).then(|| paths.into_iter().collect())
}

fn walked(root: &Path) -> Vec<String> {
    let mut paths = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if !path.is_dir() {
                let path = path.strip_prefix(root).expect("the walk starts at the root");
                paths.insert(path.to_string_lossy().replace('\\', "/"));
            } else if !NOT_OURS.iter().any(|name| path.ends_with(name)) {
                folders.push(path);
            }
        }
    }
    paths.into_iter().collect()
}

/// Files and folders, to ask whether a path exists.
pub struct Tree(BTreeSet<String>);

impl Tree {
    /// The files, and every folder above them.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = BTreeSet::new();
        for file in files {
            all.extend(file.match_indices('/').map(|(at, _)| file[..at].to_owned()));
            all.insert(file.to_owned());
        }
        Self(all)
    }

    /// Exactly this file or folder; the root is the empty path.
    pub fn has(&self, path: &str) -> bool {
        path.is_empty() || self.0.contains(path)
    }

    /// Some file or folder whose last parts are these. In a part, `*`, `<word>` and `{word}` stand for anything;
    /// the part `**` stands for any number of parts.
    pub fn has_tail(&self, tail: &str) -> bool {
        let tail: Vec<&str> = tail.split('/').collect();
        self.0.iter().any(|path| {
            let path: Vec<&str> = path.split('/').collect();
            (0..path.len()).any(|start| parts_match(&tail, &path[start..]))
        })
    }
}

fn parts_match(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skipped| parts_match(rest, &path[skipped..])),
        [part, rest @ ..] => !path.is_empty() && part_matches(part, path[0]) && parts_match(rest, &path[1..]),
    }
}

fn part_matches(pattern: &str, part: &str) -> bool {
    let Some(hole) = pattern.find(['*', '<', '{']) else { return pattern == part };
    let (before, rest) = pattern.split_at(hole);
    let end = match rest.as_bytes()[0] {
        b'<' => rest.find('>'),
        b'{' => rest.find('}'),
        _ => Some(0),
    };
    let after = &rest[end.map_or(rest.len(), |end| end + 1)..];
    let Some(part) = part.strip_prefix(before) else { return false };
    part.char_indices().any(|(at, _)| part_matches(after, &part[at..])) || part_matches(after, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_the_walk_agree_on_what_is_here() {
        let here = "tests/tidy/src/repository.rs".to_owned();
        let root = Repository::open().root;
        assert!(walked(&root).contains(&here));
        assert!(listed_by_git(&root).is_none_or(|paths| paths.contains(&here)));
    }

    #[test]
    fn a_tree_knows_files_folders_tails_and_holes() {
        let tree = Tree::new(["crates/core/sql/job/claim.sql", "README.md"]);
        for path in ["", "crates/core", "crates/core/sql/job/claim.sql", "README.md"] {
            assert!(tree.has(path), "{path}");
        }
        assert!(!tree.has("core"));
        for tail in ["job/claim.sql", "sql", "sql/<noun>/<verb>.sql", "crates/*/sql", "**/*.sql", "crates/**/claim.sql"]
        {
            assert!(tree.has_tail(tail), "{tail}");
        }
        for tail in ["aim.sql", "sql/<noun>/<verb>.lua", "crates/*/lua", "claim"] {
            assert!(!tree.has_tail(tail), "{tail}");
        }
    }

    #[test]
    fn only_the_unreleased_part_of_a_changelog_speaks_of_today() {
        assert_eq!(
            unreleased("# Changelog\n\n## Unreleased\n\nnew\n\n## 0.1.0\nold\n"),
            "# Changelog\n\n## Unreleased\n\nnew\n\n"
        );
        assert_eq!(unreleased("# Changelog\n"), "# Changelog\n");
    }
}
