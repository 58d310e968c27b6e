//! A server's own folder, and the watchdog that clears it away.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use std::os::unix::{fs::PermissionsExt, process::CommandExt};

use crate::{Error, Result, account::Account};

const WATCHDOG: &str = include_str!("watchdog.sh");

/// The path of a Unix socket ends after 107 bytes, and its file name needs some.
const PATH_BYTES_MAX: usize = 60;

/// Removed together with every process that names it on its command line: on drop, and when this process is gone,
/// even by `kill -9`. Statics are never dropped, so it is the watchdog that clears up after a shared server.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    account: Account,
    /// Waits on a pipe from this process; the kernel closes it.
    watchdog: Child,
}

/// Files in memory, on Linux. Containers often have little of it.
const MEMORY: &str = "/dev/shm";

/// What a server of a whole suite may come to need, with its log of changes.
const MEMORY_BYTES_MIN: u64 = 3 << 30;

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::inside(env::temp_dir(), name)
    }

    /// In memory where there is room and nobody names another place: what a whole suite shares then does not wait for
    /// the disk.
    pub(crate) fn in_memory(name: &str) -> Result<Self> {
        let room = rustix::fs::statvfs(MEMORY).map_or(0, |found| found.f_bavail * found.f_frsize);
        let fits = room >= MEMORY_BYTES_MIN && env::var_os("TMPDIR").is_none();
        Self::inside(if fits { PathBuf::from(MEMORY) } else { env::temp_dir() }, name)
    }

    fn inside(wanted: PathBuf, name: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let prefix = format!("millstream-{name}-");
        let builder = builder.prefix(&prefix).rand_bytes(10);
        let mut made = builder.tempdir_in(&wanted).map_err(Error::at("create a folder in", &wanted))?;
        let account = Account::of_owner(made.path())?;
        if !account.reaches(&wanted) || made.path().as_os_str().len() > PATH_BYTES_MAX {
            let common = Path::new("/tmp");
            made = builder.tempdir_in(common).map_err(Error::at("create a folder in", common))?;
        }
        account.own(made.path())?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .env("MILLSTREAM_SERVER_FOLDER", made.path())
            .current_dir("/")
            // Out of reach of the terminal's Ctrl-C and of a runner that kills the group of a test.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::new(format!("failed to start the watchdog `sh`: {error}")))?;
        Ok(Self { path: made.keep(), account, watchdog })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// Writes a file that the server's user can read, and nobody else.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.path.join(name);
        fs::write(&file, text).map_err(Error::at("write", &file))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(Error::at("close", &file))?;
        self.account.own(&file)?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // It ends when the folder is gone. Nothing can be done here about one that cannot be waited for.
        let _ = self.watchdog.wait();
    }
}
