//! Every `millstream <command>` and every `just <recipe>` that a page names exists.

use std::collections::{BTreeMap, BTreeSet};

use millstream_tidy::{File, Offender, Repository, assert_none, shell};

/// The command line's tests keep each help text here, so nothing has to be built to know the commands.
const CLI_TESTS: &str = "crates/millstream-cli/tests";

#[test]
fn every_command_named_in_the_docs_exists() {
    let repository = Repository::open();
    let tree = repository.tree();
    if !tree.has(CLI_TESTS) {
        return; // The command line is not there yet.
    }
    let snapshots = format!("{CLI_TESTS}/snapshots");
    assert!(tree.has(&snapshots), "the help snapshots are missing: {snapshots}");
    let help = repository.texts(|path| path.starts_with(&snapshots));
    let commands = Commands::from_help(help.iter().map(|file| file.text.as_str()));
    assert!(commands.below(&[]).is_some(), "no help text with a list of commands in {snapshots}");
    let docs = repository.docs();
    let offenders: Vec<Offender> = docs.iter().flat_map(|doc| unknown_commands(doc, &commands)).collect();
    assert_none("a page names a command that millstream does not have", &offenders);
}

#[test]
fn every_recipe_named_in_the_docs_exists() {
    let repository = Repository::open();
    let justfile = repository.texts(|path| path == "justfile").pop().map(|file| file.text).unwrap_or_default();
    let recipes = recipes(&justfile);
    let offenders: Vec<Offender> = repository.docs().iter().flat_map(|doc| unknown_recipes(doc, &recipes)).collect();
    assert_none("a page names a recipe that the justfile does not have", &offenders);
}

/// The commands below each command; those of `millstream` itself are below the empty path.
#[derive(Default)]
struct Commands(BTreeMap<Vec<String>, BTreeSet<String>>);

impl Commands {
    /// Reads the usage line and the list of commands of clap's help texts.
    fn from_help<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut commands = Self::default();
        for text in texts {
            let mut path: Vec<String> = Vec::new();
            let mut in_list = false;
            for line in text.lines() {
                if let Some(usage) = line.trim_start().strip_prefix("Usage: millstream") {
                    path = usage.split_whitespace().take_while(|word| is_name(word)).map(str::to_owned).collect();
                    commands.add_path(&path);
                } else if line.trim_end() == "Commands:" {
                    in_list = true;
                } else if line.trim().is_empty() {
                    in_list = false;
                } else if in_list && let Some(name) = listed(line) {
                    commands.0.entry(path.clone()).or_default().insert(name.to_owned());
                }
            }
        }
        commands
    }

    fn add_path(&mut self, path: &[String]) {
        for (depth, name) in path.iter().enumerate() {
            self.0.entry(path[..depth].to_vec()).or_default().insert(name.clone());
        }
    }

    fn below(&self, path: &[String]) -> Option<&BTreeSet<String>> {
        self.0.get(path)
    }

    /// The first word that should be a command and is none.
    fn unknown<'a>(&self, words: &'a [String]) -> Option<&'a str> {
        let mut path: Vec<String> = Vec::new();
        let mut after_flag = false;
        for word in words {
            if word.starts_with('-') {
                after_flag = !word.contains('=');
                continue;
            }
            // A placeholder, a quoted word or a number is an argument, and so is all that follows.
            let below = self.below(&path).filter(|_| is_name(word))?;
            if below.contains(word) || word == "help" {
                path.push(word.clone());
            } else if !after_flag {
                return Some(word);
            }
            after_flag = false;
        }
        None
    }
}

/// Two blanks and a name; the lines of a long description are indented further.
fn listed(line: &str) -> Option<&str> {
    let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
    line.split_whitespace().next().filter(|word| is_name(word))
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
}

fn unknown_commands(doc: &File, commands: &Commands) -> Vec<Offender> {
    let calls = shell::invocations(doc, "millstream");
    let unknown = calls.iter().filter_map(|call| Some((call.line, commands.unknown(&call.words)?)));
    unknown.map(|(line, word)| Offender::new(&doc.path, line, format!("no such command: {word}"))).collect()
}

/// A recipe begins at the margin: its name, its parameters, a colon.
fn recipes(justfile: &str) -> BTreeSet<&str> {
    let heads =
        justfile.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase() || first == '_'));
    let heads = heads.filter(|line| !line.contains(":=")).filter_map(|line| line.split_once(':'));
    heads.filter_map(|(head, _)| head.split_whitespace().next()).collect()
}

fn unknown_recipes(doc: &File, recipes: &BTreeSet<&str>) -> Vec<Offender> {
    let mut offenders = Vec::new();
    for call in shell::invocations(doc, "just") {
        if let Some(name) = call.words.first().filter(|word| is_name(word) && !recipes.contains(word.as_str())) {
            offenders.push(Offender::new(&doc.path, call.line, format!("no such recipe: {name}")));
        }
    }
    offenders
}

#[test]
fn a_planted_command_is_caught() {
    let help = "---\nexpression: help\n---\nJobs, events and flows\n\nUsage: millstream [OPTIONS] <COMMAND>\n\nCommands:\n  \
                demo  Show it\n        and more\n  jobs  List them\n\nOptions:\n  -h, --help\n";
    let jobs = "Usage: millstream jobs [OPTIONS] <COMMAND>\n\nCommands:\n  list  List\n";
    let retry = "Usage: millstream jobs retry [OPTIONS] <ID>\n";
    let commands = Commands::from_help([help, jobs, retry]);
    let doc = File::new(
        "a.md",
        "`millstream demo`, `millstream --config a.toml jobs list <queue>`, `millstream help jobs`, `millstream`\n\
         `millstream jobs retry 7`, `millstream jobs --json list email`, `cargo add millstream serde`\n\
         `millstream dmo`, `millstream --json job list`, `millstream jobs lst`\n",
    );
    let expected = ["dmo", "job", "lst"].map(|word| Offender::new("a.md", 3, format!("no such command: {word}")));
    // `--json` takes no value, but only clap knows: the word after a flag gets the benefit of the doubt.
    let expected = [&expected[..1], &[Offender::new("a.md", 3, "no such command: list")], &expected[2..]].concat();
    assert_eq!(unknown_commands(&doc, &commands), expected);
}

#[test]
fn a_planted_recipe_is_caught() {
    let recipes = recipes("x := 'a'\n# Doc\n_default:\n    @just --list\nci:\n    run\ntest filter='': ci\n    a: b\n");
    assert_eq!(recipes, ["_default", "ci", "test"].into());
    let doc = File::new("a.md", "`just ci`, `just --list`, `just test one`\n\n```sh\njust tset\n```\n");
    assert_eq!(unknown_recipes(&doc, &recipes), [Offender::new("a.md", 4, "no such recipe: tset")]);
}
