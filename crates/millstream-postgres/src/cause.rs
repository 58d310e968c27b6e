//! What the driver says, for a person.

use std::{error::Error, fmt};

/// Characters of a detail or hint that are shown: some name every row of a statement.
const PART_MAX: usize = 300;

/// An error of the driver whose text says why. The driver's own says `db error`, and leaves the rest to its cause.
///
/// The server never sends a password back, and the driver's causes name hosts and files, not the connection string.
#[derive(Debug)]
pub(crate) struct Cause(pub(crate) tokio_postgres::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(db) = self.0.as_db_error() else { return chain(&self.0, f) };
        let code = db.code().code();
        write!(f, "{} (SQLSTATE {code})", db.message())?;
        // Of data that a constraint or a type refuses, the detail is the data.
        let is_data = code.starts_with("22") || code.starts_with("23");
        for (what, part) in [("detail", db.detail().filter(|_| !is_data)), ("hint", db.hint())] {
            if let Some(part) = part {
                let cut: String = part.chars().take(PART_MAX).collect();
                write!(f, "; {what}: {cut}")?;
                if cut.len() < part.len() {
                    f.write_str("…")?;
                }
            }
        }
        Ok(())
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Why there is no connection, and where to.
#[derive(Debug)]
pub(crate) struct Unreached {
    /// Hosts, database and user.
    pub(crate) place: String,
    pub(crate) cause: Cause,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}: {}", self.place, self.cause)
    }
}

impl Error for Unreached {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// An error, and what it is because of, as far as each says something new.
fn chain(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut told = error.to_string();
    f.write_str(&told)?;
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            write!(f, ": {text}")?;
            told = text;
        }
        next = cause.source();
    }
    Ok(())
}
