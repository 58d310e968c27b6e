//! How a command fails: one line, its causes, an exit code.

use std::{error::Error as _, io::Write as _, process::ExitCode};

use millstream::Error;

use crate::output::Output;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    causes: Vec<String>,
    code: u8,
}

impl Failure {
    /// Refused or failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), code: 1 }
    }

    /// Used wrongly, in a way that the parser of the command line could not see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Whoever read stdout has enough: nothing to complain about.
    pub(crate) fn pipe_closed() -> Self {
        Self { code: 0, ..Self::new("") }
    }

    /// Says it on stderr, and gives the exit code.
    pub(crate) fn report(self, output: &Output) -> ExitCode {
        if self.code != 0 {
            let mut text = format!("{} {}\n", output.alarm("error:"), self.message);
            for cause in &self.causes {
                text.push_str(&format!("  {cause}\n"));
            }
            // Nobody is left to tell if stderr is gone.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Config(problems) = &error
            && problems.contains('\n')
        {
            let causes: Vec<String> = problems.lines().map(str::to_owned).collect();
            let message = format!("the configuration has {} problems:", causes.len());
            return Self { causes, ..Self::new(message) };
        }
        let mut failure = Self::new(error.to_string());
        let mut cause = error.source();
        while let Some(next) = cause {
            let text = next.to_string();
            // How Postgres's driver begins to repeat what the message has said.
            if text == "db error" {
                break;
            }
            // Most errors already print their source.
            if !failure.message.contains(&text) {
                failure.causes.push(format!("caused by: {text}"));
            }
            cause = next.source();
        }
        failure
    }
}
