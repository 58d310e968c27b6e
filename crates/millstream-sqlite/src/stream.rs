//! A stream from a step function: no task behind it, so it ends when it is dropped.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use millstream_core::BoxStream;

/// What one step answers: an item and the state to go on from; `None`: the end.
pub(crate) type Step<T, S> = Pin<Box<dyn Future<Output = Option<(T, S)>> + Send>>;

/// The stream of what `step` gives from `state` on.
pub(crate) fn unfold<T: Send + 'static, S: Send + Unpin + 'static>(
    state: S,
    step: fn(S) -> Step<T, S>,
) -> BoxStream<T> {
    Box::pin(Unfold { state: Some(state), running: None, step })
}

struct Unfold<T, S> {
    /// Where it goes on, between steps.
    state: Option<S>,
    /// The step under way.
    running: Option<Step<T, S>>,
    step: fn(S) -> Step<T, S>,
}

impl<T, S: Unpin> Stream for Unfold<T, S> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.running = Some((this.step)(state));
        }
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        let stepped = ready!(running.as_mut().poll(cx));
        this.running = None;
        Poll::Ready(stepped.map(|(item, state)| {
            this.state = Some(state);
            item
        }))
    }
}
