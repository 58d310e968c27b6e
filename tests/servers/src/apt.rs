//! Packages from Debian, unpacked beside the system and not installed: neither root nor a clean system is needed.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Result, cache, command};

/// What no program reads.
const NOT_NEEDED: &[&str] = &["usr/include", "usr/share/doc", "usr/share/man", "usr/share/locale"];

/// A package and those it needs that the system does not have, unpacked under one root.
#[derive(Debug)]
pub(crate) struct Unpacked {
    root: PathBuf,
}

/// Kept as `<package>-<release>`: the version is the release's. `adapt` makes it fit to run from where it lies.
pub(crate) fn unpacked(package: &str, adapt: impl FnOnce(&Unpacked) -> Result<()>) -> Result<Unpacked> {
    if command::find("apt-get").is_none() {
        return Err(Error::new(format!("this system has no apt-get to fetch `{package}` with")));
    }
    let root = cache::fetched(&format!("{package}-{}", release()), |folder| {
        fetch(package, folder)?;
        adapt(&Unpacked { root: folder.to_owned() })
    })?;
    Ok(Unpacked { root })
}

impl Unpacked {
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A program that finds its libraries.
    pub(crate) fn command(&self, path: &str) -> Command {
        let mut command = Command::new(self.file(path));
        command.env("LD_LIBRARY_PATH", self.paths(&["usr/lib", "lib"], ""));
        command
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn copy(&self, to: &Path) -> Result<Self> {
        command::run(Command::new("cp").arg("-R").arg(&self.root).arg(to))?;
        Ok(Self { root: to.to_owned() })
    }

    /// The folders, and `below` in each architecture's own, as a search path.
    pub(crate) fn paths(&self, folders: &[&str], below: &str) -> OsString {
        let mut paths: Vec<PathBuf> = folders.iter().map(|folder| self.root.join(folder)).collect();
        for libraries in ["usr/lib", "lib"] {
            let entries = fs::read_dir(self.root.join(libraries)).into_iter().flatten().flatten();
            let own = entries.filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"));
            paths.extend(own.map(|entry| entry.path().join(below)));
        }
        env::join_paths(paths.iter().filter(|path| path.is_dir())).unwrap_or_default()
    }
}

fn fetch(package: &str, folder: &Path) -> Result<()> {
    let apt = PrivateApt::new(folder)?;
    // A source that somebody added and that does not answer makes this fail; ours may still be there.
    let updated = command::run(apt.get().arg("update"));
    // The solver leaves out what the system has.
    let download = ["install", "--yes", "--download-only", "--no-install-recommends", package];
    let downloaded = command::run(apt.get().args(download));
    downloaded.map_err(|error| match updated {
        Ok(_) => error,
        Err(update) => Error::new(format!("{update}\n{error}")),
    })?;
    for archive in apt.archives()? {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(folder))?;
    }
    for part in NOT_NEEDED {
        // Not every package has each of them.
        let _ = fs::remove_dir_all(folder.join(part));
    }
    apt.remove()
}

/// apt with lists and downloads of its own, which any user may write; sources and keys are the system's.
struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join(".apt");
        for below in ["state/lists/partial", "cache/archives/partial"] {
            let below = folder.join(below);
            fs::create_dir_all(&below).map_err(Error::at("create", &below))?;
        }
        Ok(Self { folder })
    }

    fn get(&self) -> Command {
        let mut apt = Command::new("apt-get");
        let folder = self.folder.display();
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "-o", "Debug::NoLocking=true"]);
        apt.args(["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "APT::Sandbox::User=root"]);
        apt.args(["-o", "Acquire::Languages=none", "-o", "Acquire::Retries=1"]);
        apt.args(["-o", &format!("Dir::State={folder}/state"), "-o", &format!("Dir::Cache={folder}/cache")]);
        apt
    }

    fn archives(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("cache/archives");
        let entries = fs::read_dir(&folder).map_err(Error::at("read", &folder))?;
        let files = entries.flatten().map(|entry| entry.path());
        let archives: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|is| is == "deb")).collect();
        if archives.is_empty() { Err(Error::new("apt downloaded nothing")) } else { Ok(archives) }
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(Error::at("remove", &self.folder))
    }
}

/// `bookworm`, `trixie`, …
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("debian").trim_matches('"').to_owned()
}
