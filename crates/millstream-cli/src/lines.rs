//! Payloads from a file: one JSON value a line, all of them read before any is used.

use millstream::{Error, limits::PAYLOAD_BYTES_MAX, payload};
use serde_json::Value;

use crate::{
    args::{GOT_CHARS_MAX, read, shortened},
    failure::Failure,
};

/// Reads every line of a file, or of stdin for `-`. Empty lines are skipped.
///
/// # Errors
///
/// For the first line that is not a payload, naming the file and the line.
pub(crate) fn payloads(path: &str) -> Result<Vec<Value>, Failure> {
    let bytes = read(path)?;
    let name = if path == "-" { "stdin" } else { path };
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let full = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    full.map(|(index, line)| one(line).map_err(|why| Failure::new(format!("{name}:{}: {why}", index + 1)))).collect()
}

fn one(line: &[u8]) -> Result<Value, String> {
    let line = line.trim_ascii();
    if line.len() > 2 * PAYLOAD_BYTES_MAX {
        return Err(format!("got {} bytes, expected a payload of at most {PAYLOAD_BYTES_MAX}", line.len()));
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let text = String::from_utf8_lossy(line);
        // The line is known, and the parser's own count of lines would only confuse.
        let why = error.to_string().replace("at line 1 column", "at column");
        format!("got {:?} ({why}), expected one JSON value on each line", shortened(&text, GOT_CHARS_MAX))
    })?;
    fits(&value)?;
    Ok(value)
}

/// Whether a store takes a value as a job's data.
pub(crate) fn fits(value: &Value) -> Result<(), String> {
    match payload::text("job data", value) {
        Ok(_) => Ok(()),
        Err(Error::Invalid { got, expected, .. }) => Err(format!("got {}, expected {expected}", got.trim_matches('"'))),
        Err(other) => Err(other.to_string()),
    }
}
