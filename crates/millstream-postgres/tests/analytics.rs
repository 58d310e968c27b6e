//! The questions of `docs/analytics.md`, as they are written there, with the schema on the search path.

use std::time::Duration;

use millstream_core::{
    Append, CursorMove, Effects, EventStore, GroupName, GroupSpec, Member, NewEvent, Pattern, RunRow, Store,
    StoreOptions, StreamName, Timestamp,
};
use millstream_postgres::{PostgresOptions, PostgresStore};
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;

mod world;

/// The SQL of the page, in its order.
fn questions() -> Vec<&'static str> {
    let page = include_str!("../../../docs/analytics.md");
    page.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

async fn ask(client: &tokio_postgres::Client, question: &str) -> Vec<Vec<String>> {
    let rows = client.simple_query(question).await.unwrap_or_else(|error| panic!("{question}: {error:?}"));
    let cells = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("").to_owned()).collect::<Vec<_>>())
        }
        _ => None,
    };
    rows.iter().filter_map(cells).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_of_the_page_are_answered() {
    for (version, database) in world::databases() {
        let options = PostgresOptions::new(database.url()).schema("asked");
        let store = PostgresStore::connect(options, StoreOptions::default()).await.unwrap();
        let groups = store.groups().unwrap();
        let event = |run: &str, flow: &str, kind: &str| {
            let stream = StreamName::new(format!("nq:flow:{run}")).unwrap();
            Append::one(stream, NewEvent::new(kind, json!({})).run(run, flow))
        };
        let events = [
            event("1", "ship", "step.completed"),
            event("2", "bill", "step.completed"),
            event("2", "bill", "step.failed"),
            event("3", "ship", "step.failed"),
        ];
        for one in events {
            store.append(&[one]).await.unwrap();
        }
        assert_eq!(store.head().await.unwrap(), 4);

        // The flow index is written by a commit's effects.
        let name = GroupName::new("reports").unwrap();
        let spec = GroupSpec { partitions: 1, ..GroupSpec::new(name.clone(), Pattern::new("nq:flow:*").unwrap()) };
        groups.ensure_group(&spec).await.unwrap();
        let member = Member { group: name.clone(), consumer: "ada".to_owned().try_into().unwrap(), id: "m1".into() };
        groups.beat_member(&member, &[]).await.unwrap();
        let claim = groups.claim_partitions(&member, 1).await.unwrap().remove(0);
        let started_at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let run = |flow: &str, run: &str, seconds: Option<u64>| RunRow {
            flow: flow.into(),
            run: run.into(),
            status: "completed".into(),
            started_at,
            completed_at: seconds.map(|seconds| started_at + Duration::from_secs(seconds)),
        };
        let runs = vec![
            run("ship", "1", Some(10)),
            run("bill", "2", Some(60)),
            run("ship", "3", Some(20)),
            run("wait", "4", None),
        ];
        let step = CursorMove { held: claim.held, from: 0, to: 3 };
        let effects = Effects { runs, ..Effects::default() };
        assert!(groups.commit(&name, &step, &effects).await.unwrap());

        let (client, _driver) = world::connect(&database.url()).await;
        client.batch_execute("set search_path = asked").await.unwrap();
        let questions = questions();
        assert_eq!(questions.len(), 4);
        let answers = |rows: &[&[&str]]| {
            rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect::<Vec<Vec<String>>>()
        };
        let slow = ask(&client, questions[0]).await;
        assert_eq!(slow, answers(&[&["bill", "00:01:00"], &["ship", "00:00:15"]]), "on {version}");
        let mut often = ask(&client, questions[1]).await;
        often.sort();
        assert_eq!(often, answers(&[&["step.completed", "2"], &["step.failed", "2"]]), "on {version}");
        let failed = ask(&client, questions[2]).await;
        let runs: Vec<(&str, &str)> = failed.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        assert_eq!(runs, [("3", "ship"), ("2", "bill")], "on {version}");
        let behind = ask(&client, questions[3]).await;
        assert_eq!((behind.len(), &behind[0][..3]), (1, &answers(&[&["reports", "ada", "1"]])[0][..]), "on {version}");
        store.close().await.unwrap();
    }
}
