//! `millstream events groups`.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use millstream::{
    GroupInfo, GroupName, GroupSpec, GroupStore, PARTITIONS_DEFAULT, Parked, Pattern, Poison, StartFrom,
    limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX},
};
use serde_json::json;

use super::start_from;
use crate::{
    failure::Failure,
    output::{Output, Table, plain, time},
    session::Session,
};

/// How much of an error a line shows.
const ERROR_CHARS_MAX: usize = 80;

/// Look at consumer groups and steer them.
#[derive(Debug, Subcommand)]
pub(crate) enum Groups {
    /// Every group with its members, its partitions and how far it is behind.
    List,
    /// One group: who is in it, and where each partition stands.
    Show(One),
    /// Make a group before its consumers come; they find it by its name.
    Create(Create),
    /// Begin again from elsewhere: a position, a time, the start, or now.
    Reset(Reset),
    /// Let no consumer of any process take events, until the group is resumed.
    Pause(One),
    /// End a pause, and let halted partitions try again.
    Resume(One),
    /// Remove a group that has no live member, with its positions; a consumer that only unsubscribes leaves them.
    Delete(One),
    /// Events that were put aside because their handler kept failing.
    Parked(Aside),
    /// Not there yet: give parked events to the handler again.
    Unpark(One),
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The group.
    #[arg(value_parser = there)]
    group: GroupName,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The group.
    group: GroupName,
    /// The streams: `*`, a name, or a prefix as in 'nq:flow:*'.
    #[arg(default_value = "*")]
    pattern: Pattern,
    /// Only events of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Where to begin: `start`, `now`, a position, or a time.
    #[arg(long, default_value = "start", value_parser = start_from, allow_hyphen_values = true)]
    from: StartFrom,
    /// How many consumers can share the work: a power of two.
    #[arg(long, value_name = "N", default_value_t = PARTITIONS_DEFAULT)]
    partitions: u16,
    /// What becomes of an event that always fails: stop, `park_event` or `park_stream`.
    #[arg(long, value_name = "POLICY", default_value = "stop")]
    poison: Poison,
    /// How often the handler is tried on one event.
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts: u32,
    /// Retention does not wait for it.
    #[arg(long)]
    no_retain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The group.
    #[arg(value_parser = there)]
    group: GroupName,
    /// Everything after this position comes again, or from this time on: `start`, `now`, a position, or a time.
    #[arg(long, value_parser = start_from, allow_hyphen_values = true)]
    to: StartFrom,
}

#[derive(Debug, Args)]
pub(crate) struct Aside {
    /// The group.
    #[arg(value_parser = there)]
    group: GroupName,
    /// Only events after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0, value_parser = crate::args::number, allow_hyphen_values = true)]
    after: u64,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = PAGE_ROWS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ROWS_MAX)))]
    limit: u32,
}

impl Groups {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let store = session.stores.events.groups()?;
        match self {
            Self::List => list(&*store, &session.output).await,
            Self::Show(one) => one.show(&*store, &session.output).await,
            Self::Create(create) => create.run(&*store, &session.output).await,
            Self::Reset(reset) => reset.run(&*store, &session.output).await,
            Self::Pause(one) => one.pause(&*store, &session.output, true).await,
            Self::Resume(one) => one.pause(&*store, &session.output, false).await,
            Self::Delete(one) => one.delete(&*store, &session.output).await,
            Self::Parked(aside) => aside.run(&*store, &session.output).await,
            Self::Unpark(one) => one.unpark(&*store).await,
        }
    }
}

/// A group that may be older than the rules of names: who has one must be able to delete it.
fn there(text: &str) -> millstream::Result<GroupName> {
    GroupName::stored(text)
}

fn missing(group: &GroupName) -> Failure {
    Failure::new(format!("there is no group `{group}`"))
}

async fn list(store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
    let groups = store.list_groups().await?;
    output.either(&groups, || table(&groups, output))?;
    if groups.is_empty() {
        output.talk("no groups yet: a group begins with its first consumer, or with `events groups create`");
    }
    Ok(())
}

fn table(groups: &[GroupInfo], output: &Output) -> String {
    let mut table = Table::new(["GROUP", "PATTERN", "MEMBERS", "PARTITIONS", "LAG", "OLDEST", "PARKED", "STATE"]);
    for group in groups {
        let numbers =
            [group.members.len() as u64, group.partitions.len() as u64, group.lag, group.parked].map(|n| n.to_string());
        let [members, partitions, lag, parked] = numbers;
        let pattern = plain(&group.pattern);
        let name = plain(group.name.as_str());
        table.row([name, pattern, members, partitions, lag, age(group.oldest), parked, state(group)]);
    }
    table.text(output)
}

/// What people must know of a group at a glance.
fn state(group: &GroupInfo) -> String {
    let halted = group.partitions.iter().filter(|partition| partition.halted).count();
    match (group.paused, halted) {
        (true, _) => "paused".to_owned(),
        (false, 0) if is_idle(group) => "idle".to_owned(),
        (false, 0) => String::new(),
        (false, halted) => format!("{halted} halted"),
    }
}

/// Whether it is behind, and nobody does anything about it.
fn is_idle(group: &GroupInfo) -> bool {
    group.members.is_empty() && group.lag > 0
}

/// How long ago, in the greatest unit that fits.
fn age(age: Option<Duration>) -> String {
    let Some(age) = age else { return "-".into() };
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

impl One {
    async fn find(&self, store: &dyn GroupStore) -> Result<GroupInfo, Failure> {
        store.group(&self.group).await?.ok_or_else(|| missing(&self.group))
    }

    async fn show(&self, store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
        let group = self.find(store).await?;
        output.either(&group, || shown(&group, output))
    }

    async fn pause(&self, store: &dyn GroupStore, output: &Output, paused: bool) -> Result<(), Failure> {
        let there =
            if paused { store.pause_group(&self.group).await? } else { store.resume_group(&self.group).await? };
        if !there {
            return Err(missing(&self.group));
        }
        if output.json {
            output.json(&json!({ "group": self.group, "paused": paused }))?;
        }
        let done = if paused { "paused" } else { "resumed" };
        output.talk(format_args!("{done} group `{}`", self.group));
        Ok(())
    }

    async fn delete(&self, store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
        if !store.delete_group(&self.group).await? {
            return Err(missing(&self.group));
        }
        if output.json {
            output.json(&json!({ "group": self.group, "deleted": true }))?;
        }
        output.talk(format_args!("deleted group `{}`", self.group));
        Ok(())
    }

    /// Refused by name, after what would be refused anyhow.
    async fn unpark(&self, store: &dyn GroupStore) -> Result<(), Failure> {
        self.find(store).await?;
        Err(Failure::new("unparking is not there yet: to have parked events again, reset the group to before them"))
    }
}

fn shown(group: &GroupInfo, output: &Output) -> String {
    let kinds: Vec<String> = group.types.iter().map(|kind| plain(kind)).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(", types {}", kinds.join(", ")) };
    let retain = if group.retain { "retention waits for it" } else { "retention does not wait for it" };
    let paused = if group.paused { "; paused" } else { "" };
    let pattern = plain(&group.pattern);
    let mut text = format!("group {} of `{pattern}`{kinds}{paused}\n", plain(group.name.as_str()));
    text += &format!("after {} attempts: {}; {retain}\n", group.attempts, group.poison);
    text += &format!("lag {} of {}, oldest {}, parked {}\n\n", group.lag, group.head, age(group.oldest), group.parked);
    let mut members = Table::new(["MEMBER", "ID", "PARTITIONS", "LAST SEEN"]);
    for member in &group.members {
        let (name, id) = (plain(member.consumer.as_str()), plain(&member.id));
        members.row([name, id, member.partitions.to_string(), time(member.last_seen)]);
    }
    let mut partitions = Table::new(["PARTITION", "POSITION", "LAG", "OWNER", "ATTEMPTS", "ERROR"]);
    for partition in &group.partitions {
        let owner = partition.owner.as_ref().map_or_else(|| "-".to_owned(), |owner| plain(owner.as_str()));
        let error = partition.error.as_deref().map(|error| crate::args::shortened(&plain(error), ERROR_CHARS_MAX));
        let halted = if partition.halted { "halted: " } else { "" };
        let error = format!("{halted}{}", error.unwrap_or_default());
        let numbers = [u64::from(partition.partition), partition.position, partition.lag, partition.attempts.into()];
        let [number, position, lag, attempts] = numbers.map(|number| number.to_string());
        partitions.row([number, position, lag, owner, attempts, error]);
    }
    if group.members.is_empty() {
        text += "no members\n";
        if is_idle(group) && group.retain {
            text += "while nobody works it, the log keeps every event that it has not done: delete it, reset it to now, \
                     or create it again with --no-retain\n";
        }
        text += "\n";
    } else {
        text += &format!("{}\n\n", members.text(output));
    }
    text + &partitions.text(output)
}

impl Create {
    async fn run(&self, store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
        let spec = GroupSpec {
            kinds: self.kinds.iter().map(|kind| Arc::from(kind.as_str())).collect(),
            partitions: self.partitions,
            start: self.from,
            poison: self.poison,
            attempts: self.attempts,
            retain: !self.no_retain,
            ..GroupSpec::new(self.group.clone(), self.pattern.clone())
        };
        let created = store.ensure_group(&spec).await?;
        if output.json {
            output.json(&json!({ "group": self.group, "created": created }))?;
        }
        let (group, pattern) = (&self.group, &self.pattern);
        match created {
            true => output.talk(format_args!("created group `{group}` of `{pattern}`")),
            false => {
                output.talk(format_args!("group `{group}` was there; policy, attempts and retention are as given now"))
            }
        }
        Ok(())
    }
}

impl Reset {
    async fn run(&self, store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
        if store.group(&self.group).await?.is_none() {
            return Err(missing(&self.group));
        }
        let position = store.reset_group(&self.group, self.to).await?;
        output.either(&json!({ "group": self.group, "position": position }), || position.to_string())?;
        output.talk(format_args!("group `{}` goes on after position {position}", self.group));
        Ok(())
    }
}

impl Aside {
    async fn run(&self, store: &dyn GroupStore, output: &Output) -> Result<(), Failure> {
        if store.group(&self.group).await?.is_none() {
            return Err(missing(&self.group));
        }
        let parked = store.parked(&self.group, self.after, self.limit).await?;
        output.either(&parked, || parked_table(&parked, output))
    }
}

fn parked_table(parked: &[Parked], output: &Output) -> String {
    let mut table = Table::new(["POSITION", "STREAM", "WITH STREAM", "ATTEMPTS", "PARKED AT", "ERROR"]);
    for event in parked {
        let with_stream = if event.stops_stream { "yes" } else { "" };
        let error = crate::args::shortened(&plain(&event.error), ERROR_CHARS_MAX);
        let (position, attempts) = (event.position.to_string(), event.attempts.to_string());
        table.row([position, plain(event.stream.as_str()), with_stream.into(), attempts, time(event.parked_at), error]);
    }
    table.text(output)
}
