//! `millstream events`.

mod groups;
mod retention;

use std::sync::Arc;

use clap::{Args, Subcommand};
use millstream::{
    Append, Direction, Event, EventQuery, NewEvent, Pattern, StartFrom, StreamName, Timestamp,
    limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX},
};
use serde_json::Value;

use crate::{
    args,
    failure::Failure,
    output::{Output, Table, brief, plain, time},
    session::{Interrupts, Session, next},
};

/// How much of an event's data a line shows.
const DATA_CHARS_MAX: usize = 80;

/// Read the event log, follow it, add to it.
#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Events that are in the log.
    Query(Query),
    /// Add an event to a stream.
    Append(Box<Add>),
    /// Events as they come, until Ctrl-C.
    Tail(Tail),
    /// Look at consumer groups and steer them.
    #[command(subcommand)]
    Groups(groups::Groups),
    /// How long the log keeps events: look, set, and remove now what is past it.
    #[command(subcommand)]
    Retention(retention::Retention),
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The streams: `*`, a name, or a prefix as in 'nq:flow:*'.
    #[arg(default_value = "*")]
    pattern: Pattern,
    /// Only events of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Only events after this position.
    #[arg(long, value_name = "POSITION", value_parser = args::number, allow_hyphen_values = true)]
    after: Option<u64>,
    /// Only events up to this position.
    #[arg(long, value_name = "POSITION", value_parser = args::number, allow_hyphen_values = true)]
    up_to: Option<u64>,
    /// Only events at or after this time.
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    since: Option<Timestamp>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    until: Option<Timestamp>,
    /// The newest first.
    #[arg(long)]
    backward: bool,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = PAGE_ROWS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_ROWS_MAX)))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The stream; it begins with its first event.
    stream: StreamName,
    /// The event's type, such as `order.paid`.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// The event's data as JSON; `-` reads it from stdin.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Only if the stream holds this many events.
    #[arg(long, value_name = "VERSION", value_parser = args::number, allow_hyphen_values = true)]
    expected: Option<u64>,
    /// Makes a repeat harmless: a second append under this key writes nothing.
    #[arg(long)]
    key: Option<String>,
    /// The run it belongs to.
    #[arg(long, value_name = "ID", requires = "flow")]
    run_id: Option<String>,
    /// The flow of that run.
    #[arg(long, value_name = "NAME", requires = "run_id")]
    flow: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The streams: `*`, a name, or a prefix as in 'nq:flow:*'.
    #[arg(default_value = "*")]
    pattern: Pattern,
    /// Where to begin: `now`, `start`, a position, or a time.
    #[arg(long, default_value = "now", value_parser = start_from, allow_hyphen_values = true)]
    from: StartFrom,
    /// Goes on with what comes. It always does; this is for who is used to `tail -f`.
    #[arg(long, short)]
    follow: bool,
    /// End after this many events.
    #[arg(long, value_name = "N", value_parser = args::at_least_one, allow_hyphen_values = true)]
    limit: Option<u64>,
}

fn start_from(text: &str) -> Result<StartFrom, String> {
    match text {
        "now" => Ok(StartFrom::Now),
        "start" => Ok(StartFrom::Start),
        _ => match (text.parse().map(StartFrom::After), text.parse().map(StartFrom::Time)) {
            (Ok(position), _) => Ok(position),
            (_, Ok(time)) => Ok(time),
            _ => {
                Err(format!("expected now, start, a position, or a time such as {}, got {text:?}", args::TIME_EXAMPLE))
            }
        },
    }
}

impl Events {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Query(query) => query.run(session).await,
            Self::Append(add) => add.run(session).await,
            Self::Tail(tail) => tail.run(session).await,
            Self::Groups(groups) => groups.run(session).await,
            Self::Retention(retention) => retention.run(session).await,
        }
    }
}

impl Query {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let query = EventQuery {
            kinds: self.kinds.iter().map(|kind| Arc::from(kind.as_str())).collect(),
            after: self.after,
            up_to: self.up_to,
            since: self.since,
            until: self.until,
            limit: self.limit,
            direction: if self.backward { Direction::Backward } else { Direction::Forward },
            ..EventQuery::of(self.pattern.clone())
        };
        let events = session.stores.events.query(&query).await?;
        if session.output.json {
            return events.iter().try_for_each(|event| session.output.json(event));
        }
        session.output.data(table(&events, &session.output))?;
        if u32::try_from(events.len()).is_ok_and(|rows| rows == self.limit)
            && let Some(last) = events.last()
        {
            let flag = if self.backward { "--up-to" } else { "--after" };
            let position = if self.backward { last.id.saturating_sub(1) } else { last.id };
            session.output.talk(format_args!("perhaps more: {flag} {position}"));
        }
        Ok(())
    }
}

fn table(events: &[Event], output: &Output) -> String {
    let mut table = Table::new(["POSITION", "TIME", "STREAM", "TYPE", "DATA"]);
    for event in events {
        let data = brief(&event.data, DATA_CHARS_MAX);
        table.row([event.id.to_string(), time(event.ts), plain(event.stream.as_str()), plain(&event.kind), data]);
    }
    table.text(output)
}

impl Add {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let data = self.data.as_deref().map(|text| args::json("--data", text)).transpose()?;
        let mut event = NewEvent::new(self.kind.as_str(), data.unwrap_or(Value::Null));
        if let (Some(run), Some(flow)) = (&self.run_id, &self.flow) {
            event = event.run(run.as_str(), flow.as_str());
        }
        let after = session.stores.events.head().await?;
        let mut append = Append::one(self.stream.clone(), event.clone());
        append.expected = self.expected;
        append.key = self.key.as_deref().map(Into::into);
        for mut appended in session.stores.events.append(&[append]).await? {
            if appended.positions.is_none() && !appended.duplicate {
                appended.positions = self.position(session, after, &event).await.map(|position| (position, position));
            }
            let position = appended.positions.map_or_else(|| "-".to_owned(), |(first, _)| first.to_string());
            session.output.either(&appended, || position)?;
            if appended.duplicate {
                session.output.talk("nothing was written: this key was used before");
            } else if appended.positions.is_none() {
                session.output.talk("written; its position is not known yet");
            }
        }
        Ok(())
    }

    /// The event's position in a store that numbers events after their commit: a query numbers what is committed. `None`
    /// where that does not find it: the event is written, and the command has done what it was told.
    async fn position(&self, session: &Session, after: u64, event: &NewEvent) -> Option<u64> {
        let query = EventQuery {
            kinds: vec![event.kind.clone()],
            after: Some(after),
            ..EventQuery::of(Pattern::Exact(self.stream.clone()))
        };
        let since = session.stores.events.query(&query).await.ok()?;
        // Where others append to the stream at this moment, by what is in it.
        let is_it = |found: &&Event| found.data == event.data && found.run_id == event.run_id;
        let found = if since.len() == 1 { since.first() } else { since.iter().find(is_it) };
        found.map(|found| found.id)
    }
}

impl Tail {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut events = session.stores.events.subscribe(&self.pattern, self.from).await?;
        session.output.talk(format_args!("following `{}`; Ctrl-C ends", self.pattern));
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let event = tokio::select! {
                event = next(&mut events) => event,
                () = interrupts.next() => return Ok(()),
            };
            let Some(event) = event else { return Err(Failure::new("the event log ended")) };
            let event = event?;
            session.output.either(&event, || line(&event, &session.output))?;
            left -= 1;
        }
        Ok(())
    }
}

fn line(event: &Event, output: &Output) -> String {
    let data = brief(&event.data, DATA_CHARS_MAX);
    let (stream, kind) = (plain(event.stream.as_str()), plain(&event.kind));
    format!("{} {} {stream} {kind} {data}", event.id, output.faint(&time(event.ts)))
}
