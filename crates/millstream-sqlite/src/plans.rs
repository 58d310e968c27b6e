//! Every statement prepares against the schema, and rides the index that its header names.

use std::{collections::BTreeSet, path::Path};

use rusqlite::Connection;

use crate::{schema, sql};

/// Statements that read a whole table on purpose; each one's header says why.
const WHOLE_TABLE: &[&str] = &[
    "queue/marks",
    "job/sweep_groups",
    "schedule/list",
    "feed/watched",
    "feed/sweep_watchers",
    "feed/sweep",
    "retention/holds",
];

/// Statements of the hot paths, and what each must ride, in order.
const RIDES: &[(&str, &[&str])] = &[
    ("queue/find", &["sqlite_autoindex_queue_1"]),
    ("queue/list", &["sqlite_autoindex_queue_1"]),
    ("job/ready_any", &["sqlite_autoindex_queue_1", "job_live_state"]),
    ("job/pick", &["job_ready"]),
    ("job/take", &["INTEGER PRIMARY KEY"]),
    ("job/body", &["INTEGER PRIMARY KEY"]),
    ("job/held", &["sqlite_autoindex_job_1", "INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY"]),
    ("job/live", &["sqlite_autoindex_job_1", "INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY"]),
    ("job/renew", &["INTEGER PRIMARY KEY", "sqlite_autoindex_queue_1", "sqlite_autoindex_job_1"]),
    ("job/progress", &["sqlite_autoindex_queue_1", "sqlite_autoindex_job_1", "INTEGER PRIMARY KEY"]),
    ("job/expired", &["job_lease", "INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY"]),
    ("job/expired_any", &["job_lease"]),
    ("job/due", &["job_due", "INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY"]),
    ("job/due_next", &["job_due"]),
    ("job/find", &["sqlite_autoindex_queue_1", "sqlite_autoindex_job_1", "INTEGER PRIMARY KEY"]),
    ("job/page", &["job_intake", "INTEGER PRIMARY KEY"]),
    ("job/page_live", &["job_live_state", "INTEGER PRIMARY KEY"]),
    ("job/page_done", &["job_done_state", "INTEGER PRIMARY KEY"]),
    ("job/sweep_old", &["job_done_expires"]),
    ("job/sweep_cut", &["job_done_keep"]),
    ("job/sweep_many", &["job_done_keep"]),
    ("schedule/due", &["schedule_due"]),
    ("schedule/next", &["schedule_due"]),
    ("events/read", &["INTEGER PRIMARY KEY"]),
    ("events/read_backward", &["INTEGER PRIMARY KEY"]),
    ("events/read_stream", &["queue_events_stream"]),
    ("events/read_stream_backward", &["queue_events_stream"]),
    ("events/streams", &["PRIMARY KEY"]),
    ("events/sweep_keys", &["PRIMARY KEY", "event_key_age"]),
    ("retention/delete", &["INTEGER PRIMARY KEY"]),
    ("state/get", &["PRIMARY KEY"]),
    ("state/list", &["PRIMARY KEY"]),
    ("state/sweep", &["PRIMARY KEY", "state_expires"]),
    ("feed/read", &["INTEGER PRIMARY KEY"]),
];

fn migrated() -> Connection {
    let conn = schema::open_memory().unwrap();
    schema::migrate(&conn, Path::new(":memory:"), "test").unwrap();
    conn
}

/// The steps of a statement's plan, without those that run over parameters.
fn plan(conn: &Connection, text: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    // Raw: the parameters stay unbound, and the plan must be right whatever they are.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>("detail").unwrap());
    }
    steps.retain(|step| !step.contains("json_each"));
    steps
}

#[test]
fn every_statement_prepares() {
    let conn = migrated();
    for (path, text) in sql::ALL {
        if let Err(error) = conn.prepare(text) {
            panic!("{path}: {error}");
        }
    }
}

#[test]
fn every_file_is_a_statement_and_every_statement_says_what_it_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut files = BTreeSet::new();
    for noun in std::fs::read_dir(&root).unwrap() {
        for file in std::fs::read_dir(noun.unwrap().path()).unwrap() {
            let path = file.unwrap().path().with_extension("");
            files.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
        }
    }
    let named: BTreeSet<String> = sql::ALL.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(files, named);
    for (path, text) in sql::ALL {
        assert!(text.starts_with("-- "), "{path} has no header");
        let statement: String = text.lines().filter(|line| !line.starts_with("--")).collect();
        assert_eq!(statement.matches(';').count(), 1, "{path} is not one statement");
    }
}

#[test]
fn hot_statements_ride_their_indexes() {
    let conn = migrated();
    for (path, rides) in RIDES {
        let text = sql::ALL.iter().find(|(one, _)| one == path).unwrap_or_else(|| panic!("there is no {path}")).1;
        let plan = plan(&conn, text);
        let searches: Vec<&String> = plan.iter().filter(|step| step.contains(" USING ")).collect();
        assert!(searches.len() >= rides.len(), "{path}: {plan:#?}");
        for (search, index) in searches.iter().zip(*rides) {
            assert!(search.contains(index), "{path} does not ride {index}: {plan:#?}");
        }
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{path} sorts: {plan:#?}");
    }
}

#[test]
fn no_statement_reads_a_whole_table_unless_it_says_so() {
    let conn = migrated();
    for (path, text) in sql::ALL.iter().filter(|(path, _)| !WHOLE_TABLE.contains(path)) {
        let plan = plan(&conn, text);
        let scans = plan.iter().any(|step| step.starts_with("SCAN") && !step.contains(" USING "));
        assert!(!scans, "{path}: {plan:#?}");
    }
}
