//! Events out, page by page.

use crate::{
    Direction, Event, EventQuery,
    conformance::{
        case::{Checked, cases, ensure_eq},
        world::{World, pattern, secs},
    },
};

/// Nine events, a second apart: types a, b, c in turn, streams s and t in turn.
async fn nine(world: &World) -> Checked {
    for n in 0..9_usize {
        world.append(["s", "t"][n % 2], ["a", "b", "c"][n % 3]).await?;
        world.advance(secs(1)).await?;
    }
    Ok(())
}

fn all() -> EventQuery {
    EventQuery::of(pattern("*"))
}

fn places(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

cases! {
    /// Events come in the order of their positions; the newest first where that was asked for.
    #[breaks_on(ReorderedEvents, IgnoresQuery)]
    async fn events_come_in_order(world: &World) -> Checked {
        nine(world).await?;
        ensure_eq!(places(&world.events.query(&all()).await?), (1..=9).collect::<Vec<u64>>(), "forward");
        let backward = EventQuery { direction: Direction::Backward, ..all() };
        ensure_eq!(places(&world.events.query(&backward).await?), (1..=9).rev().collect::<Vec<u64>>(), "backward");
        Ok(())
    }

    /// A query keeps to its streams and to its types.
    #[breaks_on(IgnoresQuery, SkippedEvent)]
    async fn a_query_keeps_to_streams_and_types(world: &World) -> Checked {
        nine(world).await?;
        ensure_eq!(places(&world.events.query(&EventQuery::of(pattern("t"))).await?), [2, 4, 6, 8], "one stream");
        let kinds = EventQuery { kinds: vec!["b".into(), "c".into()], ..all() };
        ensure_eq!(places(&world.events.query(&kinds).await?), [2, 3, 5, 6, 8, 9], "two types");
        let both = EventQuery { kinds: vec!["a".into()], ..EventQuery::of(pattern("s")) };
        ensure_eq!(places(&world.events.query(&both).await?), [1, 7], "a stream and a type");
        let none = EventQuery { kinds: vec!["d".into()], ..all() };
        ensure_eq!(places(&world.events.query(&none).await?), Vec::<u64>::new(), "a type that never was");
        Ok(())
    }

    /// A query keeps to its positions: above `after`, up to `up_to`, in both directions.
    #[breaks_on(IgnoresQuery)]
    async fn a_query_keeps_to_its_positions(world: &World) -> Checked {
        nine(world).await?;
        let between = EventQuery { after: Some(2), up_to: Some(6), ..all() };
        ensure_eq!(places(&world.events.query(&between).await?), [3, 4, 5, 6], "forward");
        let backward = EventQuery { direction: Direction::Backward, ..between };
        ensure_eq!(places(&world.events.query(&backward).await?), [6, 5, 4, 3], "backward");
        let beyond = EventQuery { after: Some(100), ..all() };
        ensure_eq!(places(&world.events.query(&beyond).await?), Vec::<u64>::new(), "beyond the end");
        Ok(())
    }

    /// A query keeps to its times: from `since`, before `until`.
    #[breaks_on(IgnoresQuery)]
    async fn a_query_keeps_to_its_times(world: &World) -> Checked {
        let start = world.now().await?;
        nine(world).await?;
        let since = Some(start + secs(3));
        let until = Some(start + secs(5));
        ensure_eq!(places(&world.events.query(&EventQuery { since, until, ..all() }).await?), [4, 5], "both");
        ensure_eq!(places(&world.events.query(&EventQuery { until, ..all() }).await?), [1, 2, 3, 4, 5], "until");
        ensure_eq!(places(&world.events.query(&EventQuery { since, ..all() }).await?), [4, 5, 6, 7, 8, 9], "since");
        Ok(())
    }

    /// A page is no longer than was asked for, and pages by position lose and double nothing.
    #[breaks_on(IgnoresQuery, SkippedEvent, DoubleEvent)]
    async fn pages_lose_and_double_nothing(world: &World) -> Checked {
        nine(world).await?;
        let (mut pages, mut after) = (Vec::new(), None);
        while let page @ [.., last] = &*world.events.query(&EventQuery { after, limit: 4, ..all() }).await? {
            pages.push(places(page));
            after = Some(last.id);
        }
        ensure_eq!(pages, [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9]], "the pages");
        let backward = EventQuery { limit: 2, direction: Direction::Backward, ..all() };
        ensure_eq!(places(&world.events.query(&backward).await?), [9, 8], "the newest two");
        Ok(())
    }
}
