//! Packages from npm, unpacked; its scripts are not run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, Result,
    apt::{self, Unpacked},
    command,
};

/// Puts the files of `package@version` into `folder`.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    let parcel = folder.join(".parcel");
    fs::create_dir(&parcel).map_err(Error::at("create", &parcel))?;
    let mut npm = npm(&parcel)?;
    npm.args(["pack", package, "--loglevel=error", "--ignore-scripts"]);
    npm.arg("--pack-destination").arg(&parcel);
    // Its own cache would want a home folder; and a missing network shall be told in seconds, not minutes.
    npm.arg("--cache").arg(parcel.join("cache")).args(["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]);
    command::run(&mut npm)?;
    let archive = archive(&parcel)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(folder).args(["--strip-components=1", "--no-same-owner"]);
    command::run(&mut tar)?;
    fs::remove_dir_all(&parcel).map_err(Error::at("remove", &parcel))
}

/// Installs what the `package.json` of `folder` names, beside it.
pub(crate) fn install(folder: &Path) -> Result<()> {
    let cache = folder.join(".cache");
    let mut npm = npm(folder)?;
    npm.args(["install", "--loglevel=error", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]);
    npm.arg("--prefix").arg(folder).arg("--cache").arg(&cache);
    npm.args(["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]);
    command::run(&mut npm)?;
    fs::remove_dir_all(&cache).map_err(Error::at("remove", &cache))
}

/// The installed one, or Debian's, unpacked.
fn npm(folder: &Path) -> Result<Command> {
    if command::find("npm").is_some() && command::run(Command::new("npm").arg("--version")).is_ok() {
        let mut npm = Command::new("npm");
        // Away from any project, whose settings would count.
        npm.current_dir(folder);
        return Ok(npm);
    }
    let debian = apt::unpacked("npm", node_reads_beside_itself)
        .map_err(|error| Error::new(format!("npm is not installed, and Debian's could not be had: {error}")))?;
    let mut node = debian.command("usr/bin/node");
    if !debian.file("usr/bin/node").exists() {
        // It is installed, only npm was not.
        node = Command::new("node");
    }
    node.env("NODE_PATH", debian.paths(&["usr/share/nodejs"], "nodejs")).current_dir(debian.root());
    node.arg(debian.file("usr/share/nodejs/npm/bin/npm-cli.js"));
    Ok(node)
}

/// Debian's node has parts of itself in files, by absolute path. A relative one of the same length finds them in the
/// unpacked package, in whose root it is started.
fn node_reads_beside_itself(debian: &Unpacked) -> Result<()> {
    const ABSOLUTE: &[u8] = b"/usr/share/nodejs";
    const RELATIVE: &[u8] = b"usr/share//nodejs";
    for folder in std::env::split_paths(&debian.paths(&["usr/lib"], "")) {
        let files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_node = |file: &PathBuf| file.is_file() && file.to_string_lossy().contains("/libnode.so.");
        for library in files.filter(is_node) {
            let mut bytes = fs::read(&library).map_err(Error::at("read", &library))?;
            let places: Vec<usize> = bytes
                .windows(ABSOLUTE.len())
                .enumerate()
                .filter_map(|(place, window)| (window == ABSOLUTE).then_some(place))
                .collect();
            for place in places {
                bytes[place..place + RELATIVE.len()].copy_from_slice(RELATIVE);
            }
            fs::write(&library, bytes).map_err(Error::at("write", &library))?;
        }
    }
    Ok(())
}

fn archive(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::at("read", folder))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let archive = files.find(|file| file.extension().is_some_and(|extension| extension == "tgz"));
    archive.ok_or_else(|| Error::new(format!("npm packed nothing into {}", folder.display())))
}
