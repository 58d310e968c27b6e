//! The commands that a page tells its reader to type.

use crate::{
    File,
    markdown::{self, Kind},
};

/// What a fenced block of commands is called.
const SHELLS: &[&str] = &["sh", "bash", "shell", "console", "zsh"];

/// Words that may stand before a command.
const BEFORE: &[&str] = &["$", "sudo", "time", "exec", "nohup", "env", "command"];

/// One call of a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// From 1.
    pub line: usize,
    /// What follows the program's name, up to the end of the command; quoted words keep their quotes.
    pub words: Vec<String>,
}

/// The calls of `program` in the page's code spans and shell blocks.
pub fn invocations(page: &File, program: &str) -> Vec<Invocation> {
    let mut found = Vec::new();
    for (line, text) in command_lines(page) {
        for command in words(&text).split(|word| ["|", "||", "&&", "&", ";"].contains(&word.as_str())) {
            found.extend(arguments(command, program).map(|words| Invocation { line, words: words.to_vec() }));
        }
    }
    found
}

/// Code spans, and the lines of shell blocks with continued lines joined; output under a prompt is left out.
fn command_lines(page: &File) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for part in markdown::parts(&page.text) {
        match part.kind {
            Kind::Span => lines.push((part.line, part.text)),
            Kind::Block { language } if SHELLS.contains(&language.as_str()) => {
                let has_prompt = part.text.lines().any(|line| line.starts_with("$ "));
                let mut continued = false;
                for (index, line) in part.text.lines().enumerate() {
                    let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
                    match lines.last_mut() {
                        Some((_, last)) if continued => last.push_str(line),
                        _ if has_prompt && !line.starts_with("$ ") => {}
                        _ => lines.push((part.line + index, line.to_owned())),
                    }
                    continued = goes_on && (!has_prompt || continued || line.starts_with("$ "));
                }
            }
            _ => {}
        }
    }
    lines
}

/// Splits at blanks outside of quotes; a comment ends the line, a separator is a word of its own.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        let word = words.last_mut().expect("never empty");
        match quote {
            Some(open) => {
                word.push(character);
                quote = (character != open).then_some(open);
            }
            None if character == '#' && word.is_empty() => break,
            None if character.is_whitespace() => words.push(String::new()),
            None if character == ';' => words.extend([";".to_owned(), String::new()]),
            None => {
                word.push(character);
                quote = ['"', '\''].contains(&character).then_some(character);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn arguments<'a>(command: &'a [String], program: &str) -> Option<&'a [String]> {
    let skipped = command.iter().take_while(|word| BEFORE.contains(&word.as_str()) || is_assignment(word)).count();
    let (name, rest) = command[skipped..].split_first()?;
    let name = name.trim_start_matches(['$', '(']);
    if name == "cargo" {
        // `cargo run -p millstream-cli -- demo`
        let ours = rest.first().is_some_and(|word| word == "run") && rest.iter().any(|word| word.starts_with(program));
        let dashes = rest.iter().position(|word| word == "--")?;
        return ours.then(|| &rest[dashes + 1..]);
    }
    (name.rsplit('/').next() == Some(program)).then_some(rest)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|character| character.is_ascii_uppercase() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(page: &str) -> Vec<(usize, String)> {
        let calls = invocations(&File::new("a.md", page), "millstream");
        calls.into_iter().map(|call| (call.line, call.words.join(" "))).collect()
    }

    #[test]
    fn calls_are_found_where_commands_stand() {
        let page = "Use `millstream demo`, not `cargo add millstream tokio`.\n\n```sh\n\
                    DATABASE_URL=x ./bin/millstream schema \\\n  up; echo millstream # millstream no\n\
                    cat a | millstream work --exec 'jq .'\ncargo run -p millstream-cli -- jobs list\n```\n";
        let expected = [(1, "demo"), (4, "schema up"), (6, "work --exec 'jq .'"), (7, "jobs list")];
        assert_eq!(calls(page), expected.map(|(line, words)| (line, words.to_owned())));
    }

    #[test]
    fn output_under_a_prompt_is_no_command() {
        assert_eq!(calls("```console\n$ millstream demo\nmillstream is running\n```\n"), [(2, "demo".to_owned())]);
        assert_eq!(calls("```rust\nmillstream demo\n```\n"), []);
    }
}
