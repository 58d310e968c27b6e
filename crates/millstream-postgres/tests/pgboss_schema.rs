//! pg-boss's schema: made once, used as it stands, never raised. That it is what Node's pg-boss makes is held by the
//! tests in `tests/interop`.

use millstream_core::Error;
use millstream_postgres::{PostgresOptions, pgboss::schema};
use tokio::task::JoinSet;

mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_processes_may_create_it_at_once() {
    for (_, database) in world::databases() {
        let options = PostgresOptions::new(database.url());
        assert_eq!(schema::status(&options, "jobs").await.unwrap().found, None);
        let mut all = JoinSet::new();
        for _ in 0..6 {
            let options = options.clone();
            all.spawn(async move { schema::up(&options, "jobs").await });
        }
        while let Some(one) = all.join_next().await {
            assert_eq!(one.unwrap().unwrap().found, Some(schema::CREATED));
        }
        let (client, _driver) = world::connect(&database.url()).await;
        let versions = client.query("select version from jobs.version", &[]).await.unwrap();
        assert_eq!(versions.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [schema::CREATED]);
        // Another schema of the same database is its own.
        assert_eq!(schema::up(&options, "More_Jobs").await.unwrap().found, Some(schema::CREATED));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_text_makes_the_same() {
    for (_, database) in world::databases() {
        let (client, _driver) = world::connect(&database.url()).await;
        client.batch_execute(&schema::creation("printed").unwrap()).await.unwrap();
        let found = schema::status(&PostgresOptions::new(database.url()), "printed").await.unwrap();
        assert_eq!(found.found, Some(schema::CREATED));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_used_as_it_stands_or_refused() {
    for (_, database) in world::databases() {
        let options = PostgresOptions::new(database.url());
        schema::up(&options, "pgboss").await.unwrap();
        let (client, _driver) = world::connect(&database.url()).await;
        for version in [schema::OLDEST, schema::CREATED + 1] {
            client.execute("update pgboss.version set version = $1", &[&version]).await.unwrap();
            assert_eq!(schema::up(&options, "pgboss").await.unwrap().found, Some(version));
        }
        client.execute("update pgboss.version set version = $1", &[&(schema::OLDEST - 1)]).await.unwrap();
        let told = schema::up(&options, "pgboss").await.unwrap_err();
        assert!(
            matches!(&told, Error::Schema { found, hint, .. } if found == "42" && hint.contains("migrate")),
            "{told}"
        );
        client.execute("delete from pgboss.version", &[]).await.unwrap();
        let told = schema::up(&options, "pgboss").await.unwrap_err();
        assert!(matches!(told, Error::Corrupt { table: "version", .. }), "{told}");
    }
}

/// The number is what Node's pg-boss 12.38 takes for the database `boss`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_is_pg_boss_own() {
    for (_, database) in world::databases() {
        let (client, _driver) = world::connect(&database.url()).await;
        client.batch_execute("create database boss").await.unwrap();
        let url = database.url().rsplit_once('/').map(|(server, _)| format!("{server}/boss")).unwrap();
        let (mut client, _driver) = world::connect(&url).await;
        let node = client.transaction().await.unwrap();
        node.execute("select pg_advisory_xact_lock(7946855805433668440)", &[]).await.unwrap();
        let options = PostgresOptions::new(&url);
        let mut up = JoinSet::new();
        up.spawn(async move { schema::up(&options, "pgboss").await });
        let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)";
        while !node.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(up.try_join_next().is_none(), "it did not wait for the lock");
        }
        node.commit().await.unwrap();
        assert_eq!(up.join_next().await.unwrap().unwrap().unwrap().found, Some(schema::CREATED));
    }
}
