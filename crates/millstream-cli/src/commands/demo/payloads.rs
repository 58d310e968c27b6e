//! Made-up webhooks: the same for the same number.

use serde_json::{Value, json};

const EVENTS: [(&str, &str); 6] = [
    ("push", ""),
    ("issues", "opened"),
    ("pull_request", "opened"),
    ("release", "published"),
    ("issue_comment", "created"),
    ("pull_request", "closed"),
];
const REPOSITORIES: [&str; 4] = ["mill/stream", "mill/wheel", "mill/race", "pond/heron"];
const PEOPLE: [&str; 5] = ["ada", "grace", "edsger", "barbara", "tony"];

/// So many webhooks; every other one has subscribers.
pub(super) fn made_up(count: u32) -> Vec<Value> {
    (0..count as usize).map(webhook).collect()
}

fn webhook(index: usize) -> Value {
    let (event, action) = EVENTS[index % EVENTS.len()];
    let subscribers: Vec<&str> = (0..index % 4 % 3).map(|step| PEOPLE[(index + step) % PEOPLE.len()]).collect();
    json!({
        "event": event,
        "action": action,
        "payload": {
            "repository": { "full_name": REPOSITORIES[index % REPOSITORIES.len()] },
            "sender": { "login": PEOPLE[index % PEOPLE.len()] },
        },
        "subscribers": subscribers,
    })
}
