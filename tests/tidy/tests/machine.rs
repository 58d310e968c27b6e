//! Nothing of the machine it was written on is left in a file: no path of its disk, no registry it fetched from.

use millstream_tidy::{File, Offender, Repository, assert_none};

/// Where a developer's or a build machine's files lie.
const FOLDERS: &[&str] = &["/work/", "/root/"];

/// What the host of a package registry, or of somebody's mirror of one, has in its name.
const REGISTRIES: &[&str] = &["registry", "artifactory", "nexus", "verdaccio", "crates.io", "pypi", "goproxy"];

/// What a lock file says of a package that everybody can fetch.
const PUBLIC: &[&str] = &["https://github.com/rust-lang/crates.io-index", "https://registry.npmjs.org/"];

/// Files that say where each package came from.
const LOCKS: &[&str] = &["Cargo.lock", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock"];

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // This crate names what it bans.
    let files = Repository::open().texts(|path| !path.starts_with("tests/tidy/"));
    let mut offenders: Vec<Offender> = files.iter().flat_map(machine_paths).collect();
    offenders.extend(files.iter().flat_map(registries));
    assert_none("a file names the machine it was written on", &offenders);
}

fn machine_paths(file: &File) -> Vec<Offender> {
    let mut offenders = Vec::new();
    for (number, line) in file.lines() {
        for folder in FOLDERS {
            // Behind a name it is a part of some other path or address, as in `src/work/job.rs`.
            let absolute =
                |at: usize| !line[..at].ends_with(|last: char| last.is_alphanumeric() || "._-}>*".contains(last));
            if line.match_indices(folder).any(|(at, _)| absolute(at)) {
                offenders.push(Offender::new(&file.path, number, format!("a path of one machine: {folder}")));
            }
        }
    }
    offenders
}

/// In a lock file every place that is not public; elsewhere what looks like a registry.
fn registries(file: &File) -> Vec<Offender> {
    let is_lock = LOCKS.contains(&file.path.rsplit('/').next().unwrap_or_default());
    let mut offenders = Vec::new();
    for (number, line) in file.lines() {
        // A lock file also has addresses for people, such as where to send money.
        let fetched = is_lock && ["resolved", "source = ", "tarball:"].iter().any(|key| line.contains(key));
        if fetched && PUBLIC.iter().any(|public| line.contains(public)) {
            continue;
        }
        let named = |host: &&str| fetched || REGISTRIES.iter().any(|name| host.contains(name)) && !is_page(host, line);
        let found = hosts(line).into_iter().filter(named);
        offenders.extend(found.map(|host| Offender::new(&file.path, number, format!("a package registry: {host}"))));
    }
    offenders
}

fn hosts(line: &str) -> Vec<&str> {
    let after = line.match_indices("://").map(|(at, mark)| &line[at + mark.len()..]);
    let ends = |character: char| !(character.is_ascii_alphanumeric() || ".-_@:".contains(character));
    let authorities = after.map(|rest| &rest[..rest.find(ends).unwrap_or(rest.len())]);
    authorities.map(|authority| authority.rsplit('@').next().unwrap_or(authority)).collect()
}

/// A page for people, as a badge or a link in a README names it.
fn is_page(host: &str, line: &str) -> bool {
    host == "crates.io" && line.contains("://crates.io/crates/")
}

#[test]
fn planted_paths_are_caught() {
    let good =
        File::new("a.md", "see crates/a/src/work/job.rs, https://x.y/work/1, /workers/, {base}/root/x, **/root/\n");
    assert_eq!(machine_paths(&good), []);
    let bad = File::new("a.md", "cd /work/main\n\"/root/.cargo\"\n(file:///work/x)\n");
    let expected = [(1, "/work/"), (2, "/root/"), (3, "/work/")];
    assert_eq!(
        machine_paths(&bad),
        expected.map(|(line, folder)| Offender::new("a.md", line, format!("a path of one machine: {folder}"))),
    );
}

#[test]
fn planted_registries_are_caught() {
    let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nsource = \"sparse+https://mirror.example/index/\"\n";
    let expected = [Offender::new("Cargo.lock", 2, "a package registry: mirror.example")];
    assert_eq!(registries(&File::new("Cargo.lock", lock)), expected);

    let lock = "\"resolved\": \"https://registry.npmjs.org/a.tgz\",\n\"resolved\": \"http://user@10.0.0.1:4873/pg-boss.tgz\",\n\"url\": \"https://opencollective.com/x\"\n";
    let expected = [Offender::new("tests/a/package-lock.json", 2, "a package registry: 10.0.0.1:4873")];
    assert_eq!(registries(&File::new("tests/a/package-lock.json", lock)), expected);

    let page = "https://crates.io/crates/millstream postgres://localhost/db https://docs.rs/millstream\nhttps://npm-registry.corp/x\n";
    let expected = [Offender::new("README.md", 2, "a package registry: npm-registry.corp")];
    assert_eq!(registries(&File::new("README.md", page)), expected);
}
