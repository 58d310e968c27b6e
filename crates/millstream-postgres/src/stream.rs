//! A stream that a task of its own feeds, and that ends the task when it goes away.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use millstream_core::BoxStream;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};

struct Spawned<T> {
    receiver: mpsc::Receiver<T>,
    _task: JoinSet<()>,
}

impl<T> Stream for Spawned<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.receiver.poll_recv(cx)
    }
}

/// A stream of what the task sends; `buffer` items ahead of its reader.
pub(crate) fn spawned<T, F, R>(home: &Handle, buffer: usize, run: F) -> BoxStream<T>
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<T>) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(buffer);
    let mut task = JoinSet::new();
    task.spawn_on(run(sender), home);
    Box::pin(Spawned { receiver, _task: task })
}
