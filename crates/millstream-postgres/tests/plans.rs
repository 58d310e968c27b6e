//! Every statement is prepared on every server, and the hot ones ride their index: on empty tables, on statistics that
//! were taken while they were empty, and on full ones. Plans are the generic ones, which a server keeps for long.

use std::{fs, path::Path};

use millstream_core::{Store, StoreOptions};
use millstream_postgres::{PostgresOptions, PostgresStore};
use tokio_postgres::{Client, SimpleQueryMessage};

mod world;

const SCHEMA: &str = "plans";
/// What the store's own sessions are set to.
const SESSION: &str = "set enable_seqscan = off; set enable_nestloop = off; set jit = off; \
                       set plan_cache_mode = force_generic_plan";

/// Statements, the indexes that their plans must name, and the tables that they must not read whole.
const RIDES: &[(&str, &[&str], &[&str])] = &[
    ("job/claim", &["job_ready", "job_pkey"], &["job_live", "job"]),
    ("job/settle", &["job_live_pkey"], &["job_live", "job", "job_key"]),
    ("job/enqueue", &["job_pkey"], &["job", "job_key"]),
    ("job/fence", &["job_live_pkey"], &["job_live"]),
    ("job/backoff", &["job_live_pkey", "job_pkey"], &["job_live", "job"]),
    ("job/beat", &["job_live_pkey"], &["job_live"]),
    ("job/progress", &["job_live_pkey"], &["job_live", "job"]),
    ("job/promote_due", &["job_due"], &["job_live", "job"]),
    ("job/next_due", &["job_due"], &["job_live"]),
    ("job/expired", &["job_lease"], &["job_live"]),
    ("job/find", &["job_key_pkey", "job_pkey", "job_live_pkey", "job_done_pkey"], &["job", "job_live", "job_done"]),
    ("job/page", &["job_pkey"], &["job", "job_live", "job_done"]),
    ("job/page_states", &["job_live_pkey", "job_done_state"], &["job", "job_live", "job_done"]),
    ("job/remove", &["job_pkey", "job_live_pkey", "job_done_pkey"], &["job", "job_live", "job_done", "job_key"]),
    ("job/retry", &["job_done_pkey", "job_pkey"], &["job", "job_done"]),
    ("job/sweep_old", &["job_done_expires"], &["job_done"]),
    ("job/sweep_many", &["job_done_keep"], &["job_done"]),
    ("schedule/due", &["schedule_due"], &["schedule"]),
    ("events/read", &["queue_events_pkey"], &["queue_events"]),
    ("events/read_backward", &["queue_events_pkey"], &["queue_events"]),
    ("events/read_stream", &["queue_events_stream"], &["queue_events"]),
    ("events/read_stream_backward", &["queue_events_stream"], &["queue_events"]),
    ("state/get", &["state_pkey"], &["state"]),
    ("state/list", &["state_pkey"], &["state"]),
    ("state/delete", &["state_pkey"], &["state"]),
    ("state/sweep", &["state_expires"], &["state"]),
];

/// Paths and texts of all statements.
fn statements() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut found = Vec::new();
    for noun in fs::read_dir(&root).unwrap() {
        for file in fs::read_dir(noun.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.with_extension("").strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            found.push((name, text.replace("{schema}", SCHEMA)));
        }
    }
    found.sort();
    found
}

async fn opened(url: &str) -> (PostgresStore, Client, tokio::task::JoinSet<()>) {
    let options = PostgresOptions::new(url).schema(SCHEMA);
    let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
    let (client, driver) = world::connect(url).await;
    (store, client, driver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_is_prepared() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        for (path, text) in statements() {
            if let Err(error) = client.prepare(&text).await {
                panic!("{path} on {version}: {error:?}");
            }
        }
        store.close().await.unwrap();
    }
}

/// The generic plan of a statement.
async fn plan(client: &Client, text: &str) -> String {
    client.batch_execute(&format!("prepare planned as {text}")).await.unwrap();
    let count = "select cardinality(parameter_types) from pg_prepared_statements where name = 'planned'";
    let count: i32 = client.query_one(count, &[]).await.unwrap().get(0);
    let nulls = vec!["null"; usize::try_from(count).unwrap()].join(", ");
    let nulls = if count == 0 { nulls } else { format!("({nulls})") };
    let rows = client.simple_query(&format!("explain execute planned{nulls}")).await.unwrap();
    client.batch_execute("deallocate planned").await.unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

async fn check(client: &Client, when: &str) {
    let all = statements();
    for (path, indexes, tables) in RIDES {
        let text = &all.iter().find(|(name, _)| name == path).unwrap_or_else(|| panic!("no {path}")).1;
        let plan = plan(client, text).await;
        for index in *indexes {
            let named = |line: &str| line.contains(&format!(" {index} ")) || line.ends_with(&format!(" {index}"));
            assert!(plan.lines().any(named), "{path} {when} does not ride {index}:\n{plan}");
        }
        for table in *tables {
            let whole = |line: &str| {
                line.contains(&format!("Seq Scan on {table} ")) || line.ends_with(&format!("Seq Scan on {table}"))
            };
            assert!(!plan.lines().any(whole), "{path} {when} reads {table} whole:\n{plan}");
        }
    }
}

/// 100,000 jobs live, as many done, 100,000 events and values.
const FILL: &str = "
    insert into plans.queue (name) values ('q');
    insert into plans.job (queue, id, name, data, created_at)
        select 1, i, 'n', '{}', now() from generate_series(1, 200000) i;
    insert into plans.job_live (queue, job, state, priority, seq, run_at, attempts, claim, lease_until)
        select 1, i, (case when i % 10 = 0 then 'd' when i % 10 = 1 then 'a' else 'w' end)::\"char\", 0, i, now(), 3,
               case when i % 10 = 1 then i end, case when i % 10 = 1 then now() end
        from generate_series(1, 100000) i;
    insert into plans.job_done (queue, job, state, cancel, run_at, attempt, attempts, life, finished_at, keep, expires_at)
        select 1, i, 'c', false, now(), 1, 3, 0, now(), case when i % 7 = 0 then 9 end, case when i % 7 = 0 then now() end
        from generate_series(100001, 200000) i;
    insert into plans.state (key, value, expires_at)
        select 'k' || i, '1', case when i % 7 = 0 then now() end from generate_series(1, 100000) i;
    set millstream.sequencing = 'on';
    insert into plans.queue_events (id, stream, ts, type, data)
        select i, 's' || i % 1000, now(), 'e', '1' from generate_series(1, 100000) i;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_statements_ride_their_index() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        check(&client, &format!("when empty, on {version}")).await;
        for table in ["job", "job_live", "job_done", "job_key", "state", "queue_events", "schedule"] {
            let off = format!("alter table plans.{table} set (autovacuum_enabled = off)");
            client.batch_execute(&off).await.unwrap();
            client.batch_execute(&format!("vacuum analyze plans.{table}")).await.unwrap();
        }
        client.batch_execute(FILL).await.unwrap();
        check(&client, &format!("on the statistics of empty tables, on {version}")).await;
        client.batch_execute("analyze").await.unwrap();
        check(&client, &format!("when full, on {version}")).await;
        store.close().await.unwrap();
    }
}

/// Pages that the claim of a batch touches.
async fn pages(client: &Client, floor: i64) -> i64 {
    let text = statements().into_iter().find(|(name, _)| name == "job/claim").unwrap().1;
    let literal = [
        ("$1::integer[]", "array[1]".to_owned()),
        ("$2::bigint[]", "array[200]::bigint[]".to_owned()),
        ("$3::integer[]", "array[0]".to_owned()),
        ("$4::bigint[]", format!("array[{floor}]::bigint[]")),
        ("$5::bigint", "200::bigint".to_owned()),
        ("$6::bigint", "30000000::bigint".to_owned()),
        ("$7::bigint", "7::bigint".to_owned()),
    ];
    let text = literal.iter().fold(text, |text, (param, value)| text.replace(param, value));
    touched(client, &text).await
}

/// Pages that a statement without parameters touches.
async fn touched(client: &Client, text: &str) -> i64 {
    let json: serde_json::Value =
        client.query_one(&format!("explain (analyze, buffers, format json) {text}"), &[]).await.unwrap().get(0);
    let top = &json[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}

/// A held horizon keeps what was taken in the index; with the floor, a claim does not walk over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_under_a_held_horizon() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        let (holder, _holding) = world::connect(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute(FILL).await.unwrap();
        client.batch_execute("update plans.job_live set state = 'w', claim = null, lease_until = null").await.unwrap();
        client.batch_execute("vacuum analyze plans.job_live").await.unwrap();
        holder.batch_execute("begin isolation level repeatable read; select count(*) from plans.queue").await.unwrap();
        let first = pages(&client, 0).await;
        let mut last = first;
        for batch in 1..=100_i64 {
            last = pages(&client, batch * 200 - 2_000).await;
        }
        assert!(last <= first * 2, "on {version} the first claim touched {first} pages, the hundredth {last}");
        store.close().await.unwrap();
    }
}

/// Pages of a queue's counts: those of its name and of the tallies since the last fold.
const COUNTS_PAGES_MAX: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_touch_no_jobs() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(FILL).await.unwrap();
        let tally = "insert into plans.queue_tally (queue, waiting, completed) values (1, 80000, 100000)";
        client.batch_execute(tally).await.unwrap();
        let text = statements().into_iter().find(|(name, _)| name == "queue/list").unwrap().1;
        let pages = touched(&client, &text.replace("$1::text", "'q'")).await;
        assert!((1..=COUNTS_PAGES_MAX).contains(&pages), "on {version} counts touched {pages} pages");
        store.close().await.unwrap();
    }
}
