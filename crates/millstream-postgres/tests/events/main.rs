//! What the event log owes on Postgres beyond the common suite: with transactions that stay open, commits out of order,
//! sessions that are killed, and servers that crash. Beside it the original design, on which the key checks fail.

mod append;
mod log;
mod order;
mod original;
mod restore;
mod sequencer;
mod subscribe;
#[path = "../world/mod.rs"]
mod world;
