//! Every statement on pg-boss's tables is prepared on every server, and the hot ones ride their index, whatever the
//! statistics know: the plan cliffs of a queue that came after the last ANALYZE are not ours.

use std::{fs, path::Path};

use millstream_core::{Store, StoreOptions};
use millstream_postgres::{
    PostgresOptions,
    pgboss::{PgBossOptions, PgBossStore, QueueSettings},
};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

mod world;

/// What the store's own sessions are set to, and the plans that a server keeps.
const SESSION: &str = "set enable_seqscan = off; set enable_nestloop = off; set jit = off; \
                       set plan_cache_mode = force_generic_plan";
/// Jobs that the statistics do not know.
const BACKLOG: i64 = 60_000;
/// Jobs of one fetch. Each costs its heap page twice and the entries of the indexes that a new state is written to, about
/// a dozen and a half pages; a cliff costs the whole backlog.
const BATCH: i64 = 100;

/// A statement of the folder as the store fills it in, with what a plain claim picks.
fn statement(name: &str) -> String {
    picking(name, "pick")
}

/// A statement of the folder as the store fills it in, with what a claim picks.
fn picking(name: &str, pick: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/pgboss");
    let read = |name: &str| fs::read_to_string(root.join(format!("{name}.sql"))).unwrap();
    let bare = |name: &str| {
        let text = read(name);
        text.lines().filter(|line| !line.starts_with("-- ")).collect::<Vec<_>>().join("\n")
    };
    let text = read(name).replace("{picked}", &bare(pick)).replace("{dead}", &bare("dead"));
    let text = ["insert", "settle"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("{{{name}}}"), &as_text(&read(name))));
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("-- before 44")).collect();
    let text = seeks(&lines.join("\n")).replace("{job}", "pgboss.job_common").replace("{boss}", "pgboss");
    text.replace("{schema}", "millstream").replace("{name}", "pgboss")
}

/// All of a statement but its answer, with parameters of text.
fn as_text(whole: &str) -> String {
    let (body, _answer) = whole.rsplit_once("\nselect ").unwrap();
    (1..100).fold(body.to_owned(), |text, number| text.replace(&format!("${number}::"), &format!("${number}::text::")))
}

/// How a job is found.
fn seeks(text: &str) -> String {
    match text.split_once("{seek ") {
        None => text.to_owned(),
        Some((before, after)) => {
            let (place, rest) = after.split_once('}').unwrap();
            let (queue, id) = place.split_once(" | ").unwrap();
            let found = format!(
                "select k.ctid as tid from {{job}} k where k.name = {queue} and k.id >= {id} order by k.id limit 1"
            );
            format!("{before}{found}{}", seeks(rest))
        }
    }
}

fn names() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/pgboss");
    let files = fs::read_dir(root).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let mut names: Vec<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.retain(|name| !name.starts_with("pick") && name != "dead");
    names.sort();
    names
}

async fn opened(url: &str) -> (PgBossStore, Client, tokio::task::JoinSet<()>) {
    let options = PgBossOptions { postgres: PostgresOptions::new(url), supervise: false, ..PgBossOptions::new("") };
    let store = PgBossStore::connect(options, StoreOptions::default()).await.unwrap();
    store.create_queue(&"q".parse().unwrap(), &QueueSettings::default()).await.unwrap();
    let (client, driver) = world::connect(url).await;
    (store, client, driver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_is_prepared() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        for pick in ["pick_single", "pick_fifo", "pick_limited"] {
            if let Err(error) = client.prepare(&picking("claim", pick)).await {
                panic!("claim with {pick} on {version}: {error:?}");
            }
        }
        for name in names() {
            if let Err(error) = client.prepare(&statement(&name)).await {
                panic!("{name} on {version}: {error:?}");
            }
        }
        store.close().await.unwrap();
    }
}

/// Statements, and the indexes that their generic plans must name.
const RIDES: &[(&str, &[&str])] = &[
    ("claim", &["job_common_i11"]),
    ("complete", &["job_common_pkey"]),
    ("complete_at", &["Tid Scan on job_common"]),
    ("defer", &["job_common_i11", "Tid Scan on job_common", "boss_claim_pkey"]),
    ("defer_complete", &["Tid Scan on job_common"]),
    ("defer_start", &["Tid Scan on job_common"]),
    ("crashed", &["job_common_pkey"]),
    ("remove", &["job_common_pkey"]),
    ("settle", &["job_common_pkey", "boss_job_pkey"]),
    ("fence", &["job_common_pkey"]),
    ("beat", &["job_common_pkey"]),
    ("find", &["job_common_pkey", "boss_job_pkey"]),
    ("page", &["job_common_i15"]),
    ("backoff", &["job_common_pkey"]),
    ("due", &["job_common_i14"]),
];

async fn plan(client: &Client, text: &str) -> String {
    client.batch_execute(&format!("prepare planned as {text}")).await.unwrap();
    let count = "select cardinality(parameter_types) from pg_prepared_statements where name = 'planned'";
    let count: i32 = client.query_one(count, &[]).await.unwrap().get(0);
    let nulls = vec!["null"; usize::try_from(count).unwrap()].join(", ");
    let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let rows = client.simple_query(&format!("explain execute planned{nulls}")).await.unwrap();
    client.batch_execute("deallocate planned").await.unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

async fn check(client: &Client, when: &str) {
    for (name, indexes) in RIDES {
        let plan = plan(client, &statement(name)).await;
        for index in *indexes {
            assert!(plan.contains(index), "{name} {when} does not ride {index}:\n{plan}");
        }
        assert!(!plan.contains("Seq Scan on job_common"), "{name} {when} reads the table whole:\n{plan}");
    }
}

/// The top plan's pages of one statement, prepared as the store prepares it.
async fn pages(client: &Client, text: &str, params: &str) -> i64 {
    client.batch_execute(&format!("prepare measured as {text}")).await.unwrap();
    let explain = format!("explain (analyze, buffers, format json) execute measured({params})");
    let json: Value = client.query_one(&explain, &[]).await.unwrap().get(0);
    client.batch_execute("deallocate measured").await.unwrap();
    touched(&json[0]["Plan"])
}

fn touched(plan: &Value) -> i64 {
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

/// All pages of a statement that changes tables beside its answer: those changes are run after the top plan.
async fn pages_with_changes(client: &Client, text: &str, params: &str) -> i64 {
    client.batch_execute(&format!("prepare measured as {text}")).await.unwrap();
    let explain = format!("explain (analyze, buffers, format json) execute measured({params})");
    let json: Value = client.query_one(&explain, &[]).await.unwrap().get(0);
    client.batch_execute("deallocate measured").await.unwrap();
    let top = &json[0]["Plan"];
    let said = json.to_string();
    let beside = top["Plans"].as_array().unwrap().iter().filter(|plan| {
        let name = plan["Subplan Name"].as_str().unwrap_or_default().trim_start_matches("CTE ");
        plan["Node Type"] == "ModifyTable" && !said.contains(&format!("\"CTE Name\":\"{name}\""))
    });
    touched(top) + beside.map(touched).sum::<i64>()
}

/// Lists what became ready in a queue whose groups are limited, as a claim does it. The pages.
async fn list(client: &Client) -> i64 {
    let (intake, mut pages) = (statement("limit_intake"), 0);
    let waiting = "select count(*) from millstream.boss_waiting";
    loop {
        let before: i64 = client.query_one(waiting, &[]).await.unwrap().get(0);
        pages += pages_with_changes(client, &intake, "'q', 2000, 5000000").await;
        if client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == before {
            return pages;
        }
    }
}

/// A claim from a queue whose groups are limited costs what it takes, whatever waits behind a full group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_group_costs_no_more_for_its_backlog() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        store.set_group_concurrency(&"q".parse().unwrap(), Some(1)).await.unwrap();
        for table in ["pgboss.job_common", "millstream.boss_waiting", "millstream.boss_group"] {
            let quiet = format!("alter table {table} set (autovacuum_enabled = off)");
            client.batch_execute(&quiet).await.unwrap();
            client.batch_execute(&format!("vacuum analyze {table}")).await.unwrap();
        }
        let fill = format!(
            "insert into pgboss.job_common (name, policy, data, group_id, created_on, start_after) select 'q', 'standard', '{{}}', \
             case when i <= {BACKLOG} - 2 * {BATCH} then 'big' else 'group ' || i end, now() + i * interval '1 microsecond', \
             now() - interval '1 hour' + i * interval '1 microsecond' from generate_series(1, {BACKLOG}) i"
        );
        client.batch_execute(&fill).await.unwrap();
        let listing = list(&client).await;
        assert!(listing <= 25 * BACKLOG, "listing {BACKLOG} touches {listing} pages on {version}");
        let claim = picking("claim", "pick_limited");
        let take = async |n: i64| {
            let params = format!("array['q'], array[{n}], 30000000, '{{}}', array[0], array[now()], 0");
            pages_with_changes(&client, &claim, &params).await
        };
        let active = "select count(*) from pgboss.job where state = 'active'";
        let running = async || client.query_one(active, &[]).await.unwrap().get::<_, i64>(0);
        take(BATCH).await;
        assert_eq!(running().await, BATCH, "on {version}");
        let taken = take(BATCH).await;
        assert_eq!(running().await, 2 * BATCH, "on {version}");
        assert!(taken <= 60 * BATCH, "a claim of {BATCH} touches {taken} pages on {version}");
        // One job is left in the small groups, and the big one is full.
        take(1).await;
        let none = list(&client).await + take(BATCH).await;
        let prune = pages_with_changes(&client, &statement("limit_prune"), "'q', 1000, 200, 2000").await;
        assert_eq!(running().await, 2 * BATCH + 1, "on {version}");
        assert!(none + prune <= 100, "a claim of nothing touches {none} pages, and {prune} on {version}");
        client
            .batch_execute("update pgboss.job set state = 'completed' where group_id = 'big' and state = 'active'")
            .await
            .unwrap();
        let one = list(&client).await + take(BATCH).await;
        assert_eq!(running().await, 2 * BATCH + 1, "on {version}");
        assert!(one <= 200, "a claim of one touches {one} pages on {version}");
        store.close().await.unwrap();
    }
}

/// Jobs of a queue that nobody analyses afterwards.
async fn fill(client: &Client) {
    let text = format!(
        "insert into pgboss.job_common (name, policy, data, created_on, start_after) select 'q', 'standard', '{{}}', \
         now() + i * interval '1 microsecond', now() from generate_series(1, {BACKLOG}) i"
    );
    client.batch_execute(&text).await.unwrap();
}

/// The parameters of a claim that begins at a place: in front of every job, where it is none.
fn claim_from(place: Option<&str>) -> String {
    let (priority, intake) = place.map_or((i32::MAX, "0001-01-01"), |intake| (0, intake));
    format!("array['q'], array[{BATCH}], 30000000, '{{}}', array[{priority}], array['{intake}'::timestamptz], 0")
}

/// A fetch and a complete of both kinds, on a queue of which the statistics know nothing.
async fn cheap(client: &Client, when: &str) {
    let (claim, complete, complete_at) = (statement("claim"), statement("complete"), statement("complete_at"));
    // The first one after so many inserts may tidy up behind them.
    pages(client, &claim, &claim_from(None)).await;
    let taken = pages(client, &claim, &claim_from(None)).await;
    assert!(taken <= 25 * BATCH, "a fetch of {BATCH} touches {taken} pages {when}");
    for at_its_place in [false, true] {
        // A prepared statement takes no sub-select: its values are written out.
        let held = "select array_agg(x.id::text)::text, array_agg(x.retry_count)::text, array_agg(x.started_on)::text, \
                    array_agg(x.tid)::text from (select *, ctid as tid from pgboss.job where state = 'active' order by id \
                    limit 100) x";
        let held = client.query_one(held, &[]).await.unwrap();
        let array = |at: usize| format!("'{}'", held.get::<_, String>(at));
        let of = |text: &str| format!("array_fill('{text}'::text, array[{BATCH}])");
        let params = format!("{}, {}, {}, {}, {}, 30000000", of("q"), array(0), array(1), array(2), of("1"));
        let ended = match at_its_place {
            false => pages(client, &complete, &params).await,
            true => pages(client, &complete_at, &format!("{params}, {}", array(3))).await,
        };
        assert!(ended <= 30 * BATCH, "completing {BATCH} touches {ended} pages {when}");
    }
    client.batch_execute("begin").await.unwrap();
    let params = format!("array['q'], {BATCH}, {}, '0001-01-01'::timestamptz, 0", i32::MAX);
    let locked = pages(client, &statement("defer"), &params).await;
    assert!(locked <= 15 * BATCH, "locking {BATCH} touches {locked} pages {when}");
    let held = "select array_agg(x.id)::text, array_agg('1'::text)::text, array_agg(x.ctid)::text from ( \
                select id, ctid from pgboss.job_common where name = 'q' and state = 'created' order by created_on limit 100) x";
    let held = client.query_one(held, &[]).await.unwrap();
    let array = |at: usize| format!("'{}'", held.get::<_, String>(at));
    let params = format!("{}, {}, {}, now(), 1, true", array(0), array(1), array(2));
    let ended = pages(client, &statement("defer_complete"), &params).await;
    assert!(ended <= 30 * BATCH, "completing {BATCH} that were locked touches {ended} pages {when}");
    client.batch_execute("commit").await.unwrap();
    let done = "select count(*) from pgboss.job where state = 'completed'";
    let done: i64 = client.query_one(done, &[]).await.unwrap().get(0);
    assert_eq!(done, 3 * BATCH, "completed jobs {when}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_unknown_to_the_statistics_costs_no_more() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute("alter table pgboss.job_common set (autovacuum_enabled = off)").await.unwrap();
        check(&client, &format!("when empty, on {version}")).await;
        fill(&client).await;
        check(&client, &format!("with no statistics at all, on {version}")).await;
        cheap(&client, &format!("with no statistics at all, on {version}")).await;
        client.batch_execute("truncate pgboss.job_common").await.unwrap();
        client.batch_execute("vacuum analyze pgboss.job_common").await.unwrap();
        fill(&client).await;
        check(&client, &format!("on the statistics of an empty table, on {version}")).await;
        cheap(&client, &format!("on the statistics of an empty table, on {version}")).await;
        store.close().await.unwrap();
    }
}

/// The look for the next due time costs no more where the statistics know finished jobs alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_for_the_next_due_time_reads_no_backlog() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        client.batch_execute("alter table pgboss.job_common set (autovacuum_enabled = off)").await.unwrap();
        fill(&client).await;
        client.batch_execute("update pgboss.job_common set state = 'completed'").await.unwrap();
        client.batch_execute("vacuum full analyze pgboss.job_common").await.unwrap();
        fill(&client).await;
        client
            .batch_execute(
                "update pgboss.job_common set start_after = now() + interval '1 day' where state = 'created'",
            )
            .await
            .unwrap();
        let text = statement("due");
        let look = format!("explain (analyze, buffers, format json) {text}");
        let json: Value = client.query_one(&look, &[]).await.unwrap().get(0);
        let looked = touched(&json[0]["Plan"]);
        assert!(looked <= 200, "a look touches {looked} pages on {version}");
        let found: bool =
            client.query_one(&format!("select x.at is not null from ({text}) x"), &[]).await.unwrap().get(0);
        assert!(found, "the next due time on {version}");
        store.close().await.unwrap();
    }
}

/// Whoever reads for long keeps the index entries of jobs that were taken meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_horizon_costs_a_claim_no_more() {
    for (version, database) in world::databases() {
        let (store, client, _driver) = opened(&database.url()).await;
        client.batch_execute(SESSION).await.unwrap();
        fill(&client).await;
        let (holder, _held) = world::connect(&database.url()).await;
        holder.batch_execute("begin isolation level repeatable read; select count(*) from pgboss.job").await.unwrap();
        let last: String = {
            let text = "update pgboss.job_common set state = 'completed', started_on = now(), completed_on = now()";
            client.batch_execute(text).await.unwrap();
            fill(&client).await;
            let text = "select min(created_on)::text from pgboss.job where state = 'created'";
            client.query_one(text, &[]).await.unwrap().get(0)
        };
        let claim = statement("claim");
        let floored = pages(&client, &claim, &claim_from(Some(&last))).await;
        assert!(floored <= 25 * BATCH, "a fetch of {BATCH} touches {floored} pages on {version}");
        // Not cheap, but right: a search from the beginning finds the jobs behind all those entries.
        pages(&client, &claim, &claim_from(None)).await;
        let taken = "select count(*) from pgboss.job where state = 'active'";
        let taken: i64 = client.query_one(taken, &[]).await.unwrap().get(0);
        assert_eq!(taken, 2 * BATCH, "jobs that were taken on {version}");
        holder.batch_execute("commit").await.unwrap();
        store.close().await.unwrap();
    }
}
