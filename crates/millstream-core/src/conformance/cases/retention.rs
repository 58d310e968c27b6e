//! How long the log keeps events, and for whom it waits.

use std::time::Duration;

use serde_json::json;

use super::groups::{group, spec};
use crate::{
    Append, ConsumerName, CursorMove, Error, EventQuery, GroupSpec, Member, NewEvent, ParkedNow, ReadFrom,
    Retention, StartFrom,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{World, pattern, secs, stream},
    },
    limits::APPEND_BATCH_MAX,
};

/// What goes at once in every store: a new log's first partition, where it has partitions.
const BLOCK: u64 = APPEND_BATCH_MAX as u64;
const HOUR: Duration = Duration::from_secs(3_600);
const ONE: Retention = Retention { age: None, bytes: None, events: Some(1) };

/// So many events of the stream `s` in one append.
async fn fill(world: &World, count: u64) -> Checked {
    let events = (0..count).map(|_| NewEvent::new("e", json!(1))).collect();
    world.events.append(&[Append { events, ..Append::one(stream("s"), NewEvent::new("e", json!(1))) }]).await?;
    Ok(())
}

/// The position of the first event that is there.
async fn first(world: &World) -> Checked<u64> {
    let page = world.events.query(&EventQuery { limit: 1, ..EventQuery::of(pattern("*")) }).await?;
    page.first().map(|event| event.id).ok_or_else(|| Failure::new("the log is empty"))
}

fn truncated<T>(answer: crate::Result<T>, what: &str) -> Checked {
    match answer.map(drop) {
        Err(Error::Truncated { first, .. }) => {
            ensure_eq!(first, BLOCK + 1, "the first position that is there, as told to {what}");
            Ok(())
        }
        other => Err(Failure::new(format_args!("{what} was not told that the beginning is gone: {other:?}"))),
    }
}

cases! {
    /// What is set holds for every process; unset, it is again what each was opened with. No bound is of nothing.
    #[breaks_on(IgnoredOperator, SilentLimit)]
    async fn retention_is_set_for_every_process(world: &World) -> Checked {
        let other = world.second().await?;
        let before = world.events.retention().await?;
        ensure!(!before.set && before.retention.is_off(), "at first: {before:?}");
        let month = Retention { age: Some(HOUR * 720), events: Some(1_000_000), ..Retention::default() };
        world.events.set_retention(Some(&month)).await?;
        let info = other.events.retention().await?;
        ensure_eq!((info.retention, info.set), (month, true), "what another process sees");
        for nothing in [Retention { events: Some(0), ..month }, Retention { age: Some(Duration::ZERO), ..month }] {
            let refused = world.events.set_retention(Some(&nothing)).await;
            ensure_matches!(refused, Err(Error::Invalid { .. }), "{nothing:?}");
        }
        ensure_eq!(world.events.retention().await?.retention, month, "after what was refused");
        other.events.set_retention(None).await?;
        let info = world.events.retention().await?;
        ensure_eq!((info.retention, info.set), (Retention::default(), false), "unset");
        Ok(())
    }

    /// Nothing goes that a retaining group has not done, nor what is put aside; who holds how much is told. For a group
    /// that does not retain nobody waits.
    #[breaks_on(RetentionForgetsGroups, NeverSweeps)]
    #[needs(Groups, Calm)]
    async fn retention_waits_for_groups_that_retain(world: &World) -> Checked {
        let groups = world.events.groups()?;
        groups.ensure_group(&spec(1)).await?;
        let loose = GroupSpec { name: group("loose"), retain: false, ..spec(1) };
        groups.ensure_group(&loose).await?;
        fill(world, BLOCK).await?;
        fill(world, 1).await?;
        world.events.set_retention(Some(&ONE)).await?;
        let info = world.events.retention().await?;
        ensure_eq!((info.first, info.head, info.due), (1, BLOCK + 1, BLOCK), "the log");
        let holds: Vec<_> = info.holds.iter().map(|hold| (hold.group.as_str(), hold.needs, hold.held)).collect();
        ensure_eq!(holds, [("g", 1, BLOCK)], "who holds what");
        ensure_eq!(world.events.expire_events().await?, 0, "events that went while a group needs them");
        ensure_eq!(first(world).await?, 1, "the first event");

        // The group goes on, and puts one aside.
        let member = Member { group: group("g"), consumer: ConsumerName::new("a")?, id: "a".into() };
        groups.beat_member(&member, &[]).await?;
        let held = groups.claim_partitions(&member, 1).await?.remove(0).held;
        let aside = ParkedNow {
            position: BLOCK,
            stream: stream("s"),
            stops_stream: false,
            error: "no".into(),
            attempts: 1,
        };
        let step = CursorMove { held, from: 0, to: BLOCK + 1 };
        ensure!(groups.park(&group("g"), &step, &[aside]).await?, "the cursor was moved");
        world.events.expire_events().await?;
        ensure!(first(world).await? <= BLOCK, "what is put aside stays");
        let info = world.events.retention().await?;
        ensure_eq!(info.holds.first().map(|hold| (hold.needs, hold.held)), Some((BLOCK, 1)), "who holds what");

        groups.reset_group(&group("g"), StartFrom::Now).await?;
        groups.leave(&member).await?;
        groups.delete_group(&group("g")).await?;
        world.events.expire_events().await?;
        ensure_eq!(first(world).await?, BLOCK + 1, "the first event, when nobody needs those before it");
        Ok(())
    }

    /// Who wants to read what retention removed is told, and skips nothing in silence. Positions and versions go on.
    #[breaks_on(SilentTruncation)]
    #[needs(Groups, Calm)]
    async fn what_retention_removed_is_told(world: &World) -> Checked {
        let groups = world.events.groups()?;
        groups.ensure_group(&GroupSpec { retain: false, ..spec(1) }).await?;
        fill(world, BLOCK).await?;
        world.events.set_retention(Some(&ONE)).await?;
        fill(world, 1).await?;
        ensure_eq!(world.events.expire_events().await?, BLOCK, "how many went");
        ensure_eq!(world.events.expire_events().await?, 0, "how many more went");
        let from = [ReadFrom { partition: 0, after: 0 }];
        truncated(groups.read_partitions(&group("g"), &from, 10).await, "a group that was too slow")?;
        truncated(groups.reset_group(&group("g"), StartFrom::After(1)).await, "a reset")?;
        truncated(world.events.subscribe(&pattern("*"), StartFrom::After(7)).await, "a subscription")?;
        let page = EventQuery { after: Some(0), ..EventQuery::of(pattern("*")) };
        truncated(world.events.query(&page).await, "a query")?;
        ensure_eq!(groups.reset_group(&group("g"), StartFrom::Start).await?, BLOCK, "a reset to the start");
        ensure_eq!(world.events.head().await?, BLOCK + 1, "the last position");
        fill(world, 1).await?;
        let rest = world.events.query(&EventQuery { after: Some(BLOCK), ..page }).await?;
        ensure_eq!(rest.iter().map(|event| event.id).collect::<Vec<_>>(), [BLOCK + 1, BLOCK + 2], "what is left");
        Ok(())
    }

    /// Events go once they are older than the age, and not before.
    #[breaks_on(NeverSweeps)]
    #[needs(Calm)]
    async fn retention_goes_by_age(world: &World) -> Checked {
        world.events.set_retention(Some(&Retention { age: Some(HOUR), ..Retention::default() })).await?;
        fill(world, BLOCK).await?;
        ensure_eq!(world.events.expire_events().await?, 0, "events that went before their time");
        world.advance(HOUR - secs(60)).await?;
        ensure_eq!(world.events.expire_events().await?, 0, "events that went a minute before their time");
        world.advance(secs(120)).await?;
        fill(world, 1).await?;
        ensure_eq!(world.events.expire_events().await?, BLOCK, "events that went at their time");
        ensure_eq!(first(world).await?, BLOCK + 1, "the first event");
        Ok(())
    }
}
