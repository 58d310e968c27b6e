//! What configuration means, and what is said about one that cannot work.

use std::{path::Path, time::Duration};

use millstream::{Backend, Backoff, Config, JobEvents, JobOptions, QueueName, Removal, Sources};

/// A directory with a `millstream.toml`, and the sources that read it.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn with(toml: &str) -> Self {
        let world = Self::empty();
        std::fs::write(world.path().join("millstream.toml"), toml).expect("writes");
        world
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn sources(&self) -> Sources {
        Sources::default().directory(self.path())
    }

    fn file(&self, name: &str) -> Backend {
        Backend::Sqlite(self.path().canonicalize().expect("exists").join(name))
    }
}

fn loaded(toml: &str) -> Config {
    Config::load(&World::with(toml).sources()).expect("loads")
}

/// The problems, one by one.
fn refused(sources: &Sources) -> Vec<String> {
    let error = Config::load(sources).expect_err("refused").to_string();
    error.lines().map(str::to_owned).collect()
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a name")
}

fn options(config: &Config, name: &str) -> JobOptions {
    config.defaults.complete(&queue(name), JobOptions::default())
}

#[test]
fn nothing_configured_is_one_sqlite_file_in_the_working_directory() {
    let world = World::empty();
    let config = Config::load(&world.sources()).expect("loads");
    assert_eq!(config.queue, world.file("millstream.db"));
    assert_eq!((&config.queue, &config.queue), (&config.events, &config.state));
}

#[test]
fn what_is_said_of_the_queue_holds_for_events_and_state() {
    let world = World::with("[queue.sqlite]\npath = \"jobs.db\"");
    let config = Config::load(&world.sources()).expect("loads");
    assert_eq!(config.queue, world.file("jobs.db"));
    assert_eq!(config.events, config.queue);
    let config = loaded("queue.provider.name = 'memory'");
    assert_eq!([&config.queue, &config.events, &config.state], [&Backend::Memory; 3]);
}

#[test]
fn each_store_may_be_another_one() {
    let world =
        World::with("[queue]\nadapter = 'sqlite'\n[event_store]\nadapter = 'memory'\n[state.sqlite]\npath = './s.db'");
    let config = Config::load(&world.sources()).expect("loads");
    assert_eq!(config.queue, world.file("millstream.db"));
    assert_eq!(config.events, Backend::Memory);
    assert_eq!(config.state, world.file("s.db"));
}

#[test]
fn one_file_written_in_two_ways_is_one_file() {
    let world = World::with("queue.sqlite.path = 'a.db'\nstate.sqlite.path = './x/../a.db'");
    std::fs::create_dir(world.path().join("x")).expect("makes");
    let config = Config::load(&world.sources()).expect("loads");
    assert_eq!(config.queue, config.state);
}

#[test]
fn a_path_in_a_file_is_relative_to_that_file() {
    let world = World::empty();
    std::fs::create_dir(world.path().join("etc")).expect("makes");
    std::fs::write(world.path().join("etc/mill.toml"), "queue.sqlite.path = 'a.db'").expect("writes");
    let config = Config::load(&world.sources().file("etc/mill.toml")).expect("loads");
    assert_eq!(config.queue, world.file("etc/a.db"));
    let flagged = world.sources().file("etc/mill.toml").flag("--store", "queue.sqlite.path", "b.db");
    assert_eq!(Config::load(&flagged).expect("loads").queue, world.file("b.db"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let world = World::with("worker.concurrency = 1\nworker.pollMs = 1\nworker.grace_ms = 1");
    let sources = world
        .sources()
        .variable("MILLSTREAM_WORKER__POLL_MS", "2")
        .variable("MILLSTREAM_WORKER__GRACE_MS", "2")
        .set("worker.graceMs", "3");
    let worker = Config::load(&sources).expect("loads").worker;
    assert_eq!(worker.concurrency, 1);
    assert_eq!(worker.poll, Duration::from_millis(2));
    assert_eq!(worker.grace, Duration::from_millis(3));
}

#[test]
fn a_named_file_is_read_and_must_be_there() {
    let world = World::with("queue.events = 'all'");
    std::fs::write(world.path().join("other.toml"), "queue.events = 'failures'").expect("writes");
    let by_variable = world.sources().variable("MILLSTREAM_CONFIG", "other.toml");
    assert_eq!(Config::load(&by_variable).expect("loads").job_events, JobEvents::Failures);
    let problems = refused(&world.sources().file("missing.toml"));
    assert!(problems[0].starts_with("missing.toml: got No such file or directory"), "{problems:?}");
    assert!(problems[0].ends_with("expected a configuration file that can be read (--config)"), "{problems:?}");
}

#[test]
fn default_job_options_are_a_queues_own_then_everybodys_then_pg_bosss_words() {
    let config = loaded(
        "
        [queue.sqlite]
        retryLimit = 9
        retry_delay = 30
        expireInHours = 2
        deleteAfterDays = 7
        [defaultJobOptions]
        attempts = 5
        removeOnComplete = true
        [queues.mail.default_job_options]
        priority = -3
        timeout = 1500
        backoff = { type = 'exponential', firstMs = 10, jitter = 0.5 }
        remove_on_fail = { count = 100, ageMs = 60_000 }
        ",
    );
    let other = options(&config, "other");
    assert_eq!(other.attempts, Some(5));
    assert_eq!(other.backoff, Some(Backoff::fixed(Duration::from_secs(30))));
    assert_eq!(other.timeout, Some(Duration::from_secs(7200)));
    assert_eq!(other.remove_on_complete, Some(Removal::AtOnce));
    let week = Some(Duration::from_secs(7 * 86_400));
    assert_eq!(other.remove_on_fail, Some(Removal::Keep { count: None, age: week }));
    let mail = options(&config, "mail");
    assert_eq!((mail.attempts, mail.priority), (Some(5), Some(-3)));
    assert_eq!(mail.timeout, Some(Duration::from_millis(1500)));
    let cap = Duration::from_secs(3600);
    let first = Duration::from_millis(10);
    assert_eq!(mail.backoff, Some(Backoff::Exponential { first, cap, jitter: 0.5 }));
    assert_eq!(mail.remove_on_fail, Some(Removal::Keep { count: Some(100), age: Some(Duration::from_secs(60)) }));
}

#[test]
fn the_originals_backoff_and_removal_are_understood() {
    let config = loaded(
        "
        [defaultJobOptions]
        backoff = { type = 'exponential', delay = 250 }
        removeOnComplete = 50
        removeOnFail = false
        [queues.\"mail.out\".defaultJobOptions]
        backoff.delay = 100
        ",
    );
    let base = options(&config, "x");
    assert!(matches!(base.backoff, Some(Backoff::Exponential { first, .. }) if first == Duration::from_millis(250)));
    assert_eq!(base.remove_on_complete, Some(Removal::Keep { count: Some(50), age: None }));
    assert_eq!(base.remove_on_fail, Some(Removal::Never));
    assert_eq!(options(&config, "mail.out").backoff, Some(Backoff::fixed(Duration::from_millis(100))));
}

#[test]
fn a_queue_may_be_worked_in_its_own_way() {
    let world = World::with("[queues.mail]\nconcurrency = 2\nautorun = false");
    let sources = world.sources().variable("MILLSTREAM_QUEUES__MAIL__CONCURRENCY", "7");
    let config = Config::load(&sources).expect("loads");
    assert_eq!(config.queues[&queue("mail")].concurrency, Some(7));
    assert_eq!(config.queues[&queue("mail")].autorun, Some(false));
}

#[test]
fn an_adapter_that_is_not_in_this_build_is_refused_by_name() {
    let world = World::empty();
    for name in ["redis", "bullmq"] {
        let problems = refused(&world.sources().set("queue.adapter", name));
        assert_eq!(
            problems,
            [format!(
                "queue.adapter: got `{name}`, expected an adapter of this build: `sqlite`, `memory`, `postgres` or `pgboss` (--set)"
            )]
        );
    }
    let problems = refused(&world.sources().set("queue.adapter", "mysql"));
    let all = "`sqlite`, `memory`, `postgres`, `pgboss`, `redis` or `bullmq`";
    assert_eq!(problems, [format!("queue.adapter: got \"mysql\", expected {all} (--set)")]);
}

/// pg-boss's schema is the queue's; events and state are beside it, in Millstream's own, and share its commits.
#[test]
fn pgboss_is_a_queue_beside_our_own_schema() {
    let world = World::empty();
    let sources = world.sources().variable("DATABASE_URL", "postgres://db/app").set("queue.adapter", "pgboss");
    let config = Config::load(&sources).unwrap();
    let shown = "pgboss, schema pgboss, beside postgres://db/app, schema millstream";
    assert_eq!(config.queue.to_string(), shown);
    assert_eq!(config.events.to_string(), "postgres, postgres://db/app, schema millstream");
    assert!(config.queue.shares_commits(&config.events) && config.events == config.state);
    let words = sources.set("queue.postgres.schema", "boss").set("queue.postgres.retryLimit", "9");
    let config = Config::load(&words.set("eventStore.postgres.schema", "mill")).unwrap();
    assert_eq!(config.queue.to_string(), "pgboss, schema boss, beside postgres://db/app, schema mill");
    assert_eq!(config.defaults.base.attempts, None, "they are the queue's, not every job's");
    assert!(config.queue.shares_commits(&config.events));
}

#[test]
fn groups_are_limited_on_pg_boss_tables_alone() {
    let world = World::empty();
    let sources =
        world.sources().variable("DATABASE_URL", "postgres://db/app").set("queues.mail.groupConcurrency", "3");
    let problems = refused(&sources);
    let told = "queues.mail.groupConcurrency: got 3, expected the adapter `pgboss`; `localGroupConcurrency` is one process's, on every store (--set)";
    assert_eq!(problems, [told]);
    let config = Config::load(&sources.set("queue.adapter", "pgboss")).unwrap();
    let Backend::PgBoss(boss) = &config.queue else { panic!("{}", config.queue) };
    assert_eq!(boss.group_concurrency(&QueueName::new("mail").unwrap()), Some(3));
    assert_eq!(boss.group_concurrency(&QueueName::new("other").unwrap()), None);
    let config = Config::load(&world.sources().set("queues.mail.localGroupConcurrency", "2")).unwrap();
    assert_eq!(config.queues[&QueueName::new("mail").unwrap()].local_group_concurrency, Some(2));
}

#[test]
fn database_url_alone_is_postgres_for_everything_and_redis_url_redis() {
    let world = World::empty();
    let config = Config::load(&world.sources().variable("DATABASE_URL", "postgres://ada:s3cret@db/app")).unwrap();
    assert_eq!(config.queue.to_string(), "postgres, postgres://ada:…@db/app, schema millstream");
    assert!(config.queue == config.events && config.queue == config.state, "one database for everything");
    let problems = refused(&world.sources().variable("REDIS_URL", "redis://cache"));
    assert!(problems[0].starts_with("queue.adapter: got `redis`"), "{problems:?}");
    let both = world.sources().variable("REDIS_URL", "redis://cache").variable("DATABASE_URL", "postgres://db/app");
    let problems = refused(&both);
    assert!(problems[0].starts_with("queue.adapter: got nothing, with both DATABASE_URL and REDIS_URL set"));
    assert!(Config::load(&both.set("queue.adapter", "memory")).is_ok(), "what is configured wins");
    let problems = refused(&world.sources().variable("DATABASE_URL", "mysql://ada:s3cret@db/app"));
    assert!(problems[0].starts_with("DATABASE_URL: got \"mysql://ada:…@db/app\", expected a URL that begins with"));
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_origin() {
    let world = World::with(
        "queue.adaptor = 'sqlite'\n\
         worker.concurrency = 'ten'\n\
         store = 5\n\
         [queues.mail]\n\
         concurrency = 0\n\
         [queues.mail.defaultJobOptions]\n\
         atempts = 3\n\
         backoff = { type = 'fixed', capMs = 5 }\n\
         [wokrer]\n\
         [nonsense]\n\
         here = true\n",
    );
    let sources = world.sources().variable("MILLSTREAM_QUEUE__EVENT", "all").set("state.adapter", "disk");
    let problems = refused(&sources);
    let expected = [
        "queue.adaptor: got an unknown key, expected a known one: did you mean `queue.adapter`? (millstream.toml:1)",
        "worker.concurrency: got \"ten\", expected a whole number from 1 to 10000 (millstream.toml:2)",
        "store: got a number, expected a table of leaseMs (millstream.toml:3)",
        "queues.mail.concurrency: got 0, expected a whole number from 1 to 10000 (millstream.toml:5)",
        "queues.mail.defaultJobOptions.atempts: got an unknown key, expected a known one: \
         did you mean `queues.mail.defaultJobOptions.attempts`? (millstream.toml:7)",
        "queues.mail.defaultJobOptions.backoff.capMs: got 5, expected no such part of a fixed backoff (millstream.toml:8)",
        "queue.event: got an unknown key, expected a known one: did you mean `MILLSTREAM_QUEUE__EVENTS`? \
         (environment variable MILLSTREAM_QUEUE__EVENT)",
        "state.adapter: got \"disk\", expected `sqlite`, `memory`, `postgres` or `redis` (--set)",
        "nonsense.here: got an unknown key, expected one of defaultJobOptions, eventStore, queue, queues, state, store, \
         worker (millstream.toml:11)",
    ];
    for line in expected {
        assert!(problems.iter().any(|problem| problem == line), "missing: {line}\nin: {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len() + 1, "and `wokrer`: {problems:#?}");
}

#[test]
fn two_spellings_of_one_key_must_agree() {
    let same = "[queue.postgres]\npoolSize = 5\npool_size = 5\n[queue]\nadapter = 'memory'";
    assert!(Config::load(&World::with(same).sources()).is_ok());
    let other = World::with("[queue.postgres]\npoolSize = 5\npool_size = 6\n[queue]\nadapter = 'memory'");
    let problems = refused(&other.sources());
    assert!(problems[0].starts_with("queue.postgres.poolSize: got two values, "), "{problems:?}");
    assert!(problems[0].contains("millstream.toml:2") && problems[0].contains("millstream.toml:3"), "{problems:?}");
    let alias = World::with("[queue]\nadapter = 'memory'\nprovider.name = 'sqlite'");
    assert!(refused(&alias.sources())[0].starts_with("queue.adapter: got two values"));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let world = World::with(
        "[queue.postgres]\nconnectionString = 'postgres://a:s3cret@db/x'\nhost = 'db'\npassword = 's3cret'",
    );
    let problems = refused(&world.sources());
    assert!(problems.iter().any(|line| line.starts_with("queue.postgres.host: got a value beside `connectionString`")));
    assert!(problems.iter().all(|line| !line.contains("s3cret")), "{problems:?}");
    let world = World::with("[queue.redis]\nhost = 'a'\n[queue.postgres]\nhost = 'b'");
    let line = &refused(&world.sources())[0];
    assert!(line.starts_with("queue.adapter: got nothing, expected `postgres` or `redis`"), "{line}");
    let world = World::with("queues.'no such name'.concurrency = 1");
    let told = &refused(&world.sources())[0];
    assert!(told.starts_with("queues.no such name: got a name that no queue has"), "{told}");
    assert!(told.ends_with("millstream.toml:1)"), "{told}");
}

#[test]
fn job_events_need_the_queues_own_store() {
    let apart = "[queue]\nevents = \"all\"\nsqlite.path = \"a.db\"\n[eventStore]\nsqlite.path = \"b.db\"\n";
    let problems = refused(&World::with(apart).sources());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("queue.events: got \"all\", expected `off` where"), "{problems:?}");
    loaded("[queue]\nevents = \"all\"\n");
}

#[test]
fn events_may_be_in_another_database_or_schema() {
    let apart = loaded(
        "[queue.postgres]\nconnectionString = 'postgres://db/app'\n\
         [eventStore.postgres]\nhost = 'log'\nschema = 'events'\n[state.postgres]\nschema = 'state'",
    );
    assert_eq!(apart.queue.to_string(), "postgres, postgres://db/app, schema millstream");
    assert_eq!(apart.events.to_string(), "postgres, (the user's) on log, schema events");
    assert_eq!(apart.state.to_string(), "postgres, postgres://db/app, schema state");
}

#[test]
fn no_secret_is_ever_shown() {
    let files = [
        "[queue.postgres]\npassword = { text = 's3cret' }",
        "[queue.postgres]\npasword = 's3cret'",
        "[queue.postgres]\npassword = 's3cret",
        "[queue.postgres]\npassword = 's3cret'\npassword = 's3cret'",
        "[queue.postgres]\nconnectionString = ['postgres://a:s3cret@db']",
        "[queue.postgres]\nport = 'postgres://a:s3cret@db'",
        "[eventStore.redis]\nuser = 'a'\npassword = 's3cret'",
    ];
    for file in files {
        let problems = refused(&World::with(file).sources());
        assert!(problems.iter().all(|line| !line.contains("s3cret")), "{problems:?}");
    }
    let config = loaded("[eventStore.postgres]\nuser = 'a'\npassword = 's3cret'");
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    let problems = refused(&World::with("[queue]\nadapter = \n").sources());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("millstream.toml: got "), "{problems:?}");
    assert!(problems[0].ends_with("expected TOML (millstream.toml:2)"), "{problems:?}");
}

#[test]
fn variables_of_others_are_left_alone_and_a_missing_underscore_is_told() {
    let world = World::empty();
    let cluster = world
        .sources()
        .variable("MILLSTREAM_SERVICE_HOST", "10.0.0.1")
        .variable("MILLSTREAM_PORT_80_TCP_ADDR", "10.0.0.1")
        .variable("MILLSTREAM_QUEUE", "mail")
        .variable("MILLSTREAM_JOB_ID", "7")
        .variable("DATABASE_URL", "");
    assert!(Config::load(&cluster).is_ok());
    let problems = refused(&world.sources().variable("MILLSTREAM_QUEUE_ADAPTER", "memory"));
    assert!(
        problems[0]
            .starts_with("MILLSTREAM_QUEUE_ADAPTER: got an unknown variable, expected MILLSTREAM_QUEUE__ADAPTER")
    );
}
