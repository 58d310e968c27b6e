//! The seam of consumer groups: cursors, owners, members.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use crate::{
    Append, ConsumerName, CursorMove, Effects, Error, EventQuery, GroupName, GroupSpec, GroupStore, Member, NewEvent,
    ParkedNow, PartitionClaim, PartitionRef, Pattern, Poison, ReadFrom, StartFrom, StateOp,
    conformance::{
        case::{Checked, Failure, cases, ensure, ensure_eq, ensure_matches},
        world::{Handle, LEASE, World, pattern, secs, stream},
    },
    partition_of,
};

pub(super) fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("a valid group name")
}

pub(super) fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).expect("a valid consumer name")
}

/// A group over every stream, by the suite's lease.
pub(super) fn spec(partitions: u16) -> GroupSpec {
    GroupSpec { partitions, lease: LEASE, ..GroupSpec::new(group("g"), Pattern::All) }
}

fn member(id: &str) -> Member {
    Member { group: group("g"), consumer: consumer(id), id: id.into() }
}

fn store(handle: &Handle) -> Checked<Arc<dyn GroupStore>> {
    Ok(handle.events.groups()?)
}

/// A member that has joined, and all the partitions it got.
async fn joined(groups: &dyn GroupStore, id: &str) -> Checked<(Member, Vec<PartitionClaim>)> {
    let member = member(id);
    let view = groups.beat_member(&member, &[]).await?;
    let claims = groups.claim_partitions(&member, view.share.max(1)).await?;
    Ok((member, claims))
}

fn refs(claims: &[PartitionClaim]) -> Vec<PartitionRef> {
    claims.iter().map(|claim| claim.held).collect()
}

/// The one partition of a group with one.
async fn the_one(groups: &dyn GroupStore, id: &str) -> Checked<(Member, PartitionClaim)> {
    let (member, mut claims) = joined(groups, id).await?;
    ensure!(claims.len() == 1, "{id} got {claims:?} of the one partition");
    Ok((member, claims.remove(0)))
}

fn step(held: PartitionRef, from: u64, to: u64) -> CursorMove {
    CursorMove { held, from, to }
}

fn noting(text: &str) -> Effects {
    Effects { append: vec![Append::one(stream("out"), NewEvent::new("noted", json!(text)))], ..Effects::default() }
}

async fn notes(world: &World) -> Checked<Vec<String>> {
    let log = world.log("out").await?;
    Ok(log.iter().map(|event| event.data.as_str().unwrap_or_default().to_owned()).collect())
}

async fn position(groups: &dyn GroupStore) -> Checked<u64> {
    Ok(info(groups).await?.partitions.iter().map(|partition| partition.position).min().unwrap_or(0))
}

async fn info(groups: &dyn GroupStore) -> Checked<crate::GroupInfo> {
    groups.group(&group("g")).await?.ok_or_else(|| Failure::new("the group is gone"))
}

async fn append(world: &World, names: &[&str]) -> Checked {
    for name in names {
        world.append(name, "e").await?;
    }
    Ok(())
}

/// Everything that partitions have for a group, by reads of so many.
async fn read_all(groups: &dyn GroupStore, partitions: &[u16], limit: u32) -> Checked<Vec<(u16, u64)>> {
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let from: Vec<ReadFrom> = partitions.iter().map(|&partition| ReadFrom { partition, after }).collect();
        let read = groups.read_partitions(&group("g"), &from, limit).await?;
        ensure!(read.events.len() <= limit as usize, "a read of {limit} answered {}", read.events.len());
        ensure!(read.up_to >= after, "a read went back from {after} to {}", read.up_to);
        if read.up_to == after {
            return Ok(found);
        }
        found.extend(read.events.iter().map(|event| (event.partition, event.event.id)));
        after = read.up_to;
    }
}

cases! {
    /// A partition has one owner; what is taken is not handed out again.
    #[breaks_on(StealsPartitions, GroupOfOne)]
    #[needs(Groups)]
    async fn a_partition_has_one_owner(world: &World) -> Checked {
        let other = store(&world.second().await?)?;
        let groups = store(world)?;
        ensure!(groups.ensure_group(&spec(16)).await?, "a new group was made");
        other.ensure_group(&spec(16)).await?;
        let (a, b) = (member("a"), member("b"));
        groups.beat_member(&a, &[]).await?;
        other.beat_member(&b, &[]).await?;
        let mine = groups.claim_partitions(&a, 10).await?;
        let theirs = other.claim_partitions(&b, 16).await?;
        ensure_eq!((mine.len(), theirs.len()), (10, 6), "partitions of both");
        let all: BTreeSet<u16> = refs(&mine).iter().chain(&refs(&theirs)).map(|held| held.partition).collect();
        ensure_eq!(all, (0..16).collect::<BTreeSet<u16>>(), "all partitions");
        ensure_eq!(groups.claim_partitions(&a, 16).await?, [], "nothing is left");
        let view = groups.beat_member(&a, &refs(&mine)).await?;
        ensure_eq!((view.lost, view.free), (vec![], 0), "what the owner is told");
        Ok(())
    }

    /// Shares of all members add up to the partitions, and differ by one at most.
    #[breaks_on(GreedyShare)]
    #[needs(Groups)]
    async fn shares_are_even(world: &World) -> Checked {
        let groups = store(world)?;
        groups.ensure_group(&spec(64)).await?;
        for count in 1..=5 {
            groups.beat_member(&member(&format!("m{count}")), &[]).await?;
            let mut shares = Vec::new();
            for each in 1..=count {
                let view = groups.beat_member(&member(&format!("m{each}")), &[]).await?;
                ensure_eq!(view.members, count, "live members");
                shares.push(view.share);
            }
            ensure_eq!(shares.iter().sum::<u16>(), 64, "shares {shares:?} of {count} members");
            let spread = shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0);
            ensure!(spread <= 1, "shares {shares:?} of {count} members differ by more than one");
        }
        Ok(())
    }

    /// Epochs grow with every claim, and none comes twice, not even for a group that was made again.
    #[breaks_on(OneEpoch)]
    #[needs(Groups)]
    async fn epochs_only_grow(world: &World) -> Checked {
        let groups = store(world)?;
        let mut last = 0;
        for round in 0..4 {
            groups.ensure_group(&spec(1)).await?;
            for _ in 0..3 {
                let (member, claim) = the_one(&*groups, "a").await?;
                ensure!(claim.held.epoch > last, "epoch {} after {last}", claim.held.epoch);
                last = claim.held.epoch;
                groups.release_partitions(&group("g"), &[claim.held]).await?;
                groups.leave(&member).await?;
            }
            if round % 2 == 0 {
                groups.reset_group(&group("g"), StartFrom::Start).await?;
            } else {
                ensure!(groups.delete_group(&group("g")).await?, "the group was deleted");
            }
        }
        Ok(())
    }

    /// An owner that was paused past its lease, and comes back after another took over, writes nothing.
    #[breaks_on(UnfencedCommit)]
    #[needs(Groups)]
    async fn a_zombie_writes_nothing(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s", "s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let (zombie, old) = the_one(&*groups, "zombie").await?;
        world.advance(LEASE + secs(1)).await?;
        let (_, new) = the_one(&*groups, "heir").await?;
        let g = group("g");
        let late = groups.commit(&g, &step(old.held, 0, 2), &noting("zombie, before")).await?;
        ensure!(!late, "a commit of an older epoch was taken");
        ensure!(groups.commit(&g, &step(new.held, 0, 3), &noting("heir")).await?, "the owner's commit was fenced");
        let late = groups.commit(&g, &step(old.held, 0, 2), &noting("zombie, after")).await?;
        ensure!(!late, "a commit of an older epoch was taken");
        ensure_eq!(groups.advance(&g, &[step(old.held, 3, 4)]).await?, [false], "a zombie's move");
        ensure_eq!(groups.fail_partition(&g, old.held, 3, secs(0), "late").await?, None, "a zombie's failure");
        ensure!(!groups.park(&g, &step(old.held, 3, 4), &[]).await?, "a zombie parked");
        groups.release_partitions(&g, &[old.held]).await?;
        let view = groups.beat_member(&zombie, &[old.held]).await?;
        ensure_eq!((view.lost, view.free), (vec![old.held], 0), "what the zombie is told");
        ensure_eq!(notes(world).await?, ["heir"], "effects");
        ensure_eq!(position(&*groups).await?, 3, "the cursor");
        Ok(())
    }

    /// A cursor moves only from where it is, and never back.
    #[breaks_on(UnfencedCommit, StillCursor)]
    #[needs(Groups)]
    async fn a_cursor_moves_only_from_where_it_is(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s", "s"]).await?;
        groups.ensure_group(&spec(2)).await?;
        let (_, claims) = joined(&*groups, "a").await?;
        let g = group("g");
        let (first, second) = (claims[0].held, claims[1].held);
        let moves = [step(first, 0, 2), step(second, 1, 2), step(first, 2, 2)];
        ensure_eq!(groups.advance(&g, &moves).await?, [true, false, true], "moves, each on its own");
        ensure_eq!(groups.advance(&g, &[step(first, 0, 2)]).await?, [false], "the same move again");
        ensure!(!groups.commit(&g, &step(first, 1, 3), &noting("wrong")).await?, "a commit from elsewhere");
        let back = groups.commit(&g, &step(first, 2, 1), &noting("back")).await;
        ensure_matches!(back, Err(Error::Invalid { .. }), "a move back");
        ensure_eq!(groups.advance(&g, &[]).await?, [false; 0], "no move");
        ensure_eq!(notes(world).await?, [""; 0], "effects");
        let positions: Vec<u64> = info(&*groups).await?.partitions.iter().map(|one| one.position).collect();
        ensure_eq!(positions, [2, 0], "cursors");
        Ok(())
    }

    /// Effects and cursor are written together, or not at all.
    #[breaks_on(DroppedEffects, StillCursor, OutcomeWithoutEffects)]
    #[needs(Groups)]
    async fn effects_and_cursor_are_one_commit(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let (_, claim) = the_one(&*groups, "a").await?;
        let g = group("g");
        ensure!(groups.commit(&g, &step(claim.held, 0, 1), &noting("one")).await?, "the owner's commit was fenced");
        let mut refused = noting("two");
        refused.append.push(Append::one(stream("out"), NewEvent::new("e", json!(0))).expecting(7));
        let answer = groups.commit(&g, &step(claim.held, 1, 2), &refused).await;
        ensure_matches!(answer, Err(Error::VersionConflict { expected: 7, .. }), "a refused effect");
        let long = Effects { state: vec![StateOp::Delete { key: "".into() }], ..noting("three") };
        let answer = groups.commit(&g, &step(claim.held, 1, 2), &long).await;
        ensure_matches!(answer, Err(Error::Invalid { .. }), "an effect that no store holds");
        ensure_eq!(notes(world).await?, ["one"], "effects");
        ensure_eq!(position(&*groups).await?, 1, "the cursor after refused effects");
        ensure!(groups.commit(&g, &step(claim.held, 1, 2), &noting("two")).await?, "the owner's commit was fenced");
        ensure_eq!(notes(world).await?, ["one", "two"], "effects");
        Ok(())
    }

    /// Every kind of effect commits with the cursor, where one commit reaches it.
    #[breaks_on(DroppedEffects)]
    #[needs(Groups, OneRealm)]
    async fn jobs_and_state_commit_with_the_cursor(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let (_, claim) = the_one(&*groups, "a").await?;
        let effects = Effects {
            enqueue: vec![crate::conformance::world::job()],
            state: vec![StateOp::Set { key: "seen".into(), value: json!(1), ttl: None }],
            ..Effects::default()
        };
        ensure!(groups.commit(&group("g"), &step(claim.held, 0, 1), &effects).await?, "the commit was fenced");
        ensure_eq!(world.counts().await?.waiting, 1, "waiting jobs");
        ensure_eq!(world.state.get("seen").await?, Some(json!(1)), "state");
        Ok(())
    }

    /// Partitions of a member that is not heard of come free with its lease, and not before.
    #[breaks_on(ImmortalMembers, StealsPartitions, BeatForgets)]
    #[needs(Groups)]
    async fn a_crashed_members_partitions_come_free(world: &World) -> Checked {
        let groups = store(world)?;
        groups.ensure_group(&spec(8)).await?;
        let (alive, kept) = joined(&*groups, "alive").await?;
        ensure_eq!(kept.len(), 8, "the only member's share");
        groups.release_partitions(&group("g"), &refs(&kept[4..])).await?;
        let (_, crashed) = joined(&*groups, "crashed").await?;
        ensure_eq!(crashed.len(), 4, "the second member's share");
        let kept = refs(&kept[..4]);
        world.advance(LEASE / 2).await?;
        let view = groups.beat_member(&alive, &kept).await?;
        ensure_eq!((view.members, view.share, view.free), (2, 4, 0), "before the lease ran out");
        ensure_eq!(groups.claim_partitions(&alive, 8).await?, [], "before the lease ran out");
        world.advance(LEASE * 2 / 3).await?;
        let view = groups.beat_member(&alive, &kept).await?;
        ensure_eq!((view.members, view.share, view.free), (1, 8, 4), "after it ran out");
        ensure_eq!(view.lost, [], "of those that were renewed");
        ensure_eq!(groups.claim_partitions(&alive, 8).await?.len(), 4, "after it ran out");
        Ok(())
    }

    /// What was given back is free at once; a member that left takes no share.
    #[breaks_on(ImmortalMembers)]
    #[needs(Groups)]
    async fn what_is_given_back_is_free_at_once(world: &World) -> Checked {
        let groups = store(world)?;
        groups.ensure_group(&spec(8)).await?;
        let (a, claims) = joined(&*groups, "a").await?;
        groups.release_partitions(&group("g"), &[claims[0].held, claims[0].held]).await?;
        let view = groups.beat_member(&a, &[claims[1].held]).await?;
        ensure_eq!(view.free, 1, "free after one was given back");
        groups.leave(&a).await?;
        groups.leave(&a).await?;
        let (_, all) = joined(&*groups, "b").await?;
        ensure_eq!(all.len(), 8, "after the other left");
        world.advance(LEASE * 2).await?;
        let view = groups.beat_member(&member("c"), &[]).await?;
        ensure_eq!((view.members, view.free), (1, 8), "after everybody was gone");
        Ok(())
    }

    /// Every event of the pattern is in one partition, which every process computes alike, and is read once, in order.
    #[breaks_on(SkippedEvent, ReorderedEvents, GroupIgnoresPattern)]
    #[needs(Groups)]
    async fn every_event_is_in_one_partition(world: &World) -> Checked {
        let groups = store(world)?;
        let names =
            ["flow", "flow:", "flow:a", "flow:a_b", "flow:aXb", "flow:%", "flow:é€😀", "Flow:a", "other", "flow:\u{10ffff}"];
        for round in 0..6 {
            for name in names {
                world.append(name, if round == 3 { "skipped" } else { "e" }).await?;
            }
        }
        let flows = GroupSpec { pattern: pattern("flow:*"), kinds: vec!["e".into()], ..spec(16) };
        groups.ensure_group(&flows).await?;
        let wanted = EventQuery { kinds: vec!["e".into()], ..EventQuery::of(pattern("flow:*")) };
        let wanted: Vec<(u16, u64)> = world
            .events
            .query(&wanted)
            .await?
            .iter()
            .map(|event| (partition_of(event.stream.as_str(), 16), event.id))
            .collect();
        ensure!(wanted.len() == 35, "{} events are of the group", wanted.len());
        let all: Vec<u16> = (0..16).collect();
        for limit in [1, 3, 1000] {
            ensure_eq!(read_all(&*groups, &all, limit).await?, wanted, "all partitions, {limit} at a time");
        }
        let (low, high) = all.split_at(5);
        for part in [low, high] {
            let wanted: Vec<_> = wanted.iter().filter(|(partition, _)| part.contains(partition)).copied().collect();
            ensure_eq!(read_all(&*groups, part, 1000).await?, wanted, "partitions {part:?}");
        }
        Ok(())
    }

    /// A read never says that it looked further than it did, so no cursor moves past what was not delivered.
    #[breaks_on(UpToHead)]
    #[needs(Groups)]
    async fn a_read_looks_no_further_than_it_says(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"; 30]).await?;
        groups.ensure_group(&spec(4)).await?;
        let mine = partition_of("s", 4);
        let from = [ReadFrom { partition: mine, after: 3 }, ReadFrom { partition: (mine + 1) % 4, after: 20 }];
        let read = groups.read_partitions(&group("g"), &from, 5).await?;
        let ids: Vec<u64> = read.events.iter().map(|event| event.event.id).collect();
        ensure_eq!((ids, read.up_to), (vec![4, 5, 6, 7, 8], 8), "a read that was full");
        let read = groups.read_partitions(&group("g"), &from[1..], 5).await?;
        ensure_eq!((read.events.len(), read.up_to), (0, 30), "a read of a partition without events");
        let rest = read_all(&*groups, &[mine], 7).await?;
        ensure_eq!(rest.len(), 30, "everything, seven at a time");
        Ok(())
    }

    /// Failures on an event are counted across owners, with the wait they asked for, until the cursor moves.
    #[breaks_on(ForgetsFailures)]
    #[needs(Groups)]
    async fn failures_are_counted_across_owners(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let g = group("g");
        let (a, claim) = the_one(&*groups, "a").await?;
        ensure_eq!((claim.attempts, claim.wait), (0, secs(0)), "a fresh cursor");
        ensure_eq!(groups.fail_partition(&g, claim.held, 0, secs(5), "first").await?, Some(1), "the first");
        ensure_eq!(groups.fail_partition(&g, claim.held, 1, secs(5), "elsewhere").await?, None, "of another event");
        ensure_eq!(groups.fail_partition(&g, claim.held, 0, secs(60), "second").await?, Some(2), "the second");
        groups.leave(&a).await?;
        world.advance(secs(20)).await?;
        let (_, claim) = the_one(&*groups, "b").await?;
        ensure_eq!((claim.attempts, claim.wait), (2, secs(40)), "what the next owner learns");
        let seen = info(&*groups).await?.partitions.remove(0);
        ensure_eq!((seen.attempts, seen.error.as_deref()), (2, Some("second")), "what people see");
        ensure_eq!(groups.advance(&g, &[step(claim.held, 0, 1)]).await?, [true], "the move");
        ensure_eq!(groups.fail_partition(&g, claim.held, 1, secs(0), "next").await?, Some(1), "the next event");
        Ok(())
    }

    /// A parked event is put aside in the move over it; its stream is behind it, where that is the policy.
    #[breaks_on(LostParked, ForgetsParkedStreams)]
    #[needs(Groups)]
    async fn a_parked_event_is_put_aside_with_the_move(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["bad", "good", "bad"]).await?;
        groups.ensure_group(&GroupSpec { poison: Poison::ParkStream, ..spec(1) }).await?;
        let g = group("g");
        let (_, claim) = the_one(&*groups, "a").await?;
        let aside = ParkedNow {
            position: 1,
            stream: stream("bad"),
            stops_stream: true,
            error: "poison".into(),
            attempts: 5,
        };
        ensure!(!groups.park(&g, &step(claim.held, 1, 2), std::slice::from_ref(&aside)).await?, "a park from elsewhere");
        ensure_eq!(groups.parked(&g, 0, 10).await?.len(), 0, "parked after a refused move");
        ensure!(groups.park(&g, &step(claim.held, 0, 1), &[aside]).await?, "the owner's park was fenced");
        let parked = groups.parked(&g, 0, 10).await?;
        ensure_eq!(parked.len(), 1, "parked events");
        ensure_eq!((parked[0].position, &*parked[0].error, parked[0].attempts), (1, "poison", 5), "what is kept of it");
        ensure_eq!(groups.parked(&g, 1, 10).await?.len(), 0, "parked behind it");
        ensure_eq!((position(&*groups).await?, info(&*groups).await?.parked), (1, 1), "cursor and number");
        let read = groups.read_partitions(&g, &[ReadFrom { partition: 0, after: 1 }], 10).await?;
        let behind: Vec<(u64, bool)> = read.events.iter().map(|event| (event.event.id, event.behind)).collect();
        ensure_eq!(behind, [(2, false), (3, true)], "what comes after it");
        Ok(())
    }

    /// A pause is seen by every member, in every process; a resume ends it.
    #[breaks_on(ForgottenPause, IgnoredOperator)]
    #[needs(Groups)]
    async fn a_group_is_paused_for_every_member(world: &World) -> Checked {
        let groups = store(world)?;
        let other = store(&world.second().await?)?;
        groups.ensure_group(&spec(4)).await?;
        ensure!(groups.pause_group(&group("g")).await?, "the group is there");
        ensure!(other.beat_member(&member("a"), &[]).await?.paused, "a member of another process does not know");
        ensure!(info(&*groups).await?.paused, "people do not see it");
        ensure!(groups.resume_group(&group("g")).await?, "the group is there");
        ensure!(!other.beat_member(&member("a"), &[]).await?.paused, "it is still paused");
        Ok(())
    }

    /// A partition whose event used up its attempts halts, for people to see, until the group is resumed.
    #[breaks_on(ForgetsFailures, IgnoredOperator)]
    #[needs(Groups)]
    async fn a_halted_partition_is_resumed(world: &World) -> Checked {
        let groups = store(world)?;
        groups.ensure_group(&GroupSpec { attempts: 2, ..spec(2) }).await?;
        let (a, claims) = joined(&*groups, "a").await?;
        let (halted, other) = (claims[0].held, claims[1].held);
        for _ in 0..2 {
            groups.fail_partition(&group("g"), halted, 0, secs(600), "no").await?;
        }
        let seen: Vec<bool> = info(&*groups).await?.partitions.iter().map(|one| one.halted).collect();
        ensure_eq!(seen, [true, false], "halted partitions");
        groups.resume_group(&group("g")).await?;
        let view = groups.beat_member(&a, &[halted, other]).await?;
        ensure_eq!((view.lost, view.free), (vec![halted], 1), "its owner must take it anew");
        let again = groups.claim_partitions(&a, 2).await?;
        ensure_eq!(again.len(), 1, "what may be taken");
        ensure_eq!((again[0].attempts, again[0].wait), (0, secs(0)), "its attempts");
        Ok(())
    }

    /// A reset fences whoever is at work, also where the position is the same.
    #[breaks_on(IgnoredReset, OneEpoch)]
    #[needs(Groups)]
    async fn a_reset_fences_who_is_at_work(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s", "s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let g = group("g");
        let (a, claim) = the_one(&*groups, "a").await?;
        ensure_eq!(groups.reset_group(&g, StartFrom::Start).await?, 0, "the position");
        let (_, new) = the_one(&*groups, "b").await?;
        ensure!(!groups.commit(&g, &step(claim.held, 0, 3), &noting("old")).await?, "the old owner's commit was taken");
        ensure_eq!(groups.beat_member(&a, &[claim.held]).await?.lost, [claim.held], "what the old owner is told");
        ensure!(groups.commit(&g, &step(new.held, 0, 3), &noting("new")).await?, "the new owner's commit was fenced");
        Ok(())
    }

    /// A group is reset to a position and to a time; what was parked behind it comes again, and is not parked any more.
    #[breaks_on(IgnoredReset)]
    #[needs(Groups)]
    async fn a_group_is_reset_to_a_position_or_a_time(world: &World) -> Checked {
        let groups = store(world)?;
        let start = world.now().await?;
        for _ in 0..4 {
            append(world, &["s"]).await?;
            world.advance(secs(10)).await?;
        }
        groups.ensure_group(&GroupSpec { start: StartFrom::Now, ..spec(4) }).await?;
        let g = group("g");
        ensure_eq!(groups.reset_group(&g, StartFrom::Time(start + secs(11))).await?, 2, "by time");
        ensure_eq!(position(&*groups).await?, 2, "the cursors");
        ensure_eq!(groups.reset_group(&g, StartFrom::After(1)).await?, 1, "by position");
        ensure_eq!(groups.reset_group(&g, StartFrom::Start).await?, 0, "to the start");
        let answer = groups.reset_group(&g, StartFrom::After(99)).await;
        ensure_matches!(answer, Err(Error::LogWentBack { requested: 99, head: 4 }), "beyond the log");
        ensure_eq!(position(&*groups).await?, 0, "the cursors after a refused reset");
        let (_, claims) = joined(&*groups, "a").await?;
        let held = claims[usize::from(partition_of("s", 4))].held;
        let aside = |position| ParkedNow {
            position,
            stream: stream("s"),
            stops_stream: false,
            error: "no".into(),
            attempts: 1,
        };
        groups.park(&g, &step(held, 0, 3), &[aside(1), aside(3)]).await?;
        groups.reset_group(&g, StartFrom::After(2)).await?;
        let parked: Vec<u64> = groups.parked(&g, 0, 10).await?.iter().map(|parked| parked.position).collect();
        ensure_eq!(parked, [1], "what is still parked");
        Ok(())
    }

    /// A group begins where it was told to, and a start that the log does not reach is refused.
    #[breaks_on(ForgetsStart, SilentRestore)]
    #[needs(Groups)]
    async fn a_group_begins_where_it_is_told(world: &World) -> Checked {
        let groups = store(world)?;
        let start = world.now().await?;
        for _ in 0..3 {
            append(world, &["s"]).await?;
            world.advance(secs(10)).await?;
        }
        let starts = [
            (StartFrom::Start, 0),
            (StartFrom::After(2), 2),
            (StartFrom::Time(start + secs(1)), 1),
            (StartFrom::Now, 3),
        ];
        for (number, (from, wanted)) in starts.into_iter().enumerate() {
            let named = group(&format!("g{number}"));
            groups.ensure_group(&GroupSpec { name: named.clone(), start: from, ..spec(2) }).await?;
            let info = groups.group(&named).await?.ok_or_else(|| Failure::new("the group is gone"))?;
            let positions: Vec<u64> = info.partitions.iter().map(|one| one.position).collect();
            ensure_eq!(positions, [wanted; 2], "cursors of a group from {from:?}");
        }
        let late = GroupSpec { name: group("late"), start: StartFrom::After(9), ..spec(2) };
        let answer = groups.ensure_group(&late).await;
        ensure_matches!(answer, Err(Error::LogWentBack { requested: 9, head: 3 }), "beyond the log");
        ensure_eq!(groups.group(&group("late")).await?, None, "the group that was refused");
        Ok(())
    }

    /// A cursor beyond the log says that an older copy was restored.
    #[breaks_on(SilentRestore)]
    #[needs(Groups)]
    async fn a_cursor_beyond_the_log_is_an_error(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s"]).await?;
        groups.ensure_group(&spec(2)).await?;
        let from = [ReadFrom { partition: 0, after: 1 }, ReadFrom { partition: 1, after: 5 }];
        let read = groups.read_partitions(&group("g"), &from, 10).await;
        ensure_matches!(read, Err(Error::LogWentBack { requested: 5, head: 2 }), "a read from beyond the log");
        Ok(())
    }

    /// What a group consumes and how it is divided stays as it was made; its policies may be written again.
    #[breaks_on(SilentLimit, GroupStartsAnew)]
    #[needs(Groups)]
    async fn a_group_stays_what_it_is(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"]).await?;
        let made = GroupSpec { start: StartFrom::Now, kinds: vec!["b".into(), "a".into()], ..spec(4) };
        ensure!(groups.ensure_group(&made).await?, "a new group was made");
        let same = GroupSpec {
            kinds: vec!["a".into(), "b".into()],
            start: StartFrom::Start,
            poison: Poison::ParkEvent,
            attempts: 9,
            retain: false,
            ..made.clone()
        };
        ensure!(!groups.ensure_group(&same).await?, "the group was there");
        let seen = info(&*groups).await?;
        ensure_eq!((seen.poison, seen.attempts, seen.retain), (Poison::ParkEvent, 9, false), "its policies");
        ensure_eq!(position(&*groups).await?, 1, "its cursors");
        let others = [
            GroupSpec { pattern: pattern("s"), ..made.clone() },
            GroupSpec { kinds: vec!["a".into()], ..made.clone() },
            GroupSpec { partitions: 8, ..made.clone() },
            GroupSpec { name: group("new"), partitions: 3, ..made.clone() },
            GroupSpec { name: group("new"), attempts: 0, ..made.clone() },
        ];
        for other in others {
            let answer = groups.ensure_group(&other).await;
            ensure_matches!(answer, Err(Error::Invalid { .. }), "another group under its name, or an impossible one");
        }
        ensure_eq!(seen, info(&*groups).await?, "the group after all that");
        Ok(())
    }

    /// A group is not deleted under its members; made again, it begins anew.
    #[breaks_on(DeletesUnderMembers)]
    #[needs(Groups)]
    async fn a_group_is_not_deleted_under_its_members(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let g = group("g");
        let (a, claim) = the_one(&*groups, "a").await?;
        groups.advance(&g, &[step(claim.held, 0, 1)]).await?;
        let refused = groups.delete_group(&g).await;
        ensure_matches!(refused, Err(Error::Invalid { .. }), "a group with a live member");
        groups.leave(&a).await?;
        ensure!(groups.delete_group(&g).await?, "the group was there");
        ensure!(!groups.delete_group(&g).await?, "the group is gone");
        ensure!(groups.ensure_group(&spec(1)).await?, "it is a new group");
        ensure_eq!(position(&*groups).await?, 0, "where it begins");
        ensure!(!groups.commit(&g, &step(claim.held, 0, 1), &noting("old")).await?, "an owner of the old group wrote");
        Ok(())
    }

    /// A group whose name would be refused today, from before it was, is seen, steered and deleted like any other.
    #[breaks_on(HidesOldNames)]
    #[needs(Groups)]
    async fn a_group_of_an_older_name_can_be_seen_and_deleted(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"]).await?;
        ensure_matches!(GroupName::new("order: *"), Err(Error::Invalid { .. }), "a name with a space and a star");
        let name = GroupName::stored("order: *")?;
        ensure!(groups.ensure_group(&GroupSpec { name: name.clone(), ..spec(1) }).await?, "it was made");
        let listed: Vec<GroupName> = groups.list_groups().await?.into_iter().map(|info| info.name).collect();
        ensure_eq!(listed, std::slice::from_ref(&name), "the groups");
        let Some(info) = groups.group(&name).await? else { return Err(Failure::new("the group is not seen")) };
        ensure_eq!(info.name, name, "the group that was asked for");
        let holds: Vec<GroupName> = world.events.retention().await?.holds.into_iter().map(|hold| hold.group).collect();
        ensure_eq!(holds, std::slice::from_ref(&name), "who is waited for");
        let before = info.partitions.first().map(|partition| partition.epoch);
        ensure_eq!(groups.reset_group(&name, StartFrom::Now).await?, 1, "where it goes on");
        let after = groups.group(&name).await?.and_then(|info| info.partitions.first().map(|partition| partition.epoch));
        ensure!(after > before, "a reset is a new epoch: {after:?} after {before:?}");
        ensure!(groups.delete_group(&name).await?, "it was there");
        ensure!(groups.list_groups().await?.is_empty(), "it is gone");
        Ok(())
    }

    /// A group that does not exist is nothing for who looks, and an error for who works.
    #[breaks_on(MissingIsError)]
    #[needs(Groups)]
    async fn a_missing_group_is_told(world: &World) -> Checked {
        let groups = store(world)?;
        let g = group("g");
        ensure_eq!(groups.group(&g).await?, None, "a look");
        ensure_eq!((groups.pause_group(&g).await?, groups.resume_group(&g).await?), (false, false), "pause and resume");
        ensure!(!groups.delete_group(&g).await?, "a delete");
        groups.leave(&member("a")).await?;
        groups.release_partitions(&g, &[PartitionRef { partition: 0, epoch: 1 }]).await?;
        let told = |error: &Error| matches!(error, Error::Invalid { what, .. } if what == "group");
        let beat = groups.beat_member(&member("a"), &[]).await;
        ensure_matches!(beat, Err(error) if told(error), "a beat");
        let claim = groups.claim_partitions(&member("a"), 1).await;
        ensure_matches!(claim, Err(error) if told(error), "a claim");
        let read = groups.read_partitions(&g, &[ReadFrom { partition: 0, after: 0 }], 1).await;
        ensure_matches!(read, Err(error) if told(error), "a read");
        let reset = groups.reset_group(&g, StartFrom::Start).await;
        ensure_matches!(reset, Err(error) if told(error), "a reset");
        let held = PartitionRef { partition: 0, epoch: 1 };
        let commit = groups.commit(&g, &step(held, 0, 1), &Effects::default()).await;
        ensure_matches!(commit, Err(error) if told(error), "a commit");
        Ok(())
    }

    /// People see how far a group is, who works in it, and how old its oldest event is.
    #[breaks_on(LyingLag, ReversedListing)]
    #[needs(Groups)]
    async fn people_see_how_far_a_group_is(world: &World) -> Checked {
        let groups = store(world)?;
        groups.ensure_group(&spec(2)).await?;
        groups.ensure_group(&GroupSpec { name: group("another"), ..spec(2) }).await?;
        append(world, &["s"]).await?;
        world.advance(secs(10)).await?;
        append(world, &["s"]).await?;
        let (_, claims) = joined(&*groups, "a").await?;
        let seen = info(&*groups).await?;
        ensure_eq!((seen.head, seen.lag, seen.oldest), (2, 2, Some(secs(10))), "head, lag, age of the oldest");
        groups.advance(&group("g"), &[step(claims[0].held, 0, 2), step(claims[1].held, 0, 1)]).await?;
        let seen = info(&*groups).await?;
        ensure_eq!((seen.lag, seen.oldest), (1, Some(secs(0))), "lag and age of the slower");
        let lags: Vec<u64> = seen.partitions.iter().map(|one| one.lag).collect();
        ensure_eq!(lags, [0, 1], "lags of the partitions");
        ensure_eq!(seen.partitions[0].owner, Some(consumer("a")), "the owner");
        let members: Vec<(&str, u16)> =
            seen.members.iter().map(|member| (member.consumer.as_str(), member.partitions)).collect();
        ensure_eq!(members, [("a", 2)], "members");
        groups.advance(&group("g"), &[step(claims[1].held, 1, 2)]).await?;
        let seen = info(&*groups).await?;
        ensure_eq!((seen.lag, seen.oldest), (0, None), "when all is done");
        let names: Vec<String> = groups.list_groups().await?.iter().map(|info| info.name.to_string()).collect();
        ensure_eq!(names, ["another", "g"], "every group");
        Ok(())
    }

    /// Groups, cursors and failures outlive every process.
    #[breaks_on(Amnesia)]
    #[needs(Groups, Reopen)]
    async fn a_group_outlives_a_restart(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s", "s"]).await?;
        groups.ensure_group(&spec(1)).await?;
        let (a, claim) = the_one(&*groups, "a").await?;
        groups.advance(&group("g"), &[step(claim.held, 0, 1)]).await?;
        groups.fail_partition(&group("g"), claim.held, 1, secs(0), "no").await?;
        groups.pause_group(&group("g")).await?;
        groups.leave(&a).await?;
        let reopened = world.reopen().await?;
        let groups = store(&reopened)?;
        ensure!(!groups.ensure_group(&spec(1)).await?, "the group was there");
        ensure!(info(&*groups).await?.paused, "its pause");
        let (_, claim) = the_one(&*groups, "b").await?;
        ensure_eq!((claim.position, claim.attempts), (1, 1), "its cursor");
        Ok(())
    }

    /// Who waits for the log is woken by what any process appends.
    #[breaks_on(LostWakeUp)]
    #[needs(Groups, Signals)]
    async fn the_log_wakes_its_groups(world: &World) -> Checked {
        let groups = store(world)?;
        append(world, &["s"]).await?;
        world.within("a wake-up for what is there", groups.wait_log(0)).await?;
        let second = world.second().await?;
        let both = async { tokio::join!(groups.wait_log(1), second.append("s", "e")).1 };
        world.within("a wake-up for what another process appends", both).await??;
        Ok(())
    }
}
