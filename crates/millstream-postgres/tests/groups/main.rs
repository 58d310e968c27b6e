//! Consumer groups and retention against real servers: killed backends, stopped processes, restarts, poolers.

mod consumer;
mod faults;
mod retention;
#[path = "../world/mod.rs"]
mod world;
