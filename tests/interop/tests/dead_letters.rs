//! Dead letters cross over: either side's failure, either side's copy, either side's redrive.

use millstream_core::{JobState, Outcome};
use serde_json::json;
use world::World;

mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_millstream_fails_node_finds() {
    for mut world in World::all().await {
        let dead = world.queue("dead", json!({ "retryLimit": 5 })).await;
        let queue = world.queue("mail", json!({ "deadLetter": "dead", "retryLimit": 0 })).await;
        let options = json!({ "priority": 4, "singletonKey": "k", "group": { "id": "g" } });
        let id = world.node_sends(&queue, json!({ "n": 1 }), options).await;
        let claimed = world.claim(&queue).await;
        let outcome = Outcome::Retry { error: json!({ "message": "no" }), after: None };
        assert_eq!(world.settle(&claimed, outcome).await, JobState::Failed);

        let found = world.node.call("findJobs", json!([dead.as_str(), {}])).await;
        let copy = &found[0];
        for (column, value) in [
            ("data", json!({ "n": 1 })),
            ("state", json!("created")),
            ("priority", json!(4)),
            ("singletonKey", json!("k")),
            ("groupId", json!("g")),
            ("retryLimit", json!(5)),
            ("output", json!(null)),
            ("policy", json!(null)),
            ("deadLetter", json!(null)),
            ("sourceName", json!("mail")),
            ("sourceId", json!(id.as_str())),
            ("sourceRootId", json!(id.as_str())),
            ("sourceRetryCount", json!(0)),
            ("sourceOutput", json!({ "message": "no" })),
        ] {
            assert_eq!(copy[column], value, "{column} of {copy}");
        }
        assert_eq!(world.theirs(&queue, &id).await["state"], "failed");

        // Node puts it back, and it is ours again.
        assert_eq!(world.node.call("redrive", json!([dead.as_str()])).await, json!(1));
        let again = world.claim(&queue).await;
        assert_eq!((again.data, again.attempt), (json!({ "n": 1 }), 1));
        assert_ne!(again.claim.job, id);
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_node_fails_millstream_finds() {
    for mut world in World::all().await {
        let dead = world.queue("dead", json!({})).await;
        let queue = world.queue("mail", json!({ "deadLetter": "dead", "retryLimit": 0 })).await;
        let job = millstream_core::NewJob::new(queue.clone(), "welcome".try_into().unwrap(), json!({ "n": 2 }));
        // Attempts are the job's own: one, and the queue's dead letter.
        let id = world.enqueue(job.attempts(1)).await;
        world.node.call("work", json!(["mail"])).await;
        let taken = world.node.job().await;
        world.node.settle(&taken, json!({ "throw": "no" })).await;
        world::until("the copy", async || world.try_find(&dead).await.is_some()).await;

        let copy = world.claim(&dead).await;
        assert_eq!((copy.name.as_str(), &copy.data), ("welcome", &json!({ "n": 2 })));
        assert_eq!(world.ours(&queue, &id).await.state, JobState::Failed);
        world.close().await;
    }
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millstream_redrives_to_node() {
    for mut world in World::all().await {
        let dead = world.queue("dead", json!({})).await;
        let queue = world.queue("mail", json!({ "deadLetter": "dead", "retryLimit": 0, "policy": "stately" })).await;
        let id = world.node_sends(&queue, json!({ "n": 3 }), json!({ "singletonKey": "k" })).await;
        let claimed = world.claim(&queue).await;
        assert_eq!(world.settle(&claimed, Outcome::Fail(json!("no"))).await, JobState::Failed);
        assert_eq!(world.redrive(&dead).await, 1);
        world.node.call("work", json!(["mail"])).await;
        let again = world.node.job().await;
        assert_eq!(again["data"], json!({ "n": 3 }));
        assert_ne!(again["id"], json!(id.as_str()));
        world.node.settle(&again, json!({ "return": null })).await;
        world.close().await;
    }
}
