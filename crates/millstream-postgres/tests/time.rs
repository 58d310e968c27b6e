//! What the tests' own time promises.

#[path = "world/time.rs"]
mod time;
mod world;

use millstream_core::Timestamp;
use tokio_postgres::types::Type;

/// A claim that saw a job of the new time, and put it under a lease of the old one, made a case wait in vain once in
/// some twenty runs.
#[tokio::test]
async fn no_statement_sees_more_than_its_time_allows() {
    for (version, database) in world::databases() {
        let (setting, _setter) = world::connect(&database.url()).await;
        let (mut claiming, _claimer) = world::connect(&database.url()).await;
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (at("2026-11-21T12:00:00Z"), at("2026-11-21T12:01:00Z"));
        let begin = "create schema s; create table s.job (taken_at text); \
                     create function s.now() returns timestamptz language sql volatile as 'select clock_timestamp()'";
        setting.batch_execute(begin).await.unwrap();
        setting.batch_execute(&time::set_time("s", before)).await.unwrap();
        claiming.batch_execute("set plan_cache_mode = force_generic_plan; set timezone = 'UTC'").await.unwrap();
        let text = "with taken as (update s.job set taken_at = to_char(s.now(), 'HH24:MI') returning taken_at) \
                    select taken_at from taken";
        let claim = claiming.prepare_typed(text, &[] as &[Type]).await.unwrap();
        let transaction = claiming.transaction().await.unwrap();
        // From here on its plan stands; what it sees is settled when it runs.
        let portal = transaction.bind(&claim, &[]).await.unwrap();
        setting.batch_execute(&time::set_time("s", after)).await.unwrap();
        setting.batch_execute("insert into s.job values (null)").await.unwrap();
        let taken = transaction.query_portal(&portal, 0).await.unwrap();
        assert_eq!(taken.len(), 1, "the job is seen, on {version}");
        assert_eq!(taken[0].get::<_, &str>(0), "12:01", "on {version}");
        transaction.commit().await.unwrap();
    }
}
