//! Every statement is prepared on every server, and the hot ones ride their index: on empty tables, on statistics that
//! were taken while they were empty, and on full ones. Plans are the generic ones, which a server keeps for long.

use std::{fs, path::Path};

use millstream_core::{JobName, NewJob, QueueName, QueueProvider, Store, StoreOptions};
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
    ("job/complete", &["job_live_pkey", "job_pkey"], &["job_live", "job", "job_key"]),
    ("job/expired", &["job_live_pkey"], &["job_live"]),
    ("book/tidy", &["job_live_pkey"], &["job_live"]),
    ("job/find", &["job_key_pkey", "job_pkey", "job_live_pkey", "job_done_pkey"], &["job", "job_live", "job_done"]),
    ("job/page", &["job_pkey"], &["job", "job_live", "job_done"]),
    ("job/page_states", &["job_live_pkey", "job_done_pkey"], &["job", "job_live", "job_done"]),
    ("job/remove", &["job_pkey", "job_live_pkey", "job_done_pkey"], &["job", "job_live", "job_done", "job_key"]),
    ("job/retry", &["job_done_pkey", "job_pkey"], &["job", "job_done"]),
    ("job/sweep_old", &["job_done_expires"], &["job_done"]),
    ("job/sweep_many", &["job_done_keep"], &["job_done"]),
    ("schedule/due", &["schedule_due"], &["schedule"]),
    ("events/read", &["queue_events_p1_pkey"], &["queue_events_p1"]),
    ("events/read_backward", &["queue_events_p1_pkey"], &["queue_events_p1"]),
    ("events/read_stream", &["queue_events_p1_stream_id_idx"], &["queue_events_p1"]),
    ("events/read_stream_backward", &["queue_events_p1_stream_id_idx"], &["queue_events_p1"]),
    ("groups/read", &["queue_events_p1_pkey", "queue_event_parked_stream"], &["queue_events_p1", "queue_event_parked"]),
    ("groups/read_stream", &["queue_events_p1_stream_id_idx", "queue_event_parked_stream"], &["queue_events_p1"]),
    ("groups/claim", &["queue_event_cursors_pkey"], &["queue_event_cursors"]),
    ("groups/move", &["queue_event_cursors_pkey"], &["queue_event_cursors"]),
    ("groups/park", &["queue_event_cursors_pkey"], &["queue_event_cursors"]),
    ("groups/fail", &["queue_event_cursors_pkey"], &["queue_event_cursors"]),
    ("groups/parked", &["queue_event_parked_pkey"], &["queue_event_parked"]),
    ("groups/age", &["queue_events_p1_pkey"], &["queue_events_p1"]),
    ("state/get", &["state_pkey"], &["state"]),
    ("state/list", &["state_pkey"], &["state"]),
    ("state/delete", &["state_pkey"], &["state"]),
    ("state/sweep", &["state_expires"], &["state"]),
];

/// Paths and texts of all statements on our own tables.
fn statements() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut found = Vec::new();
    for noun in fs::read_dir(&root).unwrap().map(Result::unwrap).filter(|noun| noun.file_name() != "pgboss") {
        for file in fs::read_dir(noun.path()).unwrap() {
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
    // Numbers, not nulls: no partition of the log is behind a null.
    let values = "select coalesce(string_agg(case when t.type in ('bigint'::regtype, 'integer'::regtype)
                  then (t.ord * 1000)::text else 'null' end, ', ' order by t.ord), '')
                  from pg_prepared_statements p, unnest(p.parameter_types) with ordinality t(type, ord)
                  where p.name = 'planned'";
    let values: String = client.query_one(values, &[]).await.unwrap().get(0);
    let values = if values.is_empty() { values } else { format!("({values})") };
    let rows = client.simple_query(&format!("explain execute planned{values}")).await.unwrap();
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

/// How many jobs are live; as many are done, and there are as many events and values. `MILLSTREAM_PLAN_ROWS` says another
/// number.
const ROWS: u64 = 100_000;

fn fill() -> String {
    let rows = std::env::var("MILLSTREAM_PLAN_ROWS").map_or(ROWS, |text| text.parse().expect("MILLSTREAM_PLAN_ROWS"));
    FILL.replace("{rows}", &rows.to_string())
}

const FILL: &str = "
    insert into plans.queue (name) values ('q');
    insert into plans.job (queue, id, name, data, created_at)
        select 1, i, 'n', '{}', now() from generate_series(1, 2 * {rows}) i;
    insert into plans.job_live (queue, job, state, priority, seq, run_at, attempts, claim, lease_until)
        select 1, i, (case when i % 10 = 0 then 'd' when i % 10 = 1 then 'a' else 'w' end)::\"char\", 0, i, now(), 3,
               case when i % 10 = 1 then i end, case when i % 10 = 1 then now() end
        from generate_series(1, {rows}) i;
    insert into plans.job_done (queue, job, state, cancel, run_at, attempt, attempts, life, finished_at, keep, expires_at)
        select 1, i, 'c', false, now(), 1, 3, 0, now(), case when i % 7 = 0 then 9 end, case when i % 7 = 0 then now() end
        from generate_series({rows} + 1, 2 * {rows}) i;
    insert into plans.queue_event_groups (name, pattern, types, partitions, poison, attempts, retain, lease, created_at)
        values ('g', '*', '{}', 64, 'stop', 5, true, interval '30 s', now());
    insert into plans.queue_event_cursors (group_name, part, pos) select 'g', i, 0 from generate_series(0, 63) i;
    insert into plans.queue_event_parked (group_name, pos, stream, stops_stream, error, attempts, parked_at)
        select 'g', i, 's' || i, true, 'no', 5, now() from generate_series(1, 20000) i;
    insert into plans.state (key, value, expires_at)
        select 'k' || i, '1', case when i % 7 = 0 then now() end from generate_series(1, {rows}) i;
    update plans.event_head set pos = {rows};
    select plans.make_event_partitions();
    set millstream.sequencing = 'on';
    insert into plans.queue_events (id, stream, ts, type, data, bucket)
        select i, 's' || i % 1000, now(), 'e', '1', plans.event_bucket('s' || i % 1000) from generate_series(1, {rows}) i;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_statements_ride_their_index() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        check(&client, &format!("when empty, on {version}")).await;
        for table in ["job", "job_live", "job_done", "job_key", "state", "queue_events_p1", "schedule"] {
            let off = format!("alter table plans.{table} set (autovacuum_enabled = off)");
            client.batch_execute(&off).await.unwrap();
            client.batch_execute(&format!("vacuum analyze plans.{table}")).await.unwrap();
        }
        client.batch_execute(&fill()).await.unwrap();
        check(&client, &format!("on the statistics of empty tables, on {version}")).await;
        client.batch_execute("analyze").await.unwrap();
        check(&client, &format!("when full, on {version}")).await;
        store.close().await.unwrap();
    }
}

/// What a claim of a batch costs, whatever the machine: pages it touches, and live rows it looks at.
#[derive(Debug)]
struct Cost {
    pages: i64,
    rows: i64,
}

/// Rows of `job_live` that this part of a plan and those below it looked at, taken or not.
fn looked_at(plan: &serde_json::Value) -> i64 {
    let number = |key: &str| plan[key].as_f64().unwrap_or(0.0);
    let own =
        match plan["Relation Name"] == "job_live" && plan["Node Type"].as_str().is_some_and(|it| it.contains("Scan")) {
            true => (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops"),
            false => 0.0,
        };
    let below = plan["Plans"].as_array().into_iter().flatten();
    own as i64 + below.map(looked_at).sum::<i64>()
}

async fn cost(client: &Client, floor: i64) -> Cost {
    touched(client, &claiming(200, floor)).await
}

/// The claim of so many jobs of the first queue, its parameters filled in.
fn claiming(jobs: usize, floor: i64) -> String {
    let text = statements().into_iter().find(|(name, _)| name == "job/claim").unwrap().1;
    let literal = [
        ("$1::integer[]", "array[1]".to_owned()),
        ("$2::bigint[]", format!("array[{jobs}]::bigint[]")),
        ("$3::integer[]", "array[0]".to_owned()),
        ("$4::bigint[]", format!("array[{floor}]::bigint[]")),
        ("$5::bigint", format!("{jobs}::bigint")),
        ("$6::bigint", "30000000::bigint".to_owned()),
        ("$7::bigint", "7::bigint".to_owned()),
        ("$8::bigint[]", "array[]::bigint[]".to_owned()),
    ];
    literal.iter().fold(text, |text, (param, value)| text.replace(param, value))
}

/// What a statement without parameters touches.
async fn touched(client: &Client, text: &str) -> Cost {
    let json: serde_json::Value =
        client.query_one(&format!("explain (analyze, buffers, format json) {text}"), &[]).await.unwrap().get(0);
    let top = &json[0]["Plan"];
    let pages = top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap();
    Cost { pages, rows: looked_at(top) }
}

/// Pages that a group's read of 1,000 events touches, a quarter of the partitions being asked for.
async fn pages_of_a_read(client: &Client, after: i64) -> (i64, i64) {
    let text = statements().into_iter().find(|(name, _)| name == "groups/read").unwrap().1;
    let afters = format!(
        "array(select case when p % 4 = 0 then {after} else 9223372036854775807 end from generate_series(0, 63) p)"
    );
    let literal = [
        ("$1::bigint[]", format!("{afters}::bigint[]")),
        ("$2::integer", "63".to_owned()),
        ("$3::bigint", format!("{after}::bigint")),
        ("$4::bigint", format!("{}::bigint", after + 50_000)),
        ("$5::text", "'s'::text".to_owned()),
        ("$6::text", "'t'::text".to_owned()),
        ("$7::text[]", "null::text[]".to_owned()),
        ("$8::bigint", "1000::bigint".to_owned()),
        ("$9::text", "null::text".to_owned()),
    ];
    let text = literal.iter().fold(text, |text, (param, value)| text.replace(param, value));
    let json: serde_json::Value =
        client.query_one(&format!("explain (analyze, buffers, format json) {text}"), &[]).await.unwrap().get(0);
    let top = &json[0]["Plan"];
    let pages = top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap();
    (pages, top["Actual Rows"].as_f64().unwrap() as i64)
}

#[expect(clippy::print_stdout, reason = "the figures of a long run are what it is for")]
fn told(line: &str) {
    println!("{line}");
}

/// However long the log is, a read costs what it answers: at 20,000 events, and at ten times as many; at another number
/// where `MILLSTREAM_PLAN_EVENTS` names one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_groups_read_costs_the_same_in_a_long_log() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        let mut seen = Vec::new();
        let few: i64 = std::env::var("MILLSTREAM_PLAN_EVENTS").map_or(20_000, |few| few.parse().expect("a number"));
        for (from, to) in [(1, few), (few + 1, 10 * few)] {
            let fill = format!(
                "update plans.event_head set pos = {to}; select plans.make_event_partitions();
                 set millstream.sequencing = 'on';
                 insert into plans.queue_events (id, stream, ts, type, data, bucket)
                     select i, 's' || i % 1000, now(), 'e', to_jsonb(repeat('x', 250)), plans.event_bucket('s' || i % 1000)
                     from generate_series({from}, {to}) i;
                 vacuum analyze plans.queue_events;"
            );
            for statement in fill.split(';').filter(|text| !text.trim().is_empty()) {
                client.batch_execute(statement).await.unwrap();
            }
            // The second time: the catalogue is in memory.
            pages_of_a_read(&client, to - 10_000).await;
            seen.push(pages_of_a_read(&client, to - 10_000).await);
        }
        let [(short, rows), (long, rows_long)] = seen[..] else { panic!("two sizes") };
        assert_eq!((rows, rows_long), (1_000, 1_000), "on {version}");
        told(&format!("on {version} 1,000 events of {few} touch {short} pages, of ten times as many {long}"));
        assert!((long - short).abs() <= short / 10, "on {version} a read touches {short} pages, then {long}");
        store.close().await.unwrap();
    }
}

/// Numbers below the last one taken that a search begins at.
const MARGIN: i64 = 2_000;

/// Jobs that run are in the index of those that are ready, and a held horizon keeps all that was taken in it; with the
/// floor, a claim walks over no more of them than its margin has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_under_a_held_horizon() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        let (holder, _holding) = world::connect(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute(&fill()).await.unwrap();
        client.batch_execute("update plans.job_live set state = 'w', claim = null, lease_until = null").await.unwrap();
        client.batch_execute("vacuum analyze plans.job_live").await.unwrap();
        holder.batch_execute("begin isolation level repeatable read; select count(*) from plans.queue").await.unwrap();
        let first = cost(&client, 0).await;
        let mut last = cost(&client, 200 - MARGIN).await;
        for batch in 2..=100_i64 {
            last = cost(&client, batch * 200 - MARGIN).await;
        }
        let told = format!("on {version}: the first claim costs {first:?}, the hundredth {last:?}");
        assert!(first.rows >= 200 && last.rows <= first.rows + MARGIN, "{told}");
        assert!(last.pages <= first.pages * 2, "{told}");
        store.close().await.unwrap();
    }
}

/// Twenty thousand jobs that run for long are in front of those that wait: a search from the beginning walks over them,
/// which is why there is one a second at most; the others do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_does_not_walk_over_jobs_that_run() {
    const RUNNING: i64 = 20_000;
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute(&fill()).await.unwrap();
        let running = format!(
            "update plans.job_live set state = case when seq <= {RUNNING} then 'a' else 'w' end::\"char\",
                 claim = case when seq <= {RUNNING} then 1 end, lease_until = case when seq <= {RUNNING} then now() end"
        );
        client.batch_execute(&running).await.unwrap();
        client.batch_execute("vacuum analyze plans.job_live").await.unwrap();
        let full = cost(&client, 0).await;
        let short = cost(&client, RUNNING + 200 - MARGIN).await;
        let told = format!("on {version}: a search from the beginning costs {full:?}, one from the floor {short:?}");
        // From the beginning it is each running job once, and a page for more than twenty of them.
        assert!((RUNNING..=RUNNING + 2 * 200).contains(&full.rows), "{told}");
        assert!(full.pages <= short.pages + RUNNING / 20, "{told}");
        assert!(short.rows <= 2 * 200 + MARGIN, "{told}");
        store.close().await.unwrap();
    }
}

/// Nothing that a claim changes of a job is in an index, and the page has room for it: it writes no index entry, and nine
/// times in ten where the job came back to wherever there was room. A beat does not either, where what the claim replaced
/// is gone from the page; here it renews all jobs of a page at once, for which there is not quite room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_writes_no_index_of_jobs() {
    const JOBS: usize = 5_000;
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        let queue = QueueName::new("q").unwrap();
        let job = NewJob::new(queue, JobName::new("work").unwrap(), serde_json::json!({}));
        store.enqueue(&vec![job; JOBS]).await.unwrap();
        // Nobody else is there, so that what is replaced can be cleared away.
        store.close().await.unwrap();
        client.batch_execute("alter table plans.job_live set (autovacuum_enabled = off)").await.unwrap();
        let claimed = updated_by(&client, &claiming(JOBS, 0)).await;
        assert_eq!((claimed.updated, claimed.heap_only), (JOBS as i64, JOBS as i64), "on {version}");
        client.batch_execute("vacuum plans.job_live").await.unwrap();
        let beaten = updated_by(&client, &beating()).await;
        assert_eq!(beaten.updated, JOBS as i64, "on {version}");
        assert!(beaten.heap_only * 100 >= beaten.updated * 50, "a beat on {version}: {beaten:?}");
        // All of them come back, which writes the index, and wherever there is room; and are claimed again.
        for round in 0..3 {
            client.batch_execute("vacuum plans.job_live").await.unwrap();
            client.batch_execute(BACK).await.unwrap();
            client.batch_execute("vacuum plans.job_live").await.unwrap();
            let again = updated_by(&client, &claiming(JOBS, 0)).await;
            let told = format!("round {round} on {version}: {again:?}");
            assert_eq!(again.updated, JOBS as i64, "{told}");
            assert!(again.heap_only * 100 >= again.updated * 90, "{told}");
        }
    }
}

/// What runs is given back, each with a new number.
const BACK: &str = "update plans.job_live set state = 'w', claim = null, lease_until = null,
                        seq = nextval('plans.job_seq'), run_at = now() where state = 'a'";

/// Rows of `job_live` that a statement wrote anew, and those of them for which no index was written.
#[derive(Debug)]
struct Updated {
    updated: i64,
    heap_only: i64,
}

async fn updated_by(client: &Client, text: &str) -> Updated {
    let counted = "select pg_stat_get_xact_tuples_updated(t), pg_stat_get_xact_tuples_hot_updated(t)
                   from (select 'plans.job_live'::regclass::oid as t) x";
    client.batch_execute("begin").await.unwrap();
    // A session counts until it reports, which it does now and then.
    let before = client.query_one(counted, &[]).await.unwrap();
    client.query(text, &[]).await.unwrap();
    let after = client.query_one(counted, &[]).await.unwrap();
    client.batch_execute("commit").await.unwrap();
    let more = |column: usize| after.get::<_, i64>(column) - before.get::<_, i64>(column);
    Updated { updated: more(0), heap_only: more(1) }
}

/// The beat of all jobs that run, its parameters filled in.
fn beating() -> String {
    let text = statements().into_iter().find(|(name, _)| name == "job/beat").unwrap().1;
    let of = |column: &str, kind: &str| {
        format!("array(select l.{column} from plans.job_live l where l.state = 'a' order by l.job)::{kind}[]")
    };
    let literal = [
        ("$1::integer[]", of("queue", "integer")),
        ("$2::bigint[]", of("job", "bigint")),
        ("$3::bigint[]", of("claim", "bigint")),
        ("$4::bigint", "30000000::bigint".to_owned()),
    ];
    literal.iter().fold(text, |text, (param, value)| text.replace(param, value))
}

/// A batch of large bodies is larger than `work_mem`. They leave as they are stored, compressed, and only on their way to
/// the client unpacked: nothing is sorted on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_large_bodies_needs_no_disk() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        let fill = "set work_mem = '1MB';
            insert into plans.queue (name) values ('q');
            insert into plans.job (queue, id, name, data, created_at)
                select 1, i, 'n', json_build_object('pad', repeat('x', 10000)), now() from generate_series(1, 1000) i;
            insert into plans.job_live (queue, job, state, priority, seq, run_at, attempts)
                select 1, i, 'w', 0, i, now(), 3 from generate_series(1, 1000) i;";
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute(fill).await.unwrap();
        let text = format!("explain (analyze, buffers, format json) {}", claiming(1_000, 0));
        let json: serde_json::Value = client.query_one(&text, &[]).await.unwrap().get(0);
        let top = &json[0]["Plan"];
        assert_eq!(top["Actual Rows"].as_f64(), Some(1_000.0), "on {version}");
        assert_eq!(top["Temp Written Blocks"].as_i64(), Some(0), "on {version}: {json:#}");
        store.close().await.unwrap();
    }
}

/// Pages of a queue's counts: those of its name and of the tallies since the last fold.
const COUNTS_PAGES_MAX: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_touch_no_jobs() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(&fill()).await.unwrap();
        let tally = "insert into plans.queue_tally (queue, waiting, completed) values (1, 80000, 100000)";
        client.batch_execute(tally).await.unwrap();
        let text = statements().into_iter().find(|(name, _)| name == "queue/list").unwrap().1;
        let pages = touched(&client, &text.replace("$1::text", "'q'")).await.pages;
        assert!((1..=COUNTS_PAGES_MAX).contains(&pages), "on {version} counts touched {pages} pages");
        store.close().await.unwrap();
    }
}
