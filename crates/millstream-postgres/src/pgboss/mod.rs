//! pg-boss's tables: jobs that Node's pg-boss and Millstream send to each other.

pub mod schema;
