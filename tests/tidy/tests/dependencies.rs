//! A foreign dependency stays in the crate that owns it, and our crates depend on each other in one direction.

use std::{fs, path::Path, process::Command};

use millstream_tidy::{Offender, Repository, assert_none};
use serde_json::Value;

/// Foreign crate, and the one crate under `crates/` that may build on it.
const OWNERS: &[(&str, &str)] = &[
    ("rusqlite", "millstream-sqlite"),
    ("tokio-postgres", "millstream-postgres"),
    ("deadpool-postgres", "millstream-postgres"),
    ("redis", "millstream-redis"),
    ("bullmq-official", "millstream-redis"),
    ("axum", "millstream-server"),
    ("clap", "millstream-cli"),
    ("toml", "millstream"),
];

/// Each crate, and those of ours that it may build on. There are seven; an eighth needs a foreign dependency to
/// keep, a line here and one in ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("millstream-core", &[]),
    ("millstream-postgres", &["millstream-core"]),
    ("millstream-redis", &["millstream-core"]),
    ("millstream-sqlite", &["millstream-core"]),
    ("millstream-server", &["millstream-core"]),
    ("millstream", &["millstream-core", "millstream-postgres", "millstream-redis", "millstream-sqlite"]),
    ("millstream-cli", &["millstream", "millstream-server"]),
];

#[test]
fn every_dependency_stands_where_it_belongs() {
    let crates = Crate::all(Repository::open().root());
    assert!(crates.iter().any(|one| one.name == "millstream-core"), "cargo metadata lists our crates");
    let mut offenders: Vec<Offender> = crates.iter().flat_map(leaks).collect();
    offenders.extend(crates.iter().flat_map(wrong_arrows));
    assert_none("a dependency crosses a border", &offenders);
}

/// A crate under `crates/`: examples, benches and tests may use what they like.
struct Crate {
    name: String,
    manifest: String,
    text: String,
    /// What it builds on; what only its tests use is left out.
    dependencies: Vec<String>,
}

impl Crate {
    /// Asks cargo, which needs neither network nor a download to list the members.
    fn all(root: &Path) -> Vec<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root).args(["metadata", "--format-version", "1", "--offline", "--no-deps"]);
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
        let root = metadata["workspace_root"].as_str().expect("cargo names the root").to_owned();
        let crates = Self::from_metadata(&metadata, &root);
        crates.into_iter().map(|one| Self { text: read(&root, &one.manifest), ..one }).collect()
    }

    fn from_metadata(metadata: &Value, root: &str) -> Vec<Self> {
        let packages = metadata["packages"].as_array().expect("cargo metadata has packages");
        packages.iter().filter_map(|package| Self::from_package(package, root)).collect()
    }

    fn from_package(package: &Value, root: &str) -> Option<Self> {
        let manifest = package["manifest_path"].as_str()?.strip_prefix(root)?.replace('\\', "/");
        let manifest = manifest.trim_start_matches('/').to_owned();
        let builds_on = package["dependencies"].as_array()?.iter().filter(|dependency| dependency["kind"] != "dev");
        let dependencies = builds_on.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect();
        let ours = manifest.starts_with("crates/");
        ours.then_some(Self { name: package["name"].as_str()?.to_owned(), manifest, text: String::new(), dependencies })
    }

    fn offender(&self, dependency: &str, what: String) -> Offender {
        let is_entry = |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        let line = self.text.lines().position(is_entry).map_or(1, |index| index + 1);
        Offender::new(&self.manifest, line, what)
    }
}

fn read(root: &str, manifest: &str) -> String {
    fs::read_to_string(Path::new(root).join(manifest)).unwrap_or_default()
}

fn leaks(one: &Crate) -> Vec<Offender> {
    let mut offenders = Vec::new();
    for dependency in &one.dependencies {
        let owner = OWNERS.iter().find(|(foreign, _)| foreign == dependency).map(|(_, owner)| *owner);
        if let Some(owner) = owner.filter(|owner| *owner != one.name) {
            offenders.push(one.offender(dependency, format!("{dependency} belongs to {owner} alone")));
        }
    }
    offenders
}

fn wrong_arrows(one: &Crate) -> Vec<Offender> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == one.name) else {
        return vec![Offender::new(&one.manifest, 1, format!("{} has no place among the crates", one.name))];
    };
    let ours = one.dependencies.iter().filter(|dependency| dependency.starts_with("millstream"));
    let wrong = ours.filter(|dependency| !allowed.contains(&dependency.as_str()));
    wrong.map(|dependency| one.offender(dependency, format!("{} must not build on {dependency}", one.name))).collect()
}

#[test]
fn a_planted_dependency_is_caught() {
    let metadata = serde_json::json!({ "packages": [
        { "name": "millstream-core", "manifest_path": "/r/crates/millstream-core/Cargo.toml", "dependencies": [
            { "name": "serde", "kind": null },
            { "name": "rusqlite", "kind": null, "optional": true },
            { "name": "toml", "kind": "dev" },
            { "name": "millstream-sqlite", "kind": "build" },
        ] },
        { "name": "millstream-sqlite", "manifest_path": "/r/crates/millstream-sqlite/Cargo.toml", "dependencies": [
            { "name": "rusqlite", "kind": null },
            { "name": "millstream-core", "kind": null },
        ] },
        { "name": "millstream-utils", "manifest_path": "/r/crates/millstream-utils/Cargo.toml", "dependencies": [] },
        { "name": "bench", "manifest_path": "/r/benches/Cargo.toml", "dependencies": [{ "name": "redis", "kind": null }] },
    ] });
    let mut crates = Crate::from_metadata(&metadata, "/r");
    crates[0].text = "[dependencies]\nrusqlite-extra = \"1\"\nrusqlite.workspace = true\n".into();
    let core = "crates/millstream-core/Cargo.toml";
    let leaked: Vec<Offender> = crates.iter().flat_map(leaks).collect();
    assert_eq!(leaked, [Offender::new(core, 3, "rusqlite belongs to millstream-sqlite alone")]);
    let crossed: Vec<Offender> = crates.iter().flat_map(wrong_arrows).collect();
    let stray = "millstream-utils has no place among the crates";
    assert_eq!(
        crossed,
        [
            Offender::new(core, 1, "millstream-core must not build on millstream-sqlite"),
            Offender::new("crates/millstream-utils/Cargo.toml", 1, stray),
        ]
    );
}
