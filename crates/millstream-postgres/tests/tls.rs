//! Every `sslmode` against servers with and without TLS, with good and bad certificates.

use std::{error::Error as _, path::PathBuf};

use millstream_core::{Error, Store, StoreOptions};
use millstream_postgres::{PostgresOptions, PostgresStore, SslMode};
use millstream_servers::{Postgres, postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

const MODES: [SslMode; 6] =
    [SslMode::Disable, SslMode::Allow, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Gives the server a certificate for `localhost`.
fn certify(server: &Postgres, by: &Authority, until_year: i32) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    server.write("server.crt", &params.signed_by(&key, by).unwrap().pem()).unwrap();
    server.write("server.key", &key.serialize_pem()).unwrap();
    server.query("alter system set ssl = on").unwrap();
    server.reload().unwrap();
}

struct World {
    server: Postgres,
    directory: tempfile::TempDir,
}

impl World {
    fn roots(&self, name: &str, authority: &Authority) -> PathBuf {
        let file = self.directory.path().join(name);
        std::fs::write(&file, authority.pem()).unwrap();
        file
    }

    async fn connect(&self, host: &str, mode: SslMode, roots: Option<&PathBuf>) -> Result<PostgresStore, String> {
        let options = PostgresOptions {
            host: Some(host.to_owned()),
            port: Some(self.server.address().port()),
            user: Some("postgres".to_owned()),
            password: Some(self.server.password().to_owned()),
            database: Some("postgres".to_owned()),
            ssl_mode: Some(mode),
            ssl_root_cert: roots.cloned(),
            ..PostgresOptions::default()
        };
        PostgresStore::connect(options, StoreOptions::default()).await.map_err(|error| whole(&error))
    }

    /// Whether the connections of a store are encrypted; or why there are none.
    async fn encrypted(&self, host: &str, mode: SslMode, roots: Option<&PathBuf>) -> Result<bool, String> {
        let store = self.connect(host, mode, roots).await?;
        // One of the pool, at least.
        store.sweep().await.unwrap();
        let sql = "select bool_and(ssl), bool_or(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                   where application_name = 'millstream'";
        let rows = self.server.query(sql).unwrap();
        store.close().await.unwrap();
        assert_eq!(rows[0][0], rows[0][1], "one connection of a store is as the other");
        Ok(rows[0][0].as_deref() == Some("t"))
    }

    async fn all(&self, host: &str, roots: Option<&PathBuf>) -> Vec<Result<bool, String>> {
        let mut answers = Vec::new();
        for mode in MODES {
            answers.push(self.encrypted(host, mode, roots).await);
        }
        answers
    }
}

/// An error with its causes.
fn whole(error: &Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[track_caller]
fn check(answers: &[Result<bool, String>], expected: [Result<bool, &str>; 6], when: &str) {
    for ((mode, answer), expected) in MODES.iter().zip(answers).zip(expected) {
        match (answer, expected) {
            (Ok(answer), Ok(expected)) => assert_eq!(*answer, expected, "{mode:?} {when}"),
            (Err(answer), Err(expected)) => assert!(answer.contains(expected), "{mode:?} {when}: {answer}"),
            (answer, expected) => panic!("{mode:?} {when}: {answer:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sslmode_keeps_its_promise() {
    let version = *postgres::available().last().unwrap();
    let world = World { server: Postgres::start(version).unwrap(), directory: tempfile::tempdir().unwrap() };
    let (ours, others) = (authority("ours"), authority("others"));
    let (good, foreign) = (world.roots("good.pem", &ours), world.roots("foreign.pem", &others));

    let none = Err("server does not support TLS");
    let answers = world.all("localhost", Some(&good)).await;
    check(&answers, [Ok(false), Ok(false), Ok(false), none, none, none], "without TLS");

    certify(&world.server, &ours, 4000);
    let answers = world.all("localhost", Some(&good)).await;
    check(&answers, [Ok(false), Ok(false), Ok(true), Ok(true), Ok(true), Ok(true)], "with a good certificate");

    let name = Err("certificate not valid for name \"127.0.0.1\"");
    let answers = world.all("127.0.0.1", Some(&good)).await;
    check(&answers, [Ok(false), Ok(false), Ok(true), Ok(true), Ok(true), name], "by another name");

    let unknown = Err("UnknownIssuer");
    let answers = world.all("localhost", Some(&foreign)).await;
    check(&answers, [Ok(false), Ok(false), Ok(true), unknown, unknown, unknown], "of another authority");

    let required = world.encrypted("localhost", SslMode::Require, None).await;
    assert_eq!(required, Ok(true), "without a file, `require` asks for nobody's word");

    certify(&world.server, &ours, 2020);
    let expired = Err("certificate expired");
    let answers = world.all("localhost", Some(&good)).await;
    check(&answers, [Ok(false), Ok(false), Ok(true), expired, expired, expired], "with an old certificate");

    certify(&world.server, &ours, 4000);
    world.server.write("pg_hba.conf", "hostssl all all 127.0.0.1/32 password\nlocal all all password\n").unwrap();
    // The new rules are in force when this connection is refused, or at its end.
    let _ = world.server.reload();
    let refused = world.connect("localhost", SslMode::Disable, None).await.unwrap_err();
    assert!(refused.contains("no encryption"), "{refused}");
    for mode in [SslMode::Allow, SslMode::Prefer, SslMode::VerifyFull] {
        let store = world.connect("localhost", mode, Some(&good)).await;
        store.unwrap_or_else(|error| panic!("{mode:?}: {error}")).close().await.unwrap();
    }
}

#[test]
fn a_file_of_roots_that_is_none_is_told_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    let refused = |mode| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = PostgresOptions { ssl_mode: Some(mode), ssl_root_cert: Some(file.clone()), ..Default::default() };
        let connecting = PostgresStore::connect(options, StoreOptions::default());
        runtime.block_on(connecting).unwrap_err().to_string()
    };
    let missing = refused(SslMode::VerifyFull);
    assert!(missing.contains("roots.pem") && missing.contains("sslrootcert"), "{missing}");
    std::fs::write(&file, "no certificate").unwrap();
    let empty = refused(SslMode::VerifyCa);
    assert!(empty.contains("no certificate in it"), "{empty}");
}
