//! Opening connections: where to, with how much TLS, and in which runtime they live.

use std::{net::SocketAddr, path::PathBuf, pin::Pin};

use millstream_core::{Error, Result};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, SslMode as DriverMode},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    cause::Cause,
    fault::Fault,
    options::PostgresOptions,
    tls::{self, SslMode},
};

/// A connection's own half, which somebody has to poll.
pub(crate) type Wire = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What a session of prepared statements is set to: every statement here names the index it rides, and the plans that
/// the server keeps must not depend on how full a table was when they were made. Generic ones, because the server
/// takes arrays for longer than they are, finds each call's own plan cheaper, and plans for longer than it runs.
const SESSION: &str = "set enable_seqscan = off; set enable_nestloop = off; set jit = off; \
                       set plan_cache_mode = force_generic_plan";

/// What the URL and the options ask for together.
pub(crate) struct Target {
    pub(crate) config: Config,
    mode: SslMode,
    roots: Option<PathBuf>,
}

impl Target {
    pub(crate) fn read(options: &PostgresOptions) -> Result<Self> {
        let (url, own) = take_own(&options.url);
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
            Error::invalid("connection string", why, "a Postgres URL or `key=value` pairs")
        })?;
        let (mut mode, mut roots) = (SslMode::default(), options.ssl_root_cert.clone());
        for (key, value) in own {
            match key {
                "sslmode" => mode = SslMode::read(&value)?,
                _ => roots = roots.or(Some(PathBuf::from(value))),
            }
        }
        mode = options.ssl_mode.unwrap_or(mode);
        fill(&mut config, options);
        let first = match mode {
            SslMode::Disable | SslMode::Allow => DriverMode::Disable,
            SslMode::Prefer => DriverMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverMode::Require,
        };
        config.ssl_mode(first);
        Ok(Self { config, mode, roots })
    }
}

/// What the driver does not read itself, taken out of a connection string.
fn take_own(url: &str) -> (String, Vec<(&'static str, String)>) {
    let own = |part: &str| {
        let (key, value) = part.split_once('=')?;
        let key = ["sslmode", "sslrootcert"].into_iter().find(|own| *own == key)?;
        Some((key, value.trim_matches('\'').replace("%2F", "/").replace("%2f", "/")))
    };
    if let Some((base, query)) = url.split_once('?').filter(|_| url.contains("://")) {
        let rest: Vec<&str> = query.split('&').filter(|part| own(part).is_none()).collect();
        let taken = query.split('&').filter_map(own).collect();
        return if rest.is_empty() { (base.to_owned(), taken) } else { (format!("{base}?{}", rest.join("&")), taken) };
    }
    if url.contains("://") {
        return (url.to_owned(), Vec::new());
    }
    let mut rest = url.to_owned();
    let mut taken = Vec::new();
    for part in url.split_whitespace() {
        if let Some(found) = own(part) {
            rest = rest.replacen(part, "", 1);
            taken.push(found);
        }
    }
    (rest, taken)
}

fn fill(config: &mut Config, options: &PostgresOptions) {
    if let Some(host) = &options.host {
        config.host(host);
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host("localhost");
    }
    if let Some(port) = options.port {
        config.port(port);
    }
    if let Some(database) = &options.database {
        config.dbname(database);
    }
    if let Some(user) = &options.user {
        config.user(user);
    }
    if let Some(password) = &options.password {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name(&options.application_name);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.connect_timeout);
    }
}

/// Opens connections of one kind.
pub(crate) struct Connector {
    config: Config,
    mode: SslMode,
    tls: MakeRustlsConnect,
    /// The runtime that the store was connected in: pooled connections live there, whoever asks for one.
    home: Handle,
    /// Whether sessions are ours alone, and may be set up.
    session: bool,
}

impl Connector {
    pub(crate) fn new(target: Target, home: Handle) -> Result<Self> {
        let tls = tls::connector(target.mode, target.roots.as_deref())?;
        Ok(Self { config: target.config, mode: target.mode, tls, home, session: true })
    }

    /// Behind a pooler that shares server connections, nothing is set.
    pub(crate) fn with_session(&self, session: bool) -> Self {
        Self { config: self.config.clone(), mode: self.mode, tls: self.tls.clone(), home: self.home.clone(), session }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn home(&self) -> &Handle {
        &self.home
    }

    /// What the driver says to a connection that could not be opened, and where to.
    pub(crate) fn fault(&self, error: tokio_postgres::Error) -> Fault {
        Fault::Unreached { place: place(&self.config), error }
    }

    /// Opens a connection in the runtime of the caller, who polls the wire.
    pub(crate) async fn open(&self) -> Result<(Client, Wire), Fault> {
        self.open_raw().await.map_err(|error| self.fault(error))
    }

    async fn open_raw(&self) -> Result<(Client, Wire), tokio_postgres::Error> {
        match self.config.connect(self.tls.clone()).await {
            Err(_) if self.mode == SslMode::Allow => {
                let mut config = self.config.clone();
                config.ssl_mode(DriverMode::Require).connect(self.tls.clone()).await
            }
            answer => answer,
        }
    }

    /// Opens a connection at home, and sets its session up.
    async fn open_pooled(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, wire) = self.open_raw().await?;
        // Owned by the pooled object, which ends it.
        let driver = self.home.spawn(async move {
            if let Err(error) = wire.await {
                tracing::debug!(error = %Cause(error), "a connection ended");
            }
        });
        if self.session {
            client.batch_execute(SESSION).await?;
        }
        Ok((client, driver))
    }
}

/// Hosts with their ports, database and user, for a person.
fn place(config: &Config) -> String {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let port = |at: usize| config.get_ports().get(at).or(config.get_ports().first()).copied().unwrap_or(5432);
    let named = |at: usize| match (hosts.get(at), addresses.get(at)) {
        (_, Some(address)) => SocketAddr::new(*address, port(at)).to_string(),
        (Some(Host::Tcp(host)), None) if host.contains(':') => format!("[{host}]:{}", port(at)),
        (Some(Host::Tcp(host)), None) => format!("{host}:{}", port(at)),
        (Some(Host::Unix(directory)), None) => format!("{}/.s.PGSQL.{}", directory.display(), port(at)),
        (None, None) => String::new(),
    };
    let all: Vec<String> = (0..hosts.len().max(addresses.len())).map(named).collect();
    let any = if all.len() > 1 { "any of " } else { "" };
    let who = [("database", config.get_dbname()), ("user", config.get_user())];
    let who: Vec<String> = who.iter().filter_map(|(what, name)| Some(format!("{what} `{}`", (*name)?))).collect();
    let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join(", ")) };
    format!("{any}{}{who}", all.join(", "))
}

/// The pool's way to a connection.
pub(crate) struct Pooled(pub(crate) std::sync::Arc<Connector>);

type Opened = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl deadpool_postgres::Connect for Pooled {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        let connector = self.0.clone();
        Box::pin(async move {
            if Handle::current().id() == connector.home.id() {
                return connector.open_pooled().await;
            }
            // The socket belongs to the runtime that opens it.
            let (answer, opened) = tokio::sync::oneshot::channel();
            let at_home = connector.clone();
            let opening = connector.home.spawn(async move { drop(answer.send(at_home.open_pooled().await)) });
            match opened.await {
                Ok(opened) => opened,
                // The runtime is gone, and the store with it; connecting here answers with the driver's own error.
                Err(_) => {
                    opening.abort();
                    connector.open_pooled().await
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::TargetSessionAttrs;

    use super::*;

    fn target(url: &str) -> Result<Target> {
        Target::read(&PostgresOptions::new(url))
    }

    #[test]
    fn every_sslmode_is_read() {
        for (text, mode) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            assert_eq!(target(&format!("postgres://h/db?sslmode={text}")).unwrap().mode, mode);
            assert_eq!(target(&format!("host=h sslmode={text} dbname=db")).unwrap().mode, mode);
        }
        assert_eq!(target("postgres://h/db").unwrap().mode, SslMode::Prefer);
        assert!(matches!(target("postgres://h/db?sslmode=maybe"), Err(Error::Invalid { .. })));
    }

    #[test]
    fn several_hosts_are_read_beside_what_is_ours() {
        let url = "postgres://u:p@a:1,b:2/db?sslmode=verify-ca&target_session_attrs=read-write&sslrootcert=%2Fetc%2Fca";
        let target = target(url).unwrap();
        assert_eq!(target.config.get_hosts(), [Host::Tcp("a".into()), Host::Tcp("b".into())]);
        assert_eq!(target.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(target.roots.as_deref(), Some(std::path::Path::new("/etc/ca")));
    }

    #[test]
    fn fields_fill_what_the_url_leaves_open() {
        let options = PostgresOptions {
            host: Some("db".into()),
            user: Some("app".into()),
            database: Some("jobs".into()),
            ..PostgresOptions::default()
        };
        let target = Target::read(&options).unwrap();
        assert_eq!(target.config.get_hosts(), [Host::Tcp("db".into())]);
        assert_eq!((target.config.get_user(), target.config.get_dbname()), (Some("app"), Some("jobs")));
        assert!(Target::read(&PostgresOptions::new("postgres://h:port/")).is_err());
    }
}
