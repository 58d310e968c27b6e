//! Other people's programs, with their own words in the error when they fail.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{Error, Result};

/// How much of a failed program's words goes into the error: its last lines say why.
const WORDS_MAX: usize = 15;

/// Runs to the end; answers what was printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let said = said(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::new(format!("`{said}`: {error}")))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let words = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::new(format!("`{said}` ended with {}:\n{}", output.status, tail(&words))))
}

/// The last lines of a long text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(WORDS_MAX)..].join("\n")
}

/// Looks in `PATH`, then where Debian keeps what only root starts.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    // A script says enough by its first words.
    words.join(" ").lines().next().unwrap_or_default().to_owned()
}
