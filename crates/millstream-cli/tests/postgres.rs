//! The program on a server that restarts, and workers of one server that are killed: nothing is lost, nothing settles
//! twice. Real processes, on a server of the test's own.

mod support;

use std::{collections::HashMap, process::Command, time::Duration};

use millstream::{
    Config, Entropy, EventQuery, JobName, NewJob, Pattern, QueueName, Sources, Stores, SystemEntropy,
    limits::{ENQUEUE_BATCH_MAX, PAGE_ROWS_MAX},
};
use millstream_servers::{Mode, Postgres, Version, fault::process::Child};
use serde_json::{Value, json};
use support::World;

/// Far above what a round takes; a test that waits this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1200);
/// `MILLSTREAM_KILL_JOBS` and `MILLSTREAM_KILL_ROUNDS` make it a longer test.
const KILL_JOBS: u64 = 2_000;
const KILL_ROUNDS: u64 = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn number(server: &Postgres, sql: &str) -> u64 {
    let rows = server.query(sql).expect("the server answers");
    rows[0][0].as_deref().expect("a number").parse().expect("a number")
}

/// The summary without the time it took.
fn summary(text: &str) -> Value {
    let mut summary: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    summary.as_object_mut().expect("a table").remove("seconds");
    summary
}

#[test]
fn a_demo_ends_the_same_though_its_server_restarts() {
    let world = World::new();
    let input = std::env::var("MILLSTREAM_DEMO_INPUT").unwrap_or_else(|_| {
        let line = |n| json!({ "event": "push", "payload": { "n": n }, "subscribers": ["a", "b"] }).to_string() + "\n";
        world.write("hooks.jsonl", (0..400).map(line).collect::<String>());
        "hooks.jsonl".to_owned()
    });
    let demo = ["demo", "--input", &input, "--json"];
    let embedded = summary(&world.ok(&demo));
    let jobs = embedded["jobs"]["enqueued"].as_u64().expect("a count");
    for mode in [Mode::Fast, Mode::Kill] {
        let mut server = Postgres::start(Version::V18).expect("a server");
        let mut command = world.command(
            &[demo.as_slice(), &["--set", &format!("queue.postgres.connectionString={}", server.url())]].concat(),
        );
        let log = std::fs::File::create(world.path().join("stderr")).expect("a file");
        let mut running = Child::spawn(command.stdout(std::process::Stdio::piped()).stderr(log)).expect("runs");
        let done = "select count(*) from pg_class c join pg_namespace n on n.oid = relnamespace \
                    where nspname = 'millstream' and relname = 'job_done'";
        while number(&server, done) == 0
            || number(&server, "select count(*) from millstream.job_done, pg_sleep(0.01)") < jobs / 3
        {
            assert!(running.std().try_wait().expect("asks").is_none(), "it ended before the restart");
        }
        server.restart(mode).expect("restarts");
        let mut text = String::new();
        let stdout = running.std().stdout.as_mut().expect("a pipe");
        std::io::Read::read_to_string(stdout, &mut text).expect("reads");
        let ended = running.std().wait().expect("ends");
        let said = std::fs::read_to_string(world.path().join("stderr")).expect("reads");
        assert!(ended.success(), "{mode:?}: {ended}\n{said}");
        assert_eq!(summary(&text), embedded, "{mode:?}: {said}");
    }
}

fn queue() -> QueueName {
    QueueName::new("q").expect("a name")
}

/// How often each job was completed, by the log that settles write in their own transactions.
async fn completions(stores: &Stores) -> HashMap<String, u32> {
    let mut query = EventQuery::of(Pattern::new("nq:queue:q").expect("a pattern"));
    query.kinds = vec!["job.completed".into()];
    query.limit = PAGE_ROWS_MAX;
    let mut times = HashMap::new();
    loop {
        let page = stores.events.query(&query).await.expect("answers");
        let Some(last) = page.last() else { return times };
        query.after = Some(last.id);
        for event in page {
            *times.entry(event.data["job"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
}

fn work(world: &World) -> Child {
    let mut command: Command = world.command(&["work", "--queue", "q", "--exec", ":", "--concurrency", "8", "--drain"]);
    Child::spawn(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null())).expect("runs")
}

/// Running jobs that the book of claims does not name: nobody would rescue them.
fn unbooked(server: &Postgres, schema: &str) -> u64 {
    let running = format!("select l.claim, l.queue, l.job from {schema}.job_live l where l.state = 'a'");
    let booked = format!("select b.claim, b.queue, u.job from {schema}.job_book b cross join unnest(b.jobs) u(job)");
    number(server, &format!("select count(*) from ({running} except {booked}) x"))
}

/// Waits until so many jobs are completed.
async fn completed(stores: &Stores, at_least: u64) {
    let reached = async {
        while stores.queue.counts(&queue()).await.expect("answers").completed < at_least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("jobs go on being completed");
}

#[expect(clippy::print_stdout, reason = "the figures of a long run are what it is for")]
async fn round(server: &Postgres, schema: &str, jobs: u64, random: &dyn Entropy) {
    let world = World::new();
    let file = format!(
        "[store]\nleaseMs = 2000\n[queue]\nevents = \"all\"\n[queue.postgres]\nconnectionString = \"{}\"\n\
         schema = \"{schema}\"\n[queues.q.defaultJobOptions]\nattempts = 50\n",
        server.url()
    );
    world.write("millstream.toml", file);
    let stores = Config::load(&Sources::default().directory(world.path())).expect("loads").open().await.expect("opens");
    let name = JobName::new("work").expect("a name");
    let all: Vec<NewJob> = (0..jobs).map(|n| NewJob::new(queue(), name.clone(), json!(n))).collect();
    for batch in all.chunks(ENQUEUE_BATCH_MAX) {
        stores.queue.enqueue(batch).await.expect("stores");
    }
    let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| work(&world));
    // Two moments, somewhere in the work; each worker is in the middle of something.
    let mut moments = [random.next_u64(), random.next_u64()].map(|number| number % (jobs * 9 / 10));
    moments.sort_unstable();
    completed(&stores, moments[0]).await;
    first.kill9().expect("kills");
    completed(&stores, moments[1]).await;
    second.kill9().expect("kills");
    assert_eq!(unbooked(server, schema), 0, "every job that runs is in the book of claims");
    let at_kills = stores.queue.counts(&queue()).await.expect("answers");
    completed(&stores, jobs).await;
    for left in [&mut third, &mut fourth] {
        assert!(left.std().wait().expect("ends").success(), "a worker that nobody killed ends well");
    }
    let counts = stores.queue.counts(&queue()).await.expect("answers");
    assert_eq!((counts.completed, counts.total()), (jobs, jobs), "{counts:?}");
    let completions = completions(&stores).await;
    assert_eq!(completions.len() as u64, jobs, "jobs that were completed");
    let doubled: Vec<_> = completions.iter().filter(|(_, times)| **times != 1).collect();
    assert!(doubled.is_empty(), "settled more than once: {doubled:?}");
    let stalled = number(server, &format!("select count(*) from {schema}.queue_events where type = 'job.stalled'"));
    println!("{schema}: killed after {moments:?} of {jobs}, {} then active, {stalled} rescued", at_kills.active);
    stores.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_settles_once_though_two_of_four_workers_are_killed() {
    let (jobs, rounds) = (setting("MILLSTREAM_KILL_JOBS", KILL_JOBS), setting("MILLSTREAM_KILL_ROUNDS", KILL_ROUNDS));
    let server = Postgres::start(Version::V18).expect("a server");
    let random = SystemEntropy::new();
    for number in 0..rounds {
        round(&server, &format!("round_{number}"), jobs, &random).await;
    }
}
