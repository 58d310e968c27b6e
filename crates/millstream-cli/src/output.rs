//! What is printed: data on stdout, for people or as JSON; talk on stderr.

use std::{
    fmt::Display,
    io::{ErrorKind, Write as _},
};

use millstream::{JobState, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) color: bool,
    pub(crate) quiet: bool,
}

impl Output {
    /// A line of data.
    pub(crate) fn data(&self, line: impl Display) -> Result<(), Failure> {
        let written = writeln!(std::io::stdout().lock(), "{line}").and_then(|()| std::io::stdout().lock().flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::pipe_closed(),
            _ => Failure::new(format!("failed to write to stdout: {error}")),
        })
    }

    /// Data as one line of JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(|error| Failure::new(format!("failed to print: {error}")))?;
        self.data(line)
    }

    /// JSON if that was asked for, or else text for people.
    pub(crate) fn either(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.data(text()) }
    }

    /// A line of talk.
    pub(crate) fn talk(&self, line: impl Display) {
        if !self.quiet {
            // Nobody is left to tell if stderr is gone.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    /// What a command of ours said on its stderr.
    pub(crate) fn pass_on(&self, bytes: &[u8]) {
        if !self.quiet {
            let _ = std::io::stderr().lock().write_all(bytes);
        }
    }

    pub(crate) fn alarm(&self, text: &str) -> String {
        self.paint(text, "1;31")
    }

    pub(crate) fn faint(&self, text: &str) -> String {
        self.paint(text, "2")
    }

    /// A state's word in its colour; without colour, the word says it all.
    pub(crate) fn state(&self, state: JobState) -> String {
        let code = match state {
            JobState::Completed => "32",
            JobState::Failed => "31",
            JobState::Active => "36",
            JobState::Delayed => "33",
            JobState::Waiting | JobState::Cancelled => return state.to_string(),
        };
        self.paint(state.as_str(), code)
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Rows under a heading, in columns as wide as they must be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The table; its first line is the heading.
    pub(crate) fn text(&self, output: &Output) -> String {
        let columns = self.rows[0].len();
        let widths: Vec<usize> =
            (0..columns).map(|column| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0)).collect();
        // A column of numbers stands on the right.
        let right: Vec<bool> = (0..columns).map(|column| self.numeric(column)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let pad = " ".repeat(widths[column] - width(cell));
                if right[column] { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines: Vec<String> = self.rows.iter().map(line).collect();
        lines[0] = output.faint(&lines[0]);
        lines.join("\n")
    }

    fn numeric(&self, column: usize) -> bool {
        let digits = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        self.rows.len() > 1 && self.rows[1..].iter().all(|row| digits(&row[column]))
    }
}

/// How many characters a cell shows: colours take none.
fn width(cell: &str) -> usize {
    let mut shown = 0;
    let mut chars = cell.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => while chars.next().is_some_and(|char| char != 'm') {},
            _ => shown += 1,
        }
    }
    shown
}

/// A time to the second.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time, or a dash.
pub(crate) fn time_or_dash(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

/// Text that anybody may have chosen: a terminal would obey its control characters.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// JSON on one line, cut to what fits.
pub(crate) fn brief(value: &Value, chars_max: usize) -> String {
    let text = match value {
        Value::Null => return "-".into(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    };
    match text.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let output = Output { json: false, color: true, quiet: false };
        let mut table = Table::new(["NAME", "N"]);
        table.row([output.alarm("grün"), "5".into()]);
        table.row(["x".into(), "10".into()]);
        let lines: Vec<usize> = table.text(&output).lines().map(width).collect();
        assert_eq!(lines, [8, 8, 8]);
    }
}
