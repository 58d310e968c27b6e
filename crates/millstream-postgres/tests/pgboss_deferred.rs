//! Claims on pg-boss's tables whose jobs are started and completed in one write: what others see of them, and what is
//! left whatever ends them.

use std::{
    collections::HashSet,
    env,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use millstream_core::{
    Append, Claimed, Effects, Entropy, EventStore, JobContext, JobError, JobEvents, JobId, JobName, JobState, JobStore,
    NewEvent, NewJob, Outcome, Progress, QueueEventKind, QueueName, QueueProvider, Settlement, Signal, Store,
    StoreOptions, Stores, StreamName, SystemEntropy, Verdict, Want, WorkerManager, WorkerOptions,
};
use millstream_postgres::pgboss::{PgBossOptions, PgBossStore};
use millstream_servers::fault::{Direction, Proxy};
use serde_json::json;
use tokio_postgres::types::ToSql;

#[path = "world/again.rs"]
mod again;
#[path = "world/boss.rs"]
mod boss;
mod world;

use again::lasting;
use boss::{World, open, options, q, worlds};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// As few as are deferred.
const MANY: usize = 200;
/// Claims of which one is to be ended before its time is up, however busy the machine is.
const TRIALS: usize = 60;
/// A time that can be moved, and a list of what is written to rows of jobs.
const SETUP: &str = "create table trial_shift (by interval not null); insert into trial_shift values ('0'); \
    create or replace function pgboss.job_now() returns timestamptz language sql stable \
        as 'select now() + by from public.trial_shift'; \
    create sequence trial; create table written (queue text, job uuid, was text, becomes text); \
    create function write_down() returns trigger language plpgsql as $$ begin \
        insert into public.written values (new.name, new.id, old.state::text, new.state::text); return null; end $$; \
    create trigger written after update on pgboss.job_common for each row execute function write_down()";

fn queue(prefix: &str, number: usize) -> QueueName {
    QueueName::new(format!("{prefix}-{number}")).unwrap()
}

fn job(queue: &QueueName, number: usize) -> NewJob {
    let id = JobId::new(format!("job-{number}")).unwrap();
    NewJob::new(queue.clone(), JobName::new("work").unwrap(), json!(number)).id(id).attempts(2)
}

fn jobs(queue: &QueueName) -> Vec<NewJob> {
    (0..MANY).map(|number| job(queue, number)).collect()
}

fn brief(queue: &QueueName) -> Want {
    Want { brief: true, ..Want::new(queue.clone(), 1_000) }
}

fn settlement(claimed: &Claimed, outcome: Outcome) -> Settlement {
    Settlement { claim: claimed.claim.clone(), outcome, effects: Effects::default() }
}

fn done(claimed: &Claimed) -> Settlement {
    settlement(claimed, Outcome::Done(json!({ "of": claimed.data })))
}

fn refs(claimed: &[Claimed]) -> Vec<millstream_core::ClaimRef> {
    claimed.iter().map(|one| one.claim.clone()).collect()
}

async fn settle(store: &PgBossStore, batch: &[Settlement]) -> Vec<Option<JobState>> {
    let verdicts = store.settle(batch).await.unwrap();
    assert_eq!(verdicts.len(), batch.len());
    let state = |verdict| match verdict {
        Verdict::Settled(state) => Some(state),
        Verdict::LostClaim => None,
        Verdict::EffectRefused(error) => panic!("{error}"),
    };
    verdicts.into_iter().map(state).collect()
}

async fn settle_all(store: &PgBossStore, claimed: &[Claimed]) {
    let batch: Vec<Settlement> = claimed.iter().map(done).collect();
    assert_eq!(settle(store, &batch).await, vec![Some(JobState::Completed); claimed.len()]);
}

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

/// Another process' store, whose connections can be told apart.
async fn stranger(world: &World, name: &str) -> PgBossStore {
    let mut options = options(&world.url);
    options.postgres.application_name = name.to_owned();
    PgBossStore::connect(options, StoreOptions::default()).await.unwrap()
}

async fn trial_worlds() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.run(SETUP).await;
    }
    worlds
}

impl World {
    async fn number(&self, text: &str) -> i64 {
        self.client.query_one(text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error:?}")).get(0)
    }

    async fn count(&self, queue: &QueueName, which: &str) -> usize {
        let text = format!("select count(*) from pgboss.job where name = '{queue}' and ({which})");
        usize::try_from(self.number(&text).await).unwrap()
    }

    async fn written(&self, queue: &QueueName, was: &str, becomes: &str) -> usize {
        let text =
            format!("select count(*) from written where queue = '{queue}' and was = '{was}' and becomes = '{becomes}'");
        usize::try_from(self.number(&text).await).unwrap()
    }

    /// All that was written to a queue's rows.
    async fn writes(&self, queue: &QueueName) -> usize {
        usize::try_from(self.number(&format!("select count(*) from written where queue = '{queue}'")).await).unwrap()
    }

    /// A claim that only locked its rows, of a queue of its own: one that is not settled as one makes the queue's next ones
    /// plain. So does a machine that is too busy to lock in time: then another is tried.
    async fn claim_open(&self, store: &PgBossStore, prefix: &str) -> (QueueName, Vec<Claimed>) {
        for _ in 0..TRIALS {
            let number = self.number("select nextval('trial')").await;
            let queue = QueueName::new(format!("{prefix}-{number}")).unwrap();
            store.enqueue(&jobs(&queue)).await.unwrap();
            let claimed = store.claim(&[brief(&queue)]).await.unwrap();
            assert_eq!(claimed.len(), MANY, "on {}", self.version);
            let together = claimed.iter().filter(|one| one.together).count();
            assert!([0, MANY].contains(&together), "all or none: {together} on {}", self.version);
            if together == MANY {
                return (queue, claimed);
            }
            settle_all(store, &claimed).await;
        }
        panic!("{prefix}: no claim is deferred on {}", self.version);
    }

    /// Whether the claim of a queue's jobs is neither written nor given up.
    async fn is_open(&self, queue: &QueueName) -> bool {
        let text = format!(
            "select (exists (select from millstream.boss_claim where deferred and queues = array['{queue}']) \
             and not exists (select from pgboss.job where name = '{queue}' and state <> 'created') \
             and (select count(*) from (select 1 from pgboss.job where name = '{queue}' for update skip locked) x) = 0)::integer::bigint"
        );
        self.number(&text).await == 1
    }

    /// Looks at a claim whose rows are locked and not written, all the while. Where its time is up meanwhile, at another.
    async fn while_open<T>(
        &self,
        store: &PgBossStore,
        prefix: &str,
        look: impl AsyncFn(&QueueName, &[Claimed]) -> T,
    ) -> (QueueName, Vec<Claimed>, T) {
        for _ in 0..TRIALS {
            let (queue, claimed) = self.claim_open(store, prefix).await;
            let seen = look(&queue, &claimed).await;
            if self.is_open(&queue).await {
                return (queue, claimed, seen);
            }
        }
        panic!("{prefix}: no claim stayed open on {}", self.version);
    }

    async fn started(&self, queue: &QueueName, jobs: usize) {
        let active = async { while self.count(queue, "state = 'active'").await < jobs {} };
        patiently("a claim that is not settled is written by itself", active).await;
    }

    async fn advance(&self, by: Duration) {
        self.run(&format!("update trial_shift set by = by + interval '{} seconds'", by.as_secs())).await;
    }

    async fn job(&self, queue: &QueueName, number: usize) -> millstream_core::Job {
        let id = JobId::new(format!("job-{number}")).unwrap();
        self.store.job(queue, &id).await.unwrap().expect("the job is there")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_claim_is_nobody_elses_and_reads_as_waiting() {
    for world in trial_worlds().await {
        let other = open(&world.url).await;
        let look = async |queue: &QueueName, claimed: &[Claimed]| {
            let free = format!(
                "select count(*) from (select 1 from pgboss.job where name = '{queue}' and state < 'active' for update skip locked) x"
            );
            let created = world.count(queue, "state = 'created' and started_on is null and retry_count = 0").await;
            let free = world.number(&free).await;
            let mut taken = Vec::new();
            for want in [Want::new(queue.clone(), 1_000), brief(queue)] {
                for store in [&other, &world.store] {
                    taken.extend(store.claim(std::slice::from_ref(&want)).await.unwrap());
                }
            }
            let signals = world.store.beat(&refs(claimed)).await.unwrap();
            (created, free, taken, signals)
        };
        let (queue, claimed, seen) = world.while_open(&world.store, "open", look).await;
        assert_eq!(seen, (MANY, 0, Vec::new(), Vec::new()), "on {}", world.version);
        assert_eq!(claimed.iter().map(|one| one.attempt).collect::<HashSet<_>>(), HashSet::from([1]));
        let before: std::time::SystemTime =
            world.client.query_one("select clock_timestamp()", &[]).await.unwrap().get(0);
        settle_all(&world.store, &claimed).await;
        let ended = format!(
            "select count(*) from pgboss.job where name = '{queue}' and state = 'completed' and started_on <= completed_on \
             and started_on < $1 and completed_on > $1 and retry_count = 0 and output = jsonb_build_object('of', data)"
        );
        let rows: i64 = world.client.query_one(&ended, &[&before]).await.unwrap().get(0);
        assert_eq!(rows as usize, MANY, "on {}", world.version);
        // Settled once.
        let batch: Vec<Settlement> = claimed.iter().map(done).collect();
        assert_eq!(settle(&world.store, &batch).await, vec![None; MANY]);
        other.close().await.unwrap();
        world.close().await;
    }
}

/// Each job of a claim is written once, or, where the claim's time was up, twice; and most often once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_end_soon_are_written_once() {
    for world in trial_worlds().await {
        let mut once = Vec::new();
        for _ in 0..TRIALS {
            let (queue, claimed) = world.claim_open(&world.store, "once").await;
            settle_all(&world.store, &claimed).await;
            let (begun, ended) = (
                world.written(&queue, "created", "active").await + world.written(&queue, "active", "completed").await,
                world.written(&queue, "created", "completed").await,
            );
            assert_eq!(world.writes(&queue).await, begun + ended, "on {}", world.version);
            assert!((begun, ended) == (0, MANY) || (begun, ended) == (2 * MANY, 0), "{begun}, {ended}");
            once.extend((begun == 0).then_some(queue));
            if once.len() == 3 {
                break;
            }
        }
        assert_eq!(once.len(), 3, "claims that were settled at once on {}", world.version);

        // The rows end as those that were started first.
        let ends = async |queue: &QueueName| {
            let text = format!(
                "select distinct (to_jsonb(j) - array['id', 'name', 'data', 'output', 'created_on', 'start_after', 'keep_until', \
                 'started_on', 'heartbeat_on', 'completed_on'] || jsonb_build_object('beat', heartbeat_on is null, \
                 'kept', keep_until - created_on))::text from pgboss.job j where name = '{queue}'"
            );
            let rows = world.client.query(&text, &[]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
        };
        let plain = q();
        world.store.enqueue(&jobs(&plain)).await.unwrap();
        let claimed = world.store.claim(&[Want::new(plain.clone(), 1_000)]).await.unwrap();
        settle_all(&world.store, &claimed).await;
        assert_eq!(world.writes(&plain).await, 2 * MANY, "on {}", world.version);
        assert_eq!(ends(&once[0]).await, ends(&plain).await, "on {}", world.version);
        world.close().await;
    }
}

/// What is not settled with the first is a claim like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_half_settled_is_settled_later() {
    for world in trial_worlds().await {
        let (hour, stream) = (Duration::from_secs(3_600), StreamName::new("half").unwrap());
        // The other half, of every kind, with the first batch and after it.
        for together in [false, true] {
            let (queue, claimed) = world.claim_open(&world.store, "half").await;
            let (first, rest) = claimed.split_at(MANY / 2);
            let mut batch: Vec<Settlement> = first.iter().map(done).collect();
            let mut wanted = vec![Some(JobState::Completed); first.len()];
            let (mut later, mut then) = (Vec::new(), Vec::new());
            for (place, one) in rest.iter().enumerate() {
                let (outcome, state) = match place % 4 {
                    0 => (Outcome::Retry { error: json!("again"), after: Some(Duration::ZERO) }, JobState::Waiting),
                    1 => (Outcome::Fail(json!("broken")), JobState::Failed),
                    2 => (Outcome::Snooze(hour), JobState::Delayed),
                    _ => (Outcome::Done(json!(place)), JobState::Completed),
                };
                let append = Append::one(stream.clone(), NewEvent::new("done", json!(place)));
                let effects = match state {
                    JobState::Completed => Effects { append: vec![append], ..Effects::default() },
                    _ => Effects::default(),
                };
                later.push(Settlement { effects, ..settlement(one, outcome) });
                then.push(Some(state));
            }
            match together {
                true => {
                    batch.extend(later);
                    wanted.extend(then);
                    assert_eq!(settle(&world.store, &batch).await, wanted, "on {}", world.version);
                }
                false => {
                    assert_eq!(settle(&world.store, &batch).await, wanted, "on {}", world.version);
                    assert_eq!(world.count(&queue, "state = 'active' and started_on is not null").await, MANY / 2);
                    assert_eq!(world.store.beat(&refs(rest)).await.unwrap(), []);
                    assert_eq!(settle(&world.store, &later).await, then, "on {}", world.version);
                }
            }
            let counts = world.store.counts(&queue).await.unwrap();
            let all = (counts.completed, counts.waiting, counts.failed, counts.delayed, counts.active);
            assert_eq!(all, (125, 25, 25, 25, 0), "on {}", world.version);
            let again = world.store.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap();
            assert_eq!(again.iter().map(|one| one.attempt).collect::<Vec<_>>(), [2; 25]);
            world.advance(hour * 2).await;
            assert_eq!(world.store.rescue().await.unwrap(), 25, "those that were claimed again on {}", world.version);
            world.store.promote_due().await.unwrap();
            let snoozed = world.store.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap();
            assert_eq!(snoozed.iter().map(|one| one.attempt).collect::<Vec<_>>(), [1; 25], "on {}", world.version);
            settle_all(&world.store, &snoozed).await;
        }
        assert_eq!(world.store.head().await.unwrap(), 50, "each effect once on {}", world.version);
        // Nobody is completed by the first batch.
        let (queue, claimed) = world.claim_open(&world.store, "half").await;
        let broken: Vec<Settlement> = claimed.iter().map(|one| settlement(one, Outcome::Fail(json!(1)))).collect();
        assert_eq!(settle(&world.store, &broken).await, vec![Some(JobState::Failed); MANY]);
        assert_eq!(world.count(&queue, "state = 'failed' and started_on is not null").await, MANY);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_not_settled_becomes_one_like_any_other() {
    for world in trial_worlds().await {
        let (queue, claimed) = world.claim_open(&world.store, "left").await;
        world.started(&queue, MANY).await;
        assert_eq!(world.writes(&queue).await, MANY);
        // Its lease runs as any other's.
        let lease = world.store.lease();
        world.advance(lease / 2).await;
        assert_eq!(world.store.beat(&refs(&claimed)).await.unwrap(), [], "on {}", world.version);
        world.advance(lease / 2 + lease / 4).await;
        assert_eq!(world.store.rescue().await.unwrap(), 0, "on {}", world.version);
        assert!(world.store.cancel(&queue, &claimed[7].claim.job).await.unwrap());
        let signals = world.store.beat(&refs(&claimed)).await.unwrap();
        assert_eq!(signals, [(claimed[7].claim.clone(), Signal::Cancel)], "on {}", world.version);
        let (half, rest) = claimed.split_at(MANY / 2);
        settle_all(&world.store, half).await;
        world.advance(lease * 2).await;
        assert_eq!(world.store.beat(&refs(rest)).await.unwrap().len(), MANY / 2, "lost on {}", world.version);
        assert_eq!(settle(&world.store, &[done(&rest[0])]).await, [None]);
        assert_eq!(world.store.rescue().await.unwrap() as usize, MANY / 2, "on {}", world.version);
        let again = world.store.claim(&[brief(&queue)]).await.unwrap();
        assert_eq!(again.len(), MANY / 2);
        assert!(again.iter().all(|one| one.attempt == 2 && !one.together), "on {}", world.version);
        settle_all(&world.store, &again).await;
        assert_eq!(world.store.counts(&queue).await.unwrap().completed as usize, MANY);
        world.close().await;
    }
}

/// Jobs that are given back wait again, and have lost no attempt: all of a claim, or some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_waits_again() {
    for world in trial_worlds().await {
        for (kind, part) in [("all", MANY), ("part", MANY / 2)] {
            let (queue, claimed) = world.claim_open(&world.store, kind).await;
            let (back, kept) = claimed.split_at(part);
            world.store.release(&refs(back)).await.unwrap();
            let waiting = "state = 'created' and retry_count = 0 and started_on is null";
            assert_eq!(world.count(&queue, waiting).await, part, "on {}", world.version);
            assert_eq!(settle(&world.store, &[done(&back[0])]).await, [None], "given back on {}", world.version);
            settle_all(&world.store, kept).await;
            // A lease later nobody takes them for lost.
            world.advance(world.store.lease() * 2).await;
            assert_eq!(world.store.rescue().await.unwrap(), 0, "on {}", world.version);
            let again = world.store.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap();
            assert_eq!(again.iter().map(|one| one.attempt).collect::<Vec<_>>(), vec![1; part], "on {}", world.version);
            settle_all(&world.store, &again).await;
            assert_eq!(world.number("select count(*) from millstream.boss_claim where deferred").await, 0);
        }
        world.close().await;
    }
}

/// Ends the session that holds a claim's locks, and answers when it is gone.
async fn lose_locks(world: &World) -> usize {
    let text = "select pg_terminate_backend(pid), pid from pg_stat_activity where datname = current_database() \
                and application_name = 'millstream' and xact_start is not null and pid <> pg_backend_pid() \
                and query like '%boss_claim%'";
    let ended = world.client.query(text, &[]).await.unwrap();
    for row in &ended {
        let gone = format!("select count(*) from pg_stat_activity where pid = {}", row.get::<_, i32>(1));
        patiently("a session ends", async { while world.number(&gone).await > 0 {} }).await;
    }
    ended.len()
}

/// Jobs whose locks were lost are still their holder's, but for those that somebody else took since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_locks_cost_only_what_others_took() {
    for world in trial_worlds().await {
        let other = stranger(&world, "other").await;
        for taking in [0, 50] {
            let mut met = false;
            for _ in 0..TRIALS {
                let (queue, claimed) = world.claim_open(&world.store, &format!("lost-{taking}")).await;
                let open = world.is_open(&queue).await;
                let ended = lose_locks(&world).await;
                let theirs = match taking {
                    0 => Vec::new(),
                    _ => other.claim(&[Want::new(queue.clone(), taking)]).await.unwrap(),
                };
                let taken: HashSet<&JobId> = theirs.iter().map(|one| &one.claim.job).collect();
                let batch: Vec<Settlement> = claimed.iter().map(done).collect();
                let states = settle(&world.store, &batch).await;
                for (one, state) in claimed.iter().zip(states) {
                    let wanted = (!taken.contains(&one.claim.job)).then_some(JobState::Completed);
                    assert_eq!(state, wanted, "{} on {}", one.claim, world.version);
                }
                // They had begun with us.
                assert!(theirs.iter().all(|one| one.attempt == 2), "on {}", world.version);
                settle_all(&other, &theirs).await;
                let begun = MANY - theirs.len();
                assert_eq!(world.count(&queue, "state = 'completed' and retry_count = 0").await, begun);
                assert_eq!(world.count(&queue, "state = 'completed' and retry_count = 1").await, theirs.len());
                let ends = format!("select count(*) from written where queue = '{queue}' and becomes = 'completed'");
                assert_eq!(world.number(&ends).await as usize, MANY, "each once on {}", world.version);
                let lost = open && ended == 1 && theirs.len() == taking as usize;
                if lost && world.written(&queue, "created", "completed").await == 0 {
                    met = true;
                    break;
                }
            }
            assert!(met, "no claim lost its locks before its time was up on {}", world.version);
        }
        other.close().await.unwrap();
        world.close().await;
    }
}

/// Drops a store that holds a claim of a queue of its own, unwritten, without a word. Answers the queue.
async fn vanish(world: &World, prefix: &str, close: bool) -> QueueName {
    for trial in 0..TRIALS {
        let queue = queue(prefix, trial);
        let dying = stranger(world, "dying").await;
        dying.enqueue(&jobs(&queue)).await.unwrap();
        let claimed = dying.claim(&[brief(&queue)]).await.unwrap();
        assert_eq!(claimed.len(), MANY, "on {}", world.version);
        if close {
            dying.close().await.unwrap();
        }
        drop(dying);
        let left = "select count(*) from pg_stat_activity where application_name = 'dying'";
        patiently("a dropped store's sessions end", async { while world.number(left).await > 0 {} }).await;
        if world.count(&queue, "state = 'created'").await == MANY {
            return queue;
        }
        let gone = format!("delete from pgboss.job where name = '{queue}'");
        world.run(&format!("{gone}; delete from millstream.boss_claim where queues = array['{queue}']")).await;
    }
    panic!("no claim was open to the end on {}", world.version);
}

/// A worker that vanishes leaves its jobs to the next one at once. Where nobody takes them, the attempt counts, a lease
/// later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_vanishes_burned_an_attempt() {
    for world in trial_worlds().await {
        for close in [false, true] {
            let attempts = |claimed: &[Claimed]| claimed.iter().map(|one| one.attempt).collect::<Vec<_>>();
            // The next claim of any kind counts it, and none counts it again.
            for wanted in [Want { brief: false, ..brief(&queue("", 0)) }, brief(&queue("", 0))] {
                let next = vanish(&world, &format!("next-{close}-{}", wanted.brief), close).await;
                let claimed = world.store.claim(&[Want { queue: next.clone(), ..wanted }]).await.unwrap();
                assert_eq!(attempts(&claimed), [2; MANY], "on {}", world.version);
                assert!(claimed.iter().all(|one| !one.together), "tried before on {}", world.version);
                world.store.release(&refs(&claimed)).await.unwrap();
                let claimed = world.store.claim(&[Want::new(next, 1_000)]).await.unwrap();
                assert_eq!(attempts(&claimed), [2; MANY], "on {}", world.version);
                settle_all(&world.store, &claimed).await;
            }

            let queue = vanish(&world, &format!("nobody-{close}"), close).await;
            assert_eq!(world.store.rescue().await.unwrap() as usize, MANY, "on {}", world.version);
            assert_eq!(world.store.rescue().await.unwrap(), 0, "once on {}", world.version);
            let again = world.store.claim(&[brief(&queue)]).await.unwrap();
            assert_eq!(attempts(&again), [2; MANY], "on {}", world.version);
            assert!(again.iter().all(|one| !one.together), "tried before on {}", world.version);
            // That was the last one.
            world.advance(world.store.lease() * 2).await;
            assert_eq!(world.store.rescue().await.unwrap() as usize, MANY, "on {}", world.version);
            let failed = world.job(&queue, 1).await;
            assert_eq!(
                (failed.state, failed.error.unwrap()["code"].clone()),
                (JobState::Failed, json!("lease_expired"))
            );
            assert_eq!(world.store.counts(&queue).await.unwrap().failed as usize, MANY, "on {}", world.version);
            let notes = "select count(*) from millstream.boss_claim where deferred";
            assert_eq!(world.number(notes).await, 0, "on {}", world.version);
        }
        world.close().await;
    }
}

/// A job whose row is locked is removed all the same, once that is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_locked_can_be_removed() {
    for world in trial_worlds().await {
        let waits =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let mut met = false;
        for _ in 0..TRIALS {
            let (queue, claimed) = world.claim_open(&world.store, "removed").await;
            let job = claimed[7].claim.job.clone();
            let (store, name, id) = (world.store.clone(), queue.clone(), job.clone());
            let mut removing = tokio::task::JoinSet::new();
            removing.spawn(async move { store.remove(&name, &id).await.unwrap() });
            let mut removed = removing.try_join_next();
            while removed.is_none() && world.number(waits).await == 0 {
                removed = removing.try_join_next();
            }
            let waited = removed.is_none() && world.is_open(&queue).await;
            let batch: Vec<Settlement> = claimed.iter().map(done).collect();
            settle(&world.store, &batch).await;
            let removed = match removed {
                Some(removed) => removed,
                None => removing.join_next().await.unwrap(),
            };
            assert!(removed.unwrap(), "it was there on {}", world.version);
            assert!(world.store.job(&queue, &job).await.unwrap().is_none(), "it is gone on {}", world.version);
            assert_eq!(world.count(&queue, "state = 'completed'").await, MANY - 1, "on {}", world.version);
            met |= waited;
            if met {
                break;
            }
        }
        assert!(met, "nobody had to wait on {}", world.version);
        world.close().await;
    }
}

/// What somebody else did with the jobs of a worker that vanished stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_began_is_not_counted_again() {
    for world in trial_worlds().await {
        let hour = Duration::from_secs(3_600);
        let queue = vanish(&world, "begun", false).await;
        let taken = world.store.claim(&[Want::new(queue.clone(), 80)]).await.unwrap();
        assert_eq!(taken.len(), 80);
        let (ended, rest) = taken.split_at(20);
        let (snoozed, rest) = rest.split_at(20);
        let (released, failed) = rest.split_at(20);
        settle_all(&world.store, ended).await;
        let sleep: Vec<Settlement> = snoozed.iter().map(|one| settlement(one, Outcome::Snooze(hour))).collect();
        assert_eq!(settle(&world.store, &sleep).await, [Some(JobState::Delayed); 20]);
        world.store.release(&refs(released)).await.unwrap();
        let error = Outcome::Retry { error: json!("no"), after: Some(hour) };
        let fail: Vec<Settlement> = failed.iter().map(|one| settlement(one, error.clone())).collect();
        // It was counted when they were taken: that was the second attempt of two.
        assert_eq!(settle(&world.store, &fail).await, [Some(JobState::Failed); 20]);
        assert_eq!(world.store.rescue().await.unwrap() as usize, MANY - 80, "on {}", world.version);
        let counts = world.store.counts(&queue).await.unwrap();
        assert_eq!((counts.completed, counts.delayed, counts.failed), (20, 20, 20), "on {}", world.version);
        let again = world.store.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap();
        assert_eq!(again.len(), MANY - 60);
        for one in &again {
            assert_eq!(one.attempt, 2, "{} on {}", one.claim, world.version);
        }
        settle_all(&world.store, &again).await;
        world.close().await;
    }
}

/// An id that is used anew is another job: the claim of the one before says nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_the_same_id_was_not_begun() {
    for world in trial_worlds().await {
        let (queue, claimed) = world.claim_open(&world.store, "anew").await;
        settle_all(&world.store, &claimed).await;
        for (number, one) in claimed.iter().enumerate() {
            assert!(world.store.remove(&queue, &one.claim.job).await.unwrap());
            let delay = if number % 2 == 0 { Duration::ZERO } else { Duration::from_secs(3_600) };
            world
                .store
                .enqueue(&[NewJob::new(queue.clone(), one.name.clone(), json!(1))
                    .id(one.claim.job.clone())
                    .attempts(2)
                    .delay(delay)])
                .await
                .unwrap();
        }
        world.advance(world.store.lease() * 2).await;
        assert_eq!(world.store.rescue().await.unwrap(), 0, "on {}", world.version);
        let counts = world.store.counts(&queue).await.unwrap();
        assert_eq!((counts.waiting, counts.delayed), (100, 100), "on {}", world.version);
        let notes = "select count(*) from millstream.boss_claim where deferred";
        assert_eq!(world.number(notes).await, 0, "nothing is kept for them on {}", world.version);
        world.close().await;
    }
}

/// Where more than its row says what a job is, or less room is there, a claim is written at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_deferred_is_not() {
    for world in trial_worlds().await {
        let mut number = 0;
        let mut next = || {
            number += 1;
            queue("plain", number)
        };
        let plain = async |store: &PgBossStore, queue: &QueueName, wants: &[Want], what: &str| {
            let claimed = store.claim(wants).await.unwrap();
            let active = world.count(queue, "state = 'active'").await;
            assert!(active >= MANY - 1 && claimed.len() >= active, "{what} on {}: {active}", world.version);
            assert!(claimed.iter().all(|one| !one.together), "{what} on {}", world.version);
            settle_all(store, &claimed).await;
        };
        // One of them is enough.
        let odd = |queue: &QueueName, make: &dyn Fn(NewJob) -> NewJob| {
            let mut jobs = jobs(queue);
            let last = jobs.pop().unwrap();
            jobs.push(make(last));
            jobs
        };
        let queue = next();
        world.store.enqueue(&odd(&queue, &|job| job.attempts(1))).await.unwrap();
        plain(&world.store, &queue, &[brief(&queue)], "one attempt").await;
        let queue = next();
        world.store.enqueue(&odd(&queue, &|job| job.group("g"))).await.unwrap();
        plain(&world.store, &queue, &[brief(&queue)], "a group").await;
        let queue = next();
        let age = millstream_core::Removal::Keep { count: Some(3), age: None };
        world.store.enqueue(&odd(&queue, &|job| job.remove_on_complete(age))).await.unwrap();
        plain(&world.store, &queue, &[brief(&queue)], "a rule beside the row").await;

        let queue = next();
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        let first = world.store.claim(&[Want::new(queue.clone(), 1)]).await.unwrap();
        let again = Outcome::Retry { error: json!(1), after: Some(Duration::ZERO) };
        settle(&world.store, &[settlement(&first[0], again)]).await;
        plain(&world.store, &queue, &[brief(&queue)], "tried before").await;

        let queue = next();
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        world
            .run(&format!("update pgboss.job set policy = 'short', singleton_key = id::text where name = '{queue}'"))
            .await;
        plain(&world.store, &queue, &[brief(&queue)], "another policy").await;

        for (wants, what) in
            [(Want::new(q(), 1_000), "not brief"), (Want { brief: true, ..Want::new(q(), 199) }, "few")]
        {
            let queue = next();
            world.store.enqueue(&jobs(&queue)).await.unwrap();
            plain(&world.store, &queue, &[Want { queue: queue.clone(), ..wants }], what).await;
        }
        let (queue, beside) = (next(), next());
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        world.store.enqueue(&jobs(&beside)).await.unwrap();
        let both = world.store.claim(&[brief(&queue), Want::new(beside.clone(), 1_000)]).await.unwrap();
        let together = |name: &QueueName| both.iter().filter(|one| one.together && one.claim.queue == *name).count();
        assert_eq!((both.len(), together(&beside)), (2 * MANY, 0), "a plain one beside it on {}", world.version);
        settle_all(&world.store, &both).await;

        let queue = next();
        let mut few = jobs(&queue);
        few.pop();
        world.store.enqueue(&few).await.unwrap();
        plain(&world.store, &queue, &[brief(&queue)], "few jobs").await;

        let small = PgBossOptions { postgres: options(&world.url).postgres.pool_size(9), ..options(&world.url) };
        let small = PgBossStore::connect(small, StoreOptions::default()).await.unwrap();
        let told = PgBossOptions { defer_starts: false, ..options(&world.url) };
        let told = PgBossStore::connect(told, StoreOptions::default()).await.unwrap();
        let queue = next();
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        plain(&told, &queue, &[brief(&queue)], "it was told not to").await;
        told.close().await.unwrap();
        for events in [JobEvents::Failures, JobEvents::All] {
            let logging = StoreOptions { job_events: events, ..StoreOptions::default() };
            let logging = PgBossStore::connect(options(&world.url), logging).await.unwrap();
            let queue = next();
            world.store.enqueue(&jobs(&queue)).await.unwrap();
            plain(&logging, &queue, &[brief(&queue)], "events are logged").await;
            logging.close().await.unwrap();
        }
        let queue = next();
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        plain(&small, &queue, &[brief(&queue)], "a small pool").await;
        small.close().await.unwrap();

        // And with nothing of that, it is; until somebody watches.
        let (_, claimed) = world.claim_open(&world.store, "deferred").await;
        settle_all(&world.store, &claimed).await;
        let watched = next();
        let _stream = world.store.watch(&watched).await.unwrap();
        let other = open(&world.url).await;
        world.store.enqueue(&jobs(&watched)).await.unwrap();
        plain(&other, &watched, &[brief(&watched)], "watched").await;
        other.close().await.unwrap();
        world.close().await;
    }
}

/// Who begins to watch while a claim is open is told how each job ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_hears_of_jobs_that_were_open() {
    for world in trial_worlds().await {
        let other = open(&world.url).await;
        let (queue, claimed) = world.claim_open(&world.store, "heard").await;
        let mut events = other.watch(&queue).await.unwrap();
        settle_all(&world.store, &claimed).await;
        let mut heard = HashSet::new();
        let hearing = async {
            while heard.len() < MANY {
                let event = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await.expect("the stream goes on");
                if event.kind == QueueEventKind::Completed {
                    assert!(heard.insert(event.job.expect("of a job")), "once");
                }
            }
        };
        patiently("each job's end is told", hearing).await;
        other.close().await.unwrap();
        world.close().await;
    }
}

/// Connections are left for others, however many claims are made at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_claims_are_open_at_once() {
    for world in trial_worlds().await {
        let large = PgBossOptions { postgres: options(&world.url).postgres.pool_size(40), ..options(&world.url) };
        let large = PgBossStore::connect(large, StoreOptions::default()).await.unwrap();
        let queues: Vec<QueueName> = (0..12).map(|number| queue("many", number)).collect();
        for queue in &queues {
            large.enqueue(&jobs(queue)).await.unwrap();
        }
        let mut claims = tokio::task::JoinSet::new();
        for queue in &queues {
            let (store, want) = (large.clone(), brief(queue));
            claims.spawn(async move { store.claim(&[want]).await.unwrap() });
        }
        let claimed = claims.join_all().await;
        assert!(claimed.iter().all(|claimed| claimed.len() == MANY), "on {}", world.version);
        // Those whose time was up made room.
        let open = async { world.number("select count(*) from millstream.boss_claim where deferred").await };
        assert!(open.await <= 6, "on {}", world.version);
        for claimed in claimed {
            settle_all(&large, &claimed).await;
        }
        large.close().await.unwrap();
        world.close().await;
    }
}

/// Behind a pooler that shares server connections, every transaction is short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_nothing_is_deferred() {
    let server = millstream_servers::postgres::v15();
    let database = server.create_database();
    let pooler = millstream_servers::Pgbouncer::start_with(server, &[]).unwrap();
    let store = open(&database.url_through(pooler.address())).await;
    let queue = queue("pooled", 0);
    store.enqueue(&jobs(&queue)).await.unwrap();
    let claimed = store.claim(&[brief(&queue)]).await.unwrap();
    assert!(claimed.len() == MANY && claimed.iter().all(|one| !one.together));
    assert_eq!(store.counts(&queue).await.unwrap().active as usize, MANY);
    settle_all(&store, &claimed).await;
    store.close().await.unwrap();
}

/// What is written to a job of an open claim meets a job that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_claim_can_be_written_by_others_of_its_process() {
    for world in trial_worlds().await {
        let (queue, claimed) = world.claim_open(&world.store, "call").await;
        let call = world.store.settle_call(&claimed[3].claim, &Outcome::Done(json!({ "of": "me" }))).await.unwrap();
        for end in ["rollback", "commit"] {
            let params: Vec<&(dyn ToSql + Sync)> = call.params.iter().map(|param| param as _).collect();
            world.run("begin").await;
            let row = world.client.query_one(&call.text, &params).await.unwrap();
            assert_eq!(row.get::<_, &str>("state"), "completed", "on {}", world.version);
            world.run(end).await;
            let completed = usize::from(end == "commit");
            assert_eq!(world.count(&queue, "state = 'active'").await, MANY - completed, "on {}", world.version);
        }
        let own = claimed[3].data.as_u64().unwrap() as usize;
        assert_eq!(world.job(&queue, own).await.output, Some(json!({ "of": "me" })));
        let states = settle(&world.store, &claimed.iter().map(done).collect::<Vec<_>>()).await;
        let wanted = |place| (place != 3).then_some(JobState::Completed);
        assert_eq!(states, (0..MANY).map(wanted).collect::<Vec<_>>(), "on {}", world.version);

        let (queue, claimed) = world.claim_open(&world.store, "call").await;
        let note = Progress { claim: claimed[5].claim.clone(), value: json!(40) };
        world.store.progress(&[note]).await.unwrap();
        let noted = world.job(&queue, claimed[5].data.as_u64().unwrap() as usize).await;
        assert_eq!((noted.state, noted.progress), (JobState::Active, Some(json!(40))), "on {}", world.version);
        settle_all(&world.store, &claimed).await;
        world.close().await;
    }
}

/// Polls a call so often, then drops it: its caller gave up.
async fn given_up<T>(call: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(done) = polled {
            return Some(done);
        }
        // What it waits for comes from the server: the next poll finds it further on.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    None
}

/// A settle whose caller gave up is settled again, or was settled; its claim is not open forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_that_is_given_up_can_be_settled_again() {
    for world in trial_worlds().await {
        let mut given = 0;
        for trial in 0..24 {
            let (queue, claimed) = world.claim_open(&world.store, "given-up").await;
            let batch: Vec<Settlement> = claimed[..MANY / 2].iter().map(done).collect();
            let answer = given_up(world.store.settle(&batch), trial / 2).await;
            given += usize::from(answer.is_none());
            // Of what was not settled, nothing stays locked.
            let written = async { while world.count(&queue, "state < 'active'").await > 0 {} };
            patiently("a claim that nobody settles is written by itself", written).await;
            let rest: Vec<Settlement> = claimed.iter().map(done).collect();
            let states = settle(&world.store, &rest).await;
            // What was written for the one that gave up is told now, or never is; an answer was told before.
            let (first, rest) = states.split_at(MANY / 2);
            assert!(answer.is_none() || first.iter().all(Option::is_none), "{trial} on {}", world.version);
            assert_eq!(rest, [Some(JobState::Completed); MANY / 2], "{trial} on {}", world.version);
            let ends = format!("select count(*) from written where queue = '{queue}' and becomes = 'completed'");
            assert_eq!(world.number(&ends).await as usize, MANY, "{trial}: each once on {}", world.version);
            assert_eq!(
                world.count(&queue, "state = 'completed' and retry_count = 0").await,
                MANY,
                "on {}",
                world.version
            );
        }
        assert!(given > 4, "calls were given up: {given}");
        world.close().await;
    }
}

/// Whoever ends a claim first, and however many at once: each job ends once, by the one that is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_claim_ends_it_once() {
    for world in trial_worlds().await {
        let other = stranger(&world, "other").await;
        for trial in 0..40 {
            let (queue, claimed) = world.claim_open(&world.store, "races").await;
            let all: Vec<Settlement> = claimed.iter().map(done).collect();
            let (left, right) = all.split_at(if trial % 2 == 0 { MANY / 2 } else { MANY - 20 });
            let back = refs(&claimed[MANY - 10..]);
            let held = refs(&claimed);
            let settles = async |batch: &[Settlement], late: bool| {
                if late {
                    // At about the time at which the claim is written by itself.
                    tokio::time::sleep(Duration::from_millis(97 + trial as u64 % 7)).await;
                }
                settle(&world.store, batch).await
            };
            let losing = async {
                if trial % 4 == 3 {
                    lose_locks(&world).await;
                }
            };
            let releasing = async {
                if trial % 3 == 0 {
                    world.store.release(&back).await.unwrap();
                }
            };
            let beating = async { world.store.beat(&held).await.unwrap() };
            let taking = async { other.claim(&[Want::new(queue.clone(), 30)]).await.unwrap() };
            let (mut states, more, twice, (), (), _, theirs) = tokio::join!(
                settles(left, trial % 5 == 1),
                settles(right, trial % 5 == 2),
                settles(left, trial % 5 == 1),
                losing,
                releasing,
                beating,
                taking,
            );
            let first = states.iter().zip(&twice).map(|(one, other)| {
                assert!(one.is_none() || other.is_none(), "settled twice on {}", world.version);
                one.or(*other)
            });
            states = first.collect();
            states.extend(more);
            let own = states.iter().flatten().count();
            let others = settle(&other, &theirs.iter().map(done).collect::<Vec<_>>()).await;
            assert!(others.iter().all(Option::is_some), "{trial} on {}", world.version);
            let completed = world.count(&queue, "state = 'completed'").await;
            assert_eq!(completed, own + theirs.len(), "{trial} on {}", world.version);
            let ends = format!("select count(*) from written where queue = '{queue}' and becomes = 'completed'");
            assert_eq!(world.number(&ends).await as usize, completed, "{trial}: each once on {}", world.version);
            // The rest was given back.
            let waiting = world.count(&queue, "state = 'created' and started_on is null and retry_count = 0").await;
            assert_eq!(waiting + completed, MANY, "{trial} on {}", world.version);
            let rest = other.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap();
            assert_eq!(rest.len(), waiting, "{trial} on {}", world.version);
            settle_all(&other, &rest).await;
        }
        other.close().await.unwrap();
        world.close().await;
    }
}

/// Where a connection is cut in whatever place, the claim's jobs are settled once, or are there for the next claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_no_job() {
    for world in trial_worlds().await {
        let proxy = Proxy::start(world._database.address()).unwrap();
        let through = world._database.url_through(proxy.address());
        let (mut trial, mut deferred) = (0, 0);
        // In the claim, then in the settle; in front of each message, until there is none.
        let places =
            [Direction::ToServer, Direction::ToClient].map(|direction| [(direction, true), (direction, false)]);
        let mut places = places.into_iter().flatten().map(|place| (place, 0)).collect::<Vec<_>>();
        while let Some(((direction, in_claim), messages)) = places.pop() {
            trial += 1;
            let queue = queue("cut", trial);
            world.store.enqueue(&jobs(&queue)).await.unwrap();
            let cut = open(&through).await;
            let arm = |now: bool| {
                if now {
                    proxy.cut_after(direction, messages);
                }
            };
            arm(in_claim);
            let claimed = cut.claim(&[brief(&queue)]).await;
            arm(!in_claim);
            let claimed = match claimed {
                Ok(claimed) => claimed,
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    Vec::new()
                }
            };
            deferred += usize::from(claimed.iter().any(|one| one.together));
            let batch: Vec<Settlement> = claimed.iter().map(done).collect();
            let (states, answered) = match cut.settle(&batch).await {
                Ok(verdicts) => (verdicts, true),
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    (lasting(async || cut.settle(&batch).await).await, false)
                }
            };
            if !proxy.is_armed() {
                // Between two rows of the claim's answer it is the same as between two others.
                let rows = in_claim && direction == Direction::ToClient && messages == 40;
                places.push(((direction, in_claim), if rows { MANY as u64 } else { messages + 1 }));
            }
            proxy.heal().unwrap();
            let own = states.iter().filter(|state| matches!(state, Verdict::Settled(JobState::Completed))).count();
            let completed = world.count(&queue, "state = 'completed'").await;
            match answered {
                // Nobody else works here: all that was written is told.
                true => assert_eq!(completed, own, "{trial} on {}", world.version),
                false => assert!(completed >= own, "{trial} on {}", world.version),
            }
            // A claim beside a session that is about to end, and holds locks, brings fewer.
            assert_eq!(completed, claimed.len(), "{trial} on {}", world.version);
            cut.close().await.unwrap();
            // A claim that was not answered runs out.
            world.advance(world.store.lease() * 2).await;
            world.store.rescue().await.unwrap();
            let mut rest = Vec::new();
            let unlocked = async {
                while completed + rest.len() < MANY {
                    rest.extend(world.store.claim(&[Want::new(queue.clone(), 1_000)]).await.unwrap());
                }
            };
            patiently("nothing stays locked", unlocked).await;
            settle_all(&world.store, &rest).await;
            assert_eq!(world.count(&queue, "state = 'completed'").await, MANY, "{trial} on {}", world.version);
            let ends = format!("select count(*) from written where queue = '{queue}' and becomes = 'completed'");
            assert_eq!(world.number(&ends).await as usize, MANY, "{trial}: each once on {}", world.version);
        }
        assert!(trial > 40 && deferred > 20, "{trial} trials, {deferred} deferred");
        world.close().await;
    }
}

/// Two processes drain a queue: each handler runs once, and most jobs are written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_drain_a_queue() {
    const ALL: usize = 6_000;
    for world in trial_worlds().await {
        let queue = queue("drained", 0);
        let all: Vec<NewJob> = (0..ALL).map(|number| job(&queue, number)).collect();
        world.store.enqueue(&all).await.unwrap();
        let other = stranger(&world, "other").await;
        let runs: Arc<Vec<AtomicU32>> = Arc::new((0..ALL).map(|_| AtomicU32::new(0)).collect());
        let mut managers = Vec::new();
        for store in [&world.store, &other] {
            let manager = WorkerManager::new(Stores::of(Arc::new(store.clone())), WorkerOptions::default());
            let runs = runs.clone();
            let handler = move |number: usize, _: JobContext| {
                runs[number].fetch_add(1, Ordering::Relaxed);
                async move { Ok::<_, JobError>(json!({ "of": number })) }
            };
            manager.register(&queue, &JobName::new("work").unwrap(), handler).unwrap();
            manager.start().await.unwrap();
            managers.push(manager);
        }
        let drained = async { while world.store.counts(&queue).await.unwrap().completed < ALL as u64 {} };
        patiently("the queue is drained", drained).await;
        for manager in managers {
            manager.close_all().await.unwrap();
        }
        assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "each ran once on {}", world.version);
        assert_eq!(
            world
                .count(&queue, "state = 'completed' and retry_count = 0 and output = jsonb_build_object('of', data)")
                .await,
            ALL
        );
        let once = world.written(&queue, "created", "completed").await;
        let begun = world.written(&queue, "created", "active").await;
        assert_eq!((once + begun, world.writes(&queue).await), (ALL, once + 2 * begun), "on {}", world.version);
        assert!(once > 0, "nothing was deferred on {}", world.version);
        other.close().await.unwrap();
        world.close().await;
    }
}

/// A beat does not wait for a row that somebody is writing: settles lock in another order, and each would wait for the
/// other. What holds is not lost by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_waits_for_no_row() {
    for world in trial_worlds().await {
        let queue = queue("beaten", 0);
        world.store.enqueue(&jobs(&queue)).await.unwrap();
        let claimed = world.store.claim(&[Want::new(queue.clone(), 3)]).await.unwrap();
        let beats =
            async || world.number("select count(distinct heartbeat_on) from pgboss.job where state = 'active'").await;
        assert_eq!(beats().await, 1);
        world.run("begin; select id from pgboss.job where state = 'active' order by id limit 1 for update").await;
        assert_eq!(world.store.beat(&refs(&claimed)).await.unwrap(), Vec::new(), "on {}", world.version);
        world.run("commit").await;
        assert_eq!(beats().await, 2, "the others are renewed on {}", world.version);
        settle_all(&world.store, &claimed).await;
        world.close().await;
    }
}

/// Set for a process that works a queue until its input ends, or it is killed: where.
const PART: &str = "MILLSTREAM_DEFERRED_PART";
/// `MILLSTREAM_KILL_JOBS` makes it a longer test.
const KILL_JOBS: usize = 20_000;

/// A part of the next test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_that_works() {
    let Ok(url) = env::var(PART) else { return };
    let lease = Duration::from_secs(2);
    let store = PgBossStore::connect(options(&url), StoreOptions { lease, ..StoreOptions::default() }).await.unwrap();
    let manager = WorkerManager::new(Stores::of(Arc::new(store.clone())), WorkerOptions::default());
    let handler = async |number: usize, _: JobContext| Ok::<_, JobError>(json!({ "of": number }));
    manager.register(&queue("killed", 0), &JobName::new("work").unwrap(), handler).unwrap();
    manager.start().await.unwrap();
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    ended.await.unwrap().unwrap();
    manager.close_all().await.unwrap();
    store.close().await.unwrap();
}

/// Four processes drain a queue, and two of them are killed on the way: no job is lost, and none ends twice.
#[expect(clippy::print_stdout, reason = "the figures of a long run are what it is for")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_and_double_no_job() {
    let jobs = env::var("MILLSTREAM_KILL_JOBS").map_or(KILL_JOBS, |text| text.parse().expect("a number"));
    for world in trial_worlds().await {
        let queue = queue("killed", 0);
        for start in (0..jobs).step_by(5_000) {
            let some = start..jobs.min(start + 5_000);
            let all: Vec<NewJob> = some.map(|number| job(&queue, number).attempts(9)).collect();
            world.store.enqueue(&all).await.unwrap();
        }
        let work = |_| {
            let mut part = Command::new(env::current_exe().unwrap());
            part.args(["--exact", "part_that_works", "--nocapture"]).env(PART, &world.url);
            part.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut parts: Vec<Child> = (0..4).map(work).collect();
        let random = SystemEntropy::new();
        let mut moments = [random.next_u64(), random.next_u64()].map(|number| number as usize % (jobs * 9 / 10));
        moments.sort_unstable();
        let completed = async |at_least: usize| {
            let reached = async {
                while world.count(&queue, "state = 'completed'").await < at_least {
                    // The count is not to take the machine from those who work.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            patiently("jobs go on being completed", reached).await;
        };
        for (part, moment) in parts.iter_mut().zip(moments) {
            completed(moment).await;
            part.kill().unwrap();
            part.wait().unwrap();
        }
        completed(jobs).await;
        for part in &mut parts[2..] {
            drop(part.stdin.take());
            assert!(part.wait().unwrap().success(), "a worker that nobody killed ends well on {}", world.version);
        }
        let right = "state = 'completed' and output = jsonb_build_object('of', data)";
        assert_eq!((world.count(&queue, right).await, world.count(&queue, "true").await), (jobs, jobs));
        let ends = format!("select count(*) from written where queue = '{queue}' and becomes = 'completed'");
        assert_eq!(world.number(&ends).await as usize, jobs, "each once on {}", world.version);
        let once = world.written(&queue, "created", "completed").await;
        assert!(once > 0, "nothing was deferred on {}", world.version);
        world.advance(world.store.lease() * 2).await;
        world.store.rescue().await.unwrap();
        let notes = world.number("select count(*) from millstream.boss_claim where deferred").await;
        let again = world.count(&queue, "retry_count > 0").await;
        println!("{}: killed after {moments:?} of {jobs}, {once} written once, {again} begun again", world.version);
        assert_eq!(notes, 0, "on {}", world.version);
        world.close().await;
    }
}
