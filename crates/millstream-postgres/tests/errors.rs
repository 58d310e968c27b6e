//! What somebody reads when Postgres refuses.

use std::net::TcpListener;

use millstream_core::{Error, JobName, NewJob, QueueName, QueueProvider, Result, Store, StoreOptions};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{Mode, Postgres, postgres};
use serde_json::json;

const SECRET: &str = "Tr0ub4dor";

async fn connect(url: &str) -> Result<PostgresStore> {
    PostgresStore::connect(PostgresOptions::new(url), StoreOptions::default()).await
}

/// The text of an error as people and logs see it.
fn told(error: &Error) -> String {
    let text = error.to_string();
    for shown in [text.clone(), format!("{error:?}")] {
        assert!(!shown.contains(SECRET), "a password in: {shown}");
    }
    text
}

/// The server's URL with another user, and a password.
fn as_user(url: &str, user: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    format!("postgres://{user}:{SECRET}@{rest}")
}

#[tokio::test]
async fn a_refused_login_says_what_the_server_said() {
    let database = postgres::v15().create_database();
    let text = told(&connect(&as_user(&database.url(), "nobody")).await.unwrap_err());
    let (_, place) = database.url().split_once('@').map(|(user, rest)| (user.to_owned(), rest.to_owned())).unwrap();
    let (host, name) = place.split_once('/').unwrap();
    let expected = format!(
        "postgres failed to connect: no connection to {host} (database `{name}`, user `nobody`): \
         password authentication failed for user \"nobody\" (SQLSTATE 28P01)"
    );
    assert_eq!(text, expected);

    let text = told(&connect(&format!("{}_gone", database.url())).await.unwrap_err());
    assert!(text.contains("_gone\" does not exist (SQLSTATE 3D000)"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_its_reason() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = told(&connect(&format!("postgres://app:{SECRET}@{free}/app")).await.unwrap_err());
    let place = format!("no connection to {free} (database `app`, user `app`): error connecting to server: ");
    assert!(text.starts_with(&format!("postgres failed to connect: {place}")), "{text}");
    assert!(text.to_lowercase().contains("refused"), "{text}");
}

#[tokio::test]
async fn every_host_that_was_tried_is_named() {
    let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let hosts = free.map(|free| free.to_string());
    for url in [
        format!("postgres://app:{SECRET}@{}/jobs", hosts.join(",")),
        format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user=app dbname=jobs password={SECRET}",
            free[0].port(),
            free[1].port()
        ),
    ] {
        let text = told(&connect(&url).await.unwrap_err());
        let place = format!("no connection to any of {} (database `jobs`, user `app`): ", hosts.join(", "));
        assert!(text.contains(&place), "{text}");
    }
    let text = told(&connect(&format!("host=/nowhere port=5433 user=app password={SECRET}")).await.unwrap_err());
    assert!(text.contains("no connection to /nowhere/.s.PGSQL.5433 (user `app`): "), "{text}");
}

#[tokio::test]
async fn a_server_that_went_away_is_named() {
    let mut server = Postgres::start(*postgres::available().last().unwrap()).unwrap();
    let address = server.address();
    let url = format!("postgres://postgres:{}@{address}/postgres", server.password());
    let store = connect(&url).await.unwrap();
    server.stop(Mode::Kill).unwrap();
    // The connections of the pool break first, each for one caller.
    let text = loop {
        let error = store.queues().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        if error.to_string().contains("no connection to") {
            break error.to_string();
        }
    };
    assert!(text.contains(&format!("{address} (database `postgres`, user `postgres`): ")), "{text}");
    assert!(!text.contains(server.password()), "a password in: {text}");
}

#[tokio::test]
async fn a_connection_string_that_cannot_be_read_is_not_shown() {
    for url in [
        format!("postgres://app:{SECRET}@localhost:port/app"),
        format!("host=localhost port=x password={SECRET}"),
        format!("postgres://app:{SECRET}@localhost/app?connect_timeout=soon"),
    ] {
        let error = connect(&url).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        told(&error);
    }
}

#[tokio::test]
async fn a_statement_that_fails_is_told_with_code_detail_and_hint() {
    let database = postgres::v15().create_database();
    let store = connect(&database.url()).await.unwrap();
    let raise = |code: &str| {
        format!(
            "create or replace function refuse() returns trigger language plpgsql as $$ begin
                 raise exception 'the disk is full' using errcode = '{code}', detail = 'of rows', hint = 'buy one';
             end $$;
             create or replace trigger refuse before insert on millstream.job execute function refuse()"
        )
    };
    let job = NewJob::new(QueueName::new("q").unwrap(), JobName::new("work").unwrap(), json!(1));

    database.run(&raise("53100")).unwrap();
    let error = store.enqueue(std::slice::from_ref(&job)).await.unwrap_err();
    assert!(error.is_transient());
    let expected = "postgres failed to enqueue: the disk is full (SQLSTATE 53100); detail: of rows; hint: buy one";
    assert_eq!(told(&error), expected);
    // The driver's own error is still there for who wants it.
    let mut causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    assert!(causes.any(|cause| cause.downcast_ref::<tokio_postgres::Error>().is_some()));

    // Of data that is refused, the detail would be the data.
    database.run(&raise("23514")).unwrap();
    let text = told(&store.enqueue(&[job]).await.unwrap_err());
    assert!(text.contains("the disk is full") && !text.contains("of rows"), "{text}");
    store.close().await.unwrap();
}
