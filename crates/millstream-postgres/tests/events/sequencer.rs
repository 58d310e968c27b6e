//! The sequencer: refused where it would be wrong, safe to kill anywhere, and never slower than it was.

use std::{env, process::Command};

use millstream_core::{EventStore, Store};
use millstream_servers::fault::process::Child;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{
    log::{self, Log, Ours, POLL, Reader, ask, event, run, until},
    world,
};

/// Appends so many events to a stream, each by a call of its own, in one transaction that tells nobody.
async fn fill(ours: &Ours, count: usize) {
    ours.run(&format!(
        "do $$ begin for n in 1..{count} loop perform {{schema}}.append('s', '[{{\"type\": \"e\"}}]'); end loop; end $$"
    ))
    .await;
}

/// The blocks that a pass looks at.
async fn cost(ours: &Ours, limit: u32, floor: i64) -> i64 {
    let pass = format!("select * from {{schema}}.sequence_events({limit}, {floor}, false, false)");
    let explain = ours.fill(&format!("explain (analyze, buffers, timing off, format json) {pass}"));
    let plan: Value = ours.client.query_one(&explain, &[]).await.unwrap().get(0);
    let blocks = |kind: &str| plan[0]["Plan"][kind].as_i64().unwrap();
    blocks("Shared Hit Blocks") + blocks("Shared Read Blocks")
}

/// Where a pass begins that knows what was moved.
async fn floor(ours: &Ours) -> i64 {
    ours.ask("select last_value - 1000 from {schema}.event_seq").await
}

/// Dead entries stay in the inbox while an old snapshot is open; a pass does not read them again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_snapshot_makes_no_pass_slower() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "snapshot").await;
        let (old, _old) = world::connect(&database.url()).await;
        run(&old, "begin isolation level repeatable read; select * from snapshot.event_head").await;
        fill(&ours, 2_000).await;
        cost(&ours, 2_000, 0).await;
        fill(&ours, 5).await;
        let first = cost(&ours, 200, floor(&ours).await).await;
        for _ in 0..6 {
            fill(&ours, 2_000).await;
            cost(&ours, 2_000, floor(&ours).await).await;
        }
        fill(&ours, 5).await;
        let last = cost(&ours, 200, floor(&ours).await).await;
        fill(&ours, 5).await;
        let without_floor = cost(&ours, 200, 0).await;
        assert!(last < 2 * first, "{first} blocks at first, {last} at last");
        assert!(without_floor > 3 * first, "the check can tell: {without_floor} blocks without a floor, {first} with");
        run(&old, "commit").await;
        assert_eq!(ours.marks().await.len(), 2_000 + 6 * 2_000 + 3 * 5);
        ours.close().await;
    }
}

/// A plan made while the inbox was empty must serve when it is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_of_an_empty_inbox_serves_a_full_one() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "trap").await;
        let pass = "select moved from {schema}.sequence_events(2000, 0, false, false)";
        for _ in 0..7 {
            fill(&ours, 1).await;
            assert_eq!(ours.ask(pass).await, 1);
        }
        let hundred = |value: &str| format!("array_fill({value}, array[100])");
        let (texts, nulls) = (hundred("'s'::text"), hundred("null::text"));
        ours.run(&format!(
            "do $$ begin for n in 1..600 loop
                 perform from {{schema}}.append_plain({texts}, {texts}, {nulls}, {nulls}, {nulls}, {nulls}, {}, {});
             end loop; end $$",
            hundred("null::integer"),
            hundred("'1'::text"),
        ))
        .await;
        // The join that it must not be takes a multiple of this; what it is takes a hundredth.
        ours.run("set statement_timeout = '5s'").await;
        for _ in 0..3 {
            assert!(ours.ask(pass).await >= 2_000);
        }
        ours.close().await;
    }
}

/// A floor is a hint: what commits late, far below it, is found by the next full pass, and nobody has to append for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_below_the_floor_is_found() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "below").await;
        // Nobody subscribes in the writing process: its own passes must find it.
        let (late, _late) = world::connect(&database.url()).await;
        run(&late, "begin").await;
        run(&late, &ours.append("s", "late")).await;
        ours.run("select nextval('{schema}.event_seq') from generate_series(1, 5000)").await;
        ours.store.append(&[event("s", "high")]).await.unwrap();
        until(&ours.client, "select pos from below.event_head").await;
        let moved = ours.ask("select moved from {schema}.sequence_events(2000, 1000000, false, false)").await;
        run(&late, "commit").await;
        assert_eq!(moved, 0);
        let mut reader = ours.reader().await;
        assert_eq!(reader.until("late").await, ["high", "late"]);
        ours.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_on_an_older_snapshot_is_refused() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "isolation").await;
        let pass = ours.fill("select moved from {schema}.sequence_events(2000, 0, false, false)");
        for level in ["repeatable read", "serializable"] {
            run(&ours.client, &format!("begin isolation level {level}")).await;
            let refused = ours.client.query(&pass, &[]).await.unwrap_err();
            assert!(refused.as_db_error().unwrap().message().contains("needs read committed"), "{refused:?}");
            run(&ours.client, "rollback").await;
        }
        // Two at once: one works, the other is told so and leaves.
        let (other, _other) = world::connect(&database.url()).await;
        fill(&ours, 3).await;
        run(&ours.client, "begin").await;
        assert_eq!(ask(&ours.client, &pass).await, 3);
        assert_eq!(ask(&other, &pass).await, -1);
        run(&ours.client, "commit").await;
        assert_eq!(ask(&other, &pass).await, 0);
        ours.close().await;
    }
}

/// Passes at once, of every session there is: no position is given out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_passes_never_collide() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "racing").await;
        let mut racing = JoinSet::new();
        for wait in ["false", "true", "false", "true"] {
            let (client, driver) = world::connect(&database.url()).await;
            racing.spawn(async move {
                for _ in 0..60 {
                    run(&client, "select racing.append('s', '[{\"type\": \"e\"}]')").await;
                    run(&client, &format!("select racing.sequence_events(5, 0, {wait}, false)")).await;
                }
                drop(driver);
            });
        }
        while let Some(raced) = racing.join_next().await {
            raced.unwrap();
        }
        let positions: Vec<u64> = ours.log().await.iter().map(|event| event.id).collect();
        assert_eq!(positions, (1..=240).collect::<Vec<_>>());
        ours.close().await;
    }
}

/// Where a pass can be stopped: as a trigger that waits.
const STATEMENTS: &[(&str, &str)] = &[
    ("before it moves", "create trigger held before delete on {schema}.queue_event_inbox for each statement"),
    ("after it deleted", "create trigger held after delete on {schema}.queue_event_inbox for each statement"),
    ("after it inserted", "create trigger held after insert on {schema}.queue_events for each statement"),
    ("before the head", "create trigger held before update on {schema}.event_head for each statement"),
    ("after the head", "create trigger held after update on {schema}.event_head for each statement"),
    (
        "at its commit",
        "create constraint trigger held after update on {schema}.event_head deferrable initially deferred for each row",
    ),
];

const HOLD: &str = "
    create function {schema}.hold() returns trigger language plpgsql as $$ begin
        if current_setting('test.held', true) = 'on' then perform pg_advisory_xact_lock(4712); end if;
        return null;
    end $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequencer_killed_at_any_statement_loses_nothing() {
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "killed").await;
        ours.run(HOLD).await;
        let (holder, _holder) = world::connect(&database.url()).await;
        run(&holder, "select pg_advisory_lock(4712)").await;
        let mut wanted = Vec::new();
        for (place, (name, trigger)) in STATEMENTS.iter().enumerate() {
            ours.run(&format!("{trigger} execute function {{schema}}.hold()")).await;
            for n in 0..3 {
                let mark = format!("{place}.{n}");
                run(&ours.client, &ours.append("s", &mark)).await;
                wanted.push(mark);
            }
            kill_while_held(&database.url(), &holder).await;
            let stored = "select (select count(*) from {schema}.queue_event_inbox)
                               + (select count(*) from {schema}.queue_events)";
            assert_eq!(ours.ask(stored).await, wanted.len() as i64, "inbox and log, {name}");
            let log = ours.log().await;
            let positions: Vec<u64> = log.iter().map(|event| event.id).collect();
            assert_eq!(positions, (1..=wanted.len() as u64).collect::<Vec<_>>(), "positions, {name}");
            assert_eq!(ours.marks().await, wanted, "{name}");
            let table = trigger.split_whitespace().find(|word| word.starts_with("{schema}")).unwrap();
            ours.run(&format!("drop trigger held on {table}")).await;
        }
        ours.close().await;
    }
}

/// Kills a session that numbers events, when it stands at the trigger.
async fn kill_while_held(url: &str, killer: &Client) {
    let (victim, _driver) = world::connect(url).await;
    run(&victim, "set test.held = 'on'").await;
    let pid = ask(&victim, "select pg_backend_pid()::bigint").await;
    let mut passing = JoinSet::new();
    passing.spawn(async move { victim.query("select killed.sequence_events(2000, 0, false, true)", &[]).await });
    let held = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4712 and not granted";
    until(killer, held).await;
    run(killer, &format!("select pg_terminate_backend({pid})")).await;
    assert!(passing.join_next().await.unwrap().unwrap().is_err());
    until(killer, &format!("select 1 - count(*) from pg_stat_activity where pid = {pid}")).await;
}

/// Set for a process that runs the test below: it is the one that is stopped, and appends here.
const STOPPED: &str = "MILLSTREAM_TEST_STOPPED";

/// A process that numbers events and is stopped holds nothing that others need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_sequencer_holds_up_nobody() {
    if let Ok(url) = env::var(STOPPED) {
        return be_the_process_that_is_stopped(&url).await;
    }
    for (_, database) in world::databases() {
        let ours = Ours::open(&database.url(), "stopped").await;
        let mut reader = ours.reader().await;
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "sequencer::a_stopped_sequencer_holds_up_nobody"]);
        let child = Child::spawn(command.env(STOPPED, database.url()).stdout(std::process::Stdio::null())).unwrap();
        assert_eq!(reader.until("there").await, ["there"]);
        child.stop().unwrap();
        let marks: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        for mark in &marks {
            ours.store.append(&[event("s", mark)]).await.unwrap();
        }
        assert_eq!(reader.until("19").await, marks);
        ours.close().await;
    }
}

/// Appends one event, and waits to be stopped.
async fn be_the_process_that_is_stopped(url: &str) {
    let store = log::connect(url, "stopped", POLL).await;
    let mut reader = log::follow(&store, millstream_core::StartFrom::Start).await;
    store.append(&[event("s", "there")]).await.unwrap();
    reader.until("never").await;
    store.close().await.unwrap();
}
