//! The real pg-boss, on Node, beside Millstream on the same tables.
//!
//! A [`Node`] is a process of its own that a test tells what to do, call by call. pg-boss and Node itself are fetched
//! into `target/servers` by [`millstream_servers`], once.
//!
//! ```no_run
//! # async fn example(url: &str) {
//! use millstream_interop::{Node, Release};
//! use serde_json::json;
//!
//! let mut node = Node::start(Release::Current, json!({ "connectionString": url })).await;
//! node.call("createQueue", json!(["mail"])).await;
//! node.call("send", json!(["mail", { "to": "ada" }])).await;
//! node.call("work", json!(["mail"])).await;
//! let job = node.job().await;
//! assert_eq!(job["data"], json!({ "to": "ada" }));
//! node.settle(&job, json!({ "return": { "ok": true } })).await;
//! node.stop().await;
//! # }
//! ```

mod node;

pub use node::{Node, Release, command};
