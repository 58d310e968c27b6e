//! PgBouncer stands before a private server in transaction mode.

use millstream_servers::{Pgbouncer, postgres};

#[test]
fn a_server_connection_belongs_to_a_transaction_and_not_to_a_client() {
    let database = postgres::v18().create_database();
    let pooler = Pgbouncer::start_with(postgres::v18(), &[("default_pool_size", "1")]).unwrap();
    assert!(pooler.version().starts_with("1."), "{}", pooler.version());
    let through = database.through(pooler.address());
    // What one client sets for its session, the next finds: they shared the connection.
    through.run("SET application_name TO 'left by another'").unwrap();
    let pids = [0, 1, 2].map(|_| through.query("SELECT pg_backend_pid()").unwrap());
    assert!(pids.iter().all(|pid| *pid == pids[0]), "one pooled connection serves all");
    let direct = database.query("SELECT pg_backend_pid()").unwrap();
    assert_ne!(direct, pids[0]);
}
