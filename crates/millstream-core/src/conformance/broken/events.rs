//! The broken log.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures_core::Stream;
use serde_json::Value;

use super::{Broken, Fault};
use crate::{
    Append, Appended, BoxStream, Error, Event, EventQuery, EventStore, GroupStore, Pattern, Result, Retention,
    RetentionInfo, StartFrom,
};

/// One item into any number of others.
struct Mapped<T, F> {
    inner: BoxStream<T>,
    ready: VecDeque<T>,
    change: F,
}

impl<T: Unpin, F: FnMut(T) -> Vec<T> + Unpin> Stream for Mapped<T, F> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Poll::Ready(Some(item));
            }
            match self.inner.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    let changed = (self.change)(item);
                    self.ready.extend(changed);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

pub(super) fn map<T, F>(inner: BoxStream<T>, change: F) -> BoxStream<T>
where
    T: Unpin + Send + 'static,
    F: FnMut(T) -> Vec<T> + Unpin + Send + 'static,
{
    Box::pin(Mapped { inner, ready: VecDeque::new(), change })
}

/// Which events suffer: every third.
fn is_unlucky(event: &Event) -> bool {
    event.id % 3 == 2
}

impl Broken {
    fn spoiled_event(&self, mut event: Event) -> Event {
        if self.has(Fault::BareEvents) {
            event.data = Value::Null;
            (event.run_id, event.step_id, event.attempt) = (None, None, None);
        }
        if self.has(Fault::WrongVersions) {
            event.version = event.version.map(|_| 1);
        }
        if self.has(Fault::GapInPositions) {
            event.id *= 2;
        }
        event
    }

    fn spoiled_page(&self, mut events: Vec<Event>) -> Vec<Event> {
        if self.has(Fault::SkippedEvent) {
            events.retain(|event| !is_unlucky(event));
        }
        if self.has(Fault::DoubleEvent) {
            events = events.into_iter().flat_map(|event| vec![event; 2]).collect();
        }
        if self.has(Fault::ReorderedEvents) && events.len() > 1 {
            events.swap(0, 1);
        }
        events.into_iter().map(|event| self.spoiled_event(event)).collect()
    }

    fn spoiled_append(&self, mut append: Append) -> Append {
        if self.has(Fault::BlindExpected) {
            append.expected = None;
        }
        if self.has(Fault::ForgottenKey) {
            append.key = None;
        }
        append
    }

    async fn append_badly(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        match self.inner.events.append(batch).await {
            Err(error) if self.has(Fault::PartialBatch) => {
                for append in batch {
                    if self.inner.events.append(std::slice::from_ref(append)).await.is_err() {
                        for event in &append.events {
                            let one = Append { events: vec![event.clone()], ..append.clone() };
                            if self.inner.events.append(&[one]).await.is_err() {
                                break;
                            }
                        }
                        break;
                    }
                }
                Err(error)
            }
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => {
                Ok(batch.iter().map(|_| Appended { version: None, positions: None, duplicate: false }).collect())
            }
            Err(Error::Invalid { got, expected, .. }) if self.has(Fault::NamelessErrors) => {
                Err(Error::Invalid { what: "append".into(), got, expected })
            }
            answer => answer,
        }
    }

    /// Every event of a LIKE pattern.
    async fn query_like(&self, query: &EventQuery) -> Result<Vec<Event>> {
        let text = query.pattern.to_string();
        let all = EventQuery { pattern: Pattern::All, ..query.clone() };
        let mut events = self.inner.events.query(&all).await?;
        events.retain(|event| like(&text.replace('*', "%"), event.stream.as_str()));
        Ok(events)
    }
}

/// SQL's LIKE.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('%') => {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(chars.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let mut rest = text.chars();
            rest.next().is_some_and(|found| wanted == '_' || wanted == found) && like(chars.as_str(), rest.as_str())
        }
    }
}

#[async_trait]
impl EventStore for Broken {
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>> {
        let spoiled: Vec<Append> = batch.iter().map(|append| self.spoiled_append(append.clone())).collect();
        let mut answers = self.append_badly(&spoiled).await?;
        if self.has(Fault::ShuffledAnswers) {
            answers.reverse();
        }
        for answer in &mut answers {
            if self.has(Fault::GapInPositions) {
                answer.positions = answer.positions.map(|(first, last)| (first * 2, last * 2));
            }
            if self.has(Fault::WrongVersions) {
                answer.version = answer.version.map(|_| 1);
            }
        }
        Ok(answers)
    }

    async fn query(&self, query: &EventQuery) -> Result<Vec<Event>> {
        if self.has(Fault::LikePattern) {
            return self.query_like(query).await;
        }
        let mut query = query.clone();
        if self.has(Fault::IgnoresQuery) {
            query = EventQuery { after: query.after, ..EventQuery::of(query.pattern) };
        }
        let events = self.inner.events.query(&query).await?;
        Ok(self.spoiled_page(events))
    }

    async fn subscribe(&self, pattern: &Pattern, from: StartFrom) -> Result<BoxStream<Result<Event>>> {
        let mut from = from;
        if self.has(Fault::ForgetsStart) {
            from = StartFrom::Start;
        }
        let head = self.inner.events.head().await?;
        if let StartFrom::After(position) = from
            && position > head
            && self.has(Fault::SilentRestore)
        {
            from = StartFrom::Now;
        }
        if let StartFrom::After(position) = from
            && self.has(Fault::SilentTruncation)
            && position + 1 < self.inner.events.retention().await?.first
        {
            from = StartFrom::Start;
        }
        let wanted = if self.has(Fault::LikePattern) { Pattern::All } else { pattern.clone() };
        let stream = self.inner.events.subscribe(&wanted, from).await?;
        Ok(self.spoiled_stream(stream, pattern, head))
    }

    async fn retention(&self) -> Result<RetentionInfo> {
        self.inner.events.retention().await
    }

    async fn set_retention(&self, retention: Option<&Retention>) -> Result<()> {
        if self.has(Fault::IgnoredOperator) {
            return Ok(());
        }
        match self.inner.events.set_retention(retention).await {
            Err(Error::Invalid { .. }) if self.has(Fault::SilentLimit) => Ok(()),
            answer => answer,
        }
    }

    async fn expire_events(&self) -> Result<u64> {
        if self.has(Fault::NeverSweeps) {
            return Ok(0);
        }
        if self.has(Fault::RetentionForgetsGroups) {
            self.let_go().await?;
        }
        self.inner.events.expire_events().await
    }

    fn groups(&self) -> Result<Arc<dyn GroupStore>> {
        self.inner.events.groups()?;
        match self.me.upgrade() {
            Some(me) => Ok(me),
            None => Err(Error::Closed { what: "broken store" }),
        }
    }

    async fn head(&self) -> Result<u64> {
        let head = self.inner.events.head().await?;
        Ok(if self.has(Fault::GapInPositions) { head * 2 } else { head })
    }
}

impl Broken {
    fn spoiled_stream(
        &self,
        stream: BoxStream<Result<Event>>,
        pattern: &Pattern,
        head: u64,
    ) -> BoxStream<Result<Event>> {
        if self.has(Fault::LikePattern) {
            let text = pattern.to_string().replace('*', "%");
            return keep(stream, move |event| like(&text, event.stream.as_str()));
        }
        if self.has(Fault::SkippedEvent) {
            return keep(stream, |event| !is_unlucky(event));
        }
        if self.has(Fault::DeafSubscribe) {
            return keep(stream, move |event| event.id <= head);
        }
        if self.has(Fault::DoubleEvent) {
            return map(stream, |item| match item {
                Ok(event) if is_unlucky(&event) => vec![Ok(event.clone()), Ok(event)],
                other => vec![other],
            });
        }
        if self.has(Fault::ReorderedEvents) {
            let mut kept: Option<Result<Event>> = None;
            return map(stream, move |item| match kept.take() {
                None => {
                    kept = Some(item);
                    Vec::new()
                }
                Some(earlier) => vec![item, earlier],
            });
        }
        stream
    }
}

fn keep(
    stream: BoxStream<Result<Event>>,
    keep: impl Fn(&Event) -> bool + Send + Unpin + 'static,
) -> BoxStream<Result<Event>> {
    map(stream, move |item| match item {
        Ok(event) if !keep(&event) => Vec::new(),
        other => vec![other],
    })
}
