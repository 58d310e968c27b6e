//! What operators do: pause, wake-ups, moving a database up while both work.

use std::time::Duration;

use millstream_core::{
    JobState, JobStore as _, NewJob, Outcome, QueueName, QueueProvider as _, Store as _, Wake, Want,
};
use millstream_interop::{Node, Release, command};
use serde_json::json;
use world::World;

mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_binds_millstream_alone() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        let first = world.node_sends(&queue, json!({ "n": 1 }), json!({})).await;
        world.store.pause(&queue).await.unwrap();
        assert!(world.try_claim(&queue).await.is_none());
        // Another process of ours obeys; a worker of Node's does not know.
        let other = world::store(&world.url()).await;
        assert!(other.claim(&[Want::new(queue.clone(), 1)]).await.unwrap().is_empty());
        let counts = world.store.counts(&queue).await.unwrap();
        assert_eq!((counts.waiting, counts.paused), (1, 1));
        let fetched = world.node.call("fetch", json!(["mail"])).await;
        assert_eq!(fetched[0]["id"], json!(first.as_str()));

        world.node_sends(&queue, json!({ "n": 2 }), json!({})).await;
        world.store.resume(&queue).await.unwrap();
        assert_eq!(world.claim(&queue).await.data, json!({ "n": 2 }));
        other.close().await.unwrap();
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_wake_each_other() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({ "notify": true })).await;
        // A worker of Node's that would look again in ten minutes.
        let listening = json!({
            "connectionString": world.url(), "supervise": false, "schedule": false, "useListenNotify": true,
        });
        let mut listener = Node::start(Release::Current, listening).await;
        let slow = json!(["mail", { "pollingIntervalSeconds": 600, "notifyPollingIntervalSeconds": 600 }]);
        listener.call("work", slow).await;
        // Its first look is over when it takes this one.
        let id = world.node_sends(&queue, json!({ "n": 0 }), json!({})).await;
        let taken = listener.job().await;
        assert_eq!(taken["id"], json!(id.as_str()));
        listener.settle(&taken, json!({ "return": null })).await;
        world::until("it is settled", async || world.ours(&queue, &id).await.state == JobState::Completed).await;
        let job = NewJob::new(queue.clone(), (&queue).into(), json!({ "n": 1 }));
        world.store.enqueue(&[job]).await.unwrap();
        let taken = listener.job().await;
        assert_eq!(taken["data"], json!({ "n": 1 }));
        listener.settle(&taken, json!({ "return": null })).await;
        listener.stop().await;

        // And ours waits without looking.
        let woken = tokio::time::timeout(Duration::from_secs(30), async {
            let queues = [queue.clone()];
            tokio::join!(world.store.wait(&queues), async {
                world.node.call("send", json!(["mail", { "n": 2 }])).await;
            })
        });
        let (wake, ()) = woken.await.expect("Node's send wakes us");
        assert_eq!(wake, Wake::Work);
        assert_eq!(world.claim(&queue).await.data, json!({ "n": 2 }));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_migrates_while_millstream_works() {
    for (version, server) in world::servers() {
        let database = server.create_database();
        let mut oldest = Node::start(Release::Oldest, world::quiet(&database.url())).await;
        for (name, options) in [("mail", json!({ "deadLetter": null })), ("own", json!({ "partition": true }))] {
            oldest.call("createQueue", json!([name, options])).await;
        }
        let store = world::store(&database.url()).await;
        let queues = ["mail", "own"].map(|name| QueueName::new(name).unwrap());
        let round = async |node: &mut Node, n: u32| {
            for queue in &queues {
                node.call("send", json!([queue.as_str(), { "n": n }])).await;
                let want = Want::new(queue.clone(), 1);
                let claimed =
                    store.claim(&[want]).await.unwrap().pop().unwrap_or_else(|| panic!("{version}: round {n}"));
                assert_eq!(claimed.data, json!({ "n": n }));
                let claim = claimed.claim.clone();
                let outcome =
                    if n.is_multiple_of(2) { Outcome::Done(json!({ "n": n })) } else { Outcome::Fail(json!("no")) };
                let verdict = store
                    .settle(&[millstream_core::Settlement { claim, outcome, effects: Default::default() }])
                    .await
                    .unwrap();
                assert!(matches!(verdict[0], millstream_core::Verdict::Settled(_)), "{verdict:?}");
                let job = NewJob::new(queue.clone(), queue.into(), json!({ "by": "us" }));
                store.enqueue(&[job]).await.unwrap();
                let fetched = node.call("fetch", json!([queue.as_str()])).await;
                assert_eq!(fetched[0]["data"], json!({ "by": "us" }));
                node.call("complete", json!([queue.as_str(), fetched[0]["id"]])).await;
                assert_eq!(store.counts(queue).await.unwrap().unfinished(), 0);
            }
        };
        round(&mut oldest, 0).await;
        round(&mut oldest, 1).await;
        let mut current = Node::start(Release::Current, world::quiet(&database.url())).await;
        // The same connections, with statements that they prepared before.
        for n in 2..5 {
            round(&mut current, n).await;
        }
        round(&mut oldest, 6).await;
        oldest.stop().await;
        current.stop().await;
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_doctor_is_content_after_we_worked() {
    for mut world in World::all().await {
        let queue = world.queue("mail", json!({})).await;
        world.node_sends(&queue, json!({}), json!({})).await;
        let claimed = world.claim(&queue).await;
        world.settle(&claimed, Outcome::Done(json!(1))).await;
        let url = world.url();
        let doctor = command(Release::Current, &["doctor", "--connection-string", &url]);
        assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
        world.close().await;
    }
}
