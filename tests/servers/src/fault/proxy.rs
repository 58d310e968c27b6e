//! A proxy that breaks what goes through it, when told.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    thread::{self, JoinHandle},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::framing::{Dialect, Framing};
use crate::{Error, Result, port};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What a client says.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// Stands between clients and a Postgres server or a PgBouncer, and counts the protocol's messages each way.
///
/// It runs on a thread of its own, so that it works for a test that blocks its runtime, and its methods return when
/// what they say is so. What it passes on is never changed; a broken connection ends in front of a whole message.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// At most one for each thread that calls: each waits for the answer to its own.
    orders: Option<mpsc::UnboundedSender<(Order, std_mpsc::Sender<io::Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Cut,
    Refuse,
    Accept,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    /// Set by the methods, read before each message.
    trigger: Mutex<Option<Trigger>>,
    /// Written by the methods and by a trigger; every connection waits for it to become false.
    stalled: watch::Sender<bool>,
    passed: [AtomicU64; 2],
    connections: AtomicUsize,
    /// The proxy's own ports of its connections to the server; written by each connection, and by a cut.
    ports: Mutex<BTreeSet<u16>>,
}

#[derive(Clone, Copy, Debug)]
struct Trigger {
    direction: Direction,
    left: u64,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Cut,
    /// And again after so many messages.
    CutAgain(Gaps),
    Stall,
}

/// How many messages pass between two cuts: random, and the same for the same seed.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    state: u64,
    longest: u64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `server`.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            server,
            trigger: Mutex::new(None),
            stalled: watch::Sender::new(false),
            passed: [const { AtomicU64::new(0) }; 2],
            connections: AtomicUsize::new(0),
            ports: Mutex::default(),
        });
        let failed = |error: io::Error| Error::new(format!("failed to start a proxy to {server}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        // Without blocking on the runtime: whoever starts a proxy may be in one of his own.
        let (address, listener) = port::taken(|address| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let _inside = runtime.enter();
            TcpListener::from_std(listener)
        })?;
        let (orders, taken) = mpsc::unbounded_channel();
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || runtime.block_on(serve(listener, address, taken, of_thread)));
        Ok(Self { address, shared, orders: Some(orders), thread: Some(thread) })
    }

    /// Where it listens; the same after [`Proxy::refuse`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets `messages` more pass in this direction, counted over all connections; the connection that carries the
    /// next one is cut in its place. Once: whoever connects again gets through.
    ///
    /// To the server, a request is lost; to the client, the answer to one that was carried out. Takes the place of
    /// another order of this kind.
    pub fn cut_after(&self, direction: Direction, messages: u64) {
        self.arm(Trigger { direction, left: messages, then: Then::Cut });
    }

    /// Cuts one connection after another, until [`Proxy::heal`]: each time the one whose turn it is after a random number
    /// of messages in this direction, at most `longest`. The same seed gives the same numbers.
    pub fn cut_at_random(&self, direction: Direction, seed: u64, longest: u64) {
        let mut gaps = Gaps { state: seed, longest };
        self.arm(Trigger { direction, left: gaps.next(), then: Then::CutAgain(gaps) });
    }

    /// As [`Proxy::cut_after`], but everything stands still in that place, as by [`Proxy::stall`].
    pub fn stall_after(&self, direction: Direction, messages: u64) {
        self.arm(Trigger { direction, left: messages, then: Then::Stall });
    }

    /// Whether an order to cut or stall still waits for its message.
    pub fn is_armed(&self) -> bool {
        self.shared.trigger().is_some()
    }

    /// How many messages have passed since the start.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The ports by which the server tells the open connections apart (`client_port` in `pg_stat_activity`). One that is
    /// cut is gone from here before its client can notice.
    pub fn server_ports(&self) -> BTreeSet<u16> {
        self.shared.ports().clone()
    }

    /// Cuts every connection. New ones get through.
    pub fn cut(&self) -> Result<()> {
        self.order(Order::Cut)
    }

    /// Holds everything back, ends of connections too: both sides believe the other to be there, and hear nothing.
    pub fn stall(&self) {
        self.shared.stalled.send_replace(true);
    }

    /// Refuses new connections, as a server that is down. Those that are open stay; [`Proxy::cut`] ends them.
    pub fn refuse(&self) -> Result<()> {
        self.order(Order::Refuse)
    }

    /// Takes every order back: what was held goes on its way, new connections are accepted.
    pub fn heal(&self) -> Result<()> {
        *self.shared.trigger() = None;
        self.shared.stalled.send_replace(false);
        self.order(Order::Accept)
    }

    fn arm(&self, trigger: Trigger) {
        *self.shared.trigger() = Some(trigger);
    }

    fn order(&self, order: Order) -> Result<()> {
        let (answer, done) = std_mpsc::channel();
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send((order, answer)).is_ok());
        let result = if sent { done.recv().ok() } else { None };
        let result = result.ok_or_else(|| Error::new("the proxy's thread is gone"))?;
        result.map_err(|error| Error::new(format!("the proxy on {} cannot {order:?}: {error}", self.address)))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // It panicked only if a test saw its words already.
            let _ = thread.join();
        }
    }
}

impl Gaps {
    /// SplitMix64: enough to be in no step with anything.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % self.longest.max(1)
    }
}

impl Shared {
    fn trigger(&self) -> std::sync::MutexGuard<'_, Option<Trigger>> {
        self.trigger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, BTreeSet<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next message, or the end, may pass; an error if the connection is to be cut instead.
    async fn gate(&self, direction: Direction) -> io::Result<()> {
        loop {
            self.flowing().await;
            let mut trigger = self.trigger();
            match trigger.as_mut().filter(|trigger| trigger.direction == direction) {
                None => return Ok(()),
                Some(trigger) if trigger.left > 0 => {
                    trigger.left -= 1;
                    return Ok(());
                }
                Some(Trigger { then, .. }) => {
                    let then = *then;
                    *trigger = match then {
                        Then::CutAgain(mut gaps) => {
                            Some(Trigger { direction, left: gaps.next(), then: Then::CutAgain(gaps) })
                        }
                        Then::Cut | Then::Stall => None,
                    };
                    match then {
                        Then::Cut | Then::CutAgain(_) => return Err(io::Error::other("cut, as ordered")),
                        Then::Stall => _ = self.stalled.send_replace(true),
                    }
                }
            }
        }
    }

    async fn flowing(&self) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

/// Lists a connection to the server until it is cut or ends.
struct Listed<'a> {
    shared: &'a Shared,
    port: u16,
}

impl<'a> Listed<'a> {
    fn new(shared: &'a Shared, server: &TcpStream) -> io::Result<Self> {
        let port = server.local_addr()?.port();
        shared.ports().insert(port);
        Ok(Self { shared, port })
    }

    fn unlist(&self) {
        self.shared.ports().remove(&self.port);
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.unlist();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    mut orders: mpsc::UnboundedReceiver<(Order, std_mpsc::Sender<io::Result<()>>)>,
    shared: Arc<Shared>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((order, answer)) = order else { return };
                let result = match order {
                    Order::Cut => {
                        shared.ports().clear();
                        connections.shutdown().await;
                        Ok(())
                    }
                    Order::Refuse => {
                        listener = None;
                        Ok(())
                    }
                    Order::Accept if listener.is_some() => Ok(()),
                    Order::Accept => TcpListener::bind(address).await.map(|bound| listener = Some(bound)),
                };
                // Whoever ordered may have panicked meanwhile.
                let _ = answer.send(result);
            }
            Ok(client) = accept(listener.as_ref()) => {
                connections.spawn(connection(client, Counted::new(Arc::clone(&shared))));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// Ends with an error when it is cut or one side breaks; either way both sockets are closed on return.
async fn connection(client: TcpStream, counted: Counted) -> io::Result<()> {
    let shared = &*counted.0;
    shared.flowing().await;
    let server = TcpStream::connect(shared.server).await?;
    let listed = Listed::new(shared, &server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let dialect = Dialect::default();
    tokio::try_join!(
        pass(from_client, to_server, Direction::ToServer, &dialect, &listed),
        pass(from_server, to_client, Direction::ToClient, &dialect, &listed),
    )?;
    Ok(())
}

/// Passes whole messages on until the sender closes its side.
async fn pass(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    direction: Direction,
    dialect: &Dialect,
    listed: &Listed<'_>,
) -> io::Result<()> {
    let shared = listed.shared;
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let mut framing = Framing::new(direction);
    loop {
        if from.buffer().is_empty() {
            to.flush().await?;
        }
        let is_end = from.fill_buf().await?.is_empty();
        if is_end {
            shared.flowing().await;
            return to.shutdown().await;
        }
        if let Err(cut) = shared.gate(direction).await {
            // What has passed has passed.
            to.flush().await?;
            listed.unlist();
            return Err(cut);
        }
        let head = framing.head(&mut from, dialect).await?;
        shared.passed[direction as usize].fetch_add(1, Ordering::SeqCst);
        to.write_all(&head.bytes).await?;
        tokio::io::copy(&mut (&mut from).take(head.rest as u64), &mut to).await?;
    }
}
