//! The program on a database that only Node's pg-boss has touched: it needs the URL, and nothing else.

use millstream_interop::{Node, Release};
use millstream_servers::{Postgres, postgres};
use serde_json::{Value, json};
use support::World;

mod support;

/// The program's JSON, with the connection URL in its environment.
fn answer(world: &World, url: &str, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let mut command = world.command(&args);
    let ran = command.envs([("MILLSTREAM_QUEUE__ADAPTER", "pgboss"), ("DATABASE_URL", url)]).output().expect("runs");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}: {words}");
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Postgres numbers events after their commit; who appends one is told its position all the same.
#[test]
fn an_append_tells_the_position_of_its_event() {
    let database = postgres::v15().create_database();
    let (world, url) = (World::new(), database.url());
    for (stream, key, position) in [("a", "k1", 1), ("b", "k2", 2), ("a", "k3", 3)] {
        let told = answer(&world, &url, &["events", "append", stream, "happened", "--key", key]);
        assert_eq!(told, [json!({ "version": null, "positions": [position, position], "duplicate": false })]);
    }
    let told = answer(&world, &url, &["events", "append", "c", "happened", "--data", "1.0", "--expected", "0"]);
    assert_eq!(told, [json!({ "version": 1, "positions": [4, 4], "duplicate": false })]);
    // What was written by somebody else, some time ago, is not looked for.
    let again = answer(&world, &url, &["events", "append", "a", "happened", "--key", "k1"]);
    assert_eq!(again, [json!({ "version": null, "positions": null, "duplicate": true })]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_works_what_node_sent() {
    for version in postgres::available() {
        let database = Postgres::get(version).expect("a private server").create_database();
        let url = database.url();
        let options = json!({ "connectionString": url, "supervise": false, "schedule": false });
        let mut node = Node::start(Release::Current, options).await;
        node.call("createQueue", json!(["mail", { "retryLimit": 0 }])).await;
        let mut ids = Vec::new();
        for data in [json!({ "to": "ada" }), json!([1, 2]), json!({ "to": "nobody" })] {
            ids.push(node.call("send", json!(["mail", data])).await);
        }
        let world = World::new();
        let script = r#"data=$(cat); case "$data" in *nobody*) echo "no such user" >&2; exit 65;; esac; echo "$data""#;
        answer(&world, &url, &["work", "--queue", "mail", "--exec", script, "--drain"]);

        let found = node.call("findJobs", json!(["mail", {}])).await;
        let of = |id: &Value| found.as_array().unwrap().iter().find(|job| job["id"] == *id).unwrap();
        assert_eq!((&of(&ids[0])["state"], &of(&ids[0])["output"]), (&json!("completed"), &json!({ "to": "ada" })));
        assert_eq!(of(&ids[1])["output"], json!({ "value": [1, 2] }));
        assert_eq!(of(&ids[2])["state"], "failed");
        assert!(of(&ids[2])["output"].to_string().contains("no such user"), "{}", of(&ids[2])["output"]);

        // And the other way round: Node works what the program enqueues.
        let job = answer(&world, &url, &["enqueue", "mail", "welcome", "--data", r#"{"to":"bob"}"#]).remove(0);
        let fetched = node.call("fetch", json!(["mail"])).await;
        assert_eq!(fetched[0]["data"], json!({ "to": "bob", "__jobName": "welcome" }));
        node.call("complete", json!(["mail", fetched[0]["id"], { "by": "node" }])).await;
        let id = job["id"].as_str().unwrap_or_else(|| panic!("{job}"));
        let job = answer(&world, &url, &["jobs", "get", "mail", id]).remove(0);
        assert_eq!((&job["state"], &job["output"]), (&json!("completed"), &json!({ "by": "node" })));
        node.stop().await;
    }
}
