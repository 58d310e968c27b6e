//! `millstream watch`.

use clap::Args;
use millstream::{QueueEvent, QueueName};

use crate::{
    failure::Failure,
    output::{Output, brief, time},
    session::{Interrupts, Session, next},
};

/// Follow what happens in a queue, in every process, until Ctrl-C.
///
/// For people: who watches too slowly misses some. `queue.events=all` puts every event into the event log, for
/// `millstream events tail`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The queue.
    queue: QueueName,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Watch {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut events = session.stores.queue.watch(&self.queue).await?;
        session.output.talk(format_args!("watching queue `{}`; Ctrl-C ends", self.queue));
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let event = tokio::select! {
                event = next(&mut events) => event,
                () = interrupts.next() => return Ok(()),
            };
            let Some(event) = event else { return Err(Failure::new("the store was closed")) };
            session.output.either(&event, || line(&event, &session.output))?;
            left -= 1;
        }
        Ok(())
    }
}

fn line(event: &QueueEvent, output: &Output) -> String {
    const DATA_CHARS_MAX: usize = 80;
    let mut text = format!("{} {:<9}", output.faint(&time(event.at)), event.kind.as_str());
    if let Some(job) = &event.job {
        text.push_str(&format!(" {job}"));
    }
    if let Some(name) = &event.name {
        text.push_str(&format!(" {name}"));
    }
    if let Some(attempt) = event.attempt {
        text.push_str(&format!(" attempt {attempt}"));
    }
    if let Some(data) = &event.data {
        text.push_str(&format!(" {}", brief(data, DATA_CHARS_MAX)));
    }
    text
}
