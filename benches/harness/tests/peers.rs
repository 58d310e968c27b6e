//! The peers' side of the benchmarks is in order. No peer is installed, built or run here.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers")
}

fn ran(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn what_is_not_installed_is_skipped_and_said() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_millstream-bench"));
    bench.args(["--sqlite", "--quick", "--bytes", "100", "--scenario", "bulk", "--peers", "all"]);
    let output = ran(bench.env("MILLSTREAM_PEERS_DIR", nowhere.path()));
    let (data, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{talk}");
    assert_eq!(talk.lines().filter(|line| line.contains("skipped, there is no")).count(), 6, "{talk}");
    assert_eq!(data.lines().count(), 1, "{data}");
}

#[test]
fn the_install_script_can_be_read_and_knows_its_parts() {
    let script = peers().join("install.sh");
    assert!(ran(Command::new("bash").arg("-n").arg(&script)).status.success());
    let refused = ran(Command::new(&script).arg("kafka"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("node, redis, rust"));
}

/// Skipped where no node is installed.
#[test]
fn every_driver_of_node_can_be_read() {
    let packages: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(peers().join("node/package.json")).unwrap()).unwrap();
    assert_eq!(packages["dependencies"]["pg-boss"], "12.38.0");
    if Command::new("node").arg("--version").output().is_err() {
        return;
    }
    let files = std::fs::read_dir(peers().join("node")).unwrap().flatten().map(|entry| entry.path());
    let drivers: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|is| is == "mjs")).collect();
    assert_eq!(drivers.len(), 4, "{drivers:?}");
    for driver in drivers {
        let output = ran(Command::new("node").arg("--check").arg(&driver));
        assert!(output.status.success(), "{}: {}", driver.display(), String::from_utf8_lossy(&output.stderr));
    }
}
