//! pg-boss's schema: what Millstream creates is what pg-boss creates.

use std::{collections::BTreeMap, time::Duration};

use millstream_interop::{Node, Release, command};
use millstream_postgres::{PostgresOptions, pgboss::schema};
use serde_json::{Value, json};

mod world;

/// Everything of a schema that can be seen from outside, a line each. What holds the day in its name is left out of it.
async fn catalogue(url: &str) -> BTreeMap<&'static str, Vec<String>> {
    let (client, _driver) = world::connect(url).await;
    let mut found = BTreeMap::new();
    for (what, question) in [
        (
            "columns",
            "select format('%s.%s %s %s null=%s default=%s', c.relname, a.attname, a.attnum, \
             format_type(a.atttypid, a.atttypmod), not a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) \
             from pg_attribute a join pg_class c on c.oid = a.attrelid \
             left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum \
             where c.relnamespace = 'pgboss'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0",
        ),
        (
            "tables",
            "select format('%s %s %s of=%s %s', c.relname, c.relkind, c.relpersistence, i.inhparent::regclass, \
             pg_get_expr(c.relpartbound, c.oid)) from pg_class c left join pg_inherits i on i.inhrelid = c.oid \
             where c.relnamespace = 'pgboss'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')",
        ),
        (
            "constraints",
            "select format('%s %s %s valid=%s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated) \
             from pg_constraint where connamespace = 'pgboss'::regnamespace",
        ),
        (
            "indexes",
            "select format('%s valid=%s', pg_get_indexdef(i.indexrelid), i.indisvalid) from pg_index i \
             join pg_class c on c.oid = i.indexrelid where c.relnamespace = 'pgboss'::regnamespace",
        ),
        (
            "functions",
            "select format('%s(%s) %s %s %s', proname, pg_get_function_arguments(p.oid), \
             pg_get_function_result(p.oid), provolatile, lanname) from pg_proc p join pg_language l on l.oid = prolang \
             where pronamespace = 'pgboss'::regnamespace",
        ),
        (
            "enums",
            "select format('%s %s', enumtypid::regtype, array_agg(enumlabel order by enumsortorder)) \
             from pg_enum e join pg_type t on t.oid = e.enumtypid where typnamespace = 'pgboss'::regnamespace group by enumtypid",
        ),
        (
            "triggers",
            "select tgname::text from pg_trigger t join pg_class c on c.oid = tgrelid \
             where c.relnamespace = 'pgboss'::regnamespace and not tgisinternal",
        ),
        ("queues", "select (to_jsonb(q) - 'created_on' - 'updated_on')::text from pgboss.queue q"),
        ("versions", "select version::text from pgboss.version"),
    ] {
        let rows = client.query(question, &[]).await.unwrap_or_else(|error| panic!("{question}: {error}"));
        let mut lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.sort();
        found.insert(what, lines);
    }
    found
}

/// Every policy, in the common table and in a table of its own.
async fn create_queues(node: &mut Node) {
    node.call("createQueue", json!(["dead"])).await;
    for (policy, partition) in world::policies().flat_map(|policy| [(policy, false), (policy, true)]) {
        let options = json!({
            "policy": policy, "partition": partition, "deadLetter": "dead", "retryLimit": 3, "retryBackoff": true,
            "retryDelayMax": 60, "heartbeatSeconds": 30, "notify": true, "warningQueueSize": 5,
        });
        node.call("createQueue", json!([world::queue(policy, partition), options])).await;
    }
    // One that exists stays as it is.
    node.call("createQueue", json!(["dead", { "retryLimit": 9 }])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_create_is_what_pg_boss_creates() {
    for (version, server) in world::servers() {
        let (theirs, ours) = (server.create_database(), server.create_database());
        schema::up(&PostgresOptions::new(ours.url()), "pgboss").await.unwrap();
        for database in [&theirs, &ours] {
            let mut node = Node::start(Release::Current, world::quiet(&database.url())).await;
            create_queues(&mut node).await;
            for (policy, partition) in [("short", false), ("stately", true)] {
                node.call("deleteQueue", json!([world::queue(policy, partition)])).await;
            }
            node.stop().await;
        }
        let (theirs, ours) = (catalogue(&theirs.url()).await, catalogue(&ours.url()).await);
        for (what, lines) in &theirs {
            assert!(!lines.is_empty() || *what == "triggers", "{version}: no {what}");
            let missing: Vec<_> = lines.iter().filter(|line| !ours[what].contains(line)).collect();
            let added: Vec<_> = ours[what].iter().filter(|line| !lines.contains(line)).collect();
            assert!(
                missing.is_empty() && added.is_empty(),
                "{version}, {what}: missing {missing:#?}, added {added:#?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pg_boss_sends_and_works_on_what_we_create() {
    for (_, server) in world::servers() {
        let database = server.create_database();
        schema::up(&PostgresOptions::new(database.url()), "pgboss").await.unwrap();
        let mut node = Node::start(Release::Current, world::quiet(&database.url())).await;
        create_queues(&mut node).await;
        for (policy, partition) in world::policies().flat_map(|policy| [(policy, false), (policy, true)]) {
            let queue = world::queue(policy, partition);
            let id = node.call("send", json!([queue, { "n": 1 }, { "singletonKey": "k" }])).await;
            node.call("work", json!([queue, { "answer": { "by": "node" } }])).await;
            let job = node.job().await;
            assert_eq!((&job["queue"], &job["id"], &job["data"]), (&json!(queue), &id, &json!({ "n": 1 })));
        }
        node.call("schedule", json!(["dead", "0 5 * * *", { "n": 2 }, { "tz": "Europe/Berlin", "key": "a" }])).await;
        let schedules = node.call("getSchedules", json!([])).await;
        assert_eq!((&schedules[0]["cron"], &schedules[0]["timezone"]), (&json!("0 5 * * *"), &json!("Europe/Berlin")));
        node.call("subscribe", json!(["paid", "dead"])).await;
        node.call("publish", json!(["paid", { "n": 3 }])).await;
        // Its own passes over statistics, expiry and retention find what they need.
        node.call("supervise", json!([])).await;
        assert_eq!(node.call("getQueue", json!(["dead"])).await["queuedCount"], json!(1));
        assert_eq!(node.told(), Vec::<Value>::new());
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_doctor_finds_nothing_but_function_bodies() {
    for (_, server) in world::servers() {
        let database = server.create_database();
        schema::up(&PostgresOptions::new(database.url()), "pgboss").await.unwrap();
        let mut node = Node::start(Release::Current, world::quiet(&database.url())).await;
        create_queues(&mut node).await;
        node.stop().await;
        let doctor = command(Release::Current, &["doctor", "--connection-string", &database.url()]);
        let words = String::from_utf8_lossy(&doctor.stdout);
        // Headings are in capitals, what they are about is indented by two.
        let headings: Vec<&str> = words.lines().filter(|line| line.ends_with("):") && !line.starts_with(' ')).collect();
        assert_eq!(headings, ["MISMATCHED FUNCTIONS (body differs) (5):"], "{words}");
        let functions: Vec<&str> =
            words.lines().filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))).collect();
        let ours = ["create_queue", "delete_queue", "job_table_format", "job_table_run", "job_table_run_async"];
        assert_eq!(functions, ours, "{words}");
    }
}

/// Waits until pg-boss has done every slow step of its migrations.
async fn migrated(url: &str) {
    let (client, _driver) = world::connect(url).await;
    let question = "select count(*) filter (where status = 'failed'), count(*) filter (where status <> 'completed') from pgboss.bam";
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        let row = client.query_one(question, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "a step of the migration failed");
        if row.get::<_, i64>(1) == 0 {
            return;
        }
        ticks.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pg_boss_migrates_what_it_made_under_us() {
    for (_, server) in world::servers() {
        let database = server.create_database();
        let mut node = Node::start(Release::Oldest, world::quiet(&database.url())).await;
        create_queues(&mut node).await;
        node.stop().await;
        let options = PostgresOptions::new(database.url());
        assert_eq!(schema::up(&options, "pgboss").await.unwrap().found, Some(schema::OLDEST));
        // The slow steps have an interval, which the one that stopped began.
        let (client, _driver) = world::connect(&database.url()).await;
        client.execute("update pgboss.version set bam_on = null", &[]).await.unwrap();
        let node = Node::start(Release::Current, world::quiet(&database.url())).await;
        assert_eq!(schema::up(&options, "pgboss").await.unwrap().found, Some(schema::CREATED));
        migrated(&database.url()).await;
        node.stop().await;
        let doctor = command(Release::Current, &["doctor", "--connection-string", &database.url()]);
        assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    }
}

/// The helpers that pg-boss's migrations call are ours: they do what its own do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_migrations_run_by_our_functions() {
    for (_, server) in world::servers() {
        let (theirs, ours) = (server.create_database(), server.create_database());
        schema::up(&PostgresOptions::new(ours.url()), "pgboss").await.unwrap();
        let mut noted = Vec::new();
        for database in [&theirs, &ours] {
            let mut node = Node::start(Release::Current, world::quiet(&database.url())).await;
            create_queues(&mut node).await;
            node.stop().await;
            let (client, _driver) = world::connect(&database.url()).await;
            let own: String = client
                .query_one("select table_name from pgboss.queue where name = 'stately.own'", &[])
                .await
                .unwrap()
                .get(0);
            let commands = [
                "create index job_i99 on pgboss.job (name) where data ->> 'job' like '%%x'",
                "create unique index concurrently if not exists job_i98 on pgboss.job (id)",
            ];
            for target in ["", &format!(", '{own}'"), ", null, 'stately.own'"] {
                let statement = format!("select pgboss.job_table_run_async('step', 99, $1{target})");
                client.execute(&statement, &[&commands[1]]).await.unwrap();
            }
            let statement = format!("select pgboss.job_table_run($1, '{own}'), pgboss.job_table_run($2)");
            client.execute(&statement, &[&commands[0], &commands[0].replace("i99", "i97")]).await.unwrap();
            let rows = client
                .query(
                    "select format('%s %s %s %s %s %s', name, version, status, queue, table_name, command) \
                     from pgboss.bam where version = 99 union all \
                     select indexdef from pg_indexes where schemaname = 'pgboss' and indexname ~ '_i9[79]$' order by 1",
                    &[],
                )
                .await
                .unwrap();
            noted.push(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>());
        }
        assert!(noted[0].len() > 15, "{noted:#?}");
        assert_eq!(noted[0], noted[1]);
    }
}
