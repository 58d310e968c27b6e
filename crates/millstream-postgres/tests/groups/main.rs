//! Consumer groups and retention against real servers: killed backends, stopped processes, restarts, poolers.

#[path = "../world/again.rs"]
mod again;
mod consumer;
mod faults;
mod retention;
mod wake;
#[path = "../world/mod.rs"]
mod world;
