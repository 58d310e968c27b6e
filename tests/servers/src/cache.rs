//! Fetched programs: `target/servers/<name>`, made once by whichever test process needs it first.

use std::{
    env,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// `<cache>/<name>`; made by `fill` in a folder beside it and renamed into place, so that it is whole or not there.
/// Of several processes one fills and the others wait for it.
pub(crate) fn fetched(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = place(name);
    if place.is_dir() {
        return Ok(place);
    }
    let cache = folder();
    fs::create_dir_all(&cache).map_err(Error::at("create", &cache))?;
    let lock_file = cache.join(format!(".{name}.lock"));
    let lock = open(&lock_file).map_err(Error::at("open", &lock_file))?;
    lock.lock().map_err(Error::at("lock", &lock_file))?;
    if place.is_dir() {
        return Ok(place);
    }
    let part = cache.join(format!(".{name}.part"));
    if part.exists() {
        // Left by a process that was killed.
        fs::remove_dir_all(&part).map_err(Error::at("remove", &part))?;
    }
    fs::create_dir(&part).map_err(Error::at("create", &part))?;
    let filled = fs::set_permissions(&part, Permissions::from_mode(0o755))
        .map_err(Error::at("open up", &part))
        .and_then(|()| fill(&part))
        .and_then(|()| fs::rename(&part, &place).map_err(Error::at("rename", &part)));
    if filled.is_err() {
        // The next try removes it if this one cannot.
        let _ = fs::remove_dir_all(&part);
    }
    filled.map(|()| place)
}

/// Where `name` lies once it is fetched.
pub(crate) fn place(name: &str) -> PathBuf {
    folder().join(name)
}

fn folder() -> PathBuf {
    env::var_os("MILLSTREAM_SERVERS_DIR").map_or_else(|| target().join("servers"), PathBuf::from)
}

/// Cargo marks its target folder, wherever it lies; doc tests run from elsewhere.
fn target() -> PathBuf {
    let marked = env::current_exe()
        .ok()
        .and_then(|test| test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_path_buf));
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    marked.or_else(|| env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)).unwrap_or_else(default)
}

/// Another user's lock file can be locked, but not written.
fn open(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path).or_else(|_| File::open(path))
}
