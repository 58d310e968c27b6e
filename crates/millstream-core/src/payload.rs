//! Payloads at the border: JSON text within bounds, and without the one character that not every store can hold.

use serde_json::Value;

use crate::{
    effects::{Append, Effects, StateOp},
    error::{Error, Result},
    limits::{APPEND_BATCH_MAX, EFFECTS_MAX, KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX},
};

/// The JSON text of a payload.
///
/// # Errors
///
/// [`Error::Invalid`] naming `what`, for a value nested deeper than [`PAYLOAD_DEPTH_MAX`], a text above
/// [`PAYLOAD_BYTES_MAX`], or a string that holds NUL (U+0000), which Postgres refuses in `jsonb`: every store refuses it,
/// so that a job can move between them.
pub fn text(what: &str, value: &Value) -> Result<String> {
    // First: writing the text takes stack for every level, too.
    if is_too_deep(value) {
        let expected = format!("at most {PAYLOAD_DEPTH_MAX}");
        return Err(Error::invalid(what, format!("more than {PAYLOAD_DEPTH_MAX} levels of nesting"), expected));
    }
    let text = serde_json::to_string(value).map_err(|error| Error::invalid(what, error.to_string(), "JSON"))?;
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(
            what,
            format!("{} bytes of JSON", text.len()),
            format!("at most {PAYLOAD_BYTES_MAX} bytes; keep large bodies elsewhere and pass a reference"),
        ));
    }
    // NUL can only be in the text as an escape, and an escaped backslash before `u0000` is rare: look closer then.
    if text.contains("\\u0000") && holds_nul(value) {
        return Err(Error::invalid(what, "a string with NUL (U+0000)", "text without NUL"));
    }
    Ok(text)
}

/// Whether a value is nested deeper than [`PAYLOAD_DEPTH_MAX`].
pub fn is_too_deep(value: &Value) -> bool {
    fn deeper(value: &Value, than: usize) -> bool {
        match value {
            Value::Array(items) => than == 0 || items.iter().any(|item| deeper(item, than - 1)),
            Value::Object(fields) => than == 0 || fields.values().any(|field| deeper(field, than - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    deeper(value, PAYLOAD_DEPTH_MAX)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A key of idempotency, state or schedule: 1 to [`KEY_BYTES_MAX`] bytes without NUL.
///
/// # Errors
///
/// [`Error::Invalid`] naming `what`.
pub fn check_key(what: &str, key: &str) -> Result<()> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0') {
        Ok(())
    } else {
        Err(Error::invalid(what, key, format!("1 to {KEY_BYTES_MAX} bytes without NUL")))
    }
}

impl Append {
    /// What every store refuses, checked before anything is written. Payloads are checked by [`text`] where they
    /// are written.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for no events, too many, or text that no store holds.
    pub fn check(&self) -> Result<()> {
        if self.events.is_empty() || self.events.len() > APPEND_BATCH_MAX {
            let got = format!("{} events", self.events.len());
            return Err(Error::invalid("append", got, format!("1 to {APPEND_BATCH_MAX} events")));
        }
        if let Some(key) = &self.key {
            check_key("idempotency key", key)?;
        }
        for event in &self.events {
            check_key("event type", &event.kind)?;
            let parts = [
                ("run id", &event.run_id),
                ("flow name", &event.flow_name),
                ("step name", &event.step_name),
                ("step id", &event.step_id),
            ];
            for (what, part) in parts {
                if let Some(part) = part {
                    check_key(what, part)?;
                }
            }
        }
        Ok(())
    }
}

impl StateOp {
    /// What every store refuses; the value is checked by [`text`] where it is written.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a key that no store holds.
    pub fn check(&self) -> Result<()> {
        check_key("state key", self.key())
    }
}

impl Effects {
    /// Bounds of the whole; the parts are checked where they are written.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] above [`EFFECTS_MAX`].
    pub fn check(&self) -> Result<()> {
        if self.len() > EFFECTS_MAX {
            let got = format!("{} effects", self.len());
            return Err(Error::invalid("effects", got, format!("at most {EFFECTS_MAX} of one settlement")));
        }
        Ok(())
    }
}
