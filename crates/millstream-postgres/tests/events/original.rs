//! The original design, kept to show that the key checks can tell: ids from a sequence as positions, a cursor over them,
//! a row trigger that notifies, subscriptions that backfill and then listen.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::{
    log::{Log, Reader, run},
    world,
};

/// Longer than anything takes that ever comes.
const PATIENCE: Duration = Duration::from_secs(10);

const TABLES: &str = "
    create schema original;
    create table original.events (id bigserial primary key, stream text not null, type text not null);
    create function original.tell() returns trigger language plpgsql as $$
    begin
        perform pg_notify('original', json_build_object('id', new.id, 'type', new.type)::text);
        return new;
    end $$;
    create trigger tell after insert on original.events for each row execute function original.tell();
";

pub(crate) struct Original {
    pub(crate) url: String,
    pub(crate) client: Client,
    _driver: JoinSet<()>,
}

impl Original {
    pub(crate) async fn open(url: &str) -> Self {
        let (client, driver) = world::connect(url).await;
        run(&client, TABLES).await;
        Self { url: url.to_owned(), client, _driver: driver }
    }

    pub(crate) async fn add(&self, mark: &str) {
        run(&self.client, &self.append("s", mark)).await;
    }

    /// A connection that can listen, and does not yet.
    pub(crate) async fn deaf(&self) -> Cursor {
        let (client, mut wire) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        let (sender, notes) = mpsc::unbounded_channel();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| wire.poll_message(cx)).await {
                if let AsyncMessage::Notification(note) = message {
                    // Nobody reads the rest of a test that is over.
                    let _ = sender.send(note.payload().to_owned());
                }
            }
        });
        Cursor { client, notes, last: 0, marks: Vec::new(), _driver: driver }
    }
}

impl Log for Original {
    type Reader = Cursor;

    fn append(&self, stream: &str, mark: &str) -> String {
        format!("insert into original.events (stream, type) values ('{stream}', '{mark}')")
    }

    async fn reader(&self) -> Cursor {
        let mut cursor = self.deaf().await;
        cursor.listen().await;
        cursor.backfill().await;
        cursor
    }
}

/// A subscription of the original.
pub(crate) struct Cursor {
    client: Client,
    notes: mpsc::UnboundedReceiver<String>,
    last: i64,
    pub(crate) marks: Vec<String>,
    _driver: JoinSet<()>,
}

impl Cursor {
    pub(crate) async fn listen(&self) {
        run(&self.client, "listen original").await;
    }

    /// What lies above the cursor.
    pub(crate) async fn backfill(&mut self) {
        let above = "select id, type from original.events where id > $1 order by id";
        for row in self.client.query(above, &[&self.last]).await.unwrap() {
            self.last = row.get(0);
            self.marks.push(row.get(1));
        }
    }

    /// The notifications of everything that is committed by now. False: the connection is gone.
    async fn notes(&mut self) -> Option<Vec<String>> {
        // A session answers after it has passed on what it was notified of.
        for _ in 0..2 {
            self.client.batch_execute("select 1").await.ok()?;
        }
        Some(std::iter::from_fn(|| self.notes.try_recv().ok()).collect())
    }

    /// A notification is a reason to read on. False: the connection is gone.
    pub(crate) async fn hear(&mut self) -> bool {
        match self.notes().await {
            Some(notes) if notes.is_empty() => true,
            Some(_) => {
                self.backfill().await;
                true
            }
            None => false,
        }
    }

    /// A notification is the event.
    pub(crate) async fn hear_events(&mut self) {
        for note in self.notes().await.unwrap() {
            let event: serde_json::Value = serde_json::from_str(&note).unwrap();
            self.marks.push(event["type"].as_str().unwrap().to_owned());
        }
    }

    /// The session as the server knows it.
    pub(crate) async fn pid(&self) -> i32 {
        self.client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
    }
}

impl Reader for Cursor {
    #[expect(clippy::disallowed_methods, reason = "how long a test waits")]
    async fn until(&mut self, mark: &str) -> Vec<String> {
        let begun = Instant::now();
        let mut seen = Vec::new();
        while begun.elapsed() < PATIENCE && self.hear().await {
            seen.append(&mut self.marks);
            if seen.iter().any(|seen| seen == mark) {
                break;
            }
        }
        seen
    }
}
