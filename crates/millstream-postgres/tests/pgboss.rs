//! The queue on pg-boss's tables, beside what every store promises: pg-boss's rows as its own processes write and read
//! them, its policies, dead letters, maintenance and schedules.

use std::time::Duration;

use millstream_core::{
    Backoff, BoxStream, Effects, JobId, JobName, JobState, JobStore, JobsQuery, NewJob, Outcome, QueueEvent,
    QueueEventKind, QueueName, QueueProvider, Removal, Schedule, Settlement, Store, StoreOptions, Verdict, Want,
};
use millstream_postgres::{
    PostgresOptions, PostgresStore,
    pgboss::{PgBossOptions, PgBossStore, QueueSettings, Redrive, SendOptions},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, NoTls, types::ToSql};

#[path = "world/boss.rs"]
mod boss;
mod world;

use boss::{World, open, options, q, worlds};

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn policy(name: &str) -> QueueSettings {
    QueueSettings { policy: name.to_owned(), ..QueueSettings::default() }
}

fn keyed(key: &str) -> SendOptions {
    SendOptions { singleton_key: Some(key.to_owned()), ..SendOptions::default() }
}

impl World {
    async fn claim(&self, queue: &QueueName, at_most: u32) -> Vec<millstream_core::Claimed> {
        self.store.claim(&[Want::new(queue.clone(), at_most)]).await.unwrap()
    }

    async fn settle(&self, claimed: &millstream_core::Claimed, outcome: Outcome) -> JobState {
        let settlement = Settlement { claim: claimed.claim.clone(), outcome, effects: Effects::default() };
        match self.store.settle(&[settlement]).await.unwrap().remove(0) {
            Verdict::Settled(state) => state,
            other => panic!("the claim holds, yet {other:?} on {}", self.version),
        }
    }

    async fn send(&self, queue: &QueueName, data: Value, options: &SendOptions) -> Option<JobId> {
        self.store.send(queue, &data, options).await.unwrap()
    }

    /// The rows of a statement, as JSON.
    async fn rows(&self, text: &str) -> Vec<Value> {
        let text = format!("select to_jsonb(x) from ({text}) x");
        self.client.query(&text, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

/// Each option stands in its column as pg-boss reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_stand_in_pg_boss_columns() {
    for world in worlds().await {
        let day = Removal::Keep { count: None, age: Some(Duration::from_secs(86_400)) };
        let job = NewJob::new(q(), JobName::new("send").unwrap(), json!({ "to": "ada" }))
            .id(JobId::new("mine").unwrap())
            .attempts(5)
            .backoff(Backoff::Exponential {
                first: Duration::from_millis(1_200),
                cap: Duration::from_secs(90),
                jitter: 0.0,
            })
            .priority(7)
            .timeout(Duration::from_millis(2_500))
            .delay(Duration::from_secs(60))
            .remove_on_complete(day)
            .remove_on_fail(day);
        world.store.enqueue(&[job]).await.unwrap();
        let rows = world
            .rows(
                "select id, data, priority, retry_limit, retry_delay, retry_backoff, retry_delay_max, expire_seconds, \
                 deletion_seconds, policy, state, round(extract(epoch from start_after - created_on)) as wait, \
                 round(extract(epoch from keep_until - start_after)) as kept from pgboss.job",
            )
            .await;
        let id = rows[0]["id"].clone();
        assert_eq!(id.as_str().unwrap().as_bytes()[14], b'5', "a UUIDv5 of queue and id");
        let wanted = json!({
            "id": id, "data": { "to": "ada", "__jobName": "send" }, "priority": -7, "retry_limit": 4, "retry_delay": 2,
            "retry_backoff": true, "retry_delay_max": 90, "expire_seconds": 3, "deletion_seconds": 86_400,
            "policy": "standard", "state": "created", "wait": 60, "kept": 14 * 86_400,
        });
        assert_eq!(rows, [wanted], "on {}", world.version);
        // The column's id finds it as well as the caller's own does not find another's.
        let found = world.store.job(&q(), &JobId::new(id.as_str().unwrap()).unwrap()).await.unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.name.as_str()), ("mine", "send"));
        world.close().await;
    }
}

/// A row that a plain Node app sent is worked, and its end is what Node reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_plain_node_app_is_worked() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings::default()).await.unwrap();
        for (n, data) in [r#"{"a": 1}"#, "[1, 2]", "\"text\""].iter().enumerate() {
            world
                .run(&format!(
                    "insert into pgboss.job_common (name, data, policy, created_on) values ('q', '{data}', 'standard', \
                     now() + {n} * interval '1 microsecond')"
                ))
                .await;
        }
        world.run("insert into pgboss.job_common (name, policy, created_on) values ('q', 'standard', now())").await;
        let claimed = world.claim(&q(), 10).await;
        let data: Vec<_> = claimed.iter().map(|one| (one.name.as_str(), one.data.clone())).collect();
        let wanted = [("q", json!({ "a": 1 })), ("q", json!([1, 2])), ("q", json!("text")), ("q", json!(null))];
        assert_eq!(data, wanted, "on {}", world.version);
        world.settle(&claimed[0], Outcome::Done(json!([1]))).await;
        world.settle(&claimed[1], Outcome::Done(json!({ "b": 2 }))).await;
        world.settle(&claimed[2], Outcome::Done(json!(null))).await;
        world.settle(&claimed[3], Outcome::Fail(json!({ "message": "no" }))).await;
        let rows = world
            .rows("select state, output, retry_count, completed_on is not null as ended from pgboss.job order by created_on, data")
            .await;
        let outputs: Vec<_> = rows.iter().map(|row| (row["state"].clone(), row["output"].clone())).collect();
        assert!(outputs.contains(&(json!("completed"), json!({ "value": [1] }))), "{outputs:?}");
        assert!(outputs.contains(&(json!("completed"), json!({ "b": 2 }))), "{outputs:?}");
        assert!(outputs.contains(&(json!("completed"), json!(null))), "{outputs:?}");
        assert!(outputs.contains(&(json!("failed"), json!({ "message": "no" }))), "{outputs:?}");
        assert_eq!(
            world.rows("select * from millstream.boss_job").await,
            Vec::<Value>::new(),
            "nothing is beside them"
        );
        world.close().await;
    }
}

/// Each policy lets in and lets run what pg-boss lets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_hold() {
    for world in worlds().await {
        for name in ["short", "singleton", "stately", "exclusive", "key_strict_fifo"] {
            world.store.create_queue(&queue(name), &policy(name)).await.unwrap();
        }
        let sent = async |name: &str, key: &str| world.send(&queue(name), json!(null), &keyed(key)).await.is_some();
        // One queued of a key, whatever runs.
        assert!(sent("short", "a").await && !sent("short", "a").await && sent("short", "b").await);
        let running = world.claim(&queue("short"), 9).await;
        assert_eq!(running.len(), 2);
        assert!(sent("short", "a").await, "none of the key is queued");
        world.store.release(&[running[0].claim.clone()]).await.unwrap();
        assert_eq!(world.claim(&queue("short"), 9).await.len(), 2, "what was given back is there beside it");
        // One running of a key, however many are queued.
        assert!(sent("singleton", "a").await && sent("singleton", "a").await && sent("singleton", "b").await);
        let first = world.claim(&queue("singleton"), 9).await;
        assert_eq!(first.len(), 2, "one of each key");
        assert_eq!(world.claim(&queue("singleton"), 9).await.len(), 0, "both keys run");
        world.settle(&first[0], Outcome::Done(json!(null))).await;
        assert_eq!(world.claim(&queue("singleton"), 9).await.len(), 1);
        // One in each state.
        assert!(sent("stately", "a").await && !sent("stately", "a").await);
        let running = world.claim(&queue("stately"), 9).await;
        assert!(sent("stately", "a").await);
        assert_eq!(world.claim(&queue("stately"), 9).await.len(), 0, "the key runs");
        let again = Outcome::Retry { error: json!("e"), after: Some(Duration::ZERO) };
        assert_eq!(world.settle(&running[0], again.clone()).await, JobState::Waiting, "to be repeated");
        let second = world.claim(&queue("stately"), 1).await;
        assert_eq!(second.len(), 1);
        // One at all.
        assert!(sent("exclusive", "a").await && !sent("exclusive", "a").await);
        let running = world.claim(&queue("exclusive"), 9).await;
        assert!(!sent("exclusive", "a").await, "it runs");
        world.settle(&running[0], Outcome::Done(json!(null))).await;
        assert!(sent("exclusive", "a").await);
        // The first of a key, until it is done.
        for key in ["a", "a", "b"] {
            assert!(sent("key_strict_fifo", key).await);
        }
        let heads = world.claim(&queue("key_strict_fifo"), 9).await;
        assert_eq!(heads.len(), 2, "the first of each key");
        assert_eq!(world.settle(&heads[0], Outcome::Fail(json!("e"))).await, JobState::Failed);
        assert_eq!(world.claim(&queue("key_strict_fifo"), 9).await.len(), 0, "a failed job blocks its key");
        let refused = world.store.send(&queue("key_strict_fifo"), &json!(null), &SendOptions::default()).await;
        assert!(refused.is_err(), "a key is needed");
        world.close().await;
    }
}

/// However many claim at once, one job of a singleton queue runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_claims_keep_a_policy() {
    for world in worlds().await {
        world.store.create_queue(&q(), &policy("singleton")).await.unwrap();
        for _ in 0..20 {
            world.send(&q(), json!(null), &SendOptions::default()).await;
        }
        let mut racing = JoinSet::new();
        for _ in 0..10 {
            let store = world.store.clone();
            racing.spawn(async move { store.claim(&[Want::new(q(), 3)]).await.unwrap().len() });
        }
        assert_eq!(racing.join_all().await.into_iter().sum::<usize>(), 1, "on {}", world.version);
        world.close().await;
    }
}

/// A slot takes one job; a debounce takes the next slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_takes_one_job_a_slot() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings::default()).await.unwrap();
        let throttle = SendOptions { singleton_seconds: Some(3_600), ..keyed("k") };
        let debounce = SendOptions { singleton_next_slot: true, ..throttle.clone() };
        assert!(world.send(&q(), json!(1), &throttle).await.is_some());
        assert!(world.send(&q(), json!(2), &throttle).await.is_none());
        assert!(world.send(&q(), json!(3), &debounce).await.is_some());
        assert!(world.send(&q(), json!(4), &debounce).await.is_none());
        let counts = world.store.counts(&q()).await.unwrap();
        assert_eq!((counts.waiting, counts.delayed), (1, 1), "on {}", world.version);
        let zero = SendOptions { singleton_seconds: Some(0), ..SendOptions::default() };
        assert!(world.store.send(&q(), &json!(null), &zero).await.is_err());
        let tier = SendOptions { group_tier: Some("gold".to_owned()), ..SendOptions::default() };
        let error = world.store.send(&q(), &json!(null), &tier).await.unwrap_err();
        assert!(error.to_string().contains("tiers of groups"), "{error}");
        world.close().await;
    }
}

/// A failed job's copy is in its dead letter queue, and can be sent again from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_sent_again() {
    for world in worlds().await {
        let dead = queue("dead");
        world.store.create_queue(&dead, &QueueSettings::default()).await.unwrap();
        let settings =
            QueueSettings { dead_letter: Some("dead".to_owned()), retry_limit: 0, ..QueueSettings::default() };
        world.store.create_queue(&q(), &settings).await.unwrap();
        let sent = world.send(&q(), json!({ "n": 1 }), &keyed("k")).await.unwrap();
        let claimed = world.claim(&q(), 1).await;
        assert_eq!(
            world.settle(&claimed[0], Outcome::Retry { error: json!("no"), after: None }).await,
            JobState::Failed
        );
        let copy = world.rows("select * from pgboss.job where name = 'dead'").await.remove(0);
        for (column, wanted) in [
            ("data", json!({ "n": 1 })),
            ("singleton_key", json!("k")),
            ("source_name", json!("q")),
            ("source_id", json!(sent.as_str())),
            ("source_output", json!({ "value": "no" })),
            ("source_retry_count", json!(0)),
            ("output", json!(null)),
            ("policy", json!(null)),
            ("dead_letter", json!(null)),
            ("state", json!("created")),
        ] {
            assert_eq!(copy[column], wanted, "{column} on {}", world.version);
        }
        assert!(world.store.delete_queue(&dead).await.is_err(), "another queue names it");
        assert_eq!(world.store.redrive(&dead, &Redrive::default()).await.unwrap(), 1);
        assert_eq!(world.store.counts(&dead).await.unwrap().total(), 0);
        let again = world
            .rows("select policy, dead_letter, retry_limit from pgboss.job where name = 'q' and state = 'created'")
            .await;
        assert_eq!(again, [json!({ "policy": "standard", "dead_letter": "dead", "retry_limit": 0 })]);
        assert!(world.store.delete_queue(&q()).await.unwrap());
        assert!(world.store.delete_queue(&dead).await.unwrap() && !world.store.delete_queue(&dead).await.unwrap());
        world.close().await;
    }
}

/// What ran too long, or went without a heartbeat, is to be repeated; what is old goes; queues are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_is_pg_boss_own() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings { retry_limit: 1, ..QueueSettings::default() }).await.unwrap();
        for n in 0..6 {
            world.send(&q(), json!(n), &SendOptions::default()).await;
        }
        // As workers of pg-boss's own hold them.
        world
            .run(
                "update pgboss.job set state = 'active', started_on = now() - interval '1 hour', heartbeat_on = now() where data = '0'; \
                 update pgboss.job set state = 'active', started_on = now(), heartbeat_on = now() - interval '1 minute', \
                 heartbeat_seconds = 10 where data = '1'; \
                 update pgboss.job set state = 'active', started_on = now(), heartbeat_on = now() - interval '1 minute' where data = '2'; \
                 update pgboss.job set keep_until = now() - interval '1 second' where data = '3'; \
                 update pgboss.job set state = 'completed', completed_on = now() - interval '8 days' where data = '4'",
            )
            .await;
        assert_eq!(world.store.rescue().await.unwrap(), 0, "what others hold is not rescued by a lease");
        let done = world.store.supervise(None).await.unwrap();
        assert_eq!((done.expired, done.removed), (2, 2), "on {}", world.version);
        let rows =
            world.rows("select data, state, output from pgboss.job where data in ('0', '1') order by data").await;
        assert_eq!(
            rows,
            [
                json!({ "data": 0, "state": "retry", "output": { "value": { "message": "job timed out" } } }),
                json!({ "data": 1, "state": "retry", "output": { "value": { "message": "job heartbeat timeout" } } }),
            ]
        );
        world.store.supervise(Some(&q())).await.unwrap();
        let counted = world
            .rows("select queued_count, active_count, failed_count, total_count, monitor_on is not null as seen from pgboss.queue where name = 'q'")
            .await;
        let wanted = json!({ "queued_count": 3, "active_count": 1, "failed_count": 0, "total_count": 4, "seen": true });
        assert_eq!(counted, [wanted], "on {}", world.version);
        world.close().await;
    }
}

/// A pass over all queues does not end with the first hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_pass_reaches_every_queue() {
    for world in worlds().await {
        // Of either case, so that the order of names is not the same everywhere.
        world
            .run(
                "select pgboss.create_queue(case i % 2 when 0 then 'q' else 'Q' end || i, '{\"policy\": \"standard\"}') \
                 from generate_series(1, 250) i",
            )
            .await;
        for name in ["q2", "Q101", "q250"] {
            world.send(&queue(name), json!(null), &SendOptions::default()).await.unwrap();
        }
        world
            .run(
                "update pgboss.job set state = 'active', started_on = now() - interval '1 hour'; \
                 insert into pgboss.job (name, state, completed_on) values ('Q249', 'completed', now() - interval '8 days')",
            )
            .await;
        let done = world.store.supervise(None).await.unwrap();
        // And the queue of schedules, where there is one.
        assert!(done.counted >= 250 && done.expired == 3 && done.removed == 1, "{done:?} on {}", world.version);
        let left = world.rows("select name from pgboss.queue where monitor_on is null or maintain_on is null").await;
        assert!(left.is_empty(), "{left:?} on {}", world.version);
        world.close().await;
    }
}

/// A process that works also counts, by its own timer, once the stamp of the last pass is a minute old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_follows_its_stamp() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings::default()).await.unwrap();
        let options =
            PgBossOptions { supervise: true, supervise_every: Duration::from_millis(50), ..options(&world.url) };
        let working = PgBossStore::connect(options, StoreOptions::default()).await.unwrap();
        for n in 0..3 {
            world.send(&q(), json!(n), &SendOptions::default()).await.unwrap();
        }
        for active in 1..=2 {
            assert_eq!(working.claim(&[Want::new(q(), 1)]).await.unwrap().len(), 1);
            // As if the last pass had been a minute ago; before that, nobody counts again.
            world
                .run("update pgboss.queue set monitor_claim_on = now() - interval '61 seconds' where name = 'q'")
                .await;
            let wanted = json!({ "ready_count": 3 - active, "active_count": active, "seen": true });
            let counted = "select ready_count, active_count, monitor_on >= monitor_claim_on as seen \
                           from pgboss.queue where name = 'q'";
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while world.rows(counted).await != [wanted.clone()] {
                looks.tick().await;
            }
        }
        working.close().await.unwrap();
        world.close().await;
    }
}

/// A job that waits for others is let go with the last of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_wait_for_others_are_let_go() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings::default()).await.unwrap();
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(world.send(&q(), json!(n), &SendOptions::default()).await.unwrap());
        }
        world
            .run(&format!(
                "update pgboss.job set blocking = true where data in ('0', '1'); \
                 update pgboss.job set blocked = true, pending_dependencies = 2 where data = '2'; \
                 insert into pgboss.job_dependency (child_name, child_id, parent_name, parent_id) \
                 values ('q', '{2}', 'q', '{0}'), ('q', '{2}', 'q', '{1}')",
                ids[0], ids[1], ids[2]
            ))
            .await;
        let parents = world.claim(&q(), 9).await;
        assert_eq!(parents.len(), 2, "the third one waits");
        world.settle(&parents[0], Outcome::Done(json!(null))).await;
        world.store.supervise(None).await.unwrap();
        assert_eq!(world.claim(&q(), 9).await.len(), 0);
        world.settle(&parents[1], Outcome::Done(json!(null))).await;
        world.store.supervise(None).await.unwrap();
        assert_eq!(world.claim(&q(), 9).await.len(), 1, "on {}", world.version);
        world.close().await;
    }
}

/// A queue with a table of its own is worked there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_may_have_a_table_of_its_own() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings { partition: true, ..QueueSettings::default() }).await.unwrap();
        let jobs: Vec<NewJob> =
            [q(), queue("other")].map(|queue| NewJob::new(queue.clone(), JobName::from(&queue), json!(1))).into();
        world.store.enqueue(&jobs).await.unwrap();
        assert_eq!(world.rows("select name from pgboss.job_common").await, [json!({ "name": "other" })]);
        let wants = [Want::new(q(), 5), Want::new(queue("other"), 5)];
        let claimed = world.store.claim(&wants).await.unwrap();
        assert_eq!(claimed.len(), 2, "on {}", world.version);
        let both: Vec<Settlement> = claimed
            .iter()
            .map(|one| Settlement {
                claim: one.claim.clone(),
                outcome: Outcome::Done(json!(null)),
                effects: Effects::default(),
            })
            .collect();
        for verdict in world.store.settle(&both).await.unwrap() {
            assert!(matches!(verdict, Verdict::Settled(JobState::Completed)), "{verdict:?}");
        }
        assert_eq!(world.store.counts(&q()).await.unwrap().completed, 1);
        assert!(world.store.delete_queue(&q()).await.unwrap());
        assert_eq!(world.store.jobs(&JobsQuery::of(q())).await.unwrap().items, []);
        world.close().await;
    }
}

/// A minute that pg-boss's own process wrote already is not fired again, and is sent on once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_is_fired_once_by_whoever_is_first() {
    for world in worlds().await {
        world.run("create or replace function pgboss.job_now() returns timestamptz language sql stable as $$ select timestamptz '2026-11-21 12:00:30Z' $$").await;
        let schedule = Schedule::new(queue("a_b"), "k", "* * * * *", JobName::new("tick").unwrap());
        world.store.schedule_upsert(&schedule).await.unwrap();
        let row = world.rows("select name, key, cron, timezone, data, kind from pgboss.schedule").await;
        let wanted = json!({ "name": "a_b", "key": "k", "cron": "* * * * *", "timezone": "UTC", "data": { "__jobName": "tick" }, "kind": "cron" });
        assert_eq!(row, [wanted], "on {}", world.version);
        world.store.create_queue(&queue("__pgboss__send-it"), &QueueSettings::default()).await.unwrap();
        world
            .run(
                "create or replace function pgboss.job_now() returns timestamptz language sql stable as $$ select timestamptz '2026-11-21 12:01:05Z' $$; \
                 insert into pgboss.job_common (name, data, policy, singleton_key, singleton_on, start_after) values ('__pgboss__send-it', \
                 '{\"name\": \"a_b\", \"key\": \"k\", \"data\": {\"__jobName\": \"tick\"}, \"options\": {}, \"slot\": \"2026-11-21 12:01:00\"}', \
                 'standard', 'a\\_b__k', '2026-11-21 12:01:00', '2026-11-21 12:00:00Z')",
            )
            .await;
        for _ in 0..3 {
            world.store.fire_schedules().await.unwrap();
        }
        let jobs = world.store.jobs(&JobsQuery::of(queue("a_b"))).await.unwrap().items;
        assert_eq!(jobs.len(), 1, "one job of the minute on {}", world.version);
        assert_eq!(jobs[0].name.as_str(), "tick");
        let ticks = world.rows("select state, singleton_on from pgboss.job where name = '__pgboss__send-it'").await;
        assert_eq!(ticks, [json!({ "state": "completed", "singleton_on": "2026-11-21T12:01:00" })]);
        // A schedule of pg-boss's own fires from here, too.
        world
            .run(
                "insert into pgboss.schedule (name, key, cron, data, options, created_on) values \
                 ('a_b', '', '* * * * *', '{\"n\": 1}', '{\"priority\": 4, \"retryLimit\": 9}', '2026-11-21 12:01:10Z'); \
                 create or replace function pgboss.job_now() returns timestamptz language sql stable as $$ select timestamptz '2026-11-21 12:02:05Z' $$",
            )
            .await;
        world.store.fire_schedules().await.unwrap();
        let rows =
            world.rows("select priority, retry_limit from pgboss.job where name = 'a_b' and data = '{\"n\": 1}'").await;
        assert_eq!(rows, [json!({ "priority": 4, "retry_limit": 9 })], "on {}", world.version);
        let seconds = Schedule::new(queue("a_b"), "s", "*/10 * * * * *", JobName::new("tick").unwrap());
        let error = world.store.schedule_upsert(&seconds).await.unwrap_err();
        assert!(error.to_string().contains("one tick a minute"), "{error}");
        world.close().await;
    }
}

/// Queues subscribe to events, and each takes a job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_to_every_subscribed_queue() {
    for world in worlds().await {
        for name in ["a", "b"] {
            world.store.create_queue(&queue(name), &QueueSettings::default()).await.unwrap();
            world.store.subscribe_queue("signed-up", &queue(name)).await.unwrap();
        }
        assert!(world.store.subscribe_queue("signed-up", &queue("none")).await.is_err());
        assert_eq!(world.store.publish("signed-up", &json!({ "n": 1 }), &SendOptions::default()).await.unwrap(), 2);
        assert!(world.store.unsubscribe_queue("signed-up", &queue("a")).await.unwrap());
        assert_eq!(world.store.publish("signed-up", &json!(null), &SendOptions::default()).await.unwrap(), 1);
        let counts = [
            world.store.counts(&queue("a")).await.unwrap().waiting,
            world.store.counts(&queue("b")).await.unwrap().waiting,
        ];
        assert_eq!(counts, [1, 2], "on {}", world.version);
        world.close().await;
    }
}

/// pg-boss's own calls: jobs are ended whoever holds them, and a claim of ours that was ended so is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_ended_whoever_holds_them() {
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings::default()).await.unwrap();
        for n in 0..3 {
            world.send(&q(), json!(n), &SendOptions::default()).await;
        }
        let claimed = world.claim(&q(), 2).await;
        let ids: Vec<JobId> = claimed.iter().map(|one| one.claim.job.clone()).collect();
        assert_eq!(world.store.touch(&q(), &ids).await.unwrap(), 2);
        assert_eq!(world.store.complete(&q(), &ids[..1], &json!(7)).await.unwrap(), 1);
        assert_eq!(world.store.complete(&q(), &ids[..1], &json!(8)).await.unwrap(), 0, "it is finished");
        assert_eq!(world.store.fail(&q(), &ids, &json!("no")).await.unwrap(), 1);
        let late = Settlement {
            claim: claimed[1].claim.clone(),
            outcome: Outcome::Done(json!(1)),
            effects: Effects::default(),
        };
        assert!(matches!(world.store.settle(&[late]).await.unwrap()[0], Verdict::LostClaim));
        let job = world.store.job(&q(), &ids[1]).await.unwrap().unwrap();
        assert_eq!((job.state, job.error), (JobState::Delayed, Some(json!("no"))), "on {}", world.version);
        world.close().await;
    }
}

/// Where a queue is told by NOTIFY, pg-boss's own workers hear of what we send, and we hear of what they send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_wake_each_other() {
    const CHANNEL: &str = "pgboss_454650302e472074f72063fd";
    for world in worlds().await {
        world.store.create_queue(&q(), &QueueSettings { notify: true, ..QueueSettings::default() }).await.unwrap();
        let (client, mut wire) = tokio_postgres::connect(&world.url, NoTls).await.unwrap();
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| wire.poll_message(cx)).await {
                if let AsyncMessage::Notification(note) = message {
                    let _ = heard.send((note.channel().to_owned(), note.payload().to_owned()));
                }
            }
        });
        client.batch_execute(&format!("listen {CHANNEL}")).await.unwrap();
        world.send(&q(), json!(null), &SendOptions::default()).await;
        let note = tokio::time::timeout(Duration::from_secs(20), hears.recv()).await.unwrap().unwrap();
        assert_eq!(note, (CHANNEL.to_owned(), "q".to_owned()), "on {}", world.version);
        // Others' notifications reach whoever waits; what came before may wake them once more.
        let queues = [queue("theirs")];
        let store = world.store.clone();
        let waiting = store.wait(&queues);
        tokio::pin!(waiting);
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut waiting => break,
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        client.batch_execute(&format!("select pg_notify('{CHANNEL}', 'theirs')")).await.unwrap();
                    }
                }
            }
        });
        waited.await.expect("a wake-up");
        world.close().await;
    }
}

/// The columns that came after 43 are not asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_supported_schema_is_worked() {
    for world in worlds().await {
        world.store.close().await.unwrap();
        world
            .run(
                "alter table pgboss.job drop column trace_context, drop column upsert_by_key; \
                 alter table pgboss.queue drop column blocked_count, drop column wait_bins, drop column run_bins, \
                 drop column ready_oldest_seconds, drop column retained_count, drop column retained_on; \
                 drop table pgboss.instance; update pgboss.version set version = 43",
            )
            .await;
        let world = World { store: open(&world.url).await, ..world };
        let trace = json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
        let job = NewJob { trace: Some(trace.clone()), ..NewJob::new(q(), JobName::from(&q()), json!({ "n": 1 })) };
        world.store.enqueue(&[job.clone(), job]).await.unwrap();
        let claimed = world.claim(&q(), 5).await;
        assert_eq!(claimed[0].trace, Some(trace), "on {}", world.version);
        world.settle(&claimed[0], Outcome::Done(json!(1))).await;
        world.settle(&claimed[1], Outcome::Retry { error: json!("e"), after: None }).await;
        world.store.supervise(None).await.unwrap();
        let counts = world.store.counts(&q()).await.unwrap();
        assert_eq!((counts.completed, counts.delayed), (1, 1));
        world.store.close().await.unwrap();
    }
}

/// Queues of one name in the layouts of one schema are different queues: who watches one hears nothing of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_hear_their_own_layout() {
    type Opened = (Box<dyn QueueProvider>, BoxStream<QueueEvent>);
    for world in worlds().await {
        let native = async || PostgresStore::connect(PostgresOptions::new(&world.url), StoreOptions::default()).await;
        let beside = async |schema: &str| {
            PgBossStore::connect(options(&world.url).schema(schema), StoreOptions::default()).await
        };
        // A watcher of each layout, and another process that something happens in.
        let mut all: Vec<Opened> = Vec::new();
        let mut watching: Vec<Box<dyn Store>> = Vec::new();
        for schema in [None, Some("pgboss"), Some("others")] {
            let (actor, watcher): (Box<dyn QueueProvider>, Box<dyn QueueProvider>) = match schema {
                None => (Box::new(native().await.unwrap()), Box::new(native().await.unwrap())),
                Some(schema) => (Box::new(beside(schema).await.unwrap()), Box::new(beside(schema).await.unwrap())),
            };
            all.push((actor, watcher.watch(&q()).await.unwrap()));
            watching.push(watcher);
        }
        // What is heard of one layout was in the feed before the next one's job: it would be heard first.
        for round in 0..2 {
            for (actor, events) in &mut all {
                let stored = actor.enqueue(&[NewJob::new(q(), JobName::from(&q()), json!(round))]).await.unwrap();
                let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx));
                let heard = tokio::time::timeout(Duration::from_secs(30), next).await.expect("it is told").unwrap();
                assert_eq!((heard.job.as_ref(), heard.kind), (Some(stored[0].id()), QueueEventKind::Waiting));
            }
        }
        for (actor, _) in &all {
            actor.close().await.unwrap();
        }
        for watcher in watching {
            watcher.close().await.unwrap();
        }
        world.close().await;
    }
}

/// A job is there with its caller's commit, as a store of the same queue would have written it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_there_with_the_callers_commit() {
    for world in worlds().await {
        let job = |id: &str| {
            NewJob::new(q(), JobName::new("send").unwrap(), json!({ "to": "a\"d\\a,{}", "n": 1.5 }))
                .id(JobId::new(id).unwrap())
                .attempts(4)
                .priority(-3)
                .delay(Duration::from_secs(3_600))
        };
        let run = async |call: &millstream_postgres::SqlCall| {
            let params: Vec<_> = call.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
            let row = world.client.query_one(&call.text, &params).await.unwrap();
            (row.get::<_, String>("id"), row.get::<_, bool>("created"))
        };
        let call = world.store.enqueue_call(&job("mine")).await.unwrap();
        world.run("begin").await;
        assert_eq!(run(&call).await, ("mine".to_owned(), true), "on {}", world.version);
        world.run("rollback").await;
        assert_eq!(world.store.counts(&q()).await.unwrap().total(), 0);
        assert_eq!(run(&call).await, ("mine".to_owned(), true), "on {}", world.version);
        assert_eq!(run(&call).await, ("mine".to_owned(), false), "on {}", world.version);

        world.store.enqueue(&[job("theirs")]).await.unwrap();
        let columns = "data, priority, retry_limit, retry_delay, retry_backoff, expire_seconds, deletion_seconds, policy, \
                       state, keep_until - start_after as kept";
        let rows = world.rows(&format!("select {columns} from pgboss.job where name = 'q'")).await;
        assert_eq!((rows.len(), &rows[0]), (2, &rows[1]), "on {}", world.version);
        let found = world.store.job(&q(), &JobId::new("mine").unwrap()).await.unwrap().unwrap();
        assert_eq!((found.state, found.settings.attempts), (JobState::Delayed, 4), "on {}", world.version);
        assert_eq!(found.data, json!({ "to": "a\"d\\a,{}", "n": 1.5 }));

        // Without an id of its caller's, and with nothing said.
        let plain = NewJob::new(q(), JobName::from(&q()), json!("text"));
        let (id, created) = run(&world.store.enqueue_call(&plain).await.unwrap()).await;
        assert!(created && world.store.job(&q(), &JobId::new(id).unwrap()).await.unwrap().is_some());
        world.close().await;
    }
}
