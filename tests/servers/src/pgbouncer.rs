//! PgBouncer in transaction mode before a private Postgres.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, Postgres, Result, apt, apt::Unpacked, command, folder::Folder, port, postgres::USER, service::Service,
};

const STARTS_MAX: usize = 5;

const READY: &str = "process up";

/// As people run it; a prepared statement or a LISTEN does not outlive its transaction. `auth_type` is not for people.
const SETTINGS: &[(&str, &str)] = &[
    ("pool_mode", "transaction"),
    ("auth_type", "plain"),
    ("max_client_conn", "500"),
    ("default_pool_size", "20"),
    ("admin_users", USER),
    // Drivers built on libpq's habits send it.
    ("ignore_startup_parameters", "extra_float_digits"),
    ("unix_socket_dir", ""),
];

/// One pooler. It ends when it is dropped.
#[derive(Debug)]
pub struct Pgbouncer {
    address: SocketAddr,
    version: String,
    service: Service,
}

impl Pgbouncer {
    /// Before every database of `server`, for the user and password of its url: `database.url_through(address)`.
    pub fn start(server: &Postgres) -> Result<Self> {
        Self::start_with(server, &[])
    }

    /// [`Pgbouncer::start`] with settings on top of ours, as in `("default_pool_size", "1")`.
    pub fn start_with(server: &Postgres, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = Folder::new("pgbouncer")?;
        let program = Program::find()?.within_reach(&folder)?;
        let says = command::run(program.command().arg("--version"))?;
        let version = says.split_whitespace().nth(1).unwrap_or_default().to_owned();
        folder.write("users", &format!("\"{USER}\" \"{}\"\n", server.password()))?;
        let service = Service::new(format!("PgBouncer {version}"), folder);
        let mut pooler = Self { address: port::free()?, version, service };
        for _ in 1..STARTS_MAX {
            match pooler.start_up(&program, server, settings) {
                Err(error) if error.to_string().contains("ddress already in use") => pooler.address = port::free()?,
                started => return started.map(|()| pooler),
            }
        }
        pooler.start_up(&program, server, settings).map(|()| pooler)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As in `1.18.0`: Debian's. From 1.21 on it can keep prepared statements in transaction mode.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.service.pid()
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.service.log()
    }

    fn start_up(&mut self, program: &Program, server: &Postgres, settings: &[(&str, &str)]) -> Result<()> {
        let folder = self.service.folder();
        let (ip, port) = (server.address().ip(), server.address().port());
        let mut text = format!("[databases]\n* = host={ip} port={port}\n[pgbouncer]\n");
        text += &format!("listen_addr = {}\nlisten_port = {}\n", self.address.ip(), self.address.port());
        text += &format!("auth_file = {}\n", folder.path().join("users").display());
        let all = SETTINGS.iter().chain(settings);
        text.extend(all.map(|(name, value)| format!("{name} = {value}\n")));
        let file = folder.write("pgbouncer.ini", &text)?;
        self.service.start(program.command().arg(file), READY)
    }
}

enum Program {
    Installed(PathBuf),
    Unpacked(Unpacked),
}

impl Program {
    fn find() -> Result<Self> {
        let wanted = env::var("MILLSTREAM_PGBOUNCER").unwrap_or_default();
        if !wanted.is_empty() && wanted != "fetch" {
            return Ok(Self::Installed(PathBuf::from(wanted)));
        }
        match command::find("pgbouncer").filter(|_| wanted != "fetch") {
            Some(file) => Ok(Self::Installed(file)),
            None => apt::unpacked("pgbouncer", |_| Ok(())).map(Self::Unpacked).map_err(|error| {
                Error::new(format!(
                    "PgBouncer could not be had: MILLSTREAM_PGBOUNCER names none, it is not installed, and Debian's \
                     could not be fetched: {error}"
                ))
            }),
        }
    }

    /// A copy in the pooler's folder where its user cannot get at the original.
    fn within_reach(self, folder: &Folder) -> Result<Self> {
        match self {
            Self::Unpacked(unpacked) if !folder.account().reaches(&unpacked.file("usr/sbin/pgbouncer")) => {
                let to: &Path = &folder.path().join("programs");
                unpacked.copy(to).map(Self::Unpacked)
            }
            reachable => Ok(reachable),
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Installed(file) => Command::new(file),
            Self::Unpacked(unpacked) => unpacked.command("usr/sbin/pgbouncer"),
        }
    }
}
