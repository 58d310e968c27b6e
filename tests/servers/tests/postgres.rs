//! Private servers of every tested version: durable, unprivileged, and their own through restarts and kills.

use std::{collections::HashSet, fs, net::TcpStream, os::unix::fs::MetadataExt, path::Path};

use millstream_servers::{
    Mode, Postgres, Version,
    fault::process,
    postgres::{self, available},
};

/// The single value of an answer.
fn value(rows: Vec<Vec<Option<String>>>) -> String {
    rows.into_iter().next().and_then(|row| row.into_iter().next()?).expect("one row with a value")
}

#[test]
fn each_version_runs_and_is_durable() {
    for version in available() {
        let server = Postgres::get(version).unwrap();
        let says = value(server.query("SHOW server_version").unwrap());
        assert_eq!(says.split_whitespace().next(), Some(server.version()));
        assert_eq!(server.version().split('.').next(), Some(version.to_string().as_str()));
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert_eq!(value(server.query(&format!("SHOW {setting}")).unwrap()), "on", "{setting} on {version}");
        }
        assert_eq!(value(server.query("SHOW server_encoding").unwrap()), "UTF8");
    }
}

#[test]
fn a_server_is_shared_by_the_process_and_never_root() {
    let both = [15, 18].map(|_| std::thread::spawn(|| std::ptr::from_ref(postgres::v18()) as usize));
    let both: HashSet<usize> = both.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(both.len(), 1);
    let process = format!("/proc/{}", postgres::v18().pid().unwrap());
    if Path::new(&process).exists() {
        assert_ne!(fs::metadata(process).unwrap().uid(), 0);
    }
}

#[test]
fn every_database_is_new_and_goes_with_its_value() {
    let server = postgres::v15();
    let (one, two) = (server.create_database(), server.create_database());
    one.run("CREATE TABLE t (id int); INSERT INTO t VALUES (7), (NULL)").unwrap();
    assert_eq!(one.query("SELECT id FROM t").unwrap(), [[Some("7".to_owned())], [None]]);
    let missing = two.query("SELECT id FROM t").unwrap_err().to_string();
    assert!(missing.contains("42P01") && missing.contains("relation \"t\" does not exist"), "{missing}");
    assert!(one.url().starts_with("postgres://postgres:") && one.url().ends_with(one.name()), "{}", one.url());
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", one.name());
    assert_eq!(value(server.query(&count).unwrap()), "1");
    drop(one);
    assert_eq!(value(server.query(&count).unwrap()), "0");
}

#[test]
fn data_survive_every_way_to_stop() {
    for version in available() {
        let mut server = Postgres::start(version).unwrap();
        let (address, url) = (server.address(), server.url());
        server.query("CREATE TABLE t (mode text)").unwrap();
        for mode in [Mode::Smart, Mode::Fast, Mode::Immediate, Mode::Kill] {
            server.query(&format!("INSERT INTO t VALUES ('{mode:?}')")).unwrap();
            server.restart(mode).unwrap();
        }
        assert_eq!(value(server.query("SELECT string_agg(mode, ' ') FROM t").unwrap()), "Smart Fast Immediate Kill");
        assert_eq!((server.address(), server.url()), (address, url));
        server.stop(Mode::Fast).unwrap();
        assert!(TcpStream::connect(address).is_err(), "a stopped server listens");
        server.start_again().unwrap();
        assert_eq!(value(server.query("SELECT count(*) FROM t").unwrap()), "4");
    }
}

#[test]
fn a_dropped_server_leaves_nothing_even_if_it_was_stopped_in_its_tracks() {
    let server = Postgres::start(Version::V18).unwrap();
    let (folder, address, pid) = (server.folder().to_owned(), server.address(), server.pid().unwrap());
    assert!(folder.join("data").exists());
    process::stop(pid).unwrap();
    drop(server);
    assert!(!folder.exists());
    assert!(TcpStream::connect(address).is_err());
    assert!(process::cont(pid).is_err(), "the process is still there");
}

#[test]
fn settings_come_on_top_and_a_wrong_one_is_told() {
    let server = Postgres::start_with(Version::V18, &[("max_connections", "7")]).unwrap();
    assert_eq!(value(server.query("SHOW max_connections").unwrap()), "7");
    let error = Postgres::start_with(Version::V18, &[("max_connections", "many")]).unwrap_err().to_string();
    assert!(error.contains("max_connections") && error.contains("did not start"), "{error}");
}

#[test]
fn backends_are_terminated() {
    let database = postgres::v15().create_database();
    let sleeper = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| database.query("SELECT pg_sleep(60)"));
        // Asked again until the sleeper is there.
        while database.terminate_backends().unwrap() == 0 {}
        sleeper.join().unwrap()
    });
    let error = sleeper.unwrap_err().to_string();
    assert!(error.contains("57P01") || error.contains("reset") || error.contains("fill whole buffer"), "{error}");
}
