//! The user that servers run as. Postgres and PgBouncer refuse to run as root.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use crate::{Error, Result};

/// `nobody`, by number: not every container names it.
const NOBODY: u32 = 65_534;

/// Whoever runs the tests, or nobody where that is root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    is_root: bool,
}

impl Account {
    /// The owner of a file that this process made is the user it runs as.
    pub(crate) fn of_owner(made_here: &Path) -> Result<Self> {
        let metadata = fs::metadata(made_here).map_err(Error::at("read the owner of", made_here))?;
        Ok(Self { is_root: metadata.uid() == 0 })
    }

    /// Has the command run as this user; std drops the other groups with it.
    pub(crate) fn run_as<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.is_root { command.uid(NOBODY).gid(NOBODY) } else { command }
    }

    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        if !self.is_root {
            return Ok(());
        }
        chown(path, Some(NOBODY), Some(NOBODY)).map_err(Error::at("give to the unprivileged user", path))
    }

    /// Whether this user gets to `path`: root's own folders are closed to nobody.
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        let open = |folder: &Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
        !self.is_root || path.canonicalize().is_ok_and(|path| path.ancestors().all(open))
    }
}
