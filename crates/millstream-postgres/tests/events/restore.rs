//! Crashes, copies and backups.

use millstream_core::{Error, EventStore, StartFrom, Store};
use millstream_postgres::{PostgresOptions, schema};
use millstream_servers::{Mode, Postgres};
use tokio_postgres::Client;

use crate::{
    log::{self, Log, Ours, POLL, Reader, ask, event, follow, run},
    world,
};

/// Readers act on a position at once, so it must not name another event after a crash, even if the session that gave it
/// out does not wait for its commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_outlives_a_crash() {
    for version in millstream_servers::postgres::available() {
        let mut server = Postgres::start(version).unwrap();
        let url = server.url();
        let store = log::connect(&url, "crashed", POLL).await;
        store.close().await.unwrap();
        let (client, _driver) = world::connect(&url).await;
        let mut delivered: Vec<(i64, String)> = Vec::new();
        for round in 0..3 {
            let (client, _driver) = world::connect(&url).await;
            run(&client, &format!("select crashed.append('s', '[{{\"type\": \"{round}\"}}]')")).await;
            run(&client, "set synchronous_commit = off; select crashed.sequence_events(100, 0, false, false)").await;
            let row = client.query_one("select id, type from crashed.queue_events order by id desc limit 1", &[]).await;
            let row = row.unwrap();
            delivered.push((row.get(0), row.get(1)));
            server.restart(Mode::Immediate).unwrap();
        }
        drop(client);
        assert_eq!(delivered, [(1, "0".into()), (2, "1".into()), (3, "2".into())]);
        let store = log::connect(&url, "crashed", POLL).await;
        store.append(&[event("s", "3")]).await.unwrap();
        let mut reader = follow(&store, StartFrom::Start).await;
        assert_eq!(reader.until("3").await, ["0", "1", "2", "3"]);
        store.close().await.unwrap();
    }
}

/// Tables and sequences of a schema that hold data, as a logical dump has them.
const TABLES: &str = "
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'copied' and c.relkind in ('r', 'p') and not c.relispartition order by 1";
const SEQUENCES: &str =
    "select sequencename::text from pg_sequences where schemaname = 'copied' and last_value is not null";

/// Copies a schema's rows, as text, into the same schema of another server.
async fn copy(from: &Client, to: &Client) {
    // As pg_dump has it restored: without triggers.
    run(to, "set session_replication_role = replica").await;
    for row in from.query(TABLES, &[]).await.unwrap() {
        let table: String = row.get(0);
        let rows = from.query(&format!("select t::text from copied.\"{table}\" t"), &[]).await.unwrap();
        run(to, &format!("delete from copied.\"{table}\"")).await;
        for row in rows {
            let text: String = row.get(0);
            let insert = format!("insert into copied.\"{table}\" select (($1::text)::copied.\"{table}\").*");
            let insert = if table == "migration" { format!("{insert} on conflict do nothing") } else { insert };
            to.execute(&insert, &[&text]).await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        }
    }
    for row in from.query(SEQUENCES, &[]).await.unwrap() {
        let name: String = row.get(0);
        let last = ask(from, &format!("select last_value from copied.\"{name}\"")).await;
        run(to, &format!("select setval('copied.\"{name}\"', {last})")).await;
    }
    run(to, "set session_replication_role = default").await;
}

/// Nothing in the log refers to the cluster it was written in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_on_in_another_cluster() {
    for version in millstream_servers::postgres::available() {
        let (old, new) = (Postgres::get(version).unwrap().create_database(), Postgres::start(version).unwrap());
        let ours = Ours::open(&old.url(), "copied").await;
        // Transactions of the old cluster are far ahead of those of the new one.
        ours.run("do $$ begin for n in 1..2000 loop begin perform pg_current_xact_id(); end; commit; end loop; end $$")
            .await;
        for mark in ["1", "2"] {
            ours.store.append(&[event("s", mark).expecting(mark.parse::<u64>().unwrap() - 1)]).await.unwrap();
        }
        let mut reader = ours.reader().await;
        assert_eq!(reader.until("2").await, ["1", "2"]);
        drop(reader);
        run(&ours.client, &ours.append("s", "not numbered")).await;
        schema::up(&PostgresOptions::new(new.url()).schema("copied")).await.unwrap();
        let (to, _driver) = world::connect(&new.url()).await;
        copy(&ours.client, &to).await;
        ours.close().await;

        let store = log::connect(&new.url(), "copied", POLL).await;
        let mut resumed = follow(&store, StartFrom::After(2)).await;
        store.append(&[event("s", "after").expecting(3)]).await.unwrap();
        assert_eq!(resumed.until("after").await, ["not numbered", "after"]);
        let mut all = follow(&store, StartFrom::Start).await;
        assert_eq!(all.until("after").await, ["1", "2", "not numbered", "after"]);
        store.close().await.unwrap();
    }
}

/// An older backup in the place of the log: who was further than that is told, and so is who listens just now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_is_noticed() {
    const RESTORE: &str = "delete from {schema}.queue_events where id > 2; update {schema}.event_head set pos = 2";
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "older").await;
        let mut live = ours.reader().await;
        for mark in ["1", "2", "3", "4"] {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(live.until("4").await.len(), 4);
        ours.run(RESTORE).await;
        let told = live.next().await;
        assert!(matches!(told, Err(Error::LogWentBack { requested: 4, head: 2 })), "{told:?}");
        let answer = ours.store.subscribe(&millstream_core::Pattern::All, StartFrom::After(4)).await;
        assert!(matches!(answer, Err(Error::LogWentBack { requested: 4, head: 2 })));

        // As many events as before, and another log.
        let mut live = ours.reader().await;
        assert_eq!(live.until("2").await.len(), 2);
        ours.run("update {schema}.event_head set log_id = gen_random_uuid()").await;
        let told = live.next().await;
        assert!(matches!(told, Err(Error::LogWentBack { requested: 2, head: 2 })), "{told:?}");
        ours.close().await;
    }
}
