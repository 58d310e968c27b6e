//! The book of claims: what a call took is found again by anybody, however its jobs end, and its row goes with them.

use std::{collections::HashMap, time::Duration};

use millstream_core::{
    Claimed, Effects, JobName, JobStore, NewJob, Outcome, QueueName, QueueProvider, Settlement, Store, StoreOptions,
    Timestamp, Verdict, Want, limits::CLAIM_BATCH_MAX,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use millstream_servers::{Database, Version};
use serde_json::json;
use tokio_postgres::Client;

#[path = "world/book.rs"]
mod book;
#[path = "world/time.rs"]
mod time;
mod world;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database whose time the test moves, a store in it, and somebody who looks into it.
struct Trial {
    version: Version,
    database: Database,
    store: PostgresStore,
    client: Client,
    _driver: tokio::task::JoinSet<()>,
    now: Timestamp,
}

impl Trial {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (version, database) in world::databases() {
            let store = open(&database).await;
            let (client, driver) = world::connect(&database.url()).await;
            let now = "2026-11-21T12:00:00Z".parse().unwrap();
            let mut trial = Self { version, database, store, client, _driver: driver, now };
            trial.pass(Duration::ZERO).await;
            all.push(trial);
        }
        all
    }

    async fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
        self.client.batch_execute(&time::set_time("millstream", self.now)).await.unwrap();
    }

    async fn pass_lease(&mut self) {
        self.pass(self.store.lease()).await;
    }

    /// Enqueues so many jobs, and takes them.
    async fn take(&self, jobs: u32) -> Vec<Claimed> {
        self.store.enqueue(&vec![job(); jobs as usize]).await.unwrap();
        let claimed = self.store.claim(&want(jobs)).await.unwrap();
        assert_eq!(claimed.len(), jobs as usize, "on {}", self.version);
        claimed
    }

    /// A claim that finds nothing: what is over goes with it.
    async fn idle(&self) {
        assert!(self.store.claim(&want(1)).await.unwrap().is_empty());
    }

    /// How many jobs each row of the book has. Every job that runs is in it.
    async fn book(&self) -> Vec<i32> {
        self.client.batch_execute(&book::booked("millstream")).await.unwrap();
        let text = "select cardinality(jobs) from millstream.job_book order by claim";
        self.client.query(text, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job() -> NewJob {
    NewJob::new(queue(), JobName::new("work").unwrap(), json!(null))
}

fn want(at_most: u32) -> [Want; 1] {
    [Want::new(queue(), at_most)]
}

async fn open(database: &Database) -> PostgresStore {
    PostgresStore::connect(PostgresOptions::new(database.url()), StoreOptions::default()).await.unwrap()
}

async fn settle(store: &PostgresStore, claimed: &[Claimed], outcome: Outcome) -> Vec<Verdict> {
    let settlement = |claimed: &Claimed| Settlement {
        claim: claimed.claim.clone(),
        outcome: outcome.clone(),
        effects: Effects::default(),
    };
    store.settle(&claimed.iter().map(settlement).collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_goes_when_all_its_jobs_are_settled() {
    for trial in Trial::all().await {
        let store = &trial.store;
        let first = trial.take(3).await;
        let second = trial.take(2).await;
        assert_eq!(trial.book().await, [3, 2], "on {}", trial.version);
        settle(store, &first[..2], Outcome::Done(json!(1))).await;
        settle(store, &second, Outcome::Snooze(Duration::from_secs(60))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [3], "on {}", trial.version);
        // Twice: what was settled already counts once.
        settle(store, &first[..2], Outcome::Done(json!(1))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [3], "on {}", trial.version);
        store.release(&[first[2].claim.clone()]).await.unwrap();
        let again = store.claim(&want(1)).await.unwrap();
        assert_eq!(trial.book().await, [1], "on {}: the old row is gone, the new one is there", trial.version);
        settle(store, &again, Outcome::Fail(json!("no"))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        store.close().await.unwrap();
    }
}

/// A beat does not wait for a row that somebody is writing: settles lock in another order, and each would wait for the
/// other. What holds is not lost by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_waits_for_no_row() {
    for mut trial in Trial::all().await {
        let claimed = trial.take(3).await;
        let claims: Vec<_> = claimed.iter().map(|one| one.claim.clone()).collect();
        let leases = "select count(distinct lease_until) from millstream.job_live where state = 'a'";
        let leases = async |trial: &Trial| trial.client.query_one(leases, &[]).await.unwrap().get::<_, i64>(0);
        assert_eq!(leases(&trial).await, 1, "on {}", trial.version);
        trial.pass(Duration::from_secs(1)).await;
        let written = "begin; select job from millstream.job_live where state = 'a' order by job limit 1 for update";
        trial.client.batch_execute(written).await.unwrap();
        assert!(trial.store.beat(&claims).await.unwrap().is_empty(), "on {}", trial.version);
        trial.client.batch_execute("commit").await.unwrap();
        assert_eq!(leases(&trial).await, 2, "the others are renewed on {}", trial.version);
        settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        trial.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_renewed_stays_booked_and_is_rescued_when_it_is_renewed_no_more() {
    for mut trial in Trial::all().await {
        let claimed = trial.take(4).await;
        settle(&trial.store, &claimed[..1], Outcome::Done(json!(1))).await;
        let half = trial.store.lease() / 2;
        let beaten = [claimed[1].claim.clone(), claimed[2].claim.clone()];
        for _ in 0..3 {
            trial.pass(half).await;
            assert!(trial.store.beat(&beaten).await.unwrap().is_empty(), "on {}", trial.version);
        }
        // The fourth was never renewed; the two that were are looked for when they run out.
        assert_eq!(trial.store.rescue().await.unwrap(), 1, "on {}", trial.version);
        assert_eq!(trial.book().await, [2], "on {}", trial.version);
        assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {}", trial.version);
        // The holder is gone, and somebody else looks.
        trial.store.close().await.unwrap();
        trial.store = open(&trial.database).await;
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 2, "on {}", trial.version);
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        assert_eq!(trial.store.counts(&queue()).await.unwrap().waiting, 3, "on {}", trial.version);
        trial.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_jobs_somebody_else_settled_goes_after_a_lease() {
    for mut trial in Trial::all().await {
        let claimed = trial.take(2).await;
        let call = trial.store.settle_call(&claimed[0].claim, &Outcome::Done(json!(1))).unwrap();
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            call.params.iter().map(|param| param as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        trial.client.query(&call.text, &params).await.unwrap();
        trial.store.remove(&queue(), &claimed[1].claim.job).await.unwrap();
        trial.idle().await;
        assert_eq!(trial.book().await, [2], "on {}", trial.version);
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {}", trial.version);
        assert_eq!(trial.book().await, [0_i32; 0], "on {}", trial.version);
        trial.store.close().await.unwrap();
    }
}

/// A settle goes to the place where the claim left the row; where a beat or somebody's wish to cancel moved it, and where
/// only some of a batch were moved, it is found all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_moved_is_settled_by_its_key() {
    for trial in Trial::all().await {
        let claimed = trial.take(5).await;
        trial.store.beat(&[claimed[1].claim.clone(), claimed[3].claim.clone()]).await.unwrap();
        trial.store.cancel(&queue(), &claimed[2].claim.job).await.unwrap();
        let verdicts = settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        assert!(verdicts.iter().all(|one| matches!(one, Verdict::Settled(_))), "on {}: {verdicts:?}", trial.version);
        assert_eq!(trial.store.counts(&queue()).await.unwrap().completed, 5, "on {}", trial.version);
        let again = settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        assert!(again.iter().all(|one| matches!(one, Verdict::LostClaim)), "on {}: {again:?}", trial.version);
        trial.store.close().await.unwrap();
    }
}

/// A job that cannot be handed out, because its body is gone, is taken with the others; it is not lost sight of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_body_stays_booked_until_it_fails() {
    for mut trial in Trial::all().await {
        let version = trial.version;
        trial.store.enqueue(&[job().attempts(1), job(), job()]).await.unwrap();
        trial
            .client
            .batch_execute("delete from millstream.job where id = (select min(id) from millstream.job)")
            .await
            .unwrap();
        let claimed = trial.store.claim(&want(3)).await.unwrap();
        assert_eq!(claimed.len(), 2, "on {version}");
        settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        trial.idle().await;
        assert_eq!(trial.book().await, [3], "on {version}");
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 1, "on {version}");
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        assert_eq!(trial.store.counts(&queue()).await.unwrap().failed, 1, "on {version}");
        trial.store.close().await.unwrap();
    }
}

/// Where each running job is in its table.
async fn places(client: &Client) -> HashMap<i64, String> {
    let text = "select job, ctid::text from millstream.job_live where state = 'a'";
    client.query(text, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The table is written anew while jobs run, and others of the same call come to be where those to settle were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_anothers_by_now_settles_nobody_else() {
    for trial in Trial::all().await {
        let claimed = trial.take(20).await;
        let before = places(&trial.client).await;
        trial.client.batch_execute("vacuum full millstream.job_live").await.unwrap();
        for one in claimed.iter().rev() {
            trial.store.beat(std::slice::from_ref(&one.claim)).await.unwrap();
        }
        let after = places(&trial.client).await;
        // Claims come in the order of their numbers.
        let mut jobs: Vec<i64> = before.keys().copied().collect();
        jobs.sort_unstable();
        let is_anothers = |job: &i64| after.iter().any(|(other, at)| other != job && *at == before[job]);
        let mut moved: Vec<usize> = (0..20).filter(|place| is_anothers(&jobs[*place])).collect();
        assert!(moved.len() >= 2, "on {}: {before:?}, then {after:?}", trial.version);
        // How many there are depends on when the server made room on the page.
        moved.truncate(moved.len() / 2);
        let mixed: Vec<Claimed> = moved.iter().map(|place| claimed[*place].clone()).collect();
        let ended = mixed.iter().map(|one| Settlement {
            claim: one.claim.clone(),
            outcome: Outcome::Done(json!(one.claim.job)),
            effects: Effects::default(),
        });
        let verdicts = trial.store.settle(&ended.collect::<Vec<_>>()).await.unwrap();
        assert!(verdicts.iter().all(|one| matches!(one, Verdict::Settled(_))), "on {}: {verdicts:?}", trial.version);
        for (place, one) in claimed.iter().enumerate() {
            let found = trial.store.job(&queue(), &one.claim.job).await.unwrap().unwrap();
            let expected = moved.contains(&place).then(|| json!(one.claim.job));
            assert_eq!(found.output, expected, "on {}: {place}", trial.version);
        }
        let counts = trial.store.counts(&queue()).await.unwrap();
        assert_eq!(counts.completed as usize, mixed.len(), "on {}", trial.version);
        let verdicts = settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        for (place, verdict) in verdicts.iter().enumerate() {
            let is_lost = matches!(verdict, Verdict::LostClaim);
            assert_eq!(is_lost, moved.contains(&place), "on {}: {verdict:?}", trial.version);
        }
        trial.store.close().await.unwrap();
    }
}

/// A process ends without a word, in the middle of everything that can become of a call's jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_vanished_process_held_is_found_by_another() {
    for mut trial in Trial::all().await {
        let version = trial.version;
        let held = trial.take(9).await;
        let other = open(&trial.database).await;
        let id = |place: usize| &held[place].claim.job;
        settle(&trial.store, &held[..1], Outcome::Done(json!(1))).await;
        trial.store.release(&[held[1].claim.clone()]).await.unwrap();
        assert!(other.cancel(&queue(), id(2)).await.unwrap(), "on {version}");
        assert!(other.remove(&queue(), id(3)).await.unwrap(), "on {version}");
        settle(&trial.store, &held[4..5], Outcome::Fail(json!("no"))).await;
        assert!(other.retry(&queue(), id(4)).await.unwrap(), "on {version}");
        let again = other.claim(&want(9)).await.unwrap();
        assert_eq!(again.iter().map(|one| &one.claim.job).collect::<Vec<_>>(), [id(1), id(4)], "on {version}");
        assert_eq!(trial.book().await, [9, 2], "on {version}");
        let kept: Vec<_> = again.iter().map(|one| one.claim.clone()).collect();

        let half = trial.store.lease() / 2;
        trial.pass(half).await;
        trial.store.beat(&[held[5].claim.clone(), held[6].claim.clone()]).await.unwrap();
        other.beat(&kept).await.unwrap();
        trial.pass(half).await;
        assert_eq!(other.rescue().await.unwrap(), 3, "on {version}: one to be cancelled, and two");
        let counts = other.counts(&queue()).await.unwrap();
        let told = (counts.completed, counts.cancelled, counts.waiting, counts.active, counts.total());
        assert_eq!(told, (1, 1, 2, 4, 8), "on {version}");
        assert_eq!(trial.book().await, [2, 2], "on {version}");

        other.beat(&kept).await.unwrap();
        trial.pass(half).await;
        assert_eq!(other.rescue().await.unwrap(), 2, "on {version}: those that it renewed before it went");
        let lost = settle(&trial.store, &held, Outcome::Done(json!(1))).await;
        assert!(lost.iter().all(|one| matches!(one, Verdict::LostClaim)), "on {version}: {lost:?}");
        let done = settle(&other, &again, Outcome::Done(json!(1))).await;
        assert!(done.iter().all(|one| matches!(one, Verdict::Settled(_))), "on {version}: {done:?}");
        let rest = other.claim(&want(9)).await.unwrap();
        assert_eq!(rest.len(), 4, "on {version}");
        settle(&other, &rest, Outcome::Done(json!(1))).await;
        assert!(other.claim(&want(1)).await.unwrap().is_empty());
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        other.close().await.unwrap();
        trial.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_book_has_a_row_for_each_call_that_is_under_way_and_no_more() {
    const ROUNDS: u32 = 50;
    for mut trial in Trial::all().await {
        let version = trial.version;
        for round in 0..ROUNDS {
            let claimed = trial.take(CLAIM_BATCH_MAX).await;
            assert_eq!(trial.book().await, [CLAIM_BATCH_MAX as i32], "on {version}, round {round}");
            settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        }
        trial.idle().await;
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        assert_eq!(trial.store.counts(&queue()).await.unwrap().completed, u64::from(ROUNDS * CLAIM_BATCH_MAX));
        // Calls that are lost.
        for _ in 0..ROUNDS {
            trial.take(3).await;
        }
        assert_eq!(trial.book().await.len(), ROUNDS as usize, "on {version}");
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), u64::from(3 * ROUNDS), "on {version}");
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        // A call that runs for long.
        let claimed = trial.store.claim(&want(CLAIM_BATCH_MAX)).await.unwrap();
        let held: Vec<_> = claimed.iter().map(|one| one.claim.clone()).collect();
        let half = trial.store.lease() / 2;
        for _ in 0..ROUNDS {
            trial.pass(half).await;
            assert!(trial.store.beat(&held).await.unwrap().is_empty(), "on {version}");
            assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {version}");
            assert_eq!(trial.book().await, [3 * ROUNDS as i32], "on {version}");
        }
        settle(&trial.store, &claimed, Outcome::Done(json!(1))).await;
        // Its process has forgotten it: it goes when it is past its time.
        trial.pass_lease().await;
        assert_eq!(trial.store.rescue().await.unwrap(), 0, "on {version}");
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        trial.store.close().await.unwrap();
    }
}

/// However much is asked for, a call takes what one call takes; it has a row for each queue, and they go together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_asks_for_everything_takes_a_calls_worth() {
    let other = QueueName::new("other").unwrap();
    for trial in Trial::all().await {
        let version = trial.version;
        let elsewhere = NewJob { queue: other.clone(), ..job() };
        trial.store.enqueue(&vec![job(); CLAIM_BATCH_MAX as usize]).await.unwrap();
        trial.store.enqueue(&[elsewhere.clone().priority(-1), elsewhere]).await.unwrap();
        let all = |queue: &QueueName| Want::new(queue.clone(), u32::MAX);
        let wants = [all(&queue()), all(&other), all(&queue())];
        let first = trial.store.claim(&wants).await.unwrap();
        assert_eq!(first.len(), CLAIM_BATCH_MAX as usize, "on {version}");
        let second = trial.store.claim(&wants).await.unwrap();
        let mut booked = trial.book().await;
        booked.sort_unstable();
        assert_eq!(second.len(), 2, "on {version}");
        assert_eq!(
            (booked.iter().sum::<i32>(), booked.len()),
            (CLAIM_BATCH_MAX as i32 + 2, 4),
            "on {version}: {booked:?}"
        );
        // A queue that is paused meanwhile keeps nobody from ending what runs.
        trial.store.pause(&queue()).await.unwrap();
        for claimed in [&first, &second] {
            let verdicts = settle(&trial.store, claimed, Outcome::Done(json!(1))).await;
            assert!(verdicts.iter().all(|one| matches!(one, Verdict::Settled(_))), "on {version}");
        }
        trial.idle().await;
        assert_eq!(trial.book().await, [0_i32; 0], "on {version}");
        trial.store.close().await.unwrap();
    }
}

/// Who got its number first and commits last is behind where the others search by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_commits_late_is_claimed_all_the_same() {
    for trial in Trial::all().await {
        let version = trial.version;
        trial.store.enqueue(&[job()]).await.unwrap();
        settle(&trial.store, &trial.store.claim(&want(1)).await.unwrap(), Outcome::Done(json!(1))).await;
        let (late, _driver) = world::connect(&trial.database.url()).await;
        late.batch_execute("begin; select millstream.enqueue('q', 'work', '\"late\"')").await.unwrap();
        for _ in 0..4 {
            trial.take(CLAIM_BATCH_MAX).await;
        }
        late.batch_execute("commit").await.unwrap();
        let found = async {
            loop {
                match trial.store.claim(&want(1)).await.unwrap().pop() {
                    Some(claimed) => return claimed,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.expect("it is found");
        assert_eq!(found.data, json!("late"), "on {version}");
        trial.store.close().await.unwrap();
    }
}

/// Jobs that run are in the index between those that wait; what is most urgent comes first all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_urgent_comes_first_wherever_others_run() {
    for trial in Trial::all().await {
        let version = trial.version;
        let batch = |priority: i32| vec![job().priority(priority); 30];
        let priorities = async |at_most: u32| -> Vec<i32> {
            let claimed = trial.store.claim(&want(at_most)).await.unwrap();
            let mut all = Vec::new();
            for one in claimed {
                all.push(trial.store.job(&queue(), &one.claim.job).await.unwrap().unwrap().settings.priority);
            }
            all
        };
        let of =
            |parts: &[(i32, usize)]| parts.iter().flat_map(|(of, so_many)| vec![*of; *so_many]).collect::<Vec<_>>();
        for priority in [5, 0, -5] {
            trial.store.enqueue(&batch(priority)).await.unwrap();
        }
        assert_eq!(priorities(40).await, of(&[(-5, 30), (0, 10)]), "on {version}");
        trial.store.enqueue(&batch(-5)).await.unwrap();
        assert_eq!(priorities(10).await, of(&[(-5, 10)]), "on {version}");
        assert_eq!(priorities(50).await, of(&[(-5, 20), (0, 20), (5, 10)]), "on {version}");
        // In front of all, between what runs, and behind it.
        for priority in [7, 3, 0, -9] {
            trial.store.enqueue(&[job().priority(priority)]).await.unwrap();
        }
        assert_eq!(priorities(3).await, [-9, 0, 3], "on {version}");
        assert_eq!(priorities(50).await, of(&[(5, 20), (7, 1)]), "on {version}");
        trial.store.close().await.unwrap();
    }
}
