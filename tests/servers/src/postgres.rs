//! Private Postgres servers.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Error, Result, Rows, command, folder::Folder, port, service::Service, wire::Login, wire::Session};

mod binaries;
mod database;
mod version;

use binaries::Binaries;
pub use database::{Database, Route};
pub use version::Version;

/// The superuser of every private server.
pub const USER: &str = "postgres";

/// Between the choice of a port and its use somebody else may take it.
const STARTS_MAX: usize = 5;

const READY: &str = "database system is ready to accept connections";

/// What a standby says; the words after it differ between versions.
const READY_TO_READ: &str = "database system is ready to accept read";

/// Durable as in production, small, and quiet. `listen_addresses` and the port are given at each start.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("max_connections", "200"),
    ("shared_buffers", "32MB"),
    ("huge_pages", "off"),
    // In the server's folder: what a killed server leaves in /dev/shm, nobody removes. Containers have little of that.
    ("dynamic_shared_memory_type", "mmap"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_checkpoints", "off"),
    ("lc_messages", "C"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// The shared server of version 15; fails the test if there is none.
#[track_caller]
pub fn v15() -> &'static Postgres {
    Postgres::get(Version::V15).unwrap_or_else(|error| panic!("{error}"))
}

/// The shared server of version 18; fails the test if there is none.
#[track_caller]
pub fn v18() -> &'static Postgres {
    Postgres::get(Version::V18).unwrap_or_else(|error| panic!("{error}"))
}

/// The versions that tests run on: [`Version::TESTED`], or what `MILLSTREAM_POSTGRES_VERSIONS` names.
///
/// # Panics
///
/// If the variable names none that we know: a suite must not pass because it ran on nothing.
pub fn available() -> Vec<Version> {
    let Ok(wanted) = env::var("MILLSTREAM_POSTGRES_VERSIONS") else { return Version::TESTED.to_vec() };
    let named = |major: &str| {
        let known = Version::ALL.into_iter().find(|version| version.major().to_string() == major.trim());
        known.unwrap_or_else(|| panic!("MILLSTREAM_POSTGRES_VERSIONS names `{major}`; known are 13 to 18"))
    };
    wanted.split(',').map(named).collect()
}

/// One server: its folder, its port, its processes.
///
/// What changes the server takes `&mut self`, so that nobody can restart the shared one under another test.
#[derive(Debug)]
pub struct Postgres {
    binaries: Binaries,
    login: Login,
    databases: AtomicU32,
    /// What it says when it is.
    ready: &'static str,
    service: Service,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Waits until every client has left.
    Smart,
    /// Cuts the clients off, and shuts down cleanly.
    Fast,
    /// Gives up at once; the next start recovers from the log.
    Immediate,
    /// `kill -9` of the postmaster: as [`Mode::Immediate`], but nobody says goodbye.
    Kill,
}

impl Postgres {
    /// The server of this version that all tests of this process share. It ends with the process.
    pub fn get(version: Version) -> Result<&'static Self> {
        static SHARED: [OnceLock<Result<Postgres, String>>; Version::ALL.len()] =
            [const { OnceLock::new() }; Version::ALL.len()];
        let shared =
            SHARED[version as usize].get_or_init(|| Self::start_shared(version).map_err(|error| error.to_string()));
        shared.as_ref().map_err(|text| Error::new(text.as_str()))
    }

    /// A server for one test. It ends when it is dropped.
    pub fn start(version: Version) -> Result<Self> {
        Self::start_with(version, &[])
    }

    /// [`Postgres::start`] with settings on top of ours, as in `("max_connections", "20")`.
    pub fn start_with(version: Version, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(Folder::new(&format!("postgres-{version}"))?, version, settings)
    }

    fn start_shared(version: Version) -> Result<Self> {
        // Where its files are in memory, old log is memory.
        let settings = [("max_wal_size", "256MB")];
        Self::start_in(Folder::in_memory(&format!("postgres-{version}"))?, version, &settings)
    }

    fn start_in(folder: Folder, version: Version, settings: &[(&str, &str)]) -> Result<Self> {
        let binaries = Binaries::find(version)?.within_reach(&folder)?;
        let login = Login { address: port::free()?, user: USER, password: format!("{:016x}", port::random()) };
        init(&binaries, &folder, &login.password, settings)?;
        let service = Service::new(format!("PostgreSQL {}", binaries.version()), folder);
        let mut server = Self { binaries, login, databases: AtomicU32::new(0), ready: READY, service };
        for _ in 1..STARTS_MAX {
            match server.start_again() {
                Err(error) if error.to_string().contains("could not create any TCP/IP sockets") => {
                    server.login.address = port::free()?;
                }
                started => return started.map(|()| server),
            }
        }
        server.start_again().map(|()| server)
    }

    /// Starts a stopped server, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        let folder = self.service.folder().path();
        let mut postgres = Command::new(self.binaries.program("postgres"));
        postgres.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        postgres.args(["-h", "127.0.0.1", "-p", &self.login.address.port().to_string()]);
        self.service.start(&mut postgres, self.ready)
    }

    /// A standby that follows this server, made of a copy of its files: the server is restarted for it. From then on a
    /// commit is on both, or is not answered. `SELECT pg_promote()` makes the standby a server of its own.
    pub fn standby(&mut self) -> Result<Self> {
        let folder = Folder::new("postgres-standby")?;
        self.stop(Mode::Fast)?;
        let data = folder.path().join("data");
        command::run(Command::new("cp").arg("-a").arg(self.folder().join("data")).arg(&data))?;
        self.start_again()?;
        folder.write("data/standby.signal", "")?;
        let settings = data.join("postgresql.auto.conf");
        let mut text = std::fs::read_to_string(&settings).map_err(Error::at("read", &settings))?;
        let (ip, port) = (self.login.address.ip(), self.login.address.port());
        let (user, password) = (self.login.user, &self.login.password);
        text += &format!("primary_conninfo = 'host={ip} port={port} user={user} password={password}'\n");
        folder.write("data/postgresql.auto.conf", &text)?;
        let login = Login { address: port::free()?, ..Login::clone(&self.login) };
        let mut standby = Self {
            binaries: self.binaries.clone(),
            login,
            databases: AtomicU32::new(0),
            ready: READY_TO_READ,
            service: Service::new(format!("PostgreSQL {}, standby", self.version()), folder),
        };
        standby.start_again()?;
        self.query("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.reload()?;
        Ok(standby)
    }

    /// Returns when every process of the server is gone. A stopped server stays stopped.
    pub fn stop(&mut self, mode: Mode) -> Result<()> {
        self.service.stop(mode.signal())
    }

    /// Stops and starts, on the same port, with the same data.
    pub fn restart(&mut self, mode: Mode) -> Result<()> {
        self.stop(mode)?;
        self.start_again()
    }

    /// What the server says of itself, as in `18.4`.
    pub fn version(&self) -> &str {
        self.binaries.version()
    }

    /// Where it listens, running or not.
    pub fn address(&self) -> SocketAddr {
        self.login.address
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.login.password
    }

    /// The postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.service.pid()
    }

    /// The server's folder, with its Unix socket and its data in `data`.
    pub fn folder(&self) -> &Path {
        self.service.folder().path()
    }

    /// Puts a file that the server's user can read, and nobody else, into its data folder: a certificate, a key, or
    /// `pg_hba.conf`. Answers where it is.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        self.service.folder().write(&format!("data/{name}"), text)
    }

    /// Has the server read its files and settings again, and waits until it has.
    pub fn reload(&self) -> Result<()> {
        let loaded = || self.query("SELECT pg_conf_load_time()");
        let before = loaded()?;
        self.query("SELECT pg_reload_conf()")?;
        while loaded()? == before {}
        Ok(())
    }

    /// The last lines that the server wrote to its log.
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// The superuser's way into the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The superuser's way into a database.
    pub fn url_of(&self, database: &str) -> String {
        self.url_through(self.login.address, database)
    }

    /// The same, by way of a proxy or a pooler that listens at `address`.
    pub fn url_through(&self, address: SocketAddr, database: &str) -> String {
        self.login.url(address, database)
    }

    /// Asks without a driver, on a connection of its own, as superuser in the database `postgres`. Answers the rows of
    /// the last statement that has any.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        Session::open(&self.login, "postgres")?.query(sql)
    }

    /// An empty database that no other test has; it is dropped with the value.
    ///
    /// # Panics
    ///
    /// If the server does not make one: no test can go on from there.
    #[track_caller]
    pub fn create_database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("test_{number}");
        if let Err(error) = self.query(&format!("CREATE DATABASE {name}")) {
            panic!("failed to create a database on PostgreSQL {}: {error}", self.version());
        }
        Database::new(name, Arc::new(self.login.clone()))
    }
}

impl Mode {
    fn signal(self) -> &'static str {
        match self {
            Self::Smart => "TERM",
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

impl Login {
    pub(crate) fn url(&self, address: SocketAddr, database: &str) -> String {
        format!("postgres://{}:{}@{address}/{database}", self.user, self.password)
    }
}

/// Makes `data`. Passwords go in clear text over loopback: hashing one costs a debug build more than the rest of the
/// connect, and without one every user of the machine would be superuser. The server keeps them as it does for `md5`,
/// which is why the socket has that: to check one against what it keeps for SCRAM is thousands of hashes in each connect.
fn init(binaries: &Binaries, folder: &Folder, password: &str, settings: &[(&str, &str)]) -> Result<()> {
    let secret = folder.write("password", password)?;
    let mut initdb = Command::new(binaries.program("initdb"));
    initdb.arg("-D").arg(folder.path().join("data")).arg("--pwfile").arg(secret);
    initdb.args(["--username", USER, "--auth-host", "password", "--auth-local", "md5"]);
    initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    command::run(folder.account().run_as(initdb.current_dir(folder.path())))?;
    let all = SETTINGS.iter().chain(settings);
    // The last of two is the one that counts.
    let lines: Vec<String> = all.map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect();
    folder.write("data/postgresql.auto.conf", &lines.concat())?;
    Ok(())
}
