//! Limits on groups of jobs on pg-boss's tables: kept over all workers, fair, given back by whoever dies, and no dearer for
//! a backlog.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_core::{
    Effects, Error, Handler, JobContext, JobError, JobGroup, JobId, JobName, JobState, JobStore, JobsQuery, NewJob,
    Outcome, QueueName, QueueProvider, QueueWorkerOptions, Schedule, Settlement, Store, StoreOptions, Stores, Verdict,
    Wake, Want, WorkerManager, WorkerOptions,
};
use millstream_postgres::{
    SqlCall,
    pgboss::{PgBossOptions, PgBossStore, QueueSettings, SendOptions},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};
use tokio_postgres::types::ToSql;

#[path = "world/boss.rs"]
mod boss;
mod world;

use boss::{World, open, options, q, worlds};

fn of(group: &str) -> SendOptions {
    SendOptions { group_id: (!group.is_empty()).then(|| group.to_owned()), ..SendOptions::default() }
}

async fn claim(store: &PgBossStore, at_most: u32) -> Vec<millstream_core::Claimed> {
    store.claim(&[Want::new(q(), at_most)]).await.unwrap()
}

async fn settle(store: &PgBossStore, claimed: &millstream_core::Claimed, outcome: Outcome) -> JobState {
    let settlement = Settlement { claim: claimed.claim.clone(), outcome, effects: Effects::default() };
    match store.settle(&[settlement]).await.unwrap().remove(0) {
        Verdict::Settled(state) => state,
        other => panic!("the claim holds, yet {other:?}"),
    }
}

fn data(claimed: &[millstream_core::Claimed]) -> Vec<Value> {
    claimed.iter().map(|one| one.data.clone()).collect()
}

impl World {
    async fn send(&self, group: &str, n: impl Into<Value>) -> JobId {
        self.store.send(&q(), &n.into(), &of(group)).await.unwrap().expect("nothing refuses it")
    }

    async fn one(&self, text: &str) -> i64 {
        self.client.query_one(text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error:?}")).get(0)
    }

    async fn call(&self, call: &SqlCall) {
        let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|param| param as _).collect();
        self.client.query_one(&call.text, &params).await.unwrap_or_else(|error| panic!("{error:?}"));
    }
}

/// Notes each change of a running job. A claim that counts a job as ended comes after the commit of its end.
const JOURNAL: &str = "
    create schema journal;
    create table journal.change (place bigint generated always as identity, grp text, step integer);
    create function journal.note() returns trigger language plpgsql as $$
    begin
        if new.state = 'active' and old.state <> 'active' then
            insert into journal.change (grp, step) values (coalesce(new.group_id, ''), 1);
        elsif old.state = 'active' and new.state <> 'active' then
            insert into journal.change (grp, step) values (coalesce(new.group_id, ''), -1);
        end if;
        return null;
    end $$;
    create trigger journal after update on pgboss.job for each row execute function journal.note();
";

/// The most jobs of each group that ran at once.
async fn peaks(world: &World) -> HashMap<String, i32> {
    let rows = world.client.query("select grp, step from journal.change order by place", &[]).await.unwrap();
    let (mut running, mut peaks) = (HashMap::new(), HashMap::new());
    for row in rows {
        let group: String = row.get(0);
        let now = running.entry(group.clone()).or_insert(0);
        *now += row.get::<_, i32>(1);
        let peak = peaks.entry(group).or_insert(0);
        *peak = (*peak).max(*now);
    }
    peaks
}

/// Ends when others had a turn.
struct Yields {
    done: Arc<Notify>,
}

#[async_trait::async_trait]
impl Handler for Yields {
    async fn run(&self, _: Value, _: JobContext) -> Result<Value, JobError> {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.done.notify_one();
        Ok(Value::Null)
    }
}

/// However many workers of however many processes: never more than the limit, and every group goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_keep_the_limit() {
    for world in worlds().await {
        world.run(JOURNAL).await;
        world.store.set_group_concurrency(&q(), Some(2)).await.unwrap();
        for n in 0..40 {
            for group in ["a", "b", "c", ""] {
                world.send(group, n).await;
            }
        }
        let done = Arc::new(Notify::new());
        let mut processes = Vec::new();
        for _ in 0..3 {
            let store = Arc::new(open(&world.url).await);
            let workers = WorkerManager::new(Stores::of(store.clone()), WorkerOptions::default());
            workers.register_default(&q(), Arc::new(Yields { done: done.clone() })).unwrap();
            workers
                .configure(&q(), QueueWorkerOptions { concurrency: Some(4), ..QueueWorkerOptions::default() })
                .unwrap();
            workers.start().await.unwrap();
            processes.push((workers, store));
        }
        let all = tokio::time::timeout(Duration::from_secs(90), async {
            while world.store.counts(&q()).await.unwrap().completed < 160 {
                // A settle follows the handler's end: the last one is seen by looking again.
                drop(tokio::time::timeout(Duration::from_millis(100), done.notified()).await);
            }
        });
        assert!(all.await.is_ok(), "every job runs on {}", world.version);
        for (workers, store) in processes {
            workers.close_all().await.unwrap();
            store.close().await.unwrap();
        }
        let peaks = peaks(&world).await;
        for group in ["a", "b", "c"] {
            assert!((1..=2).contains(&peaks[group]), "group {group} on {}: {peaks:?}", world.version);
        }
        let left = world.one(
            "select (select count(*) from millstream.boss_waiting) + (select count(*) from millstream.boss_group)",
        );
        assert_eq!(left.await, 0, "what ran is not listed any more");
        world.close().await;
    }
}

/// Claims that race take no job too many; none of them fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_claims_keep_the_limit() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(3)).await.unwrap();
        for n in 0..20 {
            world.send("a", n).await;
            world.send("b", n).await;
        }
        let mut racing = JoinSet::new();
        let other = open(&world.url).await;
        for n in 0..10 {
            let store = if n % 2 == 0 { world.store.clone() } else { other.clone() };
            racing.spawn(async move { claim(&store, 5).await.len() });
        }
        assert_eq!(racing.join_all().await.into_iter().sum::<usize>(), 6, "on {}", world.version);
        other.close().await.unwrap();
        world.close().await;
    }
}

/// A group without a free slot lets the others pass; its own jobs run in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_group_holds_up_no_other() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        for n in 0..50 {
            world.send("a", json!(["a", n])).await;
        }
        world.send("b", json!(["b", 0])).await;
        world.send("", json!(["", 0])).await;
        world.send("b", json!(["b", 1])).await;
        world.send("", json!(["", 1])).await;
        let first = claim(&world.store, 10).await;
        let wanted = [json!(["a", 0]), json!(["b", 0]), json!(["", 0]), json!(["", 1])];
        assert_eq!(data(&first), wanted, "on {}", world.version);
        assert_eq!(claim(&world.store, 10).await.len(), 0);
        let urgent = SendOptions { priority: Some(1), ..of("a") };
        world.store.send(&q(), &json!(["a", "urgent"]), &urgent).await.unwrap();
        settle(&world.store, &first[0], Outcome::Done(json!(null))).await;
        for wanted in [json!(["a", "urgent"]), json!(["a", 1]), json!(["a", 2])] {
            let next = claim(&world.store, 10).await;
            assert_eq!(data(&next), [wanted], "on {}", world.version);
            settle(&world.store, &next[0], Outcome::Done(json!(null))).await;
        }
        // One that comes back has its old place: the first one, once its time has come.
        let third = claim(&world.store, 1).await;
        assert_eq!(data(&third), [json!(["a", 3])]);
        settle(&world.store, &third[0], Outcome::Retry { error: json!("no"), after: Some(Duration::ZERO) }).await;
        settle(&world.store, &first[1], Outcome::Done(json!(null))).await;
        assert_eq!(data(&claim(&world.store, 10).await), [json!(["a", 3]), json!(["b", 1])], "on {}", world.version);
        world.close().await;
    }
}

/// Whoever dies, or runs too long, gives its slots back; so does whoever holds a job without a claim of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_come_back_from_whoever_dies() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(2)).await.unwrap();
        for n in 0..4 {
            world.send("a", n).await;
        }
        // As a worker of pg-boss's own takes one.
        world
            .run("update pgboss.job set state = 'active', started_on = now(), heartbeat_on = now() where data = '0'")
            .await;
        let dead = open(&world.url).await;
        assert_eq!(data(&claim(&dead, 9).await), [json!(1)], "one slot is taken, on {}", world.version);
        dead.close().await.unwrap();
        assert_eq!(claim(&world.store, 9).await.len(), 0);
        // Its lease ran out.
        world
            .run(
                "update pgboss.job set heartbeat_on = now() - interval '1 hour' where data = '1'; \
                 update millstream.boss_claim set at = now() - interval '1 hour'",
            )
            .await;
        assert_eq!(world.store.rescue().await.unwrap(), 1);
        let next = claim(&world.store, 1).await;
        assert_eq!(next.len(), 1, "on {}", world.version);
        assert_eq!(claim(&world.store, 9).await.len(), 0);
        world.run("update pgboss.job set started_on = now() - interval '1 day' where data = '0'").await;
        assert_eq!(world.store.supervise(None).await.unwrap().expired, 1);
        assert_eq!(claim(&world.store, 9).await.len(), 1);
        assert_eq!(claim(&world.store, 9).await.len(), 0, "on {}", world.version);
        // One that is given back, too.
        world.store.release(&[next[0].claim.clone()]).await.unwrap();
        assert_eq!(claim(&world.store, 9).await.len(), 1, "on {}", world.version);
        world.close().await;
    }
}

/// What others took, ended or removed meanwhile is skipped, however much it is; what came into the past is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_only_a_list() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        let fill = "insert into pgboss.job (name, policy, data, group_id, created_on, start_after) \
                    select 'q', 'standard', to_jsonb(i), 'a', now() + i * interval '1 microsecond', now() \
                    from generate_series(1, 5000) i";
        world.run(fill).await;
        let first = claim(&world.store, 3).await;
        assert_eq!(data(&first), [json!(1)], "on {}", world.version);
        world.run("update pgboss.job set state = 'completed', completed_on = now() where data::text::integer between 2 and 3000").await;
        world.run("delete from pgboss.job where data::text::integer between 3001 and 4998").await;
        settle(&world.store, &first[0], Outcome::Done(json!(null))).await;
        let next = claim(&world.store, 3).await;
        assert_eq!(data(&next), [json!(4999)], "on {}", world.version);
        // By a transaction that was open for long, or with a time of its own.
        world
            .run(
                "insert into pgboss.job (name, policy, data, group_id, start_after) \
                 values ('q', 'standard', '\"late\"', 'b', now() - interval '1 year'); \
                 update millstream.boss_limit set look_at = now()",
            )
            .await;
        assert_eq!(data(&claim(&world.store, 3).await), [json!("late")], "on {}", world.version);
        world.close().await;
    }
}

/// A delayed job takes part once it is due, and a paused queue rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_and_pauses_hold() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        let later =
            SendOptions { start_after: Some(millstream_core::RunAt::After(Duration::from_secs(600))), ..of("a") };
        world.store.send(&q(), &json!("later"), &later).await.unwrap();
        world.send("a", "now").await;
        world.store.pause(&q()).await.unwrap();
        assert_eq!(claim(&world.store, 9).await.len(), 0);
        world.store.resume(&q()).await.unwrap();
        let now = claim(&world.store, 9).await;
        assert_eq!(data(&now), [json!("now")], "on {}", world.version);
        settle(&world.store, &now[0], Outcome::Done(json!(null))).await;
        assert_eq!(claim(&world.store, 9).await.len(), 0);
        world
            .run(
                "create or replace function pgboss.job_now() returns timestamptz language sql stable as \
                 $$ select pg_catalog.now() + interval '601 seconds' $$",
            )
            .await;
        assert_eq!(data(&claim(&world.store, 9).await), [json!("later")], "on {}", world.version);
        world.close().await;
    }
}

/// A slot that one process gives back wakes those that wait in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_slot_wakes_other_processes() {
    for world in worlds().await {
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        for n in 0..2 {
            world.send("a", n).await;
        }
        let held = claim(&world.store, 1).await;
        let other = open(&world.url).await;
        let queues = [q()];
        // Signals may be early: what counts is that it is woken until there is a job.
        let woken = tokio::time::timeout(Duration::from_secs(60), async {
            let mut first = true;
            loop {
                let wait = other.wait(&queues);
                if std::mem::take(&mut first) {
                    assert_eq!(claim(&other, 1).await.len(), 0);
                    let (wake, state) = tokio::join!(wait, settle(&world.store, &held[0], Outcome::Done(json!(null))));
                    assert_eq!((wake, state), (Wake::Work, JobState::Completed));
                } else {
                    wait.await;
                }
                let claimed = claim(&other, 1).await;
                if !claimed.is_empty() {
                    break claimed;
                }
            }
        });
        assert_eq!(data(&woken.await.expect("it is woken")), [json!(1)], "on {}", world.version);
        other.close().await.unwrap();
        world.close().await;
    }
}

/// A limit stays with its queue, ends for everybody, and is refused where it cannot be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_stays_with_its_queue() {
    for world in worlds().await {
        let limited = PgBossOptions { group_concurrency: BTreeMap::from([(q(), 2)]), ..options(&world.url) };
        let other = PgBossStore::connect(limited, StoreOptions::default()).await.unwrap();
        assert_eq!(world.store.group_concurrency(&q()).await.unwrap(), Some(2));
        for n in 0..9 {
            world.send("a", n).await;
        }
        assert_eq!(claim(&other, 9).await.len(), 2, "on {}", world.version);
        other.set_group_concurrency(&q(), Some(4)).await.unwrap();
        assert_eq!(claim(&world.store, 9).await.len(), 2);
        world.store.set_group_concurrency(&q(), None).await.unwrap();
        assert_eq!(world.store.group_concurrency(&q()).await.unwrap(), None);
        // It still believes that there is one.
        assert_eq!(claim(&other, 9).await.len(), 5, "on {}", world.version);

        let refused = |error: Error, says: &str| {
            let told = error.to_string();
            assert!(matches!(error, Error::Invalid { .. }) && told.contains(says), "{told}");
        };
        refused(world.store.set_group_concurrency(&q(), Some(0)).await.unwrap_err(), "a number from 1");
        refused(
            world
                .store
                .send(&q(), &json!(1), &SendOptions { group_id: Some(String::new()), ..of("") })
                .await
                .unwrap_err(),
            "job group",
        );
        let single = QueueName::new("single").unwrap();
        let settings = QueueSettings { policy: "singleton".to_owned(), ..QueueSettings::default() };
        world.store.create_queue(&single, &settings).await.unwrap();
        refused(world.store.set_group_concurrency(&single, Some(1)).await.unwrap_err(), "policy");
        let tier = SendOptions { group_tier: Some("gold".to_owned()), ..of("a") };
        let told = world.store.send(&q(), &json!(1), &tier).await.unwrap_err();
        assert!(matches!(told, Error::Unsupported { .. }) && told.to_string().contains("tiers of groups"), "{told}");
        other.close().await.unwrap();
        world.close().await;
    }
}

/// A group of a job of ours is pg-boss's, however the job comes; what pg-boss wrote is told as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_ours_is_theirs() {
    for world in worlds().await {
        let job = |n: i32| NewJob::new(q(), JobName::new("work").unwrap(), json!({ "n": n })).group("ada");
        world.store.enqueue(&[job(0)]).await.unwrap();
        world.call(&world.store.enqueue_call(&job(1)).await.unwrap()).await;
        let first = claim(&world.store, 1).await.remove(0);
        assert_eq!(first.group, Some(JobGroup::new("ada")), "on {}", world.version);
        let effects = Effects { enqueue: vec![job(2)], ..Effects::default() };
        let settlement = Settlement { claim: first.claim, outcome: Outcome::Done(Value::Null), effects };
        assert!(matches!(world.store.settle(&[settlement]).await.unwrap()[0], Verdict::Settled(_)));
        let tick = Schedule { options: job(3).options, ..Schedule::new(q(), "tick", "0 0 * * *", JobName::from(&q())) };
        world.store.schedule_upsert(&tick).await.unwrap();
        assert_eq!(world.one("select count(*) from pgboss.job where group_id = 'ada' and group_tier is null").await, 3);
        let named = "select count(*) from pgboss.schedule where options -> 'group' = '{\"id\": \"ada\"}'";
        assert_eq!(world.one(named).await, 1);

        // The limit counts them with those that Node would send.
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        assert_eq!(data(&claim(&world.store, 9).await), [json!({ "n": 1 })]);

        world.run("update pgboss.job set group_tier = 'gold' where data ->> 'n' = '2'").await;
        let waiting = JobsQuery { states: vec![JobState::Waiting], ..JobsQuery::of(q()) };
        let told = world.store.jobs(&waiting).await.unwrap().items.remove(0);
        let tiered = JobGroup { tier: Some("gold".into()), ..JobGroup::new("ada") };
        assert_eq!(told.settings.group, Some(tiered.clone()), "on {}", world.version);
        let mut refused = job(4);
        refused.options.group = Some(tiered);
        let refused = world.store.enqueue(&[refused]).await.unwrap_err();
        assert!(refused.to_string().contains("tier"), "{refused}");
        world.close().await;
    }
}

/// A queue with a table of its own is limited there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_its_own_table_is_limited() {
    for world in worlds().await {
        let own = QueueSettings { partition: true, ..QueueSettings::default() };
        world.store.create_queue(&q(), &own).await.unwrap();
        world.store.set_group_concurrency(&q(), Some(1)).await.unwrap();
        for n in 0..3 {
            world.send("a", n).await;
        }
        let first = claim(&world.store, 9).await;
        assert_eq!(data(&first), [json!(0)], "on {}", world.version);
        settle(&world.store, &first[0], Outcome::Fail(json!("no"))).await;
        assert_eq!(data(&claim(&world.store, 9).await), [json!(1)]);
        assert!(world.store.delete_queue(&q()).await.unwrap());
        assert_eq!(world.store.group_concurrency(&q()).await.unwrap(), None);
        world.close().await;
    }
}
