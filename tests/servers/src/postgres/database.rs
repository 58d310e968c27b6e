//! A database for one test.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    Result, Rows, fault,
    wire::{Login, Session},
};

/// Dropped with the value, whoever is still connected; hundreds of tests share one disk.
#[derive(Debug)]
pub struct Database {
    name: String,
    login: Arc<Login>,
}

impl Database {
    pub(crate) fn new(name: String, login: Arc<Login>) -> Self {
        Self { name, login }
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        self.login.address
    }

    /// The superuser's way in.
    pub fn url(&self) -> String {
        self.url_through(self.login.address)
    }

    /// The same, by way of a proxy or a pooler that listens at `address`.
    pub fn url_through(&self, address: SocketAddr) -> String {
        self.login.url(address, &self.name)
    }

    /// Runs statements without a driver, on a connection of its own.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// The rows of the last statement in `sql` that has any.
    pub fn query(&self, sql: &str) -> Result<Rows> {
        Session::open(&self.login, &self.name)?.query(sql)
    }

    /// The same database, by way of a proxy or a pooler that listens at `address`.
    pub fn through(&self, address: SocketAddr) -> Route<'_> {
        Route { database: self, login: Login { address, ..Login::clone(&self.login) } }
    }

    /// Ends every other connection to this database, as an administrator would; answers how many.
    pub fn terminate_backends(&self) -> Result<usize> {
        self.query(fault::TERMINATE_BACKENDS).map(|rows| rows.len())
    }
}

/// Another way to a [`Database`].
#[derive(Debug)]
pub struct Route<'a> {
    database: &'a Database,
    login: Login,
}

impl Route<'_> {
    /// The superuser's way in.
    pub fn url(&self) -> String {
        self.database.url_through(self.login.address)
    }

    /// As [`Database::run`].
    pub fn run(&self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// As [`Database::query`].
    pub fn query(&self, sql: &str) -> Result<Rows> {
        Session::open(&self.login, &self.database.name)?.query(sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test may have stopped the server; then the database goes with it.
        let _ = Session::open(&self.login, "postgres")
            .and_then(|mut session| session.query(&format!("DROP DATABASE {} WITH (FORCE)", self.name)));
    }
}
